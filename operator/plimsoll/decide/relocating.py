"""Replicas that came onto a VM on which they cannot grow (lever Move).

A new replica starts at the template's size, so the scheduler may have put it where
its full size has no room. It has hardly begun to serve: it is evicted for a better
place, rather than made up for by one replica more.
"""

from __future__ import annotations

from plimsoll.api import labels as names
from plimsoll.decide import guards, wording
from plimsoll.decide.placing import Failure, Placer
from plimsoll.decide.plan import Lever, Move, Reason, Rejected, Size
from plimsoll.decide.resizing import grown
from plimsoll.decide.roster import Roster
from plimsoll.decide.trial import Trial
from plimsoll.world.snapshot import Budget, Pod, PodShape, Workload

NEW = 120.0
"""Seconds for which a replica counts as new, unless it was resized before."""


class Relocating:
    """Moves new replicas on the placer's fleet, one of a workload at a time."""

    def __init__(self, placer: Placer, roster: Roster, budgets: tuple[Budget, ...]) -> None:
        self._placer = placer
        self._fleet = placer.fleet
        self._roster = roster
        self._budgets = budgets

    def move(self, workload: Workload, pod: Pod, size: Size, moves: list[Move]) -> bool:
        """Whether there is a better place, and the replica may be evicted for it."""
        refusal = guards.evict(pod, self._budgets)
        if refusal is not None:
            self._placer.refuse(refusal)
            return False
        source = self._fleet.bins[self._fleet.where[pod.key]]
        shape = source.pods[pod.key]
        if not shape.requests.extended.get(names.BERTHS):
            # Only berths keep the scheduler from putting it where it was, again and again.
            return False
        full = grown(workload, shape, size, pod.size)
        rejected = self._one_more(workload, pod, full, size)
        self._fleet.take(pod.key)
        home = self._placer.place(pod.key, full, self._roster.preference(workload.key))
        if isinstance(home, Failure):
            self._fleet.put(pod.key, shape, source)
            return False
        moves.append(
            Move(
                kind=Lever.MOVE,
                subject=f"pod/{pod.key}",
                uid=pod.uid,
                source=source.name,
                target=home.name,
                host=home.host,
                reason=f"it is new and cannot grow to {wording.size(size)} where it is",
                rejected=(rejected,),
                deferred=""
                if home.takes_pods_now and home.name not in self._placer.grown
                else f"waits until VM {home.name} is ready for it",
            )
        )
        return True

    def _one_more(self, workload: Workload, pod: Pod, full: PodShape, size: Size) -> Rejected:
        """What a further replica would cost instead of moving this one."""
        with Trial(self._placer) as trial:
            prefer = self._roster.preference(workload.key)
            found = trial.place(f"{pod.key}-more", full, prefer, None)
            price = None if isinstance(found, Failure) else trial.cost
        what = f"a further replica of {wording.size(size)}"
        return Rejected(
            lever=Lever.REPLICATE,
            subject=f"workload/{workload.key}",
            reason=Reason.NO_HOST_ROOM if price is None else Reason.NOT_CHEAPER,
            message=f"{what} finds no place"
            if price is None
            else f"{what} would cost {wording.money(price)}, and this one would stay too small "
            "for its share of the load",
            cost=price,
        )


def is_new(workload: Workload, pod: Pod, now: float) -> bool:
    """Whether a replica came a moment ago and has kept the size that it came with."""
    start = workload.template_size
    as_it_came = pod.size is not None and (
        (pod.size.cpu, pod.size.memory) == (start.cpu, start.memory)
    )
    return as_it_came and now - pod.created < NEW
