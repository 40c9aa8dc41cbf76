"""Shapes: what the scheduler looks at of a pod, worked out once for all that are alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from plimsoll.api.quantity import QuantityError
from plimsoll.world import snapshot
from plimsoll.world.requests import effective_requests, resize_infeasible, resources
from plimsoll.world.wire import (
    Affinity,
    LabelSelector,
    NodeSelector,
    Pod,
    PodAffinityTerm,
    PodSpec,
    PodStatus,
    PodTemplate,
    PriorityClass,
    RuntimeClass,
    SelectorRequirement,
    TopologySpreadConstraint,
    Volume,
)

_BUILT_IN_PRIORITIES: Final = {
    "system-cluster-critical": 2_000_000_000,
    "system-node-critical": 2_000_001_000,
}


class Shapes:
    """Makes shapes of pods and templates; equal content is worked out once.

    A manifest that the API server has not seen yet is completed as admission
    would: RuntimeClass overhead and scheduling, priority, requests from limits.
    """

    def __init__(
        self,
        runtime_classes: Iterable[RuntimeClass] = (),
        priority_classes: Iterable[PriorityClass] = (),
    ) -> None:
        self._runtimes = {c.metadata.name: c for c in runtime_classes}
        self._priorities = dict(_BUILT_IN_PRIORITIES)
        self._default_priority = 0
        for priority_class in sorted(priority_classes, key=lambda c: c.metadata.name):
            self._priorities[priority_class.metadata.name] = priority_class.value
            if priority_class.global_default:
                self._default_priority = priority_class.value
        self._by_content: dict[tuple[str, bytes, bytes, bytes], snapshot.PodShape] = {}
        self._by_key: dict[str, snapshot.PodShape] = {}

    def of_pod(self, pod: Pod) -> snapshot.PodShape:
        """The shape of a pod; ill-formed quantities are named in ``not_modelled``."""
        status = pod.status if pod.spec.node_name else None
        return self._shape(pod.metadata.namespace, pod.metadata.labels, pod.spec, status)

    def of_template(self, template: PodTemplate, namespace: str) -> snapshot.PodShape:
        """The shape of the pods that a template makes in a namespace."""
        return self._shape(namespace, template.metadata.labels, template.spec, None)

    def _shape(
        self, namespace: str, labels: dict[str, str], spec: PodSpec, status: PodStatus | None
    ) -> snapshot.PodShape:
        # Names of nodes and of generated volumes differ from pod to pod of one template.
        content = (
            namespace,
            msgspec.json.encode(labels),
            msgspec.json.encode(msgspec.structs.replace(spec, node_name="", volumes=[])),
            msgspec.json.encode((_unknown_volumes(spec.volumes), _resize_state(status))),
        )
        shape = self._by_content.get(content)
        if shape is None:
            shape = self._build(namespace, labels, spec, status)
            shape = self._by_key.setdefault(shape.key, shape)
            self._by_content[content] = shape
        return shape

    def _build(
        self, namespace: str, labels: dict[str, str], spec: PodSpec, status: PodStatus | None
    ) -> snapshot.PodShape:
        not_modelled = _not_modelled(spec)
        # What is bound was admitted before: it is taken as it is.
        if status is None:
            spec, conflict = self._admit(spec)
            not_modelled = (*not_modelled, *conflict)
        try:
            requests = resources(effective_requests(spec, status))
        except QuantityError as error:
            # One odd pod must not stop the plan for all others.
            requests, not_modelled = snapshot.Resources(), (*not_modelled, str(error))
        affinity, anti_affinity = _pod_affinity(spec.affinity, labels)
        shape = snapshot.PodShape(
            key="",
            namespace=namespace,
            labels=labels,
            requests=requests,
            node_selector=spec.node_selector,
            node_affinity=_node_affinity(spec.affinity),
            tolerations=tuple(spec.tolerations),
            affinity=affinity,
            anti_affinity=anti_affinity,
            spread=tuple(
                _resolved_spread(constraint, labels)
                for constraint in spec.topology_spread_constraints
                if constraint.when_unsatisfiable == "DoNotSchedule"
            ),
            host_ports=_host_ports(spec),
            runtime_class=spec.runtime_class_name or "",
            priority=self._priority(spec),
            not_modelled=not_modelled,
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
        if spec.priority is not None:
            return spec.priority
        if spec.priority_class_name:
            return self._priorities.get(spec.priority_class_name, 0)
        return self._default_priority


def _node_affinity(affinity: Affinity | None) -> NodeSelector | None:
    if affinity is None or affinity.node_affinity is None:
        return None
    return affinity.node_affinity.required


def _pod_affinity(
    affinity: Affinity | None, labels: dict[str, str]
) -> tuple[tuple[PodAffinityTerm, ...], tuple[PodAffinityTerm, ...]]:
    if affinity is None:
        return (), ()
    near, apart = affinity.pod_affinity, affinity.pod_anti_affinity
    return (
        tuple(_resolved_term(t, labels) for t in near.required) if near is not None else (),
        tuple(_resolved_term(t, labels) for t in apart.required) if apart is not None else (),
    )


def _resolved_term(term: PodAffinityTerm, labels: dict[str, str]) -> PodAffinityTerm:
    """The term with matchLabelKeys and mismatchLabelKeys written out as a label selector."""
    selector = _with_keys(term.label_selector, term.match_label_keys, "In", labels)
    selector = _with_keys(selector, term.mismatch_label_keys, "NotIn", labels)
    return msgspec.structs.replace(
        term, label_selector=selector, match_label_keys=[], mismatch_label_keys=[]
    )


def _resolved_spread(
    constraint: TopologySpreadConstraint, labels: dict[str, str]
) -> TopologySpreadConstraint:
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


def _not_modelled(spec: PodSpec) -> tuple[str, ...]:
    found = []
    if spec.scheduler_name not in ("", "default-scheduler"):
        found.append(f"scheduler {spec.scheduler_name}")
    if spec.resource_claims or any(
        c.resources.claims for c in (*spec.containers, *spec.init_containers)
    ):
        found.append("resource claims (dynamic resource allocation)")
    if spec.scheduling_group is not None:
        found.append("scheduling group (all of its pods together or none)")
    return (*found, *_unknown_volumes(spec.volumes))


def _unknown_volumes(volumes: Iterable[Volume]) -> tuple[str, ...]:
    """Volumes that bind a pod to nodes in ways that the snapshot does not show."""
    found = []
    for volume in volumes:
        if volume.persistent_volume_claim is not None:
            claim = volume.persistent_volume_claim.get("claimName", "")
            found.append(f"volume {volume.name} (PersistentVolumeClaim {claim})")
        elif volume.ephemeral is not None:
            found.append(f"volume {volume.name} (generic ephemeral volume)")
        elif any(
            disk is not None
            for disk in (
                volume.gce_persistent_disk,
                volume.aws_elastic_block_store,
                volume.iscsi,
                volume.rbd,
            )
        ):
            found.append(f"volume {volume.name} (a disk that only some pods may share)")
    return tuple(found)


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
