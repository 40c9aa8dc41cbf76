"""Workloads: replicas of which size, and how many, in order of the levers.

The arithmetic is in ``sizing.py``, what it does to the fleet in ``resizing.py``
and ``replicating.py``, who is where in ``roster.py``.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from plimsoll.decide import sizing, wording
from plimsoll.decide.joint import Choice, Joint, Option
from plimsoll.decide.placing import Placer
from plimsoll.decide.plan import (
    Lever,
    Move,
    Reason,
    Refusal,
    Size,
    Unplaced,
    WorkloadVerdict,
)
from plimsoll.decide.preferring import Apart
from plimsoll.decide.relocating import Relocating, is_new
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
    choice: Choice


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
        self._joint = Joint(placer, roster, self._resizing)
        self._relocating = Relocating(placer, roster, budgets)
        self._sized: dict[str, _Sized] = {}

    def size(self) -> None:
        """Grows running replicas in place, workload by workload in order."""
        workloads = self._roster.workloads
        for key, workload in sorted(workloads.items(), key=lambda item: self._order(item[0])):
            if workload.target and not workload.problem:
                self._sized[key] = self._size_one(workload)

    def pending_shape(self, pod: Pod) -> PodShape:
        """A pending replica as large as it will be; other pods as they are."""
        sized = self._sized.get(pod.workload or "")
        if sized is None or pod.workload is None or pod.size is None:
            return pod.shape
        return grown(self._roster.workloads[pod.workload], pod.shape, sized.wish.up, pod.size)

    def apart(self, key: str | None) -> Apart | None:
        """Domains that a replica must keep out of if it can; None: it may be anywhere."""
        sized = self._sized.get(key or "")
        if key is None or sized is None:
            return self._roster.apart(key)
        return self._joint.apart(self._roster.workloads[key], sized.choice.option)

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
        """Numbers of replicas and their places, workload by workload in order."""
        outcome = Outcome()
        for key, sized in sorted(self._sized.items(), key=lambda item: self._order(item[0])):
            self._decide_one(self._roster.workloads[key], sized, outcome)
        return outcome

    def verdicts(self, outcome: Outcome) -> list[WorkloadVerdict]:
        """Whether each promise is kept where its replicas are now placed."""
        result = []
        for key, workload in sorted(self._roster.workloads.items()):
            wanted = outcome.wanted.get(key)
            redundant, message = self._roster.redundancy(workload)
            if redundant and wanted is not None and self._lacks(workload, wanted):
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

    def _order(self, key: str) -> tuple[bool, str]:
        """By name, expendable ones after all others: they take the room that is left."""
        template = self._roster.workloads[key].template
        cutoff = self._placer.fleet.snapshot.expendable_below
        return template is not None and template.priority < cutoff, key

    def _lacks(self, workload: Workload, wanted: sizing.Shape) -> bool:
        """Whether the load is not carried, by what was chosen or by where that found places."""
        if not wanted.enough or workload.demand is None:
            return not wanted.enough
        need = sizing.need_of(workload.spec, workload.demand.cpu, workload.demand.memory)
        return self._joint.short(workload, need) > 0

    def _size_one(self, workload: Workload) -> _Sized:
        """What a workload needs now, and as much of it as its running replicas can be given."""
        spec, demand = workload.spec, workload.demand
        fixed = _template_size(workload)
        if demand is None:
            as_is = _without_metrics(workload, fixed)
            number = self._replicating.wanted(workload, as_is.replicas, as_is.replicas)
            wish = _Wish(number, as_is.size, as_is.size)
            choice = Choice(Option(number, number, 0, as_is.size))
            return _Sized(wish, True, self._resizing.up(workload, wish.up), choice)
        domains = self._roster.domains(workload)
        need = sizing.need_of(spec, demand.cpu, demand.memory)
        peak = sizing.need_of(spec, demand.peak_cpu, demand.peak_memory)
        low = sizing.shape_for(spec, need, domains, fixed)
        high = sizing.shape_for(spec, peak, domains, fixed)
        wanted = self._replicating.wanted(workload, low.replicas, high.replicas)
        if wanted < workload.replicas:
            choice = self._fewer(workload, wanted, need, fixed)
        else:
            choice = self._joint.choose(workload, need, fixed, wanted)
        option = choice.option
        at_peak = sizing.size_for(spec, sizing.less(peak, option.smaller), option.carriers, fixed)
        wish = _Wish(option.replicas, option.size, sizing.larger(at_peak, option.size))
        later = tuple(other for other in choice.rejected if other.lever is not Lever.RESIZE)
        growth = self._resizing.up(workload, wish.up, later)
        return _Sized(wish, low.enough and choice.carries, growth, choice)

    def _fewer(self, workload: Workload, least: int, need: sizing.Need, fixed: Size) -> Choice:
        """The fewest replicas, from ``least`` up, that can be as large as they must then be.

        No VM is made larger to have fewer, and the promise is kept where the others are.
        """
        if not _by_load(workload):
            return self._joint.choose(workload, need, fixed, least)
        order = [pod.key for pod in self._replicating.order(workload)]

        def option(number: int) -> Option:
            left = self._joint.carriers(workload, order[: workload.replicas - number])
            return Option(number, left, 0, sizing.size_for(workload.spec, need, left, fixed))

        numbers = range(least, workload.replicas)
        found = bisect_left(
            numbers, True, key=lambda number: self._broken(workload, need, option(number)) is None
        )
        if found:
            refusal = self._broken(workload, need, option(numbers[found - 1]))
            if refusal is not None:
                self._placer.refuse(refusal)
        if found == len(numbers):
            return self._joint.choose(workload, need, fixed, workload.replicas)
        return Choice(option(numbers[found]))

    def _broken(self, workload: Workload, need: sizing.Need, option: Option) -> Refusal | None:
        """What speaks against fewer replicas."""
        subject = f"workload/{workload.key}"
        left, size, promise = option.carriers, option.size, workload.spec.redundancy
        if not left or left * size.cpu < need.cpu or left * size.memory < need.memory:
            return Refusal(
                guard=Reason.REDUNDANCY,
                subject=subject,
                message=f"{option.replicas} replicas where they are now would not "
                + (
                    f"survive the loss of {promise.survive} {promise.across}(s)"
                    if promise.survive
                    else "carry the load"
                ),
            )
        if not self._resizing.all_fit(workload, size):
            return Refusal(
                guard=Reason.NO_HOST_ROOM,
                subject=subject,
                message=f"{option.replicas} replicas would have to be of {wording.size(size)}, "
                "for which their VMs have no room as they are",
            )
        price = self._joint.cost_of_size(workload, size)
        if price > 0:
            return Refusal(
                guard=Reason.SURVIVAL,
                subject=subject,
                message=f"{option.replicas} replicas would have to be of {wording.size(size)}; "
                f"their room after the loss of a host would cost {wording.money(price)}",
            )
        return None

    def _decide_one(self, workload: Workload, sized: _Sized, outcome: Outcome) -> None:
        demand, wish, growth = workload.demand, sized.wish, sized.growth
        outcome.moves += growth.resizes
        self._resizing.pending(workload, wish.up, outcome.moves)
        self._relocate(workload, sized, outcome.moves)
        replicas = wish.replicas
        if replicas > workload.replicas:
            replicas = self._replicating.more(
                workload,
                replicas,
                wish.up,
                lambda: self._joint.apart(workload, sized.choice.option),
                (*growth.rejected, *sized.choice.rejected),
                outcome.moves,
                outcome.unplaced,
            )
        elif replicas < workload.replicas:
            waits = "waits until those that stay have grown" if growth.resizes else ""
            replicas = self._replicating.fewer(
                workload, replicas, waits, outcome.moves, keep_promise=_by_load(workload)
            )
        # Until further replicas serve, those that there are carry what these will.
        served = replicas <= workload.replicas and all(
            pod.ready for pod in self._roster.pods(workload)
        )
        if demand is not None and demand.window_full and sized.choice.carries and served:
            self._resizing.down(workload, wish.down, outcome.moves)
        outcome.wanted[workload.key] = sizing.Shape(
            replicas=replicas, size=wish.up, enough=sized.enough
        )

    def _relocate(self, workload: Workload, sized: _Sized, moves: list[Move]) -> None:
        """Moves the first new replica that is stuck where it cannot grow."""
        for pod in sized.growth.stuck:
            if is_new(workload, pod, self._placer.now) and self._relocating.move(
                workload, pod, sized.wish.up, moves
            ):
                break


def _by_load(workload: Workload) -> bool:
    """Whether the load decides how many there are, and no fixed count or limit."""
    spec = workload.spec
    return spec.replicas is None and workload.replicas <= spec.scale_out.max


def _template_size(workload: Workload) -> Size:
    start = workload.template_size
    return Size(cpu=start.cpu, memory=start.memory)


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
