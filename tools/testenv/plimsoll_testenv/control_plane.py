"""Start a control plane, or join one that runs, and end what was started."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from plimsoll_testenv import binaries, certificates, components
from plimsoll_testenv.binaries import Say
from plimsoll_testenv.certificates import Authority, Pair
from plimsoll_testenv.discovery import Choice, Source, discover
from plimsoll_testenv.errors import TestEnvError
from plimsoll_testenv.kind import create_cluster
from plimsoll_testenv.kubeconfig import encode, write_kubeconfig
from plimsoll_testenv.local import start_locally
from plimsoll_testenv.processes import Processes
from plimsoll_testenv.stopping import Stopping

NODE_MONITOR_GRACE_PERIOD_SECONDS = 40.0
SIGNED_TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 0.2


def to_stderr(line: str) -> None:
    """Tell a person, and leave standard output to what a shell may evaluate."""
    print(line, file=sys.stderr, flush=True)


class ControlPlane(Stopping):
    """A running control plane. Use it as a context manager, or call `stop` in the end.

    Attributes:
        choice: which source it comes from, and why.
        kubeconfig: the administrator's kubeconfig.
        kubectl: a kubectl program.
        server: URL of the API server.
        directory: private files, and a log for each process; gone after `stop`.
    """

    def __init__(
        self,
        choice: Choice,
        kubeconfig: Path,
        kubectl: Path,
        processes: Processes,
        authority: Authority | None,
    ) -> None:
        self.choice = choice
        self.kubeconfig = kubeconfig
        self.kubectl = kubectl
        self.directory = processes.directory
        self._processes = processes
        self._authority = authority
        view = self.run_kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json")
        self._cluster: dict[str, Any] = json.loads(view)["clusters"][0]["cluster"]
        self.server: str = self._cluster["server"]
        self._file_numbers = itertools.count(1)

    @classmethod
    def start(
        cls,
        *,
        node_monitor_grace_period: float = NODE_MONITOR_GRACE_PERIOD_SECONDS,
        address: str = components.ADDRESS,
        env: Mapping[str, str] | None = None,
        say: Say = to_stderr,
    ) -> Self:
        """Find a control plane (see `discover`); build what is missing and start it if need be.

        kwok runs beside every control plane, and manages the nodes labelled
        `kwok.x-k8s.io/node=fake`.

        Args:
            node_monitor_grace_period: seconds without a heartbeat after which a node counts as
                unreachable. kwok's nodes renew their leases four times in it. A cluster that was
                not started from binaries keeps its own.
            address: of this machine, where the API server listens: loopback, or one that VMs reach.
                Another than loopback takes a control plane that is started from binaries.
            env: where to look for what discovery reads, instead of the process's environment.
            say: takes progress, one line at a time.

        Raises:
            TestEnvError: what to do, or the end of the log of the process that failed.
        """
        choice = discover(os.environ if env is None else env)
        if address != components.ADDRESS:
            choice = _from_binaries(choice, address)
        say(f"control plane: {choice}")
        programs = find_programs(choice, say)
        processes = Processes("plimsoll-")
        try:
            kubeconfig = choice.path or processes.directory / "kubeconfig"
            authority = None
            if choice.source is Source.KIND:
                create_cluster(processes, kubeconfig)
            elif choice.source is not Source.EXISTING:
                kubeconfig = processes.directory / "kubeconfig"
                authority = start_locally(processes, programs, node_monitor_grace_period, address)
            kwok = components.kwok(processes.directory, kubeconfig, node_monitor_grace_period)
            # The whole environment, because a foreign kubeconfig may name a credential plugin.
            env_of_kwok = os.environ if authority is None else None
            processes.start("kwok", [str(programs["kwok"]), *kwok], env_of_kwok)
            return cls(choice, kubeconfig, programs["kubectl"], processes, authority)
        except BaseException:
            processes.stop()
            raise

    def run_kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as the administrator and return its output.

        Raises:
            TestEnvError: with what kubectl wrote to standard error.
        """
        command = [str(self.kubectl), f"--kubeconfig={self.kubeconfig}", *arguments]
        # A cache of its own: what another control plane on the same port served is not served here.
        env = os.environ | {"KUBECACHEDIR": str(self.directory / "kubectl-cache")}
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, env=env
        )
        if done.returncode != 0:
            raise TestEnvError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig, with a client certificate, of any user in any groups; it grants nothing."""
        if self._authority is not None:
            pair = self._authority.issue(user, groups=groups)
        else:
            pair = self._have_signed(user, groups)
        path = self.directory / f"user-{next(self._file_numbers)}.kubeconfig"
        return write_kubeconfig(path, self._cluster, user, pair)

    def require_running(self) -> None:
        """Raise with the end of its log if a process of this control plane has ended."""
        self._processes.require_running()

    def stop(self) -> None:
        """End every process that was started here, and delete their files."""
        self._processes.stop()

    def _have_signed(self, user: str, groups: Sequence[str]) -> Pair:
        """Ask a cluster whose CA key is not ours for a client certificate."""
        key = certificates.new_key()
        name = f"plimsoll-testenv-{uuid.uuid4().hex[:8]}"
        request = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": name},
            "spec": {
                "request": encode(certificates.signing_request(user, groups, key)),
                "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["client auth"],
            },
        }
        self.run_kubectl("create", "-f", "-", stdin=json.dumps(request))
        self.run_kubectl("certificate", "approve", name)
        deadline = time.monotonic() + SIGNED_TIMEOUT_SECONDS
        while True:
            csr = json.loads(self.run_kubectl("get", "csr", name, "-o", "json"))
            if signed := csr["status"].get("certificate"):
                break
            if time.monotonic() > deadline:
                raise TestEnvError(f"the cluster did not sign {name} for user {user}")
            time.sleep(POLL_SECONDS)
        self.run_kubectl("delete", "csr", name)
        return Pair(base64.b64decode(signed), certificates.private_pem(key))


def _from_binaries(choice: Choice, address: str) -> Choice:
    """A choice that can be had at this address. What somebody named is not replaced by another."""
    if choice.source is Source.EXISTING:
        raise TestEnvError(f"{choice}: its API server does not listen at {address}; unset that")
    if choice.source is Source.KIND:
        return Choice(Source.BUILT, f"VMs must reach it at {address}, and not in a container")
    return choice


def find_programs(choice: Choice, say: Say) -> dict[str, Path]:
    """Every program that this choice needs, building those that are neither given nor cached."""
    names = [program.name for program in binaries.PROGRAMS]
    given: dict[str, Path] = {}
    if choice.source is Source.ASSETS and choice.path is not None:
        given = {name: choice.path / name for name in names if (choice.path / name).is_file()}
        if lacking := [name for name in names if name not in given]:
            say(f"{choice.path} holds no {', '.join(lacking)}: taken from the cache, or built")
    elif choice.source in (Source.EXISTING, Source.KIND):
        names = ["kubectl", "kwok"]
        if installed := shutil.which("kubectl"):
            given["kubectl"] = Path(installed)
    lacking = [name for name in names if name not in given]
    folder = binaries.build(say, lacking) if lacking else Path()
    return given | {name: folder / name for name in lacking}
