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
    def left(self) -> list[str]:
        return self.keys[len(self.homes) :]


class Mix:
    """What waits, as arrays over classes: CPU in CPUs, memory by the ratio of all pods."""

    def __init__(self, fleet: Fleet, waiting: list[Waiting]) -> None:
        self._fleet = fleet
        self._waiting = waiting
        self._cpu = np.array([w.kind.cpu for w in waiting], np.int64)
        self._memory = np.array([w.kind.memory for w in waiting], np.int64)
        self._uneven = self._cpu / 1000 - self._memory / fleet.memory_per_cpu
        self._size = self._cpu / 1000 + self._memory / fleet.memory_per_cpu

    def next(self, target: Bin, refused: set[int]) -> tuple[int, int] | None:
        """What a VM takes next, and how many of it; None: nothing that waits fits.

        ``refused`` are classes that guards did not let it grow for.
        """
        assert target.pool is not None
        sizes = self._fleet.sizes[target.pool.name]
        line_cpu, line_memory = sizes.largest_line
        cpu, memory = line_cpu - target.cpu_used, line_memory - target.memory_used
        pods = (sizes.pods_max if target.new else target.max_pods) - len(target.pods)
        if pods < 1:
            return None
        able = (self._cpu <= cpu) & (self._memory <= memory)
        for number, waiting in enumerate(self._waiting):
            if able[number] and (number in refused or len(waiting.homes) == len(waiting.keys)):
                able[number] = False
        if not able.any():
            return None
        uneven = target.cpu_used / 1000 - target.memory_used / self._fleet.memory_per_cpu
        score = self._size - np.abs(uneven + self._uneven)
        best = int(np.where(able, score, -np.inf).argmax())
        waiting, kind = self._waiting[best], self._waiting[best].kind
        most = min(pods, len(waiting.keys) - len(waiting.homes))
        for room, share, each in (
            (cpu, line_cpu // _SHARE, kind.cpu),
            (memory, line_memory // _SHARE, kind.memory),
        ):
            if each:
                most = min(most, room // each, max(1, share // each))
        return best, most
