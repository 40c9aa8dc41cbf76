"""``plimsoll explain``: what was decided for a workload or a pool, what would be now, and why.

Reads the cluster once, decides as the operator does, prints, changes nothing.
What only the running operator knows (since when a node is quiet, back-off) is
not known here; the status that it writes is.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeVar

from plimsoll.act.decisions import Concerns, change
from plimsoll.api import ContainerWorkload, VMPool
from plimsoll.api.quantity import format_bytes, format_milli
from plimsoll.apierrors import ApiError
from plimsoll.decide.plan import Move, Plan
from plimsoll.decide.planner import plan
from plimsoll.events import EventReason
from plimsoll.kube import Kube
from plimsoll.kubeconfig import NoCluster
from plimsoll.world.assemble import assemble
from plimsoll.world.metrics import Metrics
from plimsoll.world.objects import Objects, Observations
from plimsoll.world.owners import key_of
from plimsoll.world.snapshot import Snapshot
from plimsoll.world.stores import World

T = TypeVar("T")

OK: Final = 0
FAILED: Final = 1
BAD_INPUT: Final = 2
READ_TIMEOUT: Final = 60.0
_POOL_KINDS: Final = ("vmpool", "vmpools", "vmp")
_WORKLOAD_KINDS: Final = ("containerworkload", "containerworkloads", "cw", "workload")


class NotThere(Exception):
    """What is to be explained does not exist, or cannot be read; the text says which."""


class Question(NamedTuple):
    """What is to be explained."""

    pool: str
    """Empty: a workload is asked for."""
    workload: str
    """``namespace/name``; empty: a pool is asked for."""

    @classmethod
    def parse(cls, text: str, namespace: str) -> Question:
        """``vmpool/NAME``, ``cw/NAME``, ``NAMESPACE/NAME`` or ``NAME`` of a workload."""
        kind, slash, name = text.partition("/")
        if slash and kind in _POOL_KINDS:
            return cls(name, "")
        if slash and kind in _WORKLOAD_KINDS:
            return cls("", f"{namespace}/{name}")
        return cls("", text if slash else f"{namespace}/{text}")

    @property
    def concern(self) -> str:
        """As moves are sorted by."""
        return f"vmpool/{self.pool}" if self.pool else f"workload/{self.workload}"


class Answer(NamedTuple):
    """All that an explanation is told from."""

    question: Question
    objects: Objects
    snapshot: Snapshot
    plan: Plan
    notes: tuple[str, ...]


def main(
    what: str, namespace: str, kubeconfig: str | None = None, context: str | None = None
) -> int:
    """Prints the explanation; answers the exit code."""
    question = Question.parse(what, namespace)
    try:
        answer = asyncio.run(_ask(question, kubeconfig, context))
        for line in lines(answer):
            print(line)
    except NotThere as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except (NoCluster, ApiError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    return OK


async def _ask(question: Question, kubeconfig: str | None, context: str | None) -> Answer:
    async with Kube.from_environment(kubeconfig, context) as kube:
        world = World(kube)
        await _read(world)
        usage = Metrics(kube, world.objects)
        await usage.poll()
        objects = world.objects()
        observations = Observations(
            demands=usage.demands(),
            node_usage=usage.node_usage(),
            problems={**_conflicts(objects), **world.object_problems()},
        )
        now = time.time()
        snapshot = assemble(objects, observations, now)
        notes = (f"nothing is measured: {usage.problem}",) if usage.problem else ()
        return Answer(question, objects, snapshot, plan(snapshot, now), notes)


async def _read(world: World) -> None:
    """Reads everything once.

    Raises:
        NotThere: something is not served, not permitted, or does not come in time.
    """
    reading = asyncio.create_task(world.run())
    try:
        async with asyncio.timeout(READ_TIMEOUT):
            while not world.synced:
                await asyncio.sleep(0.02)
                failed = [r.problem for r in world.reflectors.values() if r.problem]
                if failed:
                    raise NotThere("; ".join(failed))
    except TimeoutError:
        unread = ", ".join(str(resource) for resource in world.unreadable())
        raise NotThere(f"not read within {READ_TIMEOUT:.0f} s: {unread}") from None
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def _conflicts(objects: Objects) -> dict[str, str]:
    """Conflicts that the operator has met, from its conditions: only trying could find them."""
    return {
        f"ContainerWorkload/{key_of(workload)}": condition.message
        for workload in objects.workloads
        for condition in (workload.status.conditions if workload.status is not None else ())
        if condition.type == "Stalled" and condition.reason == EventReason.FIELD_CONFLICT.value
    }


def lines(answer: Answer) -> Iterator[str]:
    """The explanation, line by line.

    Raises:
        NotThere: there is no such workload or pool.
    """
    if answer.question.pool:
        pool = _found(
            (p for p in answer.objects.pools if p.metadata.name == answer.question.pool),
            f"there is no VMPool {answer.question.pool}",
        )
        yield from _pool(answer, pool)
        yield from _history(pool)
    else:
        workload = _found(
            (w for w in answer.objects.workloads if key_of(w) == answer.question.workload),
            f"there is no ContainerWorkload {answer.question.workload}",
        )
        yield from _workload(answer, workload)
        yield from _history(workload)
    yield from _now(answer)


def _found(candidates: Iterator[T], otherwise: str) -> T:
    for candidate in candidates:
        return candidate
    raise NotThere(otherwise)


def _pool(answer: Answer, pool: VMPool) -> Iterator[str]:
    spec = pool.spec
    count = "fixed by spec.replicas" if spec.replicas is not None else "decided"
    yield f"VMPool {pool.metadata.name} at Hypervisor {spec.hypervisor}"
    yield f"  VMs: {spec.nodes.min} to {spec.nodes.max}, {count}"
    for vm in answer.snapshot.vms:
        if vm.pool == pool.metadata.name:
            pods = sum(pod.node == vm.name for pod in answer.snapshot.pods)
            size = f"{format_milli(vm.cpu)} CPU, {format_bytes(vm.memory)}"
            yield f"  {vm.name}: {vm.phase.value} on {vm.host or '?'}, {size}, {pods} pods"


def _workload(answer: Answer, workload: ContainerWorkload) -> Iterator[str]:
    key = key_of(workload)
    seen = next(w for w in answer.snapshot.workloads if w.key == key)
    scale_out = workload.spec.scale_out
    yield f"ContainerWorkload {key}, steering {seen.target or 'nothing yet'}"
    yield f"  replicas: {seen.replicas} ({scale_out.min} to {scale_out.max})"
    for verdict in answer.plan.workloads:
        if verdict.key == key:
            size = f"{format_milli(verdict.size.cpu)} CPU, {format_bytes(verdict.size.memory)}"
            yield f"  wanted: {verdict.replicas} replicas of {size}"
    if seen.demand is not None:
        use = f"{format_milli(seen.demand.cpu)} CPU, {format_bytes(seen.demand.memory)}"
        yield f"  load: {use}, over all replicas"
    for note in answer.notes:
        yield f"  {note}"


def _history(obj: VMPool | ContainerWorkload) -> Iterator[str]:
    if obj.status is None:
        yield "The operator has not seen it yet."
        return
    yield "Conditions:"
    for condition in obj.status.conditions:
        yield f"  {condition.type}={condition.status} {condition.reason}: {condition.message}"
    yield "Decided, newest first:"
    for decision in obj.status.decisions:
        text = f" ({decision.change})" if decision.change else ""
        yield f"  {decision.time} {decision.kind} {decision.subject}{text}: {decision.reason}"
        for rejected in decision.rejected:
            yield f"    rather than {rejected}"
    if not obj.status.decisions:
        yield "  nothing"


def _now(answer: Answer) -> Iterator[str]:
    concerns = Concerns(answer.snapshot)
    mine = [
        move
        for move in answer.plan.moves
        if concerns.of(move.subject, move.vm.pool if move.vm else "") == answer.question.concern
    ]
    yield "Would be decided now:"
    for move in mine:
        yield from _move(move)
    if not mine:
        yield "  nothing"
    refusals = [
        refusal
        for refusal in answer.plan.refusals
        if concerns.of(refusal.subject) == answer.question.concern
    ]
    if refusals:
        yield "Refused by safety guards:"
        for refusal in refusals:
            yield f"  {refusal.guard} {refusal.subject}: {refusal.message}"
    unplaced = [
        pod
        for pod in answer.plan.unplaced
        if answer.question.pool in pod.why
        or concerns.of(f"pod/{pod.pod}") == answer.question.concern
    ]
    if unplaced:
        yield "Pods without a place:"
        for pod in unplaced:
            yield f"  {pod.pod}: {pod.reason}"
            for pool, why in sorted(pod.why.items()):
                yield f"    {pool}: {why}"


def _move(move: Move) -> Iterator[str]:
    text = f" ({change(move)})" if change(move) else ""
    yield f"  {move.kind} {move.subject}{text}: {move.reason}"
    for rejected in move.rejected:
        yield f"    rather than {rejected}"
    if move.deferred:
        yield f"    waits: {move.deferred}"
