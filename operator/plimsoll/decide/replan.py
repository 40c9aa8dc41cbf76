"""Planning again after little has changed.

What a plan starts from, VMs with their pods on arrays, is kept from one plan to the
next: what changed in the snapshot is taken in, the plan is worked out, and what it did
to the fleet is taken back. Cost then grows with what changed, not with the cluster.

The search for VMs to retire is spread over several plans: a VM that could not go comes
up again when it changes, and else in its turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from plimsoll.decide.effort import Effort, Memory
from plimsoll.decide.fleet import Fleet, over_line_by_use
from plimsoll.decide.plan import Plan
from plimsoll.decide.planner import EFFORT, Planner, improved
from plimsoll.world.snapshot import Snapshot, Vm
from plimsoll.world.tracking import changes

_FEW: Final = 8
"""So many VMs that come or go are always taken in."""
_MANY: Final = 4
"""Above a quarter of all VMs, making everything anew is quicker than taking them in."""


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

    What was measured of a VM is not counted. Objects that are the same are equal: whoever
    makes snapshots one after the other keeps what did not change.
    """
    before = fleet.snapshot
    if fleet.is_worn or before.pools != snapshot.pools or before.namespaces != snapshot.namespaces:
        return None
    count = 0
    if before.hypervisors != snapshot.hypervisors:
        fleet.set_hypervisors(snapshot.hypervisors)
        count += 1
    vms = changes(before.vms, snapshot.vms)
    were = {vm.name: vm for vm in vms.gone}
    gone, new = [], []
    for vm in vms.new:
        old = were.pop(vm.name, None)
        if old is not None and _only_measured(old, vm, fleet):
            fleet.bins[vm.name].vm = vm
            continue
        count += 1
        if old is None or not fleet.change(old, vm):
            gone += [old] if old is not None else []
            new.append(vm)
    gone += were.values()
    count += len(were)
    if len(gone) + len(new) > max(_FEW, len(snapshot.vms) // _MANY):
        return None
    if gone or new:
        fleet.exchange(gone, new, snapshot.vms)
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
