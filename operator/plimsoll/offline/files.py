"""The offline loader: files -> the objects, observations and notes that a plan starts from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, TypeVar, cast

import msgspec

from plimsoll.api import ContainerWorkload, Hypervisor, VMNode, VMPool
from plimsoll.api.validate import InvalidObject, validate
from plimsoll.offline import documents, expand, measurements
from plimsoll.offline.budgets import with_status
from plimsoll.offline.checks import Checker, Own
from plimsoll.offline.decoding import DecodingError, decode
from plimsoll.offline.documents import Document, Pods, path_of
from plimsoll.offline.kinds import WANTED, group_of, is_own, unknown
from plimsoll.offline.problems import BadInput, Problem
from plimsoll.world import wire
from plimsoll.world.objects import Objects, Observations
from plimsoll.world.podreader import PodReader

T = TypeVar("T")

_MOST_NAMED: Final = 5
_MAY_BE_ABSENT: Final = (wire.PersistentVolumeClaim, wire.PersistentVolume, wire.StorageClass)
"""Kinds that dumps often leave out, though their pods refer to them."""

Key = tuple[str, str]
"""Namespace (empty for cluster-wide objects) and name."""


@dataclass(frozen=True)
class Loaded:
    """What files hold."""

    objects: Objects
    observations: Observations
    notes: tuple[str, ...]
    """What a reader of the plan must know about the files."""
    moment: float | None
    """When the newest measurement in the files was taken; None: they hold none."""


def load(paths: Iterable[str]) -> Loaded:
    """Reads files, directories (recursively) and ``-``, standard input.

    Controllers are expanded into the pods that they lack, so that a plan can be made
    of manifests alone, of a dump of a cluster, and of any mix of the two.

    Raises:
        BadInput: with everything that is wrong in all the files.
    """
    found = _Found()
    for document in documents.read(paths, found.problems):
        if isinstance(document, Pods):
            found.add_pods(document)
        else:
            found.add(document)
    if not found.problems:
        found.expand()
    if found.problems:
        raise BadInput(found.problems)
    return found.loaded()


class _Origin(NamedTuple):
    """Where an object was found."""

    source: str
    number: int
    position: int | None


@dataclass
class _Found:
    """What was found so far, by kind and key."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _objects: defaultdict[str, dict[Key, wire.Object | Own]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    _origins: defaultdict[str, dict[Key, _Origin]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    _skipped: Counter[str] = field(default_factory=Counter)
    _checker: Checker = field(default_factory=Checker)
    _pods: PodReader = field(default_factory=PodReader)

    def add_pods(self, pods: Pods) -> None:
        """Takes in consecutive pods of a list, or notes what is wrong with them."""
        try:
            values = [self._pods.pod(head) for head in pods.heads]
        except msgspec.ValidationError:
            for document in pods.documents():
                self.add(document)
            return
        for position, value in enumerate(values, pods.first):
            origin = _Origin(pods.source, pods.number, position)
            if self._good(origin, "Pod", value):
                self._keep("Pod", value, origin)

    def add(self, document: Document) -> None:
        """Takes in one object, or notes what is wrong with it."""
        group, kind = group_of(document.api_version, document.kind), document.kind
        wanted = WANTED.get((group, kind))
        if wanted is None and not is_own(group, kind):
            remedy = unknown(group, kind)
            if remedy is None:
                self._skipped[kind] += 1
            else:
                message = f"kind {kind} is not known in {document.api_version}"
                self._wrong(_origin(document), kind, "", ".kind", message, remedy)
            return
        value = self._own(document) if wanted is None else self._wire(document, wanted.struct)
        if value is None:
            return
        namespaced = wanted.namespaced if wanted is not None else kind == "ContainerWorkload"
        self._keep(kind, value, _origin(document), namespaced)

    def _wire(self, document: Document, struct: type[wire.Object]) -> wire.Object | None:
        try:
            value = self._decoded(document, struct)
        except DecodingError as error:
            self._wrong(_origin(document), document.kind, _name_of(document), *error.misfit)
            return None
        if isinstance(value, wire.Controller):
            value = msgspec.structs.replace(value, kind=document.kind)
        return value if self._good(_origin(document), document.kind, value) else None

    def _decoded(self, document: Document, struct: type[wire.Object]) -> wire.Object:
        if struct is wire.Pod:
            try:
                return self._pods.decode(document.json)
            except msgspec.ValidationError:
                pass
        return decode(document.json, struct)

    def _own(self, document: Document) -> Own | None:
        try:
            value = validate(msgspec.json.decode(document.json))
        except InvalidObject as error:
            for problem in error.problems:
                self._wrong(_origin(document), document.kind, _name_of(document), *problem)
            return None
        return value if self._good(_origin(document), document.kind, value) else None

    def _good(self, origin: _Origin, kind: str, value: wire.Object | Own) -> bool:
        findings = self._checker.check(value)
        for finding in findings:
            self._wrong(origin, kind, value.metadata.name, *finding)
        return not findings

    def _keep(
        self, kind: str, value: wire.Object | Own, origin: _Origin, namespaced: bool = True
    ) -> None:
        namespace = (value.metadata.namespace or "default") if namespaced else ""
        if isinstance(value, wire.Object) and value.metadata.namespace != namespace:
            meta = msgspec.structs.replace(value.metadata, namespace=namespace)
            value = msgspec.structs.replace(value, metadata=meta)
        key = namespace, value.metadata.name
        known = self._objects[kind].setdefault(key, value)
        first = self._origins[kind].setdefault(key, origin)
        if known is value or _same(known, value):
            return
        name = "/".join(filter(None, key))
        message = (
            f"is given twice, and differs from the one in {first.source}, "
            f"document {first.number}{path_of(first.position).removeprefix('$')}"
        )
        self._wrong(origin, kind, name, "", message, "keep one of the two")

    def _wrong(
        self, origin: _Origin, kind: str, name: str, path: str, message: str, remedy: str
    ) -> None:
        root = path_of(origin.position)
        where = root + path if path or root != "$" else ""
        subject = f"{kind} {name}" if name else ""
        self.problems.append(Problem(origin.source, message, origin.number, where, subject, remedy))

    def expand(self) -> None:
        """Adds what controllers would make of what was found."""
        for workload in self._of(ContainerWorkload):
            key = workload.metadata.namespace or "default", workload.metadata.name
            if workload.spec.template is None or key in self._objects["Deployment"]:
                continue
            try:
                self._objects["Deployment"][key] = expand.deployment_of(workload)
            except expand.TemplateError as error:
                origin = self._origins["ContainerWorkload"][key]
                self._wrong(origin, "ContainerWorkload", key[1], *error.misfit)
        if self.problems:
            return
        jobs = self._controllers("Job")
        for pod in expand.missing_pods(self._cluster(), jobs):
            self._objects["Pod"][pod.metadata.namespace, pod.metadata.name] = pod

    def loaded(self) -> Loaded:
        """All that was found."""
        cluster = self._cluster()
        objects = replace(
            cluster,
            budgets=with_status(self._of(wire.PodDisruptionBudget), cluster),
            claims_to_come=tuple(expand.missing_claims(cluster)),
        )
        observations, moment = measurements.observe(
            objects, self._of(wire.PodMetrics), self._of(wire.NodeMetrics)
        )
        return Loaded(objects, observations, tuple(self._notes()), moment)

    def _of(self, kind: type[T]) -> tuple[T, ...]:
        return tuple(cast("dict[Key, T]", self._objects[kind.__name__]).values())

    def _controllers(self, kind: str) -> tuple[wire.Controller, ...]:
        return tuple(cast("dict[Key, wire.Controller]", self._objects[kind]).values())

    def _cluster(self) -> Objects:
        return Objects(
            hypervisors=self._of(Hypervisor),
            hypervisors_known=bool(self._of(Hypervisor)),
            pools=self._of(VMPool),
            vmnodes=self._of(VMNode),
            workloads=self._of(ContainerWorkload),
            nodes=self._of(wire.Node),
            pods=self._of(wire.Pod),
            deployments=self._controllers("Deployment"),
            statefulsets=self._controllers("StatefulSet"),
            replicasets=self._controllers("ReplicaSet"),
            daemonsets=self._controllers("DaemonSet"),
            runtime_classes=self._of(wire.RuntimeClass),
            priority_classes=self._of(wire.PriorityClass),
            namespaces=self._of(wire.Namespace),
            claims=self._of(wire.PersistentVolumeClaim),
            volumes=self._of(wire.PersistentVolume),
            storage_classes=self._of(wire.StorageClass),
            csi_nodes=self._of(wire.CSINode),
            csi_drivers=self._of(wire.CSIDriver),
            storage_capacities=self._of(wire.CSIStorageCapacity),
            absent=frozenset(k.__name__ for k in _MAY_BE_ABSENT if not self._of(k)),
        )

    def _notes(self) -> Iterator[str]:
        pools, hypervisors = self._of(VMPool), self._of(Hypervisor)
        if pools and not hypervisors:
            names = ", ".join(sorted({pool.spec.hypervisor for pool in pools}))
            yield f"No Hypervisor is among the files; the pools name {names}"
        nodes = {node.metadata.name for node in self._of(wire.Node)}
        elsewhere = Counter(
            pod.spec.node_name
            for pod in self._of(wire.Pod)
            if pod.spec.node_name and pod.spec.node_name not in nodes
        )
        if elsewhere:
            yield (
                f"Pods that are bound to nodes outside the files ({elsewhere.total()}, on "
                f"{', '.join(sorted(elsewhere)[:_MOST_NAMED])}) count as replicas, not as load"
            )
        if self._skipped["CronJob"]:
            yield "CronJobs are ignored: pods of runs to come are not planned for"
        others = [f"{kind} ({n})" for kind, n in sorted(self._skipped.items()) if kind != "CronJob"]
        if others:
            yield f"Kinds that no decision rests on were skipped: {', '.join(others)}"


def _origin(document: Document) -> _Origin:
    return _Origin(document.source, document.number, document.position)


def _same(one: wire.Object | Own, other: wire.Object | Own) -> bool:
    """Whether two objects of one name are equal, but for when they were fetched."""
    if isinstance(one, wire.Object) and isinstance(other, wire.Object):
        version = one.metadata.resource_version
        meta = msgspec.structs.replace(other.metadata, resource_version=version)
        return one == msgspec.structs.replace(other, metadata=meta)
    return one == other


def _name_of(document: Document) -> str:
    """The object's name, of a document that does not fit its kind."""
    value = msgspec.json.decode(document.json)
    meta = value.get("metadata") if isinstance(value, dict) else None
    name = meta.get("name") if isinstance(meta, dict) else None
    return name if isinstance(name, str) else ""
