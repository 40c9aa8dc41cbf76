"""Replicas made larger or smaller in place (levers Resize and Shrink)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from plimsoll.decide import wording
from plimsoll.decide.fleet import Bin
from plimsoll.decide.placing import Placer, Story
from plimsoll.decide.plan import Lever, Move, Reason, Refusal, Rejected, Size
from plimsoll.decide.roster import Roster
from plimsoll.world.snapshot import Pod, PodShape, Resources, Workload

DOWN_PERCENT = 90
"""A replica is made smaller only below this share of its size: a dead band against noise."""
_TOLD = 4
"""Replicas of which it is told why they were not resized."""


@dataclass
class Growth:
    """What became of making a workload's running replicas larger."""

    resizes: list[Move] = field(default_factory=list)
    stuck: list[Pod] = field(default_factory=list)
    """Replicas that cannot be larger where they are."""
    refused: dict[str, Refusal] = field(default_factory=dict)
    """Why, by pod."""

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """For the explanation of what is done instead."""
        return tuple(
            Rejected(
                lever=Lever.RESIZE, subject=f"pod/{pod}", reason=why.guard, message=why.message
            )
            for pod, why in list(self.refused.items())[:_TOLD]
        )


class Resizing:
    """Resizes replicas on the placer's fleet, growing their VMs if need be."""

    def __init__(self, placer: Placer, roster: Roster) -> None:
        self._placer = placer
        self._fleet = placer.fleet
        self._roster = roster

    def up(self, workload: Workload, size: Size, rejected: tuple[Rejected, ...] = ()) -> Growth:
        """Grows every running replica that is too small; ``rejected`` is what was not done."""
        growth = Growth()
        for pod, now in self.running(workload):
            to = at_least(now, size)
            if covers(now, to):
                continue
            refusal = self._make_room(pod, now, to)
            if refusal is None:
                growth.resizes.append(self._move(workload, pod, now, to, rejected))
                continue
            self._placer.refuse(refusal)
            growth.refused[pod.key] = refusal
            growth.stuck.append(pod)
        return growth

    def pending(self, workload: Workload, size: Size, moves: list[Move]) -> None:
        """Gives replicas that wait for a place the size that they were placed with."""
        if workload.spec.scale_up is None:
            return
        for pod in self._roster.pods(workload):
            now = pod.size
            if now is None or pod.node is not None or pod.key not in self._fleet.where:
                continue
            to = at_least(now, size)
            taken = self._fleet.bins[self._fleet.where[pod.key]].requests(pod.key)
            # Where there was no room for that, it was placed as it is.
            if not covers(now, to) and covers(taken, changed(pod.shape.requests, now, to)):
                moves.append(self._move(workload, pod, now, to))

    def down(self, workload: Workload, size: Size, moves: list[Move]) -> None:
        """Makes replicas smaller that are larger than so much."""
        if workload.spec.scale_up is None:
            return
        for pod in self._roster.pods(workload):
            now = pod.size
            if now is None or pod.key not in self._fleet.where or pod.resize_refused:
                continue
            target = self._fleet.bins[self._fleet.where[pod.key]]
            if pod.key in target.resized:
                # It has just been made larger; what it has too much of is given back next time.
                continue
            cpu, memory = _lower(now.cpu, size.cpu), _lower(now.memory, size.memory)
            # Kubernetes resizes memory downwards only best-effort, never below use; that is
            # the kubelet's check. A restart to become smaller is never worth it.
            if (cpu, memory) == (now.cpu, now.memory) or pod.restart_on_resize:
                continue
            to = Size(cpu=cpu, memory=memory)
            self._fleet.resize_pod(pod.key, changed(target.requests(pod.key), now, to))
            moves.append(
                Move(
                    kind=Lever.SHRINK,
                    subject=f"pod/{pod.key}",
                    source=wording.amount(now),
                    target=wording.size(to),
                    host=target.host,
                    size=to,
                    uid=pod.uid,
                    reason=f"the peak of the last {workload.spec.scale_down_after:.0f} s fits "
                    f"into {wording.size(to)} a replica",
                )
            )

    def all_fit(self, workload: Workload, size: Size) -> bool:
        """Whether all running replicas can be so large at once, their VMs staying as they are.

        A restart does not count as possible: it is never worth it to have fewer.
        """
        more: dict[str, list[int]] = {}
        for pod, now in self.running(workload):
            to = at_least(now, size)
            if covers(now, to):
                continue
            target = self._fleet.bins[self._fleet.where[pod.key]]
            if pod.resize_refused or pod.restart_on_resize or not target.accepts:
                return False
            sums = more.setdefault(target.name, [0, 0])
            sums[0] += to.cpu - now.cpu
            sums[1] += to.memory - now.memory
            if not _fits(target, *sums):
                return False
        return True

    def running(self, workload: Workload) -> Iterator[tuple[Pod, Resources]]:
        """Replicas that have a VM and a size that may be changed."""
        if workload.spec.scale_up is None:
            return
        for pod in self._roster.pods(workload):
            if pod.size is not None and pod.node is not None and pod.key in self._fleet.where:
                yield pod, pod.size

    def _move(
        self,
        workload: Workload,
        pod: Pod,
        now: Resources,
        to: Size,
        rejected: tuple[Rejected, ...] = (),
    ) -> Move:
        target = self._fleet.bins[self._fleet.where[pod.key]]
        # A pending replica waits for its place anyway, and the scheduler heeds its new size.
        waits = pod.node is not None and (
            target.name in self._placer.grown or (target.vm is not None and not target.vm.resized)
        )
        return Move(
            kind=Lever.RESIZE,
            subject=f"pod/{pod.key}",
            source=wording.amount(now),
            target=wording.size(to),
            host=target.host,
            size=to,
            uid=pod.uid,
            reason=self._why(workload, to),
            rejected=rejected,
            deferred=f"waits until VM {target.name} has grown" if waits else "",
        )

    def _make_room(self, pod: Pod, now: Resources, to: Size) -> Refusal | None:
        """Takes the room for a larger replica, growing its VM if need be."""
        target = self._fleet.bins[self._fleet.where[pod.key]]
        outcome = self.room_for(pod, now, to)
        if isinstance(outcome, Refusal):
            return outcome
        if outcome is not None:
            self._placer.grow(
                target,
                outcome,
                Story(
                    reason=f"{pod.key} needs {wording.size(to)} and the VM is at its load line",
                    rejected=(
                        Rejected(
                            lever=Lever.LOAD,
                            subject=f"vm/{target.name}",
                            reason=Reason.LOAD_LINE,
                            message="the larger replica would be above the load line",
                        ),
                    ),
                ),
            )
        self._fleet.resize_pod(pod.key, changed(target.requests(pod.key), now, to))
        return None

    def room_for(self, pod: Pod, now: Resources, to: Size) -> Refusal | Size | None:
        """None: it fits as is; a size: if the VM grows to it; a refusal: it does not."""
        target = self._fleet.bins[self._fleet.where[pod.key]]
        subject = f"pod/{pod.key}"
        if pod.resize_refused:
            return Refusal(guard=Reason.RESIZE_REFUSED, subject=subject, message=pod.resize_refused)
        if target.vm is not None and (target.vm.lost or not target.vm.ready):
            return Refusal(
                guard=Reason.NOT_READY, subject=subject, message=f"VM {target.name} is not ready"
            )
        more = Resources(cpu=to.cpu - now.cpu, memory=to.memory - now.memory)
        if _fits(target, more.cpu, more.memory):
            return None
        cutoff = self._fleet.snapshot.expendable_below
        if pod.shape.priority < cutoff:
            return Refusal(
                guard=Reason.EXPENDABLE,
                subject=subject,
                message=f"no VM is made larger for pods of a priority below {cutoff}",
            )
        return self._placer.grow_for(target, more, extra_pod=False)

    def _why(self, workload: Workload, to: Size) -> str:
        demand = workload.demand
        if demand is None:
            return f"scaleUp.min is {wording.size(to)}"
        return (
            f"load is {wording.size(Size(cpu=demand.cpu, memory=demand.memory))} over "
            f"{len(self._roster.pods(workload))} replicas; a replica grows first"
        )


def _fits(target: Bin, cpu: int, memory: int) -> bool:
    """Whether so much more goes under the load line; what is not asked for cannot be short."""
    return (not cpu or target.cpu_used + cpu <= target.line_cpu) and (
        not memory or target.memory_used + memory <= target.line_memory
    )


def at_least(now: Resources, size: Size) -> Size:
    """The size, but in nothing smaller than now."""
    return Size(cpu=max(now.cpu, size.cpu), memory=max(now.memory, size.memory))


def covers(has: Resources | Size, wanted: Size | Resources) -> bool:
    """Whether one is no smaller than the other in anything."""
    return has.cpu >= wanted.cpu and has.memory >= wanted.memory


def _lower(now: int, wanted: int) -> int:
    return wanted if wanted * 100 <= now * DOWN_PERCENT else now


def grown(
    workload: Workload, shape: PodShape, size: Size, now: Resources | None = None
) -> PodShape:
    """The shape of a replica with its steered container at least of this size.

    ``now`` is the size of that container in the shape; absent: the template's.
    """
    if workload.spec.scale_up is None:
        return shape
    start = now or workload.template_size
    to = at_least(start, size)
    if covers(start, to):
        return shape
    return msgspec.structs.replace(
        shape,
        key=f"{shape.key}@{to.cpu}/{to.memory}",
        requests=changed(shape.requests, start, to),
    )


def changed(total: Resources, before: Resources, after: Size) -> Resources:
    """Requests of a pod whose steered container goes from one size to another."""
    return Resources(
        cpu=total.cpu - before.cpu + after.cpu,
        memory=total.memory - before.memory + after.memory,
        extended=total.extended,
    )
