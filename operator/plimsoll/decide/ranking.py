"""Which VM is best by a score, without looking at all of them for every pod.

Pods are placed by the thousand, and each changes the score of one VM. So the best few
are kept on a short list: unless other pods keep a pod off all of these, its place is
among them.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from plimsoll.decide.columns import Bools, Floats, Ints

NO: Final = -1e300
"""Score of a VM that is out of the question."""
_SHORT: Final = 256
"""VMs on the short list; of fewer than a few times as many, all are looked at."""


class Ranking:
    """Scores of VMs by slot; larger is better."""

    def __init__(self) -> None:
        self._scores: Floats = np.zeros(0, np.float64)
        self._short: Ints | None = None
        """The best slots, in order of slots; None: to be worked out."""
        self._floor = NO
        self._last = -1
        """No VM that is not on the short list has more than the floor; of those that have as
        much, the ones up to this slot are on it."""

    def reset(self, scores: Floats) -> None:
        """New scores of all VMs."""
        count = len(scores)
        self._scores = np.full(max(64, 2 * count), NO)
        self._scores[:count] = scores
        self._short = None

    def set(self, slot: int, score: float) -> None:
        """The new score of one VM, perhaps one opened since."""
        if slot >= len(self._scores):
            more = np.full(2 * slot, NO)
            more[: len(self._scores)] = self._scores
            self._scores = more
        self._scores[slot] = score
        if self._short is not None and self._counts(slot, score):
            place = int(self._short.searchsorted(slot))
            if place == len(self._short) or self._short[place] != slot:
                self._short = np.insert(self._short, place, slot)

    def scores(self, count: int) -> Floats:
        """The scores of the first so many slots; not to be changed."""
        return self._scores[:count]

    def best(self, count: int, allowed: Bools | None) -> int | None:
        """The best of the first so many slots that is allowed; of equal ones the first.

        None: there is none but those that are out of the question.
        """
        if count > 2 * _SHORT:
            best = self._on_short_list(count, allowed)
            if best is not None or self._floor == NO:
                return best
        if not count:
            return None
        scores = self._scores[:count]
        if allowed is not None:
            scores = np.where(allowed, scores, NO)
        best = int(scores.argmax())
        return best if scores.item(best) > NO else None

    def _on_short_list(self, count: int, allowed: Bools | None) -> int | None:
        """The best on the short list, if none that is not on it can be as good.

        With a floor of ``NO`` all that are not out of the question are on it.
        """
        short = self._short
        if short is None or len(short) > 2 * _SHORT:
            short = self._draw_up(count)
        if not len(short):
            return None
        scores = self._scores[short]
        if allowed is not None:
            scores = np.where(allowed[short], scores, NO)
        best = int(scores.argmax())
        slot = short.item(best)
        if self._counts(slot, scores.item(best)):
            return slot
        if self._floor > NO:
            best = int(self._scores[short].argmax())
            if not self._counts(short.item(best), self._scores.item(short.item(best))):
                # Used up.
                self._short = None
        return None

    def _counts(self, slot: int, score: float) -> bool:
        """Whether a VM with this score belongs on the short list."""
        return score > self._floor or (score == self._floor > NO and slot <= self._last)

    def _draw_up(self, count: int) -> Ints:
        scores = self._scores[:count]
        self._floor = scores.item(int(scores.argpartition(-_SHORT)[-_SHORT]))
        short = np.flatnonzero(scores > self._floor)
        if self._floor > NO:
            equal = np.flatnonzero(scores == self._floor)[: _SHORT - len(short)]
            self._last = equal.item(-1)
            short = np.sort(np.concatenate([short, equal]))
        self._short = short
        return short
