"""A new plan after a single change, in one process, as the running operator makes it."""

from __future__ import annotations

import gc
import json
import time
from dataclasses import replace

import msgspec

from plimsoll.decide.plan import Plan
from plimsoll.decide.planner import plan
from plimsoll.decide.replan import Replanner
from plimsoll.offline.files import load
from plimsoll.world import wire
from plimsoll.world.assemble import Assembler
from plimsoll.world.objects import Objects, Observations
from plimsoll.world.snapshot import Resources
from plimsoll_bench import clusters
from plimsoll_bench.case import Case
from plimsoll_bench.objects import Json, pod
from plimsoll_bench.table import Row, at_most, judged, median, percentile

_GOAL = at_most(0.05)
_NOW = 1_800_000_000.0


def rows(case: Case) -> list[Row]:
    """Seconds from a changed object to the new plan."""
    cluster = clusters.held(case.settings.held_vms)
    case.say(f"after single changes: {cluster.name}")
    path = case.file("held", [cluster.pool], cluster.objects)
    loaded = load([str(path)])
    world = _World(loaded.objects)
    gc.collect()
    first = world.plan()
    taken = [world.change(number) for number in range(case.settings.changes)]
    both = [assembling + deciding for assembling, deciding, _ in taken]
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
                f"{parts[1]:.3f} s for the plan, {parts[2]:.3f} s of CPU in all; "
                f"the first plan took {sum(first[:2]):.2f} s",
                samples=tuple(both),
            ),
            _GOAL,
        ),
        Row(section, "99% within", percentile(both, 99), "s"),
        Row(
            section,
            "cost of the last plan, of one made from cold",
            world.cost() / world.cost_from_cold(),
            notes=tuple(world.unplaced()),
        ),
    ]


class _World:
    """The objects, and what came of them last."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._observations = Observations()
        self._nodes = {node.metadata.name for node in objects.nodes}
        self._planner = Replanner()
        self._assembler = Assembler()
        self._now = _NOW
        self._decided = Plan()
        self._waiting: wire.Pod | None = None

    def plan(self) -> tuple[float, float, float]:
        """Plans for the objects as they are; seconds for snapshot, for plan, of CPU in all."""
        self._now += 1.0
        used, began = time.process_time(), time.perf_counter()
        snapshot = self._assembler.assemble(self._objects, self._observations, self._now)
        assembled = time.perf_counter()
        self._decided = self._planner.plan(snapshot, self._now)
        done = time.perf_counter()
        return assembled - began, done - assembled, time.process_time() - used

    def cost(self) -> float:
        """What the VMs of the last plan cost."""
        return self._decided.cost.after

    def cost_from_cold(self) -> float:
        """What they would cost, were the same objects planned for without a memory."""
        snapshot = Assembler().assemble(self._objects, self._observations, self._now)
        return plan(snapshot, self._now).cost.after

    def unplaced(self) -> list[str]:
        """What the last plan has no place for; there is always one to be had."""
        return [f"{unplaced.pod} has no place" for unplaced in self._decided.unplaced]

    def change(self, number: int) -> tuple[float, float, float]:
        """Makes one change, of six kinds in turn, and plans.

        A replica of a known app comes; the scheduler binds it; some pod goes; a pod comes
        of which there was none like it, and stays; a node turns out not to be Ready; the use
        of all nodes is measured.
        """
        pods, nodes = self._objects.pods, self._objects.nodes
        match number % 6:
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
            case 4:
                place = number * 37 % len(nodes)
                nodes = (*nodes[:place], _unready(nodes[place]), *nodes[place + 1 :])
            case 5:
                self._observations = Observations(
                    node_usage={
                        node.metadata.name: Resources(cpu=1000 + 7 * place + number, memory=2**30)
                        for place, node in enumerate(nodes)
                    }
                )
        self._objects = replace(self._objects, pods=pods, nodes=nodes)
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


def _unready(node: wire.Node) -> wire.Node:
    """The node, as it is while its kubelet is in trouble."""
    conditions = [wire.Condition(type="Ready", status="False")]
    status = msgspec.structs.replace(node.status, conditions=conditions)
    return msgspec.structs.replace(node, status=status)


def _decoded(one: Json) -> wire.Pod:
    return msgspec.json.decode(json.dumps(one), type=wire.Pod)
