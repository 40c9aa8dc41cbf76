"""New VMs: on which host, with which name, how large."""

from __future__ import annotations

from collections.abc import Iterator

from plimsoll.api import labels as names
from plimsoll.decide import survival, wording
from plimsoll.decide.filters import Filters
from plimsoll.decide.fleet import Bin, Fleet, smallest_size
from plimsoll.decide.plan import Reason, Size
from plimsoll.world.snapshot import PodShape, Pool, Resources
from plimsoll.world.wire import Taint

_UNKNOWN_AMOUNT = 2**62
"""Ephemeral storage of a VM that nobody has seen yet: not what keeps a pod off it."""


class Site:
    """A place where a VM may be launched: a host, or a zone where hosts are unknown."""

    def __init__(self, host: str, zone: str, assumed: bool) -> None:
        self.host = host
        self.zone = zone
        self.assumed = assumed
        """No inventory: the host is made up, one for each VM."""


def sites(fleet: Fleet, pool: Pool, now: float) -> Iterator[Site]:
    """Where the pool may launch, best first: fewest VMs of the pool, then most room."""
    hypervisor = fleet.hypervisors[pool.spec.hypervisor]
    mine = fleet.of_pool(pool.name)
    if hypervisor.hosts is None:
        by_zone = dict.fromkeys(pool.spec.zones or ("",), 0)
        for target in mine:
            by_zone[target.zone] = by_zone.get(target.zone, 0) + 1
        for zone in sorted(by_zone, key=lambda z: (by_zone[z], z)):
            yield Site("", zone, assumed=True)
        return
    by_host: dict[str, int] = {}
    for target in mine:
        by_host[target.host] = by_host.get(target.host, 0) + 1
    usable = [
        host for host in hypervisor.hosts if host.state == "Up" and host.launch_blocked_until <= now
    ]
    usable.sort(
        key=lambda h: (
            by_host.get(h.name, 0),
            -(fleet.room(hypervisor.name, h.name).cpu_free or 0),
            h.name,
        )
    )
    zones = pool.spec.zones
    for host in usable:
        if host.zone or not zones:
            yield Site(host.name, host.zone, assumed=False)
        else:
            by_zone = {zone: sum(1 for b in mine if b.zone == zone) for zone in zones}
            for zone in sorted(zones, key=lambda z: (by_zone[z], z)):
                yield Site(host.name, zone, assumed=False)


def free_name(fleet: Fleet, pool: Pool) -> str:
    """``<pool>-<n>`` with the smallest number that nothing uses.

    A VM that this very plan retires still has its name: it must be gone first.
    """
    number = 1
    while f"{pool.name}-{number}" in fleet.names:
        number += 1
    return f"{pool.name}-{number}"


def blank(fleet: Fleet, pool: Pool, site: Site) -> Bin:
    """A VM of the smallest size at a site, not yet opened."""
    spec = pool.spec
    name = free_name(fleet, pool)
    host = f"assumed-{name}" if site.assumed else site.host
    cpu, memory = spec.size.cpu.min * 1000, spec.size.memory.min
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
            Taint(key=t.key, value=t.value, effect=t.effect) for t in spec.template.taints
        ),
        cpu=cpu,
        memory=memory,
        allocatable_cpu=max(0, cpu - spec.density.reserved.cpu),
        allocatable_memory=max(0, memory - spec.density.reserved.memory),
        extended={"ephemeral-storage": _UNKNOWN_AMOUNT},
        max_pods=spec.density.pods.max,
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
    fleet: Fleet, filters: Filters, pool: Pool, shape: PodShape | None, site: Site
) -> tuple[Bin, list[PodShape]]:
    """A VM at a site, as large as the pod (None: no pod) and its DaemonSets need.

    Nothing is opened. Raises:
        NoSite: the pod does not go onto such a VM, or the host has no room for it.
    """
    target = blank(fleet, pool, site)
    try:
        daemons = daemons_of(pool, target, filters)
        if shape is not None:
            reason = filters.static(shape, target)
            if reason is None and len(daemons) + 1 > target.max_pods:
                reason = Reason.PODS
            if reason is None:
                reason = _extended_reason(shape.requests, target)
            if reason is None:
                reason = filters.dynamic(shape, target)
            if reason is not None:
                raise NoSite(reason, f"a new VM {wording.lack(reason, shape, target)}")
        needed = [d.requests for d in daemons] + ([shape.requests] if shape else [])
        size = smallest_size(pool.spec, sum(r.cpu for r in needed), sum(r.memory for r in needed))
        if size is None:
            raise NoSite(Reason.TOO_BIG, _too_big(pool, shape, target))
        target.set_size(size)
        if not fleet.room(pool.spec.hypervisor, target.host).has(size.cpu, size.memory) and not (
            site.assumed
        ):
            raise NoSite(
                Reason.NO_HOST_ROOM, f"host {site.host} has no room for {wording.size(size)}"
            )
        return target, daemons
    finally:
        filters.forget(target)


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


def _extended_reason(requests: Resources, target: Bin) -> Reason | None:
    for name, wanted in requests.extended.items():
        have = target.berths_max if name == names.BERTHS else target.extended.get(name, 0)
        if wanted > (have or 0):
            return Reason.RESOURCES
    return None


def _too_big(pool: Pool, shape: PodShape | None, target: Bin) -> str:
    largest = Size(cpu=pool.spec.size.cpu.max * 1000, memory=pool.spec.size.memory.max)
    reserved = pool.spec.density.reserved
    line = pool.spec.density.load_line_percent
    room = Size(
        cpu=max(0, largest.cpu - reserved.cpu) * line // 100,
        memory=max(0, largest.memory - reserved.memory) * line // 100,
    )
    what = (
        wording.size(Size(cpu=shape.requests.cpu, memory=shape.requests.memory))
        if shape is not None
        else "its DaemonSet pods"
    )
    return (
        f"the largest VM ({wording.size(largest)}) holds {wording.size(room)} under its load "
        f"line of {line}%, less than {what} with its DaemonSet pods"
    )
