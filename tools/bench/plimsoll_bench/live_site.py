"""The site of the live case: a real control plane, many simulated VMs, operator as a process."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Final, NamedTuple, Self
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from plimsoll_testenv import ControlPlane
from plimsoll_testenv.processes import Processes
from plimsoll_testenv.stopping import Stopping

ROOT: Final = Path(__file__).parents[3]
NAMESPACE: Final = "plimsoll-system"
NODE_GRACE_SECONDS: Final = 200.0
"""Nodes renew their lease four times in it: a thousand of them are load enough."""
_MANIFESTS: Final = ("namespace", "rbac", "simulator-rbac")
_OPERATOR: Final = "operator"
_ADDRESS: Final = "127.0.0.1"
_SETTINGS: Final = {
    "PLIMSOLL_HTTP_HOST": _ADDRESS,
    "PLIMSOLL_LOG_FORMAT": "text",
    "PLIMSOLL_LOG_LEVEL": "INFO",
}
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Spent(NamedTuple):
    """What a stage of the operator's turns took so far."""

    seconds: float = 0.0
    times: float = 0.0


class LiveSite(Stopping):
    """A cluster with Plimsoll in it. Use it as a context manager."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self.control_plane = control_plane
        self._processes = Processes("plimsoll-bench-")
        self._pid = 0
        self._port = 0

    @classmethod
    def open(cls) -> Self:
        """Starts control plane, data centre and operator.

        Raises:
            TestEnvError: something does not start; the text says what to do.
        """
        site = cls(ControlPlane.start(node_monitor_grace_period=NODE_GRACE_SECONDS))
        try:
            site._prepare()
        except BaseException:
            site.stop()
            raise
        return site

    def _prepare(self) -> None:
        kubectl = self.control_plane.run_kubectl
        kubectl("apply", "-f", str(ROOT / "crds"))
        kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))
        for name in _MANIFESTS:
            kubectl("apply", "-f", str(ROOT / f"manifests/{name}.yaml"))
        # No metrics: nothing here is scaled by load.
        self._start("data-centre", ["simulate", "--no-metrics"], "plimsoll-simulator", {})
        self._port = _free_port()
        settings = {**_SETTINGS, "PLIMSOLL_HTTP_PORT": str(self._port)}
        self._pid = self._start(_OPERATOR, ["run"], "plimsoll", settings)

    def _start(self, name: str, command: list[str], account: str, env: dict[str, str]) -> int:
        """Starts a command with the rights of its own account, as in a pod, and no more."""
        kubeconfig = self.control_plane.kubeconfig_for(
            f"system:serviceaccount:{NAMESPACE}:{account}",
            groups=["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}"],
        )
        program = Path(sys.executable).with_name("plimsoll")
        return self._processes.start(
            name, [str(program), *command], {**env, "KUBECONFIG": str(kubeconfig)}
        )

    def require_running(self) -> None:
        """Raises with the end of its log if a process has ended."""
        self.control_plane.require_running()
        self._processes.require_running()

    def operator_log(self) -> str:
        """The last lines that the operator said."""
        return self._processes.log_tail(_OPERATOR)

    def operator_cpu_seconds(self) -> float:
        """CPU that the operator has used so far, in seconds of one core."""
        # The command's name, in brackets, may hold anything; the fields behind it are numbers.
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        user, system = int(fields[11]), int(fields[12])
        return (user + system) / _TICKS

    def operator_memory(self, what: str = "VmRSS") -> int:
        """Bytes that the operator has resident: ``VmRSS`` now, ``VmHWM`` at most so far."""
        for line in Path(f"/proc/{self._pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == what:
                return int(value.split()[0]) * 1024
        raise ValueError(f"/proc tells no {what}")

    def operator_stages(self) -> dict[str, Spent]:
        """By stage: what the turns of the operator's planning loop took so far."""
        with urlopen(f"http://{_ADDRESS}:{self._port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found: dict[str, Spent] = {}
        for family in text_string_to_metric_families(text):
            if family.name != "plimsoll_turn_stage_seconds":
                continue
            for sample in family.samples:
                stage = sample.labels["stage"]
                if sample.name.endswith("_sum"):
                    found[stage] = found.get(stage, Spent())._replace(seconds=sample.value)
                elif sample.name.endswith("_count"):
                    found[stage] = found.get(stage, Spent())._replace(times=sample.value)
        return found

    def stop(self) -> None:
        """Ends everything that was started here."""
        try:
            self._processes.stop()
        finally:
            self.control_plane.stop()


def _free_port() -> int:
    with socket.create_server((_ADDRESS, 0)) as listening:
        port: int = listening.getsockname()[1]
    return port
