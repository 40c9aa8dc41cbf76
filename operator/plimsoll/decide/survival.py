"""The survival promise: after losing hosts, everything still has room.

Two ways to keep it. Where the hypervisor restarts VMs elsewhere (high
availability), the other hosts must have room for the VMs of the lost ones:
what vSphere calls admission control. Where it does not, the other VMs must
have room for the lost containers.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from plimsoll.decide.fleet import Bin, Fleet
from plimsoll.world.snapshot import Hypervisor

_MOST_COMBINATIONS = 2000
"""Above this many sets of lost hosts, only the fullest hosts are taken as lost."""


def broken(fleet: Fleet, pool: str) -> str:
    """Why the pool's survival promise does not hold in this fleet; empty if it does.

    A pool on a hypervisor without an inventory has no known hosts to lose: the
    promise counts as kept, and the plan notes that hosts are unknown.
    """
    spec = fleet.pools[pool].spec
    lost = spec.survive.hosts
    hypervisor = fleet.hypervisors.get(spec.hypervisor)
    if lost == 0 or hypervisor is None or hypervisor.hosts is None:
        return ""
    bins = fleet.of_pool(pool)
    hosts = sorted({b.host for b in bins if b.host})
    if not hosts:
        return ""
    if hypervisor.capabilities.high_availability:
        return _restart_elsewhere(fleet, hypervisor, bins, lost)
    return _containers_elsewhere(bins, hosts, lost)


def kept(fleet: Fleet) -> tuple[str, ...]:
    """Pools whose survival promise holds now, by name; those that promise nothing are not named."""
    if fleet.kept_promises is None or fleet.kept_promises[0] != fleet.version:
        names = tuple(
            name
            for name, pool in sorted(fleet.pools.items())
            if pool.spec.survive.hosts and not broken(fleet, name)
        )
        fleet.kept_promises = (fleet.version, names)
    return fleet.kept_promises[1]


def first_broken(fleet: Fleet, pools: Iterable[str]) -> str:
    """Why the first of these promises that is broken is; empty if none is.

    VMs of every pool share the hosts, so whoever grows one pool asks for all.
    """
    return next((why for name in pools if (why := broken(fleet, name))), "")


def _lost_sets(weights: dict[str, int], lost: int) -> Iterable[tuple[str, ...]]:
    names = sorted(weights, key=lambda name: (-weights[name], name))
    sets = list(combinations(names, min(lost, len(names)))) if len(names) <= 60 else []
    return sets if 0 < len(sets) <= _MOST_COMBINATIONS else [tuple(names[:lost])]


def _restart_elsewhere(fleet: Fleet, hypervisor: Hypervisor, bins: list[Bin], lost: int) -> str:
    up = {host.name for host in hypervisor.hosts or () if host.state == "Up"}
    by_host: dict[str, list[Bin]] = {}
    for target in bins:
        by_host.setdefault(target.host, []).append(target)
    weights = {name: sum(b.cpu for b in by_host.get(name, [])) for name in up}
    for failed in _lost_sets(weights, lost):
        homeless = sorted(
            (b for name in failed for b in by_host.get(name, [])),
            key=lambda b: (-b.memory, -b.cpu, b.name),
        )
        room = {}
        for name in sorted(up.difference(failed)):
            host = fleet.room(hypervisor.name, name)
            room[name] = [host.cpu_free or 0, host.memory_free or 0]
        for target in homeless:
            home = next(
                (r for r in room.values() if target.cpu <= r[0] and target.memory <= r[1]), None
            )
            if home is None:
                return (
                    f"if host {' and '.join(failed)} failed, no other host would have room to "
                    f"restart VM {target.name} ({target.cpu // 1000} CPUs)"
                )
            home[0] -= target.cpu
            home[1] -= target.memory
    return ""


def _containers_elsewhere(bins: list[Bin], hosts: list[str], lost: int) -> str:
    weights = {name: sum(b.cpu_used for b in bins if b.host == name) for name in hosts}
    for failed in _lost_sets(weights, lost):
        homeless = sorted(
            (b.requests(key) for b in bins if b.host in failed for key in b.pods),
            key=lambda r: (-r.cpu, -r.memory),
        )
        rest = [
            [b.allocatable_cpu - b.cpu_used, b.allocatable_memory - b.memory_used]
            for b in bins
            if b.host not in failed and b.accepts
        ]
        for requests in homeless:
            home = next((r for r in rest if requests.cpu <= r[0] and requests.memory <= r[1]), None)
            if home is None:
                return (
                    f"if host {' and '.join(failed)} failed, the other VMs would not have room "
                    f"for its containers, and the hypervisor restarts none"
                )
            home[0] -= requests.cpu
            home[1] -= requests.memory
    return ""
