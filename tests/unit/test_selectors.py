"""Selectors and tolerations, each operator with what it does to absent labels."""

from __future__ import annotations

import pytest

from plimsoll.world.selectors import (
    node_selector_matches,
    requirement_matches,
    selector_matches,
    tolerates,
    untolerated,
)
from plimsoll.world.wire import (
    LabelSelector,
    NodeSelector,
    NodeSelectorTerm,
    SelectorRequirement,
    Taint,
    Toleration,
)

LABELS = {"tier": "web", "cores": "8"}


@pytest.mark.parametrize(
    ("key", "operator", "values", "expected"),
    [
        ("tier", "In", ["web", "db"], True),
        ("tier", "In", ["db"], False),
        ("none", "In", ["web"], False),
        ("tier", "NotIn", ["db"], True),
        ("tier", "NotIn", ["web"], False),
        ("none", "NotIn", ["web"], True),
        ("tier", "Exists", [], True),
        ("none", "Exists", [], False),
        ("none", "DoesNotExist", [], True),
        ("tier", "DoesNotExist", [], False),
        ("cores", "Gt", ["4"], True),
        ("cores", "Gt", ["8"], False),
        ("cores", "Lt", ["16"], True),
        ("tier", "Gt", ["4"], False),
        ("none", "Lt", ["4"], False),
    ],
)
def test_operators(key: str, operator: str, values: list[str], expected: bool) -> None:
    requirement = SelectorRequirement(key=key, operator=operator, values=values)
    assert requirement_matches(requirement, LABELS) is expected


def test_an_absent_selector_selects_nothing_and_an_empty_one_everything() -> None:
    assert not selector_matches(None, LABELS)
    assert selector_matches(LabelSelector(), LABELS)


def test_node_affinity_needs_one_of_its_terms_and_an_empty_term_matches_nothing() -> None:
    db = NodeSelectorTerm(
        match_expressions=[SelectorRequirement(key="tier", operator="In", values=["db"])]
    )
    here = NodeSelectorTerm(
        match_fields=[SelectorRequirement(key="metadata.name", operator="In", values=["n1"])]
    )
    assert node_selector_matches(None, LABELS, "n1")
    assert node_selector_matches(NodeSelector(node_selector_terms=[db, here]), LABELS, "n1")
    assert not node_selector_matches(NodeSelector(node_selector_terms=[db, here]), LABELS, "n2")
    assert not node_selector_matches(
        NodeSelector(node_selector_terms=[NodeSelectorTerm()]), LABELS, "n1"
    )


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        (Toleration(key="a", value="1"), True),
        (Toleration(key="a", value="2"), False),
        (Toleration(key="a", operator="Exists"), True),
        (Toleration(key="a", operator="Exists", effect="NoExecute"), False),
        (Toleration(key="b", operator="Exists"), False),
        (Toleration(operator="Exists"), True),
        (Toleration(operator="Equal", value="1"), False),
        (Toleration(key="a", operator="Gt", value="0"), True),
        (Toleration(key="a", operator="Lt", value="0"), False),
        (Toleration(key="a", operator="Gt", value="many"), False),
    ],
)
def test_tolerations(toleration: Toleration, expected: bool) -> None:
    assert tolerates(toleration, Taint(key="a", value="1", effect="NoSchedule")) is expected


def test_a_preference_keeps_nothing_off() -> None:
    soft = Taint(key="a", value="1", effect="PreferNoSchedule")
    hard = Taint(key="b", value="", effect="NoExecute")
    assert untolerated([soft], []) is None
    assert untolerated([soft, hard], []) == hard
