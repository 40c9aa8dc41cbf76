"""The offline loader: files -> the objects, observations and notes that a plan starts from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import msgspec

from plimsoll.api import ContainerWorkload, Hypervisor, VMNode, VMPool
from plimsoll.api.validate import InvalidObject, validate
from plimsoll.offline import documents, expand, measurements
from plimsoll.offline.budgets import with_status
from plimsoll.offline.checks import Checker, Own
from plimsoll.offline.decoding import DecodingError, decode
from plimsoll.offline.documents import Document
from plimsoll.offline.kinds import WANTED, group_of, is_own, unknown
from plimsoll.offline.problems import BadInput, Problem
from plimsoll.world import wire
from plimsoll.world.objects import Objects, Observations

T = TypeVar("T")

_MOST_NAMED: Final = 5

Key = tuple[str, str, str]
"""Kind, namespace (empty for cluster-wide objects) and name."""


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
        found.add(document)
    if not found.problems:
        found.expand()
    if found.problems:
        raise BadInput(found.problems)
    return found.loaded()


@dataclass
class _Found:
    """What was found so far, by key."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _objects: dict[Key, wire.Object | Own] = field(default_factory=dict)
    _origins: dict[Key, Document] = field(default_factory=dict)
    _skipped: Counter[str] = field(default_factory=Counter)
    _checker: Checker = field(default_factory=Checker)

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
                self._wrong(document, "", ".kind", message, remedy)
            return
        value = self._own(document) if wanted is None else self._wire(document, wanted.struct)
        if value is None:
            return
        namespaced = wanted.namespaced if wanted is not None else kind == "ContainerWorkload"
        namespace = (value.metadata.namespace or "default") if namespaced else ""
        if isinstance(value, wire.Object):
            meta = msgspec.structs.replace(value.metadata, namespace=namespace)
            value = msgspec.structs.replace(value, metadata=meta)
        self._keep((kind, namespace, value.metadata.name), value, document)

    def _wire(self, document: Document, struct: type[wire.Object]) -> wire.Object | None:
        try:
            value = decode(document.json, struct)
        except DecodingError as error:
            self._wrong(document, _name_of(document), *error.misfit)
            return None
        if isinstance(value, wire.Controller):
            value = msgspec.structs.replace(value, kind=document.kind)
        return value if self._good(document, value) else None

    def _own(self, document: Document) -> Own | None:
        try:
            value = validate(msgspec.json.decode(document.json))
        except InvalidObject as error:
            for problem in error.problems:
                self._wrong(document, _name_of(document), *problem)
            return None
        return value if self._good(document, value) else None

    def _good(self, document: Document, value: wire.Object | Own) -> bool:
        findings = list(self._checker.check(value))
        for finding in findings:
            self._wrong(document, value.metadata.name, *finding)
        return not findings

    def _keep(self, key: Key, value: wire.Object | Own, document: Document) -> None:
        known = self._objects.setdefault(key, value)
        first = self._origins.setdefault(key, document)
        if known is value or _same(known, value):
            return
        name = "/".join(filter(None, key[1:]))
        message = (
            f"is given twice, and differs from the one in {first.source}, "
            f"document {first.number}{first.path.removeprefix('$')}"
        )
        self._wrong(document, name, "", message, "keep one of the two")

    def _wrong(self, document: Document, name: str, path: str, message: str, remedy: str) -> None:
        where = document.path + path if path or document.path != "$" else ""
        subject = f"{document.kind} {name}" if name else ""
        self.problems.append(
            Problem(document.source, message, document.number, where, subject, remedy)
        )

    def expand(self) -> None:
        """Adds what controllers would make of what was found."""
        for workload in self._of(ContainerWorkload):
            namespace, name = workload.metadata.namespace or "default", workload.metadata.name
            key = ("Deployment", namespace, name)
            if workload.spec.template is None or key in self._objects:
                continue
            try:
                self._objects[key] = expand.deployment_of(workload)
            except expand.TemplateError as error:
                document = self._origins["ContainerWorkload", namespace, name]
                self._wrong(document, name, *error.misfit)
        if self.problems:
            return
        jobs = [c for c in self._of(wire.Controller) if c.kind == "Job"]
        for pod in expand.missing_pods(self._cluster(), jobs):
            self._objects["Pod", pod.metadata.namespace, pod.metadata.name] = pod

    def loaded(self) -> Loaded:
        """All that was found."""
        cluster = self._cluster()
        objects = replace(cluster, budgets=with_status(self._of(wire.PodDisruptionBudget), cluster))
        observations, moment = measurements.observe(
            objects, self._of(wire.PodMetrics), self._of(wire.NodeMetrics)
        )
        return Loaded(objects, observations, tuple(self._notes()), moment)

    def _of(self, kind: type[T]) -> tuple[T, ...]:
        return tuple(value for value in self._objects.values() if isinstance(value, kind))

    def _cluster(self) -> Objects:
        controllers: defaultdict[str, list[wire.Controller]] = defaultdict(list)
        for controller in self._of(wire.Controller):
            controllers[controller.kind].append(controller)
        return Objects(
            hypervisors=self._of(Hypervisor),
            hypervisors_known=bool(self._of(Hypervisor)),
            pools=self._of(VMPool),
            vmnodes=self._of(VMNode),
            workloads=self._of(ContainerWorkload),
            nodes=self._of(wire.Node),
            pods=self._of(wire.Pod),
            deployments=tuple(controllers["Deployment"]),
            statefulsets=tuple(controllers["StatefulSet"]),
            replicasets=tuple(controllers["ReplicaSet"]),
            daemonsets=tuple(controllers["DaemonSet"]),
            runtime_classes=self._of(wire.RuntimeClass),
            priority_classes=self._of(wire.PriorityClass),
            namespaces=self._of(wire.Namespace),
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
