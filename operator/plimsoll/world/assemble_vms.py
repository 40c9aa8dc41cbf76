"""VMs with their nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from plimsoll.api import VMNode
from plimsoll.api import labels as names
from plimsoll.api.vmnode import Phase
from plimsoll.world import snapshot, wire
from plimsoll.world.assemble_hosts import host_of, seconds_of
from plimsoll.world.attachments import AttachLimits, Limits
from plimsoll.world.objects import Objects, Observations
from plimsoll.world.pods import held_by_annotation
from plimsoll.world.requests import amounts, resources
from plimsoll.world.volumes import ATTACHABLE

_SCALE_DOWN_DISABLED: Final = "cluster-autoscaler.kubernetes.io/scale-down-disabled"
_STARTING_TAINTS: Final = frozenset(
    {
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
        "node.kubernetes.io/network-unavailable",
        "node.cloudprovider.kubernetes.io/uninitialized",
    }
)
"""Put on a node and taken off again by Kubernetes itself while it joins."""
_SEEN_MEMORY_PERCENT: Final = 70
"""Share of a VM's memory that its system shows at least; the kernel keeps some for itself."""
_FOR_GOOD: Final = frozenset({"NotSupported", "Invalid"})
_REFUSAL_HOLDS: Final = 600.0
"""Seconds for which a refused size is not asked for again, where it may come to be granted."""


def vms_of(
    objects: Objects,
    observations: Observations,
    hypervisors: Iterable[snapshot.Hypervisor],
    pods: Iterable[snapshot.Pod],
    limits: AttachLimits,
    now: float,
) -> tuple[snapshot.Vm, ...]:
    """VMs and foreign nodes by name.

    A node that bears a VM's name without being that VM is left out: nothing may be
    placed on it, and it does not become the VM's node.
    """
    hosts = {(h.name, host.name): host for h in hypervisors for host in h.hosts or ()}
    nodes = {node.metadata.name: node for node in objects.nodes}
    newest: defaultdict[str, float] = defaultdict(float)
    for pod in pods:
        if pod.node is not None:
            newest[pod.node] = max(newest[pod.node], pod.created)

    def all_vms() -> Iterator[snapshot.Vm]:
        ours = {vmnode.metadata.name for vmnode in objects.vmnodes}
        for vmnode in objects.vmnodes:
            node = nodes.get(vmnode.metadata.name)
            host = hosts.get((vmnode.spec.hypervisor, host_of(vmnode)))
            yield _vm(vmnode, node if node and _is_node_of(node, vmnode) else None, host, now)
        for name, node in nodes.items():
            if name not in ours:
                yield _foreign(node)

    def attachable(vm: snapshot.Vm) -> Limits:
        known = limits.by_node.get(vm.name, {})
        return known if vm.name in nodes else limits.by_pool.get(vm.pool or "", {})

    return tuple(
        _observed(_attaching(vm, attachable(vm)), observations, newest[vm.name])
        for vm in sorted(all_vms(), key=lambda vm: vm.name)
    )


def _is_node_of(node: wire.Node, vmnode: VMNode) -> bool:
    """Whether the node is this VM. Where one side states no identity, the name decides."""
    identity = vmnode.status.identity if vmnode.status is not None else None
    uuid = node.status.node_info.system_uuid
    return identity is None or not uuid or uuid.lower() == identity.uuid.lower()


def _vm(
    vmnode: VMNode, node: wire.Node | None, host: snapshot.Host | None, now: float
) -> snapshot.Vm:
    meta, spec, status = vmnode.metadata, vmnode.spec, vmnode.status
    host_name = host_of(vmnode)
    zone = (host.zone if host is not None else "") or spec.zone
    labels = names.node_labels(
        meta.name, spec.template.labels, spec.pool, spec.hypervisor, host_name, zone
    )
    taints = tuple(
        wire.Taint(key=t.key, value=t.value, effect=t.effect) for t in spec.template.taints
    )
    if status is not None:
        phase = status.phase
    else:
        phase = Phase.READY if node is not None else Phase.REQUESTED
    computed = {
        "cpu": max(0, spec.size.cpu * 1000 - spec.reserved_cpu),
        "memory": max(0, spec.size.memory - spec.reserved_memory),
    }
    resized, max_pods, annotations = True, spec.max_pods, meta.annotations
    if node is not None:
        seen = _allocatable(node)
        resized = _shows_size(vmnode, node)
        max_pods = seen.pop("pods", 0)
        seen.pop(names.BERTHS, None)
        computed = seen if resized else {**seen, **computed}
        # The scheduler goes by the node's own labels; only the host follows the VM at once.
        labels = {**node.metadata.labels, **({names.HOST: host_name} if host_name else {})}
        zone = labels.get(names.ZONE, zone)
        # Whether it is ready is asked of its conditions: these taints follow them, and while a
        # VM joins they would make the same pods ask for another VM.
        taints = tuple(t for t in node.spec.taints if t.key not in _STARTING_TAINTS)
        annotations = {**meta.annotations, **node.metadata.annotations}
    lost = status is not None and bool(status.lost_since)
    return snapshot.Vm(
        name=meta.name,
        uid=meta.uid,
        pool=spec.pool,
        hypervisor=spec.hypervisor,
        host=host_name,
        zone=zone,
        phase=phase,
        cpu=spec.size.cpu * 1000,
        memory=spec.size.memory,
        resized=resized,
        allocatable=resources(computed),
        max_pods=max_pods,
        berths=spec.berths,
        labels=labels,
        taints=taints,
        ready=node is not None and _node_ready(node),
        schedulable=node is None or not node.spec.unschedulable,
        retiring=spec.retire is not None or meta.deletion_timestamp is not None,
        lost=lost or (host is not None and host.state in ("Down", "Isolated")),
        created=seconds_of(meta.creation_timestamp),
        held=_held(annotations),
        hot_add_refused=_hot_add_refused(vmnode, now),
    )


def _shows_size(vmnode: VMNode, node: wire.Node) -> bool:
    """Whether the node has come to the size wanted."""
    status, size = vmnode.status, vmnode.spec.size
    if status is not None and status.size is not None:
        # The life cycle stays in Resizing until the node's capacity shows the size.
        return status.phase is not Phase.RESIZING and status.size == size
    capacity = amounts(node.status.capacity or node.status.allocatable)
    memory = capacity.get("memory", 0)
    return (
        capacity.get("cpu", 0) == size.cpu * 1000
        and size.memory * _SEEN_MEMORY_PERCENT <= memory * 100 <= size.memory * 100
    )


def _hot_add_refused(vmnode: VMNode, now: float) -> str:
    """Why the VM did not get a size: for good, or not long ago."""
    for condition in vmnode.status.conditions if vmnode.status is not None else ():
        if condition.type == "Resized" and condition.status == "False":
            since = seconds_of(condition.last_transition_time)
            if condition.reason in _FOR_GOOD or now - since < _REFUSAL_HOLDS:
                return condition.message
    return ""


def _foreign(node: wire.Node) -> snapshot.Vm:
    meta = node.metadata
    capacity = amounts(node.status.capacity or node.status.allocatable)
    allocatable = _allocatable(node)
    max_pods = allocatable.pop("pods", 0)
    berths = allocatable.pop(names.BERTHS, None)
    return snapshot.Vm(
        name=meta.name,
        uid=meta.uid,
        host=meta.labels.get(names.HOST, ""),
        zone=meta.labels.get(names.ZONE, ""),
        cpu=capacity.get("cpu", 0),
        memory=capacity.get("memory", 0),
        allocatable=resources(allocatable),
        max_pods=max_pods,
        berths=berths,
        labels=meta.labels,
        taints=tuple(node.spec.taints),
        ready=_node_ready(node),
        schedulable=not node.spec.unschedulable,
        retiring=meta.deletion_timestamp is not None,
        created=seconds_of(meta.creation_timestamp),
        held=_held(meta.annotations),
    )


def _allocatable(node: wire.Node) -> dict[str, int]:
    # The API server defaults allocatable to capacity.
    found = amounts(node.status.allocatable or node.status.capacity)
    # What old kubelets say here of volumes to attach, the scheduler does not read.
    return {n: amount for n, amount in found.items() if not n.startswith(ATTACHABLE)}


def _attaching(vm: snapshot.Vm, limits: Limits) -> snapshot.Vm:
    """The VM with how many volumes it can attach."""
    if not limits:
        return vm
    extended = {**vm.allocatable.extended, **limits}
    allocatable = msgspec.structs.replace(vm.allocatable, extended=dict(sorted(extended.items())))
    return msgspec.structs.replace(vm, allocatable=allocatable)


def _node_ready(node: wire.Node) -> bool:
    """False only if the node says so; a node from a hand-written file says nothing."""
    return all(c.status == "True" for c in node.status.conditions if c.type == "Ready")


def _held(annotations: dict[str, str]) -> str:
    if annotations.get(_SCALE_DOWN_DISABLED) == "true":
        return f"annotation {_SCALE_DOWN_DISABLED}: true"
    return held_by_annotation(annotations)


def _observed(vm: snapshot.Vm, observations: Observations, newest_pod: float) -> snapshot.Vm:
    """The VM with what only time shows; without it, its newest pod tells since when it is quiet."""
    return msgspec.structs.replace(
        vm,
        usage=observations.node_usage.get(vm.name),
        quiet_since=observations.quiet_since.get(vm.name, newest_pod),
    )
