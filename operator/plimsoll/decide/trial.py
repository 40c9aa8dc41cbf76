"""Trying something out on the fleet: do it, see what it costs, take it back.

Prices of alternatives are found so rather than estimated: a trial goes the same
ways, through the same filters and guards, as what is carried out in the end.
"""

from __future__ import annotations

import copy
from types import TracebackType
from typing import Self

import numpy as np

from plimsoll.decide import cost
from plimsoll.decide.fleet import Bin
from plimsoll.decide.placing import Failure, Placer
from plimsoll.decide.plan import Size
from plimsoll.decide.preferring import Apart, Preference
from plimsoll.decide.promises import Promises
from plimsoll.world.snapshot import PodShape, Resources


class Trial:
    """A stretch of planning that leaves no trace; to be used as a context manager."""

    def __init__(self, placer: Placer) -> None:
        self._fleet = placer.fleet
        # What a placer remembers of refusals and hopeless pods is wrong once all is taken back.
        self._placer = copy.copy(placer)
        self._placer.grown, self._placer.launched = {}, {}
        self._placer.refusals, self._placer._hopeless = {}, {}
        self._placer.preempting = placer.preempting.trial()

    def __enter__(self) -> Self:
        columns = self._fleet.columns
        self._count = columns.count
        self._cpu = columns.cpu[: self._count].copy()
        self._memory = columns.memory[: self._count].copy()
        self._mark = self._fleet.mark()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._fleet.rollback(self._mark)

    def place(
        self, key: str, shape: PodShape, prefer: Preference | None, apart: Apart | None
    ) -> Bin | Failure:
        """Finds or makes a place for a pod that has none."""
        return self._placer.place(key, shape, prefer, apart)

    def resize(self, key: str, requests: Resources) -> None:
        """Changes what a placed pod takes."""
        self._fleet.resize_pod(key, requests)

    def grow(self, target: Bin, to: Size) -> None:
        """Makes a VM larger."""
        self._fleet.resize_bin(target, to)

    def keep_promises(self) -> None:
        """Adds what the pools' survival promises need besides."""
        Promises(self._placer).keep()

    @property
    def grown(self) -> tuple[str, ...]:
        """VMs that are larger than before, by name."""
        return tuple(sorted(target.name for target, _ in self._changed()))

    @property
    def launched(self) -> tuple[str, ...]:
        """VMs that there were not before, by name."""
        return tuple(sorted(target.name for target in self._new()))

    @property
    def cost(self) -> int:
        """Change of cost per the pools' models, in thousandths of their unit."""
        return sum(cost.of_bin(target) for target in self._new()) + sum(
            cost.of_bin(target) - cost.of_bin(target, before) for target, before in self._changed()
        )

    def _new(self) -> list[Bin]:
        slots = np.flatnonzero(self._fleet.columns.is_open[self._count :]) + self._count
        return self._fleet.at(slots)

    def _changed(self) -> list[tuple[Bin, Size]]:
        columns = self._fleet.columns
        changed = (columns.cpu[: self._count] != self._cpu) | (
            columns.memory[: self._count] != self._memory
        )
        return [
            (
                self._fleet.by_slot[slot],
                Size(cpu=int(self._cpu[slot]), memory=int(self._memory[slot])),
            )
            for slot in np.flatnonzero(changed).tolist()
        ]
