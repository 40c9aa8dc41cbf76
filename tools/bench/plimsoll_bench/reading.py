"""From objects to the snapshot: cold from a file, again after a change, and an idle turn.

Times are CPU seconds of one process, so that what else runs on the machine counts for little.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock, patch

import msgspec

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
from plimsoll_bench import clusterdump
from plimsoll_bench.case import Case
from plimsoll_bench.table import Row, median

Json = dict[str, Any]

_COLD = """
import resource, sys, time
from plimsoll.offline.command import read
kept = read([sys.argv[1]], None)
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
"""


_TURNS = 7
_CHANGED = "one pod changed"
_DUMPS = {
    "as kubectl prints it": (False, False),
    "as kubectl prints it, with managedFields": (False, True),
    "as the API server sends it": (True, True),
}
"""How a dump is written: whether compact, and whether with managedFields."""


def rows(case: Case) -> list[Row]:
    """Reading three sorts of dump; assembling again, and a turn of the loop."""
    vms = case.settings.held_vms
    pods = 25 * vms
    section = f"Reading {pods:,} pods on {vms:,} VMs, in CPU time"
    found = []
    for name, (compact, managed_fields) in _DUMPS.items():
        file = case.folder / "reading.json"
        objects = clusterdump.objects(pods, vms)
        clusterdump.write(file, objects, compact=compact, managed_fields=managed_fields)
        case.say(f"reading a dump {name}")
        results = [_cold(file) for _ in range(case.settings.repeats)]
        seconds = tuple(result[0] for result in results)
        beside = f"{file.stat().st_size / 1e6:,.0f} MB; {max(r[1] for r in results):,.0f} MiB"
        told = f"a dump {name}"
        found.append(Row(section, told, median(seconds), "s", beside=beside, samples=seconds))
        file.unlink()
    case.say("reading again, and an idle turn")
    world = filled_world(clusterdump.objects(pods, vms, workloads=100))
    for name, samples in {**again(world), **idle(world)}.items():
        found.append(Row(section, name, median(samples), "ms", samples=samples))
    return found


def _cold(file: Path) -> tuple[float, float]:
    """From the start of a process to the snapshot of a file: CPU seconds, and most MiB."""
    command = [sys.executable, "-c", _COLD, str(file)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu, rss = map(float, told.split())
    return cpu, rss


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


def again(world: World) -> dict[str, tuple[float, ...]]:
    """Assembling after nothing, and after one pod, changed: milliseconds of each turn."""
    assembler, observations = Assembler(), _observations(world.objects())

    def turn(number: int) -> None:
        assembler.assemble(world.objects(), observations, 1.8e9 + number)

    return {
        "the snapshot, from scratch": _timed(turn, range(1), lambda number: None),
        "the snapshot, nothing changed": _timed(turn, range(_TURNS), lambda number: None),
        f"the snapshot, {_CHANGED}": _timed(turn, range(_TURNS), partial(change_pod, world)),
    }


def idle(world: World) -> dict[str, tuple[float, ...]]:
    """A whole turn of the planning loop but for planning: milliseconds of each turn."""
    recorder, kube = MagicMock(), AsyncMock()
    kube.json_patch = kube.merge_patch = kube.apply = kube.patch_status = AsyncMock()
    usage = Metrics(kube, world.objects)
    loop = PlanningLoop(kube, world, usage, recorder, Telemetry(), Settings())
    with patch("plimsoll.loop.Replanner.plan", lambda *_: Plan()), asyncio.Runner() as runner:

        def turn(number: int) -> None:
            runner.run(loop.turn())

        turn(0)
        further = range(_TURNS, 2 * _TURNS)
        return {
            "a turn of the loop, nothing changed": _timed(turn, further, lambda number: None),
            f"a turn of the loop, {_CHANGED}": _timed(turn, further, partial(change_pod, world)),
        }


def _timed(
    measured: Callable[[int], None], numbers: Iterable[int], before: Callable[[int], None]
) -> tuple[float, ...]:
    results = []
    for number in numbers:
        before(number)
        began = time.process_time()
        measured(number)
        results.append((time.process_time() - began) * 1000)
    return tuple(results)


def _observations(objects: Objects) -> Observations:
    return replace(Observations(), quiet_since={node.metadata.name: 1.0 for node in objects.nodes})
