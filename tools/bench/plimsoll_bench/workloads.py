"""Workloads that are measured: Karpenter's benchmark mix, Cluster Autoscaler's, and plain ones.

Each is made anew from its size and a seed, so every run and every planner sees the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from plimsoll_bench.objects import (
    GIB,
    HOSTNAME,
    MIB,
    ZONE,
    Json,
    MachineType,
    pod,
    pool,
    vm,
)

KARPENTER_CPUS = (100, 250, 500, 1000, 1500)
KARPENTER_MEMORIES = (100, 256, 512, 1024, 2048, 4096)
KARPENTER_VALUES = "abcdefg"
KARPENTER_ZONES = ("test-zone-1", "test-zone-2", "test-zone-3")
KARPENTER_LARGEST = 400
"""CPUs of the largest type; there is one for each number of CPUs from 1."""
RESERVED_CPU = 100
RESERVED_MEMORY = 10 * MIB
PODS_PER_CPU = 10
MOST_PODS = 1000
"""The largest density that a VMPool may have; Karpenter's types go on to 4,000."""

PRICE_SCALE = 10_000
"""Units of the VMPool's cost to one unit of money: its quantities end at thousandths."""


def karpenter_price(cpus: int, memory: int) -> float:
    """Price of a type: 0.1 for a CPU and 0.1 for 10^9 bytes."""
    return 0.1 * cpus + 0.1 * memory / 1e9


def karpenter_mix(count: int, seed: int = 42) -> list[Json]:
    """A fifth each: generic, spread over zones, spread over nodes, near each other, apart.

    As in Karpenter's benchmark, a spread pod draws its label and what it counts
    independently: most do not count themselves.
    """
    draw = random.Random(seed)
    fifth = count // 5
    pods: list[Json] = []

    def more(how_many: int, make: Callable[[], tuple[dict[str, str], Json]]) -> None:
        for _ in range(how_many):
            labels, rules = make()
            cpu, memory = draw.choice(KARPENTER_CPUS), draw.choice(KARPENTER_MEMORIES) * MIB
            pods.append(pod(f"pod-{len(pods):06}", cpu, memory, labels=labels, **rules))

    def labelled(key: str = "my-label") -> dict[str, str]:
        return {key: draw.choice(KARPENTER_VALUES)}

    def generic() -> tuple[dict[str, str], Json]:
        return labelled(), {}

    def spread(topology: str) -> tuple[dict[str, str], Json]:
        constraint = {
            "maxSkew": 1,
            "topologyKey": topology,
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": labelled()},
        }
        return labelled(), {"topologySpreadConstraints": [constraint]}

    def together() -> tuple[dict[str, str], Json]:
        labels = labelled("my-affinity")
        return labels, {"affinity": {"podAffinity": required(labels, ZONE)}}

    def apart() -> tuple[dict[str, str], Json]:
        labels = {"app": "nginx"}
        return labels, {"affinity": {"podAntiAffinity": required(labels, HOSTNAME)}}

    more(fifth, generic)
    more(fifth, lambda: spread(ZONE))
    more(fifth, lambda: spread(HOSTNAME))
    more(fifth, together)
    more(fifth, apart)
    more(count - len(pods), generic)
    return pods


def required(labels: dict[str, str], topology: str) -> Json:
    """A required term of pod affinity or anti-affinity to pods with these labels."""
    term = {"labelSelector": {"matchLabels": labels}, "topologyKey": topology}
    return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}


def plain_mix(count: int, seed: int = 42) -> list[Json]:
    """Pods of the same sizes without any rule: only resources bind."""
    draw = random.Random(seed)
    return [
        pod(
            f"pod-{number:06}",
            draw.choice(KARPENTER_CPUS),
            draw.choice(KARPENTER_MEMORIES) * MIB,
            labels={"my-label": draw.choice(KARPENTER_VALUES)},
        )
        for number in range(count)
    ]


def karpenter_pool() -> Json:
    """The pool that offers the types of Karpenter's benchmark, and nothing else."""
    largest = KARPENTER_LARGEST
    return pool(
        size={
            "cpu": {"min": 1, "max": largest},
            "memory": {"min": "2Gi", "max": f"{2 * largest}Gi", "step": "2Gi"},
            "memoryPerCPU": "2Gi",
        },
        density={
            "pods": {"min": 1, "max": MOST_PODS, "perCPU": PODS_PER_CPU},
            "loadLinePercent": 100,
            "reserved": {"cpu": f"{RESERVED_CPU}m", "memory": str(RESERVED_MEMORY)},
        },
        cost={
            "perVM": "0",
            "perCPU": str(PRICE_SCALE // 10),
            "perGiB": f"{round(0.1 * GIB / 1e9 * PRICE_SCALE * 1000)}m",
        },
        zones=list(KARPENTER_ZONES),
    )


def karpenter_types() -> list[MachineType]:
    """All that Karpenter may buy, smallest first."""
    return [
        MachineType(
            cpu=cpus * 1000 - RESERVED_CPU,
            memory=cpus * 2 * GIB - RESERVED_MEMORY,
            max_pods=cpus * PODS_PER_CPU,
            price=karpenter_price(cpus, cpus * 2 * GIB),
        )
        for cpus in range(1, KARPENTER_LARGEST + 1)
    ]


FIXED_CPUS = 10
FIXED_MEMORY = 20 * GIB
FIXED_PODS = 110


def fixed_pool(name: str = "bench", **spec: object) -> Json:
    """A pool of VMs of one size, of which nothing is reserved.

    A VM costs far more than it costs to move its pods.
    """
    return pool(
        name,
        **{
            "size": {
                "cpu": {"min": FIXED_CPUS, "max": FIXED_CPUS},
                "memory": {"min": str(FIXED_MEMORY), "max": str(FIXED_MEMORY)},
            },
            "density": {
                "pods": {"min": 1, "max": FIXED_PODS},
                "loadLinePercent": 100,
                "reserved": {"cpu": "0", "memory": "0"},
            },
            "cost": {"perVM": "100", "perCPU": "0", "perGiB": "0"},
            **spec,
        },
    )


def equal_pods(count: int, share: int = 50) -> list[Json]:
    """Pending pods, each of which asks for one of so many shares of a VM of `fixed_pool`."""
    cpu, memory = FIXED_CPUS * 1000 // share, FIXED_MEMORY // share // MIB * MIB
    return [
        pod(f"pod-{number:06}", cpu, memory, labels={"app": "equal"}, owner="equal")
        for number in range(count)
    ]


def filled_vms(count: int, pods_each: int, share: int = 100) -> list[Json]:
    """VMs of `fixed_pool`, each with so many pods that take one of so many shares of it."""
    cpu, memory = FIXED_CPUS * 1000 // share, FIXED_MEMORY // share // MIB * MIB
    objects: list[Json] = []
    for number in range(count):
        name = f"bench-{number}"
        objects += vm(name, FIXED_CPUS, FIXED_MEMORY, FIXED_PODS)
        objects += [
            pod(
                f"pod-{number:05}-{place:03}",
                cpu,
                memory,
                labels={"app": "equal"},
                node=name,
                owner="equal",
            )
            for place in range(pods_each)
        ]
    return objects
