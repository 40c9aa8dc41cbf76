"""The comparison: files in, the four ways out. Pure but for what it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from plimsoll.api import labels as names
from plimsoll.api.hypervisor import Capabilities
from plimsoll.api.quantity import format_bytes
from plimsoll.compare.as_is import as_is
from plimsoll.compare.assumptions import Fact, Options, Origin, cpu_and_memory, flags
from plimsoll.compare.estate import Estate, estate_of
from plimsoll.compare.figures import Figures, figures_of
from plimsoll.compare.hosts import PACKING, park_of
from plimsoll.compare.layout import TITLES, Layout, Way
from plimsoll.compare.own_vm import MEMORY_STEP, one_app_per_vm
from plimsoll.compare.planned import bare_metal, planned
from plimsoll.compare.pools import pools_of
from plimsoll.world.assemble import assemble
from plimsoll.world.objects import Objects, Observations
from plimsoll.world.snapshot import PodShape, Snapshot

_NAMED: Final = 3


@dataclass(frozen=True)
class Comparison:
    """The four ways of one dump."""

    containers: int
    workloads: int
    replicated: int
    """Workloads of more than one replica."""
    cpu: int
    """Requested by all containers, in millicores."""
    memory: int
    figures: dict[Way, Figures]
    """Of the ways that are known, in the order in which they are shown."""
    facts: tuple[Fact, ...]
    notes: tuple[str, ...]


def compare(objects: Objects, observations: Observations, options: Options) -> Comparison:
    """Runs the containers of a dump in four ways.

    Raises:
        NothingToCompare: there are no containers, or no nodes for those that are bound.
        OptionError: an option does not go with the dump.
        TooLarge: a VM of today, or of a pool, is larger than every host.
    """
    pools = pools_of(objects, options)
    objects = replace(objects, pools=pools.pools)
    snapshot = assemble(objects, observations, 0.0)
    estate = estate_of(objects, snapshot, options)
    snapshot = _freed(snapshot, estate, objects.hypervisors_known)
    specs = {pool.metadata.name: pool.spec for pool in pools.pools}
    park = park_of(objects, snapshot, estate.nodes, pools.pools, options)
    spare = max(spec.survive.hosts for spec in specs.values())

    there = planned(estate, snapshot, park)
    placed_in = {key: there.machines[at].pool for key, at in there.placed.items()}
    reference = _most_used(placed_in, specs)
    pool_of = {c.key: placed_in.get(c.key, reference) for c in estate.containers}
    layouts = [
        one_app_per_vm(estate, specs, pool_of, park, options, spare),
        bare_metal(estate, snapshot, park, options, spare),
        as_is(estate, specs, pools.of_node, reference, park, spare),
        there,
    ]
    taken = (0, 0) if park.known else (options.hypervisor_cpu, options.hypervisor_memory)
    shown = [layout for layout in layouts if layout is not None]
    replicas = Counter(c.workload for c in estate.containers)
    return Comparison(
        containers=len(estate.containers),
        workloads=len(replicas),
        replicated=sum(1 for number in replicas.values() if number > 1),
        cpu=estate.cpu,
        memory=estate.memory,
        figures={
            layout.way: figures_of(layout, estate, specs, reference, options, taken)
            for layout in shown
        },
        facts=(*park.facts, *pools.facts, *_facts(options, reference, spare, estate, objects)),
        notes=tuple(_notes(shown, estate, there)),
    )


def _freed(snapshot: Snapshot, estate: Estate, hypervisors_known: bool) -> Snapshot:
    """The snapshot with pools as on the first day, and all DaemonSets that new VMs will run."""
    pools = tuple(
        msgspec.structs.replace(
            pool,
            daemons=(*pool.daemons, *estate.agents),
            deleting=False,
            launch_blocked_until=0.0,
            loop_detected=False,
        )
        for pool in snapshot.pools
    )
    hypervisors = snapshot.hypervisors
    if not hypervisors_known:
        restarts = Capabilities(high_availability=True)
        hypervisors = tuple(
            msgspec.structs.replace(h, capabilities=restarts) for h in snapshot.hypervisors
        )
    return msgspec.structs.replace(snapshot, pools=pools, hypervisors=hypervisors)


def _most_used(placed_in: Mapping[str, str], pools: Iterable[str]) -> str:
    """The pool that holds most containers, the first by name among equals."""
    numbers = Counter(placed_in.values())
    return min(pools, key=lambda name: (-numbers[name], name))


def _facts(
    options: Options, reference: str, spare: int, estate: Estate, objects: Objects
) -> Iterator[Fact]:
    yield Fact(
        "operating system, each VM and bare-metal host",
        cpu_and_memory(options.guest_cpu, options.guest_memory),
        options.given("guest_cpu", "guest_memory"),
        flags("guest_cpu", "guest_memory"),
    )
    yield Fact(
        "container runtime, each container",
        cpu_and_memory(options.container_cpu, options.container_memory),
        options.given("container_cpu", "container_memory"),
        flags("container_cpu", "container_memory"),
    )
    yield Fact(
        "pods on a bare-metal host",
        f"at most {options.host_pods}; load line and prices of the pool, but no cost per VM",
        options.given("host_pods"),
        flags("host_pods"),
    )
    yield Fact(
        "spare hosts in each way",
        str(spare),
        _survival(options, objects),
        flags("survive_hosts"),
    )
    yield Fact(
        "licence of a host with VMs, of a bare-metal host",
        f"{options.vm_host_licence / 1000:g}, {options.bare_host_licence / 1000:g}",
        options.given("vm_host_licence", "bare_host_licence"),
        flags("vm_host_licence", "bare_host_licence"),
    )
    if len(objects.pools) > 1:
        yield Fact("prices of whole hosts", f"those of pool {reference}", Origin.ASSUMED)
    yield Fact(
        "one app per VM",
        f"whole CPUs, steps of {format_bytes(MEMORY_STEP)}, under the load line; no DaemonSets",
        Origin.ASSUMED,
    )
    yield Fact(
        "which container runs in which machine",
        "all find a place by the planner's rules; those free of rules are then spread over the "
        "machines as kube-scheduler's default scores would",
        Origin.ASSUMED,
    )
    if any(map(_by_node, estate.shapes)):
        yield Fact(
            "pods apart by node",
            "are apart by VM; on bare metal by host, which promises more and may take more hosts",
            Origin.ASSUMED,
        )
    yield Fact("which VM runs on which host, unless measured or planned", PACKING, Origin.ASSUMED)
    if not objects.hypervisors_known:
        yield Fact("hypervisor restarts VMs of a failed host", "yes", Origin.ASSUMED)
    if _foreign(objects):
        yield Fact("every node of the dump", "is a VM", Origin.ASSUMED)


def _by_node(shape: PodShape) -> bool:
    keys = [term.topology_key for term in shape.anti_affinity]
    return names.HOSTNAME in (*keys, *(c.topology_key for c in shape.spread))


def _survival(options: Options, objects: Objects) -> Origin:
    if options.survive_hosts is not None:
        return Origin.GIVEN
    return Origin.MEASURED if any(p.spec.survive.hosts for p in objects.pools) else Origin.ASSUMED


def _foreign(objects: Objects) -> bool:
    ours = {vmnode.metadata.name for vmnode in objects.vmnodes}
    return any(node.metadata.name not in ours for node in objects.nodes)


def _notes(shown: list[Layout], estate: Estate, there: Layout) -> Iterator[str]:
    yield from estate.notes
    if not estate.nodes:
        yield "No nodes are among the files: nothing is known of containers on VMs as they are"
    unknown = sum(1 for node in estate.nodes if not node.cpu or not node.memory)
    if unknown:
        yield f"Nodes that do not say how large they are count as nothing provisioned: {unknown}"
    for layout in shown:
        if layout.unplaced:
            reasons = Counter(layout.unplaced.values())
            named = [f"{why} ({n})" for why, n in reasons.most_common(_NAMED)]
            more = f" and {len(reasons) - _NAMED} more reasons" if len(reasons) > _NAMED else ""
            yield f"Without a place, {TITLES[layout.way]}: {'; '.join(named)}{more}"
        if layout.beyond:
            yield f"Hosts beyond the inventory, {TITLES[layout.way]}: {layout.beyond}"
    yield from there.notes
