"""Start etcd, kube-apiserver, kube-controller-manager and kube-scheduler on this machine."""

from __future__ import annotations

import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from plimsoll_testenv import components
from plimsoll_testenv.certificates import Authority
from plimsoll_testenv.errors import TestEnvError
from plimsoll_testenv.kubeconfig import encode, write_kubeconfig, write_private
from plimsoll_testenv.processes import Processes

ADMIN = "plimsoll-testenv-admin"
READY_TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.1
REQUEST_TIMEOUT_SECONDS = 5.0


def start_locally(
    processes: Processes,
    programs: Mapping[str, Path],
    node_monitor_grace_period: float,
    address: str = components.ADDRESS,
) -> Authority:
    """Start all four, wait until they serve, and leave the administrator's kubeconfig.

    Returns the CA that signs users' certificates.
    """
    directory = processes.directory
    authority = components.lay_out(directory, address)
    admin = authority.issue(ADMIN, groups=["system:masters"])
    write_private(directory / "admin.pem", admin.certificate + admin.key)
    with reserve_port(address) as reserved:
        port = reserved.getsockname()[1]
        server = f"https://{address}:{port}"
        cluster = {
            "server": server,
            "certificate-authority-data": encode(authority.pair.certificate),
        }
        write_kubeconfig(directory / "kubeconfig", cluster, ADMIN, admin)
        processes.start("etcd", [str(programs["etcd"]), *components.etcd()])
        apiserver = components.kube_apiserver(port, address)
        processes.start("kube-apiserver", [str(programs["kube-apiserver"]), *apiserver])
        api = Api(server, directory)
        api.wait_for("/readyz", processes)
    manager = components.kube_controller_manager(node_monitor_grace_period)
    processes.start("kube-controller-manager", [str(programs["kube-controller-manager"]), *manager])
    scheduler = components.kube_scheduler(directory)
    processes.start("kube-scheduler", [str(programs["kube-scheduler"]), *scheduler])
    # Without this account no pod can be created; it is the controller manager's first work.
    api.wait_for("/api/v1/namespaces/default/serviceaccounts/default", processes)
    return authority


def reserve_port(address: str = components.ADDRESS) -> socket.socket:
    """A socket that holds a free port until kube-apiserver has it (--permit-port-sharing).

    Bound but not listening, it keeps everybody else off the port and takes no connection.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind((address, 0))
    return reserved


class Api:
    """As much of a client as it takes to see whether the API server is there."""

    def __init__(self, server: str, directory: Path) -> None:
        self._server = server
        tls = ssl.create_default_context(cafile=str(directory / "ca.crt"))
        tls.load_cert_chain(directory / "admin.pem")
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
        )

    def wait_for(self, path: str, processes: Processes) -> None:
        """Wait until a GET succeeds; raise as soon as one of the processes has ended."""
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while (last := self._failure(path)) is not None:
            processes.require_running()
            if time.monotonic() > deadline:
                raise TestEnvError(
                    f"{self._server}{path} did not succeed within {READY_TIMEOUT_SECONDS:.0f} s: "
                    f"{last}; the end of kube-apiserver's log:\n"
                    f"{processes.log_tail('kube-apiserver')}"
                )
            time.sleep(POLL_SECONDS)

    def _failure(self, path: str) -> str | None:
        try:
            with self._opener.open(self._server + path, timeout=REQUEST_TIMEOUT_SECONDS):
                return None
        except urllib.error.HTTPError as error:
            with error:
                return f"{error}: {error.read().decode(errors='replace')}"
        except OSError as error:
            return str(error)
