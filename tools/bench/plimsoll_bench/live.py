"""The operator at work on a real control plane: how soon it answers, and what it takes idle.

A thousand simulated VMs carry thirty pods each and have room for no more of the size
that comes now. Pods come one at a time; each needs a VM of its own. The clock runs from
the scheduler's word that the pod is unschedulable to the VMNode of the VM that is to
carry it, both as a client sees them that watches the API server.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec

from plimsoll.kube import Kube
from plimsoll.resources import NODES, PODS, VMNODES
from plimsoll.world import wire
from plimsoll.world.reflector import Reflector
from plimsoll_bench.case import Case
from plimsoll_bench.live_site import LiveSite, Spent
from plimsoll_bench.objects import GIB, MIB, Json, pod
from plimsoll_bench.table import Row, at_most, judged, median, percentile

_HALF: Final = at_most(0.3)
_MOST: Final = at_most(1.0)
_VMS_OF_A_POOL: Final = 100
"""VMs of one pool at one simulated data centre, which keeps its accounts in one object."""
_AT_ONCE: Final = 12
"""VMs that a pool launches at once."""
_NEW: Final = "bench-new"
"""Namespace of the pods that come one at a time."""
_OLD: Final = "bench-old"
_PODS_EACH: Final = 30
_CPUS, _MEMORY = 4, 8 * GIB
_SMALL: Final = 100
"""Millicores of a pod that is there from the start: thirty leave 0.8 of 3.8 CPUs."""
_LARGE: Final = 3000
"""Millicores of a pod that comes: a VM carries one."""
_VMS_ON_A_HOST: Final = 25
_PARALLEL: Final = 24
_SETTLE_SECONDS: Final = 20.0
_PATIENCE: Final = 1800.0
_SAMPLE_PATIENCE: Final = 60.0


class _VmNode(wire.Object, frozen=True, kw_only=True):
    """As much of a VMNode as is looked at."""

    status: dict[str, Any] = {}


def rows(case: Case) -> list[Row]:
    """Builds the cluster, lets pods come, and then leaves the operator alone for a while."""
    with LiveSite.open() as site:
        return asyncio.run(_Live(case, site).rows())


class _Live:
    def __init__(self, case: Case, site: LiveSite) -> None:
        self._case = case
        self._site = site
        self._vms = case.settings.live_vms
        self._unschedulable: dict[str, float] = {}
        """When it was seen of each new pod."""
        self._launched: dict[str, float] = {}
        """When each VMNode was first seen."""
        self._bound: set[str] = set()
        """New pods that have a node."""
        self._seen = asyncio.Event()

    async def rows(self) -> list[Row]:
        kubeconfig = str(self._site.control_plane.kubeconfig)
        async with Kube.from_environment(kubeconfig) as kube, asyncio.TaskGroup() as tasks:
            self._kube = kube
            self._vmnodes = Reflector(kube, VMNODES, _decode_vmnode)
            self._new = Reflector(kube, PODS, _decode_pod, namespace=_NEW)
            self._old = Reflector(kube, PODS, _decode_pod, namespace=_OLD)
            self._vmnodes.on_change(self._vmnode_changed)
            self._new.on_change(self._pod_changed)
            watching = [tasks.create_task(self._vmnodes.run()), tasks.create_task(self._new.run())]
            begun = time.monotonic()
            await self._launch_vms()
            launching = time.monotonic() - begun
            # Thirty thousand pods are watched while they start only.
            starting = tasks.create_task(self._old.run())
            await self._fill_vms()
            starting.cancel()
            before = self._site.operator_memory()
            stages = await asyncio.to_thread(self._site.operator_stages)
            samples = [
                await self._sample(number) for number in range(self._case.settings.live_pods)
            ]
            stages = _since(stages, await asyncio.to_thread(self._site.operator_stages))
            idle_share = await self._idle()
            for task in watching:
                task.cancel()
            result = self._result(samples, idle_share, launching, before)
            return result + _stage_rows(result[0].section, stages)

    async def _launch_vms(self) -> None:
        await self._kube.create(_namespace(_NEW))
        await self._kube.create(_namespace(_OLD))
        more = self._case.settings.live_pods
        for first in range(0, self._vms, _VMS_OF_A_POOL):
            name = f"rack-{first // _VMS_OF_A_POOL:02}"
            vms = min(_VMS_OF_A_POOL, self._vms - first)
            await self._kube.create(_hypervisor(name, vms + more))
            await self._kube.create(_pool(name, vms, more))

        async def ready() -> int:
            return sum(
                vmnode.status.get("phase") == "Ready" for vmnode in self._vmnodes.store.values()
            )

        await self._until(ready, self._vms, "VMs are Ready")

    async def _fill_vms(self) -> None:
        nodes = await self._kube.list_all(NODES)
        wanted = [
            _bound(f"app-{place:02}-{number:05}", node["metadata"]["name"], f"app-{place:02}")
            for number, node in enumerate(nodes)
            for place in range(_PODS_EACH)
        ]
        limit = asyncio.Semaphore(_PARALLEL)

        async def create(one: Json) -> None:
            async with limit:
                await self._kube.create(one)

        async def running() -> int:
            return sum(p.status.phase == "Running" for p in self._old.store.values())

        async with asyncio.TaskGroup() as tasks:
            creating = tasks.create_task(_all(create(one) for one in wanted))
            await self._until(running, len(wanted), "pods run")
            await creating

    async def _sample(self, number: int) -> tuple[float, float]:
        """Seconds from unschedulable, and from created, to the VMNode."""
        # At no fixed distance from the last: whatever beats in the operator is met at random.
        await asyncio.sleep(random.Random(number).uniform(0.3, 1.5))
        if number % 10 == 0:
            self._case.say(f"pod {number + 1} of {self._case.settings.live_pods} comes")
        name = f"new-{number:04}"
        known = set(self._launched)
        one = pod(name, _LARGE, 100 * MIB)
        one["metadata"] |= {"namespace": _NEW}
        for field in ("uid", "creationTimestamp"):
            del one["metadata"][field]
        created = time.monotonic()
        await self._kube.create(one)
        try:
            async with asyncio.timeout(_SAMPLE_PATIENCE):
                while not (name in self._unschedulable and set(self._launched) - known):
                    self._seen.clear()
                    await self._seen.wait()
        except TimeoutError:
            raise RuntimeError(
                f"pod {name} got no VM in {_SAMPLE_PATIENCE:.0f} s (seen unschedulable: "
                f"{name in self._unschedulable}); the operator said:\n{self._site.operator_log()}"
            ) from None
        (launched,) = set(self._launched) - known
        # The next one is not to be taken for this one, nor to find its VM.
        async with asyncio.timeout(_SAMPLE_PATIENCE):
            while name not in self._bound:
                self._seen.clear()
                await self._seen.wait()
        at = self._launched[launched]
        # The operator need not wait for the scheduler's word.
        return max(0.0, at - self._unschedulable[name]), at - created

    async def _idle(self) -> float:
        """Share of one core that the operator takes while nothing changes."""
        self._case.say("idle")
        await asyncio.sleep(_SETTLE_SECONDS)
        begun, used = time.monotonic(), self._site.operator_cpu_seconds()
        await asyncio.sleep(self._case.settings.live_idle_seconds)
        return (self._site.operator_cpu_seconds() - used) / (time.monotonic() - begun)

    async def _until(self, count: Callable[[], Awaitable[int]], wanted: int, what: str) -> None:
        told = 0.0
        async with asyncio.timeout(_PATIENCE):
            while (there := await count()) < wanted:
                self._site.require_running()
                if time.monotonic() - told > 10:
                    told = time.monotonic()
                    self._case.say(f"{there:,} of {wanted:,} {what}")
                await asyncio.sleep(0.5)

    def _vmnode_changed(self, key: Any, old: _VmNode | None, new: _VmNode | None) -> None:
        if new is not None and old is None:
            self._launched.setdefault(new.metadata.name, time.monotonic())
            self._seen.set()

    def _pod_changed(self, key: Any, old: wire.Pod | None, new: wire.Pod | None) -> None:
        if new is None:
            return
        name = new.metadata.name
        if any(c.type == "PodScheduled" and c.status == "False" for c in new.status.conditions):
            self._unschedulable.setdefault(name, time.monotonic())
        if new.spec.node_name:
            self._bound.add(name)
        self._seen.set()

    def _result(
        self, samples: list[tuple[float, float]], idle: float, launching: float, before: int
    ) -> list[Row]:
        pods = self._vms * _PODS_EACH
        section = f"Live loop: {self._vms:,} VMs, {pods:,} pods, one pending pod at a time"
        waits = tuple(wait for wait, _ in samples)
        created = tuple(wait for _, wait in samples)
        return [
            judged(
                Row(
                    section,
                    "unschedulable to VMNode, half of all within",
                    median(waits),
                    "s",
                    beside=f"{len(waits)} pods; from their creation {median(created):.3f} s",
                    samples=waits,
                ),
                _HALF,
            ),
            judged(
                Row(
                    section,
                    "unschedulable to VMNode, 99% within",
                    percentile(waits, 99),
                    "s",
                    beside=f"most {max(waits):.3f} s; from their creation "
                    f"{percentile(created, 99):.3f} s",
                    samples=created,
                ),
                _MOST,
            ),
            Row(
                section,
                "operator's memory, idle",
                self._site.operator_memory() / 1e6,
                "MB",
                beside=f"before the pods came {before / 1e6:.0f} MB, "
                f"at most {self._site.operator_memory('VmHWM') / 1e6:.0f} MB",
            ),
            Row(section, "operator's CPU, idle", idle * 100, "%", beside="of one core"),
            Row(
                section,
                "VMs launched and Ready, from nothing",
                self._vms / launching,
                "/s",
                beside=f"{launching:.0f} s in all, by simulated hosts that boot a VM in 0.2 s",
            ),
        ]


def _since(before: dict[str, Spent], now: dict[str, Spent]) -> dict[str, Spent]:
    return {
        stage: Spent(spent.seconds - was.seconds, spent.times - was.times)
        for stage, spent in now.items()
        for was in [before.get(stage, Spent())]
    }


def _stage_rows(section: str, stages: dict[str, Spent]) -> list[Row]:
    return [
        Row(
            section,
            f"stage {stage} of a turn, mean",
            spent.seconds / spent.times * 1000,
            "ms",
            beside=f"{spent.times:.0f} times while the pods came",
        )
        for stage, spent in stages.items()
        if spent.times
    ]


async def _all(work: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*work)


def _decode_vmnode(raw: msgspec.Raw) -> _VmNode:
    return msgspec.json.decode(raw, type=_VmNode)


def _decode_pod(raw: msgspec.Raw) -> wire.Pod:
    return msgspec.json.decode(raw, type=wire.Pod)


def _bound(name: str, node: str, app: str) -> Json:
    one = pod(name, _SMALL, 200 * MIB, labels={"app": app}, node=node, owner=app)
    one["metadata"] |= {"namespace": _OLD}
    for field in ("uid", "creationTimestamp"):
        del one["metadata"][field]
    # Of no ReplicaSet that exists: the garbage collector would take such a pod away.
    del one["metadata"]["ownerReferences"], one["status"]
    return one


def _namespace(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _hypervisor(name: str, vms: int) -> Json:
    hosts = -(-vms // _VMS_ON_A_HOST) + 1
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "Hypervisor",
        "metadata": {"name": name},
        "spec": {
            "provider": "simulated",
            "simulated": {
                "hosts": [
                    {
                        "name": f"host-{number:03}",
                        "zone": f"zone-{number % 3}",
                        "cpu": _VMS_ON_A_HOST * _CPUS,
                        "memory": str(_VMS_ON_A_HOST * _MEMORY),
                    }
                    for number in range(hosts)
                ],
                "bootTime": "200ms",
            },
        },
    }


def _pool(name: str, vms: int, more: int) -> Json:
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "VMPool",
        "metadata": {"name": name},
        "spec": {
            "hypervisor": name,
            "nodes": {"min": vms, "max": vms + more},
            "size": {
                "cpu": {"min": _CPUS, "max": _CPUS},
                "memory": {"min": str(_MEMORY), "max": str(_MEMORY)},
            },
            "density": {"pods": {"min": 1, "max": 110}, "loadLinePercent": 100},
            "maxLaunching": _AT_ONCE,
        },
    }
