"""The live world: one reflector for each resource that the decision reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import msgspec

from plimsoll import resources
from plimsoll.api import ContainerWorkload, Hypervisor, VMNode, VMPool
from plimsoll.api.validate import validate
from plimsoll.kube import WATCH_INACTIVITY, Json, Kube
from plimsoll.resources import Resource, resource_of
from plimsoll.world import wire
from plimsoll.world.objects import Objects
from plimsoll.world.occupancy import Occupancy
from plimsoll.world.podreader import PodReader
from plimsoll.world.reflector import Decode, HasMeta, Reflector
from plimsoll.world.store import Key

T = TypeVar("T", bound=HasMeta)
Listener = Callable[[Resource, Key, Any, Any], None]
"""Called with (resource, key, old, new); see ``store.Listener``."""

UNFINISHED = "status.phase!=Succeeded,status.phase!=Failed"
"""Finished pods take nothing from a node: the API server keeps them to itself."""


class World:
    """Everything that the decision reads of a cluster, kept up to date by ``run``."""

    def __init__(self, kube: Kube, *, inactivity: float = WATCH_INACTIVITY) -> None:
        def reflect(
            resource: Resource, decode: Decode[T], field_selector: str = ""
        ) -> Reflector[T]:
            return Reflector(
                kube, resource, decode, field_selector=field_selector, inactivity=inactivity
            )

        def controllers(resource: Resource) -> Reflector[wire.Controller]:
            return reflect(resource, _controller(resource.kind))

        self.hypervisors = reflect(resources.HYPERVISORS, _model(Hypervisor))
        self.pools = reflect(resources.VMPOOLS, _model(VMPool))
        self.vmnodes = reflect(resources.VMNODES, _model(VMNode))
        self.workloads = reflect(resources.CONTAINERWORKLOADS, _model(ContainerWorkload))
        self.nodes = reflect(resources.NODES, _struct(wire.Node))
        self.pods = reflect(resources.PODS, PodReader().decode, UNFINISHED)
        self.deployments = controllers(resources.DEPLOYMENTS)
        self.statefulsets = controllers(resources.STATEFULSETS)
        self.replicasets = controllers(resources.REPLICASETS)
        self.daemonsets = controllers(resources.DAEMONSETS)
        self.budgets = reflect(resources.PODDISRUPTIONBUDGETS, _struct(wire.PodDisruptionBudget))
        self.runtime_classes = reflect(resources.RUNTIMECLASSES, _struct(wire.RuntimeClass))
        self.priority_classes = reflect(resources.PRIORITYCLASSES, _struct(wire.PriorityClass))
        self.namespaces = reflect(resources.NAMESPACES, _struct(wire.Namespace))
        self.claims = reflect(resources.PERSISTENTVOLUMECLAIMS, _struct(wire.PersistentVolumeClaim))
        self.volumes = reflect(resources.PERSISTENTVOLUMES, _struct(wire.PersistentVolume))
        self.storage_classes = reflect(resources.STORAGECLASSES, _struct(wire.StorageClass))
        self.csi_nodes = reflect(resources.CSINODES, _struct(wire.CSINode))
        self.csi_drivers = reflect(resources.CSIDRIVERS, _struct(wire.CSIDriver))
        self.storage_capacities = reflect(
            resources.CSISTORAGECAPACITIES, _struct(wire.CSIStorageCapacity)
        )
        self.reflectors: dict[Resource, Reflector[Any]] = {
            value.resource: value for value in vars(self).values() if isinstance(value, Reflector)
        }
        self.occupancy = Occupancy()
        self.pods.on_change(self.occupancy.see)
        self.nodes.on_change(lambda key, old, new: None if new else self.occupancy.forget(key.name))

    async def run(self) -> None:
        """Keeps all stores up to date until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for resource, reflector in self.reflectors.items():
                tasks.create_task(reflector.run(), name=f"reflect {resource}")

    def on_change(self, listener: Listener) -> None:
        """Calls ``listener(resource, key, old, new)`` after every change of any store."""
        for resource, reflector in self.reflectors.items():
            reflector.on_change(partial(listener, resource))

    @property
    def synced(self) -> bool:
        """Whether everything has been read and may still be read. If not, decide nothing."""
        return all(reflector.synced for reflector in self.reflectors.values())

    async def wait_synced(self) -> None:
        """Returns when ``synced``; bound it with ``asyncio.timeout``."""
        while not self.synced:
            for reflector in self.reflectors.values():
                await reflector.wait_synced()

    async def wait_for(self, written: Json, timeout: float = 30.0) -> None:
        """The own-writes barrier: returns when the store has seen what the API server answered.

        Objects of resources that are not kept here pass at once.

        Raises:
            TimeoutError: it was not seen within ``timeout`` seconds.
        """
        reflector = self.reflectors.get(resource_of(written))
        if reflector is not None:
            meta = written["metadata"]
            await reflector.wait_for(
                meta.get("namespace", ""), meta["name"], meta["resourceVersion"], timeout
            )

    def objects(self) -> Objects:
        """All objects as they are now."""
        return Objects(
            hypervisors=self.hypervisors.store.values(),
            pools=self.pools.store.values(),
            vmnodes=self.vmnodes.store.values(),
            workloads=self.workloads.store.values(),
            nodes=self.nodes.store.values(),
            pods=self.pods.store.values(),
            deployments=self.deployments.store.values(),
            statefulsets=self.statefulsets.store.values(),
            replicasets=self.replicasets.store.values(),
            daemonsets=self.daemonsets.store.values(),
            budgets=self.budgets.store.values(),
            runtime_classes=self.runtime_classes.store.values(),
            priority_classes=self.priority_classes.store.values(),
            namespaces=self.namespaces.store.values(),
            claims=self.claims.store.values(),
            volumes=self.volumes.store.values(),
            storage_classes=self.storage_classes.store.values(),
            csi_nodes=self.csi_nodes.store.values(),
            csi_drivers=self.csi_drivers.store.values(),
            storage_capacities=self.storage_capacities.store.values(),
        )

    def unreadable(self) -> dict[Resource, str]:
        """The resources that cannot be read at the moment, and why (missing CRD, no permission)."""
        return {
            resource: reflector.problem or "not read yet"
            for resource, reflector in self.reflectors.items()
            if reflector.problem or not reflector.synced
        }

    def unsynced(self) -> dict[Resource, str]:
        """The resources without which nothing is to be decided, and why they are missing."""
        return {
            resource: reflector.problem or "not read yet"
            for resource, reflector in self.reflectors.items()
            if not reflector.synced
        }

    def vmnode_names(self) -> set[str]:
        """Names of all VMNodes."""
        return {vmnode.metadata.name for vmnode in self.vmnodes.store.values()}

    def stuck(self, limit: float) -> dict[Resource, float]:
        """The resources of which nothing came for more than ``limit`` seconds, and their age."""
        return {
            resource: reflector.age()
            for resource, reflector in self.reflectors.items()
            if reflector.age() > limit
        }

    def object_problems(self) -> dict[str, str]:
        """By ``Kind/key``: objects that cannot be understood, and why."""
        return {
            f"{resource.kind}/{key}": problem
            for resource, reflector in self.reflectors.items()
            for key, problem in reflector.store.problems.items()
        }


def _struct(kind: type[T]) -> Decode[T]:
    return msgspec.json.Decoder(kind).decode


def _controller(kind: str) -> Decode[wire.Controller]:
    """Items of a list carry no kind of their own; it is filled in."""
    decode = msgspec.json.Decoder(wire.Controller).decode
    return lambda raw: msgspec.structs.replace(decode(raw), kind=kind)


def _model(kind: type[T]) -> Decode[T]:
    def decode(raw: msgspec.Raw) -> T:
        parsed = validate(msgspec.json.decode(raw))
        if not isinstance(parsed, kind):
            raise ValueError(f"the server sent a {parsed.kind}")
        return parsed

    return decode
