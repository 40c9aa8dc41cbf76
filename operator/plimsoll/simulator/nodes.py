"""What a simulated VM means for its Node object. Pure: which step is due, and its patches.

kwok plays the kubelets: it keeps every node alive that carries ``KWOK`` as a
label (or, by kwok's own default, as an annotation), and lets go of it without.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Final

from plimsoll.api import labels
from plimsoll.api.quantity import (
    QuantityError,
    format_bytes,
    format_milli,
    parse_bytes,
    parse_milli,
)
from plimsoll.api.timestamp import rfc3339
from plimsoll.simulator.records import VmRecord, label_value
from plimsoll.world import wire

KWOK: Final = "kwok.x-k8s.io/node"
RUNNING: Final = "fake"
STOPPED: Final = "stopped"


class Step(Enum):
    """What has to be done to a node so that it shows the state of its VM."""

    NONE = auto()
    REGISTER = auto()
    """A kubelet has started: create the node, or take up its own again."""
    SILENCE = auto()
    """Nothing is heard of the kubelet any more."""
    REVIVE = auto()
    """The kubelet is heard again, without having been away."""
    RESIZE = auto()
    """The kubelet has seen more CPU or memory."""
    CLASH = auto()
    """Another machine's node has the name: the kubelet cannot join."""


def is_node_of(vm: VmRecord, node: wire.Node | None) -> bool:
    """Whether this is the VM's node, and not another's of the same name."""
    return node is not None and node.status.node_info.system_uuid.lower() == vm.uuid


def is_heard(node: wire.Node) -> bool:
    """Whether the node's kubelet is kept alive, or still passes for alive."""
    return node.metadata.labels.get(KWOK) == RUNNING or ready(node) == "True"


def ready(node: wire.Node) -> str:
    """Status of the node's condition Ready; empty if it has none."""
    return next((c.status for c in node.status.conditions if c.type == "Ready"), "")


def due(vm: VmRecord, node: wire.Node | None, alive: bool) -> Step:
    """The step that brings the node nearer to its VM's state.

    A running kubelet does not register again when somebody deletes its node; it
    does after the next boot.
    """
    own = is_node_of(vm, node)
    if alive and not vm.registered:
        return Step.REGISTER if node is None or own else Step.CLASH
    if node is None or not own:
        return Step.NONE
    if not alive:
        return Step.SILENCE if is_heard(node) else Step.NONE
    if node.metadata.labels.get(KWOK) != RUNNING:
        return Step.REVIVE
    return Step.NONE if _shows_size(vm, node) else Step.RESIZE


def manifest(vm: VmRecord, zone: str) -> dict[str, Any]:
    """The Node that the VM's kubelet registers. ``zone`` is its host's, empty for none."""
    capacity = _size(vm)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": vm.name,
            "labels": {
                **vm.labels,
                **({labels.ZONE: zone} if zone else {}),
                labels.POOL: label_value(vm.pool),
                labels.HYPERVISOR: label_value(vm.hypervisor),
                labels.HOST: label_value(vm.host),
                labels.HOSTNAME: label_value(vm.name),
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/os": "linux",
                KWOK: RUNNING,
            },
            "annotations": {**vm.annotations, KWOK: RUNNING},
        },
        "spec": {
            "providerID": vm.provider_id,
            "taints": [
                {"key": key, "value": value, "effect": effect} for key, value, effect in vm.taints
            ],
        },
        "status": {
            "addresses": [
                {"type": "Hostname", "address": vm.name},
                {"type": "InternalIP", "address": "127.0.0.1"},
            ],
            "capacity": {**capacity["capacity"], "pods": str(vm.max_pods)},
            "allocatable": {**capacity["allocatable"], "pods": str(vm.max_pods)},
            "nodeInfo": {
                "systemUUID": vm.uuid,
                "machineID": vm.uuid.replace("-", ""),
                "bootID": "",
                "kernelVersion": "simulated",
                "osImage": "simulated",
                "containerRuntimeVersion": "simulated",
                "kubeletVersion": "simulated",
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
        },
    }


def resize_patch(vm: VmRecord) -> dict[str, Any]:
    """Status patch after hot-add. Other resources, such as berths, stay as they are."""
    return _size(vm)


def kubelet_patch(node_uid: str, running: bool) -> dict[str, Any]:
    """Merge patch by which kwok begins, or ceases, to keep this very node alive."""
    mark = {KWOK: RUNNING if running else STOPPED}
    return {"metadata": {"uid": node_uid, "labels": mark, "annotations": mark}}


def unheard_status(now: float) -> dict[str, Any]:
    """Strategic status patch of a node whose kubelet has gone silent."""
    return {
        "conditions": [
            {
                "type": "Ready",
                "status": "Unknown",
                "reason": "NodeStatusUnknown",
                "message": "Nothing is heard of the kubelet of this simulated VM.",
                "lastTransitionTime": rfc3339(now),
            }
        ]
    }


def pod_ready_status(is_ready: bool, now: float) -> dict[str, Any]:
    """Strategic status patch of a pod whose node has gone silent, or has come back."""
    condition: dict[str, Any] = {
        "type": "Ready",
        "status": "True" if is_ready else "False",
        "reason": None if is_ready else "NodeNotReady",
        "lastTransitionTime": rfc3339(now),
    }
    return {"conditions": [condition]}


def _size(vm: VmRecord) -> dict[str, dict[str, str]]:
    cpu = vm.cpu * 1000
    return {
        "capacity": {"cpu": format_milli(cpu), "memory": format_bytes(vm.memory)},
        "allocatable": {
            "cpu": format_milli(max(0, cpu - vm.reserved_cpu)),
            "memory": format_bytes(max(0, vm.memory - vm.reserved_memory)),
        },
    }


def _shows_size(vm: VmRecord, node: wire.Node) -> bool:
    try:
        shown = (
            parse_milli(node.status.capacity.get("cpu", 0)),
            parse_bytes(node.status.capacity.get("memory", 0)),
        )
    except QuantityError:
        return False
    return shown == (vm.cpu * 1000, vm.memory)
