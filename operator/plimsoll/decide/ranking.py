"""Which VM is best by a score, without looking at all of them for every pod.

Pods are placed by the thousand, and each changes the score of one VM. So the best few
are kept on a short list, best first: unless other pods keep a pod off all of these, its
place is among them.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Final

import numpy as np

from plimsoll.decide.columns import Bools, Floats

NO: Final = -1e300
"""Score of a VM that is out of the question."""
_SHORT: Final = 96
"""VMs on the short list when it is drawn up."""
_LONG: Final = 3 * _SHORT
"""VMs on the short list at most: others become better meanwhile."""

_Entry = tuple[float, int]
"""A VM as the short list has it: its score, negative, so that the best is least; its slot."""
_ALL: Final[_Entry] = (-NO, -1)
"""After every VM but those that are out of the question."""


class Ranking:
    """Scores of VMs by slot; larger is better, and of equal ones the first."""

    def __init__(self) -> None:
        self._scores: Floats = np.zeros(0, np.float64)
        self._short: list[_Entry] = []
        """In order: all VMs that do not come after the last."""
        self._last: _Entry | None = None
        """None: the list is to be drawn up."""

    def reset(self, scores: Floats) -> None:
        """New scores of all VMs."""
        count = len(scores)
        self._scores = np.full(max(64, 2 * count), NO)
        self._scores[:count] = scores
        self._last = None

    def set(self, slot: int, score: float) -> None:
        """The new score of one VM, perhaps one opened since."""
        if slot >= len(self._scores):
            more = np.full(2 * slot, NO)
            more[: len(self._scores)] = self._scores
            self._scores = more
        before = self._scores.item(slot)
        if score == before:
            return
        self._scores[slot] = score
        last = self._last
        if last is None:
            return
        short = self._short
        old, new = (-before, slot), (-score, slot)
        if old <= last:
            del short[bisect_left(short, old)]
        if new <= last:
            insort(short, new)
            if len(short) > _LONG:
                del short[_SHORT:]
                self._last = short[-1]

    def scores(self, count: int) -> Floats:
        """The scores of the first so many slots; not to be changed."""
        return self._scores[:count]

    def short_list(self, count: int) -> tuple[list[_Entry], bool]:
        """Of the first so many slots the best, best first, and whether these are all.

        VMs that are out of the question are never among them; of others there is at least one.
        """
        last = self._last
        if last is None or (not self._short and last != _ALL):
            last = self._last = self._draw_up(self._scores[:count])
        return self._short, last == _ALL

    def best(self, count: int, allowed: Bools | None) -> int | None:
        """The best of the first so many slots that is allowed, of all VMs.

        None: there is none but those that are out of the question.
        """
        if not count:
            return None
        scores = self._scores[:count]
        if allowed is not None:
            scores = np.where(allowed, scores, NO)
        best = int(scores.argmax())
        return best if scores.item(best) > NO else None

    def _draw_up(self, scores: Floats) -> _Entry:
        """Makes the list; answers the last VM on it."""
        slots = (scores > NO).nonzero()[0]
        few = len(slots) <= _LONG
        if not few:
            there = scores[slots]
            floor = there.item(int(there.argpartition(-_SHORT)[-_SHORT]))
            better, equal = slots[there > floor], slots[there == floor]
            slots = np.concatenate([better, equal[: _SHORT - len(better)]])
        self._short = sorted(zip((-scores[slots]).tolist(), slots.tolist(), strict=True))
        return _ALL if few else self._short[-1]
