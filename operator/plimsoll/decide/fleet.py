"""The planner's working model: VMs as bins, hosts as room for bins, pods in bins.

A plan is worked out on this mutable model and only then written down; nothing
outside ``decide`` ever sees it. Units: CPU in millicores, memory in bytes.
What is asked of many VMs at once is kept in step in ``columns``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import log2
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from plimsoll.api import labels as names
from plimsoll.api.vmnode import Phase
from plimsoll.decide.classes import Classes, PodClass
from plimsoll.decide.columns import NO_LIMIT, UNLIMITED_PREFIX, Columns, Ints, Values
from plimsoll.decide.plan import Refusal, Size
from plimsoll.decide.ports import Ports
from plimsoll.decide.sizes import Sizes
from plimsoll.decide.topology import Topology
from plimsoll.world.snapshot import (
    Host,
    Hypervisor,
    Pod,
    PodShape,
    Pool,
    Resources,
    Snapshot,
    Vm,
)
from plimsoll.world.wire import Taint

if TYPE_CHECKING:
    from plimsoll.decide.survival import Watch

IN_FLIGHT = frozenset({Phase.REQUESTED, Phase.CREATING, Phase.BOOTING, Phase.JOINING})
LEAVING = frozenset({Phase.DRAINING, Phase.DELETING})
CORDON = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
"""A cordoned node takes pods that tolerate this (NodeUnschedulable)."""


@dataclass(slots=True)
class HostRoom:
    """What a host has left for VMs. None in both: no inventory, room without end."""

    host: Host | None
    cpu_free: int | None
    memory_free: int | None
    vms: int = 0

    def has(self, cpu: int, memory: int) -> bool:
        return self.cpu_free is None or (
            cpu <= self.cpu_free and self.memory_free is not None and memory <= self.memory_free
        )

    def take(self, cpu: int, memory: int) -> None:
        if self.cpu_free is not None and self.memory_free is not None:
            self.cpu_free -= cpu
            self.memory_free -= memory


@dataclass(slots=True, eq=False)
class Bin:
    """One VM, existing or to be launched, and what is in it."""

    name: str
    pool: Pool | None
    vm: Vm | None
    """None: to be launched."""
    hypervisor: str
    host: str
    zone: str
    labels: dict[str, str]
    taints: tuple[Taint, ...]
    cpu: int
    """Size of the VM."""
    memory: int
    allocatable_cpu: int
    allocatable_memory: int
    extended: dict[str, int]
    max_pods: int
    berths_max: int | None
    """Berths that it may be raised to; None: it never advertises any."""
    line_percent: int
    accepts: bool
    """Takes new pods: joining or Ready, not leaving, not lost. A cordon is a taint."""
    slot: int = -1
    """Index in the fleet's columns; -1: it was never opened."""
    cpu_used: int = 0
    memory_used: int = 0
    extended_used: dict[str, int] = field(default_factory=dict)
    pods: dict[str, PodShape] = field(default_factory=dict)
    resized: dict[str, Resources] = field(default_factory=dict)
    """Pods whose requests this plan changes: what they take instead of their shape's."""
    terminating: set[str] = field(default_factory=set)
    """Those of its pods that are on their way out."""
    leaving: bool = False
    """Its VM is being emptied or deleted."""
    epoch: int = 0
    """Grows with every change of the VM or its pods in the snapshot."""
    line_cpu: int = 0
    """Requests that its load line allows."""
    line_memory: int = 0

    def __post_init__(self) -> None:
        self.draw_line()
        self.leaving = self.vm is not None and is_leaving(self.vm)

    @property
    def new(self) -> bool:
        return self.vm is None

    @property
    def takes_pods_now(self) -> bool:
        """Its node is Ready, so the scheduler knows it; what is only on its way is not."""
        return self.vm is not None and self.accepts and self.vm.ready

    @property
    def size(self) -> Size:
        return Size(cpu=self.cpu, memory=self.memory)

    @property
    def berths_used(self) -> int:
        return self.extended_used.get(names.BERTHS, 0)

    def has(self, name: str) -> int:
        """How much it has of an extended resource, whatever is used."""
        if name == names.BERTHS:
            return self.berths_max or 0
        return self.extended.get(name, NO_LIMIT if name.startswith(UNLIMITED_PREFIX) else 0)

    def left(self, name: str) -> int:
        """What is left of an extended resource."""
        return self.has(name) - self.extended_used.get(name, 0)

    def requests(self, key: str) -> Resources:
        """What the pod takes from this bin."""
        return self.resized.get(key) or self.pods[key].requests

    def shape(self, key: str) -> PodShape:
        """The pod's shape with what it takes from this bin: what it needs elsewhere too."""
        shape, taken = self.pods[key], self.requests(key)
        if taken == shape.requests:
            return shape
        as_large = f"{shape.key}@{taken.cpu}/{taken.memory}"
        return msgspec.structs.replace(shape, key=as_large, requests=taken)

    def set_size(self, size: Size, max_pods: int | None = None) -> None:
        """Changes the VM's size; what the system keeps stays what it is."""
        self.allocatable_cpu += size.cpu - self.cpu
        self.allocatable_memory += size.memory - self.memory
        self.cpu, self.memory = size.cpu, size.memory
        if max_pods is not None:
            self.max_pods = max_pods
        self.draw_line()

    def draw_line(self) -> None:
        self.line_cpu = self.allocatable_cpu * self.line_percent // 100
        self.line_memory = self.allocatable_memory * self.line_percent // 100


class Requested:
    """CPU (millicores) and memory (bytes) that pods ask for."""

    def __init__(self) -> None:
        self._cpu = 0
        self._memory = 0

    def add(self, pod: Pod, number: int) -> None:
        """So many more such pods."""
        requests = pod.shape.requests
        self._cpu += number * requests.cpu
        self._memory += number * requests.memory

    @property
    def memory_per_cpu(self) -> float:
        """Bytes for each CPU, to a twelfth of an octave: it stays while a few pods come and go."""
        if not self._cpu or not self._memory:
            return _USUAL_MEMORY_PER_CPU
        return float(2 ** (round(log2(self._memory / self._cpu * 1000) * 12) / 12))


class Census:
    """How many VMs of one pool there are, those leaving left out."""

    def __init__(self) -> None:
        self.total = 0
        self.by_host: Counter[str] = Counter()
        self.by_zone: Counter[str] = Counter()
        self.first_number = 1
        """No smaller number is free for the name of a new VM."""

    def add(self, target: Bin, number: int) -> None:
        """So many more VMs like this one."""
        self.total += number
        self.by_host[target.host] += number
        self.by_zone[target.zone] += number


Undo = tuple[Callable[..., Any], tuple[Any, ...]]


class Fleet:
    """All bins, hosts and topology counts; pods are put in and taken out here only."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.pools = {pool.name: pool for pool in snapshot.pools}
        self.sizes = {pool.name: Sizes.of(pool.spec) for pool in snapshot.pools}
        self.promising = sorted(p.name for p in snapshot.pools if p.spec.survive.hosts)
        """Pools that promise to survive the loss of hosts."""
        self.hypervisors: dict[str, Hypervisor] = {}
        self.by_slot: list[Bin] = []
        self.columns = Columns(
            len(snapshot.vms),
            lambda slot: self.by_slot[slot].labels,
            lambda slot, name: self.by_slot[slot].left(name),
        )
        self.taints = self.columns.values(lambda slot: self.by_slot[slot].taints or None)
        self.pool_of = self.columns.values(lambda slot: _pool_name(self.by_slot[slot]))
        self.topology = Topology(snapshot.namespaces, self.columns)
        self.names = {vm.name for vm in snapshot.vms}
        """Of all VMs, those to be launched and those to be retired included."""
        self.pods: dict[str, Pod] = {}
        """The snapshot's pods, wherever they are."""
        self.unbound: dict[str, Pod] = {}
        """Those that have no node yet."""
        self.absent: Counter[str] = Counter()
        """Number of those whose node is not there, by its name."""
        self.priorities: Counter[int] = Counter()
        """Number of those that have a node, DaemonSet pods left out, by priority."""
        self.requested = Requested()
        """What all pods of the snapshot ask for."""
        for pod in snapshot.pods:
            self._enrol(pod)
        self.memory_per_cpu = self.requested.memory_per_cpu
        """Bytes for each CPU that its pods ask for, roughly; never 0."""
        self.ports = Ports()
        self.classes = Classes(self)
        self.bins: dict[str, Bin] = {}
        self.where: dict[str, str] = {}
        self.rooms: dict[tuple[str, str], HostRoom] = {}
        self.census = {name: Census() for name in self.pools}
        self.touched: list[int] = []
        """Slots of VMs in the order in which they changed."""
        self.standing: dict[str, Refusal | None] = {}
        """Remembered by ``guards.pool_stands_still``: why a pool stands still, by name."""
        self.version = 0
        """Grows with every change, so that what was derived can be remembered."""
        self.bins_version = 0
        """Grows when bins come or go."""
        self.kept_promises: tuple[int, tuple[str, ...]] | None = None
        """Remembered by ``survival.kept``: (version, pools)."""
        self.promises: dict[str, Watch | None] = {}
        """Kept by ``survival``: the watch over each pool's promise."""
        self._journal: list[Undo] | None = None
        self._marks = 0
        self._by_pool: dict[str, list[Bin]] = {}
        self._by_pool_version = -1
        self.set_hypervisors(snapshot.hypervisors)
        for vm in snapshot.vms:
            self.open(self.existing(vm))
        self._put_bound(snapshot.pods)
        self._classes_first = len(self.classes)

    @cached_property
    def node_names(self) -> Values:
        """The column of names."""
        return self.columns.values(lambda slot: self.by_slot[slot].name)

    @cached_property
    def hosts(self) -> Values:
        """The column of hypervisors with hosts."""
        return self.columns.values(
            lambda slot: (self.by_slot[slot].hypervisor, self.by_slot[slot].host)
        )

    def hosts_known(self, hypervisor: Hypervisor) -> bool:
        return hypervisor.hosts is not None

    def room(self, hypervisor: str, host: str) -> HostRoom:
        """Room of a host; a host that no inventory lists has none but what is there."""
        known = self.hypervisors.get(hypervisor)
        if known is None or known.hosts is None:
            return self._endless
        return self.rooms.get((hypervisor, host)) or HostRoom(None, 0, 0)

    # ----- pods

    def put(self, key: str, shape: PodShape, target: Bin, terminating: bool = False) -> None:
        """Puts a pod into a bin, whether it fits or not."""
        self.put_all((key,), self.classes.of(shape), target, terminating)

    def put_all(
        self, keys: Sequence[str], kind: PodClass, target: Bin, terminating: bool = False
    ) -> None:
        """Puts pods of one class into a bin, whether they fit or not."""
        self.version += 1
        name = target.name
        for key in keys:
            target.pods[key] = kind.shape
            self.where[key] = name
        if terminating:
            target.terminating.update(keys)
        self._use(target, kind.shape.requests, len(keys))
        kind.place(target.slot, len(keys), terminating)
        if self._journal is not None:
            self._journal.append((self._unput, (keys, kind, target, terminating)))

    def take(self, key: str) -> Bin:
        """Takes a pod out of its bin and returns the bin."""
        source = self.bins[self.where[key]]
        self._take(key, source)
        return source

    def take_all(self, keys: Sequence[str], kind: PodClass, source: Bin) -> None:
        """Takes pods of one class, of which none is terminating or resized, out of their bin."""
        self._unput(keys, kind, source, False)
        if self._journal is not None:
            self._journal.append((self.put_all, (keys, kind, source)))

    def resize_pod(self, key: str, requests: Resources) -> None:
        """Changes what a pod takes from its bin."""
        target = self.bins[self.where[key]]
        before = target.resized.get(key)
        self._resize_pod(key, target, requests)
        if self._journal is not None:
            self._journal.append((self._resize_pod, (key, target, before)))

    # ----- bins

    def resize_bin(self, target: Bin, size: Size) -> None:
        """Changes a VM's size and takes the difference from its host."""
        if self._journal is not None:
            self._journal.append((self._resize_bin, (target, target.size)))
        self._resize_bin(target, size)

    def set_accepts(self, target: Bin, accepts: bool) -> None:
        """Whether a bin takes new pods."""
        if target.accepts != accepts:
            if self._journal is not None:
                self._journal.append((self._set_accepts, (target, target.accepts)))
            self._set_accepts(target, accepts)

    def open(self, target: Bin) -> None:
        """Adds a bin and takes its size from its host."""
        self._open(target)
        if self._journal is not None:
            self._journal.append((self._close, (target,)))

    def close(self, name: str) -> Bin:
        """Removes an empty bin and gives its size back to its host."""
        gone = self.bins[name]
        self._close(gone)
        if self._journal is not None:
            self._journal.append((self._open, (gone,)))
        return gone

    def of_pool(self, pool: str) -> list[Bin]:
        """The pool's bins that are there to stay, in the order in which they were opened."""
        if self._by_pool_version != self.bins_version:
            self._by_pool = {name: [] for name in self.pools}
            for target in self.by_slot:
                # A VM that was only tried out may have had the name that another has now.
                there = self.bins.get(target.name) is target
                if there and target.pool is not None and not target.leaving:
                    self._by_pool[target.pool.name].append(target)
            self._by_pool_version = self.bins_version
        return self._by_pool.get(pool, [])

    def at(self, slots: Ints) -> list[Bin]:
        """The bins in these slots."""
        return [self.by_slot[slot] for slot in slots.tolist()]

    def pods_of(self, target: Bin) -> list[Pod]:
        """The snapshot's pods in a bin, by key."""
        return [self.pods[key] for key in sorted(target.pods) if key in self.pods]

    # ----- from one plan to the next

    def begin(self, snapshot: Snapshot) -> None:
        """Forgets what was remembered for one plan only; the next is about this snapshot."""
        if snapshot.expendable_below != self.snapshot.expendable_below:
            self.promises = {}
        for watch in self.promises.values():
            if watch is not None:
                watch.begin()
        self.snapshot = snapshot
        self.touched = []
        self.standing = {}
        self.kept_promises = None

    def enter(self, pod: Pod) -> None:
        """Takes in a pod that is new in the snapshot."""
        self._enrol(pod)
        target = self.bins.get(pod.node or "")
        if target is not None:
            target.epoch += 1
            self.put(pod.key, pod.shape, target, pod.terminating)

    def leave(self, pod: Pod) -> None:
        """Drops a pod that is in the snapshot no more."""
        del self.pods[pod.key]
        self.requested.add(pod, -1)
        if pod.node is None:
            del self.unbound[pod.key]
            return
        if not pod.daemon:
            self.priorities[pod.shape.priority] -= 1
        if pod.node in self.absent:
            self.absent[pod.node] -= 1
            for census in self.census.values():
                census.first_number = 1
        if pod.key in self.where:
            self.take(pod.key).epoch += 1

    def change(self, before: Vm, after: Vm) -> bool:
        """Takes in what changed of a VM; False: it is too much, the VM must be opened anew."""
        target = self.bins[before.name]
        same = ["uid", "pool", "hypervisor", "host", "zone", "cpu", "memory", "labels"]
        same += ["taints", "schedulable"]
        if any(getattr(before, name) != getattr(after, name) for name in same):
            return False
        if target.leaving != is_leaving(after):
            return False
        target.vm = after
        target.epoch += 1
        target.allocatable_cpu = after.allocatable.cpu
        target.allocatable_memory = after.allocatable.memory
        target.extended = after.allocatable.extended
        target.max_pods = after.max_pods
        target.berths_max = _berths_max(after, target.pool)
        target.draw_line()
        self.set_accepts(target, _accepts(after, target.pool))
        self.version += 1
        self._show(target)
        return True

    def set_hypervisors(self, hypervisors: Iterable[Hypervisor]) -> None:
        """Takes in hypervisors with their hosts, and what the VMs take from these."""
        self.hypervisors = {h.name: h for h in hypervisors}
        self._endless = HostRoom(None, None, None)
        self.rooms = {
            (h.name, host.name): HostRoom(
                host, host.cpu - host.cpu_other, host.memory - host.memory_other
            )
            for h in self.hypervisors.values()
            for host in h.hosts or ()
        }
        self.promises = {}
        for target in self.by_slot:
            room = self.room(target.hypervisor, target.host)
            room.take(target.cpu, target.memory)
            room.vms += 1

    def exchange(self, gone: Iterable[Vm], new: Iterable[Vm], vms: Iterable[Vm]) -> None:
        """Takes in VMs that are there no more, and others that are new; one may be both.

        ``vms`` are all that there are now, in the order of their slots. Pods stay where they
        are bound to, whether that VM is there or not.
        """
        epochs = {}
        for vm in gone:
            left = self.bins[vm.name]
            pods = self.pods_of(left)
            for pod in pods:
                self.take(pod.key)
            self.close(left.name)
            self.names.discard(left.name)
            if pods:
                self.absent[left.name] = len(pods)
            epochs[left.name] = left.epoch + 1
        fresh = {vm.name: self.existing(vm) for vm in new}
        self._arrange([fresh.get(vm.name) or self.bins[vm.name] for vm in vms])
        bound: dict[str, list[Pod]] = {name: [] for name in fresh if self.absent.pop(name, 0)}
        for pod in self.pods.values() if bound else ():
            if pod.node in bound:
                bound[pod.node].append(pod)
        for name, target in fresh.items():
            target.epoch = epochs.get(name, 0)
            self.open(target)
            for pod in bound.get(name, ()):
                self.put(pod.key, pod.shape, target, pod.terminating)
        # In the order of slots, as if all had been opened one after the other.
        self.bins = {target.name: target for target in self.by_slot}
        for census in self.census.values():
            census.first_number = 1

    def _arrange(self, order: list[Bin]) -> None:
        """Gives VMs their slots in this order; those that have none yet are about to be opened."""
        moved = [-1] * self.columns.count
        places = np.array([target.slot for target in order], np.int64)
        for slot, target in enumerate(order):
            if target.slot >= 0:
                moved[target.slot] = slot
            target.slot = slot
        self.by_slot = order
        self.columns.arrange(places)
        self.topology.arrange(moved)
        self.classes.arrange(moved)
        self.ports.arrange(moved)
        self.promises = {}

    @property
    def is_worn(self) -> bool:
        """Whether much of what it remembers is there no more: names of VMs, shapes of pods."""
        names, classes = self.node_names.size, len(self.classes)
        return names > 2 * self.columns.count + _SLACK or classes > 2 * self._classes_first + _SLACK

    def truncate(self, count: int) -> None:
        """Forgets the slots from ``count`` on: they were of VMs that only a plan had."""
        for watch in self.promises.values():
            if watch is not None:
                watch.truncate(count)
        del self.by_slot[count:]
        self.columns.truncate(count)
        self.topology.truncate(count)
        self.classes.truncate(count)

    # ----- trying out

    def mark(self) -> int:
        """Begins to note what is done, so that ``rollback`` can take it back; answers a mark.

        Marks nest; each ends in ``rollback`` or ``commit``.
        """
        if self._journal is None:
            self._journal = []
        self._marks += 1
        return len(self._journal)

    def rollback(self, mark: int) -> None:
        """Takes back everything since the mark, last first."""
        journal = self._journal
        assert journal is not None
        self._journal = None
        while len(journal) > mark:
            undo, arguments = journal.pop()
            undo(*arguments)
        self._marks -= 1
        self._journal = journal if self._marks else None

    def on_rollback(self, undo: Callable[..., Any], *arguments: Any) -> None:
        """Has something else taken back with what is done now."""
        if self._journal is not None:
            self._journal.append((undo, arguments))

    def commit(self) -> None:
        """Keeps what was done since the last mark; an outer mark can still take it back."""
        self._marks -= 1
        if not self._marks:
            self._journal = None

    # ----- the same without notes

    def _unput(self, keys: Sequence[str], kind: PodClass, target: Bin, terminating: bool) -> None:
        self.version += 1
        for key in keys:
            del target.pods[key]
            del self.where[key]
        if terminating:
            target.terminating.difference_update(keys)
        self._use(target, kind.shape.requests, -len(keys))
        kind.place(target.slot, -len(keys), terminating)

    def _take(self, key: str, source: Bin) -> None:
        self.version += 1
        del self.where[key]
        requests = source.resized.pop(key, None)
        shape = source.pods.pop(key)
        terminating = key in source.terminating
        source.terminating.discard(key)
        self._use(source, requests or shape.requests, -1)
        kind = self.classes.of(shape)
        kind.place(source.slot, -1, terminating)
        if self._journal is not None:
            self._journal.append((self._untake, (key, kind, source, terminating, requests)))

    def _untake(
        self,
        key: str,
        kind: PodClass,
        source: Bin,
        terminating: bool,
        requests: Resources | None,
    ) -> None:
        self.put_all((key,), kind, source, terminating)
        if requests is not None:
            self._resize_pod(key, source, requests)

    def _resize_pod(self, key: str, target: Bin, requests: Resources | None) -> None:
        self.version += 1
        before = target.requests(key)
        if requests is None:
            target.resized.pop(key, None)
        else:
            target.resized[key] = requests
        after = target.requests(key)
        target.cpu_used -= before.cpu
        target.memory_used -= before.memory
        _use_extended(target, before, -1)
        self._use(target, after, 1)

    def _resize_bin(self, target: Bin, size: Size) -> None:
        self.version += 1
        self.room(target.hypervisor, target.host).take(
            size.cpu - target.cpu, size.memory - target.memory
        )
        pods = None
        if target.vm is None and target.pool is not None:
            pods = self.sizes[target.pool.name].pods(size.cpu)
        target.set_size(size, pods)
        self._show_size(target)
        self._show(target)

    def _set_accepts(self, target: Bin, accepts: bool) -> None:
        self.version += 1
        target.accepts = accepts
        self.columns.takes[target.slot] = accepts and target.name in self.bins
        self.columns.takes_version += 1
        self.touched.append(target.slot)

    def _open(self, target: Bin) -> None:
        self.version += 1
        self.bins_version += 1
        self.bins[target.name] = target
        self.names.add(target.name)
        room = self.room(target.hypervisor, target.host)
        room.take(target.cpu, target.memory)
        room.vms += 1
        columns = self.columns
        if target.slot < 0:
            target.slot = columns.open()
            self.by_slot.append(target)
            columns.extend_values()
        columns.is_open[target.slot] = True
        columns.is_new[target.slot] = target.vm is None
        columns.takes[target.slot] = target.accepts
        columns.takes_version += 1
        columns.open_version += 1
        self._show_size(target)
        self._show(target)
        self._count(target, 1)

    def _close(self, target: Bin) -> None:
        self.version += 1
        self.bins_version += 1
        del self.bins[target.name]
        if target.vm is None:
            self.names.discard(target.name)
            if target.pool is not None:
                self.census[target.pool.name].first_number = 1
        room = self.room(target.hypervisor, target.host)
        room.take(-target.cpu, -target.memory)
        room.vms -= 1
        columns = self.columns
        columns.is_open[target.slot] = columns.takes[target.slot] = False
        self.touched.append(target.slot)
        columns.takes_version += 1
        columns.open_version += 1
        self._count(target, -1)

    def _count(self, target: Bin, number: int) -> None:
        if target.pool is not None and not target.leaving:
            self.census[target.pool.name].add(target, number)

    def _show_size(self, target: Bin) -> None:
        self.columns.cpu[target.slot] = target.cpu
        self.columns.memory[target.slot] = target.memory

    def _use(self, target: Bin, requests: Resources, number: int) -> None:
        target.cpu_used += number * requests.cpu
        target.memory_used += number * requests.memory
        if requests.extended:
            _use_extended(target, requests, number)
        self._show(target)

    def _show(self, target: Bin) -> None:
        """Brings the columns up to date for one bin."""
        columns, slot = self.columns, target.slot
        cpu_used, memory_used = target.cpu_used, target.memory_used
        pods = len(target.pods)
        columns.cpu_used[slot] = cpu_used
        columns.memory_used[slot] = memory_used
        columns.pods[slot] = pods
        columns.cpu_left[slot] = target.line_cpu - cpu_used
        columns.memory_left[slot] = target.line_memory - memory_used
        columns.pods_left[slot] = target.max_pods - pods
        if columns.has_extended:
            columns.reset_extended(slot)
        self.touched.append(slot)

    def _enrol(self, pod: Pod) -> None:
        self.pods[pod.key] = pod
        self.requested.add(pod, 1)
        if pod.node is None:
            self.unbound[pod.key] = pod
            return
        if not pod.daemon:
            self.priorities[pod.shape.priority] += 1
        if pod.node not in self.names:
            self.absent[pod.node] += 1

    def _put_bound(self, pods: Iterable[Pod]) -> None:
        """Bound pods, those of a class on a VM at once."""
        together: dict[tuple[str, str, bool], list[str]] = {}
        shapes: dict[str, PodShape] = {}
        for pod in pods:
            node = pod.node
            if node is not None and node in self.bins:
                shape = pod.shape
                shapes[shape.key] = shape
                group = (node, shape.key, pod.terminating)
                keys = together.get(group)
                if keys is None:
                    together[group] = [pod.key]
                else:
                    keys.append(pod.key)
        for (node, shape_key, terminating), keys in together.items():
            self.put_all(keys, self.classes.of(shapes[shape_key]), self.bins[node], terminating)

    def existing(self, vm: Vm) -> Bin:
        """A VM of the snapshot, not opened yet."""
        pool = self.pools.get(vm.pool) if vm.pool is not None else None
        density = pool.spec.density if pool is not None else None
        return Bin(
            name=vm.name,
            pool=pool,
            vm=vm,
            hypervisor=vm.hypervisor,
            host=vm.host,
            zone=vm.zone,
            labels=vm.labels,
            taints=vm.taints if vm.schedulable else (*vm.taints, CORDON),
            cpu=vm.cpu,
            memory=vm.memory,
            allocatable_cpu=vm.allocatable.cpu,
            allocatable_memory=vm.allocatable.memory,
            extended=vm.allocatable.extended,
            max_pods=vm.max_pods,
            berths_max=_berths_max(vm, pool),
            line_percent=density.load_line_percent if density is not None else 100,
            accepts=_accepts(vm, pool),
        )


def _accepts(vm: Vm, pool: Pool | None) -> bool:
    # A VM on its way whose pool is gone is on nobody's way: it is not counted on.
    usable = vm.ready or (vm.phase in IN_FLIGHT and pool is not None)
    return usable and not is_leaving(vm) and not vm.lost


def is_leaving(vm: Vm) -> bool:
    """Whether the VM is being emptied or deleted."""
    return vm.retiring or vm.phase in LEAVING


_SLACK: Final = 1000
_USUAL_MEMORY_PER_CPU = 4.0 * 1024**3
"""Where pods tell nothing: the ratio of common machine types."""


def _pool_name(target: Bin) -> str | None:
    return target.pool.name if target.pool is not None else None


def _use_extended(target: Bin, requests: Resources, number: int) -> None:
    used = target.extended_used
    for name, amount in requests.extended.items():
        used[name] = used.get(name, 0) + number * amount


def _berths_max(vm: Vm, pool: Pool | None) -> int | None:
    """Berths that the VM may be raised to: the pool's most, but none above what is
    advertised while measured use is over the load line."""
    if pool is None:
        return vm.berths
    density = pool.spec.density
    if vm.berths is not None and over_line_by_use(vm, density.load_line_percent):
        return vm.berths
    return density.pods.max


def over_line_by_use(vm: Vm, line_percent: int) -> bool:
    """Whether measured use is over the load line; False where nothing was measured."""
    return vm.usage is not None and (
        vm.usage.cpu * 100 > vm.allocatable.cpu * line_percent
        or vm.usage.memory * 100 > vm.allocatable.memory * line_percent
    )
