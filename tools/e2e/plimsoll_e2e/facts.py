"""What libvirt, kubelet and the API server say themselves, to hold the operator's word against."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from plimsoll_e2e.samples import IMAGE
from plimsoll_e2e.stage import Stage
from plimsoll_site import Host, SiteError

_TOKENS = "type=bootstrap.kubernetes.io/token"


@dataclass(frozen=True)
class Container:
    """One container as its kubelet sees it."""

    pod: str
    node: str
    identity: str
    """The runtime's own id: another one is another container."""
    started: str
    restarts: int
    cpu: str
    """The CPU request that is in force in the VM."""

    @property
    def same_if_equal(self) -> tuple[str, str, str, int]:
        """What does not change as long as the container runs on."""
        return self.pod, self.identity, self.started, self.restarts


@dataclass(frozen=True)
class Domain:
    """One domain as its libvirt sees it."""

    name: str
    uuid: str
    host: str
    state: str
    cpu: int
    memory: int
    """MiB."""
    kind: str
    """kvm, or qemu: software emulation."""


def containers(stage: Stage, workload: str) -> dict[str, Container]:
    """Running containers of a workload, by pod."""
    found = {}
    for pod in stage.get("pods", "-n", "default", "-l", f"app={workload}"):
        for status in pod["status"].get("containerStatuses", []):
            running = status["state"].get("running")
            if running and not pod["metadata"].get("deletionTimestamp"):
                name = pod["metadata"]["name"]
                found[name] = Container(
                    pod=name,
                    node=pod["spec"]["nodeName"],
                    identity=status["containerID"],
                    started=running["startedAt"],
                    restarts=status["restartCount"],
                    cpu=status.get("resources", {}).get("requests", {}).get("cpu", ""),
                )
    return found


def domains(stage: Stage) -> list[Domain]:
    """Every domain on every host that is on, whoever made it."""
    found = []
    for host in stage.hosts.hosts:
        for name in host.domains() if host.running else []:
            with suppress(SiteError):  # it went after it was listed
                found.append(_domain(host, name))
    return found


def _domain(host: Host, name: str) -> Domain:
    root = ET.fromstring(host.virsh("dumpxml", name))
    vcpu = root.find("vcpu")
    assert vcpu is not None
    return Domain(
        name=name,
        uuid=root.findtext("uuid", ""),
        host=host.name,
        state=host.virsh("domstate", name).strip(),
        cpu=int(vcpu.get("current") or vcpu.text or 0),
        memory=int(root.findtext("currentMemory") or root.findtext("memory") or 0) // 1024,
        kind=root.get("type", ""),
    )


def disagreement(stage: Stage) -> str:
    """How libvirt's own lists differ from the VMNodes, and those from the nodes; empty: not."""
    real = {(d.name, d.uuid, d.host, d.state) for d in domains(stage)}
    recorded, joined = set(), set()
    for record in stage.get("vmnodes"):
        status = record["status"]
        name, uuid = record["metadata"]["name"], status.get("identity", {}).get("uuid", "")
        recorded.add((name, uuid, status.get("host", ""), "running"))
        joined.add((name, uuid, status.get("host", "")))
    if real != recorded:
        return f"libvirt has {sorted(real)}, and the VMNodes say {sorted(recorded)}"
    nodes = {
        (
            node["metadata"]["name"],
            node["status"]["nodeInfo"]["systemUUID"],
            node["metadata"]["labels"].get("plimsoll.dev/host", ""),
        )
        for node in stage.get("nodes")
    }
    if nodes != joined:
        return f"the nodes are {sorted(nodes)}, and the VMNodes say {sorted(joined)}"
    return ""


def leftovers(stage: Stage) -> list[str]:
    """Whatever of ours there still is, anywhere."""
    left = [f"domain {d.name} on {d.host}" for d in domains(stage)]
    for host in stage.hosts.hosts:
        left += [f"volume {name} on {host.name}" for name in host.volumes() if name != IMAGE]
        left += [f"QEMU {pid} on {host.name}" for pid in host.pids("qemu-system-x86_64")]
    for kind in ("nodes", "vmnodes", "vmpools", "hypervisors"):
        left += [f"{kind} {obj['metadata']['name']}" for obj in stage.get(kind)]
    for secret in stage.get("secrets", "-n", "kube-system", "--field-selector", _TOKENS):
        left.append(f"token {secret['metadata']['name']}")
    left += [f"certificate request {name}" for name in undecided_requests(stage)]
    return left


def undecided_requests(stage: Stage) -> list[str]:
    """Certificate requests that nobody has approved or denied.

    Those that are decided stay for an hour: Kubernetes itself removes them.
    """
    return [
        csr["metadata"]["name"] for csr in stage.get("csr") if not csr["status"].get("conditions")
    ]


def node_size(stage: Stage, name: str) -> tuple[int, int]:
    """CPUs and MiB of memory that kubelet finds in the VM."""
    node: dict[str, Any] = next(
        node for node in stage.get("nodes") if node["metadata"]["name"] == name
    )
    capacity = node["status"]["capacity"]
    return int(capacity["cpu"]), int(capacity["memory"].removesuffix("Ki")) // 1024
