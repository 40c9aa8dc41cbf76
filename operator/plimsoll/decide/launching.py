"""New VMs: on which host, with which name, how large."""

from __future__ import annotations

from collections.abc import Iterator

from plimsoll.api import labels as names
from plimsoll.decide import survival, wording
from plimsoll.decide.classes import PodClass
from plimsoll.decide.columns import NO_LIMIT
from plimsoll.decide.filters import Filters, extended_fit
from plimsoll.decide.fleet import Bin, Fleet
from plimsoll.decide.plan import Reason, Size
from plimsoll.world.snapshot import PodShape, Pool
from plimsoll.world.wire import Taint


class Site:
    """A place where a VM may be launched: a host, or a zone where hosts are unknown."""

    def __init__(
        self, host: str, zone: str, assumed: bool, free_nodes: tuple[str, ...] | None = None
    ) -> None:
        self.host = host
        self.zone = zone
        self.assumed = assumed
        """No inventory: the host is made up, one for each VM."""
        self.free_nodes = free_nodes
        """Names that a VM may have here; None: any."""


def sites(fleet: Fleet, pool: Pool, now: float) -> Iterator[Site]:
    """Where the pool may launch, best first: fewest VMs of the pool, then most room."""
    hypervisor = fleet.hypervisors[pool.spec.hypervisor]
    census, zones = fleet.census[pool.name], pool.spec.zones
    if hypervisor.hosts is None:
        there = {*(zones or ("",)), *(zone for zone, number in census.by_zone.items() if number)}
        for zone in sorted(there, key=lambda z: (census.by_zone[z], z)):
            yield Site("", zone, assumed=True)
        return
    usable = [
        host
        for host in hypervisor.hosts
        if host.state == "Up"
        and host.launch_blocked_until <= now
        and (host.free_nodes is None or any(_is_free(fleet, n) for n in host.free_nodes))
    ]
    usable.sort(
        key=lambda h: (
            census.by_host[h.name],
            -(fleet.room(hypervisor.name, h.name).cpu_free or 0),
            h.name,
        )
    )
    for host in usable:
        if host.zone or not zones:
            yield Site(host.name, host.zone, assumed=False, free_nodes=host.free_nodes)
        else:
            for zone in sorted(zones, key=lambda z: (census.by_zone[z], z)):
                yield Site(host.name, zone, assumed=False, free_nodes=host.free_nodes)


def _is_free(fleet: Fleet, name: str) -> bool:
    # Pods may be bound to it: those of DaemonSets run on a machine before it is claimed.
    return name not in fleet.names


def free_name(fleet: Fleet, pool: Pool, site: Site) -> str:
    """``<pool>-<n>`` with the smallest number that nothing uses, or that of a machine to claim.

    A VM that this very plan retires still has its name: it must be gone first. So must pods
    be that are bound to a node that is gone, or they would be counted on the new one.
    """
    for free in site.free_nodes or ():
        if _is_free(fleet, free):
            return free
    census = fleet.census[pool.name]
    while (name := f"{pool.name}-{census.first_number}") in fleet.names or fleet.absent.get(name):
        census.first_number += 1
    return name


def blank(fleet: Fleet, pool: Pool, site: Site) -> Bin:
    """A VM of the smallest size at a site, not yet opened."""
    spec, sizes = pool.spec, fleet.sizes[pool.name]
    name = free_name(fleet, pool, site)
    host = f"assumed-{name}" if site.assumed else site.host
    cpu, memory = sizes.least.cpu, sizes.least.memory
    return Bin(
        name=name,
        pool=pool,
        vm=None,
        hypervisor=spec.hypervisor,
        host=host,
        zone=site.zone,
        labels=names.node_labels(
            name, spec.template.labels, pool.name, spec.hypervisor, host, site.zone
        ),
        taints=tuple(
            [Taint(key=t.key, value=t.value, effect=t.effect) for t in spec.template.taints]
        ),
        cpu=cpu,
        memory=memory,
        allocatable_cpu=max(0, cpu - spec.density.reserved.cpu),
        allocatable_memory=max(0, memory - spec.density.reserved.memory),
        extended={"ephemeral-storage": NO_LIMIT, **pool.attach_limits},
        max_pods=sizes.pods(cpu),
        berths_max=spec.density.pods.max,
        line_percent=spec.density.load_line_percent,
        accepts=True,
    )


def daemons_of(pool: Pool, target: Bin, filters: Filters) -> list[PodShape]:
    """DaemonSet pods that will run on a VM of the pool."""
    return [shape for shape in pool.daemons if filters.static(shape, target) is None]


class NoSite(Exception):
    """No host takes a VM for this pod; the message says what each lacked."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def prepare(
    fleet: Fleet, filters: Filters, pool: Pool, kind: PodClass | None, site: Site
) -> tuple[Bin, list[PodShape]]:
    """A VM at a site, as large as the pod (None: no pod) and its DaemonSets need.

    Nothing is opened. Raises:
        NoSite: the pod does not go onto such a VM, or the host has no room for it.
    """
    target, sizes = blank(fleet, pool, site), fleet.sizes[pool.name]
    daemons = daemons_of(pool, target, filters) if pool.daemons else []
    needed = [d.requests for d in daemons]
    if kind is not None:
        shape = kind.shape
        reason = filters.static(shape, target)
        if reason is None and len(daemons) + 1 > sizes.pods_max:
            reason = Reason.PODS
        if reason is None and not extended_fit(target, shape.requests):
            reason = Reason.RESOURCES
        if reason is None:
            reason = filters.dynamic(shape, target)
        if reason is not None:
            raise NoSite(reason, f"a new VM {wording.lack(reason, shape, target)}")
        needed.append(shape.requests)
    size = sizes.smallest(sum(r.cpu for r in needed), sum(r.memory for r in needed), len(needed))
    if size is None:
        raise NoSite(
            Reason.TOO_BIG, _too_big(fleet, pool, kind.shape if kind is not None else None)
        )
    target.set_size(size, sizes.pods(size.cpu))
    if not site.assumed and not fleet.room(pool.spec.hypervisor, target.host).has(
        size.cpu, size.memory
    ):
        raise NoSite(Reason.NO_HOST_ROOM, f"host {site.host} has no room for {wording.size(size)}")
    return target, daemons


def open_if_survivable(fleet: Fleet, target: Bin, daemons: list[PodShape]) -> None:
    """Opens a VM unless that would break a survival promise that holds.

    Raises:
        NoSite: it would; the fleet is as before.
    """
    kept = survival.kept(fleet)
    fleet.open(target)
    broken = survival.first_broken(fleet, kept)
    if broken:
        fleet.close(target.name)
        raise NoSite(Reason.SURVIVAL, broken)
    for number, shape in enumerate(daemons):
        fleet.put(f"daemon-{number}@{target.name}", shape, target)


def _too_big(fleet: Fleet, pool: Pool, shape: PodShape | None) -> str:
    sizes = fleet.sizes[pool.name]
    cpu, memory = sizes.largest_line
    room = Size(cpu=cpu, memory=memory)
    what = wording.amount(shape.requests) if shape is not None else "its DaemonSet pods"
    return (
        f"the largest VM ({wording.size(sizes.most)}) holds {wording.size(room)} under its load "
        f"line of {sizes.line}%, less than {what} with its DaemonSet pods"
    )
