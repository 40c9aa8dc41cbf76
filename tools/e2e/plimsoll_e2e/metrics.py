"""The metrics server that runs on the story's kubelets: built, started, put into the API."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Final

from plimsoll_testenv import ControlPlane, binaries
from plimsoll_testenv.control_plane import to_stderr
from plimsoll_testenv.processes import Processes

NAME: Final = "metrics-server"
_NAMESPACE: Final = "kube-system"
_MANIFEST: Final = Path(__file__).resolve().parents[1] / "manifests" / "metrics-server.yaml"
_RESOLUTION: Final = "10s"
"""The least that it takes; kubelets have to answer within less."""
_KUBELET_TIMEOUT: Final = "8s"


def start(control_plane: ControlPlane, processes: Processes, address: str) -> None:
    """Start it with the rights of its own account, listening at this address."""
    program = binaries.build_metrics_server(to_stderr)
    control_plane.run_kubectl("apply", "-f", str(_MANIFEST))
    kubeconfig = control_plane.kubeconfig_for(
        f"system:serviceaccount:{_NAMESPACE}:{NAME}",
        groups=["system:serviceaccounts", f"system:serviceaccounts:{_NAMESPACE}"],
    )
    port = _free_port(address)
    arguments = [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={address}",
        f"--secure-port={port}",
        "--cert-dir=metrics-server-certificate",
        f"--kubelet-certificate-authority={control_plane.directory / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--metric-resolution={_RESOLUTION}",
        f"--kubelet-request-timeout={_KUBELET_TIMEOUT}",
    ]
    processes.start(NAME, [str(program), *arguments])
    for obj in _registration(address, port):
        control_plane.run_kubectl("apply", "-f", "-", stdin=json.dumps(obj))


def _registration(address: str, port: int) -> list[dict[str, object]]:
    service: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": _NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": address},
    }
    registered: dict[str, object] = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"name": NAME, "namespace": _NAMESPACE, "port": port},
            # It signs its own certificate, as in the manifests that its makers ship.
            "insecureSkipTLSVerify": True,
        },
    }
    return [service, registered]


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
