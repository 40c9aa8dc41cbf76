"""Classes of pods: what is the same for many pods is worked out once.

Pods of one shape are one ``PodClass``. Classes that differ in size only share their
``Rules``; rules that ask the same of a node share their ``NodeRules``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from operator import eq
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from plimsoll.api import labels as names
from plimsoll.decide.columns import Bools
from plimsoll.decide.counting import Counter, Spread
from plimsoll.decide.ports import count, moved_to
from plimsoll.decide.topology import Labelled, Selection, Topology
from plimsoll.world.selectors import requirement_matches, untolerated
from plimsoll.world.snapshot import PodShape
from plimsoll.world.wire import NodeSelector, NodeSelectorTerm, SelectorRequirement

if TYPE_CHECKING:
    from plimsoll.decide.fleet import Fleet

_encode = msgspec.msgpack.encode


class NodeRules:
    """What a pod asks of a node as such: labels, taints, runtimes. Never changes in a plan.

    Each answer is an array over VMs; those opened since are worked out when asked for.
    """

    def __init__(self, fleet: Fleet, shape: PodShape) -> None:
        self._fleet = fleet
        self._shape = shape
        self.tolerations_key = _encode(shape.tolerations)
        self._pieces: dict[str, Bools] = {}
        self._takes: tuple[int, int, Bools] | None = None

    def truncate(self, count: int) -> None:
        """Forgets the slots from ``count`` on."""
        self._takes = None
        for name, piece in self._pieces.items():
            self._pieces[name] = piece[:count]

    def arrange(self) -> None:
        """All VMs got other slots: everything is worked out anew when it is asked for."""
        self._takes = None
        self._pieces.clear()

    def selected(self) -> Bools:
        """Node selector, node affinity and volumes match."""
        return self._piece("selected", self.selected_since)

    def tolerated(self) -> Bools:
        """No taint keeps the pod off."""
        return self._piece("tolerated", self.tolerated_since)

    def offered(self) -> Bools:
        """The pool offers the RuntimeClass."""
        return self._piece("offered", self._offered_since)

    def admitted(self) -> Bools:
        """All of these, and the VM takes pods at all."""
        columns = self._fleet.columns
        known = self._takes
        if known is None or known[0] != columns.takes_version or known[1] != columns.count:
            mask = columns.takes & self.selected() & self.tolerated()
            if self._shape.runtime_class:
                mask &= self.offered()
            if self._shape.not_modelled or self._shape.blocked:
                mask = np.zeros(len(mask), np.bool_)
            known = self._takes = (columns.takes_version, columns.count, mask)
        return known[2]

    def selected_since(self, since: int) -> Bools:
        """As ``selected``, of the slots from ``since`` on."""
        return self.affine_since(since, self._shape.volume_nodes)

    def affine_since(self, since: int, further: tuple[NodeSelector, ...] = ()) -> Bools:
        """Node selector and node affinity only, which topology spread may honour."""
        columns, shape = self._fleet.columns, self._shape
        mask = np.ones(columns.count - since, np.bool_)
        for key, value in shape.node_selector.items():
            mask &= columns.label(key).where(("=", value), partial(eq, value), since)
        if shape.node_affinity is not None:
            mask &= self._matches(shape.node_affinity, since)
        for selector in further:
            mask &= self._matches(selector, since)
        return mask

    def tolerated_since(self, since: int) -> Bools:
        """As ``tolerated``, of the slots from ``since`` on."""
        tolerations = self._shape.tolerations
        return self._fleet.taints.where(
            self.tolerations_key,
            lambda taints: not taints or untolerated(taints, tolerations) is None,
            since,
        )

    def _offered_since(self, since: int) -> Bools:
        runtime = self._shape.runtime_class

        def offers(name: str | None) -> bool:
            if name is None:
                return True
            offered = self._fleet.pools[name].spec.template.runtime_classes
            return not offered or runtime in offered

        return self._fleet.pool_of.where(("runtime", runtime), offers, since)

    def matches(self, term: NodeSelectorTerm, since: int = 0) -> Bools:
        """VMs that a term selects; an empty term selects nothing (core/v1 NodeSelectorTerm)."""
        fleet = self._fleet
        if not term.match_expressions and not term.match_fields:
            return np.zeros(fleet.columns.count - since, np.bool_)
        mask = np.ones(fleet.columns.count - since, np.bool_)
        for requirement in term.match_expressions:
            column = fleet.columns.label(requirement.key)
            mask &= column.where(_key_of(requirement), _test_of(requirement), since)
        for requirement in term.match_fields:
            mask &= fleet.node_names.where(_key_of(requirement), _test_of(requirement), since)
        return mask

    def _matches(self, selector: NodeSelector, since: int) -> Bools:
        mask = np.zeros(self._fleet.columns.count - since, np.bool_)
        for term in selector.node_selector_terms:
            mask |= self.matches(term, since)
        return mask

    def _piece(self, name: str, work_out: Callable[[int], Bools]) -> Bools:
        known = self._pieces.get(name)
        since = 0 if known is None else len(known)
        if known is None or since < self._fleet.columns.count:
            more = work_out(since)
            known = more if known is None else np.concatenate([known, more])
            self._pieces[name] = known
        return known


def _key_of(requirement: SelectorRequirement) -> tuple[Any, ...]:
    return (requirement.operator, *requirement.values)


def _test_of(requirement: SelectorRequirement) -> Callable[[Any], bool]:
    def test(value: str | None) -> bool:
        return requirement_matches(requirement, {} if value is None else {requirement.key: value})

    return test


class Rules:
    """Everything of a pod that the scheduler looks at but its size."""

    def __init__(self, fleet: Fleet, shape: PodShape, nodes: NodeRules) -> None:
        topology = fleet.topology
        self.shape = shape
        """One of the shapes that have these rules."""
        self.nodes = nodes
        self.pods: Labelled = topology.labelled(shape.namespace, shape.labels)
        self.placed: dict[int, int] = {}
        """Pods with these rules that are there to stay, by VM slot."""
        selections = tuple(Selection.of_term(t, shape.namespace) for t in shape.affinity)
        self.near: list[Counter] = [
            topology.counter(selections, term.topology_key) for term in shape.affinity
        ]
        """What it must be near. A pod counts only if it matches all of the terms.

        Source: interpodaffinity's ``podMatchesAllAffinityTerms``.
        """
        self.near_itself = bool(selections) and topology.selects(selections, self.pods)
        self.apart: list[Counter] = []
        """What it must be kept apart from, each term by itself."""
        self.avoiders: list[Counter] = []
        """Those that count it as one who keeps others away."""
        for term in shape.anti_affinity:
            selection = (Selection.of_term(term, shape.namespace),)
            self.apart.append(topology.counter(selection, term.topology_key))
            self.avoiders.append(topology.avoider(selection, term.topology_key))
        self.even: list[tuple[Spread, int]] = [
            (self._spread(fleet, number), self._counts_itself(topology, number))
            for number in range(len(shape.spread))
        ]
        """Its spread constraints, and 1 where the pod counts itself."""
        for counter in (*self.near, *(spread for spread, _ in self.even)):
            counter.users.append(self)
        self._ports = [fleet.ports.of(protocol, port) for _, protocol, port in shape.host_ports]
        self.free = not (self.near or self.apart or self.even or shape.host_ports)
        """Nothing but its size and the node as such matters, as far as its own rules go."""
        self.order = self._order_of(topology)
        """Those whose places are fewer come first: 0 for pods that share a VM with none of
        their kind, 5 for those that go anywhere."""

    def place(self, slot: int, number: int, terminating: bool) -> None:
        """So many more such pods on a VM; a negative number takes them away."""
        pods = self.pods
        count(pods.placed, slot, number)
        for counter in pods.counters:
            counter.add(slot, number)
        for avoider in self.avoiders:
            avoider.add(slot, number)
        if self._ports:
            for port, (address, _, _) in zip(self._ports, self.shape.host_ports, strict=True):
                port.add(slot, address, number)
        if terminating:
            count(pods.terminating, slot, number)
            return
        for spread in pods.spreads:
            spread.add(slot, number)
        if self.near or self.even:
            count(self.placed, slot, number)
            for spread, _ in self.even:
                spread.carry(slot, number)

    def arrange(self, moved: Sequence[int]) -> None:
        """VMs got other slots: by the slot that each had, the one it has now."""
        self.placed = moved_to(moved, self.placed)

    def wanted_near(self) -> list[str]:
        """Topology keys by which pods that are placed must be near pods like this one."""
        return sorted(
            {
                counter.key
                for counter in self.pods.counters
                for rules in counter.users
                if counter in rules.near and rules.placed
            }
        )

    def _order_of(self, topology: Topology) -> int:
        shape = self.shape
        itself = [Selection.of_term(term, shape.namespace) for term in shape.anti_affinity]
        if shape.host_ports or any(topology.selects((s,), self.pods) for s in itself):
            return 0
        if self.apart:
            return 1
        if any(constraint.topology_key == names.HOSTNAME for constraint in shape.spread):
            return 2
        return 3 if self.even else 4 if self.near else 5

    def _spread(self, fleet: Fleet, number: int) -> Spread:
        shape, nodes = self.shape, self.nodes
        constraint = shape.spread[number]
        keys = sorted({c.topology_key for c in shape.spread})
        affine = constraint.node_affinity_policy == "Honor"
        tolerated = constraint.node_taints_policy == "Honor"

        def eligible(since: int) -> Bools:
            mask = np.ones(fleet.columns.count - since, np.bool_)
            for key in keys:
                mask &= fleet.columns.label(key).codes[since:] != 0
            if affine:
                mask &= nodes.affine_since(since)
            if tolerated:
                mask &= nodes.tolerated_since(since)
            return mask

        identity = (
            tuple(keys),
            _encode((shape.node_selector, shape.node_affinity)) if affine else None,
            nodes.tolerations_key if tolerated else None,
        )
        return fleet.topology.spread(constraint, shape.namespace, identity, eligible)

    def _counts_itself(self, topology: Topology, number: int) -> int:
        # An empty selector matches the pod itself although it counts no other.
        selection = Selection(
            (self.shape.namespace,), None, self.shape.spread[number].label_selector
        )
        return int(topology.selects((selection,), self.pods))


_MEMORY_WEIGHS = 1.2
"""How much memory counts beside CPU in which pods are large. What needs much memory fits fewer
gaps. Measured: 1.15 to 1.3 make Karpenter's mix cheaper by 1 to 2%, other mixes neither way."""


class PodClass:
    """All pods of one shape."""

    __slots__ = ("cpu", "extended", "memory", "order", "place", "rules", "shape", "size_key")

    def __init__(self, shape: PodShape, rules: Rules, memory_per_cpu: float) -> None:
        self.shape = shape
        self.rules = rules
        self.place = rules.place
        self.cpu = shape.requests.cpu
        self.memory = shape.requests.memory
        self.extended = [(n, a) for n, a in shape.requests.extended.items() if a > 0]
        """Extended resources that it asks for."""
        self.size_key: Hashable = (self.cpu, self.memory, *self.extended, id(rules.nodes))
        """Equal for classes that ask the same of a VM, whatever other pods are there."""
        size = self.cpu / 1000 + _MEMORY_WEIGHS * self.memory / memory_per_cpu
        alone = rules.order == 0
        self.order = (-shape.priority, 0 if alone else 1, -size, -self.cpu, rules.order, shape.key)
        """In which order pods get places; smaller is sooner.

        By priority. Those that need VMs of their own come first, for others can fill these
        up; then large before small (first-fit decreasing), so that small ones fill gaps.
        """


class Classes:
    """The classes of a fleet's pods."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._classes: dict[str, PodClass] = {}
        self._rules: dict[Any, Rules] = {}
        self._nodes: dict[Any, NodeRules] = {}

    def of(self, shape: PodShape) -> PodClass:
        """The class of a shape."""
        known = self._classes.get(shape.key)
        if known is None:
            known = self._classes[shape.key] = PodClass(
                shape, self._rules_of(shape), self._fleet.memory_per_cpu
            )
            for name, _ in known.extended:
                self._fleet.columns.extended(name)
        return known

    def truncate(self, count: int) -> None:
        """Forgets the slots from ``count`` on."""
        for nodes in self._nodes.values():
            nodes.truncate(count)

    def arrange(self, moved: Sequence[int]) -> None:
        """VMs got other slots: by the slot that each had, the one it has now."""
        for nodes in self._nodes.values():
            nodes.arrange()
        for rules in self._rules.values():
            rules.arrange(moved)

    def __len__(self) -> int:
        """Number of classes that have been seen, those that are gone included."""
        return len(self._classes)

    def rules(self) -> list[Rules]:
        """All rules known, in the order in which they became known."""
        return list(self._rules.values())

    def _rules_of(self, shape: PodShape) -> Rules:
        node_key = _node_key(shape)
        key = (
            shape.namespace,
            frozenset(shape.labels.items()),
            node_key,
            _encode((shape.affinity, shape.anti_affinity, shape.spread))
            if shape.affinity or shape.anti_affinity or shape.spread
            else None,
            shape.host_ports,
            _encode((shape.preferred_nodes, shape.preferred_affinity))
            if shape.preferred_nodes or shape.preferred_affinity
            else None,
            _encode((shape.preferred_anti_affinity, shape.preferred_spread))
            if shape.preferred_anti_affinity or shape.preferred_spread
            else None,
        )
        rules = self._rules.get(key)
        if rules is None:
            nodes = self._nodes.get(node_key)
            if nodes is None:
                nodes = self._nodes[node_key] = NodeRules(self._fleet, shape)
            rules = self._rules[key] = Rules(self._fleet, shape, nodes)
        return rules


def _node_key(shape: PodShape) -> Any:
    return (
        frozenset(shape.node_selector.items()),
        _encode((shape.node_affinity, shape.volume_nodes))
        if shape.node_affinity is not None or shape.volume_nodes
        else None,
        _encode(shape.tolerations) if shape.tolerations else None,
        shape.runtime_class,
        shape.not_modelled,
        shape.blocked,
    )
