"""How much a search may still try: what makes it anytime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from plimsoll.decide.fleet import Bin

_TURNS: Final = 16
"""VMs that come up again in one plan although nothing changed about them."""
_TURNS_AT_REST: Final = 48
"""The same where nothing changed at all, so that nobody waits for the plan."""

_ASKED_AGAIN: Final = 64
"""Containers of VMs that must stay, and of which it is asked again in one plan whether the rest
could do without them, although nothing changed about them."""
_ASKED_AGAIN_AT_REST: Final = 192


class Memory:
    """Which VMs could not go, from one plan to the next, and which could but must stay."""

    def __init__(self) -> None:
        self._failed: dict[str, tuple[int, int]] = {}
        """By VM: its epoch then, and in which plan."""
        self._dispensable: dict[str, tuple[int, int, bool]] = {}
        """As ``_failed``, of VMs that must stay; and whether the rest could do without."""
        self._plan = 0
        self._turns = _TURNS
        self._asked_again = _ASKED_AGAIN

    def begin(self, *, at_rest: bool) -> None:
        """A new plan; at rest: of the same VMs and pods as the one before."""
        self._plan += 1
        self._asked_again = _ASKED_AGAIN_AT_REST if at_rest else _ASKED_AGAIN
        self._turns = _TURNS_AT_REST if at_rest else _TURNS

    def turns(self, targets: list[Bin]) -> list[Bin]:
        """Those that are to be tried in this plan."""
        failed = self._failed
        again = [b for b in targets if b.name in failed and failed[b.name][0] == b.epoch]
        if len(again) <= self._turns:
            return targets
        again.sort(key=lambda target: failed[target.name][1])
        left_out = {target.name for target in again[self._turns :]}
        return [target for target in targets if target.name not in left_out]

    def failed(self, target: Bin) -> None:
        """Its containers have no other places, or it is not worth it."""
        self._failed[target.name] = (target.epoch, self._plan)

    def dispensable(self, targets: Sequence[Bin]) -> dict[str, bool]:
        """Of those that need not be asked in this plan, by name what was found last."""
        known = {
            target.name: found
            for target in targets
            if (found := self._dispensable.get(target.name)) and found[0] == target.epoch
        }
        asked = 0
        for target in sorted(targets, key=lambda b: known[b.name][1] if b.name in known else -1):
            if target.name in known and asked < self._asked_again:
                asked += max(1, len(target.pods))
                del known[target.name]
        return {name: found[2] for name, found in known.items()}

    def asked(self, target: Bin, dispensable: bool) -> None:
        """Whether the rest could do without a VM that must stay."""
        self._dispensable[target.name] = (target.epoch, self._plan, dispensable)


class Effort:
    """Counts what was tried, in pods taken up to be put elsewhere.

    The count makes a plan the same wherever it is worked out. A caller who must be
    done in time also says when time is up: whoever decides has no clock.
    """

    def __init__(
        self,
        pods: int,
        out_of_time: Callable[[], bool] | None = None,
        memory: Memory | None = None,
    ) -> None:
        self._left = pods
        self._out_of_time = out_of_time
        self.memory = memory
        """What plans before this one tried in vain; None: nothing is remembered."""

    def spend(self, pods: int) -> None:
        """So many more pods were tried."""
        self._left -= pods

    @property
    def spent(self) -> bool:
        """Whether to stop with what was found so far."""
        return self._left <= 0 or (self._out_of_time is not None and self._out_of_time())
