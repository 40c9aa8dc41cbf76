"""More replicas and fewer (levers Replicate and Shrink)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from plimsoll.decide import sizing, wording
from plimsoll.decide.placing import Failure, Placer
from plimsoll.decide.plan import Lever, Move, Reason, Refusal, Rejected, Size, Unplaced
from plimsoll.decide.preferring import Apart
from plimsoll.decide.resizing import grown
from plimsoll.decide.roster import Roster
from plimsoll.world.snapshot import Pod, Workload


class Replicating:
    """Adds and removes replicas on the placer's fleet."""

    def __init__(self, placer: Placer, roster: Roster) -> None:
        self._placer = placer
        self._roster = roster

    def wanted(self, workload: Workload, low: int, high: int) -> int:
        """How many there should be: ``low`` carry the load now, ``high`` its recent peak."""
        spec, now = workload.spec, workload.replicas
        if spec.replicas is not None:
            return spec.replicas
        if now < low:
            return low
        if now > spec.scale_out.max:
            return spec.scale_out.max
        if now > high:
            if workload.demand is not None and workload.demand.window_full:
                return high
            self._placer.refuse(
                Refusal(
                    guard=Reason.STABILISING if workload.demand else Reason.STALE_METRICS,
                    subject=f"workload/{workload.key}",
                    message=f"{high} replicas would do, but the load has not been watched for "
                    f"{spec.scale_down_after:.0f} s",
                )
            )
        return now

    def more(
        self,
        workload: Workload,
        replicas: int,
        size: Size,
        apart: Callable[[], Apart | None],
        rejected: tuple[Rejected, ...],
        moves: list[Move],
        unplaced: list[Unplaced],
    ) -> int:
        """Places further replicas, each as large as the others; answers the new count.

        ``apart`` says for each where it must go if it can. Replicas that find no place are
        not asked for, unless the range's lower end wants them.
        """
        spec = workload.spec
        assert workload.template is not None
        # It starts at the template's size and is then resized.
        shape = grown(workload, workload.template, size)
        placed = 0
        for number in range(workload.replicas, replicas):
            pod = f"{workload.key}-new-{number}"
            target = self._placer.place(
                pod,
                shape,
                self._roster.preference(workload.key),
                apart(),
            )
            if isinstance(target, Failure):
                unplaced.append(Unplaced(pod=pod, reason=target.reason, why=target.why))
                continue
            self._roster.add(workload, pod)
            placed += 1
        least = spec.replicas if spec.replicas is not None else sizing.floor(spec)
        final = max(workload.replicas + placed, min(least, replicas))
        if final > workload.replicas:
            moves.append(
                Move(
                    kind=Lever.REPLICATE,
                    subject=f"workload/{workload.key}",
                    source=str(workload.replicas),
                    target=str(final),
                    replicas=final,
                    reason=self._why(workload, replicas, size),
                    rejected=rejected
                    if any(other.lever is Lever.RESIZE for other in rejected)
                    else (*self._not_resized(workload, replicas), *rejected),
                )
            )
        return final

    def fewer(
        self,
        workload: Workload,
        replicas: int,
        waits: str,
        moves: list[Move],
        keep_promise: bool,
    ) -> int:
        """Takes away replicas: those that the ReplicaSet controller would pick first.

        With ``keep_promise`` only as many as the survival promise can do without where
        the others are now. Answers the new count.
        """
        pods, order = self._roster.pods(workload), self.order(workload)
        promised = keep_promise and self._roster.redundancy(workload)[0]
        for number in range(replicas, workload.replicas):
            taken = self._roster.remove(workload, order[: workload.replicas - number])
            kept, broken = self._roster.redundancy(workload) if promised else (True, "")
            if kept:
                moves.append(self._fewer_move(workload, number, waits))
                return number
            self._roster.restore(workload, pods, taken)
            self._placer.refuse(
                Refusal(
                    guard=Reason.REDUNDANCY,
                    subject=f"workload/{workload.key}",
                    message=f"with {number} replicas where they are now {broken}",
                )
            )
        return workload.replicas

    def order(self, workload: Workload) -> list[Pod]:
        """The workload's pods as its controller takes them away, first to last.

        A StatefulSet goes by ordinal. A ReplicaSet takes unbound before bound, not ready
        before ready, crowded together before alone.
        """
        pods = self._roster.pods(workload)
        if workload.target.startswith("StatefulSet/"):
            return sorted(pods, key=_ordinal, reverse=True)
        crowd = Counter(pod.node for pod in pods if pod.node)
        return sorted(
            pods,
            key=lambda p: (p.node is not None, p.ready, -crowd[p.node or ""], -p.created, p.name),
        )

    def _fewer_move(self, workload: Workload, replicas: int, waits: str) -> Move:
        spec = workload.spec
        return Move(
            kind=Lever.SHRINK,
            subject=f"workload/{workload.key}",
            source=str(workload.replicas),
            target=str(replicas),
            replicas=replicas,
            reason=(
                f"spec.replicas fixes {replicas}"
                if spec.replicas is not None
                else f"{replicas} replicas carry the peak of the last {spec.scale_down_after:.0f} s"
                if workload.replicas <= spec.scale_out.max
                else f"scaleOut.max is {spec.scale_out.max}"
            ),
            deferred=waits,
        )

    def _why(self, workload: Workload, replicas: int, size: Size) -> str:
        spec, demand = workload.spec, workload.demand
        if spec.replicas is not None:
            return f"spec.replicas fixes {spec.replicas}"
        if replicas <= sizing.floor(spec):
            if spec.redundancy.survive + 1 > spec.scale_out.min:
                return (
                    f"surviving {spec.redundancy.survive} {spec.redundancy.across}(s) takes "
                    f"{replicas} replicas (out for redundancy)"
                )
            return f"scaleOut.min is {spec.scale_out.min}"
        if demand is None:
            return f"{replicas} replicas are wanted"
        return (
            f"load is {wording.size(Size(cpu=demand.cpu, memory=demand.memory))}; that takes "
            f"{replicas} replicas of {wording.size(size)} (out for throughput)"
        )

    def _not_resized(self, workload: Workload, replicas: int) -> tuple[Rejected, ...]:
        """Why the replicas that there are do not just grow: they would not be enough."""
        spec = workload.spec
        reason = Reason.AT_MAX_SIZE
        if spec.scale_up is None:
            message = "no scaleUp range is given, so replicas keep their size"
        elif 0 < workload.replicas <= spec.redundancy.survive and spec.replicas is None:
            reason = Reason.REDUNDANCY
            message = (
                f"{workload.replicas} replicas, however large, do not survive the loss of "
                f"{spec.redundancy.survive} {spec.redundancy.across}(s)"
            )
        elif (
            workload.demand is not None and spec.replicas is None and replicas > sizing.floor(spec)
        ):
            largest = Size(cpu=spec.scale_up.cpu.max, memory=spec.scale_up.memory.max)
            message = (
                f"{workload.replicas} replicas of the largest size ({wording.size(largest)}) "
                "would not carry it"
            )
        else:
            return ()
        return (
            Rejected(
                lever=Lever.RESIZE,
                subject=f"workload/{workload.key}",
                reason=reason,
                message=message,
            ),
        )


def _ordinal(pod: Pod) -> int:
    number = pod.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
