"""The life of VMNodes on a real API server, with a simulated data centre.

The test stands in for kopf: it calls ``step``, and removes the finalizer when told that
nothing is left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from aio import background, run
from cluster.simulated_site import Site, site_on
from plimsoll.act.inventory import Inventory
from plimsoll.act.lifecycle import DONE, Lifecycle
from plimsoll.act.providers import Providers
from plimsoll.api import labels as names
from plimsoll.api.timestamp import parse_rfc3339
from plimsoll.bootstrap.service import Bootstrapper
from plimsoll.events import Recorder
from plimsoll.kube import Json, Kube, NotFound
from plimsoll.resources import (
    CONFIGMAPS,
    EVENTS,
    HYPERVISORS,
    NODES,
    PODDISRUPTIONBUDGETS,
    VMNODES,
    VMPOOLS,
)
from plimsoll.world.stores import World
from plimsoll_testenv import ControlPlane

CLUSTER = "this"
SECONDS = 60.0


class Life:
    """One VMNode, kept as the operator would keep it."""

    def __init__(self, site: Site, kube: Kube, world: World) -> None:
        self.site, self.kube, self.world = site, kube, world
        self.name = f"{site.name}-1"
        self.recorder = Recorder(kube)
        self.providers = Providers(kube, CLUSTER, site.name)
        self.wake = asyncio.Event()
        self.lifecycle = Lifecycle(
            kube,
            world,
            self.providers,
            self.recorder,
            Bootstrapper(kube, CLUSTER, site.name),
            started_at=time.time(),
        )
        self.inventory = Inventory(
            kube,
            world,
            self.providers,
            self.recorder,
            wake=lambda name: self.wake.set(),
            orphan_grace=1.0,
        )
        world.on_change(lambda *_: self.wake.set())

    async def keep(self) -> None:
        while True:
            self.wake.clear()
            answer = await self.lifecycle.step(self.name)
            if answer is DONE:
                await self._let_go()
                await self.wake.wait()
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(answer if isinstance(answer, float) else None):
                    await self.wake.wait()

    async def take_inventory(self) -> None:
        while True:  # noqa: ASYNC110 (as the operator: at regular times)
            await asyncio.sleep(await self.inventory.look(self.site.name) or 1.0)

    async def _let_go(self) -> None:
        found = await self.find(VMNODES)
        if found is not None and "deletionTimestamp" in found["metadata"]:
            meta = {"uid": found["metadata"]["uid"], "finalizers": None}
            with suppress(NotFound):
                await self.kube.merge_patch(VMNODES, self.name, {"metadata": meta})

    # What people and the planner do

    async def set_up(self, **disruption: str) -> None:
        pool = {
            "apiVersion": "plimsoll.dev/v1alpha1",
            "kind": "VMPool",
            "metadata": {"name": self.site.name},
            "spec": {
                "hypervisor": self.site.name,
                "nodes": {"max": 5},
                "size": {
                    "cpu": {"min": 1, "max": 8},
                    "memory": {"min": "1Gi", "max": "16Gi"},
                },
                "disruption": disruption,
                "template": {"labels": {"tier": "web"}},
            },
        }
        await self.kube.create(pool)

    async def wish(self, **spec: Any) -> Json:
        meta = {"name": self.name, "finalizers": [names.VM_FINALIZER]}
        wanted = {
            "pool": self.site.name,
            "hypervisor": self.site.name,
            "size": {"cpu": 2, "memory": "4Gi"},
            "template": {"labels": {"tier": "web"}},
            **spec,
        }
        return await self.kube.create(
            {
                "apiVersion": "plimsoll.dev/v1alpha1",
                "kind": "VMNode",
                "metadata": meta,
                "spec": wanted,
            }
        )

    async def change(self, **spec: Any) -> None:
        await self.kube.merge_patch(VMNODES, self.name, {"spec": spec})

    async def retire(self) -> None:
        await self.change(retire={"reason": "empty", "since": "2026-01-01T00:00:00Z"})

    async def pod(self) -> None:
        """A pod on the node that a ReplicaSet makes anew wherever there is room."""
        labels = {"app": "web"}
        container = {"name": "main", "image": "none"}
        pod_spec = {"nodeSelector": {names.POOL: self.site.name}, "containers": [container]}
        await self.kube.raw(
            "POST",
            f"/apis/apps/v1/namespaces/{self.site.name}/replicasets",
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {"name": "web"},
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": pod_spec},
                },
            },
        )
        await self.until(self.runs_pod)

    async def budget(self, max_unavailable: int) -> None:
        await self.kube.apply(
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {"name": "web", "namespace": self.site.name},
                "spec": {
                    "maxUnavailable": max_unavailable,
                    "selector": {"matchLabels": {"app": "web"}},
                },
            },
            "tests",
        )

        async def seen() -> bool:
            found = await self.kube.get(PODDISRUPTIONBUDGETS, "web", self.site.name)
            status = found.get("status", {})
            # Not what is allowed: a drain that waits for it may have used it up by now.
            return status.get("observedGeneration") == found["metadata"]["generation"]

        await self.until(seen)

    # What is seen

    async def until(self, good: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                while not await good():  # noqa: ASYNC110 (it may depend on anything)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            vmnode = await self.find(VMNODES)
            raise AssertionError(f"not in time; the VMNode is {vmnode}") from None

    async def find(self, resource: Any) -> Json | None:
        try:
            return await self.kube.get(resource, self.name)
        except NotFound:
            return None

    async def status(self) -> Json:
        found = await self.find(VMNODES)
        status: Json = (found or {}).get("status", {})
        return status

    async def in_phase(self, phase: str) -> bool:
        return (await self.status()).get("phase") == phase

    async def ready(self) -> bool:
        return await self.in_phase("Ready")

    async def gone(self) -> bool:
        return await self.find(VMNODES) is None

    async def runs_pod(self) -> bool:
        pods = await self.site.pods_on(self.kube, self.name)
        return any(
            c.type == "Ready" and c.status == "True" for p in pods for c in p.status.conditions
        )

    async def vms(self) -> list[Json]:
        found = await self.kube.list_all(CONFIGMAPS, self.site.name)
        return [c for c in found if c["metadata"]["name"].startswith("vm-")]

    async def until_told(self, *reasons: str) -> None:
        """Returns when Events with these reasons have been posted."""

        async def told() -> bool:
            events = await self.kube.list_all(EVENTS, "default")
            ours = [e for e in events if e["involvedObject"]["name"] in (self.name, self.site.name)]
            return set(reasons) <= {e["reason"] for e in ours}

        await self.until(told)


def condition(status: Json, type_: str) -> tuple[str, str]:
    found = next((c for c in status.get("conditions", []) if c["type"] == type_), None)
    return (found["status"], found["reason"]) if found else ("", "")


@pytest.fixture
def site(control_plane: ControlPlane) -> Iterator[Site]:
    with site_on(control_plane) as site:
        yield site


@asynccontextmanager
async def life_at(site: Site, **hypervisor: Any) -> AsyncIterator[Life]:
    async with site.kube() as kube, site.simulator():
        spec = {"inventoryInterval": "1s", **hypervisor}
        await kube.merge_patch(HYPERVISORS, site.name, {"spec": spec})
        world = World(kube)
        async with background(world.run()):
            async with asyncio.timeout(SECONDS):
                await world.wait_synced()
            life = Life(site, kube, world)
            async with (
                background(life.recorder.run()),
                background(life.take_inventory()),
                background(life.keep()),
            ):
                yield life


def test_launch_grow_and_delete(site: Site) -> None:
    async def story() -> None:
        async with life_at(site) as life:
            made = await life.wish(zone="nowhere")
            await life.until(life.ready)
            status = await life.status()
            node = await life.find(NODES)
            assert node is not None
            assert node["status"]["nodeInfo"]["systemUUID"] == status["identity"]["uuid"]
            assert status["nodeUID"] == node["metadata"]["uid"]
            labels = node["metadata"]["labels"]
            assert labels[names.POOL] == labels[names.HYPERVISOR] == site.name
            assert labels[names.HOST] == status["host"]
            assert labels[names.ZONE] in ("z1", "z2")
            assert labels["tier"] == "web"
            assert node["status"]["allocatable"][names.BERTHS] == "20"
            assert condition(status, "Ready") == ("True", "NodeReady")
            assert (await life.vms())[0]["metadata"]["name"] == f"vm-{made['metadata']['uid']}"

            await life.change(size={"cpu": 4}, berths=40)

            async def grown() -> bool:
                node = await life.find(NODES) or {}
                capacity = node["status"]["capacity"]
                return (capacity["cpu"], capacity[names.BERTHS]) == ("4", "40")

            await life.until(grown)
            await life.until(life.ready)
            assert (await life.status())["size"]["cpu"] == 4

            await life.kube.delete(VMNODES, life.name)
            await life.until(life.gone)
            assert await life.vms() == []
            assert await life.find(NODES) is None
            await life.until_told("VMCreated", "VMReady", "VMResized", "VMDeleted")

    run(story(), 120)


def test_labels_and_taints_of_the_pool_are_changed_in_place(site: Site) -> None:
    async def story() -> None:
        async with life_at(site) as life:
            await life.set_up()
            await life.wish()
            await life.until(life.ready)
            before = await life.find(NODES)
            assert before is not None
            await life.kube.merge_patch(
                NODES, life.name, {"metadata": {"labels": {"somebody": "else"}}}
            )
            taint = {"key": "only", "value": "web", "effect": "NoSchedule"}
            template = {"labels": {"tier": None, "role": "front"}, "taints": [taint]}
            await life.kube.merge_patch(VMPOOLS, site.name, {"spec": {"template": template}})
            life.wake.set()

            async def followed() -> bool:
                life.wake.set()
                found = await life.find(NODES) or {}
                return taint in found["spec"].get("taints", [])

            await life.until(followed)
            after = await life.find(NODES)
            assert after is not None
            labels = after["metadata"]["labels"]
            assert after["metadata"]["uid"] == before["metadata"]["uid"]
            assert labels["role"] == "front"
            assert labels["somebody"] == "else"
            assert "tier" not in labels
            record = await life.find(VMNODES)
            assert record is not None
            assert record["spec"]["template"]["labels"] == {"role": "front"}

    run(story())


def test_a_size_that_no_host_has_is_taken_back(site: Site) -> None:
    async def story() -> None:
        async with life_at(site) as life:
            await life.wish(size={"cpu": 2, "memory": "4Gi"})
            await life.until(life.ready)
            await life.change(size={"cpu": 12})

            async def refused() -> bool:
                return condition(await life.status(), "Resized") == ("False", "NoCapacity")

            await life.until(refused)
            found = await life.find(VMNODES)
            assert found is not None
            assert found["spec"]["size"]["cpu"] == 2
            assert condition(found["status"], "Ready")[0] == "True"

    run(story(), 120)


def test_a_vm_that_no_host_has_room_for_says_so(site: Site) -> None:
    async def story() -> None:
        async with life_at(site) as life:
            await life.wish(size={"cpu": 20, "memory": "4Gi"})

            async def stalled() -> bool:
                return condition(await life.status(), "Stalled") == ("True", "NoCapacity")

            await life.until(stalled)
            assert (await life.status())["failures"] == 1
            await life.kube.delete(VMNODES, life.name)
            await life.until(life.gone)

    run(story(), 120)


def test_a_drain_waits_for_the_budget_and_then_ends_everything(site: Site) -> None:
    async def story() -> None:
        async with life_at(site) as life:
            await life.set_up()
            await life.wish()
            await life.until(life.ready)
            await life.pod()
            await life.budget(0)
            await life.retire()

            async def refused() -> bool:
                return "disruption" in (await life.status()).get("message", "")

            await life.until(refused)
            assert await life.runs_pod()
            node = await life.find(NODES)
            assert node is not None
            assert node["spec"]["unschedulable"] is True

            await life.budget(1)
            await life.until(life.gone)
            assert await life.vms() == []
            assert await life.find(NODES) is None
            await life.until_told("DrainStarted", "DrainBlocked")

    run(story(), 120)


def test_a_drain_that_takes_too_long_is_given_up(site: Site) -> None:
    async def story() -> None:
        async with life_at(site) as life:
            await life.set_up(drainTimeout="2s")
            await life.wish()
            await life.until(life.ready)
            await life.pod()
            await life.budget(0)
            await life.retire()

            async def given_up() -> bool:
                status = await life.status()
                gave_up = condition(status, "Drained") == ("False", "DrainTimedOut")
                return gave_up and status["phase"] == "Ready"

            await life.until(given_up)
            found, node = await life.find(VMNODES), await life.find(NODES)
            assert found is not None
            assert node is not None
            assert "retire" not in found["spec"]
            assert "unschedulable" not in node["spec"]
            assert names.CORDONED not in node["metadata"].get("annotations", {})
            assert await life.runs_pod()
            await life.until_told("DrainTimedOut")

            await life.kube.delete(VMNODES, life.name)  # nobody can take this back
            await life.until(life.gone)
            await life.until_told("DrainForced")

    run(story(), 120)


def test_a_foreign_node_of_our_name_is_left_alone(site: Site) -> None:
    async def story() -> None:
        async with life_at(site) as life:
            foreign = {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": life.name, "labels": {"whose": "theirs"}},
                "status": {"nodeInfo": nodeinfo("11111111-2222-3333-4444-555555555555")},
            }
            before = await life.kube.create(foreign)
            await life.wish()

            async def reported() -> bool:
                return condition(await life.status(), "Stalled")[1] == "NodeIdentityMismatch"

            await life.until(reported)
            assert await life.vms() == []
            await life.kube.delete(VMNODES, life.name)
            await life.until(life.gone)
            after = await life.find(NODES)
            assert after is not None
            assert after["metadata"]["uid"] == before["metadata"]["uid"]
            assert after["metadata"]["labels"] == before["metadata"]["labels"]
            await life.until_told("IdentityMismatch")
            await life.kube.delete(NODES, life.name)

    run(story(), 120)


def nodeinfo(uuid: str) -> Json:
    keys = ("machineID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion")
    more = ("kubeletVersion", "kubeProxyVersion", "operatingSystem", "architecture")
    return {"systemUUID": uuid, **dict.fromkeys((*keys, *more), "")}


def test_a_vm_that_is_restarted_elsewhere_is_kept_and_relabelled(site: Site) -> None:
    async def story() -> None:
        async with life_at(site, restartWindow="60s") as life:
            await life.wish(host=site.host(1))
            await life.until(life.ready)
            uuid = (await life.status())["identity"]["uuid"]
            await site.set_host(life.kube, 1, "Down")

            async def moved() -> bool:
                node = await life.find(NODES)
                label = node["metadata"]["labels"].get(names.HOST) if node else ""
                status = await life.status()
                return label == site.host(2) and not status.get("lostSince")

            await life.until(moved)
            await life.until(life.ready)
            status = await life.status()
            assert (status["identity"]["uuid"], status["host"]) == (uuid, site.host(2))
            await life.until_told("VMLost", "VMRecovered", "HostStateChanged")

    run(story(), 120)


def test_a_vm_that_is_surely_off_is_given_up_after_the_window(site: Site) -> None:
    async def story() -> None:
        async with life_at(site, restartWindow="2s") as life:
            await site.set(life.kube, highAvailability=False)
            await life.set_up()
            await life.wish(host=site.host(1))
            await life.until(life.ready)
            await life.pod()
            await site.set_host(life.kube, 1, "Down")
            await life.until(life.gone)
            assert await life.vms() == []
            assert await life.find(NODES) is None
            assert await site.pods_on(life.kube, life.name) == []
            await life.until_told("VMLost", "VMFailed", "VMDeleted")

    run(story(), 120)


def test_an_isolated_host_keeps_its_vm(site: Site) -> None:
    async def story() -> None:
        async with life_at(site, restartWindow="1s") as life:
            await life.wish(host=site.host(1))
            await life.until(life.ready)
            await site.set_host(life.kube, 1, "Isolated")

            async def held() -> bool:
                return condition(await life.status(), "Ready") == ("False", "MayRun")

            await life.until(held)
            lost = (await life.status())["lostSince"]

            async def window_is_over() -> bool:
                found = await life.kube.get(HYPERVISORS, site.name)
                hosts = {h["name"]: h for h in found["status"]["hosts"]}
                return bool(hosts[site.host(1)]["state"] == "Isolated") and (
                    time.time() > parse_rfc3339(lost) + 3.0
                )

            await life.until(window_is_over)
            assert await life.ready()
            assert len(await life.vms()) == 1
            node = await life.find(NODES)
            assert node is not None
            assert names.OUT_OF_SERVICE not in [t["key"] for t in node["spec"].get("taints", [])]

            await site.set_host(life.kube, 1, "Up")

            async def back() -> bool:
                return condition(await life.status(), "Ready") == ("True", "NodeReady")

            await life.until(back)

    run(story(), 120)


def test_a_vm_that_nobody_claims_is_reported_and_then_removed(site: Site) -> None:
    async def story() -> None:
        async with life_at(site) as life:
            await life.wish()
            await life.until(life.ready)
            # As if the record had been lost together with its finalizer.
            await life.kube.merge_patch(VMNODES, life.name, {"metadata": {"finalizers": None}})
            await life.kube.delete(VMNODES, life.name)
            await life.until(life.gone)

            async def removed() -> bool:
                return await life.vms() == []

            await life.until(removed)
            await life.until_told("OrphanFound", "OrphanRemoved")

    run(story(), 120)


def test_a_silent_hypervisor_pauses_a_deletion(site: Site) -> None:
    async def story() -> None:
        async with life_at(site) as life:
            await life.wish()
            await life.until(life.ready)
            silent = [
                {"operation": operation, "error": "Retryable"}
                for operation in ("hosts", "describe", "listOwned")
            ]
            await site.set(life.kube, faults=silent)
            await life.kube.delete(VMNODES, life.name)

            async def paused() -> bool:
                found = await life.kube.get(HYPERVISORS, site.name)
                unreachable = condition(found["status"], "Ready") == ("False", "Unreachable")
                waits = condition(await life.status(), "Reconciling")[1] == "HypervisorUnreachable"
                return unreachable and waits and await life.in_phase("Deleting")

            await life.until(paused)
            assert await life.find(NODES) is not None
            assert len(await life.vms()) == 1
            await site.set(life.kube, faults=None)
            await life.until(life.gone)
            assert await life.vms() == []
            assert await life.find(NODES) is None
            await life.until_told("HypervisorUnreachable", "HypervisorReachable")

    run(story(), 120)


def test_a_missing_secret_is_said_and_recovers_by_itself(site: Site) -> None:
    async def story() -> None:
        async with life_at(site, credentialsSecretRef={"name": "login"}) as life:
            await life.wish()

            async def missing() -> bool:
                found = await life.kube.get(HYPERVISORS, site.name)
                return condition(found.get("status", {}), "Ready") == ("False", "SecretNotFound")

            await life.until(missing)
            assert await life.vms() == []
            meta = {"name": "login", "namespace": site.name}
            await life.kube.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta})
            await life.until(life.ready)

    run(story(), 120)
