"""Which pods are in which topology domain: counts behind spread, affinity and anti-affinity.

Everything is counted by rule and domain, not by pod: a selector is matched once
against each distinct set of labels, so that cost grows with classes and VMs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from plimsoll.decide.columns import ABSENT, Bools, Columns, Ints, Values
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
        self.staying: dict[int, int] = {}
        """As ``placed``, without pods that are terminating: spread does not count those."""
        self.counters: list[Counter] = []
        """Those that count such pods."""
        self.spreads: list[Spread] = []
        self.avoiders: list[Counter] = []
        """Anti-affinity of other pods from which such pods must keep away."""

    def counted_by(self) -> Iterator[Any]:
        """Rules whose pods ask where such pods are, each at least once."""
        for counter in (*self.counters, *self.spreads):
            yield from counter.users


class Counter:
    """Pods by domain of one topology key."""

    def __init__(self, column: Values, key: str) -> None:
        self.column = column
        self.key = key
        """The topology key."""
        self.counts: Ints = np.zeros(max(8, column.size), np.int64)
        """By the column's code."""
        self.users: list[Any] = []
        """Rules of pods that must be near, or evenly spread among, those that it counts."""
        self.total = 0
        self.version = 0
        self._at: tuple[int, int, Ints] | None = None

    def add(self, slot: int, number: int) -> None:
        """So many more pods on a VM; one without the label is in no domain."""
        code = self.column.codes[slot]
        if code != ABSENT:
            if code >= len(self.counts):
                self.cover()
            self.counts[code] += number
            self.total += number
            self.version += 1
            if self._at is not None:
                self._patch(slot, number)

    def _patch(self, slot: int, number: int) -> None:
        """Brings ``at_slots`` up to date where one VM is one domain."""
        assert self._at is not None
        version, count, at = self._at
        if self.column.unique and version == self.version - 1 and slot < count:
            at[slot] += number
            self._at = (self.version, count, at)

    def truncate(self, count: int) -> None:
        """Forgets the slots from ``count`` on."""
        if self._at is not None and self._at[1] > count:
            self._at = None

    def cover(self) -> None:
        """Makes room for domains seen since."""
        if len(self.counts) < self.column.size:
            more = np.zeros(2 * self.column.size, np.int64)
            more[: len(self.counts)] = self.counts
            self.counts = more

    def at_slots(self) -> Ints:
        """Pods in the domain of each VM; 0 for VMs without one."""
        count = len(self.column.codes)
        if self._at is None or self._at[0] != self.version or self._at[1] != count:
            self.cover()
            if self._at is not None and self._at[0] == self.version and self.column.unique:
                # VMs were opened since, no pods came.
                more = self.counts.take(self.column.codes[self._at[1] :])
                at = np.concatenate([self._at[2], more])
            else:
                at = self.counts.take(self.column.codes)
            self._at = (self.version, count, at)
        return self._at[2]

    def in_domain(self, labels: Mapping[str, str]) -> int | None:
        """Pods in the domain of a VM with these labels; None: it is in none."""
        value = labels.get(self.key)
        if value is None:
            return None
        code = self.column.known(value)
        return int(self.counts[code]) if ABSENT < code < len(self.counts) else 0


class Spread(Counter):
    """Pods by domain as one topology spread constraint counts them.

    A domain counts if one of its nodes is eligible: it has every topology key of the
    pod's constraints and passes the policies (Honor: node affinity and selector; taints
    only where asked). So do the pods: those on other nodes do not.
    """

    def __init__(
        self,
        column: Values,
        columns: Columns,
        constraint: TopologySpreadConstraint,
        eligible: Callable[[int], Bools],
    ) -> None:
        super().__init__(column, constraint.topology_key)
        self.max_skew = constraint.max_skew
        self.min_domains = constraint.min_domains or 0
        self.carriers = Counter(column, constraint.topology_key)
        """Placed pods that have this constraint."""
        self._columns = columns
        self._eligible_since = eligible
        self._eligible: Bools = np.zeros(0, np.bool_)
        self._open: tuple[int, Bools, Ints, bool] | None = None
        self._least: tuple[int, int, int] | None = None
        self._allowed: dict[int, tuple[int, int, Bools]] = {}
        self._broken: tuple[int, int, int, Bools] | None = None

    def add(self, slot: int, number: int) -> None:
        if self.eligible()[slot]:
            super().add(slot, number)

    def eligible(self) -> Bools:
        """By slot: whether the node is counted. VMs that are gone are told by ``domains``."""
        known = len(self._eligible)
        if known < self._columns.count:
            self._eligible = np.concatenate([self._eligible, self._eligible_since(known)])
        return self._eligible

    def truncate(self, count: int) -> None:
        super().truncate(count)
        self.carriers.truncate(count)
        self._eligible = self._eligible[:count]
        self._allowed.clear()
        self._broken = None

    def domains(self) -> tuple[Bools, Ints, bool]:
        """Which domains have an eligible node, their codes, and whether all domains have."""
        version = self._columns.open_version
        if self._open is None or self._open[0] != version:
            self.cover()
            labelled = self.column.codes[self._columns.is_open & (self.column.codes != ABSENT)]
            there = self.column.codes[self.eligible() & self._columns.is_open]
            exists = np.zeros(len(self.counts), np.bool_)
            exists[there] = True
            exists[ABSENT] = False
            every = bool(self._eligible.all()) or bool(exists[labelled].all())
            self._open = (version, exists, np.flatnonzero(exists), every)
        return self._open[1:]

    def least(self) -> int:
        """Pods in the emptiest domain.

        With fewer than ``minDomains`` domains the global minimum counts as 0.
        """
        version = self._columns.open_version
        if self._least is None or self._least[0] != self.version or self._least[1] != version:
            _, codes, _ = self.domains()
            if not len(codes) or len(codes) < self.min_domains:
                least = 0
            elif len(codes) == self.column.size - 1:
                least = int(self.counts[1 : self.column.size].min())
            else:
                least = int(self.counts[codes].min())
            self._least = (self.version, version, least)
        return self._least[2]

    def allowed(self, own: int) -> Bools:
        """By slot: whether one more pod may go there; ``own``: 1 if it counts itself."""
        version = self._columns.open_version
        known = self._allowed.get(own)
        if known is None or known[0] != self.version or known[1] != version:
            exists, _, every = self.domains()
            mask = self.at_slots() <= self.max_skew + self.least() - own
            if own > self.max_skew:
                mask = np.zeros(len(mask), np.bool_)
            if not every:
                # A domain in which no node counts has no pods that count; none has fewer.
                mask = np.where(exists.take(self.column.codes), mask, own <= self.max_skew)
            if not self.column.full:
                mask &= self.column.codes != ABSENT
            known = self._allowed[own] = (self.version, version, mask)
        return known[2]

    def allowed_new(self, labels: Mapping[str, str], own: int) -> bool:
        """As ``allowed``, for an eligible VM that is only tried out.

        It may be the first of its domain, which then is the emptiest.
        """
        value = labels.get(self.key)
        if value is None:
            return False
        exists, _, _ = self.domains()
        code = self.column.known(value)
        if code != ABSENT and code < len(exists) and exists[code]:
            return int(self.counts[code]) + own - self.least() <= self.max_skew
        return own <= self.max_skew

    def would_break(self) -> Bools:
        """By slot: whether one more counted pod would leave pods there uneven that are even."""
        known, version = self._broken, self._columns.open_version
        stamp = (self.version, self.carriers.version, version)
        if known is None or known[:3] != stamp:
            mask = self.at_slots() == self.max_skew + self.least()
            mask &= self.carriers.at_slots() > 0
            if not self.eligible().all():
                mask &= self.eligible()
            known = self._broken = (*stamp, mask)
        return known[3]

    def would_break_new(self, labels: Mapping[str, str]) -> bool:
        """As ``would_break``, for an eligible VM that is only tried out."""
        if not self.carriers.in_domain(labels):
            return False
        return self.in_domain(labels) == self.max_skew + self.least()

    def uneven(self, slots: Ints) -> Bools:
        """Which of these slots are in a domain that holds too many."""
        at = self.at_slots()[slots]
        return at - self.least() > self.max_skew


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
                for slot, number in pods.staying.items():
                    known.add(slot, number)
        return known

    def truncate(self, count: int) -> None:
        """Forgets the slots from ``count`` on; no pods are there any more."""
        for counters in (self._counters, self._spreads, self._avoiders):
            for counter in counters.values():
                counter.truncate(count)

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
