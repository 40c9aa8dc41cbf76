"""The stage of the story: control plane, data centre and operator, started and ended as one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final, Self

from plimsoll_testenv import ControlPlane
from plimsoll_testenv.control_plane import to_stderr
from plimsoll_testenv.discovery import Source
from plimsoll_testenv.errors import TestEnvError
from plimsoll_testenv.processes import Processes
from plimsoll_testenv.stopping import Stopping

ROOT: Final = Path(__file__).parents[3]
SAMPLES: Final = "manifests/samples"
MANIFESTS: Final = ("namespace", "rbac", "simulator-rbac")
NAMESPACE: Final = "plimsoll-system"
OPERATOR: Final = "operator"
DATA_CENTRE: Final = "data-centre"
NODE_GRACE_SECONDS: Final = 20.0
SETTINGS: Final[dict[str, str]] = {
    "PLIMSOLL_HTTP_HOST": "127.0.0.1",
    "PLIMSOLL_HTTP_PORT": "0",
    "PLIMSOLL_LOG_FORMAT": "text",
    # A metrics server measures every 15 seconds or less often; nobody should have to wait here.
    "PLIMSOLL_METRICS_INTERVAL": "1",
}


class Site(Stopping):
    """A running cluster with Plimsoll in it. Use it as a context manager."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self.control_plane = control_plane
        self._processes = Processes("plimsoll-demo-")
        self._made_kinds = False

    @classmethod
    def open(cls) -> Self:
        """Starts everything; progress goes to standard error.

        Raises:
            TestEnvError: something does not start; the text says what to do.
        """
        control_plane = ControlPlane.start(node_monitor_grace_period=NODE_GRACE_SECONDS)
        site = cls(control_plane)
        try:
            site._prepare()
        except BaseException:
            site.stop()
            raise
        return site

    def _prepare(self) -> None:
        """What an administrator does once; then data centre and operator go to work."""
        self._must_be_unused()
        to_stderr("installing Plimsoll's kinds, namespace and rights")
        self._made_kinds = True
        self.control_plane.run_kubectl("apply", "-f", str(ROOT / "crds"))
        self.control_plane.run_kubectl(
            "wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds")
        )
        for name in MANIFESTS:
            self.control_plane.run_kubectl("apply", "-f", str(ROOT / f"manifests/{name}.yaml"))
        to_stderr("starting the data centre (plimsoll simulate) and the operator (plimsoll run)")
        self._start(DATA_CENTRE, "simulate", "plimsoll-simulator", {})
        self._start(OPERATOR, "run", "plimsoll", SETTINGS)

    def _start(self, name: str, command: str, account: str, env: dict[str, str]) -> None:
        """Starts a command with the rights of its own account, as in a pod, and no more."""
        kubeconfig = self.control_plane.kubeconfig_for(
            f"system:serviceaccount:{NAMESPACE}:{account}",
            groups=["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}"],
        )
        program = Path(sys.executable).with_name("plimsoll")
        self._processes.start(name, [str(program), command], {**env, "KUBECONFIG": str(kubeconfig)})

    def _must_be_unused(self) -> None:
        """A cluster of somebody's, with Plimsoll in it already, is not for playing."""
        kinds = self.control_plane.run_kubectl(
            "get", "crd", "-o", "name", "--ignore-not-found", "vmpools.plimsoll.dev"
        )
        if kinds:
            raise TestEnvError(
                f"{self.control_plane.choice}: Plimsoll is installed there already, and the demo "
                "installs and removes it; choose another cluster, or unset that variable"
            )

    def require_running(self) -> None:
        """Raises with the end of its log if a process has ended."""
        self.control_plane.require_running()
        self._processes.require_running()

    def operator_log(self) -> str:
        """The last lines that the operator said."""
        return self._processes.log_tail(OPERATOR)

    @property
    def logs(self) -> Path:
        """Directory of the logs of operator and data centre."""
        return self._processes.directory

    def stop(self) -> None:
        """Ends everything that was started here and removes what was made."""
        try:
            if self._made_kinds and self.control_plane.choice.source is Source.EXISTING:
                self._remove()
        finally:
            self._processes.stop()
            self.control_plane.stop()

    def _remove(self) -> None:
        """Takes everything out of a cluster that stays, in order, with the operator at work."""
        for what in ("containerworkloads", "vmpools", "hypervisors"):
            self.control_plane.run_kubectl("delete", what, "--all", "-A", "--timeout=120s")
        self.control_plane.run_kubectl(
            "delete", "apiservice", "v1beta1.metrics.k8s.io", "--ignore-not-found"
        )
        for folder in (*(f"manifests/{name}.yaml" for name in reversed(MANIFESTS)), "crds"):
            self.control_plane.run_kubectl(
                "delete", "--ignore-not-found", "--timeout=60s", "-f", str(ROOT / folder)
            )
