"""Finds out when a workload's replicas are moved and moved again to no effect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from plimsoll.decide.plan import Lever, Move, Plan
from plimsoll.world.snapshot import Snapshot

WINDOW_SECONDS: Final = 600.0
_SPARE: Final = 3


class Evictions:
    """Counts the moves of each workload.

    To spread replicas anew takes at most one move each. Where twice as many have
    been made within ten minutes, the scheduler does not do what the decision
    expects of it, and every further move only costs somebody a restart.
    """

    def __init__(self) -> None:
        self._made: dict[str, list[float]] = {}

    def hold(self, plan: Plan, snapshot: Snapshot, now: float) -> tuple[Plan, list[str]]:
        """The plan with moves deferred that go too far, and the workloads that they are of."""
        replicas = {workload.key: workload.replicas for workload in snapshot.workloads}
        self._made = {
            key: recent
            for key, times in self._made.items()
            if key in replicas and (recent := [at for at in times if now - at < WINDOW_SECONDS])
        }
        held = {
            key for key, times in self._made.items() if len(times) >= 2 * replicas[key] + _SPARE
        }
        if not held:
            return plan, []
        moves, hit = [], set()
        for move in plan.moves:
            owner = _owner(move, snapshot)
            if move.kind is Lever.MOVE and owner in held:
                hit.add(owner)
                made = len(self._made[owner])
                why = f"{made} moves within ten minutes have not helped: standing still"
                move = msgspec.structs.replace(move, deferred=why)
            moves.append(move)
        return msgspec.structs.replace(plan, moves=tuple(moves)), sorted(hit)

    def made(self, moves: Iterable[Move], snapshot: Snapshot, now: float) -> None:
        """Takes in moves that were carried out."""
        for move in moves:
            owner = _owner(move, snapshot)
            if move.kind is Lever.MOVE and owner:
                self._made.setdefault(owner, []).append(now)


def _owner(move: Move, snapshot: Snapshot) -> str:
    """Key of the workload whose pod is moved; empty: none."""
    pod = snapshot.pod(move.subject.removeprefix("pod/"))
    return (pod.workload if pod is not None else None) or ""
