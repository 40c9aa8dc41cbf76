"""Back again: fewer VMs (Retire), smaller VMs (Shrink), replicas spread anew (Move).

Anytime: the plan so far is good at every step, and the search for more stops when
its effort is spent.
"""

from __future__ import annotations

from plimsoll.decide import survival
from plimsoll.decide.drifting import Drifting
from plimsoll.decide.effort import Effort
from plimsoll.decide.placing import Placer
from plimsoll.decide.plan import Move
from plimsoll.decide.respreading import Respreading
from plimsoll.decide.retiring import Retiring
from plimsoll.decide.roster import Roster
from plimsoll.decide.shrinking import Shrinking
from plimsoll.decide.waiting import Waiting
from plimsoll.world.snapshot import Pool


class Consolidation:
    """Looks for what the rest can do without."""

    def __init__(self, placer: Placer, roster: Roster, effort: Effort) -> None:
        self._fleet = placer.fleet
        self._waiting = Waiting(placer)
        self._drifting = Drifting(placer, roster, self._waiting)
        self._respreading = Respreading(placer, roster)
        self._retiring = Retiring(placer, roster, self._waiting, effort)
        self._shrinking = Shrinking(placer, self._waiting)

    @property
    def recheck(self) -> list[float]:
        """Times at which waiting alone may allow more."""
        return self._waiting.times

    def moves(self) -> list[Move]:
        """All levers that give back."""
        pools = [pool for _, pool in sorted(self._fleet.pools.items())]
        free = [pool for pool in pools if not self._needs_all(pool)]
        # Before others are given back: what replaces a VM must not look like one too many.
        found = self._drifting.moves(free)
        found += self._respreading.moves()
        found += self._retiring.moves(free)
        for pool in pools:
            found += self._shrinking.moves(pool)
        return found

    def _needs_all(self, pool: Pool) -> bool:
        """Whether a VM is lost, or the promise lacks VMs: no time to give any back."""
        if any(b.vm is not None and b.vm.lost for b in self._fleet.of_pool(pool.name)):
            return True
        hypervisor = self._fleet.hypervisors.get(pool.spec.hypervisor)
        restarts = hypervisor is not None and hypervisor.capabilities.high_availability
        return not restarts and survival.broken(self._fleet, pool.name) != ""
