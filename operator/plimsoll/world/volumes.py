"""What the volumes of a pod mean for its place: where they can be reached, and how many attach.

The rules are those of kube-scheduler's plugins in
k8s.io/kubernetes/pkg/scheduler/framework/plugins (v1.37): VolumeBinding (claims and the nodes
that reach their volumes), VolumeZone (zone labels of old volumes), NodeVolumeLimits (volumes to
attach, by CSI driver) and VolumeRestrictions (claims for one pod at a time). What keeps a pod
off every node is said in their words.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from plimsoll.api.quantity import QuantityError
from plimsoll.world import not_modelled
from plimsoll.world.localvolumes import LocalVolumes
from plimsoll.world.objects import Objects
from plimsoll.world.owners import controller_of
from plimsoll.world.reservations import Claim, Waiting, are_contested, reserve
from plimsoll.world.storage import FreeVolumes, Storage, Terms, both, class_of, reached_from, union
from plimsoll.world.wire import (
    Meta,
    NodeSelector,
    NodeSelectorTerm,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    SelectorRequirement,
    StorageClass,
    Volume,
)

ATTACHABLE: Final = "attachable-volumes-csi-"
"""Prefix of the resources that count the volumes to attach, followed by the driver's name."""

_ONE_POD: Final = "ReadWriteOncePod"
_BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
_SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
_FORMER_ZONE_LABELS: Final = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
_ZONE_LABELS: Final = (*_FORMER_ZONE_LABELS, *_FORMER_ZONE_LABELS.values())
_ZONE_DELIMITER: Final = "__"

_UNBOUND: Final = "pod has unbound immediate PersistentVolumeClaims"
_NO_VOLUME: Final = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
_NONE_FREE: Final = "node(s) didn't find available persistent volumes to bind"
_IN_USE: Final = (
    "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
)


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What volumes add to the rules of their pod."""

    nodes: tuple[NodeSelector, ...] = ()
    """Nodes from which they can be reached: every selector must match."""
    resources: dict[str, int] = {}
    """What they take from a node: volumes to attach by driver, local volumes still free."""
    blocked: str = ""
    """Why no node would help now; empty: one might."""
    not_modelled: tuple[str, ...] = ()


@dataclass
class _Gathered:
    """The rules of the volumes looked at so far."""

    nodes: list[NodeSelector] = field(default_factory=list)
    attached: set[tuple[str, str]] = field(default_factory=set)
    """(driver, volume): one that is used twice is attached once."""
    local: Counter[str] = field(default_factory=Counter)
    """Local volumes to take, by resource."""
    blocked: str = ""
    not_modelled: list[str] = field(default_factory=list)

    def only(self, terms: Terms) -> None:
        """Admits only such nodes."""
        if terms is not None:
            selector = NodeSelector(node_selector_terms=list(terms))
            if selector not in self.nodes:
                self.nodes.append(selector)

    def block(self, why: str) -> None:
        """Notes why no node would help; the first reason stays."""
        self.blocked = self.blocked or why

    def rules(self) -> Rules:
        resources = Counter(ATTACHABLE + driver for driver, _ in sorted(self.attached))
        resources.update(self.local)
        return Rules(
            nodes=tuple(self.nodes),
            resources=dict(resources),
            blocked=self.blocked,
            not_modelled=tuple(self.not_modelled),
        )


class Volumes:
    """Claims, volumes and classes of one moment, asked for what they mean for a pod."""

    def __init__(self, objects: Objects) -> None:
        self._storage = Storage(objects)
        self._claims = {_key(c): self._with_class(c) for c in objects.claims_to_come}
        self._claims.update((_key(c), c) for c in objects.claims)
        self._to_come = {_key(c) for c in objects.claims_to_come}
        self._to_come.difference_update(map(_key, objects.claims))
        self._absent = objects.absent
        for_one_pod = {_key(c) for c in self._claims.values() if _ONE_POD in c.spec.access_modes}
        self.follows_pods = bool(for_one_pod)
        """Whether the rules depend on which pods are where."""
        self._holders = _holders(objects.pods, for_one_pod) if for_one_pod else {}
        self._local = LocalVolumes(self._storage)
        waiting: dict[Claim, FreeVolumes] = {}
        for key, claim in self._claims.items():
            free = None if _is_bound(claim) else self._waits_for(claim)
            if free is not None and free.local is not None:
                self._local.note(free.local)
            elif free is not None and free.volumes:
                waiting[key] = free
        self._reserved: dict[Claim, PersistentVolume | None] = {}
        if waiting and are_contested(waiting):
            self.follows_pods = True
            self._reserved = reserve(_consumers(objects.pods, waiting), objects.nodes)
        self.follows_nodes = bool(self._local or self._reserved)
        """Whether the rules, or ``free_on``, depend on nodes."""
        self.free_on = self._local.on(objects.nodes)
        """By node name: free volumes that it alone reaches, by resource (see ``LocalVolumes``)."""

    def rules_of(self, namespace: str, pod: str, volumes: Iterable[Volume]) -> Rules | None:
        """The rules that a pod's volumes add; None: they add none."""
        gathered: _Gathered | None = None
        for volume in volumes:
            name = _claim_name(pod, volume)
            if name is None:
                continue
            gathered = gathered or _Gathered()
            self._claimed(gathered, namespace, pod, name, volume)
        if gathered is None:
            return None
        for volume in volumes:
            if volume.persistent_volume_claim is not None:
                key = namespace, volume.persistent_volume_claim.claim_name
                if self._holders.get(key, pod) != pod:
                    gathered.block(_IN_USE)
        return gathered.rules()

    def rules_of_template(
        self,
        namespace: str,
        volumes: Iterable[Volume],
        templates: Iterable[PersistentVolumeClaim] = (),
    ) -> Rules | None:
        """The rules for pods yet to be made, whose own claims are yet to be made too.

        ``templates`` are the claims that a StatefulSet makes for each pod.
        """
        gathered = _Gathered()
        shared = [v for v in volumes if v.persistent_volume_claim is not None]
        own = [
            PersistentVolumeClaim(
                metadata=Meta(name=v.name, namespace=namespace),
                spec=v.ephemeral.volume_claim_template.spec,
            )
            for v in volumes
            if v.ephemeral is not None
        ]
        own += [
            msgspec.structs.replace(t, metadata=Meta(name=t.metadata.name, namespace=namespace))
            for t in templates
        ]
        if not shared and not own:
            return None
        for volume in shared:
            name = _claim_name("", volume) or ""
            self._claimed(gathered, namespace, "", name, volume)
            if (namespace, name) in self._holders:
                gathered.block(_IN_USE)
        for claim in own:
            self._unbound(gathered, self._with_class(claim), to_come=True)
        return gathered.rules()

    def _claimed(
        self, gathered: _Gathered, namespace: str, pod: str, name: str, volume: Volume
    ) -> None:
        """One claim of a pod. Source: VolumeBinding's PreFilter."""
        claim = self._claims.get((namespace, name))
        if claim is None:
            if "PersistentVolumeClaim" in self._absent:
                gathered.not_modelled.append(not_modelled.of_absent("PersistentVolumeClaim", name))
            elif volume.ephemeral is not None:
                gathered.block(
                    "waiting for ephemeral volume controller to create the "
                    f'persistentvolumeclaim "{name}"'
                )
            else:
                gathered.block(f'persistentvolumeclaim "{name}" not found')
            return
        if claim.status.phase == "Lost":
            volume_name = claim.spec.volume_name
            gathered.block(
                f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume '
                f'"{volume_name}"'
            )
        elif claim.metadata.deletion_timestamp is not None:
            gathered.block(f'persistentvolumeclaim "{name}" is being deleted')
        elif volume.ephemeral is not None and not _made_for(claim, pod):
            gathered.block(
                f"PVC {namespace}/{name} was not created for pod {namespace}/{pod} "
                "(pod is not owner)"
            )
        elif _is_bound(claim):
            self._bound(gathered, claim)
        else:
            self._unbound(gathered, claim, to_come=_key(claim) in self._to_come)

    def _bound(self, gathered: _Gathered, claim: PersistentVolumeClaim) -> None:
        """A claim with its volume. Sources: VolumeBinding's ``checkBoundClaims``, VolumeZone."""
        name = claim.spec.volume_name
        volume = self._storage.volumes.get(name)
        if volume is None:
            if "PersistentVolume" in self._absent:
                gathered.not_modelled.append(not_modelled.of_absent("PersistentVolume", name))
            else:
                gathered.block(_NO_VOLUME)
            return
        unknown = not_modelled.of_persistent_volume(volume)
        if unknown:
            gathered.not_modelled.append(unknown)
            return
        gathered.only(reached_from(volume))
        for terms in _zone_terms(volume):
            gathered.only(terms)
        csi = volume.spec.csi
        if csi is not None and csi.driver and csi.volume_handle:
            gathered.attached.add((csi.driver, csi.volume_handle))

    def _unbound(self, gathered: _Gathered, claim: PersistentVolumeClaim, *, to_come: bool) -> None:
        """A claim without a volume. Source: VolumeBinding's ``FindPodVolumes``.

        Of a claim that is yet to be made it is supposed that its volume is provisioned, or
        bound, before its pod is looked at, whatever the binding mode.
        """
        name = class_of(claim) or ""
        storage_class = self._storage.classes.get(name)
        if storage_class is None:
            if "StorageClass" in self._absent and (name or to_come):
                gathered.not_modelled.append(
                    not_modelled.of_absent("StorageClass", name or "of the cluster's default")
                )
            else:
                gathered.block(_UNBOUND)
            return
        waits = storage_class.volume_binding_mode == "WaitForFirstConsumer"
        if not to_come and (not waits or claim.spec.volume_name):
            gathered.block(_UNBOUND)
            return
        unknown = not_modelled.of_provisioner(name, storage_class.provisioner)
        if unknown:
            gathered.not_modelled.append(unknown)
            return
        try:
            terms = self._nodes_for(claim, storage_class)
        except QuantityError as error:
            gathered.not_modelled.append(str(error))
            return
        if terms == ():
            gathered.block(_NONE_FREE)
        gathered.only(terms)
        free = self._waits_for(claim)
        if free is not None and free.local is not None:
            gathered.local.update(self._local.taken_by(free.local))
        driver = self._storage.driver_of(storage_class)
        if driver:
            gathered.attached.add((driver, f"{claim.metadata.namespace}/{claim.metadata.name}"))

    def _with_class(self, claim: PersistentVolumeClaim) -> PersistentVolumeClaim:
        """A claim yet to be made with the class that admission gives it."""
        if class_of(claim) is not None:
            return claim
        spec = msgspec.structs.replace(
            claim.spec, storage_class_name=self._storage.default_class or ""
        )
        return msgspec.structs.replace(claim, spec=spec)

    def _waits_for(self, claim: PersistentVolumeClaim) -> FreeVolumes | None:
        """The volumes of which the claim waits for one; None: one will be made for it."""
        storage_class = self._storage.classes.get(class_of(claim) or "")
        if storage_class is None or self._storage.driver_of(storage_class):
            return None
        try:
            return self._storage.free_volumes(claim)
        except QuantityError:
            return None

    def _nodes_for(self, claim: PersistentVolumeClaim, storage_class: StorageClass) -> Terms:
        """Nodes for which the claim would find or get a volume."""
        provisioned = self._storage.provisioned_at(claim, storage_class)
        selected = claim.metadata.annotations.get(_SELECTED_NODE)
        if selected is not None:
            # The scheduler chose the node before, and the volume is being made there.
            here = NodeSelectorTerm(
                match_fields=[
                    SelectorRequirement(key="metadata.name", operator="In", values=[selected])
                ]
            )
            return both(provisioned, (here,))
        if _key(claim) in self._reserved:
            volume = self._reserved[_key(claim)]
            return reached_from(volume) if volume is not None else ()
        free = self._storage.free_volumes(claim).nodes
        return free if provisioned == () else union((provisioned, free))


def _key(claim: PersistentVolumeClaim) -> Claim:
    return claim.metadata.namespace, claim.metadata.name


def _claim_name(pod: str, volume: Volume) -> str | None:
    """The claim behind a volume; None: there is none."""
    if volume.persistent_volume_claim is not None:
        return volume.persistent_volume_claim.claim_name
    return f"{pod}-{volume.name}" if volume.ephemeral is not None else None


def has_claims(volumes: Iterable[Volume]) -> bool:
    """Whether any of the volumes is a claim's."""
    return any(v.persistent_volume_claim is not None or v.ephemeral is not None for v in volumes)


def _made_for(claim: PersistentVolumeClaim, pod: str) -> bool:
    owner = controller_of(claim.metadata.owner_references)
    return owner is not None and (owner.kind, owner.name) == ("Pod", pod)


def _is_bound(claim: PersistentVolumeClaim) -> bool:
    # Whoever writes a claim with its volume by hand leaves the rest to the controller.
    bound = claim.status.phase in ("Bound", "") or _BIND_COMPLETED in claim.metadata.annotations
    return bool(claim.spec.volume_name) and bound


def _zone_terms(volume: PersistentVolume) -> Iterator[Terms]:
    """Nodes in the zones and regions that labels of the volume name. Source: VolumeZone.

    A node without any such label is taken for one of a cluster in a single zone.
    """
    nowhere = NodeSelectorTerm(
        match_expressions=[_requirement(key, "DoesNotExist") for key in sorted(_ZONE_LABELS)]
    )
    for key in _ZONE_LABELS:
        zones = [z.strip() for z in volume.metadata.labels.get(key, "").split(_ZONE_DELIMITER)]
        # A label that names no zone somewhere in its list is ignored as a whole.
        if not all(zones):
            continue
        terms = [nowhere, NodeSelectorTerm(match_expressions=[_requirement(key, "In", zones)])]
        newer = _FORMER_ZONE_LABELS.get(key)
        if newer is not None:
            other = [_requirement(key, "DoesNotExist"), _requirement(newer, "In", zones)]
            terms.append(NodeSelectorTerm(match_expressions=other))
        yield tuple(terms)


def _requirement(key: str, operator: str, values: Iterable[str] = ()) -> SelectorRequirement:
    return SelectorRequirement(key=key, operator=operator, values=list(values))


def _holders(pods: Iterable[Pod], claims: set[Claim]) -> dict[Claim, str]:
    """Which pod has a claim that one pod at a time may use: one on a node, else the next to be.

    Source: VolumeRestrictions. Among pending pods the scheduler looks first at the more
    important, then at the older one.
    """
    users: defaultdict[Claim, list[Pod]] = defaultdict(list)
    for pod in pods:
        for volume in pod.spec.volumes:
            if volume.persistent_volume_claim is not None:
                key = pod.metadata.namespace, volume.persistent_volume_claim.claim_name
                if key in claims and pod.status.phase not in ("Succeeded", "Failed"):
                    users[key].append(pod)
    return {
        claim: min(some, key=_turn).metadata.name
        for claim, some in users.items()
        if any(pod.spec.node_name or not pod.spec.scheduling_gates for pod in some)
    }


def _consumers(pods: Iterable[Pod], claims: Mapping[Claim, FreeVolumes]) -> list[Waiting]:
    """Pending pods that use any of the claims, in the order in which the scheduler takes them."""
    result = []
    for pod in sorted((p for p in pods if not p.spec.node_name), key=_turn):
        waiting = Waiting(pod.spec)
        for volume in pod.spec.volumes:
            key = pod.metadata.namespace, _claim_name(pod.metadata.name, volume) or ""
            if key in claims:
                waiting.claims[key] = claims[key]
        if waiting.claims:
            result.append(waiting)
    return result


def _turn(pod: Pod) -> tuple[bool, bool, int, str, str]:
    meta, spec = pod.metadata, pod.spec
    return (
        not spec.node_name,
        bool(spec.scheduling_gates),
        -(spec.priority or 0),
        meta.creation_timestamp or "~",
        meta.name,
    )
