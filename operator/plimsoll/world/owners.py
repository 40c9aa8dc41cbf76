"""Which ContainerWorkload a pod belongs to, and which of two claims to a target holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from plimsoll.api import ContainerWorkload
from plimsoll.api import labels as names
from plimsoll.world import wire
from plimsoll.world.objects import Objects

_HASH: Final = "pod-template-hash"

Target = tuple[str, str, str]
"""Namespace, kind and name of a Deployment or StatefulSet."""


class Index:
    """Owners of pods, by controller."""

    def __init__(self, objects: Objects) -> None:
        self.problems: dict[str, str] = {}
        """By workload key: which other workload holds the target that it claims."""
        self._holders: dict[Target, str] = {}
        self._deployments: dict[tuple[str, str], str] = {}
        self._replicasets: defaultdict[tuple[str, str], dict[str, wire.Controller]] = defaultdict(
            dict
        )
        self.set_workloads(objects.workloads)
        self.change_replicasets((), objects.replicasets)

    def set_workloads(self, workloads: Iterable[ContainerWorkload]) -> bool:
        """Takes in all workloads, instead of those before; whether other pods belong to them."""
        before, self._holders, self.problems = self._holders, {}, {}
        for workload in sorted(workloads, key=_seniority):
            target, key = target_of(workload), key_of(workload)
            holder = self._holders.setdefault(target, key)
            if holder != key:
                namespace, kind, name = target
                self.problems[key] = (
                    f"{kind} {namespace}/{name} already belongs to ContainerWorkload "
                    f"{holder}, which is older: delete one of the two"
                )
        return self._holders != before

    def change_replicasets(
        self, gone: Iterable[wire.Controller], new: Iterable[wire.Controller]
    ) -> bool:
        """Forgets some ReplicaSets, takes in others; whether pods have other Deployments now."""
        gone, new = tuple(gone), tuple(new)
        keys = {(r.metadata.namespace, r.metadata.name) for r in (*gone, *new)}
        before = [self._deployments.get(key) for key in keys]
        for replicaset in gone:
            meta = replicaset.metadata
            deployment = self._deployments.pop((meta.namespace, meta.name), None)
            if deployment is not None:
                del self._replicasets[meta.namespace, deployment][meta.name]
        for replicaset in new:
            meta = replicaset.metadata
            owner = controller_of(meta.owner_references)
            if owner is not None and owner.kind == "Deployment":
                self._deployments[meta.namespace, meta.name] = owner.name
                self._replicasets[meta.namespace, owner.name][meta.name] = replicaset
        return before != [self._deployments.get(key) for key in keys]

    def holder(self, target: Target) -> str | None:
        """Key of the workload that steers a target."""
        return self._holders.get(target)

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

    def replicasets_of(self, deployment: wire.Controller) -> Mapping[str, wire.Controller]:
        """The ReplicaSets of a Deployment by name."""
        meta = deployment.metadata
        return self._replicasets.get((meta.namespace, meta.name), {})

    def template_of(self, controller: wire.Controller) -> wire.PodTemplate:
        """The template of the controller's next pod.

        That of a Deployment carries the hash label of the ReplicaSet made from it, if it is
        known: spread constraints and affinities may tell revisions apart by it.
        """
        template = controller.spec.template
        if controller.kind != "Deployment":
            return template
        for _, replicaset in sorted(self.replicasets_of(controller).items()):
            made = replicaset.spec.template
            hashed = {**made.metadata.labels}
            hashed.pop(_HASH, None)
            if made.spec == template.spec and hashed == template.metadata.labels:
                return made
        return template


class Kin(NamedTuple):
    """What of a pod decides to whom it belongs."""

    namespace: str
    kind: str
    """Kind and name of its controller; empty: it has none."""
    name: str
    hash_label: str
    workload_label: str


def kin_of(pod: wire.Pod) -> Kin:
    """What decides to whom a pod belongs."""
    meta = pod.metadata
    for owner in meta.owner_references:
        if owner.controller:
            kind, name = owner.kind, owner.name
            break
    else:
        kind = name = ""
    labels = meta.labels
    return Kin(meta.namespace, kind, name, labels.get(_HASH, ""), labels.get(names.WORKLOAD, ""))


def workload_of(pod: wire.Pod, index: Index) -> str | None:
    """Key ``namespace/name`` of the ContainerWorkload that steers the pod; None: no one does."""
    return workload_of_kin(kin_of(pod), index)


def workload_of_kin(kin: Kin, index: Index) -> str | None:
    """The same of all pods with that in common."""
    target = scaled_by_kin(kin, index)
    if target is None:
        target = kin.namespace, "Deployment", kin.workload_label
    return index.holder(target)


def scaled_by(pod: wire.Pod, index: Index) -> Target | None:
    """The Deployment or StatefulSet that made the pod; None for any other pod."""
    return scaled_by_kin(kin_of(pod), index)


def scaled_by_kin(kin: Kin, index: Index) -> Target | None:
    """The Deployment or StatefulSet that made such pods."""
    if kin.kind in ("Deployment", "StatefulSet"):
        return kin.namespace, kin.kind, kin.name
    if kin.kind == "ReplicaSet":
        deployment = index.deployment_of(kin.namespace, kin.name, kin.hash_label)
        if deployment is not None:
            return kin.namespace, "Deployment", deployment
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
