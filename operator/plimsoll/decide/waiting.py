"""What must come first, and when waiting alone may allow more."""

from __future__ import annotations

from plimsoll.decide.fleet import IN_FLIGHT, Bin
from plimsoll.decide.placing import Placer
from plimsoll.decide.plan import Reason, Refusal
from plimsoll.decide.windows import next_opening
from plimsoll.world.snapshot import Pool


class Waiting:
    """Times and things that giving back waits for."""

    def __init__(self, placer: Placer) -> None:
        self._placer = placer
        self.times: list[float] = []
        """When to look again."""

    def under_way(self, pool: Pool) -> str:
        """What of the pool is on its way and must arrive before anything is given back."""
        for target in self._placer.fleet.of_pool(pool.name):
            vm = target.vm
            if vm is None or vm.phase in IN_FLIGHT:
                return f"waits until VM {target.name} is Ready"
            if target.name in self._placer.grown or not vm.resized:
                return f"waits until VM {target.name} has grown"
        return ""

    def note(self, pool: Pool, target: Bin, refusal: Refusal) -> None:
        """Notes when time alone ends a refusal."""
        disruption = pool.spec.disruption
        if refusal.guard is Reason.NOT_QUIET and target.vm is not None:
            self.times.append(target.vm.quiet_since + disruption.consolidate_after)
        elif refusal.guard is Reason.WINDOW_CLOSED:
            opening = next_opening(disruption.windows, self._placer.now)
            if opening is not None:
                self.times.append(opening)
