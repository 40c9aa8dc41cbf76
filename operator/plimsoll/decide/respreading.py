"""Replicas spread anew where too many sit in one domain (lever Move)."""

from __future__ import annotations

from collections import Counter

from plimsoll.api import labels as names
from plimsoll.decide import guards
from plimsoll.decide.fleet import Bin
from plimsoll.decide.placing import Placer
from plimsoll.decide.plan import Lever, Move
from plimsoll.decide.roster import Roster
from plimsoll.world.snapshot import Pod, PodShape, Workload


class Respreading:
    """Looks for replicas that break their workload's promise where they are."""

    def __init__(self, placer: Placer, roster: Roster) -> None:
        self._placer = placer
        self._fleet = placer.fleet
        self._roster = roster

    def moves(self) -> list[Move]:
        """Evicts a replica where too many sit in one domain and the scheduler must then
        choose another: only replicas whose own rules spread them are moved, for others
        might come back to where they were."""
        moves = []
        for workload in self._fleet.snapshot.workloads:
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
        refusal = guards.evict(pod, self._fleet.snapshot.budgets)
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
        if shape.priority < self._fleet.snapshot.expendable_below:
            return None
        apart = self._roster.apart(workload.key)
        return self._placer.launch_apart(pod.key, shape, apart) if apart is not None else None
