"""The operator is killed after its writes, and everything ends as if it never was.

The kill comes when a write has landed and before the operator learns so. Killed
after every single write, it lives from one write to the next: what it does not
read from the cluster, it does not know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from aio import run
from killing_proxy import KillingProxy, proxy_for
from plimsoll.kube import Json
from plimsoll.resources import CONTAINERWORKLOADS, NODES
from plimsoll_testenv import ControlPlane
from stage import WORK, Stage, hypervisor, pool, stage_on, workload

SECONDS = 240.0
CHAPTER_SECONDS = 120.0

Numbers = Callable[[int], bool]


class End(NamedTuple):
    """How a chapter of the story ended."""

    replicas: int
    vms: int
    """VMNodes, nodes and VMs at the hypervisor alike."""
    cpu: set[str]
    """CPU requests of the replicas."""


class Killer:
    """Kills the operator after those writes that ``when`` names by their number, from 1."""

    def __init__(self, proxy: KillingProxy, when: Numbers) -> None:
        self._when = when
        self._lock = asyncio.Lock()
        self.kills = 0
        self.stage: Stage | None = None
        """Set while it is at work."""
        proxy.on_write = self._on_write

    async def _on_write(self, number: int) -> None:
        if not self._when(number):
            return
        async with self._lock:
            stage = self.stage
            if stage is not None:
                self.kills += 1
                await stage.operator.kill()
                await stage.operator.start()

    async def rest(self) -> None:
        """Kills no more."""
        async with self._lock:
            self.stage = None


class Told(NamedTuple):
    """A story as it went."""

    ends: list[End]
    writes: list[str]
    kills: int


async def tell(control_plane: ControlPlane, when: Numbers) -> Told:
    """Scale out, scale in, scale up."""
    proxy = proxy_for(control_plane.kubeconfig)
    killer = Killer(proxy, when)
    async with proxy.serve(), stage_on(control_plane, proxy.url) as stage:
        stage.patience = CHAPTER_SECONDS
        killer.stage = stage
        httpd = workload(replicas=9, disruptionBudget={"maxUnavailable": 5})
        await stage.apply(hypervisor(), pool(), httpd)
        ends = [await settled(stage, replicas=9, vms=2, cpu="500m")]
        await change(stage, {"replicas": 2})
        ends.append(await settled(stage, replicas=2, vms=1, cpu="500m"))
        await change(stage, {"scaleUp": {"cpu": {"min": "600m"}}})
        ends.append(await settled(stage, replicas=2, vms=1, cpu="600m"))
        await killer.rest()
        return Told(ends, list(proxy.writes), killer.kills)


async def change(stage: Stage, spec: Json) -> None:
    await stage.kube.merge_patch(CONTAINERWORKLOADS, "httpd", {"spec": spec}, WORK)


async def settled(stage: Stage, replicas: int, vms: int, cpu: str) -> End:
    """Waits for the end of a chapter: every VM is one VMNode's and one node, and none is over."""

    async def at_the_end() -> End | None:
        vmnodes = await stage.vms("web")
        running = await stage.running("httpd")
        nodes = await stage.kube.list_all(NODES)
        records = await stage.records()
        end = End(
            replicas=len(running),
            vms=len(vmnodes),
            cpu={pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] for pod in running},
        )
        ready = [vm for vm in vmnodes if vm.get("status", {}).get("phase") == "Ready"]
        owners = [f"vm-{vm['metadata']['uid']}" for vm in vmnodes]
        matched = names(nodes) == names(vmnodes) and names(records) == sorted(owners)
        good = matched and len(ready) == len(vmnodes) and end == End(replicas, vms, {cpu})
        return end if good else None

    end: End = await stage.until(at_the_end, f"{replicas} replicas of {cpu} on {vms} VMs")
    return end


def names(objects: list[Json]) -> list[str]:
    return sorted(obj["metadata"]["name"] for obj in objects)


@pytest.fixture(scope="module")
def control_plane() -> Iterator[ControlPlane]:
    """One of its own: the operator acts on all that is in a cluster, also on other tests' VMs."""
    with ControlPlane.start(node_monitor_grace_period=8.0) as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(control_plane: ControlPlane) -> Told:
    told = run(tell(control_plane, lambda number: False), SECONDS)
    assert told.kills == 0
    return told


@pytest.mark.parametrize("every", [1, 2])
def test_killed_again_and_again(control_plane: ControlPlane, undisturbed: Told, every: int) -> None:
    told = run(tell(control_plane, lambda number: number % every == 0), SECONDS)
    assert told.ends == undisturbed.ends
    # Two writes may land at once, and the one kill then stands for both.
    assert told.kills > len(told.writes) // every // 2
    assert len(told.writes) < 3 * len(undisturbed.writes), "the same is written again and again"


@pytest.mark.parametrize("number", [3, 8, 15, 24, 35])
def test_killed_once(control_plane: ControlPlane, undisturbed: Told, number: int) -> None:
    told = run(tell(control_plane, lambda write: write == number), SECONDS)
    assert told.kills == 1
    assert told.ends == undisturbed.ends
