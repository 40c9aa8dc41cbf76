"""What the story takes place on: hosts, control plane, metrics server and operator, as one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

import plimsoll_nodeimage
from plimsoll_e2e import metrics, worker
from plimsoll_e2e.office import Office
from plimsoll_e2e.samples import IMAGE, ROOT, fitted
from plimsoll_site import Site, kvm_obstacle
from plimsoll_testenv import ControlPlane
from plimsoll_testenv.control_plane import to_stderr
from plimsoll_testenv.kubeconfig import write_private
from plimsoll_testenv.processes import Processes
from plimsoll_testenv.stopping import Stopping

NAMESPACE: Final = "plimsoll-system"
ACCOUNT: Final = "plimsoll"
OPERATOR: Final = "operator"
MANIFESTS: Final = ("namespace", "rbac")
NODE_GRACE_SECONDS: Final = 40.0
TOKEN_DURATION: Final = "6h"
SETTINGS: Final[dict[str, str]] = {
    "PLIMSOLL_HTTP_HOST": "127.0.0.1",
    "PLIMSOLL_HTTP_PORT": "0",
    "PLIMSOLL_LOG_FORMAT": "text",
    # As often as the metrics server measures.
    "PLIMSOLL_METRICS_INTERVAL": "10",
}


class Stage(Stopping):
    """Real VMs and what runs them. Use it as a context manager.

    Attributes:
        hosts: the libvirt hosts.
        control_plane: the API server and the rest.
        office: who gives the containers work.
        samples: folder of the manifests to apply.
    """

    def __init__(
        self, hosts: Site, control_plane: ControlPlane, processes: Processes, office: Office
    ) -> None:
        self.hosts = hosts
        self.control_plane = control_plane
        self.office = office
        self.samples = Path()
        self._processes = processes
        self._stack = ExitStack()

    @classmethod
    def open(cls, *, acceleration: str = "Auto", say: Callable[[str], None] = to_stderr) -> Self:
        """Start everything.

        Args:
            acceleration: KVM, Software, or Auto: KVM where it works.
            say: told what goes on.

        Raises:
            TestEnvError: something does not start; the text says what to do.
        """
        image = plimsoll_nodeimage.build(say)
        if acceleration == "Auto":
            reason = kvm_obstacle()
            acceleration = "Software" if reason else "KVM"
            say(f"VMs run in {'software emulation: ' + reason if reason else 'KVM'}")
        with ExitStack() as stack:
            say("starting two libvirt hosts")
            kvm = acceleration != "Software"
            hosts = stack.enter_context(Site.start(2, images={IMAGE: image}, kvm=kvm))
            control_plane = stack.enter_context(
                ControlPlane.start(
                    node_monitor_grace_period=NODE_GRACE_SECONDS, address=hosts.address, say=say
                )
            )
            processes = Processes("plimsoll-e2e-")
            stack.callback(processes.stop)
            office = stack.enter_context(Office(hosts.address, worker.image()))
            stage = cls(hosts, control_plane, processes, office)
            stage._prepare(acceleration, say)
            stage._stack = stack.pop_all()
        return stage

    def _prepare(self, acceleration: str, say: Callable[[str], None]) -> None:
        say("installing Plimsoll's kinds, namespace and rights")
        crds = str(ROOT / "crds")
        self.kubectl("apply", "--server-side", "-f", crds)
        self.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", crds)
        for name in MANIFESTS:
            self.kubectl("apply", "-f", str(ROOT / f"manifests/{name}.yaml"))
        say("starting the metrics server and the operator (plimsoll run)")
        metrics.start(self.control_plane, self._processes, self.hosts.address)
        self.start_operator()
        self.samples = fitted(
            self.hosts,
            self.control_plane.server,
            self.office.url,
            self._processes.directory / "samples",
            acceleration,
        )

    def start_operator(self, settings: Mapping[str, str] = SETTINGS) -> int:
        """Start it with the token of its own service account, and so with no other rights."""
        program = Path(sys.executable).with_name("plimsoll")
        env = {**settings, "KUBECONFIG": str(self._operator_kubeconfig())}
        return self._processes.start(OPERATOR, [str(program), "run"], env)

    def _operator_kubeconfig(self) -> Path:
        view = self.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json")
        config: dict[str, Any] = json.loads(view)
        token = self.kubectl(
            "create", "token", ACCOUNT, "-n", NAMESPACE, f"--duration={TOKEN_DURATION}"
        )
        config["users"] = [{"name": ACCOUNT, "user": {"token": token.strip()}}]
        config["contexts"][0]["context"]["user"] = ACCOUNT
        path = self._processes.directory / "operator.kubeconfig"
        write_private(path, json.dumps(config).encode())
        return path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as the administrator and return its output."""
        return self.control_plane.run_kubectl(*arguments, stdin=stdin)

    def get(self, *arguments: str) -> list[dict[str, Any]]:
        """Objects, as `kubectl get` finds them."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", *arguments, "-o", "json"))[
            "items"
        ]
        return found

    def require_running(self) -> None:
        """Raise with the end of its log if a process has ended that should not have."""
        self.control_plane.require_running()
        self._processes.require_running()

    def operator_log(self) -> str:
        """The last lines that the operator said."""
        return self._processes.log_tail(OPERATOR)

    @property
    def logs(self) -> Path:
        """Folder of the logs of operator and metrics server."""
        return self._processes.directory

    def stop(self) -> None:
        """End everything that was started here."""
        self._stack.close()
