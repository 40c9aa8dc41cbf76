"""What controllers would make: the objects and pods that files leave to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import count, islice
from typing import Final

import msgspec

from plimsoll.act import owned
from plimsoll.api import ContainerWorkload
from plimsoll.offline.decoding import DecodingError, Misfit, decode
from plimsoll.world import wire
from plimsoll.world.assemble import daemon_template
from plimsoll.world.objects import Objects
from plimsoll.world.owners import Index, Kin, controller_of, kin_of, scaled_by_kin
from plimsoll.world.pods import FINISHED
from plimsoll.world.selectors import node_selector_matches, untolerated

_POD_NAME: Final = "statefulset.kubernetes.io/pod-name"
_POD_INDEX: Final = "apps.kubernetes.io/pod-index"
_JOB_NAMES: Final = ("batch.kubernetes.io/job-name", "job-name")

_Owner = tuple[str, str, str]
"""Namespace, kind and name."""


class TemplateError(ValueError):
    """A workload's pod template cannot be used."""

    def __init__(self, misfit: Misfit) -> None:
        super().__init__(misfit.message)
        self.misfit = misfit


def deployment_of(workload: ContainerWorkload) -> wire.Controller:
    """The Deployment that Plimsoll would make for a workload with a template.

    Raises:
        TemplateError: the template is no pod template.
    """
    try:
        document = owned.deployment(workload, None)
        controller = decode(msgspec.Raw(msgspec.json.encode(document)), wire.Controller)
    except owned.TemplateInvalid as error:
        misfit = Misfit(".spec.template", str(error), "correct the template")
        raise TemplateError(misfit) from None
    except DecodingError as error:
        # In the Deployment as in the workload, the template stands at spec.template.
        raise TemplateError(error.misfit) from None
    namespace = workload.metadata.namespace or "default"
    meta = msgspec.structs.replace(controller.metadata, namespace=namespace)
    return msgspec.structs.replace(controller, metadata=meta)


def missing_pods(cluster: Objects, jobs: Iterable[wire.Controller]) -> Iterator[wire.Pod]:
    """The pods that controllers lack, each pending under a name that follows from its owner's.

    DaemonSets are taken to run already on every node that is there and that they fit.
    """
    expansion = _Expansion(cluster)
    for controller in sorted(
        (*cluster.deployments, *cluster.statefulsets, *cluster.replicasets, *jobs),
        key=lambda c: (c.kind, c.metadata.namespace, c.metadata.name),
    ):
        if controller.metadata.deletion_timestamp is None:
            yield from expansion.missing(controller)
    for daemonset in cluster.daemonsets:
        if daemonset.metadata.deletion_timestamp is None:
            yield from expansion.daemons(daemonset, cluster.nodes)


def missing_claims(cluster: Objects) -> Iterator[wire.PersistentVolumeClaim]:
    """Claims that controllers would make for the pods that no cluster has seen yet."""
    templates = {
        (s.metadata.namespace, s.metadata.name): s.spec.volume_claim_templates
        for s in cluster.statefulsets
    }
    known = {(c.metadata.namespace, c.metadata.name) for c in cluster.claims}
    for pod in cluster.pods:
        # A cluster gives its pods identities.
        if pod.metadata.uid or not pod.spec.volumes:
            continue
        for claim in _claims_of(pod, templates):
            if (claim.metadata.namespace, claim.metadata.name) not in known:
                yield claim


class _Expansion:
    def __init__(self, cluster: Objects) -> None:
        self._index = Index(cluster)
        self._deployments = {(d.metadata.namespace, d.metadata.name) for d in cluster.deployments}
        self._pods = cluster.pods
        alike: defaultdict[Kin, list[wire.Pod]] = defaultdict(list)
        for pod in cluster.pods:
            if pod.status.phase not in FINISHED and pod.metadata.deletion_timestamp is None:
                alike[kin_of(pod)].append(pod)
        self._live: defaultdict[_Owner, list[wire.Pod]] = defaultdict(list)
        for kin, pods in alike.items():
            if kin.kind:
                self._live[kin.namespace, kin.kind, kin.name] += pods
                scaled = scaled_by_kin(kin, self._index)
                if scaled is not None and scaled[1] != kin.kind:
                    self._live[scaled] += pods

    @cached_property
    def _names(self) -> set[tuple[str, str]]:
        # Of a cluster that runs well, no pod is missing, and nobody asks.
        return {(p.metadata.namespace, p.metadata.name) for p in self._pods}

    def missing(self, controller: wire.Controller) -> Iterator[wire.Pod]:
        """Pods that a controller lacks until it has as many as it wants."""
        meta, spec = controller.metadata, controller.spec
        if controller.kind == "StatefulSet":
            yield from self._ordinals(controller)
            return
        wanted = 1 if spec.replicas is None else spec.replicas
        if controller.kind == "Job":
            wanted = _active(controller)
        elif controller.kind == "ReplicaSet" and self._made_by_known_deployment(controller):
            return
        template = self._index.template_of(controller)
        if controller.kind == "Job":
            template = _labelled(template, dict.fromkeys(_JOB_NAMES, meta.name))
        live = self._live[meta.namespace, controller.kind, meta.name]
        names = (f"{meta.name}-{number}" for number in count())
        free = (name for name in names if (meta.namespace, name) not in self._names)
        for name in islice(free, max(0, wanted - len(live))):
            yield self._pod(controller, name, template)

    def _made_by_known_deployment(self, replicaset: wire.Controller) -> bool:
        meta = replicaset.metadata
        deployment = self._index.deployment_of(meta.namespace, meta.name, "")
        return (meta.namespace, deployment) in self._deployments

    def _ordinals(self, statefulset: wire.Controller) -> Iterator[wire.Pod]:
        meta, spec = statefulset.metadata, statefulset.spec
        start = spec.ordinals.start if spec.ordinals is not None else 0
        claims = [wire.Volume(name=claim.metadata.name) for claim in spec.volume_claim_templates]
        for number in range(start, start + (1 if spec.replicas is None else spec.replicas)):
            name = f"{meta.name}-{number}"
            if (meta.namespace, name) in self._names:
                continue
            template = _labelled(spec.template, {_POD_NAME: name, _POD_INDEX: str(number)})
            volumes = [
                msgspec.structs.replace(
                    claim,
                    persistent_volume_claim=wire.PersistentVolumeClaimVolumeSource(
                        claim_name=f"{claim.name}-{name}"
                    ),
                )
                for claim in claims
            ]
            pod_spec = msgspec.structs.replace(
                template.spec, volumes=[*template.spec.volumes, *volumes]
            )
            template = msgspec.structs.replace(template, spec=pod_spec)
            yield self._pod(statefulset, name, template)

    def daemons(self, daemonset: wire.Controller, nodes: Iterable[wire.Node]) -> Iterator[wire.Pod]:
        """Pods of a DaemonSet on the nodes that it fits and where it has none yet."""
        meta = daemonset.metadata
        live = self._live[meta.namespace, "DaemonSet", meta.name]
        served = {pod.spec.node_name or _meant_for(pod) for pod in live}
        template = daemon_template(daemonset.spec.template)
        for node in nodes:
            if node.metadata.name not in served and _fits(template.spec, node):
                spec = msgspec.structs.replace(template.spec, node_name=node.metadata.name)
                bound = msgspec.structs.replace(template, spec=spec)
                yield self._pod(daemonset, f"{meta.name}-{node.metadata.name}", bound)

    def _pod(self, owner: wire.Controller, name: str, template: wire.PodTemplate) -> wire.Pod:
        meta = owner.metadata
        self._names.add((meta.namespace, name))
        reference = wire.OwnerReference(
            kind=owner.kind, name=meta.name, uid=meta.uid, controller=True
        )
        return wire.Pod(
            metadata=wire.Meta(
                name=name,
                namespace=meta.namespace,
                labels=template.metadata.labels,
                annotations=template.metadata.annotations,
                owner_references=[reference],
            ),
            spec=template.spec,
        )


def _claims_of(
    pod: wire.Pod, templates: Mapping[tuple[str, str], list[wire.PersistentVolumeClaim]]
) -> Iterator[wire.PersistentVolumeClaim]:
    meta = pod.metadata
    owner = controller_of(meta.owner_references)
    if owner is not None and owner.kind == "StatefulSet":
        for template in templates.get((meta.namespace, owner.name), ()):
            name = f"{template.metadata.name}-{meta.name}"
            yield wire.PersistentVolumeClaim(
                metadata=wire.Meta(name=name, namespace=meta.namespace), spec=template.spec
            )
    itself = wire.OwnerReference(kind="Pod", name=meta.name, controller=True)
    for volume in pod.spec.volumes:
        if volume.ephemeral is not None:
            yield wire.PersistentVolumeClaim(
                metadata=wire.Meta(
                    name=f"{meta.name}-{volume.name}",
                    namespace=meta.namespace,
                    owner_references=[itself],
                ),
                spec=volume.ephemeral.volume_claim_template.spec,
            )


def _active(job: wire.Controller) -> int:
    """Pods that a Job wants to have running."""
    spec, status = job.spec, job.status
    done = any(c.type in ("Complete", "Failed") and c.status == "True" for c in status.conditions)
    if spec.suspend or done:
        return 0
    parallelism = 1 if spec.parallelism is None else spec.parallelism
    # Without either number it is one pod; with parallelism alone, a queue of work.
    completions = spec.completions
    if completions is None:
        completions = parallelism + status.succeeded if spec.parallelism is not None else 1
    return max(0, min(parallelism, completions - status.succeeded))


def _labelled(template: wire.PodTemplate, labels: dict[str, str]) -> wire.PodTemplate:
    meta = msgspec.structs.replace(template.metadata, labels={**template.metadata.labels, **labels})
    return msgspec.structs.replace(template, metadata=meta)


def _fits(spec: wire.PodSpec, node: wire.Node) -> bool:
    """Whether a DaemonSet's controller would put a pod onto the node."""
    labels, name = node.metadata.labels, node.metadata.name
    affinity = spec.affinity.node_affinity if spec.affinity is not None else None
    return (
        all(labels.get(key) == value for key, value in spec.node_selector.items())
        and node_selector_matches(affinity.required if affinity else None, labels, name)
        and untolerated(node.spec.taints, spec.tolerations) is None
    )


def _meant_for(pod: wire.Pod) -> str:
    """The node that a pending pod of a DaemonSet waits for: its controller wrote it down."""
    affinity = pod.spec.affinity
    required = affinity.node_affinity.required if affinity and affinity.node_affinity else None
    for term in required.node_selector_terms if required is not None else ():
        for requirement in term.match_fields:
            if requirement.key == "metadata.name" and requirement.values:
                return requirement.values[0]
    return ""
