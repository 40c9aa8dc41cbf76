"""Carried-out moves as ``status.decisions`` of the objects that they touch. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from plimsoll.act.outcome import Outcome, Result
from plimsoll.api.common import Decision
from plimsoll.api.timestamp import rfc3339
from plimsoll.decide.plan import Move
from plimsoll.world.snapshot import Snapshot

KEPT: Final = 20
"""Most decisions in one status; the schema allows no more."""
_REJECTED_MAX: Final = 16
_TEXT_MAX: Final = {"subject": 512, "change": 512, "reason": 2048}
_REJECTED_TEXT_MAX: Final = 2048


def by_object(
    results: Iterable[Result], snapshot: Snapshot, now: float
) -> dict[str, list[Decision]]:
    """By ``vmpool/NAME`` and ``workload/NAMESPACE/NAME``: what was just done, in plan order.

    Moves of several pods that differ in nothing but the pod are told as one.
    """
    vm_pools = {vm.name: vm.pool for vm in snapshot.vms}
    pods = {pod.key: pod for pod in snapshot.pods}
    told: dict[str, dict[tuple[str, str, str], list[Move]]] = defaultdict(dict)
    for result in results:
        if result.outcome is not Outcome.DONE:
            continue
        move = result.move
        kind, _, key = move.subject.partition("/")
        if kind == "workload":
            touched = move.subject
        elif kind == "vm":
            pool = move.vm.pool if move.vm is not None else vm_pools.get(key)
            touched = f"vmpool/{pool}" if pool else ""
        else:
            pod = pods.get(key)
            touched = f"workload/{pod.workload}" if pod is not None and pod.workload else ""
        if touched:
            # A VM is told by itself; which of many pods it was does not matter.
            which = move.subject if kind == "vm" else ""
            same = told[touched].setdefault((move.kind, which, change(move)), [])
            same.append(move)
    return {
        touched: [_decision(moves, now) for moves in groups.values()]
        for touched, groups in told.items()
    }


def with_newest(old: Sequence[Decision], new: Sequence[Decision]) -> tuple[Decision, ...]:
    """Newest first, as many as a status may hold."""
    return (*reversed(new), *old)[:KEPT]


def change(move: Move) -> str:
    """From what to what, as text."""
    if move.source and move.target:
        return f"{move.source} -> {move.target}"
    return move.target or move.source


def _decision(moves: Sequence[Move], now: float) -> Decision:
    first = moves[0]
    subject = first.subject
    if len(moves) > 1:
        subject = f"{len(moves)} pods, {first.subject.removeprefix('pod/')} the first"
    return Decision(
        time=rfc3339(now),
        kind=first.kind.value,
        subject=subject[: _TEXT_MAX["subject"]],
        change=change(first)[: _TEXT_MAX["change"]],
        reason=first.reason[: _TEXT_MAX["reason"]],
        rejected=tuple(str(r)[:_REJECTED_TEXT_MAX] for r in first.rejected[:_REJECTED_MAX]),
    )
