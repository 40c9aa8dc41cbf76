"""The real scheduler's filters, plus the load line: may this pod go onto this VM?

Order and meaning follow kube-scheduler's filter plugins (NodeUnschedulable,
NodeName, TaintToleration, NodeAffinity, NodePorts, NodeResourcesFit,
VolumeBinding and its kin, PodTopologySpread, InterPodAffinity). What is not modelled
is named in ``PodShape.not_modelled`` and never guessed.

Each question is answered twice: for all VMs at once as an array over their slots,
and for one VM with the reason.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Container, Iterable

import numpy as np

from plimsoll.decide.classes import PodClass, Rules
from plimsoll.decide.columns import ABSENT, Bools, Ints
from plimsoll.decide.fleet import CORDON, Bin, Fleet
from plimsoll.decide.plan import Reason
from plimsoll.world.localvolumes import LOCAL
from plimsoll.world.selectors import node_selector_matches, untolerated
from plimsoll.world.snapshot import PodShape, Resources
from plimsoll.world.volumes import ATTACHABLE


class Filters:
    """Filters over one fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    # ----- all VMs at once

    def room(self, kind: PodClass) -> Bools:
        """VMs whose load line has room for one more such pod."""
        columns = self._fleet.columns
        mask: Bools = columns.pods_left > 0
        # A pod that asks for none of a resource is not kept off by a shortage of it.
        if kind.cpu:
            mask &= columns.cpu_left >= kind.cpu
        if kind.memory:
            mask &= columns.memory_left >= kind.memory
        for name, amount in kind.extended:
            mask &= columns.extended(name) >= amount
        return mask

    def others(self, rules: Rules) -> Bools | None:
        """VMs from which no other pod keeps a pod with these rules; None: all.

        ``PodTopologySpread``, ``InterPodAffinity`` with its symmetry, and ``NodePorts``.
        """
        found: Bools | None = None
        for avoider in rules.pods.avoiders:
            if avoider.total:
                found = _both(found, avoider.none())
        if rules.free:
            return found
        for counter in rules.apart:
            if counter.total:
                found = _both(found, counter.none())
        if rules.near:
            found = _both(found, self._near(rules))
        for spread, own in rules.even:
            found = _both(found, spread.allowed(own))
        for address, protocol, port in rules.shape.host_ports:
            taken = self._fleet.ports.of(protocol, port).taken(address)
            if taken:
                free = np.ones(self._fleet.columns.count, np.bool_)
                free[taken] = False
                found = _both(found, free)
        return found

    def lets(self, rules: Rules, slot: int) -> bool:
        """As ``others``, of one VM."""
        for avoider in rules.pods.avoiders:
            if avoider.total and avoider.at(slot):
                return False
        if rules.free:
            return True
        for counter in rules.apart:
            if counter.total and counter.at(slot):
                return False
        for spread, own in rules.even:
            if not spread.allowed_at(slot, own):
                return False
        if rules.near and not self._near_at(rules, slot):
            return False
        for address, protocol, port in rules.shape.host_ports:
            if self._fleet.ports.of(protocol, port).taken_at(slot, address):
                return False
        return True

    def breaks(self, rules: Rules) -> Bools | None:
        """VMs where such a pod would make others uneven that are even now; None: nowhere.

        The scheduler does not ask this: it takes pods in an order of its own, and what it
        places later may not break what it placed before. A plan must hold in any order.
        """
        found: Bools | None = None
        for spread in rules.pods.spreads:
            if spread.carriers.total:
                broken = spread.would_break()
                found = broken if found is None else found | broken
        return found

    def breaks_there(self, rules: Rules, slot: int) -> bool:
        """As ``breaks``, of one VM."""
        for spread in rules.pods.spreads:
            if spread.carriers.total and spread.would_break_at(slot):
                return True
        return False

    def breaks_at(self, rules: Rules, target: Bin) -> bool:
        """As ``breaks``, for a VM that is only tried out."""
        return any(
            spread.carriers.total and spread.would_break_new(target.labels)
            for spread in rules.pods.spreads
        )

    def _near(self, rules: Rules) -> Bools:
        first = rules.near_itself and not any(counter.total for counter in rules.near)
        mask: Bools | None = None
        for counter in rules.near:
            # The first pod of a group that wants to be near itself may go anywhere.
            there = counter.column.codes != ABSENT if first else ~counter.none()
            mask = _both(mask, there)
        assert mask is not None
        return mask

    def _near_at(self, rules: Rules, slot: int) -> bool:
        for counter in rules.near:
            if not counter.at(slot):
                break
        else:
            return True
        return (
            rules.near_itself
            and not any(counter.total for counter in rules.near)
            and all(counter.column.codes.item(slot) != ABSENT for counter in rules.near)
        )

    # ----- one VM

    def reason(self, shape: PodShape, target: Bin) -> Reason | None:
        """Why the pod cannot go there as the bin is now; None if it can."""
        return (
            self.static(shape, target)
            or resources_reason(target, shape.requests)
            or self.dynamic(shape, target)
        )

    def static(self, shape: PodShape, target: Bin) -> Reason | None:
        """Why the pod can never go there, whatever else is placed; None if it can."""
        if shape.not_modelled:
            return Reason.NOT_MODELLED
        if shape.blocked:
            return Reason.VOLUME
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
        taint = untolerated(target.taints, shape.tolerations)
        if taint is not None:
            return Reason.UNSCHEDULABLE if taint.key == CORDON.key else Reason.TAINTS
        if any(not node_selector_matches(s, labels, target.name) for s in shape.volume_nodes):
            return Reason.VOLUME
        if shape.runtime_class and target.pool is not None:
            offered = target.pool.spec.template.runtime_classes
            if offered and shape.runtime_class not in offered:
                return Reason.RUNTIME_CLASS
        return None

    def dynamic(self, shape: PodShape, target: Bin) -> Reason | None:
        """Why ports or other pods keep the pod off now; resources are not looked at.

        The bin may be one that is only tried out and in no column.
        """
        rules, labels = self._fleet.classes.of(shape).rules, target.labels
        for address, protocol, port in shape.host_ports:
            if self._fleet.ports.of(protocol, port).taken_at(target.slot, address):
                return Reason.HOST_PORT
        for (spread, own), constraint in zip(rules.even, shape.spread, strict=True):
            if constraint.topology_key not in labels:
                return Reason.SPREAD
            allowed = (
                bool(spread.allowed(own)[target.slot])
                if target.slot >= 0
                else spread.allowed_new(labels, own)
            )
            if not allowed:
                return Reason.SPREAD
        if rules.near and not self._near_one(rules, target):
            return Reason.AFFINITY
        if any(counter.in_domain(labels) for counter in (*rules.apart, *rules.pods.avoiders)):
            return Reason.ANTI_AFFINITY
        return None

    def _near_one(self, rules: Rules, target: Bin) -> bool:
        counts = [counter.in_domain(target.labels) for counter in rules.near]
        if any(count is None for count in counts):
            return False
        if all(counts):
            return True
        return rules.near_itself and not any(counter.total for counter in rules.near)

    # ----- the picture as a whole

    def unsettled(self, keys: Container[str], asking: Iterable[Rules]) -> list[str]:
        """Those of these pods, in order, whose own rules the final picture breaks.

        Either their domain holds too many of them, or what they must be near is elsewhere.
        ``asking`` are the rules of all of them, as far as they are about other pods.
        """
        fleet = self._fleet
        found = []
        for rules in asking:
            slots = self.unsettled_of(rules)
            for target in fleet.at(slots) if slots is not None else ():
                found += [
                    key
                    for key, shape in target.pods.items()
                    if key in keys and fleet.classes.of(shape).rules is rules
                ]
        return sorted(found)

    def unsettled_of(self, rules: Rules) -> Ints | None:
        """VMs that hold pods with these rules which are not as they ask; None: there are none."""
        slots = np.array(sorted(rules.placed), np.int64)
        if not len(slots):
            return None
        bad = np.zeros(len(slots), np.bool_)
        for spread, _ in rules.even:
            bad |= spread.uneven(slots)
        if rules.near:
            bad |= ~self._still_near(rules, slots)
        return slots[bad] if bad.any() else None

    def _still_near(self, rules: Rules, slots: Ints) -> Bools:
        """Which pods with these rules are near others; they themselves do not count."""
        own = 1 if rules.near_itself else 0
        mask = np.ones(len(slots), np.bool_)
        for counter in rules.near:
            mask &= counter.at_slots(slots) > own
        if own and all(counter.total == own for counter in rules.near):
            mask[:] = True
        return mask

    # ----- why not

    def tally(self, kind: PodClass, apart: Bools | None = None) -> Tally[Reason]:
        """Of all VMs, how many do not take the pod for which reason."""
        fleet, nodes = self._fleet, kind.rules.nodes
        left = fleet.columns.is_open.copy()
        reasons: Tally[Reason] = Tally()

        def strike(reason: Reason, passes: Bools) -> None:
            failing = int(np.count_nonzero(left & ~passes))
            if failing:
                reasons[reason] += failing
                np.logical_and(left, passes, out=left)

        nothing = np.zeros(len(left), np.bool_)
        if kind.shape.not_modelled:
            strike(Reason.NOT_MODELLED, nothing)
        elif kind.shape.blocked:
            strike(Reason.VOLUME, nothing)
        elif left.any():
            if apart is not None:
                strike(Reason.REDUNDANCY, apart)
            if not fleet.columns.takes.all():
                self._strike_closed(left, reasons)
            cordoned = fleet.taints.where("cordoned", lambda taints: CORDON in (taints or ()))
            strike(Reason.UNSCHEDULABLE, nodes.tolerated() | ~cordoned)
            volumes = bool(kind.shape.volume_nodes)
            strike(Reason.NODE_SELECTOR, nodes.affine_since(0) if volumes else nodes.selected())
            strike(Reason.TAINTS, nodes.tolerated())
            if volumes:
                strike(Reason.VOLUME, nodes.selected())
            if kind.shape.runtime_class:
                strike(Reason.RUNTIME_CLASS, nodes.offered())
            if left.any():
                room = self.room(kind)
                for slot in np.flatnonzero(left & ~room).tolist()[:_LOOKED_AT]:
                    reason = resources_reason(fleet.by_slot[slot], kind.shape.requests)
                    if reason is Reason.RESOURCES and _lacks_volumes(kind, fleet.by_slot[slot]):
                        reason = Reason.VOLUME
                    reasons[reason or Reason.RESOURCES] += 1
                    left[slot] = False
                strike(Reason.RESOURCES, room)
            for slot in np.flatnonzero(left).tolist()[:_LOOKED_AT]:
                reason = self.dynamic(kind.shape, fleet.by_slot[slot])
                if reason is not None:
                    reasons[reason] += 1
                    left[slot] = False
            others = self.others(kind.rules)
            if others is not None:
                strike(_main_rule(kind.rules), others)
        return reasons

    def _strike_closed(self, left: Bools, reasons: Tally[Reason]) -> None:
        for slot in np.flatnonzero(left & ~self._fleet.columns.takes).tolist():
            vm = self._fleet.by_slot[slot].vm
            lost = vm is not None and (vm.lost or not vm.ready)
            reasons[Reason.NOT_READY if lost else Reason.UNSCHEDULABLE] += 1
            left[slot] = False


_LOOKED_AT = 8
"""VMs that are looked at one by one for the exact reason; further ones share the usual one."""


def _both(one: Bools | None, other: Bools) -> Bools:
    return other if one is None else one & other


def _main_rule(rules: Rules) -> Reason:
    if rules.even:
        return Reason.SPREAD
    if rules.near:
        return Reason.AFFINITY
    return Reason.HOST_PORT if rules.shape.host_ports and not rules.apart else Reason.ANTI_AFFINITY


def _lacks_volumes(kind: PodClass, target: Bin) -> bool:
    """Whether nothing is short but volumes: those that can be attached, or local ones."""
    requests = kind.shape.requests
    others = {
        name: amount
        for name, amount in requests.extended.items()
        if not name.startswith((ATTACHABLE, LOCAL))
    }
    rest = Resources(cpu=requests.cpu, memory=requests.memory, extended=others)
    return resources_reason(target, rest) in (None, Reason.LOAD_LINE)


def places_left(target: Bin) -> int:
    """Pods that the kubelet would still take."""
    return target.max_pods - len(target.pods)


def extended_fit(target: Bin, requests: Resources) -> bool:
    """Whether extended resources, berths among them, suffice."""
    if not requests.extended:
        return True
    return all(amount <= target.left(name) for name, amount in requests.extended.items() if amount)


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
