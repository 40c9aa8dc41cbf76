"""Pods as the decision sees them: their state, and what holds them in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from plimsoll.api import labels as names
from plimsoll.api.quantity import QuantityError
from plimsoll.api.timestamp import parse_rfc3339
from plimsoll.world import snapshot
from plimsoll.world.likeness import Alike
from plimsoll.world.requests import container_requests, resize_infeasible, resources
from plimsoll.world.shapes import Shapes
from plimsoll.world.volumes import has_claims
from plimsoll.world.wire import ContainerSpec, Pod, PodSpec

FINISHED: Final = frozenset({"Succeeded", "Failed"})
"""Phases of pods that take nothing from their node any more."""

_MIRROR: Final = "kubernetes.io/config.mirror"
_SAFE_TO_EVICT: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
_SAFE_VOLUMES: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"


def pod_of(
    pod: Pod, shapes: Shapes, workload: str | None = None, container: str = ""
) -> snapshot.Pod:
    """One pod of the snapshot.

    ``workload`` is the key of the ContainerWorkload that owns it, ``container``
    the one that it steers (empty: the first).
    """
    meta, spec = pod.metadata, pod.spec
    steered = steered_container(spec, container) if workload is not None else None
    return snapshot.Pod(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        shape=shapes.of_pod(pod),
        node=spec.node_name or None,
        nominated=(not spec.node_name and pod.status.nominated_node_name) or None,
        ready=is_ready(pod),
        terminating=meta.deletion_timestamp is not None,
        created=parse_rfc3339(meta.creation_timestamp) if meta.creation_timestamp else 0.0,
        workload=workload,
        gated=bool(spec.scheduling_gates),
        daemon=is_daemon(pod),
        held=held(pod),
        size=_size(steered),
        resize_refused=resize_infeasible(pod.status) or "",
        restart_on_resize=steered is not None
        and any(policy.restart_policy == "RestartContainer" for policy in steered.resize_policy),
    )


class PodMaker:
    """Makes pods of the snapshot; what follows from parts that pods share is worked out once."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._alike: Alike[snapshot.Pod] = Alike()

    def forget(self) -> None:
        """Forgets all that was worked out."""
        self._alike.clear()

    def of(self, pod: Pod, workload: str | None = None, container: str = "") -> snapshot.Pod:
        """The same as ``pod_of``."""
        meta, spec = pod.metadata, pod.spec
        if has_claims(spec.volumes):
            # Where its volumes can be reached is its own affair.
            return pod_of(pod, self._shapes, workload, container)
        node, status = spec.node_name or None, pod.status
        parts = (
            meta.labels,
            meta.annotations,
            meta.owner_references,
            status.conditions,
            status.container_statuses,
            status.init_container_statuses,
            status.resources,
            status.allocated_resources,
            node is None,
            meta.namespace,
            workload,
            container,
        )
        known = self._alike.find(spec, *parts)
        if known is None:
            made = pod_of(pod, self._shapes, workload, container)
            self._alike.keep(made, spec, *parts)
            return made
        return msgspec.structs.replace(
            known,
            name=meta.name,
            uid=meta.uid,
            node=node,
            nominated=(node is None and status.nominated_node_name) or None,
            terminating=meta.deletion_timestamp is not None,
            created=parse_rfc3339(meta.creation_timestamp) if meta.creation_timestamp else 0.0,
        )


def _size(container: ContainerSpec | None) -> snapshot.Resources | None:
    try:
        return resources(container_requests(container)) if container is not None else None
    except QuantityError:
        return None


def steered_container(spec: PodSpec, name: str) -> ContainerSpec | None:
    """The container of that name, the first for an empty name; None if there is none."""
    return next((c for c in spec.containers if not name or c.name == name), None)


def is_ready(pod: Pod) -> bool:
    """Whether the pod's Ready condition is true."""
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)


def is_daemon(pod: Pod) -> bool:
    """Whether the pod goes with its node: made by a DaemonSet, or a mirror of a static pod."""
    return _MIRROR in pod.metadata.annotations or any(
        owner.controller and owner.kind in ("DaemonSet", "Node")
        for owner in pod.metadata.owner_references
    )


def held(pod: Pod) -> str:
    """Why the pod must not be evicted, as one sentence; empty: it may."""
    annotations = pod.metadata.annotations
    why = held_by_annotation(annotations)
    if why or is_daemon(pod) or annotations.get(_SAFE_TO_EVICT) == "true":
        return why
    if not any(owner.controller for owner in pod.metadata.owner_references):
        return "no controller would recreate it"
    safe = {name.strip() for name in annotations.get(_SAFE_VOLUMES, "").split(",")}
    for volume in pod.spec.volumes:
        local = volume.host_path is not None or volume.empty_dir is not None
        if local and volume.name not in safe:
            kind = "hostPath" if volume.host_path is not None else "emptyDir"
            return f"volume {volume.name} keeps data on its node ({kind})"
    return ""


def held_by_annotation(annotations: Mapping[str, str]) -> str:
    """The annotation that forbids disruption, of ours or another autoscaler's; empty: none."""
    for name, value in ((names.DO_NOT_DISRUPT, "true"), *names.DO_NOT_DISRUPT_PEERS.items()):
        if annotations.get(name) == value:
            return f"annotation {name}: {value}"
    return ""
