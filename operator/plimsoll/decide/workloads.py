"""Workloads: replicas of which size, and how many, in order of the levers.

The arithmetic is in ``sizing.py``, what it does to the fleet in ``resizing.py``
and ``replicating.py``, who is where in ``roster.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from plimsoll.decide import sizing
from plimsoll.decide.placing import Placer
from plimsoll.decide.plan import Move, Reason, Refusal, Size, Unplaced, WorkloadVerdict
from plimsoll.decide.replicating import Replicating
from plimsoll.decide.resizing import Resizing
from plimsoll.decide.roster import Roster
from plimsoll.world.snapshot import Workload


@dataclass(frozen=True)
class _Wish:
    """Replicas and sizes that a workload's load asks for."""

    replicas: int
    up: Size
    """Size that the load now asks for: no replica may be smaller."""
    down: Size
    """Size that the recent peak asks for: no replica is made smaller than that."""


@dataclass
class Outcome:
    """What was decided for all workloads."""

    moves: list[Move] = field(default_factory=list)
    unplaced: list[Unplaced] = field(default_factory=list)
    wanted: dict[str, sizing.Shape] = field(default_factory=dict)
    """By workload key; workloads that cannot be steered are not in it."""


class Workloads:
    """Decides over all workloads of a roster on the placer's fleet."""

    def __init__(self, placer: Placer, roster: Roster) -> None:
        self._placer = placer
        self._roster = roster
        self._resizing = Resizing(placer, roster)
        self._replicating = Replicating(placer, roster)

    def decide(self) -> Outcome:
        """Sizes, replicas and their places, workload by workload in order of name."""
        outcome = Outcome()
        for _, workload in sorted(self._roster.workloads.items()):
            if not workload.problem and workload.target:
                self._decide_one(workload, outcome)
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

    def _decide_one(self, workload: Workload, outcome: Outcome) -> None:
        spec, demand = workload.spec, workload.demand
        domains = self._roster.domains(workload)
        fixed = _template_size(workload)
        if demand is None:
            low = high = _without_metrics(workload, fixed)
        else:
            need = sizing.need_of(spec, demand.cpu, demand.memory)
            peak = sizing.need_of(spec, demand.peak_cpu, demand.peak_memory)
            low = sizing.shape_for(spec, need, domains, fixed)
            high = sizing.shape_for(spec, peak, domains, fixed)

        def wish(replicas: int) -> _Wish:
            if demand is None:
                return _Wish(replicas, low.size, low.size)
            carriers = sizing.survivors(replicas, spec.redundancy.survive, domains)
            return _Wish(
                replicas,
                sizing.size_for(spec, need, carriers, fixed),
                sizing.size_for(spec, peak, carriers, fixed),
            )

        may_shrink = demand is not None and demand.window_full
        wanted = wish(self._replicating.wanted(workload, low.replicas, high.replicas, may_shrink))
        if wanted.replicas < workload.replicas and not self._resizing.all_can_be(
            workload, wanted.up, wanted.replicas
        ):
            self._placer.refuse(
                Refusal(
                    guard=Reason.NO_HOST_ROOM,
                    subject=f"workload/{workload.key}",
                    message="fewer replicas would have to be larger than their VMs allow",
                )
            )
            wanted = wish(workload.replicas)
        rejected, missing = self._resizing.up(workload, wanted.up, outcome.moves)
        replicas = wanted.replicas
        if missing is not None and spec.replicas is None and demand is not None:
            # What could not be had by larger replicas is made up for by more of them.
            extra = max(
                _times(missing.cpu, wanted.up.cpu), _times(missing.memory, wanted.up.memory)
            )
            replicas = min(spec.scale_out.max, max(replicas, workload.replicas + extra))
        if replicas > workload.replicas:
            replicas = self._replicating.more(
                workload, replicas, wanted.up, rejected, outcome.moves, outcome.unplaced
            )
        elif replicas < workload.replicas:
            self._replicating.fewer(workload, replicas, outcome.moves)
        if may_shrink:
            self._resizing.down(workload, wanted.down, outcome.moves)
        outcome.wanted[workload.key] = sizing.Shape(
            replicas=replicas, size=wanted.up, enough=low.enough
        )


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
