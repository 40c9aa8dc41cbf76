"""The planner's working model: VMs as bins, hosts as room for bins, pods in bins.

A plan is worked out on this mutable model and only then written down; nothing
outside ``decide`` ever sees it. Units: CPU in millicores, memory in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from plimsoll.api import labels as names
from plimsoll.api.vmnode import Phase
from plimsoll.api.vmpool import VMPoolSpec
from plimsoll.decide.plan import Size
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

IN_FLIGHT = frozenset({Phase.REQUESTED, Phase.CREATING, Phase.BOOTING, Phase.JOINING})
LEAVING = frozenset({Phase.DRAINING, Phase.DELETING})


@dataclass
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


@dataclass
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
    """Takes new pods: joining or Ready, not cordoned, not leaving, not lost."""
    cpu_used: int = 0
    memory_used: int = 0
    extended_used: dict[str, int] = field(default_factory=dict)
    pods: dict[str, PodShape] = field(default_factory=dict)
    resized: dict[str, Resources] = field(default_factory=dict)
    """Pods whose requests this plan changes: what they take instead of their shape's."""
    terminating: set[str] = field(default_factory=set)
    """Those of its pods that are on their way out."""
    freed: int = 0
    """Grows whenever there may be more room, so that a remembered "full" is not believed."""

    @property
    def new(self) -> bool:
        return self.vm is None

    @property
    def takes_pods_now(self) -> bool:
        """Its node is Ready, so the scheduler knows it; what is only on its way is not."""
        return self.vm is not None and self.accepts and self.vm.ready

    @property
    def leaving(self) -> bool:
        """Its VM is being emptied or deleted."""
        return self.vm is not None and (self.vm.retiring or self.vm.phase in LEAVING)

    @property
    def line_cpu(self) -> int:
        return self.allocatable_cpu * self.line_percent // 100

    @property
    def line_memory(self) -> int:
        return self.allocatable_memory * self.line_percent // 100

    @property
    def berths_used(self) -> int:
        return self.extended_used.get(names.BERTHS, 0)

    def over_line(self) -> bool:
        return self.cpu_used > self.line_cpu or self.memory_used > self.line_memory

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

    def set_size(self, size: Size) -> None:
        """Changes the VM's size; what the system keeps stays what it is."""
        self.allocatable_cpu += size.cpu - self.cpu
        self.allocatable_memory += size.memory - self.memory
        self.cpu, self.memory = size.cpu, size.memory


def smallest_size(spec: VMPoolSpec, need_cpu: int, need_memory: int) -> Size | None:
    """The smallest size of a pool's VM whose load line holds so many requests.

    ``need_cpu`` and ``need_memory`` are the requests of everything on the VM;
    None when even the largest size is too small.
    """
    line = spec.density.load_line_percent
    reserved = spec.density.reserved

    def steps(need: int, kept: int, low: int, high: int, step: int) -> int | None:
        # line * (size - kept) / 100 >= need, sizes are low + n * step
        wanted = -(-need * 100 // line) + kept
        size = low if wanted <= low else low + -(-(wanted - low) // step) * step
        return size if size <= high else None

    cpu_range, memory_range = spec.size.cpu, spec.size.memory
    cpu = steps(
        need_cpu, reserved.cpu, cpu_range.min * 1000, cpu_range.max * 1000, cpu_range.step * 1000
    )
    memory = steps(
        need_memory, reserved.memory, memory_range.min, memory_range.max, memory_range.step
    )
    return None if cpu is None or memory is None else Size(cpu=cpu, memory=memory)


class Fleet:
    """All bins, hosts and topology counts; pods are put in and taken out here only."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.pools = {pool.name: pool for pool in snapshot.pools}
        self.hypervisors = {h.name: h for h in snapshot.hypervisors}
        self.topology = Topology(snapshot.namespaces)
        self.bins: dict[str, Bin] = {}
        self.names = {vm.name for vm in snapshot.vms}
        """Of all VMs, those to be launched and those to be retired included."""
        self.where: dict[str, str] = {}
        self.rooms: dict[tuple[str, str], HostRoom] = {}
        self.version = 0
        """Grows with every change, so that what was derived can be remembered."""
        self.bins_version = 0
        """Grows when bins come or go."""
        self.kept_promises: tuple[int, tuple[str, ...]] | None = None
        """Remembered by ``survival.kept``: (version, pools)."""
        self._by_pool: dict[str, list[Bin]] = {}
        self._by_pool_version = -1
        for hypervisor in snapshot.hypervisors:
            for host in hypervisor.hosts or ():
                self.rooms[hypervisor.name, host.name] = HostRoom(
                    host, host.cpu - host.cpu_other, host.memory - host.memory_other
                )
        for vm in snapshot.vms:
            self._add_existing(vm)
        for pod in snapshot.pods:
            if pod.node is not None and pod.node in self.bins:
                self.put(pod.key, pod.shape, self.bins[pod.node], pod.terminating)

    def hosts_known(self, hypervisor: Hypervisor) -> bool:
        return hypervisor.hosts is not None

    def room(self, hypervisor: str, host: str) -> HostRoom:
        """Room of a host; a host that no inventory lists has none but what is there."""
        known = self.hypervisors.get(hypervisor)
        if known is None or known.hosts is None:
            return HostRoom(None, None, None)
        return self.rooms.get((hypervisor, host)) or HostRoom(None, 0, 0)

    def put(self, key: str, shape: PodShape, target: Bin, terminating: bool = False) -> None:
        """Puts a pod into a bin, whether it fits or not."""
        self.version += 1
        target.pods[key] = shape
        self.where[key] = target.name
        self._use(target, shape.requests, 1)
        if terminating:
            target.terminating.add(key)
        self.topology.add(shape, target.name, target.labels, 1, terminating)

    def take(self, key: str) -> Bin:
        """Takes a pod out of its bin and returns the bin."""
        self.version += 1
        source = self.bins[self.where.pop(key)]
        source.freed += 1
        self._use(source, source.requests(key), -1)
        source.resized.pop(key, None)
        terminating = key in source.terminating
        source.terminating.discard(key)
        self.topology.add(source.pods.pop(key), source.name, source.labels, -1, terminating)
        return source

    def resize_pod(self, key: str, requests: Resources) -> None:
        """Changes what a pod takes from its bin."""
        target = self.bins[self.where[key]]
        self.version += 1
        target.freed += 1
        self._use(target, target.requests(key), -1)
        target.resized[key] = requests
        self._use(target, requests, 1)

    def resize_bin(self, target: Bin, size: Size) -> None:
        """Changes a VM's size and takes the difference from its host."""
        self.room(target.hypervisor, target.host).take(
            size.cpu - target.cpu, size.memory - target.memory
        )
        target.set_size(size)
        self.version += 1
        target.freed += 1

    def open(self, target: Bin) -> None:
        """Adds a bin and takes its size from its host."""
        self.version += 1
        self.bins_version += 1
        self.bins[target.name] = target
        self.names.add(target.name)
        room = self.room(target.hypervisor, target.host)
        room.take(target.cpu, target.memory)
        room.vms += 1

    def close(self, name: str) -> Bin:
        """Removes an empty bin and gives its size back to its host."""
        self.version += 1
        self.bins_version += 1
        gone = self.bins.pop(name)
        room = self.room(gone.hypervisor, gone.host)
        room.take(-gone.cpu, -gone.memory)
        room.vms -= 1
        return gone

    def of_pool(self, pool: str) -> list[Bin]:
        """The pool's bins that are there to stay, by name."""
        if self._by_pool_version != self.bins_version:
            self._by_pool = {}
            for _, target in sorted(self.bins.items()):
                if target.pool is not None and not target.leaving:
                    self._by_pool.setdefault(target.pool.name, []).append(target)
            self._by_pool_version = self.bins_version
        return self._by_pool.get(pool, [])

    def pods_of(self, pods: dict[str, Pod], target: Bin) -> list[Pod]:
        """The snapshot's pods in a bin, by key."""
        return [pods[key] for key in sorted(target.pods) if key in pods]

    def _use(self, target: Bin, requests: Resources, sign: int) -> None:
        target.cpu_used += sign * requests.cpu
        target.memory_used += sign * requests.memory
        for name, amount in requests.extended.items():
            target.extended_used[name] = target.extended_used.get(name, 0) + sign * amount

    def _add_existing(self, vm: Vm) -> None:
        pool = self.pools.get(vm.pool) if vm.pool is not None else None
        # A VM on its way whose pool is gone is on nobody's way: it is not counted on.
        usable = vm.ready or (vm.phase in IN_FLIGHT and pool is not None)
        density = pool.spec.density if pool is not None else None
        self.open(
            Bin(
                name=vm.name,
                pool=pool,
                vm=vm,
                hypervisor=vm.hypervisor,
                host=vm.host,
                zone=vm.zone,
                labels=vm.labels,
                taints=vm.taints,
                cpu=vm.cpu,
                memory=vm.memory,
                allocatable_cpu=vm.allocatable.cpu,
                allocatable_memory=vm.allocatable.memory,
                extended=vm.allocatable.extended,
                max_pods=vm.max_pods,
                berths_max=_berths_max(vm, pool),
                line_percent=density.load_line_percent if density is not None else 100,
                accepts=usable
                and vm.schedulable
                and not vm.retiring
                and vm.phase not in LEAVING
                and not vm.lost,
            )
        )


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
