"""Wakes the keeper of one object when something that concerns it has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol

from plimsoll.api import VMNode
from plimsoll.api.vmnode import Phase, VMNodeStatus
from plimsoll.batching import concerns_plan
from plimsoll.resources import HYPERVISORS, NODES, PODS, VMNODES, VMPOOLS, Resource
from plimsoll.world.store import Key
from plimsoll.world.stores import World


class Stopper(Protocol):
    """What says that a keeper is to stop, as kopf gives it."""

    def wait(self, timeout: float | None = None) -> Awaitable[Any]: ...

    def __bool__(self) -> bool: ...


class Bells:
    """One bell for each object that somebody keeps."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._bells: dict[tuple[Resource, str], asyncio.Event] = {}
        world.on_change(self._changed)

    def ring(self, resource: Resource, name: str) -> None:
        """Wakes whoever keeps the object; nobody may."""
        bell = self._bells.get((resource, name))
        if bell is not None:
            bell.set()

    async def rest(
        self, resource: Resource, name: str, seconds: float | None, stopped: Stopper | None = None
    ) -> None:
        """Returns when the bell rings, after so many seconds, or when ``stopped`` is set."""
        bell = self._bells.setdefault((resource, name), asyncio.Event())
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(bell.wait())]
        if stopped is not None:
            waits.append(asyncio.ensure_future(stopped.wait()))
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        bell.clear()

    def forget(self, resource: Resource, name: str) -> None:
        """Drops the bell of an object that is gone."""
        self._bells.pop((resource, name), None)

    def _changed(self, resource: Resource, key: Key, old: Any, new: Any) -> None:
        if resource == NODES:
            if concerns_plan(resource, old, new):  # not for a heartbeat
                self.ring(VMNODES, key.name)
        elif resource == VMNODES:
            self.ring(VMNODES, key.name)
            self.ring(VMPOOLS, (new or old).spec.pool)
            if _seen_in_inventory(old) != _seen_in_inventory(new):
                self.ring(HYPERVISORS, (new or old).spec.hypervisor)
        elif resource == PODS:
            for pod in (old, new):
                if pod is not None and pod.spec.node_name:
                    self._pod_changed(pod.spec.node_name)
        elif resource in (VMPOOLS, HYPERVISORS) and _spec_changed(old, new):
            self.ring(resource, key.name)
            for vmnode in self._world.vmnodes.store.values():
                user = vmnode.spec.pool if resource == VMPOOLS else vmnode.spec.hypervisor
                if user == key.name:
                    self.ring(VMNODES, vmnode.metadata.name)
            if resource == VMPOOLS:
                self.ring(HYPERVISORS, (new or old).spec.hypervisor)

    def _pod_changed(self, node: str) -> None:
        """Pods matter to a VM only while it is drained."""
        vmnode = self._world.vmnodes.store.get("", node)
        if vmnode is not None and vmnode.status and vmnode.status.phase is Phase.DRAINING:
            self.ring(VMNODES, node)


def _seen_in_inventory(vmnode: VMNode | None) -> tuple[object, ...]:
    """What goes with what an inventory shows of a VM; nothing of one that is not there.

    Its phase is of it: what was last sighted of a VM must not be older than its phase.
    """
    if vmnode is None:
        return ()
    status = vmnode.status or VMNodeStatus()
    return (vmnode.metadata.uid, status.phase, status.identity, status.host, status.size)


def _spec_changed(old: Any, new: Any) -> bool:
    if old is None or new is None:
        return True
    before, after = old.metadata, new.metadata
    return bool(
        before.generation != after.generation
        or before.deletion_timestamp != after.deletion_timestamp
    )
