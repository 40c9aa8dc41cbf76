"""Clusters that are there already: to be thinned out, or planned for again after a change."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count as numbers
from typing import Any

from plimsoll_bench.objects import GIB, HOSTNAME, MIB, ZONE, Json, pod, pool, vm
from plimsoll_bench.workloads import (
    FIXED_CPUS,
    FIXED_MEMORY,
    FIXED_PODS,
    KARPENTER_CPUS,
    KARPENTER_MEMORIES,
    filled_vms,
    fixed_pool,
    required,
)

_MISSES = 8
"""Pods in all that may be found too large before a VM counts as filled."""
ZONES = ("zone-a", "zone-b", "zone-c")


@dataclass(frozen=True)
class Cluster:
    """VMs with their pods, and the pool that they belong to."""

    name: str
    pool: Json
    objects: tuple[Json, ...]
    """VMNodes, Nodes and Pods."""

    @property
    def pods(self) -> list[Json]:
        return [one for one in self.objects if one["kind"] == "Pod"]

    @property
    def nodes(self) -> list[Json]:
        return [one for one in self.objects if one["kind"] == "Node"]

    def price(self, cpu: int, memory: int) -> float:
        """Price of a VM of so many millicores and bytes by the pool's cost model."""
        cost = self.pool["spec"]["cost"]
        return (
            float(cost["perVM"])
            + float(cost["perCPU"]) * cpu / 1000
            + float(cost["perGiB"]) * memory / GIB
        )


def to_consolidate(count: int) -> list[Cluster]:
    """Clusters of so many VMs of which fewer would do."""
    fixed = fixed_pool()
    return [
        Cluster("equal pods, all VMs at 40%", fixed, tuple(filled_vms(count, 40))),
        Cluster("VMs between 10% and 90%", fixed, tuple(_loaded(count, _any_load))),
        Cluster("half at 90%, half at 15%", fixed, tuple(_loaded(count, _two_loads))),
        Cluster("replicas apart on VMs, at 45%", fixed, tuple(_apart(count))),
        Cluster("replicas spread over zones, at 45%", fixed, tuple(_over_zones(count))),
        Cluster("VMs of many sizes and prices, at 45%", _sized_pool(), tuple(_sized(count))),
    ]


def _any_load(draw: random.Random, number: int) -> float:
    return draw.uniform(0.1, 0.9)


def _two_loads(draw: random.Random, number: int) -> float:
    return 0.9 if number % 2 else 0.15


def _random_pods(draw: random.Random, cpu: int, memory: int) -> Iterator[tuple[int, int]]:
    """Millicores and bytes of pods that together do not ask for more than so much."""
    misses = 0
    while misses < _MISSES:
        one = draw.choice(KARPENTER_CPUS), draw.choice(KARPENTER_MEMORIES) * MIB
        if one[0] > cpu or one[1] > memory:
            misses += 1
            continue
        cpu, memory = cpu - one[0], memory - one[1]
        yield one


def _loaded(count: int, load: Callable[[random.Random, int], float]) -> Iterator[Json]:
    draw = random.Random(7)
    names = numbers()
    for number in range(count):
        name, share = f"bench-{number}", load(draw, number)
        yield from vm(name, FIXED_CPUS, FIXED_MEMORY, FIXED_PODS)
        for cpu, memory in _random_pods(
            draw, int(FIXED_CPUS * 1000 * share), int(FIXED_MEMORY * share)
        ):
            yield pod(f"pod-{next(names):06}", cpu, memory, node=name, owner="app")


def _replicas(count: int, each: int, rules: Callable[[dict[str, str]], Json]) -> Iterator[Json]:
    """Apps of so many replicas, each on a VM of its own; VMs go round the zones."""
    draw = random.Random(7)
    free = [int(FIXED_CPUS * 1000 * 0.45)] * count
    for number in range(count):
        yield from vm(
            f"bench-{number}", FIXED_CPUS, FIXED_MEMORY, FIXED_PODS, zone=ZONES[number % 3]
        )
    start = 0
    for app in numbers():
        cpu = draw.choice((250, 500, 1000))
        places = [(start + replica) % count for replica in range(each)]
        if any(free[place] < cpu for place in places):
            return
        labels = {"app": f"app-{app}"}
        for place in places:
            free[place] -= cpu
            yield pod(
                f"app-{app:04}-{place:05}",
                cpu,
                cpu * MIB,
                labels=labels,
                node=f"bench-{place}",
                owner=f"app-{app}",
                **rules(labels),
            )
        start += each


def _apart(count: int) -> Iterator[Json]:
    return _replicas(
        count, 6, lambda labels: {"affinity": {"podAntiAffinity": required(labels, HOSTNAME)}}
    )


def _over_zones(count: int) -> Iterator[Json]:
    return _replicas(count, 9, spread_over_zones)


def _sized_pool(**spec: Any) -> Json:
    """VMs of 1 to 64 CPUs, with memory of their own choice; what a VM costs by itself counts."""
    return pool(
        **{
            "size": {
                "cpu": {"min": 1, "max": 64},
                "memory": {"min": "1Gi", "max": "256Gi", "step": "1Gi"},
            },
            "density": {
                "pods": {"min": 1, "max": FIXED_PODS},
                "loadLinePercent": 100,
                "reserved": {"cpu": "0", "memory": "0"},
            },
            "cost": {"perVM": "4", "perCPU": "1", "perGiB": "0.25"},
            **spec,
        }
    )


def _sized(count: int) -> Iterator[Json]:
    draw = random.Random(7)
    names = numbers()
    for number in range(count):
        name, cpus = f"bench-{number}", draw.choice((4, 8, 16, 32))
        memory = cpus * draw.choice((2, 4)) * GIB
        yield from vm(name, cpus, memory, FIXED_PODS)
        for cpu, needed in _random_pods(draw, int(cpus * 450), int(memory * 0.45)):
            yield pod(f"pod-{next(names):06}", cpu, needed, node=name, owner="app")


APPS = 500
PODS_EACH = 25
HELD_CPUS, HELD_MEMORY = 18, 36 * GIB


def held(count: int) -> Cluster:
    """VMs of one size with 25 pods each of 500 apps: what an operator sees on most days.

    A third of the apps spreads over zones, a tenth keeps its replicas apart; all these
    rules hold. The VMs are full but for half a CPU or so, and none can be done without.
    """
    apps = _apps()
    objects: list[Json] = []
    for number in range(count):
        name = f"bench-{number}"
        objects += vm(name, HELD_CPUS, HELD_MEMORY, FIXED_PODS, zone=ZONES[number % 3])
        objects += [
            pod(
                f"{app.name}-{number:05}",
                app.cpu,
                app.memory,
                labels={"app": app.name},
                node=name,
                owner=app.name,
                **app.rules,
            )
            for place in range(PODS_EACH)
            for app in [apps[(number * PODS_EACH + place) % APPS]]
        ]
    fixed = {
        "cpu": {"min": HELD_CPUS, "max": HELD_CPUS},
        "memory": {"min": str(HELD_MEMORY), "max": str(HELD_MEMORY)},
    }
    return Cluster(
        f"{count * PODS_EACH:,} pods on {count:,} VMs",
        _sized_pool(zones=list(ZONES), size=fixed),
        tuple(objects),
    )


@dataclass(frozen=True)
class _App:
    name: str
    cpu: int
    memory: int
    rules: Json


def _apps() -> list[_App]:
    """Apps of `held`: the 25 that share a VM fill it."""
    draw = random.Random(7)
    sizes: list[tuple[int, int]] = []
    while len(sizes) < APPS:
        few = [
            (draw.choice(KARPENTER_CPUS), draw.choice(KARPENTER_MEMORIES) * MIB)
            for _ in range(PODS_EACH)
        ]
        cpu, memory = (sum(column) for column in zip(*few, strict=True))
        if HELD_CPUS * 1000 - 700 < cpu <= HELD_CPUS * 1000 and memory <= HELD_MEMORY:
            sizes += few
    return [_app(number, *size) for number, size in enumerate(sizes)]


def _app(number: int, cpu: int, memory: int) -> _App:
    name = f"app-{number:03}"
    labels = {"app": name}
    rules: Json = {}
    if number % 3 == 0:
        rules = spread_over_zones(labels)
    elif number % 10 == 1:
        rules = {"affinity": {"podAntiAffinity": required(labels, HOSTNAME)}}
    return _App(name, cpu, memory, rules)


def newcomers(count: int, first: int = 0) -> list[Json]:
    """Pending replicas of the apps of `held`, one each of so many apps in turn."""
    apps = _apps()
    return [
        pod(
            f"{app.name}-new-{number:05}",
            app.cpu,
            app.memory,
            labels={"app": app.name},
            owner=app.name,
            **app.rules,
        )
        for number in range(first, first + count)
        for app in [apps[number % APPS]]
    ]


def spread_over_zones(labels: dict[str, str]) -> Json:
    """Spread of pods with these labels over zones, as a part of their spec."""
    constraint = {
        "maxSkew": 1,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    }
    return {"topologySpreadConstraints": [constraint]}
