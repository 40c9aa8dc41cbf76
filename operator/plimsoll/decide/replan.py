"""Planning again after little has changed.

What a plan starts from, VMs with their pods on arrays, is kept from one plan to the
next: what changed in the snapshot is taken in, the plan is worked out, and what it did
to the fleet is taken back. Cost then grows with what changed, not with the cluster.

The search for VMs to retire is spread over several plans: a VM that could not go comes
up again when it changes, and else in its turn.
"""

from __future__ import annotations

from collections.abc import Callable

from plimsoll.decide.effort import Effort, Memory
from plimsoll.decide.fleet import Fleet
from plimsoll.decide.plan import Plan
from plimsoll.decide.planner import EFFORT, Planner, improved
from plimsoll.world.snapshot import Pod, Snapshot


class Replanner:
    """Plans for one cluster, snapshot after snapshot.

    As ``plan``, but for VMs to be retired, which it may find some plans later.
    """

    def __init__(self) -> None:
        self._fleet: Fleet | None = None
        self._memory = Memory()

    def plan(
        self, snapshot: Snapshot, now: float, out_of_time: Callable[[], bool] | None = None
    ) -> Plan:
        """Decides what to do about a snapshot at a moment (seconds since the epoch)."""
        fleet, self._fleet = self._fleet, None
        if fleet is None or not _refreshed(fleet, snapshot):
            fleet = Fleet(snapshot)
            self._memory = Memory()
        fleet.begin(snapshot)
        self._memory.begin()
        count, mark = fleet.columns.count, fleet.mark()
        plan = Planner(fleet, now, Effort(EFFORT, out_of_time, self._memory)).plan()
        fleet.rollback(mark)
        fleet.truncate(count)
        # Only a fleet that is as it was is planned on again: not after an error.
        self._fleet = fleet
        return improved(plan, snapshot, now, out_of_time)


def _refreshed(fleet: Fleet, snapshot: Snapshot) -> bool:
    """Takes in what changed; False: so much that the fleet must be made anew."""
    before = fleet.snapshot
    if (
        before.pools != snapshot.pools
        or before.hypervisors != snapshot.hypervisors
        or before.namespaces != snapshot.namespaces
        or len(before.vms) != len(snapshot.vms)
    ):
        return False
    for old_vm, new_vm in zip(before.vms, snapshot.vms, strict=True):
        if old_vm is not new_vm and (
            old_vm.name != new_vm.name or not fleet.change(old_vm, new_vm)
        ):
            return False
    gone, come = _changed(before.pods, snapshot.pods)
    for pod in gone:
        fleet.leave(pod)
    for pod in come:
        fleet.enter(pod)
    return fleet.requested.memory_per_cpu == fleet.memory_per_cpu


def _changed(before: tuple[Pod, ...], after: tuple[Pod, ...]) -> tuple[list[Pod], list[Pod]]:
    """Pods that are gone, and pods that have come; one that changed is among both.

    Objects that are the same are equal: whoever makes snapshots one after the other
    keeps what did not change.
    """
    start = 0
    for old, new in zip(before, after, strict=False):
        if old is not new:
            break
        start += 1
    end = 0
    for old, new in zip(reversed(before[start:]), reversed(after[start:]), strict=False):
        if old is not new:
            break
        end += 1
    gone = before[start : len(before) - end]
    come = after[start : len(after) - end]
    same = {id(pod) for pod in gone} & {id(pod) for pod in come}
    return (
        [pod for pod in gone if id(pod) not in same],
        [pod for pod in come if id(pod) not in same],
    )
