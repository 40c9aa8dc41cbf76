"""Back again: fewer VMs (Retire), smaller VMs (Shrink), replicas spread anew (Move).

A VM is retired only if every one of its containers has another place under the
line, no promise that holds now is broken by it, and what is saved is worth the
disruption. A trial is made on the fleet itself and taken back if it fails.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import msgspec

from plimsoll.api import labels as names
from plimsoll.decide import cost, guards, survival, wording
from plimsoll.decide.fleet import IN_FLIGHT, Bin, Fleet
from plimsoll.decide.placing import Placer, Story
from plimsoll.decide.plan import Lever, Move, Reason, Refusal, Rejected, Size
from plimsoll.decide.roster import Roster
from plimsoll.decide.windows import next_opening
from plimsoll.world.snapshot import Pod, PodShape, Pool, Snapshot, Workload


@dataclass
class _Trial:
    """What a try at emptying a VM changed, so that it can be taken back."""

    moved: list[tuple[str, PodShape, str]] = field(default_factory=list)
    """(pod, shape, VM it came from)."""
    grown: list[tuple[Bin, Size, Size]] = field(default_factory=list)
    """(VM, size before, size after)."""


class Consolidation:
    """Looks for VMs that the rest can do without."""

    def __init__(self, snapshot: Snapshot, placer: Placer, roster: Roster, now: float) -> None:
        self._snapshot = snapshot
        self._placer = placer
        self._fleet: Fleet = placer.fleet
        self._roster = roster
        self._pods = {pod.key: pod for pod in snapshot.pods}
        self._now = now
        self.recheck: list[float] = []
        """Times at which waiting alone may allow more."""

    def moves(self) -> list[Move]:
        """All levers that give back, pool by pool."""
        found = self._respread()
        for name in sorted(self._fleet.pools):
            if not self._needs_all(self._fleet.pools[name]):
                found += self._retire(self._fleet.pools[name])
        for name in sorted(self._fleet.pools):
            found += self._shrink(self._fleet.pools[name])
        return found

    def _needs_all(self, pool: Pool) -> bool:
        """Whether a VM is lost, or the promise lacks VMs: no time to give any back."""
        if any(b.vm is not None and b.vm.lost for b in self._fleet.of_pool(pool.name)):
            return True
        hypervisor = self._fleet.hypervisors.get(pool.spec.hypervisor)
        restarts = hypervisor is not None and hypervisor.capabilities.high_availability
        return not restarts and survival.broken(self._fleet, pool.name) != ""

    def _under_way(self, pool: Pool) -> str:
        """What of the pool is on its way and must arrive before anything is given back."""
        for target in self._fleet.of_pool(pool.name):
            vm = target.vm
            if vm is None or vm.phase in IN_FLIGHT:
                return f"waits until VM {target.name} is Ready"
            if target.name in self._placer.grown or not vm.resized:
                return f"waits until VM {target.name} has grown"
        return ""

    def _retire(self, pool: Pool) -> list[Move]:
        moves: list[Move] = []
        leaving = sum(
            1
            for vm in self._snapshot.vms
            if vm.pool == pool.name and (vm.retiring or vm.phase in ("Draining", "Deleting"))
        )
        progress = True
        while progress:
            progress = False
            for target in self._emptiest_first(pool):
                move = self._try_retire(pool, target)
                if move is None:
                    continue
                wait = self._under_way(pool)
                if wait:
                    move = msgspec.structs.replace(move, deferred=wait)
                elif leaving >= pool.spec.disruption.max_unavailable:
                    most = pool.spec.disruption.max_unavailable
                    move = msgspec.structs.replace(
                        move, deferred=f"disruption.maxUnavailable is {most}"
                    )
                leaving += 1
                moves.append(move)
                progress = True
                break
        return moves

    def _emptiest_first(self, pool: Pool) -> list[Bin]:
        return sorted(
            self._fleet.of_pool(pool.name),
            key=lambda b: (
                max(
                    b.cpu_used / max(1, b.allocatable_cpu),
                    b.memory_used / max(1, b.allocatable_memory),
                ),
                -cost.of_size(pool.spec, b.cpu, b.memory),
                b.name,
            ),
        )

    def _try_retire(self, pool: Pool, target: Bin) -> Move | None:
        if target.new or len(self._fleet.of_pool(pool.name)) <= pool.spec.nodes.min:
            return None
        pods = [
            pod
            for pod in self._fleet.pods_of(self._pods, target)
            if not pod.daemon and not pod.terminating
        ]
        unsure = [key for key in target.pods if key not in self._pods and "daemon-" not in key]
        if unsure:
            # New replicas of this very plan were placed here: it is needed.
            return None
        kept_before = [w for w in self._snapshot.workloads if self._roster.redundancy(w)[0]]
        survived = survival.kept(self._fleet)
        unsettled = set(self._placer.filters.unsettled())
        trial = _Trial()
        for pod in sorted(pods, key=_largest_first):
            if not self._rehome(pod, target, trial):
                self._undo(trial)
                return None
        saved = cost.of_size(pool.spec, target.cpu, target.memory) - sum(
            cost.of_size(b.pool.spec, after.cpu, after.memory)
            - cost.of_size(b.pool.spec, before.cpu, before.memory)
            for b, before, after in trial.grown
            if b.pool is not None
        )
        refusal = guards.retire(self._fleet, target, pods, self._snapshot.budgets, self._now)
        # The VM's remaining pods (DaemonSets) leave with it.
        rest = [(k, shape, k in target.terminating) for k, shape in target.pods.items()]
        for key, *_ in rest:
            self._fleet.take(key)
        self._fleet.close(target.name)
        if refusal is None:
            refusal = self._promise_broken(target, kept_before, survived)
        if refusal is None and not unsettled.issuperset(self._placer.filters.unsettled()):
            refusal = Refusal(
                guard=Reason.SPREAD,
                subject=f"vm/{target.name}",
                message="elsewhere its containers would be spread unevenly, or others left without "
                "what they must be near",
            )
        if refusal is None and saved <= cost.DISRUPTION_PENALTY * len(pods):
            refusal = Refusal(
                guard=Reason.COSTLIER,
                subject=f"vm/{target.name}",
                message="moving its containers costs more than the VM does",
            )
        if refusal is not None:
            self._fleet.open(target)
            for key, shape, terminating in rest:
                self._fleet.put(key, shape, target, terminating)
            self._undo(trial)
            self._placer.refuse(refusal)
            self._note_time(pool, target, refusal)
            return None
        for grown, before, _ in trial.grown:
            if grown.new:
                continue
            self._placer.grown.setdefault(
                grown.name,
                Story(
                    reason=f"takes the containers of {target.name}, which is retired",
                    rejected=(),
                    before=before,
                ),
            )
        homes = Counter(self._fleet.where[pod.key] for pod in pods)
        where = ", ".join(f"{number} to {name}" for name, number in sorted(homes.items()))
        assert target.vm is not None
        return Move(
            kind=Lever.RETIRE,
            subject=f"vm/{target.name}",
            uid=target.vm.uid,
            source=wording.size(Size(cpu=target.cpu, memory=target.memory)),
            host=target.host,
            cost=-cost.of_size(pool.spec, target.cpu, target.memory),
            reason=(
                f"its {len(pods)} containers fit elsewhere under the line ({where})"
                if pods
                else "it carries no containers"
            ),
            rejected=(
                Rejected(
                    lever=Lever.SHRINK,
                    subject=f"vm/{target.name}",
                    reason=Reason.COSTLIER,
                    message="a smaller VM would still cost its licence and its reservation",
                ),
            ),
        )

    def _rehome(self, pod: Pod, source: Bin, trial: _Trial) -> bool:
        """Finds another VM for a pod, as it is or, if need be, grown."""
        shape = source.shape(pod.key)
        self._fleet.take(pod.key)
        accepts = source.accepts
        self._fleet.set_accepts(source, False)
        prefer = self._roster.preference(pod.workload)
        home = self._placer.on_existing(shape, prefer)
        if home is None:
            home = self._grow_another(shape, trial)
        self._fleet.set_accepts(source, accepts)
        if home is None or self._deserts(shape, source, home):
            self._fleet.put(pod.key, shape, source)
            return False
        self._fleet.put(pod.key, shape, home)
        trial.moved.append((pod.key, shape, source.name))
        return True

    def _deserts(self, shape: PodShape, source: Bin, home: Bin) -> bool:
        """Whether others must be near such pods, and this one would leave their domain."""
        return any(
            source.labels.get(key) != home.labels.get(key)
            for key in self._fleet.classes.of(shape).rules.pods.wanted
        )

    def _grow_another(self, shape: PodShape, trial: _Trial) -> Bin | None:
        options = []
        for target in self._fleet.bins.values():
            if target.pool is None or not target.accepts:
                continue
            filters = self._placer.filters
            if filters.static(shape, target) or filters.dynamic(shape, target):
                continue
            size = self._placer.grow_for(target, shape.requests, extra_pod=True)
            if isinstance(size, Size):
                price = cost.of_size(target.pool.spec, size.cpu, size.memory) - cost.of_size(
                    target.pool.spec, target.cpu, target.memory
                )
                options.append((price, target.name, target, size))
        if not options:
            return None
        _, _, target, size = min(options, key=lambda option: option[:2])
        trial.grown.append((target, Size(cpu=target.cpu, memory=target.memory), size))
        self._fleet.resize_bin(target, size)
        return target

    def _undo(self, trial: _Trial) -> None:
        for key, shape, source in reversed(trial.moved):
            self._fleet.take(key)
            self._fleet.put(key, shape, self._fleet.bins[source])
        for target, before, _ in reversed(trial.grown):
            self._fleet.resize_bin(target, before)

    def _promise_broken(
        self, target: Bin, kept_before: list[Workload], survived: tuple[str, ...]
    ) -> Refusal | None:
        broken = survival.first_broken(self._fleet, survived)
        if broken:
            return Refusal(guard=Reason.SURVIVAL, subject=f"vm/{target.name}", message=broken)
        for workload in kept_before:
            kept, message = self._roster.redundancy(workload)
            if not kept:
                return Refusal(
                    guard=Reason.REDUNDANCY,
                    subject=f"vm/{target.name}",
                    message=f"{workload.key}: {message}",
                )
        return None

    def _note_time(self, pool: Pool, target: Bin, refusal: Refusal) -> None:
        disruption = pool.spec.disruption
        if refusal.guard is Reason.NOT_QUIET and target.vm is not None:
            self.recheck.append(target.vm.quiet_since + disruption.consolidate_after)
        elif refusal.guard is Reason.WINDOW_CLOSED:
            opening = next_opening(disruption.windows, self._now)
            if opening is not None:
                self.recheck.append(opening)

    def _shrink(self, pool: Pool) -> list[Move]:
        """Makes VMs smaller where the hypervisor guarantees that this is safe."""
        hypervisor = self._fleet.hypervisors.get(pool.spec.hypervisor)
        if hypervisor is None or not hypervisor.capabilities.hot_remove:
            return []
        moves = []
        for target in self._fleet.of_pool(pool.name):
            size = self._fleet.sizes[pool.name].smallest(target.cpu_used, target.memory_used)
            if size is None or target.vm is None:
                continue
            size = Size(cpu=min(size.cpu, target.cpu), memory=min(size.memory, target.memory))
            if (size.cpu, size.memory) == (target.cpu, target.memory):
                continue
            refusal = guards.grow(self._fleet, target, cpu=False, memory=False)
            quiet_for = self._now - target.vm.quiet_since
            if refusal is None and quiet_for < pool.spec.disruption.consolidate_after:
                refusal = Refusal(
                    guard=Reason.NOT_QUIET,
                    subject=f"vm/{target.name}",
                    message=f"its pods changed {quiet_for:.0f} s ago",
                )
                self._note_time(pool, target, refusal)
            if refusal is not None:
                self._placer.refuse(refusal)
                continue
            before = Size(cpu=target.cpu, memory=target.memory)
            kept = survival.kept(self._fleet)
            self._fleet.resize_bin(target, size)
            if survival.first_broken(self._fleet, kept):
                self._fleet.resize_bin(target, before)
                continue
            if target.name in self._placer.grown:
                # It grows in one resource and shrinks in the other: one move says both.
                continue
            moves.append(
                Move(
                    kind=Lever.SHRINK,
                    subject=f"vm/{target.name}",
                    uid=target.vm.uid,
                    source=wording.size(before),
                    target=wording.size(size),
                    host=target.host,
                    size=size,
                    cost=cost.of_size(pool.spec, size.cpu, size.memory)
                    - cost.of_size(pool.spec, before.cpu, before.memory),
                    reason="its containers fit under the line of a smaller VM",
                    deferred=self._under_way(pool),
                )
            )
        return moves

    def _respread(self) -> list[Move]:
        """Evicts a replica where too many sit in one domain and the scheduler must then
        choose another: only replicas whose own rules spread them are moved, for others
        might come back to where they were."""
        moves = []
        for workload in self._snapshot.workloads:
            kept, message = self._roster.redundancy(workload)
            if kept or workload.problem or self._unsettled(workload):
                continue
            key = names.TOPOLOGY_KEYS[workload.spec.redundancy.across]
            for pod in self._crowded(workload, key):
                move = self._respread_one(workload, pod, key, message)
                if move is not None:
                    moves.append(move)
                    break
        return moves

    def _unsettled(self, workload: Workload) -> bool:
        """Whether its spread is about to be another one anyway.

        Replicas wait for a place, are moved or resized by this very plan, or are on a
        lost VM and may come up elsewhere.
        """
        for pod in self._roster.pods(workload):
            home = self._fleet.where.get(pod.key)
            if pod.node is None or home is None or home != pod.node:
                return True
            target = self._fleet.bins[home]
            if pod.key in target.resized or (target.vm is not None and target.vm.lost):
                return True
        return False

    def _crowded(self, workload: Workload, key: str) -> list[Pod]:
        domains: Counter[str] = Counter()
        placed = []
        for pod in self._roster.pods(workload):
            home = self._fleet.where.get(pod.key)
            if home is not None and pod.node is not None and key in self._fleet.bins[home].labels:
                domains[self._fleet.bins[home].labels[key]] += 1
                placed.append(pod)
        return sorted(
            placed,
            key=lambda p: (
                -domains[self._fleet.bins[self._fleet.where[p.key]].labels[key]],
                p.key,
            ),
        )

    def _respread_one(self, workload: Workload, pod: Pod, key: str, message: str) -> Move | None:
        bound = any(c.topology_key == key for c in pod.shape.spread) or any(
            t.topology_key == key for t in pod.shape.anti_affinity
        )
        if not bound:
            return None
        refusal = guards.evict(pod, self._snapshot.budgets)
        if refusal is not None:
            self._placer.refuse(refusal)
            return None
        source = self._fleet.bins[self._fleet.where[pod.key]]
        shape = source.shape(pod.key)
        self._fleet.take(pod.key)
        prefer = self._roster.preference(workload.key)
        home = self._placer.on_existing(shape, prefer)
        if home is None or home.labels.get(key) == source.labels.get(key):
            home = self._launch_apart(workload, pod, shape)
        # Without it, do its own rules keep it from where it was? If not, the scheduler might
        # put it there again, and we would evict it again, for ever.
        if home is None or self._placer.filters.dynamic(shape, source) is None:
            if home is not None and home.new:
                self._placer.cancel_launch(home)
            self._fleet.put(pod.key, shape, source)
            return None
        self._fleet.put(pod.key, shape, home)
        return Move(
            kind=Lever.MOVE,
            subject=f"pod/{pod.key}",
            uid=pod.uid,
            source=source.name,
            target=home.name,
            host=home.host,
            reason=f"{message}; its replicas must be spread anew",
            deferred="" if home.takes_pods_now else f"waits until VM {home.name} is Ready",
        )

    def _launch_apart(self, workload: Workload, pod: Pod, shape: PodShape) -> Bin | None:
        """A new VM in a domain that the workload's other replicas do not use, if need be."""
        apart = self._roster.apart(workload.key)
        return self._placer.launch_apart(pod.key, shape, apart) if apart is not None else None


def _largest_first(pod: Pod) -> tuple[int, int, str]:
    return (-pod.shape.requests.cpu, -pod.shape.requests.memory, pod.key)
