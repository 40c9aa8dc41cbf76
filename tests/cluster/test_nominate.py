"""Nominations on the real scheduler: they are followed where they can be, and harmless else."""

from __future__ import annotations

import asyncio
from typing import Any

from aio import run
from livecluster import ensure_namespace
from plimsoll.act.nominate import Nominations
from plimsoll.decide.plan import Plan
from plimsoll.kube import Json, Kube
from plimsoll.resources import NODES, PODS
from plimsoll.world import wire
from plimsoll.world.objects import Objects
from plimsoll_testenv import ControlPlane

NAMESPACE = "nominations"
NEVER = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": "never-preempts"},
    "value": 0,
    "preemptionPolicy": "Never",
}
ONLY_OURS = {"key": "nominations", "value": "test", "effect": "NoSchedule"}


class Scene:
    """Two nodes of one test. Pods wait for a pilot on either of them; all like the first more."""

    def __init__(self, kube: Kube, name: str) -> None:
        self.kube = kube
        self.name = name
        self.first, self.second = f"{name}-1", f"{name}-2"
        self.nominations = Nominations()

    async def __aenter__(self) -> Scene:
        await ensure_namespace(self.kube, NAMESPACE)
        return self

    async def __aexit__(self, *_: object) -> None:
        for node in (self.first, self.second):
            await self.kube.delete(NODES, node)
        for pod in await self.pods():
            if pod.metadata.name.startswith(self.name):
                await self.kube.delete(PODS, pod.metadata.name, NAMESPACE, grace_seconds=0)

    async def node(self, name: str, cpu: str = "2") -> None:
        amounts = {"cpu": cpu, "memory": "4Gi", "pods": "10"}
        await self.kube.create(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": name,
                    # kwok keeps its heart beating.
                    "labels": {
                        "scene": self.name,
                        "node": name,
                        "kwok.x-k8s.io/node": "fake",
                    },
                },
                "spec": {"taints": [ONLY_OURS]},
                "status": {"capacity": amounts, "allocatable": amounts},
            }
        )

    async def ready(self) -> None:
        """Returns once both nodes are: from then on nothing makes the scheduler try again."""
        async with asyncio.timeout(30):
            for name in (self.first, self.second):
                while True:
                    node = await self.kube.get(NODES, name, type=wire.Node)
                    ready = any(
                        c.type == "Ready" and c.status == "True" for c in node.status.conditions
                    )
                    if ready and [taint.key for taint in node.spec.taints] == [ONLY_OURS["key"]]:
                        break
                    await asyncio.sleep(0.05)

    async def open(self) -> None:
        """Lets all pods go to both nodes, at one moment."""
        await self.kube.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{self.name}-pilot",
                    "namespace": NAMESPACE,
                    "labels": {"pilot": self.name},
                },
                "spec": {
                    "nodeName": self.second,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{"name": "main", "image": "none"}],
                },
            }
        )

    async def pod(self, name: str, **spec: Any) -> str:
        """A pod for which the scheduler has found no place yet; its key."""
        wish = {"key": "node", "operator": "In", "values": [self.first]}
        preferred = [{"weight": 100, "preference": {"matchExpressions": [wish]}}]
        pilot = {"topologyKey": "scene", "labelSelector": {"matchLabels": {"pilot": self.name}}}
        requests = {"cpu": "1", "memory": "1Gi"}
        name = f"{self.name}-{name}"
        await self.kube.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {
                    "nodeSelector": {"scene": self.name},
                    "tolerations": [{"key": "nominations", "operator": "Exists"}],
                    "affinity": {
                        "nodeAffinity": {
                            "preferredDuringSchedulingIgnoredDuringExecution": preferred
                        },
                        "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [pilot]},
                    },
                    "containers": [
                        {"name": "main", "image": "none", "resources": {"requests": requests}}
                    ],
                    **spec,
                },
            }
        )
        await self.until(name, lambda pod: _given_up(pod))
        return f"{NAMESPACE}/{name}"

    async def tell(self, **places: str) -> list[Json]:
        """Tells the scheduler what a plan says of pods."""
        placements = {f"{NAMESPACE}/{self.name}-{pod}": node for pod, node in places.items()}
        objects = Objects(
            pods=tuple(await self.pods()),
            nodes=tuple(await self.kube.list_all(NODES, type=wire.Node)),
        )
        return await self.nominations.tell(self.kube, Plan(placements=placements), objects)

    async def pods(self) -> list[wire.Pod]:
        return await self.kube.list_all(PODS, NAMESPACE, type=wire.Pod)

    async def bound(self, key: str) -> str:
        """The node to which a pod is bound, once it is."""
        pod = await self.until(key.partition("/")[2], lambda pod: bool(pod.spec.node_name))
        return pod.spec.node_name

    async def until(self, name: str, condition: Any) -> wire.Pod:
        async with asyncio.timeout(30):
            while True:
                pod = await self.kube.get(PODS, name, NAMESPACE, type=wire.Pod)
                if condition(pod):
                    return pod
                await asyncio.sleep(0.05)


def _verdict(pod: wire.Pod) -> str:
    return "".join(c.message for c in pod.status.conditions if c.type == "PodScheduled")


def _given_up(pod: wire.Pod) -> bool:
    return any(
        c.type == "PodScheduled" and c.reason == "Unschedulable" for c in pod.status.conditions
    )


def test_the_scheduler_goes_by_a_nomination_before_its_own_scores(
    control_plane: ControlPlane,
) -> None:
    async def scenario() -> None:
        async with Kube(str(control_plane.kubeconfig)) as kube, Scene(kube, "told") as scene:
            await scene.node(scene.first)
            await scene.node(scene.second)
            await scene.ready()
            told, untold = await scene.pod("told"), await scene.pod("untold")
            assert len(await scene.tell(told=scene.second)) == 1
            await scene.open()
            assert await scene.bound(untold) == scene.first
            assert await scene.bound(told) == scene.second

    run(scenario())


def test_the_room_of_a_nominated_pod_is_kept_for_it(control_plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with Kube(str(control_plane.kubeconfig)) as kube, Scene(kube, "kept") as scene:
            await scene.node(scene.first, cpu="1")
            await scene.node(scene.second, cpu="1")
            await scene.ready()
            # The later one is told to take what the earlier one would like best.
            earlier, later = await scene.pod("earlier"), await scene.pod("later")
            await scene.tell(earlier=scene.second, later=scene.first)
            await scene.open()
            assert await scene.bound(earlier) == scene.second
            assert await scene.bound(later) == scene.first

    run(scenario())


def test_a_wrong_nomination_is_harmless(control_plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with Kube(str(control_plane.kubeconfig)) as kube, Scene(kube, "wrong") as scene:
            await scene.node(scene.first)
            await scene.node(scene.second, cpu="500m")
            await scene.ready()
            pod = await scene.pod("big")
            await scene.tell(big=scene.second)
            await scene.open()
            assert await scene.bound(pod) == scene.first

    run(scenario())


def test_a_nomination_that_the_scheduler_keeps_is_taken_back(control_plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with Kube(str(control_plane.kubeconfig)) as kube, Scene(kube, "stale") as scene:
            await scene.node(scene.first, cpu="500m")
            await scene.node(scene.second, cpu="500m")
            await scene.ready()
            await kube.apply(NEVER, "tests")
            await scene.pod("calm", priorityClassName="never-preempts")
            await scene.tell(calm=scene.second)
            await scene.open()
            await scene.until(f"{scene.name}-calm", lambda pod: "Insufficient" in _verdict(pod))
            await scene.until(
                f"{scene.name}-calm", lambda pod: pod.status.nominated_node_name == scene.second
            )
            await scene.tell()
            found = await scene.kube.get(PODS, f"{scene.name}-calm", NAMESPACE, type=wire.Pod)
            assert found.status.nominated_node_name == ""

    run(scenario())
