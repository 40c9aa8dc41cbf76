"""Workloads: replicas of which size, and how many (levers Resize, Replicate, Shrink)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import msgspec

from plimsoll.api import labels as names
from plimsoll.decide import sizing, wording
from plimsoll.decide.fleet import Bin
from plimsoll.decide.placing import Failure, Placer, Preference, Story
from plimsoll.decide.plan import (
    Lever,
    Move,
    Reason,
    Refusal,
    Rejected,
    Size,
    Unplaced,
    WorkloadVerdict,
)
from plimsoll.world.snapshot import Pod, PodShape, Resources, Snapshot, Workload

DOWN_PERCENT = 90
"""A replica is made smaller only below this share of its size: a dead band against noise."""


@dataclass
class Outcome:
    """What was decided for all workloads."""

    moves: list[Move] = field(default_factory=list)
    unplaced: list[Unplaced] = field(default_factory=list)
    verdicts: list[WorkloadVerdict] = field(default_factory=list)
    wanted: dict[str, sizing.Shape] = field(default_factory=dict)
    """By workload key, for the verdicts that are given once every pod has its place."""


def spread_preference(workload: Workload | None, counts: Counter[str] | None) -> Preference | None:
    """Prefers domains with the fewest replicas of a workload that must survive a loss."""
    if workload is None or counts is None or workload.spec.redundancy.survive == 0:
        return None
    key = names.TOPOLOGY_KEYS[workload.spec.redundancy.across]
    return lambda target: (counts[target.labels.get(key, "")],)


class Workloads:
    """Decides over all workloads of a snapshot on the placer's fleet."""

    def __init__(self, snapshot: Snapshot, placer: Placer) -> None:
        self._placer = placer
        self._fleet = placer.fleet
        self._by_key = {workload.key: workload for workload in snapshot.workloads}
        self._pods: dict[str, list[Pod]] = {key: [] for key in self._by_key}
        self._added: dict[str, list[str]] = {key: [] for key in self._by_key}
        """New replicas that this plan places."""
        for pod in snapshot.pods:
            if pod.workload in self._pods and not pod.terminating:
                self._pods[pod.workload].append(pod)

    def preference(self, key: str | None) -> Preference | None:
        """How to spread replicas of this workload; None where nothing need be spread."""
        workload = self._by_key.get(key or "")
        return spread_preference(workload, self._counts(workload) if workload else None)

    def decide(self) -> Outcome:
        """Resizes, replicas and their places, workload by workload in order of name."""
        outcome = Outcome()
        for key in sorted(self._by_key):
            workload = self._by_key[key]
            if workload.problem or not workload.target:
                continue
            self._decide_one(workload, outcome)
        return outcome

    def verdicts(self, outcome: Outcome) -> list[WorkloadVerdict]:
        """Whether each promise is kept where its replicas are now placed."""
        result = []
        for key in sorted(self._by_key):
            workload = self._by_key[key]
            wanted = outcome.wanted.get(key)
            redundant, message = self.redundancy(workload)
            if wanted is None:
                size = self._fixed(workload)
                result.append(
                    WorkloadVerdict(
                        key=key,
                        replicas=workload.replicas,
                        size=size,
                        redundant=redundant,
                        message=workload.problem or message,
                    )
                )
                continue
            if redundant and not wanted.enough:
                message = "its most and largest replicas do not carry the demand"
            result.append(
                WorkloadVerdict(
                    key=key,
                    replicas=wanted.replicas,
                    size=wanted.size,
                    redundant=redundant,
                    message=message,
                )
            )
        return result

    def redundancy(self, workload: Workload) -> tuple[bool, str]:
        """Whether the workload survives the promised loss where its replicas are now.

        The rest must carry the measured demand; where none is known, there must be a rest.
        """
        survive = workload.spec.redundancy.survive
        if survive == 0:
            return True, ""
        across = workload.spec.redundancy.across
        key = names.TOPOLOGY_KEYS[across]
        by_domain: dict[str, list[Resources]] = {}
        for name, target in self._homes(workload.key):
            vm = target.vm
            if vm is not None and (vm.lost or not vm.ready):
                continue
            domain = target.labels.get(key)
            if domain is not None:
                by_domain.setdefault(domain, []).append(self._size_of(workload, name, target))
        fullest = sorted(
            by_domain, key=lambda d: (-sum(r.cpu for r in by_domain[d]), -len(by_domain[d]), d)
        )
        rest = [size for domain in fullest[survive:] for size in by_domain[domain]]
        if not rest:
            return False, (
                f"its replicas are on {len(by_domain)} {across}s; surviving {survive} takes "
                f"at least {survive + 1}"
            )
        if workload.demand is None:
            return True, ""
        need = sizing.need_of(workload.spec, workload.demand.cpu, workload.demand.memory)
        cpu, memory = sum(r.cpu for r in rest), sum(r.memory for r in rest)
        if cpu < need.cpu or memory < need.memory:
            return False, (
                f"after losing {survive} {across}(s) the rest offers "
                f"{wording.size(Size(cpu=cpu, memory=memory))}, the load needs "
                f"{wording.size(Size(cpu=need.cpu, memory=need.memory))}"
            )
        return True, ""

    def added(self, workload: Workload) -> list[str]:
        """Keys of the new replicas that found a place."""
        return self._added[workload.key]

    def pods(self, workload: Workload) -> list[Pod]:
        """The workload's pods that are there to stay."""
        return self._pods[workload.key]

    def _decide_one(self, workload: Workload, outcome: Outcome) -> None:
        spec = workload.spec
        domains = self._domains(workload)
        fixed = self._fixed(workload)
        demand = workload.demand
        if demand is None:
            wanted = self._without_metrics(workload, fixed)
            low = high = wanted
            may_shrink = False
            need_now = need_peak = sizing.Need(cpu=0, memory=0)
        else:
            need_now = sizing.need_of(spec, demand.cpu, demand.memory)
            need_peak = sizing.need_of(spec, demand.peak_cpu, demand.peak_memory)
            low = sizing.shape_for(spec, need_now, domains, fixed)
            high = sizing.shape_for(spec, need_peak, domains, fixed)
            may_shrink = demand.window_full
        replicas = self._replicas(workload, low.replicas, high.replicas, may_shrink)
        carriers = sizing.survivors(replicas, spec.redundancy.survive, domains)
        if demand is None:
            up = down = low.size
        else:
            up = sizing.size_for(spec, need_now, carriers, fixed)
            down = sizing.size_for(spec, need_peak, carriers, fixed)
        if replicas < workload.replicas and not self._all_can_be(workload, up, replicas):
            self._placer.refuse(
                Refusal(
                    guard=Reason.NO_HOST_ROOM,
                    subject=f"workload/{workload.key}",
                    message="fewer replicas would have to be larger than their VMs allow",
                )
            )
            replicas = workload.replicas
            carriers = sizing.survivors(replicas, spec.redundancy.survive, domains)
            if demand is not None:
                up = sizing.size_for(spec, need_now, carriers, fixed)
                down = sizing.size_for(spec, need_peak, carriers, fixed)
        rejected, missing = self._resize_up(workload, up, outcome)
        if missing is not None and spec.replicas is None and demand is not None:
            extra = max(
                -(-missing.cpu // up.cpu) if up.cpu else 0,
                -(-missing.memory // up.memory) if up.memory else 0,
            )
            replicas = min(spec.scale_out.max, max(replicas, workload.replicas + extra))
        final = self._scale(workload, replicas, up, low, rejected, outcome)
        if may_shrink:
            self._resize_down(workload, down, outcome)
        outcome.wanted[workload.key] = sizing.Shape(replicas=final, size=up, enough=low.enough)

    def _without_metrics(self, workload: Workload, fixed: Size) -> sizing.Shape:
        """No demand known: only the declared range moves anything."""
        spec = workload.spec
        if spec.replicas is not None:
            replicas = spec.replicas
        else:
            replicas = min(spec.scale_out.max, max(workload.replicas, sizing.floor(spec)))
        size = fixed
        if spec.scale_up is not None:
            size = Size(
                cpu=max(fixed.cpu, spec.scale_up.cpu.min),
                memory=max(fixed.memory, spec.scale_up.memory.min),
            )
            size = Size(
                cpu=min(size.cpu, spec.scale_up.cpu.max),
                memory=min(size.memory, spec.scale_up.memory.max),
            )
        return sizing.Shape(replicas=replicas, size=size, enough=True)

    def _replicas(self, workload: Workload, low: int, high: int, may_shrink: bool) -> int:
        spec, now = workload.spec, workload.replicas
        if spec.replicas is not None:
            return spec.replicas
        if now < low:
            return low
        if now > spec.scale_out.max:
            return spec.scale_out.max
        if now > high:
            if may_shrink:
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

    def _scale(
        self,
        workload: Workload,
        replicas: int,
        size: Size,
        low: sizing.Shape,
        rejected: tuple[Rejected, ...],
        outcome: Outcome,
    ) -> int:
        if replicas > workload.replicas:
            return self._replicate(workload, replicas, size, rejected, outcome)
        if replicas < workload.replicas:
            self._fewer(workload, replicas, outcome)
        return replicas

    def _replicate(
        self,
        workload: Workload,
        replicas: int,
        size: Size,
        rejected: tuple[Rejected, ...],
        outcome: Outcome,
    ) -> int:
        spec = workload.spec
        shape = self._replica_shape(workload, size)
        placed = 0
        counts = self._counts(workload)
        key = names.TOPOLOGY_KEYS[spec.redundancy.across]
        for number in range(workload.replicas, replicas):
            pod = f"{workload.key}-new-{number}"
            target = self._placer.place(pod, shape, spread_preference(workload, counts))
            if isinstance(target, Failure):
                outcome.unplaced.append(Unplaced(pod=pod, reason=target.reason, why=target.why))
                continue
            self._added[workload.key].append(pod)
            counts[target.labels.get(key, "")] += 1
            placed += 1
        least = spec.replicas if spec.replicas is not None else sizing.floor(spec)
        final = max(workload.replicas + placed, min(least, replicas))
        if final > workload.replicas:
            outcome.moves.append(
                Move(
                    kind=Lever.REPLICATE,
                    subject=f"workload/{workload.key}",
                    source=str(workload.replicas),
                    target=str(final),
                    replicas=final,
                    reason=self._why_out(workload, replicas, size),
                    rejected=rejected or self._resize_rejected(workload),
                )
            )
        return final

    def _fewer(self, workload: Workload, replicas: int, outcome: Outcome) -> None:
        surplus = workload.replicas - replicas
        pods = self._pods[workload.key]
        crowd = Counter(pod.node for pod in pods if pod.node)
        # What the ReplicaSet controller would pick first: unbound, not ready, crowded together.
        leaving = sorted(
            pods,
            key=lambda p: (p.node is not None, p.ready, -crowd[p.node or ""], -p.created, p.name),
        )[:surplus]
        for pod in leaving:
            if pod.key in self._fleet.where:
                self._fleet.take(pod.key)
        self._pods[workload.key] = [pod for pod in pods if pod not in leaving]
        outcome.moves.append(
            Move(
                kind=Lever.SHRINK,
                subject=f"workload/{workload.key}",
                source=str(workload.replicas),
                target=str(replicas),
                replicas=replicas,
                reason=(
                    f"spec.replicas fixes {replicas}"
                    if workload.spec.replicas is not None
                    else f"{replicas} replicas carry the peak of the last "
                    f"{workload.spec.scale_down_after:.0f} s"
                    if workload.replicas <= workload.spec.scale_out.max
                    else f"scaleOut.max is {workload.spec.scale_out.max}"
                ),
            )
        )

    def _resize_up(
        self, workload: Workload, size: Size, outcome: Outcome
    ) -> tuple[tuple[Rejected, ...], Size | None]:
        """Grows every replica that is too small; answers what could not be, and how much."""
        if workload.spec.scale_up is None:
            return (), None
        rejected: list[Rejected] = []
        missing_cpu = missing_memory = 0
        for pod in self._pods[workload.key]:
            now = pod.size
            if now is None or pod.key not in self._fleet.where or pod.node is None:
                continue
            if now.cpu >= size.cpu and now.memory >= size.memory:
                continue
            to = Size(cpu=max(now.cpu, size.cpu), memory=max(now.memory, size.memory))
            refusal = self._make_room(pod, now, to)
            if refusal is not None:
                rejected.append(
                    Rejected(
                        lever=Lever.RESIZE,
                        subject=f"pod/{pod.key}",
                        reason=refusal.guard,
                        message=refusal.message,
                    )
                )
                self._placer.refuse(refusal)
                missing_cpu += to.cpu - now.cpu
                missing_memory += to.memory - now.memory
                continue
            outcome.moves.append(self._resize_move(workload, pod, now, to))
        missing = Size(cpu=missing_cpu, memory=missing_memory) if rejected else None
        return tuple(rejected[:4]), missing

    def _resize_move(self, workload: Workload, pod: Pod, now: Resources, to: Size) -> Move:
        target = self._fleet.bins[self._fleet.where[pod.key]]
        waits = target.name in self._placer.grown or (
            target.vm is not None and not target.vm.resized
        )
        return Move(
            kind=Lever.RESIZE,
            subject=f"pod/{pod.key}",
            source=wording.amount(now),
            target=wording.size(to),
            host=target.host,
            size=to,
            uid=pod.uid,
            reason=self._why_up(workload, to),
            rejected=(
                Rejected(
                    lever=Lever.REPLICATE,
                    subject=f"workload/{workload.key}",
                    reason=Reason.COSTLIER,
                    message="the replicas are below their largest size; growing them in place "
                    "starts no container and needs no further berth",
                ),
            ),
            deferred=f"waits until VM {target.name} has grown" if waits else "",
        )

    def _resize_down(self, workload: Workload, size: Size, outcome: Outcome) -> None:
        if workload.spec.scale_up is None:
            return
        for pod in self._pods[workload.key]:
            now = pod.size
            if now is None or pod.key not in self._fleet.where or pod.resize_refused:
                continue
            cpu, memory = _lower(now.cpu, size.cpu), _lower(now.memory, size.memory)
            # Kubernetes resizes memory downwards only best-effort, never below use; that is
            # the kubelet's check. A restart to become smaller is never worth it.
            if (cpu, memory) == (now.cpu, now.memory) or pod.restart_on_resize:
                continue
            to = Size(cpu=cpu, memory=memory)
            target = self._fleet.bins[self._fleet.where[pod.key]]
            self._fleet.resize_pod(pod.key, _changed(target.requests(pod.key), now, to))
            outcome.moves.append(
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

    def _make_room(self, pod: Pod, now: Resources, to: Size) -> Refusal | None:
        """Takes the room for a larger replica, growing its VM if need be."""
        target = self._fleet.bins[self._fleet.where[pod.key]]
        outcome = self._room_for(pod, target, now, to)
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
        self._fleet.resize_pod(pod.key, _changed(target.requests(pod.key), now, to))
        return None

    def _room_for(self, pod: Pod, target: Bin, now: Resources, to: Size) -> Refusal | Size | None:
        """None: it fits as is; a size: if the VM grows to it; a refusal: it does not."""
        subject = f"pod/{pod.key}"
        if pod.resize_refused:
            return Refusal(guard=Reason.UNSCHEDULABLE, subject=subject, message=pod.resize_refused)
        if target.vm is not None and (target.vm.lost or not target.vm.ready):
            return Refusal(
                guard=Reason.NOT_READY, subject=subject, message=f"VM {target.name} is not ready"
            )
        more = Resources(cpu=to.cpu - now.cpu, memory=to.memory - now.memory)
        fits_cpu = not more.cpu or target.cpu_used + more.cpu <= target.line_cpu
        fits_memory = not more.memory or target.memory_used + more.memory <= target.line_memory
        if fits_cpu and fits_memory:
            return None
        return self._placer.grow_for(target, more, extra_pod=False)

    def _all_can_be(self, workload: Workload, size: Size, replicas: int) -> bool:
        """Whether enough of the replicas can be so large where they are."""
        able = 0
        for pod in self._pods[workload.key]:
            now = pod.size
            if now is None or pod.key not in self._fleet.where:
                able += 1
                continue
            to = Size(cpu=max(now.cpu, size.cpu), memory=max(now.memory, size.memory))
            target = self._fleet.bins[self._fleet.where[pod.key]]
            if not isinstance(self._room_for(pod, target, now, to), Refusal):
                able += 1
        return able >= min(replicas, len(self._pods[workload.key]))

    def _replica_shape(self, workload: Workload, size: Size) -> PodShape:
        """A new replica as it will be: it starts at the template's size and is then resized."""
        template = workload.template
        assert template is not None
        if workload.spec.scale_up is None:
            return template
        start = workload.template_size
        to = Size(cpu=max(start.cpu, size.cpu), memory=max(start.memory, size.memory))
        if (to.cpu, to.memory) == (start.cpu, start.memory):
            return template
        return msgspec.structs.replace(
            template,
            key=f"{template.key}@{to.cpu}/{to.memory}",
            requests=_changed(template.requests, start, to),
        )

    def _fixed(self, workload: Workload) -> Size:
        start = workload.template_size
        return Size(cpu=start.cpu, memory=start.memory)

    def _counts(self, workload: Workload) -> Counter[str]:
        key = names.TOPOLOGY_KEYS[workload.spec.redundancy.across]
        return Counter(
            target.labels.get(key, "")
            for _, target in self._homes(workload.key)
            if target.vm is None or not target.vm.lost
        )

    def _homes(self, key: str) -> list[tuple[str, Bin]]:
        """The workload's placed pods, new replicas included, with their VMs."""
        where = self._fleet.where
        own = [pod.key for pod in self._pods[key]] + self._added[key]
        return [(pod, self._fleet.bins[where[pod]]) for pod in own if pod in where]

    def _size_of(self, workload: Workload, pod: str, target: Bin) -> Resources:
        total = target.requests(pod)
        return Resources(
            cpu=total.cpu - workload.overhead.cpu, memory=total.memory - workload.overhead.memory
        )

    def _domains(self, workload: Workload) -> int | None:
        """Failure domains that there are for a workload; None: no end to them is known."""
        across = workload.spec.redundancy.across
        if across == "vm":
            return None
        found: set[str] = set()
        key = names.TOPOLOGY_KEYS[across]
        for target in self._fleet.bins.values():
            if target.accepts and key in target.labels:
                found.add(target.labels[key])
        for hypervisor in self._fleet.hypervisors.values():
            if hypervisor.hosts is None:
                return None
            for host in hypervisor.hosts:
                if host.state == "Up":
                    found.add(host.name if across == "host" else host.zone)
        if across == "zone":
            for pool in self._fleet.pools.values():
                found.update(pool.spec.zones)
            found.discard("")
        return len(found)

    def _why_up(self, workload: Workload, to: Size) -> str:
        demand = workload.demand
        if demand is None:
            return f"scaleUp.min is {wording.size(to)}"
        return (
            f"load is {wording.size(Size(cpu=demand.cpu, memory=demand.memory))} over "
            f"{len(self._pods[workload.key])} replicas; a replica grows first"
        )

    def _why_out(self, workload: Workload, replicas: int, size: Size) -> str:
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

    def _resize_rejected(self, workload: Workload) -> tuple[Rejected, ...]:
        """Why the replicas that there are do not just grow: they would not be enough."""
        spec = workload.spec
        if spec.scale_up is None:
            message = "no scaleUp range is given, so replicas keep their size"
        elif workload.demand is not None and spec.replicas is None:
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
                reason=Reason.AT_MAX_SIZE,
                message=message,
            ),
        )


def _lower(now: int, wanted: int) -> int:
    return wanted if wanted * 100 <= now * DOWN_PERCENT else now


def _changed(total: Resources, before: Resources, after: Size) -> Resources:
    return Resources(
        cpu=total.cpu - before.cpu + after.cpu,
        memory=total.memory - before.memory + after.memory,
        extended=total.extended,
    )
