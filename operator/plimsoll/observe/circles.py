"""Finds out when launching and retiring go in a circle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from plimsoll.decide.plan import Lever

STILL_SECONDS: Final = 600.0
"""A pool that went in a circle stands still for so long."""
_CIRCLE: Final = [Lever.LAUNCH, Lever.RETIRE, Lever.LAUNCH, Lever.RETIRE]


class Circles:
    """Watches launches and retirements of each pool.

    A VM may only be retired after the pool's stabilisation window has passed
    quietly. Launch, retire, launch, retire within one such window cannot be
    the work of a changing load: the decision contradicts itself, and every
    turn costs somebody's containers a move.
    """

    def __init__(self) -> None:
        self._turns: dict[str, list[tuple[float, Lever]]] = {}
        self._still_until: dict[str, float] = {}

    def observe(
        self, done: Iterable[tuple[str, Lever]], windows: Mapping[str, float], now: float
    ) -> frozenset[str]:
        """Takes in (pool, Launch or Retire) moves just made; answers which pools stand still.

        ``windows`` is each pool's stabilisation window in seconds; pools that it
        does not name are forgotten.
        """
        for pool, lever in done:
            turns = self._turns.setdefault(pool, [])
            if not turns or turns[-1][1] is not lever:
                turns.append((now, lever))
            else:
                turns[-1] = (now, lever)
        self._turns = {
            pool: [turn for turn in turns if now - turn[0] <= windows[pool]]
            for pool, turns in self._turns.items()
            if pool in windows
        }
        for pool, turns in self._turns.items():
            levers = [lever for _, lever in turns]
            if levers[-4:] == _CIRCLE:
                self._still_until[pool] = now + max(STILL_SECONDS, windows[pool])
                turns.clear()
        self._still_until = {
            pool: until
            for pool, until in self._still_until.items()
            if until > now and pool in windows
        }
        return frozenset(self._still_until)

    def times(self) -> list[float]:
        """When pools stop standing still, in seconds since the epoch."""
        return list(self._still_until.values())
