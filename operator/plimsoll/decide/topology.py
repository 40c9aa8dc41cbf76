"""Which pods are in which topology domain: counts behind spread, affinity and anti-affinity.

Everything is counted by term and domain, not by pod: a term is matched once
against each pod shape, so that cost grows with shapes and VMs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

import msgspec

from plimsoll.decide.selectors import selector_matches
from plimsoll.world.snapshot import PodShape
from plimsoll.world.wire import LabelSelector, PodAffinityTerm


class _Selection(msgspec.Struct, frozen=True):
    """Pods by namespace and labels."""

    namespaces: tuple[str, ...]
    namespace_selector: LabelSelector | None
    selector: LabelSelector | None


class _Term(msgspec.Struct, frozen=True):
    """Pods that match every selection, by domains: the values of a node label."""

    topology_key: str
    selections: tuple[_Selection, ...]


TermId = bytes

Terms = tuple[tuple[str, TermId], ...]
"""(topology key, term) of each rule of a pod."""


def _selection(term: PodAffinityTerm, namespace: str) -> _Selection:
    own = not term.namespaces and term.namespace_selector is None
    return _Selection(
        namespaces=(namespace,) if own else tuple(sorted(term.namespaces)),
        namespace_selector=term.namespace_selector,
        selector=term.label_selector,
    )


class Topology:
    """Counts of matching pods by term and domain."""

    def __init__(self, namespaces: Mapping[str, Mapping[str, str]]) -> None:
        self._namespaces = namespaces
        self._terms: dict[TermId, _Term] = {}
        self._matches: dict[tuple[TermId, str], bool] = {}
        self._shapes: dict[str, PodShape] = {}
        self._node_labels: dict[str, Mapping[str, str]] = {}
        self._placed: Counter[tuple[str, str]] = Counter()
        self._staying: Counter[tuple[str, str]] = Counter()
        """As ``_placed``, without pods that are terminating: spread does not count those."""
        self._by_domain: dict[TermId, Counter[str]] = {}
        self._by_node: dict[TermId, Counter[str]] = {}
        self._avoid: dict[TermId, Counter[str]] = defaultdict(Counter)
        self._rules: dict[tuple[str, str], Terms] = {}

    def affinity(self, shape: PodShape) -> Terms:
        """What a pod must be near. A pod counts only if it matches all of the terms.

        Source: interpodaffinity's ``podMatchesAllAffinityTerms``.
        """
        return self._rules_of("affinity", shape, self._affinity)

    def anti_affinity(self, shape: PodShape) -> Terms:
        """What a pod must be kept apart from, each term by itself."""
        return self._rules_of("anti_affinity", shape, self._anti_affinity)

    def spread(self, shape: PodShape) -> Terms:
        """What each of a pod's spread constraints counts, in their order."""
        return self._rules_of("spread", shape, self._spread)

    def supports(self, shape: PodShape) -> set[str]:
        """Topology keys of what other pods must be near, where pods of this shape are that."""
        return {
            key
            for (kind, _), terms in self._rules.items()
            if kind == "affinity"
            for key, term in terms
            if self.matches(term, shape)
        }

    def matches(self, term_id: TermId, shape: PodShape) -> bool:
        """Whether pods of this shape are among those that the term selects."""
        cached = self._matches.get((term_id, shape.key))
        if cached is None:
            cached = all(
                self._in_namespace(selection, shape.namespace)
                and selector_matches(selection.selector, shape.labels)
                for selection in self._terms[term_id].selections
            )
            self._matches[term_id, shape.key] = cached
        return cached

    def by_domain(self, term_id: TermId) -> Counter[str]:
        """Matching pods by domain. Nodes without the label belong to no domain."""
        counts = self._by_domain.get(term_id)
        if counts is None:
            counts = Counter()
            for (shape_key, node), number in self._placed.items():
                if number and self.matches(term_id, self._shapes[shape_key]):
                    domain = self._node_labels[node].get(self._terms[term_id].topology_key)
                    if domain is not None:
                        counts[domain] += number
            self._by_domain[term_id] = counts
        return counts

    def on_node(self, term_id: TermId, node: str) -> int:
        """Matching pods on one node that are not terminating."""
        counts = self._by_node.get(term_id)
        if counts is None:
            counts = Counter()
            for (shape_key, placed_on), number in self._staying.items():
                if number and self.matches(term_id, self._shapes[shape_key]):
                    counts[placed_on] += number
            self._by_node[term_id] = counts
        return counts[node]

    def avoided(self, shape: PodShape, labels: Mapping[str, str]) -> bool:
        """Whether a placed pod's anti-affinity keeps this shape off a node with these labels."""
        for term_id, domains in self._avoid.items():
            domain = labels.get(self._terms[term_id].topology_key)
            if domain is not None and domains[domain] > 0 and self.matches(term_id, shape):
                return True
        return False

    def add(
        self,
        shape: PodShape,
        node: str,
        labels: Mapping[str, str],
        number: int = 1,
        terminating: bool = False,
    ) -> None:
        """Counts so many pods of a shape on a node; a negative number takes them away."""
        self._shapes[shape.key] = shape
        self._node_labels[node] = labels
        self._placed[shape.key, node] += number
        for term_id, counts in self._by_domain.items():
            if self.matches(term_id, shape):
                domain = labels.get(self._terms[term_id].topology_key)
                if domain is not None:
                    counts[domain] += number
        for key, term_id in self.anti_affinity(shape):
            if key in labels:
                self._avoid[term_id][labels[key]] += number
        if terminating:
            return
        self._staying[shape.key, node] += number
        for term_id, by_node in self._by_node.items():
            if self.matches(term_id, shape):
                by_node[node] += number

    def _affinity(self, shape: PodShape) -> list[_Term]:
        selections = tuple(_selection(term, shape.namespace) for term in shape.affinity)
        return [_Term(term.topology_key, selections) for term in shape.affinity]

    def _anti_affinity(self, shape: PodShape) -> list[_Term]:
        return [
            _Term(term.topology_key, (_selection(term, shape.namespace),))
            for term in shape.anti_affinity
        ]

    def _spread(self, shape: PodShape) -> list[_Term]:
        return [
            _Term(
                constraint.topology_key,
                (_Selection((shape.namespace,), None, _counted(constraint.label_selector)),),
            )
            for constraint in shape.spread
        ]

    def _rules_of(
        self, kind: str, shape: PodShape, make: Callable[[PodShape], list[_Term]]
    ) -> Terms:
        known = self._rules.get((kind, shape.key))
        if known is None:
            terms = [(msgspec.json.encode(term, order="sorted"), term) for term in make(shape)]
            self._terms.update(terms)
            known = tuple((term.topology_key, term_id) for term_id, term in terms)
            self._rules[kind, shape.key] = known
        return known

    def _in_namespace(self, selection: _Selection, namespace: str) -> bool:
        if namespace in selection.namespaces:
            return True
        if selection.namespace_selector is None:
            return False
        return selector_matches(selection.namespace_selector, self._namespaces.get(namespace, {}))


def _counted(selector: LabelSelector | None) -> LabelSelector | None:
    """An empty selector matches the pod itself, but counts no other.

    Source: podtopologyspread's ``countPodsMatchSelector`` answers 0 for it.
    """
    if selector is not None and not selector.match_labels and not selector.match_expressions:
        return None
    return selector
