"""A new plan after a single change, in one process, as the running operator makes it."""

from __future__ import annotations

import gc
import importlib
import json
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec

from plimsoll.decide.plan import Plan
from plimsoll.decide.planner import plan
from plimsoll.offline.files import load
from plimsoll.world import wire
from plimsoll.world.assemble import Assembler
from plimsoll.world.objects import Objects, Observations
from plimsoll.world.snapshot import Snapshot
from plimsoll_bench import clusters
from plimsoll_bench.case import Case
from plimsoll_bench.objects import Json, pod
from plimsoll_bench.table import Row, at_most, judged, median, percentile

_GOAL = at_most(0.05)
_NOW = 1_800_000_000.0
_Plan = Callable[[Snapshot, float], Plan]


def rows(case: Case) -> list[Row]:
    """Seconds from a changed object to the new plan."""
    cluster = clusters.held(case.settings.held_vms)
    case.say(f"after single changes: {cluster.name}")
    path = case.file("held", [cluster.pool], cluster.objects)
    loaded = load([str(path)])
    world = _World(loaded.objects, _planner())
    gc.collect()
    first = world.plan()
    taken = [world.change(number) for number in range(case.settings.changes)]
    both = [assembling + deciding for assembling, deciding in taken]
    section = f"A new plan after one change, {cluster.name}"
    parts = [median(column) for column in zip(*taken, strict=True)]
    return [
        judged(
            Row(
                section,
                "half of all within",
                median(both),
                "s",
                beside=f"{len(both)} changes; {parts[0]:.3f} s for the snapshot, "
                f"{parts[1]:.3f} s for the plan; the first plan took {sum(first):.2f} s",
                samples=tuple(both),
            ),
            _GOAL,
        ),
        Row(section, "99% within", percentile(both, 99), "s"),
    ]


def _planner() -> _Plan:
    try:
        module = importlib.import_module("plimsoll.decide.replan")
    except ModuleNotFoundError:
        return plan
    made: _Plan = module.Replanner().plan
    return made


class _World:
    """The objects, and what came of them last."""

    def __init__(self, objects: Objects, planner: _Plan) -> None:
        self._objects = objects
        self._nodes = {node.metadata.name for node in objects.nodes}
        self._planner = planner
        self._assembler = Assembler()
        self._now = _NOW
        self._decided = Plan()
        self._waiting: wire.Pod | None = None

    def plan(self) -> tuple[float, float]:
        """Plans for the objects as they are; seconds for the snapshot and for the plan."""
        self._now += 1.0
        began = time.perf_counter()
        snapshot = self._assembler.assemble(self._objects, Observations(), self._now)
        assembled = time.perf_counter()
        self._decided = self._planner(snapshot, self._now)
        return assembled - began, time.perf_counter() - assembled

    def change(self, number: int) -> tuple[float, float]:
        """Makes one change, of four kinds in turn, and plans.

        A replica of a known app comes; the scheduler binds it; some pod goes; a pod comes
        of which there was none like it, and stays.
        """
        pods = self._objects.pods
        match number % 4:
            case 0:
                self._waiting = _decoded(clusters.newcomers(1, number)[0])
                pods = (*pods, self._waiting)
            case 1:
                pods = tuple(self._bound(p) if p is self._waiting else p for p in pods)
            case 2:
                gone = number * 37 % len(pods)
                pods = pods[:gone] + pods[gone + 1 :]
            case 3:
                pods = (*pods, _decoded(pod(f"new-{number:05}", 300 + number, 2**29)))
        self._objects = replace(self._objects, pods=pods)
        gc.collect()
        return self.plan()

    def _bound(self, waiting: wire.Pod) -> wire.Pod:
        """The pod that waited, on the VM that the plan has for it, unless that is still to come."""
        meta = waiting.metadata
        where = self._decided.placements.get(f"{meta.namespace}/{meta.name}", "")
        if where not in self._nodes:
            return waiting
        spec = msgspec.structs.replace(waiting.spec, node_name=where)
        return msgspec.structs.replace(waiting, spec=spec)


def _decoded(one: Json) -> wire.Pod:
    return msgspec.json.decode(json.dumps(one), type=wire.Pod)
