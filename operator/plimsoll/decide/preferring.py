"""What decides among places that cost the same: wishes of pods and of workloads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from plimsoll.decide.classes import Rules
from plimsoll.decide.columns import Bools, Columns, Ints
from plimsoll.decide.fleet import Fleet
from plimsoll.decide.topology import Selection
from plimsoll.world.selectors import term_matches


class Preference(NamedTuple):
    """Prefers domains with the fewest replicas of a workload that must survive a loss."""

    key: str
    """Node label that names the domain."""
    counts: Mapping[str, int]
    """Replicas by domain."""

    def of(self, labels: Mapping[str, str]) -> int:
        """Of one VM; smaller is better."""
        return self.counts.get(labels.get(self.key, ""), 0)

    def over(self, columns: Columns) -> Ints:
        """Of all VMs by slot."""
        column = columns.label(self.key)
        table = np.array([self.counts.get(value or "", 0) for value in column.values], np.int64)
        return table.take(column.codes)


class Apart(NamedTuple):
    """Where a replica must go if it can, because all others may be lost together."""

    key: str
    """Node label that names the domain."""
    used: frozenset[str]
    """Domains that do not help."""
    why: str

    def allows(self, labels: Mapping[str, str]) -> bool:
        """Whether one VM helps."""
        return self.key in labels and labels[self.key] not in self.used

    def over(self, columns: Columns) -> Bools:
        """Which VMs help, by slot."""
        return columns.label(self.key).where(
            ("apart", self.used), lambda value: value is not None and value not in self.used
        )


class Wishes:
    """Preferred affinities and constraints with ``ScheduleAnyway``: a score for each VM.

    Weights are added up as the scheduler's NodeAffinity and InterPodAffinity scores do;
    each pod too many in a domain counts against a constraint like a weight of one. The
    scheduler weighs these against other scores; here they decide only where the cost is
    the same, so their scale among each other is all that matters.
    """

    def __init__(self, fleet: Fleet, rules: Rules) -> None:
        shape, topology = rules.shape, fleet.topology
        self._fleet = fleet
        self._rules = rules
        self._terms = [
            (sign * wish.weight, topology.counter((selection,), term.topology_key))
            for sign, wishes in ((1, shape.preferred_affinity), (-1, shape.preferred_anti_affinity))
            for wish in wishes
            for term in (wish.pod_affinity_term,)
            for selection in (Selection.of_term(term, shape.namespace),)
        ]
        self._terms += [
            (
                -1,
                topology.counter(
                    (Selection.of_spread(constraint, shape.namespace),), constraint.topology_key
                ),
            )
            for constraint in shape.preferred_spread
        ]

    def over(self) -> Ints:
        """The score of each VM by slot; larger is better."""
        score = np.zeros(self._fleet.columns.count, np.int64)
        for wish in self._rules.shape.preferred_nodes:
            score += wish.weight * self._rules.nodes.matches(wish.preference)
        for weight, counter in self._terms:
            score += weight * counter.at_slots()
        return score

    def of(self, name: str, labels: Mapping[str, str]) -> int:
        """The score of a VM that is only tried out."""
        score = sum(
            wish.weight
            for wish in self._rules.shape.preferred_nodes
            if term_matches(wish.preference, labels, name)
        )
        return score + sum(w * (counter.in_domain(labels) or 0) for w, counter in self._terms)


def wishes_of(fleet: Fleet, rules: Rules) -> Wishes | None:
    """The wishes of pods with these rules; None: they have none."""
    shape = rules.shape
    if not (
        shape.preferred_nodes
        or shape.preferred_affinity
        or shape.preferred_anti_affinity
        or shape.preferred_spread
    ):
        return None
    return Wishes(fleet, rules)
