"""Mixes of pods with all kinds of rules, and a pool in whose VMs they pack well or badly."""

from __future__ import annotations

import random
from typing import Any

import planning as w
from plimsoll.world.snapshot import Pod, Pool
from plimsoll.world.wire import LabelSelector, PodAffinityTerm

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"


def a_pool(step: int = 1) -> Pool:
    """VMs of up to 64 CPUs with 2 GiB each, in steps of so many CPUs, at a price by CPU."""
    return w.pool(
        nodes={"min": 0, "max": 500},
        size={
            "cpu": {"min": step, "max": 64, "step": step},
            "memory": {"min": "2Gi", "max": "128Gi", "step": "2Gi"},
            "memoryPerCPU": "2Gi",
        },
        density={
            "pods": {"min": 20, "max": 110},
            "loadLinePercent": 100,
            "reserved": {"cpu": "100m", "memory": "10Mi"},
        },
        cost={"perVM": 0, "perCPU": 1, "perGiB": 0},
        zones=["a", "b", "c"],
    )


def mixed_pods(number: int, seed: int) -> tuple[Pod, ...]:
    """Pods of 30 apps: a fifth each without rules, spread over zones, over VMs, apart, together."""
    draw = random.Random(seed)
    pods = []
    for i in range(number):
        app = draw.randrange(30)
        own = LabelSelector(match_labels={"app": f"app-{app}"})
        near = (PodAffinityTerm(topology_key=ZONE, label_selector=own),)
        apart = (PodAffinityTerm(topology_key=HOST, label_selector=own),)
        spreads = [(w.spread(key, app=f"app-{app}"),) for key in (ZONE, HOST)]
        rules: tuple[dict[str, Any], ...] = (
            {},
            {"spread": spreads[0]},
            {"spread": spreads[1]},
            {"anti_affinity": apart},
            {"affinity": near},
        )
        size = w.shape(
            draw.choice((100, 250, 500, 1000, 1500)),
            draw.choice((100, 256, 512, 1024, 2048, 4096)),
            app=f"app-{app}",
            **rules[app % 5],
        )
        pods.append(w.pod(f"p{i:04}", size))
    return tuple(pods)
