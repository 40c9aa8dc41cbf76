"""Shapes: what the scheduler looks at of a pod, worked out once for all that are alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from plimsoll.api.quantity import QuantityError
from plimsoll.world import not_modelled, snapshot
from plimsoll.world.objects import Objects
from plimsoll.world.requests import effective_requests, resize_infeasible, resources
from plimsoll.world.volumes import Rules, Volumes
from plimsoll.world.wire import (
    Affinity,
    LabelSelector,
    Meta,
    NodeAffinity,
    PersistentVolumeClaim,
    Pod,
    PodAffinity,
    PodAffinityTerm,
    PodSpec,
    PodStatus,
    PodTemplate,
    PriorityClass,
    RuntimeClass,
    SelectorRequirement,
    TopologySpreadConstraint,
    WeightedPodAffinityTerm,
)

_TIDY_FIRST: Final = 10_000
_BUILT_IN_CLASSES: Final = (
    PriorityClass(metadata=Meta(name="system-cluster-critical"), value=2_000_000_000),
    PriorityClass(metadata=Meta(name="system-node-critical"), value=2_000_001_000),
)


class Shapes:
    """Makes shapes of pods and templates; equal content is worked out once.

    A manifest that the API server has not seen yet is completed as admission
    would: RuntimeClass overhead and scheduling, priority, requests from limits.
    """

    def __init__(
        self,
        runtime_classes: Iterable[RuntimeClass] = (),
        priority_classes: Iterable[PriorityClass] = (),
        volumes: Volumes | None = None,
        like: Shapes | None = None,
    ) -> None:
        """``like``: shapes that come out equal to one of its are that one."""
        self._runtimes = {c.metadata.name: c for c in runtime_classes}
        self._classes = {c.metadata.name: c for c in (*_BUILT_IN_CLASSES, *priority_classes)}
        # Where several are marked as the default, admission takes the lowest.
        self._default_class = min(
            (c for c in priority_classes if c.global_default),
            key=lambda c: (c.value, c.metadata.name),
            default=PriorityClass(metadata=Meta()),
        )
        self.volumes = volumes or Volumes(Objects())
        """What is asked for the rules of volumes; may be replaced by a newer one."""
        self._by_content: dict[tuple[str, bytes, bytes, bytes], snapshot.PodShape] = {}
        self._by_key: dict[str, snapshot.PodShape] = dict(like._by_key) if like else {}
        self._tidy_at = _TIDY_FIRST

    def of_pod(self, pod: Pod) -> snapshot.PodShape:
        """The shape of a pod; ill-formed quantities are named in ``not_modelled``."""
        meta, spec = pod.metadata, pod.spec
        status = pod.status if spec.node_name else None
        rules = self.volumes.rules_of(meta.namespace, meta.name, spec.volumes)
        return self._shape(meta.namespace, meta.labels, spec, status, rules)

    def of_template(
        self,
        template: PodTemplate,
        namespace: str,
        claims: Iterable[PersistentVolumeClaim] = (),
    ) -> snapshot.PodShape:
        """The shape of the pods that a template makes in a namespace.

        ``claims`` are the templates of the claims that a StatefulSet makes for each of them.
        """
        spec = template.spec
        rules = self.volumes.rules_of_template(namespace, spec.volumes, claims)
        return self._shape(namespace, template.metadata.labels, spec, None, rules)

    @property
    def crowded(self) -> bool:
        """Whether so many shapes have come since the last tidying that it is time for another."""
        return len(self._by_content) >= self._tidy_at

    def tidy(self, used: Iterable[snapshot.PodShape]) -> None:
        """Forgets all shapes but those in use."""
        keys = {shape.key for shape in used}
        self._by_key = {key: shape for key, shape in self._by_key.items() if key in keys}
        self._by_content = {c: shape for c, shape in self._by_content.items() if shape.key in keys}
        self._tidy_at = max(_TIDY_FIRST, 2 * len(self._by_content))

    def _shape(
        self,
        namespace: str,
        labels: dict[str, str],
        spec: PodSpec,
        status: PodStatus | None,
        rules: Rules | None,
    ) -> snapshot.PodShape:
        # Names of nodes and of generated volumes differ from pod to pod of one template.
        content = (
            namespace,
            msgspec.json.encode(labels),
            msgspec.json.encode(msgspec.structs.replace(spec, node_name="", volumes=[])),
            msgspec.json.encode(
                (not_modelled.of_volumes(spec.volumes), rules, _resize_state(status))
            ),
        )
        shape = self._by_content.get(content)
        if shape is None:
            shape = self._build(namespace, labels, spec, status, rules or Rules())
            shape = self._by_key.setdefault(shape.key, shape)
            self._by_content[content] = shape
        return shape

    def _build(
        self,
        namespace: str,
        labels: dict[str, str],
        spec: PodSpec,
        status: PodStatus | None,
        rules: Rules,
    ) -> snapshot.PodShape:
        unknown = (*not_modelled.of_spec(spec), *rules.not_modelled)
        # What is bound was admitted before: it is taken as it is.
        if status is None:
            spec, conflict = self._admit(spec)
            unknown = (*unknown, *conflict)
        try:
            requests = resources({**effective_requests(spec, status), **rules.resources})
        except QuantityError as error:
            # One odd pod must not stop the plan for all others.
            requests, unknown = snapshot.Resources(), (*unknown, str(error))
        affinity = spec.affinity or Affinity()
        nodes = affinity.node_affinity or NodeAffinity()
        near, apart = affinity.pod_affinity, affinity.pod_anti_affinity
        shape = snapshot.PodShape(
            key="",
            namespace=namespace,
            labels=labels,
            requests=requests,
            node_selector=spec.node_selector,
            node_affinity=nodes.required,
            tolerations=tuple(spec.tolerations),
            affinity=_required(near, labels),
            anti_affinity=_required(apart, labels),
            spread=_spread(spec, "DoNotSchedule", labels),
            preferred_nodes=tuple(nodes.preferred),
            preferred_affinity=_preferred(near, labels),
            preferred_anti_affinity=_preferred(apart, labels),
            preferred_spread=_spread(spec, "ScheduleAnyway", labels),
            volume_nodes=rules.nodes,
            host_ports=_host_ports(spec),
            runtime_class=spec.runtime_class_name or "",
            priority=self._priority(spec),
            preempts=self._preempts(spec),
            blocked=rules.blocked,
            not_modelled=unknown,
        )
        digest = hashlib.blake2b(msgspec.json.encode(shape, order="sorted"), digest_size=12)
        return msgspec.structs.replace(shape, key=digest.hexdigest())

    def _admit(self, spec: PodSpec) -> tuple[PodSpec, tuple[str, ...]]:
        """The spec with what its RuntimeClass adds, and why they do not go together."""
        runtime = self._runtimes.get(spec.runtime_class_name or "")
        if runtime is None:
            return spec, ()
        if runtime.overhead is not None and not spec.overhead:
            spec = msgspec.structs.replace(spec, overhead=runtime.overhead.pod_fixed)
        if runtime.scheduling is None:
            return spec, ()
        selector, conflict = dict(spec.node_selector), []
        for key, value in runtime.scheduling.node_selector.items():
            if selector.setdefault(key, value) != value:
                conflict.append(
                    f"RuntimeClass {runtime.metadata.name} selects nodes with {key}={value}, "
                    f"the pod those with {key}={selector[key]}"
                )
        tolerations = [*spec.tolerations]
        tolerations += [t for t in runtime.scheduling.tolerations if t not in tolerations]
        admitted = msgspec.structs.replace(spec, node_selector=selector, tolerations=tolerations)
        return admitted, tuple(conflict)

    def _priority(self, spec: PodSpec) -> int:
        return spec.priority if spec.priority is not None else self._class_of(spec).value

    def _preempts(self, spec: PodSpec) -> bool:
        policy = spec.preemption_policy or self._class_of(spec).preemption_policy
        return policy != "Never"

    def _class_of(self, spec: PodSpec) -> PriorityClass:
        if not spec.priority_class_name:
            return self._default_class
        return self._classes.get(spec.priority_class_name, PriorityClass(metadata=Meta()))


def _required(affinity: PodAffinity | None, labels: dict[str, str]) -> tuple[PodAffinityTerm, ...]:
    if affinity is None:
        return ()
    return tuple(_resolved_term(term, labels) for term in affinity.required)


def _preferred(
    affinity: PodAffinity | None, labels: dict[str, str]
) -> tuple[WeightedPodAffinityTerm, ...]:
    if affinity is None:
        return ()
    return tuple(
        WeightedPodAffinityTerm(
            weight=wish.weight, pod_affinity_term=_resolved_term(wish.pod_affinity_term, labels)
        )
        for wish in affinity.preferred
    )


def _spread(
    spec: PodSpec, when_unsatisfiable: str, labels: dict[str, str]
) -> tuple[TopologySpreadConstraint, ...]:
    return tuple(
        resolved_spread(constraint, labels)
        for constraint in spec.topology_spread_constraints
        if constraint.when_unsatisfiable == when_unsatisfiable
    )


def _resolved_term(term: PodAffinityTerm, labels: dict[str, str]) -> PodAffinityTerm:
    """The term with matchLabelKeys and mismatchLabelKeys written out as a label selector."""
    selector = _with_keys(term.label_selector, term.match_label_keys, "In", labels)
    selector = _with_keys(selector, term.mismatch_label_keys, "NotIn", labels)
    return msgspec.structs.replace(
        term, label_selector=selector, match_label_keys=[], mismatch_label_keys=[]
    )


def resolved_spread(
    constraint: TopologySpreadConstraint, labels: dict[str, str]
) -> TopologySpreadConstraint:
    """The constraint with matchLabelKeys written out as a label selector."""
    selector = _with_keys(constraint.label_selector, constraint.match_label_keys, "In", labels)
    return msgspec.structs.replace(constraint, label_selector=selector, match_label_keys=[])


def _with_keys(
    selector: LabelSelector | None, keys: list[str], operator: str, labels: dict[str, str]
) -> LabelSelector | None:
    # An absent selector selects nothing, whatever the keys; keys that the pod lacks are ignored.
    if selector is None:
        return None
    expressions = list(selector.match_expressions)
    for key in keys:
        if key in labels:
            wanted = SelectorRequirement(key=key, operator=operator, values=[labels[key]])
            # The API server writes them out too, so on a live pod they are there already.
            if wanted not in expressions:
                expressions.append(wanted)
    return msgspec.structs.replace(selector, match_expressions=expressions)


def _host_ports(spec: PodSpec) -> tuple[tuple[str, str, int], ...]:
    """Ports taken on the node by containers and sidecars, which run all the time."""
    ports = set()
    sidecars = (c for c in spec.init_containers if c.restart_policy == "Always")
    for container in (*spec.containers, *sidecars):
        for port in container.ports:
            # With the host's network, a container port is a host port.
            number = port.host_port or (port.container_port if spec.host_network else 0)
            if number:
                ports.add((port.host_ip or "0.0.0.0", port.protocol or "TCP", number))
    return tuple(sorted(ports))


def _resize_state(status: PodStatus | None) -> object:
    """What of the status the effective requests depend on."""
    if status is None:
        return None
    return (
        [(s.name, s.allocated_resources, s.resources) for s in status.container_statuses],
        [(s.name, s.allocated_resources, s.resources) for s in status.init_container_statuses],
        status.allocated_resources,
        status.resources,
        resize_infeasible(status) is not None,
    )
