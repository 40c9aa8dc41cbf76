"""Which pods are in which topology domain: counts behind spread, affinity and anti-affinity.

Everything is counted by term and domain, not by pod: a term is matched once
against each pod shape, so that cost grows with shapes and VMs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

import msgspec

from plimsoll.decide.selectors import selector_matches
from plimsoll.world.snapshot import PodShape
from plimsoll.world.wire import LabelSelector, PodAffinityTerm, TopologySpreadConstraint


class _Term(msgspec.Struct, frozen=True):
    """A selection of pods and the node label whose values are its domains."""

    topology_key: str
    namespaces: tuple[str, ...]
    namespace_selector: LabelSelector | None
    selector: LabelSelector | None


TermId = bytes


def _term_of(term: PodAffinityTerm, namespace: str) -> _Term:
    own = not term.namespaces and term.namespace_selector is None
    return _Term(
        topology_key=term.topology_key,
        namespaces=(namespace,) if own else tuple(sorted(term.namespaces)),
        namespace_selector=term.namespace_selector,
        selector=term.label_selector,
    )


class Topology:
    """Counts of matching pods by term and domain."""

    def __init__(self, namespaces: Mapping[str, Mapping[str, str]]) -> None:
        self._namespaces = namespaces
        self._terms: dict[TermId, _Term] = {}
        self._ids: dict[tuple[int, str], TermId] = {}
        self._keep: list[object] = []
        self._matches: dict[tuple[TermId, str], bool] = {}
        self._placed: Counter[tuple[str, str]] = Counter()
        self._shapes: dict[str, PodShape] = {}
        self._node_labels: dict[str, Mapping[str, str]] = {}
        self._counts: dict[TermId, Counter[str]] = {}
        self._by_node: dict[TermId, Counter[str]] = {}
        self._avoid: dict[TermId, Counter[str]] = defaultdict(Counter)

    def affinity_term(self, term: PodAffinityTerm, namespace: str) -> TermId:
        """The id of an affinity or anti-affinity term of a pod in ``namespace``."""
        return self._intern(term, namespace, lambda: _term_of(term, namespace))

    def spread_term(self, constraint: TopologySpreadConstraint, namespace: str) -> TermId:
        """The id of what a spread constraint counts: pods of its own namespace only."""
        return self._intern(
            constraint,
            namespace,
            lambda: _Term(constraint.topology_key, (namespace,), None, constraint.label_selector),
        )

    def matches(self, term_id: TermId, shape: PodShape) -> bool:
        """Whether pods of this shape are among those that the term selects."""
        cached = self._matches.get((term_id, shape.key))
        if cached is None:
            term = self._terms[term_id]
            cached = self._in_namespace(term, shape.namespace) and selector_matches(
                term.selector, shape.labels
            )
            self._matches[term_id, shape.key] = cached
        return cached

    def counts(self, term_id: TermId) -> Counter[str]:
        """Matching pods by domain. Nodes without the label belong to no domain."""
        counts = self._counts.get(term_id)
        if counts is None:
            counts = Counter()
            for (shape_key, node), number in self._placed.items():
                if number and self.matches(term_id, self._shapes[shape_key]):
                    domain = self._node_labels[node].get(self._terms[term_id].topology_key)
                    if domain is not None:
                        counts[domain] += number
            self._counts[term_id] = counts
        return counts

    def on_node(self, term_id: TermId, node: str) -> int:
        """Matching pods on one node."""
        counts = self._by_node.get(term_id)
        if counts is None:
            counts = Counter()
            for (shape_key, placed_on), number in self._placed.items():
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

    def add(self, shape: PodShape, node: str, labels: Mapping[str, str], number: int = 1) -> None:
        """Counts so many pods of a shape on a node; a negative number takes them away."""
        self._shapes[shape.key] = shape
        self._node_labels[node] = labels
        self._placed[shape.key, node] += number
        for term_id, counts in self._counts.items():
            if self.matches(term_id, shape):
                domain = labels.get(self._terms[term_id].topology_key)
                if domain is not None:
                    counts[domain] += number
        for term_id, by_node in self._by_node.items():
            if self.matches(term_id, shape):
                by_node[node] += number
        for term in shape.anti_affinity:
            term_id = self.affinity_term(term, shape.namespace)
            domain = labels.get(term.topology_key)
            if domain is not None:
                self._avoid[term_id][domain] += number

    def _in_namespace(self, term: _Term, namespace: str) -> bool:
        if namespace in term.namespaces:
            return True
        if term.namespace_selector is None:
            return False
        return selector_matches(term.namespace_selector, self._namespaces.get(namespace, {}))

    def _intern(self, source: object, namespace: str, make: object) -> TermId:
        # Struct hashing walks the whole tree; an identity look-aside keeps the hot path flat.
        # ``_keep`` holds the sources so that an id is never reused for another object.
        key = (id(source), namespace)
        term_id = self._ids.get(key)
        if term_id is None:
            term: _Term = make()  # type: ignore[operator]
            term_id = msgspec.json.encode(term, order="sorted")
            self._terms.setdefault(term_id, term)
            self._ids[key] = term_id
            self._keep.append(source)
        return term_id
