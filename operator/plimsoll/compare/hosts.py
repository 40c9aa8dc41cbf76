"""Physical hosts, and which VM runs on which of them.

Where nothing says on which hosts VMs run, they are packed by first-fit decreasing: the
largest VM first (by its greater share of a host's CPU or memory), each on the first host
in use that has room for it, is of its zone, and would not become the only host of a
workload that runs in several VMs; else on the first with room; else on a further host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final, NamedTuple

from plimsoll.api import VMPool
from plimsoll.api.quantity import format_bytes, format_milli
from plimsoll.compare.assumptions import GIB, Fact, Options, Origin, cpu_and_memory, flags
from plimsoll.compare.layout import HostUse, Layout, Machine
from plimsoll.world.objects import Objects
from plimsoll.world.snapshot import Hypervisor, Snapshot, Vm

_CPU: Final = 64_000
_CPU_STEP: Final = 16_000
_MEMORY: Final = 512 * GIB
_MEMORY_STEP: Final = 64 * GIB

PACKING: Final = (
    "largest first, each on the first host with room; not all VMs of a workload on one host, "
    "unless that took a further host"
)

_NOWHERE: Final = -1
_SEVERAL: Final = -2


@dataclass(frozen=True)
class HostSize:
    """One physical machine. Millicores and bytes."""

    name: str
    hypervisor: str
    cpu: int
    """Physical, without overcommitment."""
    memory: int
    vm_cpu: int
    """What may be given to VMs."""
    vm_memory: int
    zone: str = ""

    @property
    def use(self) -> HostUse:
        return HostUse(self.name, self.cpu, self.memory)


@dataclass(frozen=True)
class Park:
    """The hosts that there are, and what further ones are taken to be like."""

    known: tuple[HostSize, ...]
    """The inventory, largest first and zone by zone in turn; empty: none is known."""
    like: HostSize
    """Further hosts are of this size."""
    facts: tuple[Fact, ...]

    def hosts(self) -> Iterator[HostSize]:
        """The inventory, then further hosts without end."""
        yield from self.known
        taken = {host.name for host in self.known}
        number = 0
        while True:
            number += 1
            name = f"host-{number}"
            if name not in taken:
                yield _named(self.like, name)


def _named(host: HostSize, name: str) -> HostSize:
    return HostSize(
        name, host.hypervisor, host.cpu, host.memory, host.vm_cpu, host.vm_memory, host.zone
    )


def park_of(
    objects: Objects,
    snapshot: Snapshot,
    nodes: tuple[Vm, ...],
    pools: tuple[VMPool, ...],
    options: Options,
) -> Park:
    """The hosts of the dump's inventory; else hosts of a size that is given or assumed."""
    if options.host_cpu is None and options.host_memory is None:
        known = _in_turn(list(_inventory(objects, snapshot.hypervisors, options)))
        if known:
            like = max(known, key=lambda h: (h.cpu, h.memory))
            return Park(known, _without_zone(like), tuple(_of_inventory(known, like, options)))
    like = _assumed(nodes, pools, options)
    return Park((), like, tuple(_of_assumed(like, options)))


def _without_zone(host: HostSize) -> HostSize:
    return HostSize(host.name, host.hypervisor, host.cpu, host.memory, host.vm_cpu, host.vm_memory)


def _inventory(
    objects: Objects, hypervisors: tuple[Hypervisor, ...], options: Options
) -> Iterator[HostSize]:
    percents = {h.metadata.name: h.spec.cpu_overcommit_percent for h in objects.hypervisors}
    for hypervisor in hypervisors:
        percent = percents.get(hypervisor.name, 100)
        for host in hypervisor.hosts or ():
            if host.state != "Up":
                continue
            cpu = host.cpu * 100 // percent
            yield HostSize(
                host.name,
                hypervisor.name,
                cpu,
                host.memory,
                cpu * (options.cpu_overcommit or percent) // 100,
                host.memory,
                host.zone,
            )


def _in_turn(hosts: list[HostSize]) -> tuple[HostSize, ...]:
    """Largest first, and the zones in turn, so that the first few hosts are in many zones."""
    zones: dict[str, list[HostSize]] = {}
    for host in sorted(hosts, key=lambda h: (-h.cpu, -h.memory, h.name)):
        zones.setdefault(host.zone, []).append(host)
    rows = zip_longest(*(zones[zone] for zone in sorted(zones)))
    return tuple(host for row in rows for host in row if host is not None)


def _assumed(nodes: tuple[Vm, ...], pools: tuple[VMPool, ...], options: Options) -> HostSize:
    """A host of the size given; by default one that holds every VM of today or of a pool."""
    percent = options.cpu_overcommit or 100
    cpus = [vm.cpu for vm in nodes] + [pool.spec.size.cpu.max * 1000 for pool in pools]
    memories = [vm.memory for vm in nodes] + [pool.spec.size.memory.max for pool in pools]
    least_cpu = (max(cpus) + options.hypervisor_cpu) * 100 // percent
    least_memory = max(memories) + options.hypervisor_memory
    cpu = options.host_cpu * 1000 if options.host_cpu else _up(least_cpu, _CPU, _CPU_STEP)
    memory = options.host_memory or _up(least_memory, _MEMORY, _MEMORY_STEP)
    return HostSize(
        "host",
        "",
        cpu,
        memory,
        max(0, cpu - options.hypervisor_cpu) * percent // 100,
        max(0, memory - options.hypervisor_memory),
    )


def _up(wanted: int, least: int, step: int) -> int:
    return least if wanted <= least else least + -(-(wanted - least) // step) * step


def _of_inventory(known: tuple[HostSize, ...], like: HostSize, options: Options) -> Iterator[Fact]:
    yield Fact(
        "hosts",
        f"{len(known)} that are Up, taken as empty; the largest has "
        f"{cpu_and_memory(like.cpu, like.memory)}, and further ones are like it",
        Origin.MEASURED,
        flags("host_cpu", "host_memory"),
    )
    given = options.cpu_overcommit is not None
    yield Fact(
        "virtual CPUs for 100 physical ones",
        str(like.vm_cpu * 100 // like.cpu),
        Origin.GIVEN if given else Origin.MEASURED,
        flags("cpu_overcommit"),
    )


def _of_assumed(like: HostSize, options: Options) -> Iterator[Fact]:
    yield Fact(
        "size of a host",
        cpu_and_memory(like.cpu, like.memory),
        options.given("host_cpu", "host_memory"),
        flags("host_cpu", "host_memory"),
    )
    yield Fact(
        "virtual CPUs for 100 physical ones",
        str(options.cpu_overcommit or 100),
        options.given("cpu_overcommit"),
        flags("cpu_overcommit"),
    )
    yield Fact(
        "hypervisor, each host with VMs",
        cpu_and_memory(options.hypervisor_cpu, options.hypervisor_memory),
        options.given("hypervisor_cpu", "hypervisor_memory"),
        flags("hypervisor_cpu", "hypervisor_memory"),
    )


class TooLarge(ValueError):
    """A VM that no host holds."""

    def __init__(self, machine: Machine, park: Park) -> None:
        super().__init__(
            f"{flags('host_cpu', 'host_memory')}: VM {machine.name} "
            f"({format_milli(machine.cpu)} CPU, {format_bytes(machine.memory)}) is larger than "
            f"what a host gives to VMs ({format_milli(park.like.vm_cpu)} CPU, "
            f"{format_bytes(park.like.vm_memory)}): give larger hosts"
        )


@dataclass(slots=True)
class _Open:
    """A host in use, and what it has left for VMs."""

    size: HostSize
    cpu: int
    memory: int
    zone: str

    @classmethod
    def of(cls, size: HostSize) -> _Open:
        return cls(size, size.vm_cpu, size.vm_memory, size.zone)

    def takes(self, machine: Machine) -> bool:
        return (
            machine.cpu <= self.cpu
            and machine.memory <= self.memory
            and (not machine.zone or not self.zone or machine.zone == self.zone)
        )

    def put(self, machine: Machine) -> None:
        self.cpu -= machine.cpu
        self.memory -= machine.memory
        self.zone = self.zone or machine.zone


def fits_any(park: Park, cpu: int, memory: int) -> bool:
    """Whether some host holds a VM of so many millicores and bytes."""
    return any(cpu <= host.vm_cpu and memory <= host.vm_memory for host in (*park.known, park.like))


def pack(layout: Layout, workloads: Mapping[str, str], park: Park, spare: int) -> None:
    """Puts the VMs of a layout on hosts, by this module's rule.

    ``workloads``: key of a container -> its workload. ``spare``: hosts kept free besides.

    Raises:
        TooLarge: a VM is larger than every host.
    """
    order = sorted(
        range(len(layout.machines)),
        key=lambda n: (_rank(layout.machines[n], park.like), layout.machines[n].name),
    )
    closest = _fit(layout.machines, order, park, None, 0)
    # Once more with as many hosts in use from the start: now there is a choice.
    apart = _fit(layout.machines, order, park, _Together(layout, workloads), len(closest.hosts))
    chosen = apart if len(apart.hosts) <= len(closest.hosts) else closest
    for number, at in chosen.at.items():
        layout.machines[number].host = chosen.hosts[at].name
    used = set(chosen.at.values())
    layout.hosts = [host.use for at, host in enumerate(chosen.hosts) if at in used]
    layout.spare = spare
    if park.known:
        layout.beyond = max(0, len(layout.hosts) + spare - len(park.known))


class _Fit(NamedTuple):
    hosts: list[HostSize]
    at: dict[int, int]
    """Number of a VM -> number of its host."""


def _fit(
    machines: list[Machine], order: list[int], park: Park, together: _Together | None, begun: int
) -> _Fit:
    """First-fit in an order, with some hosts in use from the start."""
    source = park.hosts()
    hosts = [_Open.of(next(source)) for _ in range(begun)]
    at: dict[int, int] = {}
    # Hosts only fill up, so VMs of one size never fit again where one of them did not.
    start: dict[tuple[int, int, str], int] = {}
    for number in order:
        machine = machines[number]
        kind = machine.cpu, machine.memory, machine.zone
        if kind not in start and not fits_any(park, machine.cpu, machine.memory):
            raise TooLarge(machine, park)
        first = start.get(kind, 0)
        while first == len(hosts) or not hosts[first].takes(machine):
            if first == len(hosts):
                hosts.append(_Open.of(next(source)))
            else:
                first += 1
        start[kind] = chosen = first
        if together is not None and together.would_gather(number, first):
            others = (n for n in range(first + 1, len(hosts)) if hosts[n].takes(machine))
            chosen = next((n for n in others if not together.would_gather(number, n)), first)
        hosts[chosen].put(machine)
        at[number] = chosen
        if together is not None:
            together.put(number, chosen)
    return _Fit([host.size for host in hosts], at)


def _rank(machine: Machine, like: HostSize) -> tuple[float, float]:
    shares = machine.cpu / like.vm_cpu, machine.memory / like.vm_memory
    return -max(shares), -min(shares)


class _Together:
    """Keeps the VMs of one workload from all coming to one host."""

    def __init__(self, layout: Layout, workloads: Mapping[str, str]) -> None:
        spread: dict[str, set[int]] = {}
        for key, number in layout.placed.items():
            spread.setdefault(workloads[key], set()).add(number)
        self._left = {name: len(some) for name, some in spread.items() if len(some) > 1}
        """VMs of a workload that are on no host yet."""
        self._on = dict.fromkeys(self._left, _NOWHERE)
        """The host of those that are, or that there are several."""
        self._of: dict[int, list[str]] = {}
        for name in self._left:
            for number in spread[name]:
                self._of.setdefault(number, []).append(name)

    def would_gather(self, number: int, host: int) -> bool:
        return any(
            self._left[name] == 1 and self._on[name] == host for name in self._of.get(number, ())
        )

    def put(self, number: int, host: int) -> None:
        for name in self._of.get(number, ()):
            self._left[name] -= 1
            if self._on[name] == _NOWHERE:
                self._on[name] = host
            elif self._on[name] != host:
                self._on[name] = _SEVERAL
