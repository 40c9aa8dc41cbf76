"""Planning again after little has changed.

What a plan starts from, VMs with their pods on arrays, is kept from one plan to the
next: what changed in the snapshot is taken in, the plan is worked out, and what it did
to the fleet is taken back. Cost then grows with what changed, not with the cluster.

The search for VMs to retire is spread over several plans: a VM that could not go comes
up again when it changes, and else in its turn.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from plimsoll.decide.effort import Effort, Memory
from plimsoll.decide.fleet import Fleet, over_line_by_use
from plimsoll.decide.plan import Plan
from plimsoll.decide.planner import EFFORT, Planner, improved
from plimsoll.world.snapshot import Snapshot, Vm
from plimsoll.world.tracking import changes


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
        changed = _refreshed(fleet, snapshot) if fleet is not None else None
        if fleet is None or changed is None:
            before, fleet = fleet, Fleet(snapshot)
            if before is None or before.snapshot.pools != snapshot.pools:
                self._memory = Memory()
            else:
                _carry_on(before, fleet)
        fleet.begin(snapshot)
        self._memory.begin(at_rest=changed == 0)
        count, mark = fleet.columns.count, fleet.mark()
        plan = Planner(fleet, now, Effort(EFFORT, out_of_time, self._memory)).plan()
        fleet.rollback(mark)
        fleet.truncate(count)
        # Only a fleet that is as it was is planned on again: not after an error.
        self._fleet = fleet
        return improved(plan, snapshot, now, out_of_time)


def _carry_on(before: Fleet, fleet: Fleet) -> None:
    """Gives VMs that are as they were the same epoch, so that it is known what was tried."""
    for name, target in fleet.bins.items():
        old = before.bins.get(name)
        if old is None or old.vm is None or target.vm is None:
            continue
        same = (
            (old.vm is target.vm or _only_measured(old.vm, target.vm, fleet))
            and old.pods == target.pods
            and old.terminating == target.terminating
        )
        target.epoch = old.epoch if same else old.epoch + 1


def _refreshed(fleet: Fleet, snapshot: Snapshot) -> int | None:
    """Takes in VMs and pods that changed, and counts them; None: make the fleet anew.

    What was measured of a VM is not counted.
    """
    before = fleet.snapshot
    if (
        before.pools != snapshot.pools
        or before.hypervisors != snapshot.hypervisors
        or before.namespaces != snapshot.namespaces
        or len(before.vms) != len(snapshot.vms)
    ):
        return None
    count = 0
    for old_vm, new_vm in zip(before.vms, snapshot.vms, strict=True):
        if old_vm is new_vm:
            continue
        if _only_measured(old_vm, new_vm, fleet):
            fleet.bins[old_vm.name].vm = new_vm
            continue
        if old_vm.name != new_vm.name or not fleet.change(old_vm, new_vm):
            return None
        count += 1
    # Objects that are the same are equal: whoever makes snapshots one after the other
    # keeps what did not change.
    pods = changes(before.pods, snapshot.pods)
    for pod in pods.gone:
        fleet.leave(pod)
    for pod in pods.new:
        fleet.enter(pod)
    if fleet.requested.memory_per_cpu != fleet.memory_per_cpu:
        return None
    return count + len(pods.gone) + len(pods.new)


def _only_measured(before: Vm, after: Vm, fleet: Fleet) -> bool:
    """Whether nothing of a VM changed but its measured use, on the same side of its line.

    Which side that is, is all that a plan asks of it. All VMs are measured every few seconds:
    were that a change, each would be tried again whether it can go.
    """
    if msgspec.structs.replace(before, usage=after.usage) != after:
        return False
    line = fleet.bins[before.name].line_percent
    return over_line_by_use(before, line) == over_line_by_use(after, line)
