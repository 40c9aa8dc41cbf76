"""Plans with smaller VMs: cheaper, but never instead of a place that a pod could have."""

from __future__ import annotations

import msgspec

import planning as w
from plimsoll.decide.alternatives import cheapest
from plimsoll.decide.plan import Cost
from plimsoll.decide.planner import plan
from plimsoll.world.snapshot import Pod, Pool, Snapshot

CROWDED = w.pool(
    nodes={"min": 0, "max": 2},
    density={
        "pods": {"min": 1, "max": 4},
        "loadLinePercent": 100,
        "reserved": {"cpu": 0, "memory": 0},
    },
)


def site(pool: Pool, *pods: Pod) -> Snapshot:
    hypervisors = (w.hypervisor(w.host("h1", cpu=64)),)
    return Snapshot(hypervisors=hypervisors, pools=(pool,), pods=pods)


def test_large_pods_are_not_given_up_for_as_many_small_ones_on_small_vms() -> None:
    large = [w.pod(f"large-{n}", w.shape(cpu=3000, app="large")) for n in range(4)]
    small = [w.pod(f"small-{n}", w.shape(cpu=100, app="small")) for n in range(8)]
    found = plan(site(CROWDED, *large, *small), w.NOW)
    assert {pod.key for pod in large} <= set(found.placements)


def test_what_no_vm_holds_is_told_as_by_the_plan_without_caps() -> None:
    huge = w.pod("huge", w.shape(cpu=20_000, app="huge"))
    world = site(w.pool(), huge, w.pod("some", w.shape(cpu=3500)))
    first = plan(world, w.NOW)
    capped = msgspec.structs.replace(
        first,
        cost=Cost(before=0, after=1),
        unplaced=tuple(msgspec.structs.replace(u, why={}) for u in first.unplaced),
    )
    found = cheapest(world, first, lambda _: capped)
    assert found.cost == capped.cost
    assert "the largest VM (8 CPU, 32Gi)" in found.unplaced[0].why["web"]
