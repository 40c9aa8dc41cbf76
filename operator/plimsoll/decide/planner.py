"""The plan: one pure function from a snapshot and a clock reading to moves with reasons.

Read this file first: it is the decision, in order. What each step may and may
not do stands in the module it calls.

1. Pools are brought to their smallest count.
2. Pods that must leave (their VM drains) and pending pods get places: on VMs as
   they are (Load), on VMs made larger (Grow), on new VMs (Launch).
3. Workloads are sized: replicas grow in place (Resize), multiply (Replicate)
   or are fewer and smaller again (Shrink).
4. VMs over their load line grow; VMs are added where a survival promise needs them.
5. VMs not yet launched are made no larger than need be; what the rest can do without is given
   back (Move, Retire, Shrink).
6. Expendable pods take the room that is left.
7. Where larger VMs may be dear, the same is planned with smaller ones, and compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cached_property
from operator import attrgetter

import numpy as np

from plimsoll.decide import cost, survival
from plimsoll.decide.alternatives import Caps, cheapest
from plimsoll.decide.classes import Rules
from plimsoll.decide.consolidate import Consolidation
from plimsoll.decide.effort import Effort
from plimsoll.decide.filters import Filters
from plimsoll.decide.fleet import Bin, Fleet
from plimsoll.decide.loading import Loading
from plimsoll.decide.placing import EXISTING, Failure, Placer, Story
from plimsoll.decide.plan import Cost, Lever, Plan, Reason, Refusal, Size, Unplaced
from plimsoll.decide.promises import Promises
from plimsoll.decide.roster import Roster
from plimsoll.decide.sizes import Sizes
from plimsoll.decide.trimming import Trimming
from plimsoll.decide.workloads import Workloads
from plimsoll.decide.writing import grow_moves, launch_moves, notes, placements, planned_vms
from plimsoll.world.selectors import tolerates
from plimsoll.world.snapshot import Pod, PodShape, Resources, Snapshot

EFFORT = 400_000
"""Containers that are taken up, at most, in the search for VMs to retire."""

_SETTLE_ROUNDS = 5
"""How often pods are placed anew whose rules other pods and VMs have come to break."""

_ORDER = {lever: number for number, lever in enumerate(Lever)}


def plan(snapshot: Snapshot, now: float, out_of_time: Callable[[], bool] | None = None) -> Plan:
    """Decides what to do about a snapshot at a moment (seconds since the epoch).

    Pure and deterministic: equal snapshots and times give equal plans. ``out_of_time``
    bounds the search for what can be given back; it ends with what it found so far.
    """
    first = Planner(Fleet(snapshot), now, Effort(EFFORT, out_of_time)).plan()
    return improved(first, snapshot, now, out_of_time)


def improved(
    first: Plan, snapshot: Snapshot, now: float, out_of_time: Callable[[], bool] | None = None
) -> Plan:
    """A plan, or where larger VMs may be dear the cheapest of plans with smaller ones."""
    if out_of_time is not None and out_of_time():
        return first

    def again(caps: Caps) -> Plan:
        fleet = Fleet(snapshot)
        for pool, cpu in caps.items():
            fleet.sizes[pool] = fleet.sizes[pool].capped(cpu)
        return Planner(fleet, now, Effort(EFFORT, out_of_time)).plan()

    return cheapest(snapshot, first, again)


class Planner:
    """Works one plan out on a fleet."""

    def __init__(self, fleet: Fleet, now: float, effort: Effort) -> None:
        self._snapshot = snapshot = fleet.snapshot
        self._now = now
        self._effort = effort
        self._fleet = fleet
        self._before = cost.of_fleet(self._fleet)
        self._placer = Placer(self._fleet, Filters(self._fleet), now)
        self._roster = Roster(snapshot, self._fleet)
        self._workloads = Workloads(self._placer, self._roster, snapshot.budgets)
        self._unplaced: dict[str, Unplaced] = {}
        self._filling: list[Pod] = []
        """Expendable pods without a place, which are placed last."""
        self._settling: dict[str, PodShape] = {}
        """What replicas were placed as that are just being placed anew."""

    def plan(self) -> Plan:
        """The plan; the fleet is then as it will be when the plan is carried out."""
        self._fill_pools()
        replicas = self._place_pods()
        self._place_driven()
        self._workloads.size()
        self._place_pending(replicas)
        self._place_driven()
        outcome = self._workloads.decide()
        self._restore_lines()
        promises = Promises(self._placer)
        for _ in range(_SETTLE_ROUNDS):
            self._place_driven()
            moved = self._settle()
            if moved:
                self._place_again()
            vms = self._fleet.bins_version
            promises.keep()
            if not moved and vms == self._fleet.bins_version:
                break
        self._place_driven()
        self._cancel_empty()
        self._right_size()
        Trimming(self._placer, self._roster).trim()
        consolidation = Consolidation(self._placer, self._roster, self._effort)
        given_back = consolidation.moves()
        self._place_expendable()
        loading = Loading(self._fleet, self._placer.filters, self._roster, outcome.wanted)
        moves = [
            *loading.moves(),
            *outcome.moves,
            *grow_moves(self._placer),
            *launch_moves(self._placer, loading),
            *given_back,
        ]
        moves.sort(key=lambda move: _ORDER[move.kind])
        unplaced = [*self._unplaced.values(), *outcome.unplaced]
        return Plan(
            moves=tuple(moves),
            placements=placements(self._fleet, self._roster),
            vms=planned_vms(self._fleet),
            unplaced=tuple(sorted(unplaced, key=lambda u: u.pod)),
            refusals=tuple(refusal for _, refusal in sorted(self._placer.refusals.items())),
            workloads=tuple(self._workloads.verdicts(outcome)),
            survival={
                name: broken
                for name in sorted(self._fleet.pools)
                if (broken := survival.broken(self._fleet, name))
            },
            cost=Cost(before=self._before, after=cost.of_fleet(self._fleet)),
            recheck_at=self._recheck_at(consolidation.recheck),
            notes=notes(self._snapshot),
        )

    def _place_pods(self) -> list[Pod]:
        """Displaced pods first, for they have run; then pending pods that no workload steers.

        Answers the others, which are placed once it is known how large they will be.
        """
        pending = [
            pod
            for pod in sorted(self._fleet.unbound.values(), key=attrgetter("key"))
            if not (pod.terminating or pod.daemon or pod.gated)
        ]
        self._filling += [pod for pod in pending if self._is_expendable(pod)]
        pending = [
            pod
            for pod in pending
            if not (self._is_expendable(pod) or (pod.nominated and self._is_nominated(pod)))
        ]
        displaced = self._displaced()
        self._move_displaced([item for item in displaced if not self._is_expendable(item[0])])
        self._place_pending([pod for pod in pending if pod.size is None])
        return [pod for pod in pending if pod.size is not None]

    def _displaced(self) -> list[tuple[Pod, Bin]]:
        """Pods that must leave their VM, and that, in the order of their classes."""
        found = [
            (pod, target)
            for target in self._fleet.by_slot
            if target.leaving
            or (target.taints and any(t.effect == "NoExecute" for t in target.taints))
            for pod in self._fleet.pods_of(target)
            if not (pod.terminating or pod.daemon)
            and ((target.leaving and not pod.held) or self._driven_away(pod))
        ]
        return sorted(found, key=lambda item: self._order(item[0]))

    def _move_displaced(self, displaced: list[tuple[Pod, Bin]]) -> None:
        for pod, home in displaced:
            shape = home.pods[pod.key]
            self._fleet.take(pod.key)
            if isinstance(self._place(pod, shape), Failure):
                self._fleet.put(pod.key, shape, home)

    def _is_expendable(self, pod: Pod) -> bool:
        return pod.shape.priority < self._snapshot.expendable_below

    def _driven_away(self, pod: Pod) -> bool:
        """Whether a NoExecute taint of its VM drives the pod away.

        One that it tolerates for a while (``tolerationSeconds``) does not: the scheduler may
        put its successor there again. Those that Kubernetes itself puts on a node in trouble
        come and go with the trouble: what they do is the life cycle's to judge, for unknown
        is not gone.
        """
        home = self._fleet.bins[self._fleet.where[pod.key]]
        return any(
            taint.effect == "NoExecute"
            and not taint.key.startswith("node.kubernetes.io/")
            and not any(tolerates(toleration, taint) for toleration in pod.shape.tolerations)
            for taint in home.taints
        )

    def _is_nominated(self, pod: Pod) -> bool:
        """Puts a pod where the scheduler is making room for it, if that will be enough.

        What is on its way out of the VM is taken to be gone.
        """
        fleet = self._fleet
        target = fleet.bins.get(pod.nominated or "")
        if target is None or not target.takes_pods_now:
            return False
        going = [target.requests(key) for key in target.terminating]
        requests = pod.shape.requests
        fits = (
            target.cpu_used - sum(r.cpu for r in going) + requests.cpu <= target.allocatable_cpu
            and target.memory_used - sum(r.memory for r in going) + requests.memory
            <= target.allocatable_memory
            and len(target.pods) - len(going) < target.max_pods
        )
        if not fits or self._placer.filters.static(pod.shape, target) is not None:
            return False
        mark = fleet.mark()
        for key in list(target.terminating):
            fleet.take(key)
        kept_off = self._placer.filters.dynamic(pod.shape, target)
        fleet.rollback(mark)
        if kept_off is not None:
            return False
        fleet.put(pod.key, pod.shape, target)
        return True

    def _place_driven(self) -> None:
        """Finds places for pods that others drove out; these may drive out still others."""
        preempting = self._placer.preempting
        while preempting.driven:
            driven, preempting.driven = preempting.driven, []
            for victim in driven:
                self._placer.refuse(
                    Refusal(
                        guard=Reason.PREEMPTS,
                        subject=f"pod/{victim.by}",
                        message=f"it drives {victim.key} out of VM {victim.source}: no VM is "
                        "bought for it",
                    )
                )
                if self._fleet.pods[victim.key].daemon:
                    why = f"{victim.by} drives it out of VM {victim.source}, its only place"
                    self._unplaced[victim.key] = Unplaced(
                        pod=victim.key, reason=Reason.PREEMPTS, why={EXISTING: why}
                    )
            victims = [self._fleet.pods[victim.key] for victim in driven]
            victims = [pod for pod in victims if not pod.daemon]
            self._filling += [pod for pod in victims if self._is_expendable(pod)]
            self._place_pending([pod for pod in victims if not self._is_expendable(pod)])

    def _place_pending(self, pods: list[Pod]) -> None:
        """In the order of their classes: by priority, hard ones first, large ones first."""
        waiting = pods
        while waiting:
            # A pod that must be near another may find a place once that one has its own.
            again = []
            mixing: list[list[Pod]] = []
            for run in self._runs(waiting):
                if self._mixes(run[0]):
                    if mixing and mixing[0][0].shape.priority != run[0].shape.priority:
                        again += self._mixed(mixing)
                        mixing = []
                    mixing.append(run)
                    continue
                again += self._mixed(mixing)
                mixing = []
                again += self._failed(run)
            again += self._mixed(mixing)
            if len(again) == len(waiting) or not any(pod.shape.affinity for pod in again):
                break
            waiting = again

    def _runs(self, pods: list[Pod]) -> list[list[Pod]]:
        """Pods that are alike and of one workload together, in the order of their classes."""
        runs: defaultdict[tuple[str, str | None], list[Pod]] = defaultdict(list)
        for pod in pods:
            runs[pod.shape.key, pod.workload].append(pod)
        for run in runs.values():
            run.sort(key=attrgetter("key"))
        return sorted(runs.values(), key=lambda run: self._order(run[0]))

    def _mixes(self, pod: Pod) -> bool:
        """Whether VMs may be filled with a mix of such pods and others of its priority."""
        return pod.workload not in self._roster.workloads and self._placer.mixes(pod.shape)

    def _mixed(self, runs: list[list[Pod]]) -> list[Pod]:
        """Places pods that mix; answers those that found no place."""
        if len(runs) < 2:
            return [pod for run in runs for pod in self._failed(run)]
        groups = [(run[0].shape, [pod.key for pod in run]) for run in runs]
        found = self._placer.place_mixed(groups)
        return self._without([pod for run in runs for pod in run], found)

    def _failed(self, run: list[Pod]) -> list[Pod]:
        """Places pods that are alike; answers those that found no place."""
        if run[0].workload in self._roster.workloads:
            return [pod for pod in run if not self._placed_replica(pod)]
        keys = [pod.key for pod in run]
        found = self._placer.place_all(keys, run[0].shape)
        return self._without(run, found)

    def _without(self, pods: list[Pod], found: list[Bin | Failure]) -> list[Pod]:
        """Those of these pods that found no place; it is noted why."""
        if not self._unplaced and not any(isinstance(place, Failure) for place in found):
            return []
        return [pod for pod, place in zip(pods, found, strict=True) if not self._noted(pod, place)]

    def _placed_replica(self, pod: Pod) -> bool:
        # A replica starts small: were it placed so, others would be put where it will grow.
        settled = self._settling.get(pod.key)
        shape = settled or self._workloads.pending_shape(pod)
        found = self._place(pod, shape)
        if (
            isinstance(found, Failure)
            and settled is None
            and shape is not pod.shape
            and self._workloads.may_start_small(pod)
        ):
            found = self._place(pod, pod.shape)
        return self._noted(pod, found)

    def _noted(self, pod: Pod, found: Bin | Failure) -> bool:
        """Whether a place was found; if not, it is noted why."""
        if isinstance(found, Failure):
            self._unplaced[pod.key] = Unplaced(pod=pod.key, reason=found.reason, why=found.why)
            return False
        self._unplaced.pop(pod.key, None)
        return True

    def _order(self, pod: Pod) -> tuple[tuple[int, int, float, int, int, str], str]:
        return self._fleet.classes.of(pod.shape).order, pod.key

    def _place(self, pod: Pod, shape: PodShape) -> Bin | Failure:
        return self._place_replica(pod.key, pod.workload, shape)

    def _place_replica(self, key: str, workload: str | None, shape: PodShape) -> Bin | Failure:
        return self._placer.place(
            key, shape, self._roster.preference(workload), self._workloads.apart(workload)
        )

    def _place_expendable(self) -> None:
        """Lets pods for which nothing is done take what room is left, after all others.

        So they are in nobody's way, whatever was decided. Those that run where they must leave,
        or on a VM that is given back, go with it if there is no such room.
        """
        cutoff = self._snapshot.expendable_below
        runs = any(n for priority, n in self._fleet.priorities.items() if priority < cutoff)
        if runs:
            self._move_displaced(
                [item for item in self._displaced() if self._is_expendable(item[0])]
            )
        gone = {vm.name for vm in self._snapshot.vms if vm.name not in self._fleet.bins}
        evicted = [
            pod
            for pod in (self._snapshot.pods if runs and gone else ())
            if self._is_expendable(pod)
            and pod.node in gone
            and pod.key not in self._fleet.where
            and not (pod.terminating or pod.daemon)
        ]
        self._filling = [pod for pod in self._filling if not self._is_nominated(pod)] + evicted
        while self._filling:
            filling, self._filling = self._filling, []
            self._place_pending(filling)
            self._place_driven()
        for pod in evicted:
            if pod.key not in self._fleet.where:
                why = f"VM {pod.node} is retired; no VM is kept for a priority below {cutoff}"
                self._unplaced[pod.key] = Unplaced(
                    pod=pod.key, reason=Reason.EXPENDABLE, why={EXISTING: why}
                )

    def _cancel_empty(self) -> None:
        """Takes back launches for pods that found another place, or none, in the end."""
        for name in list(self._placer.launched):
            target = self._fleet.bins.get(name)
            if (
                target is not None
                and not self._placer.launched[name].spare
                and all("/" not in key for key in target.pods)
            ):
                self._placer.cancel_launch(target)

    def _settle(self) -> bool:
        """Places pods anew whose own rules the final picture breaks; whether there were any.

        The scheduler sees all new VMs at once and takes pods in an order of its own, so
        a place must be right with every other pod and VM there, not only with earlier ones.
        """
        pending = self._fleet.unbound
        added = {
            key: workload.key
            for workload in self._roster.workloads.values()
            for key in self._roster.added(workload)
        }
        # The scheduler makes a place for a pod that drives others out; that one it has.
        waiting = {*pending, *added} - self._placer.preempting.taken
        bins, where = self._fleet.bins, self._fleet.where
        replicas = (bins[where[key]].pods[key] for key in added if key in where)
        asking = self._asking | self._rules_of(replicas)
        seen: set[tuple[str, ...]] = set()
        for _ in range(_SETTLE_ROUNDS):
            unsettled = tuple(self._placer.filters.unsettled(waiting, asking))
            if not unsettled or unsettled in seen:
                break
            seen.add(unsettled)
            before = []
            for key in unsettled:
                shape = self._fleet.bins[self._fleet.where[key]].pods[key]
                before.append((key, shape, self._fleet.take(key)))
            # Replicas keep the size with which they were placed: it is decided by now.
            self._settling = {key: shape for key, shape, _ in before}
            self._place_pending([pending[key] for key in unsettled if key in pending])
            for key in unsettled:
                if key not in pending:
                    self._place_replica(key, added[key], self._settling[key])
            self._settling = {}
            for key, shape, target in before:
                self._stay(key, shape, target, is_new=key not in pending)
        return bool(seen)

    @cached_property
    def _asking(self) -> set[Rules]:
        """Rules about other pods, of all pods that wait."""
        shapes = {pod.shape.key: pod.shape for pod in self._fleet.unbound.values()}
        return self._rules_of(shapes.values())

    def _rules_of(self, shapes: Iterable[PodShape]) -> set[Rules]:
        """Rules about other pods, of all of these."""
        of = self._fleet.classes.of
        return {of(shape).rules for shape in shapes if shape.affinity or shape.spread}

    def _place_again(self) -> None:
        """Asks again for pods that were given up before others left their places."""
        self._place_pending(
            [
                pod
                for pod in map(self._fleet.unbound.get, list(self._unplaced))
                if pod is not None and pod.size is None and pod.key not in self._fleet.where
            ]
        )

    def _stay(self, key: str, shape: PodShape, target: Bin, is_new: bool) -> None:
        """Puts a pod back that found no better place: in some order it may come to be there.

        The first of pods that want to be near each other may be anywhere, whatever comes later.
        A new replica is asked for by now, better uneven than not at all.
        """
        if key in self._fleet.where or target.name not in self._fleet.bins:
            return
        reason = self._placer.filters.reason(shape, target)
        if reason in (None, Reason.AFFINITY) or (is_new and reason is Reason.SPREAD):
            self._fleet.put(key, shape, target)
            self._unplaced.pop(key, None)

    def _right_size(self) -> None:
        """Makes VMs not yet launched no larger than what they carry: pods may have left them."""
        columns = self._fleet.columns
        for target in self._fleet.at(np.flatnonzero(columns.is_open & columns.is_new)):
            if target.pool is None:
                continue
            size = self._fleet.sizes[target.pool.name].smallest(
                target.cpu_used, target.memory_used, len(target.pods)
            )
            before = target.size
            if size is None or size == before:
                continue
            kept = survival.kept(self._fleet)
            self._fleet.resize_bin(target, size)
            if survival.first_broken(self._fleet, kept):
                self._fleet.resize_bin(target, before)

    def _restore_lines(self) -> None:
        """Grows VMs whose containers ask for more than their load line allows."""
        columns = self._fleet.columns
        over = (columns.cpu_left < 0) | (columns.memory_left < 0)
        for target in self._fleet.at(np.flatnonzero(over & columns.is_open & ~columns.is_new)):
            if target.pool is None or target.leaving:
                continue
            size = self._size_for_line(target)
            if size == target.size:
                continue
            if isinstance(size, Refusal):
                self._placer.refuse(size)
                continue
            reason = f"its containers ask for more than its load line of {target.line_percent}%"
            self._placer.grow(target, size, Story(reason=reason, rejected=()))

    def _size_for_line(self, target: Bin) -> Size | Refusal:
        """The size at which a VM is not above its line by containers that count.

        Any that its pool offers: what is tried out with smaller VMs is not to leave it above.
        """
        assert target.pool is not None
        fleet, pool, mark = self._fleet, target.pool, self._fleet.mark()
        capped = fleet.sizes[pool.name]
        fleet.sizes[pool.name] = Sizes.of(pool.spec)
        cutoff = self._snapshot.expendable_below
        for key in [key for key, shape in target.pods.items() if shape.priority < cutoff]:
            fleet.take(key)
        size = self._placer.grow_for(target, Resources(), extra_pod=False)
        fleet.rollback(mark)
        fleet.sizes[pool.name] = capped
        return size

    def _fill_pools(self) -> None:
        """Launches VMs up to the smallest or fixed count; pods may then use them."""
        for name, pool in sorted(self._fleet.pools.items()):
            fixed = pool.spec.replicas
            least = pool.spec.nodes.min if fixed is None else fixed
            reason = (
                f"spec.replicas fixes {fixed} VMs"
                if fixed is not None
                else f"nodes.min is {pool.spec.nodes.min}"
            )
            while len(self._fleet.of_pool(name)) < least:
                if isinstance(self._placer.launch_empty(name, reason), Refusal):
                    break

    def _recheck_at(self, times: list[float]) -> float | None:
        times = [*times, *(pool.launch_blocked_until for pool in self._snapshot.pools)]
        for hypervisor in self._snapshot.hypervisors:
            times += [host.launch_blocked_until for host in hypervisor.hosts or ()]
        return min((time for time in times if time > self._now), default=None)
