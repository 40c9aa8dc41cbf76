"""Kubernetes objects as plain JSON values, and the small model of a machine that all share.

Units: CPU in millicores, memory in bytes, prices in units of money.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]

GIB = 1024**3
MIB = 1024**2
ZONE = "topology.kubernetes.io/zone"
HOSTNAME = "kubernetes.io/hostname"
HYPERVISOR = "bench"
POOL = "bench"


@dataclass(frozen=True)
class Machine:
    """One VM, as the answer of any of the planners that are compared."""

    name: str
    cpu: int
    """Millicores that pods may request."""
    memory: int
    """Bytes that pods may request."""
    max_pods: int
    price: float
    zones: tuple[str, ...]
    """Zones that are still open; one, if the planner chose it. Empty: zones play no part."""
    pods: tuple[str, ...]
    """Keys ``namespace/name``."""


@dataclass(frozen=True)
class MachineType:
    """A size in which VMs are to be had, and its price."""

    cpu: int
    """Millicores that pods may request."""
    memory: int
    max_pods: int
    price: float


@dataclass(frozen=True)
class Answer:
    """What a planner makes of a set of pods."""

    seconds: float
    machines: tuple[Machine, ...]
    unplaced: tuple[str, ...] = ()

    @property
    def price(self) -> float:
        return sum(machine.price for machine in self.machines)


def quantity_milli(text: str) -> int:
    """Millicores of a CPU quantity as the generators here write them."""
    return int(text.removesuffix("m")) if text.endswith("m") else int(text) * 1000


def quantity_bytes(text: str) -> int:
    """Bytes of a memory quantity as the generators here write them."""
    for suffix, factor in (("Gi", GIB), ("Mi", MIB)):
        if text.endswith(suffix):
            return int(text.removesuffix(suffix)) * factor
    return int(text)


def requests_of(pod: Json) -> tuple[int, int]:
    """Millicores and bytes that a pod of these generators asks for."""
    requests = [c["resources"]["requests"] for c in pod["spec"]["containers"]]
    return (
        sum(quantity_milli(r["cpu"]) for r in requests),
        sum(quantity_bytes(r["memory"]) for r in requests),
    )


def key_of(pod: Json) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def pod(
    name: str,
    cpu: int,
    memory: int,
    *,
    labels: Mapping[str, str] | None = None,
    node: str = "",
    owner: str = "",
    **spec: Any,
) -> Json:
    """A pod of one container: bound and ready if it has a node, else pending.

    An owner makes it one that may be evicted; bare pods are held.
    """
    metadata: Json = {
        "name": name,
        "namespace": "default",
        "uid": f"uid-{name}",
        "labels": dict(labels or {}),
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    if owner:
        metadata["ownerReferences"] = [
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": owner,
                "uid": f"uid-{owner}",
                "controller": True,
            }
        ]
    container = {
        "name": "main",
        "image": "registry.example/app:1",
        "resources": {"requests": {"cpu": f"{cpu}m", "memory": f"{memory // MIB}Mi"}},
    }
    status: Json = {"phase": "Pending"}
    if node:
        spec["nodeName"] = node
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], **spec},
        "status": status,
    }


def pool(name: str = POOL, **spec: Any) -> Json:
    """A VMPool that may be disrupted at once, on hosts without bounds, priced by size alone."""
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "VMPool",
        "metadata": {"name": name},
        "spec": {
            "hypervisor": HYPERVISOR,
            "nodes": {"min": 0, "max": 5000},
            "disruption": {"maxUnavailable": 5000, "consolidateAfter": "0s"},
            **spec,
        },
    }


def vm(
    name: str,
    cpus: int,
    memory: int,
    max_pods: int,
    *,
    zone: str = "",
    pool: str = POOL,
) -> tuple[Json, Json]:
    """A VM that is up and carries nothing of its own: its VMNode and its Node."""
    size = {"cpu": cpus, "memory": str(memory)}
    labels = {HOSTNAME: name, "plimsoll.dev/pool": pool, "plimsoll.dev/hypervisor": HYPERVISOR}
    if zone:
        labels[ZONE] = zone
    amounts = {"cpu": str(cpus), "memory": str(memory), "pods": str(max_pods)}
    uuid = f"uuid-{name}"
    vmnode = {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "VMNode",
        "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "pool": pool,
            "hypervisor": HYPERVISOR,
            "zone": zone,
            "size": size,
            "maxPods": max_pods,
            "berths": 1,
            "reservedCpu": "0",
            "reservedMemory": "0",
        },
        "status": {"phase": "Ready", "identity": {"uuid": uuid}, "size": size, "nodeName": name},
    }
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": labels,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "nodeInfo": {"systemUUID": uuid},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    return vmnode, node


def write(path: Path, *groups: Iterable[Json]) -> Path:
    """Writes objects as one List; the path."""
    items = [item for group in groups for item in group]
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return path


def by_key(pods: Sequence[Json]) -> dict[str, Json]:
    return {key_of(one): one for one in pods}
