"""Containers on VMs as Plimsoll would run them, and on bare metal: both ask the planner.

Every container is pending on an empty fleet, so everything may move; the planner keeps
the scheduler's rules, the pools' sizes and load lines in both alike. A bare-metal host is
a "VM" of a fixed size there: a node with the labels and taints of the pool.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Final

from plimsoll.api import labels as names
from plimsoll.api.hypervisor import Capabilities
from plimsoll.api.vmpool import (
    CpuRange,
    MemoryRange,
    NodeCount,
    PodRange,
    SizeRange,
    Survive,
    VMPoolSpec,
)
from plimsoll.compare.assumptions import Options
from plimsoll.compare.estate import Container, Estate
from plimsoll.compare.hosts import HostSize, Park, pack
from plimsoll.compare.layout import HostUse, Layout, Machine, Way
from plimsoll.compare.spreading import part_hosts, spread
from plimsoll.decide.plan import Plan, Reason
from plimsoll.decide.planner import plan
from plimsoll.world.selectors import node_selector_matches, untolerated
from plimsoll.world.snapshot import Host, Hypervisor, Pod, PodShape, Pool, Resources, Snapshot
from plimsoll.world.wire import Taint

_NOW: Final = 0.0
"""Nothing here depends on the time: no window is asked for, no measurement gets old."""
_EVERY_PRIORITY: Final = -(2**31)
_TRIES: Final = 6
_HELPED_BY_HOSTS: Final = frozenset(
    {Reason.NO_HOST_ROOM, Reason.SURVIVAL, Reason.SPREAD, Reason.ANTI_AFFINITY}
)
_MOST_HOSTS: Final = 5000


def planned(estate: Estate, snapshot: Snapshot, park: Park) -> Layout:
    """On VMs, as the planner places, sizes and launches them.

    Where hosts matter to a rule (an inventory, a survival promise, a rule of a pod about
    hosts) the planner puts the VMs on hosts itself, on as few as it finds enough;
    elsewhere they are packed afterwards.

    Raises:
        TooLarge: a VM is larger than every host.
    """
    survive = max((pool.spec.survive.hosts for pool in snapshot.pools), default=0)
    if park.known or survive or any(names.HOST in _keys(s) for s in estate.shapes):
        layout = _on_hosts(estate, snapshot, park, survive)
    else:
        layout = _packed(estate, snapshot, park)
    part_hosts(layout, estate.containers, *_by_pool(snapshot.pools))
    return layout


def _packed(estate: Estate, snapshot: Snapshot, park: Park) -> Layout:
    """On VMs that are packed on hosts afterwards."""
    unbounded = tuple(_hypervisor(h.name, None, h.capabilities) for h in snapshot.hypervisors)
    layout = _layout(_plan(estate, snapshot, unbounded, snapshot.pools), estate, snapshot.pools)
    pack(layout, {c.key: c.workload for c in estate.containers}, park, 0)
    return layout


def bare_metal(
    estate: Estate, snapshot: Snapshot, park: Park, options: Options, spare: int
) -> Layout:
    """On hosts that are nodes themselves, whole hosts at a time."""
    origins: dict[str, str] = {}
    pools = []
    for pool in _templates(snapshot.pools):
        for number, (size, most, zones) in enumerate(_classes(park), start=1):
            spec = _bare_spec(pool.spec, size, most, zones, options)
            name = f"{pool.name}-host-{number}"
            origins[name] = pool.name
            pools.append(Pool(name=name, spec=spec, daemons=pool.daemons))
    metal = Hypervisor(name="metal")
    layout = _layout(
        _plan(estate, snapshot, (metal,), tuple(pools)), estate, tuple(pools), Way.BARE_METAL
    )
    for machine in layout.machines:
        machine.pool, machine.host = origins[machine.pool], machine.name
    layout.hosts = [HostUse(m.name, m.cpu, m.memory) for m in layout.machines]
    layout.spare = spare
    if park.known:
        layout.beyond = max(0, len(layout.hosts) + spare - len(park.known))
    return layout


def _keys(shape: PodShape) -> set[str]:
    """Node labels by whose values a pod's rules count domains."""
    keys = {constraint.topology_key for constraint in shape.spread}
    keys.update(term.topology_key for term in (*shape.affinity, *shape.anti_affinity))
    return keys


def _hypervisor(
    name: str, hosts: Iterable[HostSize] | None, capabilities: Capabilities
) -> Hypervisor:
    if hosts is None:
        return Hypervisor(name=name, capabilities=capabilities)
    return Hypervisor(
        name=name,
        capabilities=capabilities,
        hosts=tuple(
            Host(name=h.name, hypervisor=name, zone=h.zone, cpu=h.vm_cpu, memory=h.vm_memory)
            for h in sorted(hosts, key=lambda h: h.name)
        ),
    )


def _plan(
    estate: Estate,
    snapshot: Snapshot,
    hypervisors: tuple[Hypervisor, ...],
    pools: tuple[Pool, ...],
) -> Plan:
    return plan(
        Snapshot(
            hypervisors=hypervisors,
            pools=tuple(sorted(pools, key=lambda p: p.name)),
            pods=tuple(_pending(container) for container in estate.containers),
            namespaces=snapshot.namespaces,
            expendable_below=_EVERY_PRIORITY,
        ),
        _NOW,
    )


def _pending(container: Container) -> Pod:
    namespace, _, name = container.key.partition("/")
    return Pod(namespace=namespace, name=name, uid="", shape=container.shape, node=None)


def _layout(
    found: Plan, estate: Estate, pools: tuple[Pool, ...], way: Way = Way.PLIMSOLL
) -> Layout:
    """The VMs that a plan launches, and what it places in them."""
    vms = sorted((m.vm for m in found.moves if m.vm is not None), key=lambda vm: _natural(vm.name))
    numbers = {vm.name: number for number, vm in enumerate(vms)}
    layout = Layout(
        way,
        [Machine(v.name, v.size.cpu, v.size.memory, v.pool, v.zone, v.host) for v in vms],
        {
            c.key: numbers[found.placements[c.key]]
            for c in estate.containers
            if c.key in found.placements
        },
        {u.pod: f"{u.reason.value}: {'; '.join(u.why.values())}" for u in found.unplaced},
    )
    specs, daemons = _by_pool(pools)
    for machine in layout.machines:
        layout.daemon_cpu += daemons[machine.pool].cpu
        layout.daemon_memory += daemons[machine.pool].memory
    spread(layout, estate.containers, specs, daemons)
    layout.notes += [
        f"Pool {name} does not keep its survival promise: {broken}"
        for name, broken in sorted(found.survival.items())
    ]
    return layout


def _natural(name: str) -> tuple[str, int]:
    pool, _, number = name.rpartition("-")
    return pool, int(number) if number.isdigit() else 0


def _by_pool(
    pools: Iterable[Pool],
) -> tuple[dict[str, VMPoolSpec], dict[str, Resources]]:
    """Specs, and what DaemonSet pods request on each VM, by pool."""
    pools = tuple(pools)
    return {p.name: p.spec for p in pools}, {p.name: _daemons(p) for p in pools}


def _daemons(pool: Pool) -> Resources:
    """What DaemonSet pods request on every VM of a pool, and how many they are."""
    template = pool.spec.template
    labels = names.node_labels("", template.labels, pool.name, pool.spec.hypervisor, "", "")
    taints = [Taint(key=t.key, value=t.value, effect=t.effect) for t in template.taints]
    mine = [
        shape.requests
        for shape in pool.daemons
        if all(labels.get(key) == value for key, value in shape.node_selector.items())
        and node_selector_matches(shape.node_affinity, labels, "")
        and untolerated(taints, shape.tolerations) is None
    ]
    return Resources(
        cpu=sum(r.cpu for r in mine),
        memory=sum(r.memory for r in mine),
        extended={"pods": len(mine)},
    )


def _on_hosts(estate: Estate, snapshot: Snapshot, park: Park, survive: int) -> Layout:
    """On the fewest hosts found to be enough: what the sums need, then more of them."""
    number = _least_hosts(estate, snapshot, park, survive)
    best: tuple[tuple[int, int], Layout] | None = None
    for _ in range(_TRIES):
        hosts = _first(park, number)
        found = _plan(estate, snapshot, tuple(_given(snapshot, hosts)), snapshot.pools)
        rating = len(found.unplaced), len(found.survival)
        if best is None or rating < best[0]:
            layout = _layout(found, estate, snapshot.pools)
            _use(layout, hosts, park, survive)
            best = rating, layout
        lacking = {u.reason for u in found.unplaced}
        if rating == (0, 0) or (lacking and not lacking & _HELPED_BY_HOSTS):
            break
        number = min(_MOST_HOSTS, number + max(1, number // 8))
    assert best is not None
    return best[1]


def _first(park: Park, number: int) -> list[HostSize]:
    hosts = park.hosts()
    return [next(hosts) for _ in range(number)]


def _given(snapshot: Snapshot, hosts: list[HostSize]) -> Iterator[Hypervisor]:
    """The hypervisors with no more than these hosts; hosts of no known one serve the first."""
    for number, hypervisor in enumerate(snapshot.hypervisors):
        mine = [
            h for h in hosts if h.hypervisor == hypervisor.name or (not h.hypervisor and not number)
        ]
        unknown = not mine and hypervisor.hosts is None
        yield _hypervisor(hypervisor.name, None if unknown else mine, hypervisor.capabilities)


def _use(layout: Layout, hosts: list[HostSize], park: Park, survive: int) -> None:
    used = {machine.host for machine in layout.machines}
    layout.hosts = [host.use for host in hosts if host.name in used]
    if survive:
        layout.spare = len(hosts) - len(layout.hosts)
    if park.known:
        layout.beyond = max(0, len(layout.hosts) + layout.spare - len(park.known))


def _least_hosts(estate: Estate, snapshot: Snapshot, park: Park, survive: int) -> int:
    """Hosts without which there is no place for all: by the sums, and by the rules on hosts."""
    spec = max((pool.spec for pool in snapshot.pools), key=lambda s: s.size.cpu.max)
    line, reserved = spec.density.load_line_percent, spec.density.reserved
    cpu = sum(c.shape.requests.cpu for c in estate.containers) * 100 // line
    memory = sum(c.shape.requests.memory for c in estate.containers) * 100 // line
    vms = max(
        cpu // max(1, spec.size.cpu.max * 1000 - reserved.cpu),
        memory // max(1, spec.size.memory.max - reserved.memory),
        len(estate.containers) // spec.density.pods.max,
    )
    cpu, memory = cpu + vms * reserved.cpu, memory + vms * reserved.memory
    hosts, cpu_given, memory_given, enough = park.hosts(), 0, 0, 0
    while (cpu_given < cpu or memory_given < memory) and enough < _MOST_HOSTS:
        host = next(hosts)
        cpu_given, memory_given = cpu_given + host.vm_cpu, memory_given + host.vm_memory
        enough += 1
    apart = (
        constraint.min_domains or 1
        for shape in estate.shapes
        for constraint in shape.spread
        if constraint.topology_key == names.HOST
    )
    by_zone = any(names.ZONE in _keys(shape) for shape in estate.shapes)
    zones = len({host.zone for host in park.known}) if by_zone else 1
    return max(1, enough + survive, zones, *apart)


def _templates(pools: Iterable[Pool]) -> Iterator[Pool]:
    """Pools of which the nodes differ: a host serves all that are alike."""
    seen: set[str] = set()
    for pool in pools:
        text = json.dumps(pool.spec.template.model_dump(mode="json"), sort_keys=True)
        if text not in seen:
            seen.add(text)
            yield pool


def _classes(park: Park) -> Iterator[tuple[HostSize, int, tuple[str, ...]]]:
    """Sizes of hosts, how many there are of each, and their zones; the largest without end."""
    sizes: dict[tuple[int, int], list[HostSize]] = {}
    for host in park.known or (park.like,):
        sizes.setdefault((host.cpu, host.memory), []).append(host)
    for (cpu, memory), some in sorted(sizes.items(), reverse=True):
        largest = (cpu, memory) == (park.like.cpu, park.like.memory)
        zones = tuple(sorted({host.zone for host in some if host.zone}))
        yield some[0], _MOST_HOSTS if largest else len(some), zones


def _bare_spec(
    spec: VMPoolSpec, host: HostSize, most: int, zones: tuple[str, ...], options: Options
) -> VMPoolSpec:
    cpu, memory = host.cpu // 1000, host.memory
    least = min(spec.density.pods.min, options.host_pods)
    return spec.model_copy(
        update={
            "hypervisor": "metal",
            "replicas": None,
            "nodes": NodeCount(max=most),
            "size": SizeRange(
                cpu=CpuRange(min=cpu, max=cpu), memory=MemoryRange(min=memory, max=memory)
            ),
            "density": spec.density.model_copy(
                update={"pods": PodRange(min=least, max=options.host_pods)}
            ),
            "cost": spec.cost.model_copy(update={"per_vm": 0}),
            "zones": zones or spec.zones,
            "survive": Survive(),
        }
    )
