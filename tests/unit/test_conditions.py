"""Conditions: history is kept, kstatus is spoken."""

from plimsoll.act import conditions
from plimsoll.act.conditions import Fact


def test_the_transition_time_moves_only_with_the_status() -> None:
    first = conditions.merge((), conditions.reconciling("Launching", "1 VM"), 1, 1000.0)
    second = conditions.merge(first, conditions.reconciling("Launching", "2 VMs"), 2, 2000.0)
    third = conditions.merge(second, conditions.ready("Steady"), 2, 3000.0)

    assert [c.last_transition_time for c in second] == ["1970-01-01T00:16:40Z"] * 2
    assert [c.message for c in second] == ["2 VMs", "2 VMs"]
    assert [c.observed_generation for c in second] == [2, 2]
    assert [(c.type, c.last_transition_time) for c in third] == [("Ready", "1970-01-01T00:50:00Z")]


def test_reconciling_and_stalled_exist_only_while_true() -> None:
    was = conditions.merge((), conditions.stalled("FieldConflict", "hpa"), 1, 1.0)
    assert [(c.type, c.status) for c in was] == [("Ready", "False"), ("Stalled", "True")]
    now = conditions.merge(was, conditions.ready("Steady"), 1, 2.0)
    assert [(c.type, c.status) for c in now] == [("Ready", "True")]


def test_ready_comes_first_whatever_the_order_of_the_facts() -> None:
    facts = [Fact("Redundant", "True", "Kept"), *conditions.ready("Steady")]
    assert [c.type for c in conditions.merge((), facts, 1, 1.0)] == ["Ready", "Redundant"]
