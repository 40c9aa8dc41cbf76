"""What the API server would refuse in an object, and a file may hold nevertheless.

Only what the decision reads is looked at. Paths are relative to the object and begin
with a dot. Each finding is (path, what is wrong, what to do).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from plimsoll.api import ContainerWorkload, Hypervisor, VMNode, VMPool
from plimsoll.api.base import ObjectMeta
from plimsoll.api.quantity import QuantityError, parse_bytes, parse_milli
from plimsoll.api.timestamp import is_rfc3339
from plimsoll.world import wire
from plimsoll.world.likeness import Alike

Own = Hypervisor | VMPool | VMNode | ContainerWorkload

Finding = tuple[str, str, str]

_SELECTOR_OPERATORS: Final = frozenset({"In", "NotIn", "Exists", "DoesNotExist"})
_NODE_OPERATORS: Final = _SELECTOR_OPERATORS | {"Gt", "Lt"}
_TOLERATION_OPERATORS: Final = frozenset({"", "Exists", "Equal", "Gt", "Lt"})
_BINDING_MODES: Final = frozenset({"Immediate", "WaitForFirstConsumer"})
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"
_EFFECTS: Final = frozenset({"NoSchedule", "PreferNoSchedule", "NoExecute"})
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")


class Checker:
    """Checks objects; pod specs that are equal are checked once."""

    def __init__(self) -> None:
        self._good: set[bytes] = set()
        self._alike: Alike[bool] = Alike()

    def check(self, value: wire.Object | Own) -> list[Finding]:
        """Everything that is wrong with an object."""
        meta = value.metadata
        if isinstance(value, wire.Pod) and self._known_good(value.spec):
            # Most objects are pods, and most pods are like one before.
            created = meta.creation_timestamp
            if meta.name and not meta.deletion_timestamp and (not created or is_rfc3339(created)):
                return []
        return [*_meta(meta), *self._content(value)]

    def _known_good(self, spec: wire.PodSpec) -> bool:
        """Whether nothing is wrong with a spec made of these very parts."""
        if self._alike.find(spec):
            return True
        if any(self._pod_spec(spec, "")):
            return False
        self._alike.keep(True, spec)
        return True

    def _content(self, value: wire.Object | Own) -> Iterator[Finding]:
        match value:
            case wire.Pod():
                yield from self._pod_spec(value.spec, ".spec")
            case wire.Controller():
                yield from self._controller(value)
            case wire.Node():
                yield from _node(value)
            case wire.PodDisruptionBudget():
                yield from _budget(value)
            case wire.RuntimeClass():
                if value.overhead is not None:
                    yield from _quantities(value.overhead.pod_fixed, ".overhead.podFixed")
                if value.scheduling is not None:
                    yield from _tolerations(value.scheduling.tolerations, ".scheduling.tolerations")
            case wire.PersistentVolumeClaim():
                yield from _claim(value.spec, ".spec")
            case wire.PersistentVolume():
                yield from _volume(value)
            case wire.StorageClass():
                yield from _storage_class(value)
            case wire.CSIStorageCapacity():
                yield from _storage_capacity(value)
            case wire.PodMetrics():
                for number, container in enumerate(value.containers):
                    yield from _quantities(container.usage, f".containers[{number}].usage")
                yield from _moment(value.timestamp, ".timestamp")
            case wire.NodeMetrics():
                yield from _quantities(value.usage, ".usage")
                yield from _moment(value.timestamp, ".timestamp")

    def _controller(self, value: wire.Controller) -> Iterator[Finding]:
        spec = value.spec
        for name, count in (
            ("replicas", spec.replicas),
            ("parallelism", spec.parallelism),
            ("completions", spec.completions),
        ):
            if count is not None and count < 0:
                yield f".spec.{name}", f"{count} is negative", "give zero or more"
        yield from _label_selector(spec.selector, ".spec.selector")
        for number, claim in enumerate(spec.volume_claim_templates):
            yield from _claim(claim.spec, f".spec.volumeClaimTemplates[{number}].spec")
        yield from self._pod_spec(spec.template.spec, ".spec.template.spec")

    def _pod_spec(self, spec: wire.PodSpec, path: str) -> Iterator[Finding]:
        content = msgspec.json.encode(msgspec.structs.replace(spec, node_name="", volumes=[]))
        if content in self._good:
            return
        found = False
        for finding in _pod_spec(spec, path):
            found = True
            yield finding
        if not found:
            self._good.add(content)


def step(key: str) -> str:
    """A key as a step of a JSON path."""
    return f".{key}" if _PLAIN.fullmatch(key) else f"[{json.dumps(key)}]"


def _meta(meta: wire.Meta | ObjectMeta) -> Iterator[Finding]:
    if not meta.name:
        yield ".metadata.name", "is missing", "give the object a name"
    yield from _moment(meta.creation_timestamp, ".metadata.creationTimestamp")
    yield from _moment(meta.deletion_timestamp, ".metadata.deletionTimestamp")


def _moment(text: str | None, path: str) -> Iterator[Finding]:
    if text and not is_rfc3339(text):
        yield path, f"{text!r} is not a moment", "write it like 2026-01-31T12:00:00Z"


def _node(node: wire.Node) -> Iterator[Finding]:
    yield from _quantities(node.status.capacity, ".status.capacity")
    yield from _quantities(node.status.allocatable, ".status.allocatable")
    for number, taint in enumerate(node.spec.taints):
        yield from _one_of(taint.effect, _EFFECTS, f".spec.taints[{number}].effect")


def _budget(budget: wire.PodDisruptionBudget) -> Iterator[Finding]:
    spec = budget.spec
    yield from _label_selector(spec.selector, ".spec.selector")
    given = {"minAvailable": spec.min_available, "maxUnavailable": spec.max_unavailable}
    if None not in given.values():
        yield ".spec", "has both minAvailable and maxUnavailable", "keep one of the two"
    for name, value in given.items():
        text = "0" if value is None else str(value)
        if not re.fullmatch(r"[0-9]+" if isinstance(value, int) else r"[0-9]+%?", text):
            yield f".spec.{name}", f"{value!r} is no number of pods", "write 2 or 50%"


def _pod_spec(spec: wire.PodSpec, path: str) -> Iterator[Finding]:
    for kind, containers in (
        ("containers", spec.containers),
        ("initContainers", spec.init_containers),
    ):
        for number, container in enumerate(containers):
            yield from _container(container, f"{path}.{kind}[{number}]")
    if spec.resources is not None:
        yield from _resources(spec.resources, f"{path}.resources")
    yield from _quantities(spec.overhead, f"{path}.overhead")
    yield from _tolerations(spec.tolerations, f"{path}.tolerations")
    if spec.affinity is not None:
        yield from _affinity(spec.affinity, f"{path}.affinity")
    for number, constraint in enumerate(spec.topology_spread_constraints):
        yield from _spread(constraint, f"{path}.topologySpreadConstraints[{number}]")


def _container(container: wire.ContainerSpec, path: str) -> Iterator[Finding]:
    yield from _resources(container.resources, f"{path}.resources")
    for number, port in enumerate(container.ports):
        for name, value in (("hostPort", port.host_port), ("containerPort", port.container_port)):
            if not 0 <= value <= 65535:
                yield f"{path}.ports[{number}].{name}", f"{value} is no port", "give 1 to 65535"


def _resources(resources: wire.Resources, path: str) -> Iterator[Finding]:
    yield from _quantities(resources.requests, f"{path}.requests")
    yield from _quantities(resources.limits, f"{path}.limits")


def _quantities(quantities: Mapping[str, wire.Quantity], path: str) -> Iterator[Finding]:
    for name, value in quantities.items():
        try:
            (parse_milli if name == "cpu" else parse_bytes)(value)
        except QuantityError as error:
            message, _, remedy = str(error).partition(": ")
            yield f"{path}{step(name)}", message, remedy


def _tolerations(tolerations: Iterable[wire.Toleration], path: str) -> Iterator[Finding]:
    for number, toleration in enumerate(tolerations):
        where = f"{path}[{number}]"
        yield from _one_of(toleration.operator, _TOLERATION_OPERATORS, f"{where}.operator")
        yield from _one_of(toleration.effect, _EFFECTS | {""}, f"{where}.effect")
        if not toleration.key and toleration.operator != "Exists":
            yield f"{where}.operator", "must be Exists where there is no key", "add the key"


def _affinity(affinity: wire.Affinity, path: str) -> Iterator[Finding]:
    if affinity.node_affinity is not None:
        where = f"{path}.nodeAffinity"
        if affinity.node_affinity.required is not None:
            yield from _node_selector(affinity.node_affinity.required, f"{where}.{_REQUIRED}")
        for number, wish in enumerate(affinity.node_affinity.preferred):
            yield from _weight(wish.weight, f"{where}.{_PREFERRED}[{number}]")
            yield from _node_term(wish.preference, f"{where}.{_PREFERRED}[{number}].preference")
    for name, pods in (
        ("podAffinity", affinity.pod_affinity),
        ("podAntiAffinity", affinity.pod_anti_affinity),
    ):
        if pods is None:
            continue
        for number, term in enumerate(pods.required):
            yield from _pod_term(term, f"{path}.{name}.{_REQUIRED}[{number}]")
        for number, weighted in enumerate(pods.preferred):
            where = f"{path}.{name}.{_PREFERRED}[{number}]"
            yield from _weight(weighted.weight, where)
            yield from _pod_term(weighted.pod_affinity_term, f"{where}.podAffinityTerm")


def _weight(weight: int, path: str) -> Iterator[Finding]:
    if not 1 <= weight <= 100:
        yield f"{path}.weight", f"{weight} is no weight", "give 1 to 100"


def _node_selector(selector: wire.NodeSelector, path: str) -> Iterator[Finding]:
    where = f"{path}.nodeSelectorTerms"
    if not selector.node_selector_terms:
        yield where, "is empty, so no node would do", "add a term, or leave the affinity out"
    for number, term in enumerate(selector.node_selector_terms):
        yield from _node_term(term, f"{where}[{number}]")


def _node_term(term: wire.NodeSelectorTerm, path: str) -> Iterator[Finding]:
    for name, some in (
        ("matchExpressions", term.match_expressions),
        ("matchFields", term.match_fields),
    ):
        yield from _requirements(some, _NODE_OPERATORS, f"{path}.{name}")


def _pod_term(term: wire.PodAffinityTerm, path: str) -> Iterator[Finding]:
    if not term.topology_key:
        yield f"{path}.topologyKey", "is empty", "write kubernetes.io/hostname or the like"
    yield from _label_selector(term.label_selector, f"{path}.labelSelector")
    yield from _label_selector(term.namespace_selector, f"{path}.namespaceSelector")


def _claim(spec: wire.PersistentVolumeClaimSpec, path: str) -> Iterator[Finding]:
    yield from _quantities(spec.resources.requests, f"{path}.resources.requests")
    yield from _label_selector(spec.selector, f"{path}.selector")


def _volume(volume: wire.PersistentVolume) -> Iterator[Finding]:
    yield from _quantities(volume.spec.capacity, ".spec.capacity")
    affinity = volume.spec.node_affinity
    if affinity is not None and affinity.required is not None:
        yield from _node_selector(affinity.required, ".spec.nodeAffinity.required")


def _storage_class(value: wire.StorageClass) -> Iterator[Finding]:
    yield from _one_of(value.volume_binding_mode, _BINDING_MODES, ".volumeBindingMode")


def _storage_capacity(value: wire.CSIStorageCapacity) -> Iterator[Finding]:
    sizes = {"capacity": value.capacity, "maximumVolumeSize": value.maximum_volume_size}
    yield from _quantities({n: size for n, size in sizes.items() if size is not None}, "")
    yield from _label_selector(value.node_topology, ".nodeTopology")


def _spread(constraint: wire.TopologySpreadConstraint, path: str) -> Iterator[Finding]:
    if constraint.max_skew < 1:
        yield f"{path}.maxSkew", f"{constraint.max_skew} is too small", "give 1 or more"
    if not constraint.topology_key:
        yield f"{path}.topologyKey", "is empty", "write kubernetes.io/hostname or the like"
    if constraint.min_domains is not None and constraint.min_domains < 1:
        yield f"{path}.minDomains", f"{constraint.min_domains} is too small", "give 1 or more"
    for name, value, known in (
        ("whenUnsatisfiable", constraint.when_unsatisfiable, ("DoNotSchedule", "ScheduleAnyway")),
        ("nodeAffinityPolicy", constraint.node_affinity_policy, ("Honor", "Ignore")),
        ("nodeTaintsPolicy", constraint.node_taints_policy, ("Honor", "Ignore")),
    ):
        yield from _one_of(value, known, f"{path}.{name}")
    yield from _label_selector(constraint.label_selector, f"{path}.labelSelector")


def _label_selector(selector: wire.LabelSelector | None, path: str) -> Iterator[Finding]:
    if selector is not None:
        where = f"{path}.matchExpressions"
        yield from _requirements(selector.match_expressions, _SELECTOR_OPERATORS, where)


def _requirements(
    requirements: Iterable[wire.SelectorRequirement], operators: frozenset[str], path: str
) -> Iterator[Finding]:
    for number, requirement in enumerate(requirements):
        where = f"{path}[{number}]"
        operator, values = requirement.operator, requirement.values
        yield from _one_of(operator, operators, f"{where}.operator")
        if operator in ("In", "NotIn") and not values:
            yield f"{where}.values", f"is empty, but {operator} needs one", "add a value"
        if operator in ("Exists", "DoesNotExist") and values:
            yield f"{where}.values", f"has no meaning with {operator}", "remove it"
        if operator in ("Gt", "Lt") and not (len(values) == 1 and _is_integer(values[0])):
            yield f"{where}.values", f"{operator} compares with one whole number", 'write ["4"]'


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]+", text) is not None


def _one_of(value: str, known: Iterable[str], path: str) -> Iterator[Finding]:
    if value not in known:
        choices = ", ".join(sorted(filter(None, known)))
        yield path, f"{value!r} is not allowed", f"choose one of {choices}"
