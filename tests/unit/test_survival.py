"""Promises are judged as a plain walk over hosts, VMs and containers would judge them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from math import comb
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import planning as w
from fleets import change, worlds
from plimsoll.api import labels as names
from plimsoll.decide import bounds, losing, survival
from plimsoll.decide.fleet import Bin, Fleet
from plimsoll.world.selectors import node_selector_matches, untolerated
from plimsoll.world.snapshot import Host, PodShape, Resources, Snapshot

SETTINGS = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# ----- the plain walk


def plainly(fleet: Fleet, pool: str) -> str:
    """What ``survival.broken`` should answer."""
    spec = fleet.pools[pool].spec
    hypervisor = fleet.hypervisors[spec.hypervisor]
    bins = fleet.of_pool(pool)
    if hypervisor.capabilities.high_availability:
        return plainly_restarted(fleet, hypervisor.hosts or (), bins, spec.survive.hosts)
    return plainly_elsewhere(fleet, bins, spec.survive.hosts)


def lost_sets(weights: dict[str, int], lost: int) -> list[tuple[str, ...]]:
    falling = sorted(weights, key=lambda name: (-weights[name], name))
    size = min(lost, len(falling))
    while comb(len(falling), size) > losing.MOST_SETS and len(falling) > size:
        falling.pop()
    return list(combinations(falling, size)) if size else []


def plainly_restarted(fleet: Fleet, hosts: tuple[Host, ...], bins: list[Bin], lost: int) -> str:
    up = sorted(host.name for host in hosts if host.state == "Up")
    weights = {name: sum(b.cpu for b in bins if b.host == name) for name in up}
    for failed in lost_sets(weights, lost):
        homeless = sorted(
            (b for b in bins if b.host in failed), key=lambda b: (-b.memory, -b.cpu, b.name)
        )
        room = []
        for name in up:
            if name not in failed:
                free = fleet.room("rack", name)
                room.append([free.cpu_free or 0, free.memory_free or 0])
        for target in homeless:
            if not fitted(room, target.cpu, target.memory):
                return (
                    f"if host {' and '.join(failed)} failed, no other host would have room to "
                    f"restart VM {target.name} ({target.cpu // 1000} CPUs)"
                )
    return ""


def plainly_elsewhere(fleet: Fleet, bins: list[Bin], lost: int) -> str:
    hosts = {b.host for b in bins if b.host}
    weights = {name: sum(b.cpu_used for b in bins if b.host == name) for name in hosts}
    for failed in lost_sets(weights, lost):
        homeless = sorted(
            (
                (b.requests(key), shape)
                for b in bins
                if b.host in failed
                for key, shape in b.pods.items()
                if is_missed(fleet, b, key)
            ),
            key=lambda lost: (-lost[0].cpu, -lost[0].memory, survival.node_rules(lost[1])),
        )
        rest = [b for b in bins if b.host not in failed and b.accepts]
        room = {
            b.name: [
                b.allocatable_cpu - b.cpu_used + sum(taken.cpu for taken in given),
                b.allocatable_memory - b.memory_used + sum(taken.memory for taken in given),
            ]
            for b in rest
            for given in [filling(fleet, b)]
        }
        for requests, shape in homeless:
            asked = len({b.host for b in bins if b.accepts and admits(b, shape)}) > lost
            able = [room[b.name] for b in rest if not asked or admits(b, shape)]
            if not fitted(able, requests.cpu, requests.memory):
                return (
                    f"if host {' and '.join(failed)} failed, the other VMs would not have room "
                    "for its containers, and the hypervisor restarts none"
                )
    return ""


def is_missed(fleet: Fleet, home: Bin, key: str) -> bool:
    pod = fleet.pods[key]
    expendable = pod.shape.priority < fleet.snapshot.expendable_below
    return not (pod.daemon or key in home.terminating or expendable)


def filling(fleet: Fleet, target: Bin) -> list[Resources]:
    """What expendable containers take, which would give way."""
    return [
        target.requests(key)
        for key in target.pods
        if fleet.pods[key].shape.priority < fleet.snapshot.expendable_below
        and not (fleet.pods[key].daemon or key in target.terminating)
    ]


def admits(target: Bin, shape: PodShape) -> bool:
    return (
        all(target.labels.get(key) == value for key, value in shape.node_selector.items())
        and node_selector_matches(shape.node_affinity, target.labels, target.name)
        and untolerated(target.taints, shape.tolerations) is None
    )


def fitted(room: list[list[int]], cpu: int, memory: int) -> bool:
    home = next((r for r in room if cpu <= r[0] and memory <= r[1]), None)
    if home is None:
        return False
    home[0] -= cpu
    home[1] -= memory
    return True


# ----- the comparison


def check(fleet: Fleet, draw: Callable[[Any], Any]) -> None:
    """Asked in either order: each answer is remembered for the other."""
    expected = plainly(fleet, "web")
    if draw(st.booleans()):
        assert ("web" in survival.kept(fleet)) == (not expected)
    assert survival.broken(fleet, "web") == expected
    assert ("web" in survival.kept(fleet)) == (not expected)


def judged_alike(data: st.DataObject, restarts: bool) -> None:
    fleet = Fleet(data.draw(worlds(restarts=restarts)))
    check(fleet, data.draw)
    marks: list[int] = []
    for _ in range(data.draw(st.integers(0, 12))):
        if not marks and data.draw(st.booleans()):
            marks.append(fleet.mark())
        elif marks and data.draw(st.booleans()):
            fleet.rollback(marks.pop())
        else:
            change(data.draw, fleet)
        if data.draw(st.booleans()):
            check(fleet, data.draw)
    check(fleet, data.draw)


@given(st.data())
@SETTINGS
def test_restarting_vms_is_judged_as_a_plain_walk_would(data: st.DataObject) -> None:
    judged_alike(data, restarts=True)


@given(st.data())
@SETTINGS
def test_placing_containers_is_judged_as_a_plain_walk_would(data: st.DataObject) -> None:
    judged_alike(data, restarts=False)


@given(st.data())
@settings(SETTINGS, max_examples=100)
def test_rounded_sizes_and_few_sets_change_nothing_else(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "MOST_GROUPS", 1)
        patch.setattr(losing, "MOST_SETS", 3)
        patch.setattr(losing, "_MANY", data.draw(st.integers(0, 3)))
        judged_alike(data, restarts=data.draw(st.booleans()))


@given(st.data())
@settings(SETTINGS, max_examples=100)
def test_a_fleet_kept_from_plan_to_plan_is_judged_alike(data: st.DataObject) -> None:
    fleet = Fleet(data.draw(worlds(restarts=data.draw(st.booleans()))))
    for _ in range(3):
        fleet.begin(fleet.snapshot)
        count, mark = fleet.columns.count, fleet.mark()
        for _ in range(data.draw(st.integers(0, 5))):
            change(data.draw, fleet)
            if data.draw(st.booleans()):
                check(fleet, data.draw)
        fleet.rollback(mark)
        fleet.truncate(count)


def test_containers_find_room_only_on_vms_that_their_rules_admit() -> None:
    pool = w.pool(survive={"hosts": 1})
    zones = {"web-1": "a", "web-2": "a", "web-3": "b", "web-4": "b"}
    vms = tuple(
        w.vm(name, f"h{number}", 4, 8, of=pool, zone=zone)
        for number, (name, zone) in enumerate(zones.items())
    )
    rack = w.hypervisor(
        *(w.host(f"h{number}") for number in range(4)),
        capabilities=w.EVERYTHING.model_copy(update={"high_availability": False}),
    )

    def broken(zone: str) -> str:
        bound = w.shape(3000, 512, node_selector={names.ZONE: zone})
        pods = (w.pod("full", w.shape(3000, 512), "web-1"), w.pod("bound", bound, "web-2"))
        return survival.broken(
            Fleet(Snapshot(hypervisors=(rack,), pools=(pool,), vms=vms, pods=pods)), "web"
        )

    assert broken("b") == ""
    assert "if host h1 failed" in broken("a")
