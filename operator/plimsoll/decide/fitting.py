"""Which VMs take one more pod of a size as they are, and how well it fits (lever Load).

Worked out for all VMs once, then only for those that changed: pods of one size come
one after the other, and each changes one VM.

A pod fits best where it leaves the least behind, and where what it leaves behind is
still of use: CPU without memory is of none. Both are measured in CPUs, memory by the
ratio in which the cluster's pods ask for the two:

    waste = |cpu - memory / ratio|, left = cpu + memory / ratio
    score = (waste before - waste after) - left / (1 + left)

Best fit by what is left is the usual rule of vector bin packing (Panigrahy et al.,
"Heuristics for Vector Bin Packing", 2011); the first term is its dot product's aim, to
put pods where they even out what is left. What is left counts less the more it is:
whether 40 or 80 CPUs are free says nothing of how well one pod fits.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from plimsoll.decide.classes import PodClass
from plimsoll.decide.columns import Bools, Floats, Ints
from plimsoll.decide.filters import Filters, extended_fit
from plimsoll.decide.fleet import Bin, Fleet
from plimsoll.decide.ranking import NO, Ranking

_REDO: Final = 48
"""Above so many changed VMs all are worked out anew, which is cheaper then."""


class Changes:
    """The VMs that changed since one reader of a fleet last looked."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._seen: int | None = None

    def take(self) -> list[int] | None:
        """Their slots, each at least once; None: too many, or it never looked before."""
        touched = self._fleet.touched
        seen, self._seen = self._seen, len(touched)
        if seen is None or len(touched) - seen > _REDO:
            return None
        return touched[seen:]


class Fit:
    """Scores of all VMs for one more pod of one size and one set of node rules."""

    grows: Final = False
    """Whether VMs become larger for the pod."""

    def __init__(self, fleet: Fleet, filters: Filters, kind: PodClass) -> None:
        self._fleet = fleet
        self._filters = filters
        self._kind = kind
        self._changes = Changes(fleet)
        self._ranking = Ranking()
        self._cpu = kind.cpu / 1000
        self._memory = kind.memory / fleet.memory_per_cpu
        self._uneven = self._cpu - self._memory

    def scores(self) -> Floats:
        """By slot; larger is better, ``NO`` where the pod does not go by size and node rules."""
        self._catch_up()
        return self._ranking.scores(self._fleet.columns.count)

    def short_list(self) -> tuple[list[tuple[float, int]], bool]:
        """The best VMs, as ``Ranking.short_list`` has them."""
        self._catch_up()
        return self._ranking.short_list(self._fleet.columns.count)

    def best(self, allowed: Bools | None) -> int | None:
        """The slot of the best VM that is allowed; None: there is none."""
        self._catch_up()
        return self._ranking.best(self._fleet.columns.count, allowed)

    def after_growth(self, slots: Ints) -> Floats:
        """Scores of VMs of one pool that grow for the pod, at the same price: where most is left
        already, the least is added that nobody asked for.

        Where memory comes with CPUs, the pod goes where it evens out most, and makes none much
        more uneven than others (by the square): a VM that is full of memory at its largest size
        has CPUs left that no pod can use.
        """
        if not len(slots):
            return np.zeros(0, np.float64)
        columns = self._fleet.columns
        cpu = columns.cpu_left[slots] / 1000
        memory = columns.memory_left[slots] / self._fleet.memory_per_cpu
        uneven = cpu - memory
        after = uneven - self._uneven
        left = np.maximum(cpu + memory, 0)
        score: Floats = left / (1 + left)
        if self._is_tied(self._fleet.by_slot[slots[0]]):
            score += uneven * uneven - after * after
        else:
            score += np.abs(uneven) - np.abs(after)
        return score

    def after_growth_of(self, target: Bin) -> float:
        """As ``after_growth``, of one VM."""
        cpu = (target.line_cpu - target.cpu_used) / 1000
        memory = (target.line_memory - target.memory_used) / self._fleet.memory_per_cpu
        uneven, left = cpu - memory, max(cpu + memory, 0.0)
        after = uneven - self._uneven
        if self._is_tied(target):
            return left / (1 + left) + (uneven * uneven - after * after)
        return left / (1 + left) + (abs(uneven) - abs(after))

    def _is_tied(self, target: Bin) -> bool:
        """Whether the VM's memory follows from its CPUs."""
        pool = target.pool
        return pool is not None and self._fleet.sizes[pool.name].memory_per_cpu is not None

    def _catch_up(self) -> None:
        changed = self._changes.take()
        if changed is None:
            self._ranking.reset(self._work_out())
        elif changed:
            admitted = self._kind.rules.nodes.admitted()
            for slot in {*changed}:
                self._ranking.set(slot, self._score(slot) if admitted.item(slot) else NO)

    def _work_out(self) -> Floats:
        columns = self._fleet.columns
        mask = self._filters.room(self._kind)
        mask &= self._kind.rules.nodes.admitted()
        score = how_well(self._fleet, self._kind, columns.cpu_left, columns.memory_left)
        return np.where(mask, score, NO)

    def _score(self, slot: int) -> float:
        """As ``_work_out``, of one VM."""
        kind, target = self._kind, self._fleet.by_slot[slot]
        cpu_left = target.line_cpu - target.cpu_used
        memory_left = target.line_memory - target.memory_used
        if (
            (kind.cpu and kind.cpu > cpu_left)
            or (kind.memory and kind.memory > memory_left)
            or len(target.pods) >= target.max_pods
            or (kind.extended and not extended_fit(target, kind.shape.requests))
        ):
            return NO
        cpu, memory = cpu_left / 1000, memory_left / self._fleet.memory_per_cpu
        uneven, left = cpu - memory, max(cpu + memory, 0.0)
        before, after = abs(uneven), abs(uneven - self._uneven)
        return before - after - left / (1 + left)


def how_well(fleet: Fleet, kind: PodClass, cpu_left: Ints, memory_left: Ints) -> Floats:
    """Scores of VMs with so many millicores and bytes left under their line; larger is better."""
    cpu, memory = cpu_left / 1000, memory_left / fleet.memory_per_cpu
    uneven = cpu - memory
    left = np.maximum(cpu + memory, 0)
    own = kind.cpu / 1000 - kind.memory / fleet.memory_per_cpu
    score: Floats = np.abs(uneven) - np.abs(uneven - own) - left / (1 + left)
    return score


def number_for(fleet: Fleet, kind: PodClass, slots: Ints) -> Ints:
    """How many more such pods each of these VMs has room for."""
    columns = fleet.columns
    most = columns.pods_left[slots]
    if kind.cpu:
        most = np.minimum(most, columns.cpu_left[slots] // kind.cpu)
    if kind.memory:
        most = np.minimum(most, columns.memory_left[slots] // kind.memory)
    for name, amount in kind.extended:
        most = np.minimum(most, columns.extended(name)[slots] // amount)
    return most
