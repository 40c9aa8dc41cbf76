"""Whatever the world looks like: no guard is broken, plans are deterministic, plans settle."""

from __future__ import annotations

import copy

from hypothesis import HealthCheck, assume, given, settings

import planning as w
from checker import problems
from plimsoll.decide import survival
from plimsoll.decide.fleet import Fleet
from plimsoll.decide.plan import Lever, encode
from plimsoll.decide.planner import plan
from plimsoll.world.snapshot import Snapshot
from worlds import worlds

PRIORITIES = (0, 0, 100)
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(worlds(priorities=PRIORITIES))
@SETTINGS
def test_no_rule_and_no_guard_is_broken(world: Snapshot) -> None:
    assert problems(world, plan(world, w.NOW)) == []


@given(worlds(priorities=PRIORITIES))
@SETTINGS
def test_equal_worlds_give_equal_plans(world: Snapshot) -> None:
    again = copy.deepcopy(world)
    assert encode(plan(world, w.NOW)) == encode(plan(again, w.NOW))


@given(worlds(priorities=PRIORITIES))
@SETTINGS
def test_planning_again_after_carrying_out_yields_no_moves(world: Snapshot) -> None:
    first = plan(world, w.NOW)
    # A pod left over may find a place in what the plan's own moves have freed.
    assume(not first.unplaced)
    after = w.carry_out(world, first)
    assert w.kinds(plan(after, w.NOW)) == []


@given(worlds(priorities=PRIORITIES))
@SETTINGS
def test_left_alone_the_world_settles_and_never_gets_dearer(world: Snapshot) -> None:
    """With time passing, consolidation ends after a few rounds and only ever saves."""
    now = w.NOW
    first = plan(world, now)
    waiting = bool(first.unplaced or first.survival)
    world = w.carry_out(world, first)
    for _ in range(6):
        now += 3600
        found = plan(world, now)
        if not found.moves:
            return
        if not waiting:
            assert found.cost.after <= found.cost.before
        waiting = bool(found.unplaced or found.survival)
        world = w.carry_out(world, found)
    raise AssertionError(f"still moving: {w.kinds(plan(world, now + 3600))}")


@given(worlds(priorities=(0, 0, -20)))
@SETTINGS
def test_pending_expendable_pods_cause_no_growth_and_no_launch(world: Snapshot) -> None:
    cutoff = world.expendable_below
    important = tuple(p for p in world.pods if p.node or p.shape.priority >= cutoff)
    with_all, without = plan(world, w.NOW), plan(w.replace(world, pods=important), w.NOW)
    for lever in (Lever.GROW, Lever.LAUNCH):
        assert len(w.moves(with_all, lever)) <= len(w.moves(without, lever))


@given(worlds(priorities=PRIORITIES))
@SETTINGS
def test_a_kept_survival_promise_stays_kept(world: Snapshot) -> None:
    assume(world.hypervisors[0].capabilities.high_availability)
    kept = survival.kept(Fleet(world))
    after = Fleet(w.carry_out(world, plan(world, w.NOW)))
    assert survival.first_broken(after, kept) == ""
