"""Carrying out plans on a real API server: safe to repeat, and a last look before each move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aio import run
from livecluster import ensure_namespace, install_kinds
from plimsoll.act.carry_out import CarryOut
from plimsoll.act.outcome import Outcome, Result
from plimsoll.decide.plan import Lever, Move, NewVm, Plan, Reason, Size
from plimsoll.kube import Json, Kube, NotFound
from plimsoll.resources import NODES, PODS, VMNODES, VMPOOLS
from plimsoll.world.assemble import assemble
from plimsoll.world.objects import Observations
from plimsoll.world.stores import World
from plimsoll_testenv import ControlPlane

NAMESPACE = "acting"
GIB = 1024**3


class Bench:
    """A pool on the API server, and no operator: plans are made up."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube

    async def carry_out(self, *moves: Move) -> list[Result]:
        """Carries moves out against the world as it is now."""
        return await (await self.read()).run(Plan(moves=moves))

    async def read(self) -> CarryOut:
        """What acting knows of the world as it is now."""
        world = World(self.kube)
        reading = asyncio.create_task(world.run())
        async with asyncio.timeout(20):
            await world.wait_synced()
        objects = world.objects()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return CarryOut(self.kube, objects, assemble(objects, Observations(), 0.0))

    async def vmnodes(self) -> list[Json]:
        return await self.kube.list_all(VMNODES, label_selector="plimsoll.dev/pool=acts")

    async def node(self, name: str) -> None:
        await self.kube.create(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}}
        )

    async def pod(self, name: str, node: str = "", **meta: Any) -> Json:
        """A pod that nothing runs. Its owner does not exist; garbage collection may take it."""
        container = {
            "name": "main",
            "image": "none",
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            **meta.pop("container", {}),
        }
        spec: Json = {"containers": [container], **({"nodeName": node} if node else {})}
        return await self.kube.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": NAMESPACE, **meta},
                "spec": spec,
            }
        )


@asynccontextmanager
async def bench_on(control_plane: ControlPlane, **nodes: int) -> AsyncIterator[Bench]:
    await asyncio.to_thread(install_kinds, control_plane)
    async with Kube.from_environment(str(control_plane.kubeconfig)) as kube:
        await ensure_namespace(kube, NAMESPACE)
        pool = {
            "apiVersion": "plimsoll.dev/v1alpha1",
            "kind": "VMPool",
            "metadata": {"name": "acts"},
            "spec": {
                "hypervisor": "nowhere",
                "nodes": {"min": 1, "max": 2, **nodes},
                "size": {
                    "cpu": {"min": 2, "max": 4},
                    "memory": {"min": "4Gi", "max": "8Gi", "step": "1Gi"},
                },
            },
        }
        await kube.create(pool)
        try:
            yield Bench(kube)
        finally:
            for vmnode in await Bench(kube).vmnodes():
                name = vmnode["metadata"]["name"]
                await kube.merge_patch(VMNODES, name, {"metadata": {"finalizers": None}})
                await kube.delete(VMNODES, name)
            for pod in await kube.list_all(PODS, NAMESPACE):
                await kube.delete(PODS, pod["metadata"]["name"], NAMESPACE, grace_seconds=0)
            with suppress(NotFound):
                await kube.delete(NODES, "acts-1")
            await kube.delete(VMPOOLS, "acts")


def launch(name: str) -> Move:
    vm = NewVm(
        name=name,
        pool="acts",
        hypervisor="nowhere",
        host="",
        zone="",
        size=Size(cpu=2000, memory=4 * GIB),
        berths=20,
        max_pods=110,
    )
    return Move(kind=Lever.LAUNCH, subject=f"vm/{name}", reason="test", vm=vm)


def retire(name: str) -> Move:
    return Move(kind=Lever.RETIRE, subject=f"vm/{name}", reason="test")


def outcomes(results: list[Result]) -> list[tuple[Outcome, Reason | None]]:
    return [(result.outcome, result.guard) for result in results]


def test_the_same_launch_twice_makes_one_vm(control_plane: ControlPlane) -> None:
    async def acts() -> None:
        async with bench_on(control_plane) as bench:
            first, second = await bench.read(), await bench.read()
            assert outcomes(await first.run(Plan(moves=(launch("acts-1"),)))) == [
                (Outcome.DONE, None)
            ]
            assert outcomes(await second.run(Plan(moves=(launch("acts-1"),)))) == [
                (Outcome.DONE, None)
            ]
            (vmnode,) = await bench.vmnodes()
            assert vmnode["metadata"]["finalizers"] == ["plimsoll.dev/vm"]

    run(acts())


def test_racing_plans_do_not_take_a_pool_above_its_most(control_plane: ControlPlane) -> None:
    async def acts() -> None:
        async with bench_on(control_plane) as bench:
            first, second = await bench.read(), await bench.read()
            await first.run(Plan(moves=(launch("acts-1"),)))
            results = await second.run(Plan(moves=(launch("acts-2"), launch("acts-3"))))
            assert sorted(outcomes(results)) == [
                (Outcome.DONE, None),
                (Outcome.REFUSED, Reason.POOL_AT_MAX),
            ]
            assert len(await bench.vmnodes()) == 2

    run(acts())


def test_racing_plans_do_not_take_a_pool_below_its_least(control_plane: ControlPlane) -> None:
    async def acts() -> None:
        async with bench_on(control_plane) as bench:
            await bench.carry_out(launch("acts-1"), launch("acts-2"))
            first, second = await bench.read(), await bench.read()
            assert outcomes(await first.run(Plan(moves=(retire("acts-1"),)))) == [
                (Outcome.DONE, None)
            ]
            assert outcomes(await second.run(Plan(moves=(retire("acts-2"),)))) == [
                (Outcome.REFUSED, Reason.POOL_AT_MIN)
            ]
            again = await bench.carry_out(retire("acts-1"))
            assert outcomes(again) == [(Outcome.DONE, None)]
            retiring = [v for v in await bench.vmnodes() if "retire" in v["spec"]]
            assert [v["metadata"]["name"] for v in retiring] == ["acts-1"]

    run(acts())


def test_no_vm_is_retired_that_somebody_holds_or_that_got_a_pod(
    control_plane: ControlPlane,
) -> None:
    async def acts() -> None:
        async with bench_on(control_plane, min=0) as bench:
            await bench.carry_out(launch("acts-1"))
            await bench.node("acts-1")
            decided = await bench.read()
            await bench.pod("newcomer", node="acts-1")
            results = await decided.run(Plan(moves=(retire("acts-1"),)))
            assert outcomes(results) == [(Outcome.REFUSED, Reason.NOT_QUIET)]
            assert "came to acts-1 after the decision" in results[0].message

            await bench.kube.delete(PODS, "newcomer", NAMESPACE, grace_seconds=0)
            held = {"metadata": {"annotations": {"plimsoll.dev/do-not-disrupt": "true"}}}
            await bench.kube.merge_patch(NODES, "acts-1", held)
            results = await bench.carry_out(retire("acts-1"))
            assert outcomes(results) == [(Outcome.REFUSED, Reason.HELD)]

    run(acts())


def test_a_pod_is_resized_in_place_and_keeps_its_qos_class(control_plane: ControlPlane) -> None:
    async def acts() -> None:
        async with bench_on(control_plane) as bench:
            same = {"cpu": "100m", "memory": "64Mi"}
            await bench.pod("exact", container={"resources": {"requests": same, "limits": same}})
            await bench.pod(
                "touchy",
                container={
                    "resources": {"requests": same},
                    "resizePolicy": [
                        {"resourceName": "memory", "restartPolicy": "RestartContainer"}
                    ],
                },
            )
            size = Size(cpu=200, memory=64 * 1024**2)
            more = Size(cpu=200, memory=128 * 1024**2)
            subject = f"pod/{NAMESPACE}/exact"
            resize = Move(kind=Lever.RESIZE, subject=subject, reason="test", size=size)
            assert outcomes(await bench.carry_out(resize)) == [(Outcome.DONE, None)]
            assert outcomes(await bench.carry_out(resize)) == [(Outcome.DONE, None)]
            pod = await bench.kube.get(PODS, "exact", NAMESPACE)
            resources = pod["spec"]["containers"][0]["resources"]
            assert resources["requests"] == resources["limits"] == {"cpu": "200m", "memory": "64Mi"}
            assert pod["status"]["qosClass"] == "Guaranteed"

            # The memory of this one cannot change without a restart, which was not decided.
            subject = f"pod/{NAMESPACE}/touchy"
            cpu_only = Move(kind=Lever.RESIZE, subject=subject, reason="test", size=size)
            memory = Move(kind=Lever.RESIZE, subject=subject, reason="test", size=more)
            assert outcomes(await bench.carry_out(cpu_only)) == [(Outcome.DONE, None)]
            assert outcomes(await bench.carry_out(memory)) == [(Outcome.REFUSED, Reason.HELD)]

    run(acts())


def test_one_failure_stops_only_moves_of_the_same_subject(control_plane: ControlPlane) -> None:
    async def acts() -> None:
        async with bench_on(control_plane) as bench:
            grow = Move(
                kind=Lever.GROW,
                subject="vm/acts-9",
                reason="test",
                size=Size(cpu=4000, memory=8 * GIB),
            )
            results = await bench.carry_out(grow, launch("acts-1"), retire("acts-9"))
            assert [result.outcome for result in results] == [
                Outcome.REFUSED,
                Outcome.DONE,
                Outcome.SKIPPED,
            ]

    run(acts())


def test_what_the_plan_defers_is_not_done(control_plane: ControlPlane) -> None:
    async def acts() -> None:
        async with bench_on(control_plane) as bench:
            waits = Move(
                kind=Lever.LAUNCH,
                subject="vm/acts-1",
                reason="test",
                vm=launch("acts-1").vm,
                deferred="maxLaunching is 1",
            )
            assert await bench.carry_out(waits) == []
            assert await bench.vmnodes() == []

    run(acts())
