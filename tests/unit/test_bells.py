"""Whom a change wakes: those whom it concerns, and nobody else."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import MagicMock

import msgspec

from plimsoll.bells import Bells
from plimsoll.resources import HYPERVISORS, NODES, VMNODES, Resource
from plimsoll.world.stores import World

VM = {
    "apiVersion": "plimsoll.dev/v1alpha1",
    "kind": "VMNode",
    "spec": {"pool": "web", "hypervisor": "rack", "size": {"cpu": 2, "memory": "4Gi"}},
}


class Site:
    """A world without a cluster, and its bells."""

    def __init__(self) -> None:
        self.world = World(MagicMock())
        self.bells = Bells(self.world)
        self._version = 0

    def put(self, resource: Resource, document: dict[str, Any]) -> None:
        self._version += 1
        meta = {"name": "vm-1", "uid": "u", "resourceVersion": str(self._version)}
        raw = msgspec.json.encode({**document, "metadata": meta})
        item = self.world.reflectors[resource].read(msgspec.Raw(raw))
        assert item is not None
        self.world.reflectors[resource].store.put(item)

    async def wakes(self, keeper: Resource, name: str, resource: Resource, change: Any) -> bool:
        """Whether a keeper that rests is woken by a change."""
        resting = asyncio.create_task(self.bells.rest(keeper, name, None))
        await _settled()
        self.put(resource, change)
        await _settled()
        woken = resting.done()
        resting.cancel()
        await asyncio.gather(resting, return_exceptions=True)
        return woken


async def _settled() -> None:
    """All tasks have come to where they wait for something."""
    for _ in range(5):
        await asyncio.sleep(0)


def node(status: str, heartbeat: str) -> dict[str, Any]:
    ready = {"type": "Ready", "status": status, "lastHeartbeatTime": heartbeat}
    return {"apiVersion": "v1", "kind": "Node", "status": {"conditions": [ready]}}


def test_the_keeper_of_a_vm_sleeps_through_heartbeats_of_its_node() -> None:
    async def run() -> None:
        site = Site()
        site.put(NODES, node("True", "2026-01-01T00:00:00Z"))
        beat, lost = (node(status, "2026-01-01T00:05:00Z") for status in ("True", "Unknown"))
        assert not await site.wakes(VMNODES, "vm-1", NODES, beat)
        assert await site.wakes(VMNODES, "vm-1", NODES, lost)

    asyncio.run(run())


def test_an_inventory_is_taken_for_what_it_shows_of_a_vm_only() -> None:
    async def run() -> None:
        site = Site()
        site.put(VMNODES, VM)
        asked = {**VM, "status": {"phase": "Creating", "message": "creating the VM"}}
        there = {**VM, "status": {"phase": "Booting", "identity": {"uuid": "u-1"}}}
        assert await site.wakes(VMNODES, "vm-1", VMNODES, asked)
        boots = {**VM, "status": {"phase": "Creating", "message": "it boots"}}
        assert not await site.wakes(HYPERVISORS, "rack", VMNODES, boots)
        assert await site.wakes(HYPERVISORS, "rack", VMNODES, there)

    asyncio.run(run())
