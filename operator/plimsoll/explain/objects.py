"""Explanations of workloads and pools: what was decided, what would be now, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

from plimsoll.act.decisions import Concerns
from plimsoll.api import ContainerWorkload, VMPool
from plimsoll.api.quantity import format_bytes, format_milli
from plimsoll.decide.plan import Plan
from plimsoll.decide.planner import plan
from plimsoll.explain.facts import Facts
from plimsoll.explain.moves import move_lines
from plimsoll.explain.question import NotThere, Question
from plimsoll.world.owners import key_of

T = TypeVar("T")


class Answer(NamedTuple):
    """All that a workload or a pool is explained from."""

    question: Question
    facts: Facts
    plan: Plan


def lines(question: Question, facts: Facts) -> Iterator[str]:
    """The explanation, line by line.

    Raises:
        NotThere: there is no such workload or pool.
    """
    answer = Answer(question, facts, plan(facts.snapshot, facts.now))
    if question.pool:
        pool = _found(
            (p for p in facts.objects.pools if p.metadata.name == question.pool),
            f"there is no VMPool {question.pool}",
        )
        yield from _pool(answer, pool)
        yield from _history(pool)
    else:
        workload = _found(
            (w for w in facts.objects.workloads if key_of(w) == question.workload),
            f"there is no ContainerWorkload {question.workload}",
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
    for vm in answer.facts.snapshot.vms:
        if vm.pool == pool.metadata.name:
            pods = sum(pod.node == vm.name for pod in answer.facts.snapshot.pods)
            size = f"{format_milli(vm.cpu)} CPU, {format_bytes(vm.memory)}"
            yield f"  {vm.name}: {vm.phase.value} on {vm.host or '?'}, {size}, {pods} pods"


def _workload(answer: Answer, workload: ContainerWorkload) -> Iterator[str]:
    key = key_of(workload)
    seen = next(w for w in answer.facts.snapshot.workloads if w.key == key)
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
    for note in answer.facts.notes:
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
    concerns = Concerns(answer.facts.snapshot)
    mine = [
        move
        for move in answer.plan.moves
        if concerns.of(move.subject, move.vm.pool if move.vm else "") == answer.question.concern
    ]
    yield "Would be decided now:"
    for move in mine:
        yield from move_lines(move)
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
