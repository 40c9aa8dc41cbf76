"""The pools that VMs are made from: those of the dump, else pools derived from its nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import median_high
from typing import Final, NamedTuple

from plimsoll.api import VMPool
from plimsoll.api import labels as names
from plimsoll.api.base import ObjectMeta
from plimsoll.api.common import Taint
from plimsoll.api.quantity import format_bytes, format_milli
from plimsoll.api.vmpool import (
    CpuRange,
    Density,
    MemoryRange,
    NodeCount,
    PodRange,
    Reserved,
    SizeRange,
    Template,
    VMPoolSpec,
)
from plimsoll.compare.assumptions import (
    GIB,
    Fact,
    OptionError,
    Options,
    Origin,
    Range,
    flags,
)
from plimsoll.compare.estate import is_control_plane
from plimsoll.world import wire
from plimsoll.world.objects import Objects
from plimsoll.world.requests import amounts

HYPERVISOR: Final = "assumed"
"""Hypervisor of derived pools, where the dump has none."""
MOST: Final = 5000
"""VMs of a derived pool: as many as a VMPool can have."""

_DEFAULT_CPU: Final = Range(2, 16)
_DEFAULT_MEMORY: Final = Range(4 * GIB, 64 * GIB)
_SMALLEST_CPU: Final = 2
_SMALLEST_MEMORY: Final = 2 * GIB
_OF_THE_MACHINE: Final = frozenset({names.HOSTNAME, names.ZONE, names.POOL, names.HOST})
"""Labels by which nodes differ that pods could be placed on alike; zones are a pool's own."""
_PASSING: Final = "node.kubernetes.io/"
"""Prefix of taints that follow a node's conditions."""

_Group = tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str, str], ...]]
"""Labels that pods ask for, and taints."""


class Pools(NamedTuple):
    """VMPools to compare with, and what is to be said of them."""

    pools: tuple[VMPool, ...]
    derived: bool
    facts: tuple[Fact, ...]
    of_node: Mapping[str, str]
    """Node of today -> name of the pool derived from it."""


def pools_of(objects: Objects, options: Options) -> Pools:
    """The dump's VMPools, or derived ones, with what options say instead.

    Raises:
        OptionError: an option does not go with a pool.
    """
    derived = not objects.pools
    home = min((h.metadata.name for h in objects.hypervisors), default=HYPERVISOR)
    made = _derived(objects, home, options) if derived else [(pool, ()) for pool in objects.pools]
    made.sort(key=lambda item: item[0].metadata.name)
    pools = tuple(
        pool.model_copy(update={"spec": _told(pool.metadata.name, pool.spec, options)})
        for pool, _ in made
    )
    return Pools(
        pools=pools,
        derived=derived,
        facts=tuple(_facts(pools, _origin(objects), derived, options)),
        of_node={node: pool.metadata.name for pool, some in made for node in some},
    )


def _origin(objects: Objects) -> Origin:
    return Origin.MEASURED if objects.pools or _workers(objects) else Origin.ASSUMED


def _workers(objects: Objects) -> list[wire.Node]:
    """Nodes that tell how large they are, without those of the control plane."""
    return [
        node
        for node in objects.nodes
        if (node.status.capacity or node.status.allocatable)
        and not is_control_plane(node.metadata.labels, node.spec.taints)
    ]


def _derived(objects: Objects, home: str, options: Options) -> list[tuple[VMPool, Sequence[str]]]:
    """A pool for each sort of node that pods tell apart; one of defaults if there is no node."""
    asked = _asked(objects.pods)
    groups: defaultdict[_Group, list[wire.Node]] = defaultdict(list)
    for node in sorted(_workers(objects), key=lambda n: n.metadata.name):
        labels = {k: v for k, v in node.metadata.labels.items() if k in asked}
        taints = {
            (taint.key, taint.value, taint.effect)
            for taint in node.spec.taints
            if not taint.key.startswith(_PASSING)
        }
        groups[tuple(sorted(labels.items())), tuple(sorted(taints))].append(node)
    if not groups:
        return [(_default(home, options), ())]
    several = len(groups) > 1
    return [
        (
            _of_nodes(f"vms-{number}" if several else "vms", home, group, nodes, options),
            [node.metadata.name for node in nodes],
        )
        for number, (group, nodes) in enumerate(sorted(groups.items()), start=1)
    ]


def _asked(pods: Sequence[wire.Pod]) -> frozenset[str]:
    """Node labels that pods select by, or count domains by."""
    asked: set[str] = set()
    for pod in pods:
        spec = pod.spec
        asked.update(spec.node_selector)
        asked.update(c.topology_key for c in spec.topology_spread_constraints)
        affinity = spec.affinity
        if affinity is None:
            continue
        if affinity.node_affinity is not None and affinity.node_affinity.required is not None:
            for term in affinity.node_affinity.required.node_selector_terms:
                asked.update(r.key for r in term.match_expressions)
        for other in (affinity.pod_affinity, affinity.pod_anti_affinity):
            if other is not None:
                asked.update(term.topology_key for term in other.required)
    return frozenset(asked - _OF_THE_MACHINE)


def _default(home: str, options: Options) -> VMPool:
    """A pool where there are no nodes to derive one from."""
    (cpu, cpu_most), (memory, memory_most) = _DEFAULT_CPU, _DEFAULT_MEMORY
    least_cpu = max(cpu, options.guest_cpu // 1000 + 1)
    least_memory = max(memory, (options.guest_memory // GIB + 1) * GIB)
    return _pool(
        "vms",
        home,
        Range(least_cpu, max(cpu_most, least_cpu)),
        Range(least_memory, max(memory_most, least_memory)),
    )


def _of_nodes(
    name: str, home: str, group: _Group, nodes: list[wire.Node], options: Options
) -> VMPool:
    labels, taints = group
    capacity = [amounts(n.status.capacity or n.status.allocatable) for n in nodes]
    free = [amounts(n.status.allocatable or n.status.capacity) for n in nodes]
    both = list(zip(capacity, free, strict=True))
    kept_cpu, kept_memory = (
        max(0, median_high(has.get(name, 0) - left.get(name, 0) for has, left in both))
        for name in ("cpu", "memory")
    )
    most_cpu = max(1, -(-max(has.get("cpu", 0) for has in capacity) // 1000))
    most_memory = max(GIB, -(-max(has.get("memory", 0) for has in capacity) // GIB) * GIB)
    # The smallest VM must hold what its system keeps, and something besides.
    least_cpu = max(_SMALLEST_CPU, max(kept_cpu, options.guest_cpu) // 1000 + 1)
    system = max(kept_memory, options.guest_memory)
    least_memory = max(_SMALLEST_MEMORY, (system // GIB + 1) * GIB)
    return _pool(
        name,
        home,
        Range(min(most_cpu, least_cpu), most_cpu),
        Range(min(most_memory, least_memory), most_memory),
        kept=(kept_cpu, kept_memory),
        pods=median_high(left.get("pods", 0) for left in free),
        zones=tuple(sorted({z for n in nodes if (z := n.metadata.labels.get(names.ZONE))})),
        template=Template(
            labels=dict(labels),
            taints=tuple(Taint(key=k, value=v, effect=e) for k, v, e in taints),
        ),
    )


def _pool(
    name: str,
    home: str,
    cpu: Range,
    memory: Range,
    *,
    kept: tuple[int, int] = (0, 0),
    pods: int = 0,
    zones: tuple[str, ...] = (),
    template: Template | None = None,
) -> VMPool:
    # A node from a hand-written file need not say how many pods it takes.
    most = min(1000, pods) or PodRange().max
    return VMPool(
        metadata=ObjectMeta(name=name),
        spec=VMPoolSpec(
            hypervisor=home,
            nodes=NodeCount(max=MOST),
            size=SizeRange(
                cpu=CpuRange(min=cpu.low, max=cpu.high),
                memory=MemoryRange(min=memory.low, max=memory.high),
            ),
            density=Density(
                pods=PodRange(min=min(PodRange().min, most), max=most),
                reserved=Reserved(cpu=format_milli(kept[0]), memory=kept[1]),
            ),
            zones=zones,
            template=template or Template(),
        ),
    )


def _told(name: str, spec: VMPoolSpec, options: Options) -> VMPoolSpec:
    """The spec with what options say instead, and with room for the guest's system."""
    size, density, cost = spec.size, spec.density, spec.cost
    if options.vm_cpu is not None:
        low, high = options.vm_cpu
        size = size.model_copy(update={"cpu": CpuRange(min=low, max=high)})
    if options.vm_memory is not None:
        low, high = options.vm_memory
        memory = MemoryRange(min=low, max=high, step=_step(high - low))
        size = size.model_copy(update={"memory": memory, "memory_per_cpu": None})
    reserved = density.reserved.model_copy(
        update={
            "cpu": max(density.reserved.cpu, options.guest_cpu),
            "memory": max(density.reserved.memory, options.guest_memory),
        }
    )
    _check(name, size, reserved)
    changes: dict[str, object] = {"reserved": reserved}
    if options.load_line is not None:
        changes["load_line_percent"] = options.load_line
    if options.vm_pods is not None:
        least = min(density.pods.min, options.vm_pods)
        changes["pods"] = density.pods.model_copy(update={"min": least, "max": options.vm_pods})
    prices = {
        "per_vm": options.cost_per_vm,
        "per_cpu": options.cost_per_cpu,
        "per_gib": options.cost_per_gib,
    }
    cost = cost.model_copy(update={k: v for k, v in prices.items() if v is not None})
    survive = spec.survive
    if options.survive_hosts is not None:
        survive = survive.model_copy(update={"hosts": options.survive_hosts})
    return spec.model_copy(
        update={
            "size": size,
            "density": density.model_copy(update=changes),
            "cost": cost,
            "survive": survive,
        }
    )


def _step(span: int) -> int:
    """Steps of a GiB where they reach the end, else of a MiB, else one single step."""
    for step in (GIB, GIB // 1024):
        if span % step == 0:
            return step
    return span


def _check(name: str, size: SizeRange, reserved: Reserved) -> None:
    if reserved.cpu >= size.cpu.min * 1000:
        raise OptionError(
            flags("guest_cpu", "vm_cpu"),
            f"the system of a VM keeps {format_milli(reserved.cpu)} CPU, and the smallest VM of "
            f"pool {name} has no more than {size.cpu.min}: give less or larger VMs",
        )
    if reserved.memory >= size.memory.min:
        raise OptionError(
            flags("guest_memory", "vm_memory"),
            f"the system of a VM keeps {format_bytes(reserved.memory)}, and the smallest VM of "
            f"pool {name} has no more than {format_bytes(size.memory.min)}: give less or larger "
            "VMs",
        )


def _facts(
    pools: tuple[VMPool, ...], origin: Origin, derived: bool, options: Options
) -> Iterator[Fact]:
    told = Origin.ASSUMED if derived else origin
    source = " (derived from nodes)" if derived and origin is Origin.MEASURED else ""
    for pool in pools:
        name, spec = pool.metadata.name, pool.spec
        size, density, cost = spec.size, spec.density, spec.cost
        changed = options.given("vm_cpu", "vm_memory", "vm_pods") is Origin.GIVEN
        yield Fact(
            f"size of a VM, pool {name}{source}",
            f"{size.cpu.min}-{size.cpu.max} CPUs, {format_bytes(size.memory.min)}-"
            f"{format_bytes(size.memory.max)}, at most {density.pods.max} pods",
            Origin.GIVEN if changed else origin,
            flags("vm_cpu", "vm_memory", "vm_pods"),
        )
        yield Fact(
            f"kept back in a VM, pool {name}",
            f"{format_milli(density.reserved.cpu)} CPU, {format_bytes(density.reserved.memory)}",
            origin,
            flags("guest_cpu", "guest_memory"),
        )
        yield Fact(
            f"load line, pool {name}",
            f"{density.load_line_percent}% of the rest",
            Origin.GIVEN if options.load_line is not None else told,
            flags("load_line"),
        )
        priced = options.given("cost_per_vm", "cost_per_cpu", "cost_per_gib") is Origin.GIVEN
        yield Fact(
            f"cost, pool {name}",
            f"{_unit(cost.per_vm)} per VM, {_unit(cost.per_cpu)} per CPU, "
            f"{_unit(cost.per_gib)} per GiB",
            Origin.GIVEN if priced else told,
            flags("cost_per_vm", "cost_per_cpu", "cost_per_gib"),
        )


def _unit(milli: int) -> str:
    return f"{milli / 1000:g}"
