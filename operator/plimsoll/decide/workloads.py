"""Workloads: replicas of which size, and how many, in order of the levers.

The arithmetic is in ``sizing.py``, what it does to the fleet in ``resizing.py``
and ``replicating.py``, who is where in ``roster.py``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

from plimsoll.decide import sizing
from plimsoll.decide.placing import Placer
from plimsoll.decide.plan import (
    Move,
    Reason,
    Refusal,
    Size,
    Unplaced,
    WorkloadVerdict,
)
from plimsoll.decide.relocating import Relocating
from plimsoll.decide.replicating import Replicating
from plimsoll.decide.resizing import Growth, Resizing, grown
from plimsoll.decide.roster import Roster
from plimsoll.world.snapshot import Budget, Pod, PodShape, Workload


@dataclass(frozen=True)
class _Wish:
    """Replicas and sizes that a workload's load asks for."""

    replicas: int
    up: Size
    """Size that the load now asks for: no replica may be smaller."""
    down: Size
    """Size that the recent peak asks for: no replica is made smaller than that."""


@dataclass(frozen=True)
class _Sized:
    """A workload once its running replicas are as large as they can be."""

    wish: _Wish
    enough: bool
    growth: Growth


@dataclass
class Outcome:
    """What was decided for all workloads."""

    moves: list[Move] = field(default_factory=list)
    unplaced: list[Unplaced] = field(default_factory=list)
    wanted: dict[str, sizing.Shape] = field(default_factory=dict)
    """By workload key; workloads that cannot be steered are not in it."""


class Workloads:
    """Decides over all workloads of a roster on the placer's fleet.

    ``size`` comes first, then pending replicas are placed, then ``decide``: a
    replica that runs takes the room that it grows into before others are put there.
    """

    def __init__(self, placer: Placer, roster: Roster, budgets: tuple[Budget, ...]) -> None:
        self._placer = placer
        self._roster = roster
        self._resizing = Resizing(placer, roster)
        self._replicating = Replicating(placer, roster)
        self._relocating = Relocating(placer, roster, budgets)
        self._sized: dict[str, _Sized] = {}

    def size(self) -> None:
        """Grows running replicas in place, workload by workload in order of name."""
        for key, workload in sorted(self._roster.workloads.items()):
            if workload.target and not workload.problem:
                self._sized[key] = self._size_one(workload)

    def pending_shape(self, pod: Pod) -> PodShape:
        """A pending replica as large as it will be; other pods as they are."""
        sized = self._sized.get(pod.workload or "")
        if sized is None or pod.workload is None or pod.size is None:
            return pod.shape
        return grown(self._roster.workloads[pod.workload], pod.shape, sized.wish.up, pod.size)

    def may_start_small(self, pod: Pod) -> bool:
        """Whether a replica that finds no room at its size is better off small than not at all.

        Only where too few run: a small one that cannot grow would have to be made up for.
        """
        workload = self._roster.workloads.get(pod.workload or "")
        if workload is None:
            return False
        running = sum(replica.node is not None for replica in self._roster.pods(workload))
        return running < sizing.floor(workload.spec)

    def decide(self) -> Outcome:
        """Numbers of replicas and their places, workload by workload in order of name."""
        outcome = Outcome()
        for key, sized in sorted(self._sized.items()):
            self._decide_one(self._roster.workloads[key], sized, outcome)
        return outcome

    def verdicts(self, outcome: Outcome) -> list[WorkloadVerdict]:
        """Whether each promise is kept where its replicas are now placed."""
        result = []
        for key, workload in sorted(self._roster.workloads.items()):
            wanted = outcome.wanted.get(key)
            redundant, message = self._roster.redundancy(workload)
            if redundant and wanted is not None and not wanted.enough:
                message = "its most and largest replicas do not carry the demand"
            result.append(
                WorkloadVerdict(
                    key=key,
                    replicas=wanted.replicas if wanted is not None else workload.replicas,
                    size=wanted.size if wanted is not None else _template_size(workload),
                    redundant=redundant,
                    message=message if wanted is not None else workload.problem or message,
                )
            )
        return result

    def _size_one(self, workload: Workload) -> _Sized:
        low, high, wish = self._wishes(workload)
        wanted = self._replicating.wanted(workload, low.replicas, high.replicas)
        if wanted < workload.replicas:
            wanted = self._fewest(workload, wanted, wish)
        return _Sized(wish(wanted), low.enough, self._resizing.up(workload, wish(wanted).up))

    def _wishes(
        self, workload: Workload
    ) -> tuple[sizing.Shape, sizing.Shape, Callable[[int], _Wish]]:
        """What carries the load now, what its recent peak, and sizes for so many replicas."""
        spec, demand = workload.spec, workload.demand
        fixed = _template_size(workload)
        if demand is None:
            as_is = _without_metrics(workload, fixed)
            return as_is, as_is, lambda replicas: _Wish(replicas, as_is.size, as_is.size)
        domains = self._roster.domains(workload)
        need = sizing.need_of(spec, demand.cpu, demand.memory)
        peak = sizing.need_of(spec, demand.peak_cpu, demand.peak_memory)

        def wish(replicas: int) -> _Wish:
            carriers = sizing.survivors(replicas, spec.redundancy.survive, domains)
            return _Wish(
                replicas,
                sizing.size_for(spec, need, carriers, fixed),
                sizing.size_for(spec, peak, carriers, fixed),
            )

        low = sizing.shape_for(spec, need, domains, fixed)
        return low, sizing.shape_for(spec, peak, domains, fixed), wish

    def _fewest(self, workload: Workload, least: int, wish: Callable[[int], _Wish]) -> int:
        """The fewest replicas, from ``least`` up, that can be as large as they must then be.

        One that has to go so that others find room to grow goes first.
        """
        if not _by_load(workload):
            return least
        numbers = range(least, workload.replicas)
        found = bisect_left(
            numbers, True, key=lambda n: self._resizing.all_can_be(workload, wish(n).up)
        )
        if found == len(numbers):
            self._placer.refuse(
                Refusal(
                    guard=Reason.NO_HOST_ROOM,
                    subject=f"workload/{workload.key}",
                    message="fewer replicas would have to be larger than their VMs allow",
                )
            )
        return least + found

    def _decide_one(self, workload: Workload, sized: _Sized, outcome: Outcome) -> None:
        demand, wish, growth = workload.demand, sized.wish, sized.growth
        outcome.moves += growth.resizes
        self._resizing.pending(workload, wish.up, outcome.moves)
        self._relocate(workload, sized, outcome.moves)
        replicas = wish.replicas
        if growth.stuck and _by_load(workload) and demand is not None:
            replicas = max(replicas, workload.replicas + self._made_up(workload, sized))
            replicas = min(replicas, workload.spec.scale_out.max)
        if replicas > workload.replicas:
            replicas = self._replicating.more(
                workload, replicas, wish.up, growth.rejected, outcome.moves, outcome.unplaced
            )
        elif replicas < workload.replicas:
            waits = "waits until those that stay have grown" if growth.resizes else ""
            replicas = self._replicating.fewer(
                workload, replicas, waits, outcome.moves, keep_promise=_by_load(workload)
            )
        if demand is not None and demand.window_full:
            self._resizing.down(workload, wish.down, outcome.moves)
        outcome.wanted[workload.key] = sizing.Shape(
            replicas=replicas, size=wish.up, enough=sized.enough
        )

    def _relocate(self, workload: Workload, sized: _Sized, moves: list[Move]) -> None:
        """Moves the first new replica that is stuck where it cannot grow."""
        for pod in sized.growth.stuck:
            if self._relocating.is_new(workload, pod) and self._relocating.move(
                workload, pod, sized.wish.up, moves
            ):
                break

    def _made_up(self, workload: Workload, sized: _Sized) -> int:
        """Replicas that make up for what larger ones could not give.

        None while replicas are still on their way to where they can grow, or may come
        back with a lost VM: each would be made up for although nothing lacks in the end.
        """
        unsettled = any(
            pod.node is None or self._relocating.is_new(workload, pod)
            for pod in (*self._roster.pods(workload), *sized.growth.stuck)
        ) or any(why.guard is Reason.NOT_READY for why in sized.growth.refused.values())
        missing, each = sized.growth.missing, sized.wish.up
        return (
            0
            if unsettled
            else max(_times(missing.cpu, each.cpu), _times(missing.memory, each.memory))
        )


def _by_load(workload: Workload) -> bool:
    """Whether the load decides how many there are, and no fixed count or limit."""
    spec = workload.spec
    return spec.replicas is None and workload.replicas <= spec.scale_out.max


def _template_size(workload: Workload) -> Size:
    start = workload.template_size
    return Size(cpu=start.cpu, memory=start.memory)


def _times(amount: int, each: int) -> int:
    return -(-amount // each) if each else 0


def _without_metrics(workload: Workload, fixed: Size) -> sizing.Shape:
    """No demand is known: only the declared ranges move anything, and only upwards."""
    spec = workload.spec
    if spec.replicas is not None:
        replicas = spec.replicas
    else:
        replicas = min(spec.scale_out.max, max(workload.replicas, sizing.floor(spec)))
    size = fixed
    if spec.scale_up is not None:
        cpu, memory = spec.scale_up.cpu, spec.scale_up.memory
        size = Size(
            cpu=min(cpu.max, max(fixed.cpu, cpu.min)),
            memory=min(memory.max, max(fixed.memory, memory.min)),
        )
    return sizing.Shape(replicas=replicas, size=size, enough=True)
