"""Filling a VM with a mix of pods, so that neither its CPU nor its memory is left over.

Class after class, large ones first, would fill one VM with what needs memory and the next
with what needs CPU. Here the VM chooses: of the pods that still fit it takes those that
are large and even out what it has taken so far (the bin-centric dot-product rule of
Panigrahy et al., "Heuristics for Vector Bin Packing", 2011), until it is as large as it
may be and nothing fits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from plimsoll.decide.classes import PodClass
from plimsoll.decide.columns import Bools
from plimsoll.decide.fleet import Bin, Fleet

_SHARE: Final = 16
"""A VM takes at most this part of its largest size of one class at once, then looks again."""


@dataclass
class Waiting:
    """Pods of one class that wait for places, in order."""

    kind: PodClass
    keys: list[str]
    homes: list[Bin] = field(default_factory=list)
    """VMs of the first of them."""

    @property
    def done(self) -> bool:
        """Whether all of them have places."""
        return len(self.homes) == len(self.keys)

    def first(self, number: int) -> list[str]:
        """So many of those that have no place yet."""
        start = len(self.homes)
        return self.keys[start : start + number]


class Mix:
    """What waits, as arrays over classes: CPU in CPUs, memory by the ratio of all pods."""

    def __init__(self, fleet: Fleet, waiting: list[Waiting]) -> None:
        self._fleet = fleet
        self._waiting = waiting
        self._cpu = np.array([w.kind.cpu for w in waiting], np.int64)
        self._memory = np.array([w.kind.memory for w in waiting], np.int64)
        self._uneven = self._cpu / 1000 - self._memory / fleet.memory_per_cpu
        self._left = np.array([len(w.keys) - len(w.homes) for w in waiting], np.int64)
        self._size = self._cpu / 1000 + self._memory / fleet.memory_per_cpu

    def next(self, target: Bin, refused: Bools) -> tuple[int, int] | None:
        """What a VM takes next, and how many of it; None: nothing that waits fits.

        ``refused`` are classes that are kept off it, or for which it may not grow.
        """
        assert target.pool is not None
        sizes = self._fleet.sizes[target.pool.name]
        line_cpu, line_memory = sizes.largest_line
        cpu, memory = line_cpu - target.cpu_used, line_memory - target.memory_used
        pods = (sizes.pods_max if target.new else target.max_pods) - len(target.pods)
        if pods < 1:
            return None
        able = (self._cpu <= cpu) & (self._memory <= memory)
        able &= self._left > 0
        able &= ~refused
        uneven = target.cpu_used / 1000 - target.memory_used / self._fleet.memory_per_cpu
        score = np.where(able, self._size - np.abs(uneven + self._uneven), -np.inf)
        best = int(score.argmax())
        if not able[best]:
            return None
        kind = self._waiting[best].kind
        most = min(pods, int(self._left[best]))
        for room, share, each in (
            (cpu, line_cpu // _SHARE, kind.cpu),
            (memory, line_memory // _SHARE, kind.memory),
        ):
            if each:
                most = min(most, room // each, max(1, share // each))
        return best, most

    def placed(self, number: int, homes: list[Bin]) -> None:
        """The first of a class have got places."""
        self._waiting[number].homes += homes
        self._left[number] -= len(homes)

    def nothing(self) -> Bools:
        """No class at all, to be filled in."""
        return np.zeros(len(self._waiting), np.bool_)
