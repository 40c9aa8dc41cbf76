"""Pods that make room for themselves: the scheduler evicts others of a lower priority.

No VM is bought for a pod that preempts its way in: it takes that place, and those that
it drives out look for places of their own. The rules are those of kube-scheduler's
DefaultPreemption: all pods of a lower priority are thought away; if the pod fits then,
as many of them as possible are put back, those of the highest priority first; of several
VMs that is chosen whose victims' highest priority is lowest, then their sum, then their
number. Left out: budgets, which the scheduler only prefers not to break, and start times.
"""

from __future__ import annotations

import copy
from typing import Final, NamedTuple

import numpy as np

from plimsoll.decide.classes import PodClass
from plimsoll.decide.columns import Ints
from plimsoll.decide.filters import Filters, extended_fit, places_left
from plimsoll.decide.fitting import Changes
from plimsoll.decide.fleet import Bin, Fleet
from plimsoll.world.snapshot import PodShape

_LOOKED_AT: Final = 16
"""VMs that are tried out for one pod: those with the fewest pods of a lower priority."""


class Driven(NamedTuple):
    """A pod that another one drives out."""

    key: str
    shape: PodShape
    by: str
    """Key of the pod that takes its place."""
    source: str


class _Lower:
    """What pods below one priority take on each VM."""

    def __init__(self, fleet: Fleet, priority: int) -> None:
        self._fleet = fleet
        self._priority = priority
        self._changes = Changes(fleet)
        self.cpu: Ints = np.zeros(0, np.int64)
        self.memory: Ints = np.zeros(0, np.int64)
        self.pods: Ints = np.zeros(0, np.int64)

    def sync(self) -> None:
        """Looks at the VMs that changed."""
        count = self._fleet.columns.count
        changed = self._changes.take()
        if changed is None or len(self.cpu) < count:
            self.cpu, self.memory, self.pods = (np.zeros(count, np.int64) for _ in range(3))
            changed = list(range(count))
        for slot in dict.fromkeys(changed):
            victims = victims_on(self._fleet, self._fleet.by_slot[slot], self._priority)
            self.pods[slot] = len(victims)
            self.cpu[slot] = sum(shape.requests.cpu for _, shape in victims)
            self.memory[slot] = sum(shape.requests.memory for _, shape in victims)


def victims_on(fleet: Fleet, target: Bin, priority: int) -> list[tuple[str, PodShape]]:
    """Pods on a VM that a pod of this priority may drive out, with what they take.

    Those of DaemonSets are no exception: only their priority keeps them.
    """
    if not target.takes_pods_now:
        return []
    found = []
    for key, shape in target.pods.items():
        if shape.priority < priority:
            pod = fleet.pods.get(key)
            if pod is not None and pod.node is not None and not pod.terminating:
                found.append((key, target.shape(key)))
    return found


class Preempting:
    """Preemption on one fleet."""

    def __init__(self, fleet: Fleet, filters: Filters) -> None:
        self._fleet = fleet
        self._filters = filters
        self._lower: dict[int, _Lower] = {}
        lower = {priority for priority, number in fleet.priorities.items() if number}
        lower.update(d.priority for pool in fleet.pools.values() for d in pool.daemons)
        self._lowest = min(lower, default=None)
        self.driven: list[Driven] = []
        """Pods that lost their places and have no new ones yet."""
        self.taken: set[str] = set()
        """Pods that took the places of others."""

    def trial(self) -> Preempting:
        """The same on the same fleet, for what will be taken back."""
        other = copy.copy(self)
        other.driven, other.taken = [], set()
        return other

    def preempt(self, key: str, kind: PodClass) -> Bin | None:
        """Puts a pod where it drives others out; None: it can do so nowhere."""
        shape = kind.shape
        if not shape.preempts or self._lowest is None or self._lowest >= shape.priority:
            return None
        best: tuple[int, int, int, int] | None = None
        chosen: tuple[Bin, list[tuple[str, PodShape]]] | None = None
        for target in self._candidates(kind):
            victims = self._victims(target, kind)
            if not victims:
                continue
            priorities = [victim.priority for _, victim in victims]
            rank = (max(priorities), sum(priorities), len(victims), target.slot)
            if best is None or rank < best:
                best, chosen = rank, (target, victims)
        if chosen is None:
            return None
        target, victims = chosen
        for victim, _ in victims:
            self._fleet.take(victim)
        self.driven += [Driven(victim, taken, key, target.name) for victim, taken in victims]
        self._fleet.put_all((key,), kind, target)
        self.taken.add(key)
        return target

    def _candidates(self, kind: PodClass) -> list[Bin]:
        """VMs where it could fit by size and node rules, fewest pods to drive out first."""
        priority = kind.shape.priority
        lower = self._lower.get(priority)
        if lower is None:
            lower = self._lower[priority] = _Lower(self._fleet, priority)
        lower.sync()
        mask = kind.rules.nodes.admitted() & (lower.pods > 0)
        slots = np.flatnonzero(mask)
        slots = slots[np.argsort(lower.pods[slots], kind="stable")]
        found = []
        for target in self._fleet.at(slots):
            slot = target.slot
            cpu = target.allocatable_cpu - target.cpu_used + int(lower.cpu[slot])
            memory = target.allocatable_memory - target.memory_used + int(lower.memory[slot])
            if kind.cpu <= cpu and kind.memory <= memory:
                found.append(target)
                if len(found) == _LOOKED_AT:
                    break
        return found

    def _victims(self, target: Bin, kind: PodClass) -> list[tuple[str, PodShape]]:
        """The pods that must go from a VM for this one; empty: it does not fit even then."""
        fleet = self._fleet
        victims = victims_on(fleet, target, kind.shape.priority)
        victims.sort(key=lambda victim: (-victim[1].priority, victim[0]))
        mark = fleet.mark()
        for key, _ in victims:
            fleet.take(key)
        needed = []
        if self._fits(target, kind):
            for key, shape in victims:
                fleet.put(key, shape, target)
                if not self._fits(target, kind):
                    fleet.take(key)
                    needed.append((key, shape))
        fleet.rollback(mark)
        return needed

    def _fits(self, target: Bin, kind: PodClass) -> bool:
        """By the scheduler's own filters, which know no load line."""
        requests = kind.shape.requests
        return (
            places_left(target) > 0
            and extended_fit(target, requests)
            and (not kind.cpu or target.cpu_used + kind.cpu <= target.allocatable_cpu)
            and (not kind.memory or target.memory_used + kind.memory <= target.allocatable_memory)
            and self._filters.dynamic(kind.shape, target) is None
        )
