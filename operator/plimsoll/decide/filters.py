"""The real scheduler's filters, plus the load line: may this pod go onto this VM?

Order and meaning follow kube-scheduler's filter plugins (NodeUnschedulable,
NodeName, TaintToleration, NodeAffinity, NodePorts, NodeResourcesFit,
PodTopologySpread, InterPodAffinity). What is not modelled is named in
``PodShape.not_modelled`` and never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from plimsoll.api import labels as names
from plimsoll.decide.fleet import Bin, Fleet, smallest_size
from plimsoll.decide.plan import Reason, Size
from plimsoll.decide.selectors import node_selector_matches, selector_matches, untolerated
from plimsoll.decide.topology import TermId
from plimsoll.world.snapshot import PodShape, Resources
from plimsoll.world.wire import TopologySpreadConstraint


class _Domains(NamedTuple):
    """Pods of a spread constraint by domain, and how many the emptiest domain has."""

    counts: dict[str, int]
    least: int


class Filters:
    """Filters over one fleet; what cannot change during a plan is remembered."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._static: dict[str, dict[str, Reason | None]] = {}
        self._domains: dict[tuple[str, TermId], tuple[int, _Domains]] = {}
        self._counted: dict[tuple[str, TermId], tuple[int, list[tuple[str, str]]]] = {}

    def static(self, shape: PodShape, target: Bin) -> Reason | None:
        """Why the pod can never go there, whatever else is placed; None if it can."""
        known = self._static.setdefault(target.name, {})
        if shape.key not in known:
            known[shape.key] = self._static_reason(shape, target)
        return known[shape.key]

    def forget(self, target: Bin) -> None:
        """Drops what is remembered of a bin: it was only tried out, or it changed its mind."""
        self._static.pop(target.name, None)

    def dynamic(self, shape: PodShape, target: Bin) -> Reason | None:
        """Why ports or other pods keep the pod off now; resources are not looked at."""
        if shape.host_ports and _port_taken(shape, target):
            return Reason.HOST_PORT
        if shape.spread and not self._spread_allows(shape, target):
            return Reason.SPREAD
        if shape.affinity and not self._affinity_met(shape, target, already_there=False):
            return Reason.AFFINITY
        topology = self._fleet.topology
        for key, term in topology.anti_affinity(shape):
            domain = target.labels.get(key)
            if domain is not None and topology.by_domain(term)[domain] > 0:
                return Reason.ANTI_AFFINITY
        if self._fleet.topology.avoided(shape, target.labels):
            return Reason.ANTI_AFFINITY
        return None

    def reason(self, shape: PodShape, target: Bin) -> Reason | None:
        """Why the pod cannot go there as the bin is now; None if it can."""
        return (
            self.static(shape, target)
            or resources_reason(target, shape.requests)
            or self.dynamic(shape, target)
        )

    def unsettled(self) -> Iterator[str]:
        """Keys of pods whose own rules the final picture breaks.

        Either their domain holds too many of them, or what they must be near is elsewhere.
        """
        uneven: dict[tuple[str, TermId, str], bool] = {}
        for _, target in sorted(self._fleet.bins.items()):
            for key in sorted(target.pods):
                shape = target.pods[key]
                if shape.affinity and not self._affinity_met(shape, target, already_there=True):
                    yield key
                    continue
                if shape.spread and self._is_uneven(shape, target, uneven):
                    yield key

    def _is_uneven(
        self, shape: PodShape, target: Bin, known: dict[tuple[str, TermId, str], bool]
    ) -> bool:
        terms = self._fleet.topology.spread(shape)
        for constraint, (key, term) in zip(shape.spread, terms, strict=True):
            domain = target.labels.get(key)
            if domain is None:
                continue
            place = (shape.key, term, domain)
            if place not in known:
                found = self._spread_domains(shape, constraint, term)
                few = (constraint.min_domains or 0) > len(found.counts)
                skew = found.counts.get(domain, 0) - (0 if few else found.least)
                known[place] = skew > constraint.max_skew
            if known[place]:
                return True
        return False

    def _static_reason(self, shape: PodShape, target: Bin) -> Reason | None:
        if shape.not_modelled:
            return Reason.NOT_MODELLED
        if not target.accepts:
            vm = target.vm
            if vm is not None and (vm.lost or not vm.ready):
                return Reason.NOT_READY
            return Reason.UNSCHEDULABLE
        labels = target.labels
        if any(labels.get(key) != value for key, value in shape.node_selector.items()):
            return Reason.NODE_SELECTOR
        if not node_selector_matches(shape.node_affinity, labels, target.name):
            return Reason.NODE_SELECTOR
        if untolerated(target.taints, shape.tolerations) is not None:
            return Reason.TAINTS
        if shape.runtime_class and target.pool is not None:
            offered = target.pool.spec.template.runtime_classes
            if offered and shape.runtime_class not in offered:
                return Reason.RUNTIME_CLASS
        return None

    def _spread_domains(
        self, shape: PodShape, constraint: TopologySpreadConstraint, term: TermId
    ) -> _Domains:
        """Matching pods by domain, and the domains that count for the global minimum.

        A domain counts if one of its nodes has every topology key of the pod's
        constraints and passes the policies (Honor: node affinity and selector;
        taints only where asked). So do the pods: those on excluded nodes do not.
        """
        group = (shape.key, term)
        cached = self._domains.get(group)
        if cached is not None and cached[0] == self._fleet.version:
            return cached[1]
        counts: dict[str, int] = {}
        for name, domain in self._counted_nodes(shape, constraint, group):
            counts[domain] = counts.get(domain, 0) + self._fleet.topology.on_node(term, name)
        found = _Domains(counts, min(counts.values(), default=0))
        self._domains[group] = (self._fleet.version, found)
        return found

    def _counted_nodes(
        self, shape: PodShape, constraint: TopologySpreadConstraint, group: tuple[str, TermId]
    ) -> list[tuple[str, str]]:
        """(node, domain) of every node that a constraint counts."""
        cached = self._counted.get(group)
        if cached is not None and cached[0] == self._fleet.bins_version:
            return cached[1]
        keys = [c.topology_key for c in shape.spread]
        nodes = []
        for target in self._fleet.bins.values():
            labels = target.labels
            if any(key not in labels for key in keys):
                continue
            if constraint.node_affinity_policy == "Honor" and not _selected(shape, target):
                continue
            if (
                constraint.node_taints_policy == "Honor"
                and untolerated(target.taints, shape.tolerations) is not None
            ):
                continue
            nodes.append((target.name, labels[constraint.topology_key]))
        self._counted[group] = (self._fleet.bins_version, nodes)
        return nodes

    def _spread_allows(self, shape: PodShape, target: Bin) -> bool:
        if any(c.topology_key not in target.labels for c in shape.spread):
            return False
        terms = self._fleet.topology.spread(shape)
        for constraint, (key, term) in zip(shape.spread, terms, strict=True):
            domain = target.labels[key]
            domains = self._spread_domains(shape, constraint, term)
            # A VM only tried out may be the first of its domain.
            known = domain in domains.counts
            least = domains.least if known else 0
            number = len(domains.counts) + (0 if known else 1)
            if constraint.min_domains is not None and number < constraint.min_domains:
                least = 0
            own = selector_matches(constraint.label_selector, shape.labels)
            if domains.counts.get(domain, 0) + own - least > constraint.max_skew:
                return False
        return True

    def _affinity_met(self, shape: PodShape, target: Bin, *, already_there: bool) -> bool:
        """Whether what the pod must be near is near; it itself, once placed, does not count."""
        topology = self._fleet.topology
        terms = topology.affinity(shape)
        if any(key not in target.labels for key, _ in terms):
            return False
        # The terms select the same pods, so one answers for all whether it selects this one.
        itself = topology.matches(terms[0][1], shape)
        own = 1 if already_there and itself else 0
        if all(topology.by_domain(term)[target.labels[key]] > own for key, term in terms):
            return True
        # The first pod of a group that wants to be near itself may go anywhere.
        return itself and all(topology.by_domain(term).total() == own for _, term in terms)


def _selected(shape: PodShape, target: Bin) -> bool:
    return all(
        target.labels.get(key) == value for key, value in shape.node_selector.items()
    ) and node_selector_matches(shape.node_affinity, target.labels, target.name)


def _port_taken(shape: PodShape, target: Bin) -> bool:
    wild = {"", "0.0.0.0"}
    for placed in target.pods.values():
        for address, protocol, port in placed.host_ports:
            for wanted_address, wanted_protocol, wanted_port in shape.host_ports:
                if (port, protocol) != (wanted_port, wanted_protocol):
                    continue
                if address == wanted_address or address in wild or wanted_address in wild:
                    return True
    return False


def places_left(target: Bin) -> int:
    """Pods that the kubelet would still take."""
    return target.max_pods - len(target.pods)


def extended_fit(target: Bin, requests: Resources) -> bool:
    """Whether extended resources, berths among them, suffice."""
    for name, amount in requests.extended.items():
        if not amount:
            continue
        have = target.berths_max if name == names.BERTHS else target.extended.get(name)
        if target.extended_used.get(name, 0) + amount > (have or 0):
            return False
    return True


def resources_reason(target: Bin, requests: Resources) -> Reason | None:
    """Why so much more does not go under the load line; None if it does."""
    if places_left(target) < 1:
        return Reason.PODS
    if not extended_fit(target, requests):
        return Reason.RESOURCES
    cpu = target.cpu_used + requests.cpu
    memory = target.memory_used + requests.memory
    # A pod that asks for none of a resource is not kept off by a shortage of it.
    short_cpu = requests.cpu > 0 and cpu > target.line_cpu
    short_memory = requests.memory > 0 and memory > target.line_memory
    if not short_cpu and not short_memory:
        return None
    within_vm = (not short_cpu or cpu <= target.allocatable_cpu) and (
        not short_memory or memory <= target.allocatable_memory
    )
    return Reason.LOAD_LINE if within_vm else Reason.RESOURCES


def growth_needed(target: Bin, requests: Resources, extra_pod: bool = True) -> Size | None:
    """The smallest size at which so much more goes under the line; None if no size does.

    Neither CPU nor memory is ever less than it is now.
    """
    if target.pool is None:
        return None
    if extra_pod and (places_left(target) < 1 or not extended_fit(target, requests)):
        return None
    size = smallest_size(
        target.pool.spec,
        target.cpu_used + requests.cpu,
        target.memory_used + requests.memory,
    )
    if size is None:
        return None
    return Size(cpu=max(size.cpu, target.cpu), memory=max(size.memory, target.memory))
