"""Label selectors, node selectors and tolerations, by Kubernetes' rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from plimsoll.world.wire import (
    LabelSelector,
    NodeSelector,
    NodeSelectorTerm,
    SelectorRequirement,
    Taint,
    Toleration,
)


def requirement_matches(requirement: SelectorRequirement, labels: Mapping[str, str]) -> bool:
    """Whether labels meet one requirement; ``Gt``/``Lt`` exist for nodes only."""
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            try:
                have, bound = int(value or ""), int(requirement.values[0])
            except (ValueError, IndexError):
                return False
            return have > bound if requirement.operator == "Gt" else have < bound
    return False


def selector_matches(selector: LabelSelector | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects: absent selects nothing, empty selects everything."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    return all(requirement_matches(r, labels) for r in selector.match_expressions)


def term_matches(term: NodeSelectorTerm, labels: Mapping[str, str], name: str) -> bool:
    # An empty term selects nothing (core/v1 NodeSelectorTerm).
    if not term.match_expressions and not term.match_fields:
        return False
    if not all(requirement_matches(r, labels) for r in term.match_expressions):
        return False
    fields = {"metadata.name": name}
    return all(requirement_matches(r, fields) for r in term.match_fields)


def node_selector_matches(
    selector: NodeSelector | None, labels: Mapping[str, str], name: str
) -> bool:
    """Whether required node affinity admits a node: any one of the terms must match."""
    if selector is None:
        return True
    return any(term_matches(term, labels, name) for term in selector.node_selector_terms)


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether one toleration tolerates one taint."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if not toleration.key and toleration.operator != "Exists":
        return False
    match toleration.operator or "Equal":
        case "Exists":
            return True
        case "Equal":
            return toleration.value == taint.value
        case "Gt" | "Lt":
            try:
                have, bound = int(taint.value), int(toleration.value)
            except ValueError:
                return False
            return have > bound if toleration.operator == "Gt" else have < bound
    return False


def untolerated(taints: Iterable[Taint], tolerations: Iterable[Toleration]) -> Taint | None:
    """The first taint that keeps the pod off; preferences keep nothing off."""
    tolerations = tuple(tolerations)
    for taint in taints:
        if taint.effect == "PreferNoSchedule":
            continue
        if not any(tolerates(toleration, taint) for toleration in tolerations):
            return taint
    return None
