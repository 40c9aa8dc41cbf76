"""Which pods each rule counts: selections behind spread, affinity and anti-affinity.

Everything is counted by rule and domain, not by pod: a selector is matched once
against each distinct set of labels, so that cost grows with classes and VMs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from plimsoll.decide.columns import Bools, Columns
from plimsoll.decide.counting import Counter, Spread
from plimsoll.decide.ports import moved_to
from plimsoll.world.selectors import selector_matches
from plimsoll.world.wire import LabelSelector, PodAffinityTerm, TopologySpreadConstraint


class Selection(msgspec.Struct, frozen=True):
    """Pods by namespace and labels."""

    namespaces: tuple[str, ...]
    namespace_selector: LabelSelector | None
    selector: LabelSelector | None

    @classmethod
    def of_term(cls, term: PodAffinityTerm, namespace: str) -> Selection:
        own = not term.namespaces and term.namespace_selector is None
        return cls(
            namespaces=(namespace,) if own else tuple(sorted(term.namespaces)),
            namespace_selector=term.namespace_selector,
            selector=term.label_selector,
        )

    @classmethod
    def of_spread(cls, constraint: TopologySpreadConstraint, namespace: str) -> Selection:
        """An empty selector matches the pod itself, but counts no other.

        Source: podtopologyspread's ``countPodsMatchSelector`` answers 0 for it.
        """
        selector = constraint.label_selector
        if selector is not None and not selector.match_labels and not selector.match_expressions:
            selector = None
        return cls((namespace,), None, selector)


Selections = tuple[Selection, ...]
"""Pods that match every one of them."""


class Labelled:
    """Pods that no selector can tell apart: one namespace, one set of labels."""

    def __init__(self, namespace: str, labels: Mapping[str, str]) -> None:
        self.namespace = namespace
        self.labels = labels
        self.placed: dict[int, int] = {}
        """Number by VM slot; where there are none the slot is not named."""
        self.terminating: dict[int, int] = {}
        """Those of them that are terminating: spread does not count these."""
        self.counters: list[Counter] = []
        """Those that count such pods."""
        self.spreads: list[Spread] = []
        self.avoiders: list[Counter] = []
        """Anti-affinity of other pods from which such pods must keep away."""

    def counted_by(self) -> Iterator[Any]:
        """Rules whose pods ask where such pods are, each at least once."""
        for counter in (*self.counters, *self.spreads):
            yield from counter.users


class Topology:
    """All counters over one fleet's columns."""

    def __init__(self, namespaces: Mapping[str, Mapping[str, str]], columns: Columns) -> None:
        self._namespaces = namespaces
        self._columns = columns
        self._labelled: dict[Any, Labelled] = {}
        self._by_pair: dict[tuple[str, str], list[Labelled]] = {}
        self._counters: dict[Any, Counter] = {}
        self._spreads: dict[Any, Spread] = {}
        self._avoiders: dict[Any, Counter] = {}
        self._rules_by_pair: dict[tuple[str, str] | None, list[tuple[str, Any, Selections]]] = {}

    def labelled(self, namespace: str, labels: Mapping[str, str]) -> Labelled:
        """The one ``Labelled`` of a namespace and a set of labels."""
        key = (namespace, frozenset(labels.items()))
        known = self._labelled.get(key)
        if known is None:
            known = self._labelled[key] = Labelled(namespace, labels)
            for own in labels.items():
                self._by_pair.setdefault(own, []).append(known)
            for pair in (None, *labels.items()):
                for kind, rule, selections in self._rules_by_pair.get(pair, ()):
                    if self.selects(selections, known):
                        _listen(known, kind, rule)
        return known

    def selects(self, selections: Selections, pods: Labelled) -> bool:
        """Whether such pods match every selection."""
        return all(
            self._in_namespace(selection, pods.namespace)
            and selector_matches(selection.selector, pods.labels)
            for selection in selections
        )

    def counter(self, selections: Selections, key: str) -> Counter:
        """Pods that the selections select, by domains of a topology key."""
        identity = (msgspec.msgpack.encode(selections), key)
        known = self._counters.get(identity)
        if known is None:
            known = self._counters[identity] = Counter(self._columns.label(key), key)
            for pods in self._register("counter", known, selections):
                for slot, number in pods.placed.items():
                    known.add(slot, number)
        return known

    def spread(
        self,
        constraint: TopologySpreadConstraint,
        namespace: str,
        eligibility: Any,
        eligible: Callable[[int], Bools],
    ) -> Spread:
        """What a constraint counts. ``eligibility`` names which nodes are ``eligible``."""
        selection = Selection.of_spread(constraint, namespace)
        identity = (
            msgspec.msgpack.encode(selection),
            constraint.topology_key,
            constraint.max_skew,
            constraint.min_domains,
            eligibility,
        )
        known = self._spreads.get(identity)
        if known is None:
            column = self._columns.label(constraint.topology_key)
            known = Spread(column, self._columns, constraint, eligible)
            self._spreads[identity] = known
            for pods in self._register("spread", known, (selection,)):
                for slot, number in pods.placed.items():
                    known.add(slot, number - pods.terminating.get(slot, 0))
        return known

    def truncate(self, count: int) -> None:
        """Forgets the slots from ``count`` on; no pods are there any more."""
        for counters in (self._counters, self._spreads, self._avoiders):
            for counter in counters.values():
                counter.truncate(count)

    def arrange(self, moved: Sequence[int]) -> None:
        """VMs got other slots: by the slot that each had, the one it has now."""
        for pods in self._labelled.values():
            pods.placed = moved_to(moved, pods.placed)
            pods.terminating = moved_to(moved, pods.terminating)
        for counters in (self._counters, self._spreads, self._avoiders):
            for counter in counters.values():
                counter.arrange()

    def avoider(self, selections: Selections, key: str) -> Counter:
        """Placed pods that keep away whom the selections select, by domain."""
        identity = (msgspec.msgpack.encode(selections), key)
        known = self._avoiders.get(identity)
        if known is None:
            known = self._avoiders[identity] = Counter(self._columns.label(key), key)
            self._register("avoider", known, selections)
        return known

    def _register(self, kind: str, rule: Any, selections: Selections) -> Iterable[Labelled]:
        """Ties a rule to the pods that it selects, now and later; answers those of now."""
        pair = _required_pair(selections)
        self._rules_by_pair.setdefault(pair, []).append((kind, rule, selections))
        candidates = self._labelled.values() if pair is None else self._by_pair.get(pair, ())
        selected = [pods for pods in candidates if self.selects(selections, pods)]
        for pods in selected:
            _listen(pods, kind, rule)
        return selected

    def _in_namespace(self, selection: Selection, namespace: str) -> bool:
        if namespace in selection.namespaces:
            return True
        if selection.namespace_selector is None:
            return False
        return selector_matches(selection.namespace_selector, self._namespaces.get(namespace, {}))


def _listen(pods: Labelled, kind: str, rule: Any) -> None:
    if kind == "counter":
        pods.counters.append(rule)
    elif kind == "spread":
        pods.spreads.append(rule)
    else:
        pods.avoiders.append(rule)


def _required_pair(selections: Selections) -> tuple[str, str] | None:
    """A label that all selected pods have, to look few of them up; None: none is known."""
    for selection in selections:
        if selection.selector is not None:
            for pair in selection.selector.match_labels.items():
                return pair
            for requirement in selection.selector.match_expressions:
                if requirement.operator == "In" and len(requirement.values) == 1:
                    return requirement.key, requirement.values[0]
    return None
