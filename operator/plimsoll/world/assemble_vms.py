"""VMs with their nodes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple, TypeVar

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
from plimsoll.world.tracking import Tracked
from plimsoll.world.volumes import ATTACHABLE

_Named = TypeVar("_Named", wire.Node, VMNode)

_SCALE_DOWN_DISABLED: Final = "cluster-autoscaler.kubernetes.io/scale-down-disabled"
_STARTING_TAINTS: Final = frozenset(
    {
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
        "node.kubernetes.io/network-unavailable",
        "node.cloudprovider.kubernetes.io/uninitialized",
        names.UNCLAIMED,
    }
)
"""Put on a node and taken off again while it joins, by Kubernetes or by the life cycle."""
_SEEN_MEMORY_PERCENT: Final = 70
"""Share of a VM's memory that its system shows at least; the kernel keeps some for itself."""
_FOR_GOOD: Final = frozenset({"NotSupported", "Invalid"})
_REFUSAL_HOLDS: Final = 600.0
"""Seconds for which a refused size is not asked for again, where it may come to be granted."""


class Vms:
    """VMs and foreign nodes by name; those of which nothing changed stay the same objects.

    A node that bears a VM's name without being that VM is left out: nothing may be placed on
    it, and it does not become the VM's node. So is that of a machine that may be claimed.
    """

    def __init__(self) -> None:
        self.all: tuple[snapshot.Vm, ...] = ()
        self._tracked_nodes: Tracked[wire.Node] = Tracked()
        self._tracked_vmnodes: Tracked[VMNode] = Tracked()
        self._nodes: dict[str, wire.Node] = {}
        self._vmnodes: dict[str, VMNode] = {}
        self._made: dict[str, snapshot.Vm] = {}
        self._hosts: dict[tuple[str, str], _Host] = {}
        self._free: frozenset[str] = frozenset()
        """Nodes of machines that may be claimed."""
        self._observations = Observations()
        self._limits = AttachLimits()
        self._touched: set[str] = set()
        """Those of which something changed since they were made."""
        self._timed: set[str] = set()
        """Those that depend on the moment."""
        self._unwatched: set[str] = set()
        """Those that nobody watched: their newest pod tells since when they are quiet."""

    def see(self, objects: Objects) -> bool:
        """Takes in nodes and VMNodes; whether there are others now, or in other pools."""
        nodes = self._tracked_nodes.see(objects.nodes)
        vmnodes = self._tracked_vmnodes.see(objects.vmnodes)
        gone, new = _by_name(nodes.gone), _by_name(nodes.new)
        lost, found = _by_name(vmnodes.gone), _by_name(vmnodes.new)
        for name in gone:
            del self._nodes[name]
        for name in lost:
            del self._vmnodes[name]
        self._nodes |= new
        self._vmnodes |= found
        self._touched |= gone.keys() | new.keys() | lost.keys() | found.keys()
        return gone.keys() != new.keys() or _pools_of(lost) != _pools_of(found)

    def make(
        self,
        observations: Observations,
        hypervisors: Collection[snapshot.Hypervisor],
        newest: Callable[[], Mapping[str, float]],
        limits: AttachLimits,
        now: float,
    ) -> None:
        """Brings ``all`` up to date.

        ``newest`` tells by node name when the newest of its pods was created.
        """
        hosts = {
            (h.name, host.name): _Host(host.zone, host.state)
            for h in hypervisors
            for host in h.hosts or ()
        }
        anew = self._touched | self._timed | _differing(self._limits.by_node, limits.by_node)
        if hosts != self._hosts or limits.by_pool != self._limits.by_pool:
            anew |= self._vmnodes.keys()
        free = frozenset(
            n for h in hypervisors for host in h.hosts or () for n in host.free_nodes or ()
        )
        anew |= free ^ self._free
        self._free = free
        watched = _differing(self._observations.quiet_since, observations.quiet_since)
        watched |= _differing(self._observations.node_usage, observations.node_usage)
        self._hosts, self._observations, self._limits = hosts, observations, limits
        self._touched = set()
        changed = False
        fresh: dict[str, snapshot.Vm] = {}
        for name in anew:
            vm = self._vm(name, now)
            if vm is not None:
                fresh[name] = vm
            else:
                self._unwatched.discard(name)
                changed |= self._made.pop(name, None) is not None
        for name in anew | watched | self._with_newer_pods(newest):
            vm = fresh.get(name) or self._made.get(name)
            if vm is not None:
                vm = self._as_seen(name, vm, newest)
                if self._made.get(name) != vm:
                    self._made[name] = vm
                    changed = True
        if changed:
            self.all = tuple(self._made[name] for name in sorted(self._made))

    def _with_newer_pods(self, newest: Callable[[], Mapping[str, float]]) -> set[str]:
        """VMs that nobody watched, and whose newest pod is another one now."""
        if not self._unwatched:
            return set()
        created, made = newest(), self._made
        return {name for name in self._unwatched if made[name].quiet_since != created.get(name, 0)}

    def _as_seen(
        self, name: str, vm: snapshot.Vm, newest: Callable[[], Mapping[str, float]]
    ) -> snapshot.Vm:
        """The VM with what was measured of it, and since when it is quiet."""
        quiet = self._observations.quiet_since.get(name)
        if quiet is None:
            self._unwatched.add(name)
            quiet = newest().get(name, 0.0)
        else:
            self._unwatched.discard(name)
        usage = self._observations.node_usage.get(name)
        return msgspec.structs.replace(vm, usage=usage, quiet_since=quiet)

    def _vm(self, name: str, now: float) -> snapshot.Vm | None:
        """The VM but for what is observed of it."""
        self._timed.discard(name)
        node, vmnode = self._nodes.get(name), self._vmnodes.get(name)
        if vmnode is not None:
            host = self._hosts.get((vmnode.spec.hypervisor, host_of(vmnode)))
            vm = _vm(vmnode, node if node and _is_node_of(node, vmnode) else None, host, now)
            if _refused_lately(vmnode):
                self._timed.add(name)
        elif node is not None and name not in self._free:
            vm = _foreign(node)
        else:
            return None
        if node is not None:
            limits = self._limits.by_node.get(name, {})
        else:
            limits = self._limits.by_pool.get(vm.pool or "", {})
        return _attaching(vm, limits)


class _Host(NamedTuple):
    """What of a host concerns its VMs."""

    zone: str
    state: str


def _by_name(some: Iterable[_Named]) -> dict[str, _Named]:
    return {one.metadata.name: one for one in some}


def _pools_of(vmnodes: Mapping[str, VMNode]) -> dict[str, str]:
    return {name: vmnode.spec.pool for name, vmnode in vmnodes.items()}


def _differing(one: Mapping[str, object], other: Mapping[str, object]) -> set[str]:
    """Keys of which two maps say different things."""
    if one == other:
        return set()
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def _is_node_of(node: wire.Node, vmnode: VMNode) -> bool:
    """Whether the node is this VM. Where one side states no identity, the name decides."""
    identity = vmnode.status.identity if vmnode.status is not None else None
    uuid = node.status.node_info.system_uuid
    return identity is None or not uuid or uuid.lower() == identity.uuid.lower()


def _vm(vmnode: VMNode, node: wire.Node | None, host: _Host | None, now: float) -> snapshot.Vm:
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
        max_cpu=spec.max_size.cpu * 1000 if spec.max_size is not None else None,
        max_memory=spec.max_size.memory if spec.max_size is not None else None,
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
        template=spec.template,
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


def _refused_lately(vmnode: VMNode) -> bool:
    """Whether a size was refused that may be asked for again some time."""
    return any(
        c.type == "Resized" and c.status == "False" and c.reason not in _FOR_GOOD
        for c in (vmnode.status.conditions if vmnode.status is not None else ())
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
