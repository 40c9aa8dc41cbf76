"""How many pods of one spread may be nominated for one node at a time.

kube-scheduler counts the pods that are nominated for a node as if they were there already
(``RunFilterPluginsWithNominatedPods``), but only for the node that it looks at. So where a plan
puts more pods of a spread onto an empty node than ``maxSkew``, each of them would find the node
too crowded by the others, and the emptiest domain emptier than it will be: all would wait for
each other. At most ``maxSkew`` at a time do not, for the emptiest domain takes them; once they
are bound, the next are due. For an empty selector bound pods do not count
(``countPodsMatchSelector``), nominated ones do (``updateWithPod``): the same rule holds.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec

from plimsoll.world import wire
from plimsoll.world.selectors import selector_matches
from plimsoll.world.shapes import resolved_spread


class _Kind:
    """Pods with the same labels and the same constraints."""

    def __init__(self, pod: wire.Pod) -> None:
        self.pod = pod
        """One of them."""
        self.rules: list[_Rule] = []


class _Rule:
    """A hard topology spread constraint of pods in one namespace."""

    def __init__(self, namespace: str, constraint: wire.TopologySpreadConstraint) -> None:
        self.max_skew = constraint.max_skew
        self._namespace = namespace
        self._selector = constraint.label_selector
        self._counted: dict[_Kind, bool] = {}

    def counts(self, kind: _Kind) -> bool:
        known = self._counted.get(kind)
        if known is None:
            meta = kind.pod.metadata
            known = self._counted[kind] = meta.namespace == self._namespace and selector_matches(
                self._selector, meta.labels
            )
        return known


class _Node:
    """What is nominated for one node and minds how pods are spread."""

    def __init__(self) -> None:
        self.kinds: defaultdict[_Kind, int] = defaultdict(int)
        self.crowds: dict[_Rule, int] = {}
        """How many of them each of their rules counts."""


class Crowds:
    """The nominated pods that are spread, by node."""

    def __init__(self) -> None:
        self._nodes: defaultdict[str, _Node] = defaultdict(_Node)
        self._rules: dict[bytes, _Rule] = {}
        self._kinds: dict[tuple[str, int, int], _Kind] = {}
        # By the identity of parts that pods share (``podreader``); each kind holds them.

    def join(self, pod: wire.Pod, node: str) -> bool:
        """Whether one more pod may be nominated for a node; if so, it counts from now on.

        Pods that are spread by no rule of their own wait for nobody.
        """
        if not pod.spec.topology_spread_constraints:
            return True
        kind = self._kind_of(pod)
        if not kind.rules:
            return True
        there = self._nodes[node]
        for rule in kind.rules:
            if rule not in there.crowds:
                there.crowds[rule] = sum(
                    number for other, number in there.kinds.items() if rule.counts(other)
                )
        counting = [rule for rule in there.crowds if rule.counts(kind)]
        if any(there.crowds[rule] >= rule.max_skew for rule in counting):
            return False
        there.kinds[kind] += 1
        for rule in counting:
            there.crowds[rule] += 1
        return True

    def _kind_of(self, pod: wire.Pod) -> _Kind:
        meta, constraints = pod.metadata, pod.spec.topology_spread_constraints
        key = (meta.namespace, id(meta.labels), id(constraints))
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind(pod)
            kind.rules = [
                self._rule_of(meta.namespace, resolved_spread(constraint, meta.labels))
                for constraint in constraints
                if constraint.when_unsatisfiable == "DoNotSchedule"
            ]
        return kind

    def _rule_of(self, namespace: str, constraint: wire.TopologySpreadConstraint) -> _Rule:
        key = msgspec.json.encode((namespace, constraint))
        rule = self._rules.get(key)
        if rule is None:
            rule = self._rules[key] = _Rule(namespace, constraint)
        return rule
