"""Why a pod does not go onto a VM: everything that speaks against it, in numbers.

``Filters`` answers with the first reason, as fast as it can; this tells all of them to
people, each in the words that kube-scheduler has for it. Source of the words: the filter
plugins of k8s.io/kubernetes v1.37.2, pkg/scheduler/framework/plugins (each constant below
names its plugin), which stand in the pod's condition ``PodScheduled``. What only Plimsoll
asks has words of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from plimsoll.api import labels as names
from plimsoll.api.quantity import format_milli
from plimsoll.decide import wording
from plimsoll.decide.classes import Rules
from plimsoll.decide.filters import places_left
from plimsoll.decide.fleet import CORDON, IN_FLIGHT, Bin, Fleet
from plimsoll.decide.preempting import victims_on
from plimsoll.world.localvolumes import LOCAL
from plimsoll.world.selectors import (
    node_selector_matches,
    requirement_matches,
    tolerates,
    untolerated,
)
from plimsoll.world.snapshot import PodShape
from plimsoll.world.volumes import ATTACHABLE
from plimsoll.world.wire import (
    LabelSelector,
    NodeSelector,
    NodeSelectorTerm,
    PodAffinityTerm,
    SelectorRequirement,
    TopologySpreadConstraint,
)

UNSCHEDULABLE: Final = "node(s) were unschedulable"
TAINTS: Final = "node(s) had untolerated taint(s)"
NODE_AFFINITY: Final = "node(s) didn't match Pod's node affinity/selector"
PORTS: Final = "node(s) didn't have free ports for the requested pod ports"
PODS: Final = "Too many pods"
INSUFFICIENT: Final = "Insufficient {}"
VOLUME_COUNT: Final = "node(s) exceed max volume count"
VOLUME_NODES: Final = "node(s) didn't match PersistentVolume's node affinity"
NO_VOLUMES: Final = "node(s) didn't find available persistent volumes to bind"
SPREAD: Final = "node(s) didn't match pod topology spread constraints"
SPREAD_LABEL: Final = f"{SPREAD} (missing required label)"
AFFINITY: Final = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY: Final = "node(s) didn't match pod anti-affinity rules"
EXISTING_ANTI_AFFINITY: Final = "node(s) didn't satisfy existing pods anti-affinity rules"

NOT_MODELLED: Final = "a rule that Plimsoll does not model"
BLOCKED: Final = "its volumes"
NOT_READY: Final = "the VM is not ready"
LEAVING: Final = "the VM is leaving"
RUNTIME_CLASS: Final = "the pool does not offer the RuntimeClass"
LOAD_LINE: Final = "above the load line"


class Plugin(IntEnum):
    """Who says no: filter plugins in the order in which the scheduler asks them, and Plimsoll.

    The scheduler stops at the first that says no.
    """

    NODE_UNSCHEDULABLE = 1
    TAINT_TOLERATION = 2
    NODE_AFFINITY = 3
    NODE_PORTS = 4
    NODE_RESOURCES_FIT = 5
    NODE_VOLUME_LIMITS = 6
    VOLUME_BINDING = 7
    POD_TOPOLOGY_SPREAD = 8
    INTER_POD_AFFINITY = 9
    PLIMSOLL = 99


class Obstacle(NamedTuple):
    """One thing that keeps a pod off a VM."""

    plugin: Plugin
    words: str
    """The scheduler's, or Plimsoll's own: equal for all VMs with the same trouble."""
    numbers: str = ""
    """What is asked and what is there, on this VM."""
    room: bool = False
    """A lack of CPU, memory or room under the line: a larger VM would not have it."""
    berths: bool = False
    """A lack of berths that Plimsoll ends by raising them (lever Load)."""


def obstacles(fleet: Fleet, shape: PodShape, target: Bin) -> list[Obstacle]:
    """Everything that keeps a pod off a VM as it is in the fleet, in the scheduler's order.

    Empty (berths left aside): the VM takes it, as ``Filters.reason`` says. The VM may be one
    that is only tried out, and in no column.
    """
    rules = fleet.classes.of(shape).rules
    found = [
        *_open(shape, target),
        *_taints(shape, target),
        *_labels(shape, target),
        *_ports(fleet, shape, target),
        *_resources(shape, target),
        *_volumes(shape, target),
        *_spread(rules, shape, target),
        *_other_pods(rules, shape, target),
        *_own(shape, target),
    ]
    return sorted(found, key=_plugin)


def takes(found: Iterable[Obstacle]) -> bool:
    """Whether nothing stands in the way but berths, which Plimsoll raises."""
    return all(obstacle.berths for obstacle in found)


def may_grow(found: Iterable[Obstacle]) -> bool:
    """Whether nothing but a larger VM is lacking."""
    return all(obstacle.berths or obstacle.room for obstacle in found)


def is_node(target: Bin) -> bool:
    """Whether the scheduler knows the VM: what is only to be, or on its way, is no node yet."""
    return target.vm is not None and target.vm.phase not in IN_FLIGHT


def scheduler_says(told: Iterable[tuple[Bin, list[Obstacle]]]) -> str:
    """What stands in the condition of a pod that found no node, by kube-scheduler's format.

    Source: ``FitError.Error``. Empty: some node would take the pod.
    """
    counts: Counter[str] = Counter()
    nodes = 0
    for target, found in told:
        if not is_node(target):
            continue
        nodes += 1
        first = min((o.plugin for o in found), default=Plugin.PLIMSOLL)
        if first is Plugin.PLIMSOLL:
            return ""
        # Only NodeResourcesFit names several things at once.
        several = first is Plugin.NODE_RESOURCES_FIT
        words = [o.words for o in found if o.plugin is first]
        counts.update(words if several else words[:1])
    reasons = ", ".join(sorted(f"{number} {words}" for words, number in counts.items()))
    return f"0/{nodes} nodes are available: {reasons}." if nodes else "no nodes available"


def victims(fleet: Fleet, shape: PodShape, target: Bin) -> int:
    """Pods of a lower priority without which the VM would take the pod; 0: not even then.

    The scheduler drives out no more of them than it must: this is the most.
    """
    if not shape.preempts:
        return 0
    lower = victims_on(fleet, target, shape.priority)
    if not lower:
        return 0
    mark = fleet.mark()
    for key, _ in lower:
        fleet.take(key)
    left = obstacles(fleet, shape, target)
    fleet.rollback(mark)
    # The scheduler knows no load line.
    return len(lower) if all(o.words == LOAD_LINE or o.berths for o in left) else 0


def _plugin(obstacle: Obstacle) -> Plugin:
    return obstacle.plugin


# ----- the VM as such


def _open(shape: PodShape, target: Bin) -> Iterator[Obstacle]:
    vm = target.vm
    if vm is None:
        return
    if not vm.schedulable and not any(tolerates(t, CORDON) for t in shape.tolerations):
        yield Obstacle(Plugin.NODE_UNSCHEDULABLE, UNSCHEDULABLE, "cordoned")
    if target.leaving:
        yield Obstacle(Plugin.PLIMSOLL, LEAVING, f"it is being emptied ({vm.phase.value})")
    elif vm.lost:
        yield Obstacle(Plugin.PLIMSOLL, NOT_READY, "it or its host failed")
    elif not target.accepts and (vm.schedulable or not vm.ready):
        yield Obstacle(Plugin.PLIMSOLL, NOT_READY, f"its phase is {vm.phase.value}")


def _taints(shape: PodShape, target: Bin) -> Iterator[Obstacle]:
    against = [
        t
        for t in target.taints
        if t.key != CORDON.key and untolerated((t,), shape.tolerations) is not None
    ]
    if against:
        text = ", ".join(f"{t.key}={t.value}:{t.effect}" for t in against)
        yield Obstacle(Plugin.TAINT_TOLERATION, TAINTS, text)


def _labels(shape: PodShape, target: Bin) -> Iterator[Obstacle]:
    wrong = [
        f"{key} is {_value(target, key)}, not {value}"
        for key, value in shape.node_selector.items()
        if target.labels.get(key) != value
    ]
    if not node_selector_matches(shape.node_affinity, target.labels, target.name):
        wrong += _mismatches(shape.node_affinity, target)
    if wrong:
        yield Obstacle(Plugin.NODE_AFFINITY, NODE_AFFINITY, "; ".join(wrong))


def _mismatches(selector: NodeSelector | None, target: Bin) -> list[str]:
    """Of each term, for any one would do, what does not match."""
    if selector is None or not selector.node_selector_terms:
        return ["no term matches any node"]
    return [_mismatch(term, target) for term in selector.node_selector_terms]


def _mismatch(term: NodeSelectorTerm, target: Bin) -> str:
    fields = {"metadata.name": target.name}
    wrong = [
        *(_unlike(r, target.labels) for r in term.match_expressions),
        *(_unlike(r, fields) for r in term.match_fields),
    ]
    return " and ".join(text for text in wrong if text) or "an empty term matches no node"


def _unlike(requirement: SelectorRequirement, values: dict[str, str]) -> str:
    if requirement_matches(requirement, values):
        return ""
    have = values.get(requirement.key)
    return f"{requirement.key} is {have or 'absent'}, asked is {_operator(requirement)}"


def _operator(requirement: SelectorRequirement) -> str:
    values = f" [{', '.join(requirement.values)}]" if requirement.values else ""
    return requirement.operator + values


def _value(target: Bin, key: str) -> str:
    return target.labels.get(key, "absent")


# ----- room


def _ports(fleet: Fleet, shape: PodShape, target: Bin) -> Iterator[Obstacle]:
    taken = [
        (address, protocol, port)
        for address, protocol, port in shape.host_ports
        if fleet.ports.of(protocol, port).taken_at(target.slot, address)
    ]
    if taken:
        text = ", ".join(
            f"{protocol} {port} is taken by {_holder(target, protocol, port)}"
            for _, protocol, port in taken
        )
        yield Obstacle(Plugin.NODE_PORTS, PORTS, text)


def _holder(target: Bin, protocol: str, port: int) -> str:
    for key, shape in target.pods.items():
        if any(own[1:] == (protocol, port) for own in shape.host_ports):
            return key
    return "another pod"


def _resources(shape: PodShape, target: Bin) -> Iterator[Obstacle]:
    fit, asked = Plugin.NODE_RESOURCES_FIT, shape.requests
    if places_left(target) < 1:
        yield Obstacle(fit, PODS, f"{len(target.pods)} of {target.max_pods}")
    line = f"line {target.line_percent}%"
    for name, want, used, most, under, told in (
        ("cpu", asked.cpu, target.cpu_used, target.allocatable_cpu, target.line_cpu, format_milli),
        (
            "memory",
            asked.memory,
            target.memory_used,
            target.allocatable_memory,
            target.line_memory,
            wording.memory,
        ),
    ):
        # A pod that asks for none of a resource is not kept off by a shortage of it.
        if not want or used + want <= under:
            continue
        free = max(0, most - used)
        if used + want > most:
            text = f"{name}: asked {told(want)}, free {told(free)} of {told(most)}"
            yield Obstacle(fit, INSUFFICIENT.format(name), text, room=True)
        else:
            text = (
                f"{name}: asked {told(want)}, free {told(free)} of {told(most)}, but only "
                f"{told(max(0, under - used))} under the {line} ({told(under)})"
            )
            yield Obstacle(Plugin.PLIMSOLL, LOAD_LINE, text, room=True)
    for name, want in sorted(asked.extended.items()):
        if want:
            yield from _extended(name, want, target)


def _extended(name: str, want: int, target: Bin) -> Iterator[Obstacle]:
    used, has = target.extended_used.get(name, 0), target.has(name)
    vm = target.vm
    if name == names.BERTHS and vm is not None and used + want <= has:
        if vm.berths is not None and used + want > vm.berths:
            text = (
                f"asked {want}, free {max(0, vm.berths - used)} of {vm.berths}; up to {has} can be"
            )
            words = INSUFFICIENT.format(name)
            yield Obstacle(Plugin.NODE_RESOURCES_FIT, words, text, berths=True)
        return
    if used + want <= has:
        return
    free = max(0, has - used)
    if name.startswith(ATTACHABLE):
        driver = name.removeprefix(ATTACHABLE)
        text = f"{driver}: {want} to attach, {free} of {has} free"
        yield Obstacle(Plugin.NODE_VOLUME_LIMITS, VOLUME_COUNT, text)
    elif name.startswith(LOCAL):
        text = f"{want} local volumes asked, {free} free"
        yield Obstacle(Plugin.VOLUME_BINDING, NO_VOLUMES, text)
    else:
        text = f"{name}: asked {want}, free {free} of {has}"
        yield Obstacle(Plugin.NODE_RESOURCES_FIT, INSUFFICIENT.format(name), text)


def _volumes(shape: PodShape, target: Bin) -> Iterator[Obstacle]:
    for selector in shape.volume_nodes:
        if not node_selector_matches(selector, target.labels, target.name):
            text = "; ".join(_mismatches(selector, target))
            yield Obstacle(Plugin.VOLUME_BINDING, VOLUME_NODES, text)


# ----- other pods


def _spread(rules: Rules, shape: PodShape, target: Bin) -> Iterator[Obstacle]:
    plugin = Plugin.POD_TOPOLOGY_SPREAD
    for (spread, own), constraint in zip(rules.even, shape.spread, strict=True):
        key = constraint.topology_key
        if key not in target.labels:
            yield Obstacle(plugin, SPREAD_LABEL, f"{key} is absent")
            continue
        allowed = (
            bool(spread.allowed(own)[target.slot])
            if target.slot >= 0
            else spread.allowed_new(target.labels, own)
        )
        if not allowed:
            here = spread.in_domain(target.labels) or 0
            text = (
                f"{key}={target.labels[key]} has {here} ({_selected(constraint)}), the emptiest "
                f"domain {spread.least()}; maxSkew {constraint.max_skew}"
            )
            if spread.min_domains:
                text += f", minDomains {spread.min_domains}"
            yield Obstacle(plugin, SPREAD, text)


def _other_pods(rules: Rules, shape: PodShape, target: Bin) -> Iterator[Obstacle]:
    plugin = Plugin.INTER_POD_AFFINITY
    counts = [(counter, counter.in_domain(target.labels)) for counter in rules.near]
    # The first pod of a group that wants to be near itself may go anywhere with the label.
    first = rules.near_itself and not any(counter.total for counter in rules.near)
    for (counter, count), term in zip(counts, shape.affinity, strict=True):
        if count is None or (not count and not first):
            text = f"none ({_selected(term)}) in {_domain(target, counter.key)}"
            yield Obstacle(plugin, AFFINITY, text)
    for counter, term in zip(rules.apart, shape.anti_affinity, strict=True):
        count = counter.in_domain(target.labels)
        if count:
            text = f"{count} ({_selected(term)}) in {_domain(target, counter.key)}"
            yield Obstacle(plugin, ANTI_AFFINITY, text)
    for avoider in rules.pods.avoiders:
        count = avoider.in_domain(target.labels)
        if count:
            others = "1 pod keeps" if count == 1 else f"{count} pods keep"
            text = f"{others} such pods out of {_domain(target, avoider.key)}"
            yield Obstacle(plugin, EXISTING_ANTI_AFFINITY, text)


def _domain(target: Bin, key: str) -> str:
    return f"{key}={target.labels[key]}" if key in target.labels else f"no domain: {key} is absent"


def _selected(term: PodAffinityTerm | TopologySpreadConstraint) -> str:
    return selector_text(term.label_selector)


def selector_text(selector: LabelSelector | None) -> str:
    """``app=web, tier In [a, b]``."""
    if selector is None:
        return "no pods"
    parts = [f"{key}={value}" for key, value in sorted(selector.match_labels.items())]
    parts += [f"{r.key} {_operator(r)}" for r in selector.match_expressions]
    return ", ".join(parts) or "all pods"


# ----- what only Plimsoll asks


def _own(shape: PodShape, target: Bin) -> Iterator[Obstacle]:
    if shape.not_modelled:
        yield Obstacle(Plugin.PLIMSOLL, NOT_MODELLED, ", ".join(shape.not_modelled))
    if shape.blocked:
        yield Obstacle(Plugin.PLIMSOLL, BLOCKED, shape.blocked)
    if shape.runtime_class and target.pool is not None:
        offered = target.pool.spec.template.runtime_classes
        if offered and shape.runtime_class not in offered:
            text = f"asked {shape.runtime_class}, offered {', '.join(offered)}"
            yield Obstacle(Plugin.PLIMSOLL, RUNTIME_CLASS, text)
