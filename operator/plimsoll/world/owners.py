"""Which ContainerWorkload a pod belongs to, and which of two claims to a target holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from plimsoll.api import ContainerWorkload
from plimsoll.api import labels as names
from plimsoll.world import wire
from plimsoll.world.objects import Objects

_HASH: Final = "pod-template-hash"

Target = tuple[str, str, str]
"""Namespace, kind and name of a Deployment or StatefulSet."""


class Index:
    """Owners of pods, by controller. Made once for each assembly."""

    def __init__(self, objects: Objects) -> None:
        self.problems: dict[str, str] = {}
        """By workload key: which other workload holds the target that it claims."""
        self._holders: dict[Target, ContainerWorkload] = {}
        for workload in sorted(objects.workloads, key=_seniority):
            target = target_of(workload)
            holder = self._holders.setdefault(target, workload)
            if holder is not workload:
                namespace, kind, name = target
                self.problems[key_of(workload)] = (
                    f"{kind} {namespace}/{name} already belongs to ContainerWorkload "
                    f"{key_of(holder)}, which is older: delete one of the two"
                )
        self._deployments: dict[tuple[str, str], str] = {}
        self._replicasets: defaultdict[tuple[str, str], list[wire.Controller]] = defaultdict(list)
        for replicaset in sorted(objects.replicasets, key=lambda r: r.metadata.name):
            meta = replicaset.metadata
            owner = controller_of(meta.owner_references)
            if owner is not None and owner.kind == "Deployment":
                self._deployments[meta.namespace, meta.name] = owner.name
                self._replicasets[meta.namespace, owner.name].append(replicaset)

    def holder(self, target: Target) -> str | None:
        """Key of the workload that steers a target."""
        workload = self._holders.get(target)
        return key_of(workload) if workload is not None else None

    def deployment_of(self, namespace: str, replicaset: str, hash_label: str) -> str | None:
        """Name of the Deployment behind a ReplicaSet, which need not be among the objects.

        ``hash_label`` is the pod's label ``pod-template-hash``; a Deployment names its
        ReplicaSets by it.
        """
        known = self._deployments.get((namespace, replicaset))
        if known is not None:
            return known
        suffix = f"-{hash_label}"
        return (
            replicaset.removesuffix(suffix) if hash_label and replicaset.endswith(suffix) else None
        )

    def template_of(self, controller: wire.Controller) -> wire.PodTemplate:
        """The template of the controller's next pod.

        That of a Deployment carries the hash label of the ReplicaSet made from it, if it is
        known: spread constraints and affinities may tell revisions apart by it.
        """
        template, meta = controller.spec.template, controller.metadata
        if controller.kind != "Deployment":
            return template
        for replicaset in self._replicasets.get((meta.namespace, meta.name), ()):
            made = replicaset.spec.template
            hashed = {**made.metadata.labels}
            hashed.pop(_HASH, None)
            if made.spec == template.spec and hashed == template.metadata.labels:
                return made
        return template


def workload_of(pod: wire.Pod, index: Index) -> str | None:
    """Key ``namespace/name`` of the ContainerWorkload that steers the pod; None: no one does."""
    target = scaled_by(pod, index)
    if target is None:
        target = pod.metadata.namespace, "Deployment", pod.metadata.labels.get(names.WORKLOAD, "")
    return index.holder(target)


def scaled_by(pod: wire.Pod, index: Index) -> Target | None:
    """The Deployment or StatefulSet that made the pod; None for any other pod."""
    meta = pod.metadata
    owner = controller_of(meta.owner_references)
    if owner is None:
        return None
    if owner.kind in ("Deployment", "StatefulSet"):
        return meta.namespace, owner.kind, owner.name
    if owner.kind == "ReplicaSet":
        hash_label = meta.labels.get(_HASH, "")
        deployment = index.deployment_of(meta.namespace, owner.name, hash_label)
        if deployment is not None:
            return meta.namespace, "Deployment", deployment
    return None


def controller_of(owners: Iterable[wire.OwnerReference]) -> wire.OwnerReference | None:
    """The owner that controls the object; None: it stands alone."""
    return next((owner for owner in owners if owner.controller), None)


def key_of(workload: ContainerWorkload) -> str:
    """Key ``namespace/name`` of a workload."""
    return f"{workload.metadata.namespace or 'default'}/{workload.metadata.name}"


def target_of(workload: ContainerWorkload) -> Target:
    """What the workload steers: its target, or the Deployment of its own name."""
    namespace = workload.metadata.namespace or "default"
    reference = workload.spec.target_ref
    if reference is None:
        return namespace, "Deployment", workload.metadata.name
    return namespace, reference.kind, reference.name


def made_by(controller: wire.Controller, workload: ContainerWorkload) -> bool:
    """Whether a Deployment was made for the workload from its template."""
    owner = controller_of(controller.metadata.owner_references)
    if owner is not None:
        return owner.kind == "ContainerWorkload" and owner.name == workload.metadata.name
    return controller.metadata.labels.get(names.WORKLOAD) == workload.metadata.name


def _seniority(workload: ContainerWorkload) -> tuple[str, str, str]:
    meta = workload.metadata
    # Texts of RFC 3339 in UTC order like times; an object without one is not created yet.
    return meta.creation_timestamp or "~", meta.namespace or "", meta.name
