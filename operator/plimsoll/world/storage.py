"""Where an unbound claim could get its volume: volumes that are free, and provisioning.

Follows what kube-scheduler's VolumeBinding asks of one node (``findMatchingVolumes`` and
``checkVolumeProvisions`` in k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumebinding,
``FindMatchingVolume`` in k8s.io/component-helpers/storage/volume), but asks it of all nodes at
once: the answer is the nodes, as terms of a node selector.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from typing import Final

import msgspec

from plimsoll.api.labels import HOSTNAME
from plimsoll.api.quantity import QuantityError, parse_bytes
from plimsoll.world.objects import Objects
from plimsoll.world.selectors import selector_matches
from plimsoll.world.wire import (
    CSIStorageCapacity,
    LabelSelector,
    NodeSelectorTerm,
    PersistentVolume,
    PersistentVolumeClaim,
    Quantity,
    SelectorRequirement,
    StorageClass,
)

Terms = tuple[NodeSelectorTerm, ...] | None
"""Nodes that match any of the terms; no terms: no node at all. None: every node."""

_NO_PROVISIONER: Final = frozenset({"", "kubernetes.io/no-provisioner"})
_CLASS_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"


class FreeVolumes:
    """Volumes that a claim could be bound to."""

    def __init__(self, volumes: tuple[PersistentVolume, ...] = ()) -> None:
        self.volumes = volumes

    @cached_property
    def nodes(self) -> Terms:
        """Nodes from which any of them can be reached."""
        return union(map(reached_from, self.volumes))

    @cached_property
    def local(self) -> frozenset[str] | None:
        """Their names, if each of them is reached from certain hosts only; else None."""
        for volume in self.volumes:
            terms = reached_from(volume)
            if terms is None or not all(hosts_of(term) for term in terms):
                return None
        return frozenset(volume.metadata.name for volume in self.volumes) or None


class Storage:
    """The cluster's storage, by name."""

    def __init__(self, objects: Objects) -> None:
        self.volumes = {v.metadata.name: v for v in objects.volumes}
        self.classes = {c.metadata.name: c for c in objects.storage_classes}
        self._drivers = {d.metadata.name: d.spec for d in objects.csi_drivers}
        self._capacities = objects.storage_capacities
        self._free: defaultdict[str, list[PersistentVolume]] = defaultdict(list)
        self._reserved: defaultdict[tuple[str, str, str], list[PersistentVolume]]
        self._reserved = defaultdict(list)
        for volume in sorted(objects.volumes, key=lambda v: v.metadata.name):
            spec = volume.spec
            name = volume.metadata.annotations.get(_CLASS_ANNOTATION, spec.storage_class_name)
            if spec.claim_ref is None:
                self._free[name].append(volume)
            else:
                key = name, spec.claim_ref.namespace, spec.claim_ref.name
                self._reserved[key].append(volume)
        self.default_class = _default_class(objects.storage_classes)
        self._found: dict[tuple[str, bytes], FreeVolumes] = {}
        self._alike: dict[tuple[int, ...], FreeVolumes] = {}

    def free_volumes(self, claim: PersistentVolumeClaim) -> FreeVolumes:
        """Volumes that the claim could be bound to, were the pod on a node that reaches them.

        A volume that is reserved for the claim is the only one.

        Raises:
            QuantityError: the claim's size is ill-formed.
        """
        name, size = class_of(claim) or "", storage_of(claim.spec.resources.requests)
        meta = claim.metadata
        for volume in self._reserved.get((name, meta.namespace, meta.name), ()):
            if _suits(volume, claim, size):
                return FreeVolumes((volume,))
        key = name, msgspec.json.encode(claim.spec)
        if key not in self._found:
            some = tuple(
                volume
                for volume in self._free.get(name, ())
                if _suits(volume, claim, size) and _matches(volume, claim)
            )
            # Claims of other sizes often find the same: what follows from it is worked out once.
            self._found[key] = self._alike.setdefault(tuple(map(id, some)), FreeVolumes(some))
        return self._found[key]

    def provisioned_at(self, claim: PersistentVolumeClaim, storage_class: StorageClass) -> Terms:
        """Nodes for which the class's provisioner would make a volume.

        Raises:
            QuantityError: the claim's size is ill-formed.
        """
        if storage_class.provisioner in _NO_PROVISIONER:
            return ()
        terms = _allowed(storage_class)
        driver = self._drivers.get(storage_class.provisioner)
        if driver is None or not driver.storage_capacity:
            return terms
        if "storage" not in claim.spec.resources.requests:
            return terms
        size = storage_of(claim.spec.resources.requests)
        name = storage_class.metadata.name
        roomy = [
            _as_terms(capacity.node_topology)
            for capacity in self._capacities
            if capacity.storage_class_name == name
            and capacity.node_topology is not None
            and _room(capacity) >= size
        ]
        return both(terms, union(roomy))

    def driver_of(self, storage_class: StorageClass) -> str:
        """The CSI driver that provisions for the class; empty: none does."""
        provisioner = storage_class.provisioner
        return "" if provisioner in _NO_PROVISIONER else provisioner


def class_of(claim: PersistentVolumeClaim) -> str | None:
    """Name of the claim's StorageClass; empty: it wants none. None: it leaves that open."""
    return claim.metadata.annotations.get(_CLASS_ANNOTATION, claim.spec.storage_class_name)


def reached_from(volume: PersistentVolume) -> Terms:
    """Nodes from which a volume can be reached, by its node affinity."""
    affinity = volume.spec.node_affinity
    if affinity is None or affinity.required is None:
        return None
    return tuple(affinity.required.node_selector_terms)


def hosts_of(term: NodeSelectorTerm) -> list[str]:
    """Host names to which a term confines; none: to no particular ones."""
    for requirement in term.match_expressions:
        if requirement.key == HOSTNAME and requirement.operator == "In":
            return requirement.values
    return []


def union(several: Iterable[Terms]) -> Terms:
    """Nodes that any of several selections admits."""
    values: defaultdict[str, set[str]] = defaultdict(set)
    result: dict[bytes, NodeSelectorTerm] = {}
    for terms in several:
        if terms is None:
            return None
        for term in terms:
            first = term.match_expressions[0] if term.match_expressions else None
            alone = len(term.match_expressions) == 1 and not term.match_fields
            if first is not None and alone and first.operator == "In":
                # Of many volumes most differ in this value alone.
                values[first.key].update(first.values)
            else:
                result[msgspec.json.encode(term)] = term
    for key, some in values.items():
        any_of = SelectorRequirement(key=key, operator="In", values=sorted(some))
        term = NodeSelectorTerm(match_expressions=[any_of])
        result[msgspec.json.encode(term)] = term
    # In an order that does not depend on that of the objects.
    return tuple(result[key] for key in sorted(result))


def both(one: Terms, other: Terms) -> Terms:
    """Nodes that two selections admit."""
    if one is None or other is None:
        return other if one is None else one
    return tuple(
        NodeSelectorTerm(
            match_expressions=[*a.match_expressions, *b.match_expressions],
            match_fields=[*a.match_fields, *b.match_fields],
        )
        for a in one
        for b in other
        # A term without requirements admits no node.
        if (a.match_expressions or a.match_fields) and (b.match_expressions or b.match_fields)
    )


def storage_of(amounts: dict[str, Quantity]) -> int:
    """Bytes of storage in a list of resources.

    Raises:
        QuantityError: the quantity is ill-formed.
    """
    return parse_bytes(amounts.get("storage", 0))


def size_of(volume: PersistentVolume) -> int:
    """Bytes of a volume that suits some claim."""
    return storage_of(volume.spec.capacity)


def _suits(volume: PersistentVolume, claim: PersistentVolumeClaim, size: int) -> bool:
    """Whether a volume is large enough, of the right sort, and reserved for no other claim."""
    reserved = volume.spec.claim_ref
    try:
        large_enough = storage_of(volume.spec.capacity) >= size
    except QuantityError:
        # The API server admits no such volume; a file may hold one.
        return False
    return (
        large_enough
        and (reserved is None or reserved.uid in ("", claim.metadata.uid))
        and volume.spec.volume_mode == claim.spec.volume_mode
        and (volume.spec.volume_attributes_class_name or "")
        == (claim.spec.volume_attributes_class_name or "")
        and volume.metadata.deletion_timestamp is None
    )


def _matches(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Whether a volume that is reserved for none is free and as the claim wants it."""
    selector = claim.spec.selector
    return (
        volume.status.phase in ("Available", "")
        and (selector is None or selector_matches(selector, volume.metadata.labels))
        and set(claim.spec.access_modes) <= set(volume.spec.access_modes)
    )


def _allowed(storage_class: StorageClass) -> Terms:
    """A class's allowed topologies: none given means all nodes, an empty one means none."""
    if not storage_class.allowed_topologies:
        return None
    return tuple(
        NodeSelectorTerm(
            match_expressions=[
                SelectorRequirement(key=r.key, operator="In", values=r.values)
                for r in term.match_label_expressions
            ]
        )
        for term in storage_class.allowed_topologies
        if term.match_label_expressions
    )


def _as_terms(selector: LabelSelector) -> Terms:
    requirements = [
        SelectorRequirement(key=key, operator="In", values=[value])
        for key, value in sorted(selector.match_labels.items())
    ]
    requirements += selector.match_expressions
    return (NodeSelectorTerm(match_expressions=requirements),) if requirements else None


def _room(capacity: CSIStorageCapacity) -> int:
    """Bytes of the largest volume that can be made; -1: none."""
    room = capacity.maximum_volume_size
    room = capacity.capacity if room is None else room
    try:
        return -1 if room is None else parse_bytes(room)
    except QuantityError:
        # The API server admits no such object; a file may hold one.
        return -1


def _default_class(classes: Iterable[StorageClass]) -> str | None:
    """The class of claims that name none: the newest that is marked so, by admission's rule."""
    marked = [c.metadata for c in classes if c.metadata.annotations.get(_DEFAULT_CLASS) == "true"]
    # Of equally new ones the first by name.
    marked.sort(key=lambda meta: meta.name)
    newest = max(marked, key=lambda meta: meta.creation_timestamp or "", default=None)
    return newest.name if newest is not None else None
