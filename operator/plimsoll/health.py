"""Whether the operator is well, and whether it can decide.

It is not well when restarting the process may help: a task of ours has ended, a
turn of the planning loop hangs, a watch is silent, a VMNode has nobody who keeps
it. It is not ready as long as nothing can be decided.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from plimsoll.resources import Resource

TURN_HANGS_AFTER: Final = 120.0
"""Seconds after which a turn of the planning loop counts as hung."""
STUCK_AFTER: Final = 300.0
"""A watch that brought nothing for so many seconds is stuck: nothing is decided on it."""
UNKEPT_AFTER: Final = 60.0
"""Seconds after which a VMNode that nobody keeps shows that kopf's watch is dead."""


class Loop(Protocol):
    """What health asks of the planning loop."""

    turns: int

    def busy_for(self) -> float: ...


class Reading(Protocol):
    """What health asks of the world."""

    def stuck(self, limit: float) -> dict[Resource, float]: ...
    def unsynced(self) -> dict[Resource, str]: ...
    def vmnode_names(self) -> set[str]: ...


class Health:
    """Findings, one sentence each; none: all is well."""

    def __init__(
        self, loop: Loop, world: Reading, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._loop = loop
        self._world = world
        self._clock = clock
        self._failures: list[str] = []
        self._kept: dict[str, int] = {}
        self._unkept_since: dict[str, float] = {}

    def failed(self, what: str) -> None:
        """A part of the operator has ended for good."""
        self._failures.append(what)

    @contextmanager
    def keeping(self, vmnode: str) -> Iterator[None]:
        """While it lasts, the VMNode has somebody who leads it through its life."""
        self._kept[vmnode] = self._kept.get(vmnode, 0) + 1
        try:
            yield
        finally:
            self._kept[vmnode] -= 1
            if not self._kept[vmnode]:
                del self._kept[vmnode]

    def unwell(self) -> Iterator[str]:
        """What a restart of the process may mend."""
        yield from self._failures
        busy = self._loop.busy_for()
        if busy > TURN_HANGS_AFTER:
            yield f"the planning loop hangs: its turn began {busy:.0f} s ago"
        for resource, age in self._world.stuck(STUCK_AFTER).items():
            yield f"the watch of {resource} is stuck: silent for {age:.0f} s"
        for name in self._unkept():
            yield f"nobody keeps VMNode {name}: kopf's watch does not see it"

    def unready(self) -> Iterator[str]:
        """Why nothing can be decided now."""
        for resource, why in self._world.unsynced().items():
            yield f"{resource}: {why}"
        if not self._loop.turns:
            yield "no turn of the planning loop has been completed yet"
        yield from self.unwell()

    def _unkept(self) -> list[str]:
        now = self._clock()
        self._unkept_since = {
            name: self._unkept_since.get(name, now)
            for name in sorted(self._world.vmnode_names() - self._kept.keys())
        }
        return [name for name, since in self._unkept_since.items() if now - since > UNKEPT_AFTER]
