"""How many containers a VM takes: its berths (lever Load).

Berths are all that tells the real scheduler of a load line. So where replicas
start smaller than they will be (the template's size is not followed, because
that would roll all replicas out), a VM offers no free berth for which its line
has no room: else the scheduler crowds replicas that can then not grow.
"""

from __future__ import annotations

from plimsoll.api import labels as names
from plimsoll.decide import cost, sizing, wording
from plimsoll.decide.filters import Filters
from plimsoll.decide.fleet import Bin, Fleet, over_line_by_use
from plimsoll.decide.plan import Lever, Move, Reason, Rejected
from plimsoll.decide.resizing import grown
from plimsoll.decide.roster import Roster
from plimsoll.world.snapshot import Pool


class Loading:
    """Berths of every VM, once all containers have their places and sizes."""

    def __init__(
        self, fleet: Fleet, filters: Filters, roster: Roster, wanted: dict[str, sizing.Shape]
    ) -> None:
        self._fleet = fleet
        self._filters = filters
        self._growing = [
            shape
            for key, workload in sorted(roster.workloads.items())
            if key in wanted
            and workload.template is not None
            and workload.template.requests.extended.get(names.BERTHS)
            and (shape := grown(workload, workload.template, wanted[key].size))
            is not workload.template
        ]
        """New replicas that take a berth, as large as they will be, where they start smaller."""

    def berths(self, target: Bin) -> int:
        """Berths to advertise: those in use, and free ones up to ``density.pods.min``."""
        assert target.pool is not None
        used, least = target.berths_used, target.pool.spec.density.pods.min
        if not self._growing or used >= least:
            return max(used, least)
        return used + max(0, min([least - used, *self._further(target)]))

    def moves(self) -> list[Move]:
        """Berths raised for what is to be placed, lowered where there is no room for more."""
        moves = []
        for _, target in sorted(self._fleet.bins.items()):
            vm = target.vm
            if vm is None or target.pool is None or vm.berths is None or target.leaving:
                continue
            line = target.line_percent
            berths = self.berths(target)
            if berths == vm.berths:
                continue
            over = over_line_by_use(vm, line)
            rejected: tuple[Rejected, ...] = ()
            if over:
                # No berth is added then that is not in use already.
                berths = max(target.berths_used, min(berths, vm.berths))
            if berths > vm.berths:
                added = berths - vm.berths
                fit = "container fits" if added == 1 else "containers fit"
                reason = f"{added} more {fit} under its load line of {line}%; loading costs nothing"
                rejected = (_not_launched(target.pool, self._fleet),)
            elif berths < vm.berths and over:
                reason = "measured use is over the load line"
            elif berths < vm.berths and self._further(target):
                reason = f"no more replicas of the present size fit under its load line of {line}%"
            else:
                continue
            moves.append(_load(target, vm.berths, berths, reason, rejected))
        return moves

    def _further(self, target: Bin) -> list[int]:
        """Of each kind of replica that starts smaller than it will be: how many more fit."""
        cpu = target.line_cpu - target.cpu_used
        memory = target.line_memory - target.memory_used
        return [
            min(_times(cpu, shape.requests.cpu), _times(memory, shape.requests.memory))
            for shape in self._growing
            if self._filters.static(shape, target) is None
        ]


def _times(room: int, each: int) -> int:
    return room // each if each else room


def _not_launched(pool: Pool, fleet: Fleet) -> Rejected:
    """What a further VM would cost instead, the smallest that there is."""
    least = fleet.sizes[pool.name].least
    price = cost.of_size(pool.spec, least.cpu, least.memory)
    return Rejected(
        lever=Lever.LAUNCH,
        subject=f"vmpool/{pool.name}",
        reason=Reason.COSTLIER if price else Reason.MORE_VMS,
        message=f"another VM would cost {wording.money(price)}",
        cost=price,
    )


def _load(
    target: Bin, before: int, after: int, reason: str, rejected: tuple[Rejected, ...]
) -> Move:
    assert target.vm is not None
    return Move(
        kind=Lever.LOAD,
        subject=f"vm/{target.name}",
        uid=target.vm.uid,
        source=f"{before} berths",
        target=f"{after} berths",
        host=target.host,
        berths=after,
        reason=reason,
        rejected=rejected,
    )
