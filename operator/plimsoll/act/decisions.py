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


class Concerns:
    """Which of our objects a move, a refusal or a pod is about."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._pools = {vm.name: vm.pool for vm in snapshot.vms}
        self._snapshot = snapshot

    def of(self, subject: str, pool: str = "") -> str:
        """``vmpool/NAME`` or ``workload/NAMESPACE/NAME``; empty: none of ours.

        ``pool`` is that of a VM which is only to be launched.
        """
        kind, _, key = subject.partition("/")
        if kind == "vm":
            pool = pool or self._pools.get(key) or ""
            return f"vmpool/{pool}" if pool else ""
        if kind == "pod":
            pod = self._snapshot.pod(key)
            return f"workload/{pod.workload}" if pod is not None and pod.workload else ""
        return subject if kind in ("workload", "vmpool") else ""


def by_object(
    results: Iterable[Result], snapshot: Snapshot, now: float
) -> dict[str, list[Decision]]:
    """By ``vmpool/NAME`` and ``workload/NAMESPACE/NAME``: what was just done, in plan order.

    Moves of several pods that differ in nothing but the pod are told as one.
    """
    concerns = Concerns(snapshot)
    told: dict[str, dict[tuple[str, str, str], list[Move]]] = defaultdict(dict)
    for result in results:
        if result.outcome is not Outcome.DONE:
            continue
        move = result.move
        touched = concerns.of(move.subject, move.vm.pool if move.vm is not None else "")
        if touched:
            # A VM is told by itself; which of many pods it was does not matter.
            which = move.subject if move.subject.startswith("vm/") else ""
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
