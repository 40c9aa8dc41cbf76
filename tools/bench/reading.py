"""Measures the way from objects to the snapshot: cold from a file, again after a change, idle.

    python tools/bench/reading.py [--pods 50000] [--vms 2000]

prints the figures as JSON. Times are CPU seconds of one process, so that what else runs on the
machine counts for little; the smallest of several runs is given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock, patch

import msgspec

import clusterdump
from plimsoll.decide.plan import Plan
from plimsoll.loop import PlanningLoop
from plimsoll.resources import resource_of
from plimsoll.settings import Settings
from plimsoll.telemetry import Telemetry
from plimsoll.world.assemble import Assembler
from plimsoll.world.metrics import Metrics
from plimsoll.world.objects import Objects, Observations
from plimsoll.world.store import Item, Key
from plimsoll.world.stores import World

Json = dict[str, Any]

_COLD = """
import resource, sys, time
from plimsoll.offline.command import read
_, snapshot, _ = read([sys.argv[1]], None)
usage = resource.getrusage(resource.RUSAGE_SELF)
print(len(snapshot.pods), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
"""


def cold(file: Path, runs: int = 3) -> dict[str, float]:
    """From the start of a process to the snapshot of a file: seconds and peak MiB."""
    results = []
    for _ in range(runs):
        began = time.perf_counter()
        run = subprocess.run(
            [sys.executable, "-c", _COLD, str(file)], capture_output=True, text=True, check=True
        )
        wall = time.perf_counter() - began
        pods, cpu, rss = map(float, run.stdout.split())
        results.append((cpu, wall, rss, pods))
    return {
        "pods": results[0][3],
        "cpu_seconds": min(cpu for cpu, *_ in results),
        "wall_seconds": min(wall for _, wall, *_ in results),
        "peak_rss_mib": max(rss for _, _, rss, _ in results),
        "file_mb": file.stat().st_size / 1e6,
    }


def filled_world(objects: Iterator[Json]) -> World:
    """A live world with these objects, as if it had just listed them."""
    world = World(MagicMock())
    items: dict[Any, list[Item[Any]]] = {resource: [] for resource in world.reflectors}
    for number, document in enumerate(objects, start=1):
        document["metadata"]["resourceVersion"] = str(number)
        resource = resource_of(document)
        raw = msgspec.Raw(msgspec.json.encode(document))
        item = world.reflectors[resource].read(raw)
        if item is None or item.value is None:
            raise ValueError(f"{document['kind']} cannot be read: {item}")
        items[resource].append(item)
    for resource, reflector in world.reflectors.items():
        reflector.store.replace(items[resource], 10**6)
        reflector._synced.set()
    return world


def change_pod(world: World, number: int) -> None:
    """One pod changes, as by an event of its watch."""
    store = world.pods.store
    pod = store.values()[number]
    spec = msgspec.structs.replace(pod.spec, node_name="web-0")
    meta = pod.metadata
    changed = msgspec.structs.replace(pod, spec=spec)
    version = 10**6 + 1 + number
    store.put(Item(Key(meta.namespace, meta.name), meta.uid, version, changed))


def again(world: World, turns: int = 7) -> dict[str, float]:
    """Assembling after nothing, and after one pod, changed: milliseconds."""
    assembler, observations = Assembler(), _observations(world.objects())
    began = time.process_time()
    assembler.assemble(world.objects(), observations, 1.8e9)
    scratch = time.process_time() - began

    def turn(number: int) -> None:
        assembler.assemble(world.objects(), observations, 1.8e9 + number)

    nothing = _least(turn, turns, lambda number: None)
    pod = _least(turn, turns, lambda number: change_pod(world, 100 * number))
    return {
        "from_scratch_ms": scratch * 1000,
        "nothing_changed_ms": nothing,
        "one_pod_changed_ms": pod,
    }


def idle(world: World, turns: int = 7) -> dict[str, float]:
    """A whole turn of the planning loop but for planning: milliseconds."""
    recorder, kube = MagicMock(), AsyncMock()
    kube.json_patch = kube.merge_patch = kube.apply = kube.patch_status = AsyncMock()
    usage = Metrics(kube, world.objects)
    loop = PlanningLoop(kube, world, usage, recorder, Telemetry(), Settings())
    with patch("plimsoll.loop.Replanner.plan", lambda *_: Plan()):
        runner = asyncio.Runner()
        with runner:

            def turn(number: int) -> None:
                runner.run(loop.turn())

            turn(0)
            nothing = _least(turn, turns, lambda number: None)
            pod = _least(turn, turns, lambda number: change_pod(world, 100 * number + 1))
    return {"nothing_changed_ms": nothing, "one_pod_changed_ms": pod}


def _least(measured: Callable[[int], None], runs: int, before: Callable[[int], None]) -> float:
    results = []
    for number in range(runs):
        before(number)
        began = time.process_time()
        measured(number)
        results.append(time.process_time() - began)
    return min(results) * 1000


def _observations(objects: Objects) -> Observations:
    return replace(Observations(), quiet_since={node.metadata.name: 1.0 for node in objects.nodes})


def measure(pods: int, vms: int, runs: int = 3) -> dict[str, dict[str, float]]:
    """All figures for a cluster of that size."""
    figures = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, compact, managed_fields in (
            ("kubectl", False, False),
            ("kubectl_managed_fields", False, True),
            ("api_server", True, True),
        ):
            file = Path(directory) / "dump.json"
            dump = clusterdump.objects(pods, vms)
            clusterdump.write(file, dump, compact=compact, managed_fields=managed_fields)
            figures[f"cold_{name}"] = cold(file, runs)
    world = filled_world(clusterdump.objects(pods, vms, workloads=100))
    figures["again"] = again(world)
    figures["idle_turn"] = idle(world)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=50_000)
    parser.add_argument("--vms", type=int, default=2_000)
    args = parser.parse_args()
    print(json.dumps(measure(args.pods, args.vms), indent=2))


if __name__ == "__main__":
    main()
