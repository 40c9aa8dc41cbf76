"""A plan for readers: the JSON document (docs/reference/plan-json.md) and the text for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from plimsoll.api.quantity import format_bytes, format_milli
from plimsoll.decide.plan import Move, Plan, PlannedVm
from plimsoll.decide.wording import money
from plimsoll.offline import summary
from plimsoll.offline.podclasses import Owner
from plimsoll.offline.text import Line, count, move_lines, unplaced_text
from plimsoll.world.snapshot import Snapshot

Json = dict[str, Any]

_MOST_NAMED: Final = 3
_MOST_NOTES: Final = 20
"""Notes of a large plan that people are shown."""


class Report(NamedTuple):
    """A plan with the snapshot that it rests on and how it came about."""

    snapshot: Snapshot
    plan: Plan
    notes: tuple[str, ...]
    """Of the files."""
    read_seconds: float
    decide_seconds: float
    owners: Callable[[], Mapping[str, Owner]] = dict
    """By pod key: whose it is. Asked for only if it is told."""


def document(report: Report) -> Json:
    """The plan as ``plimsoll plan -o json`` prints it. A public interface."""
    plan = report.plan
    return {
        "moves": [_move(move) for move in plan.moves],
        "placements": [{"pod": pod, "node": node} for pod, node in sorted(plan.placements.items())],
        "vms": [_vm(vm) for vm in plan.vms],
        "unplaced": [
            {"pod": u.pod, "reason": u.reason.value, "why": dict(sorted(u.why.items()))}
            for u in plan.unplaced
        ],
        "cost": {"before": plan.cost.before / 1000, "after": plan.cost.after / 1000},
        "seconds": {
            "read": round(report.read_seconds, 3),
            "decide": round(report.decide_seconds, 3),
        },
        "notes": list(notes(report)),
    }


def _move(move: Move) -> Json:
    return {
        "kind": move.kind.value,
        "subject": move.subject,
        "from": move.source,
        "to": move.target,
        "host": move.host,
        "reason": move.reason,
        "cost": move.cost / 1000,
        "drifted": move.drifted,
        "deferred": move.deferred,
        "rejected": [
            {
                "kind": rejected.lever.value,
                "subject": rejected.subject,
                "reason": rejected.reason.value,
                "message": rejected.message,
                "cost": None if rejected.cost is None else rejected.cost / 1000,
            }
            for rejected in move.rejected
        ],
    }


def _vm(vm: PlannedVm) -> Json:
    return {
        "name": vm.name,
        "pool": vm.pool or "",
        "host": vm.host,
        "labels": dict(sorted(vm.labels.items())),
        "allocatable": {"cpu": vm.cpu, "memory": vm.memory, "pods": vm.pods},
        "new": vm.new,
    }


def notes(report: Report) -> Iterator[str]:
    """What a reader must know besides the moves: of the files, of objects, of guards."""
    yield from report.notes
    yield from report.plan.notes
    for pool in report.snapshot.pools:
        if pool.problem:
            yield f"VMPool {pool.name} cannot be served: {pool.problem}"
    for workload in report.snapshot.workloads:
        if workload.problem:
            yield f"ContainerWorkload {workload.key} cannot be steered: {workload.problem}"
    for name, broken in sorted(report.plan.survival.items()):
        yield f"VMPool {name} does not keep its survival promise: {broken}"
    for verdict in report.plan.workloads:
        if not verdict.redundant:
            yield f"ContainerWorkload {verdict.key} is not redundant: {verdict.message}"
    yield from _refusals(report.plan)


def _refusals(plan: Plan) -> Iterator[str]:
    """What guards held back; those that say the same in one."""
    subjects: dict[tuple[str, str], list[str]] = {}
    for refusal in plan.refusals:
        subjects.setdefault((refusal.guard.value, refusal.message), []).append(refusal.subject)
    for (guard, message), some in subjects.items():
        named = ", ".join(some[:_MOST_NAMED])
        more = f" and {len(some) - _MOST_NAMED} more" if len(some) > _MOST_NAMED else ""
        yield f"Not done ({guard}): {message}: {named}{more}"


def lines(report: Report) -> Iterator[Line]:
    """The plan for people: decisions, what found no place, and totals.

    A small plan is told decision by decision, a large one by class of pods and of moves.
    """
    plan, snapshot = report.plan, report.snapshot
    large = summary.is_large(snapshot, plan)
    yield Line(_headline(plan), "bold")
    yield from summary.moves(snapshot, plan) if large else move_lines(plan.moves)
    if large:
        yield Line("Pods by class", "bold")
        yield from summary.pods(snapshot, plan, report.owners())
    if plan.unplaced:
        yield Line(f"{count(len(plan.unplaced), 'pod')} without a place", "bold")
        if large:
            yield from summary.unplaced(plan)
        else:
            yield from (Line(f"  {unplaced_text(one)}", "red") for one in plan.unplaced)
    told = tuple(notes(report))
    if told:
        yield Line("Notes", "bold")
        for note in told[: _MOST_NOTES if large else None]:
            yield Line(f"  {note}")
        if large and len(told) > _MOST_NOTES:
            yield Line(f"  {count(len(told) - _MOST_NOTES, 'further note')}: -o json", "dim")
    yield Line("Totals", "bold")
    for total in _totals(report):
        yield Line(f"  {total}")


def _headline(plan: Plan) -> str:
    if plan.moves:
        return count(len(plan.moves), "move")
    return "Nothing can be done" if plan.unplaced else "Nothing to do"


def _totals(report: Report) -> Iterator[str]:
    plan, snapshot = report.plan, report.snapshot
    before = [vm for vm in snapshot.vms if vm.pool is not None]
    after = [vm for vm in plan.vms if vm.pool is not None]
    yield f"VMs of pools        {len(before)} -> {len(after)}"
    cpu = format_milli(sum(vm.allocatable.cpu for vm in before))
    yield f"CPU allocatable     {cpu} -> {format_milli(sum(vm.cpu for vm in after))}"
    memory = _memory(sum(vm.allocatable.memory for vm in before))
    yield f"memory allocatable  {memory} -> {_memory(sum(vm.memory for vm in after))}"
    yield f"cost                {money(plan.cost.before)} -> {money(plan.cost.after)}"
    yield f"pods                {len(plan.placements)} placed, {len(plan.unplaced)} not"
    read, decide = report.read_seconds, report.decide_seconds
    yield f"seconds             {read:.3f} to read, {decide:.3f} to decide"


def _memory(number: int) -> str:
    return format_bytes(-(-number // 1024**2) * 1024**2)
