"""When to decide on changes: soon after the first one, but once for those that come together.

Deciding on a pod as soon as it is seen would buy a small VM for the first pod of a Deployment
and more for the rest. So changes are awaited until they pause, and for a limited time.
Karpenter does the same with longer times (``batchIdleDuration`` 1 s, ``batchMaxDuration`` 10 s:
https://karpenter.sh/docs/reference/settings/): each of its machines is chosen for good, while
here a VM that proves too small can grow.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from plimsoll.api import VMNode
from plimsoll.api.vmnode import Phase, VMNodeStatus
from plimsoll.resources import CONTAINERWORKLOADS, VMNODES, VMPOOLS, Resource

PAUSE: Final = 0.05
"""Seconds without a change after which no more is awaited. The pods of one Deployment come
some milliseconds after each other, and so does the scheduler's word on them."""
TURN_APART_MOST: Final = 0.5
"""Seconds between two turns that changes wait for at most."""


class Batch:
    """Changes that are decided on together. Times are in seconds of one clock.

    A change after a quiet time waits for a pause only. Under load, turns are half as far apart
    as they are long, so that a busy cluster does not keep the operator deciding without a break.
    """

    def __init__(self, longest: float, turn_ended: float, turn_took: float) -> None:
        """``longest``: seconds that the first change waits for a pause at most."""
        self._longest = longest
        self._not_before = turn_ended + min(TURN_APART_MOST, turn_took / 2)
        self._first: float | None = None
        self._last = 0.0

    def add(self, now: float) -> None:
        """Takes in a change."""
        self._first = now if self._first is None else self._first
        self._last = now

    def due(self) -> float:
        """When to decide, if nothing else changes; there must have been a change."""
        assert self._first is not None
        settled = min(self._first + self._longest, self._last + PAUSE)
        return max(self._not_before, settled)


def concerns_plan(resource: Resource, old: Any, new: Any) -> bool:
    """Whether a change of an object may change the plan: heartbeats and own words do not."""
    if old is None or new is None:
        return True
    before, after = old.metadata, new.metadata
    if resource in (VMPOOLS, CONTAINERWORKLOADS):
        # Their status is written by us.
        return bool(
            (before.generation, before.deletion_timestamp, before.annotations)
            != (after.generation, after.deletion_timestamp, after.annotations)
        )
    if resource == VMNODES:
        return _seen_of_vm(old) != _seen_of_vm(new)
    if isinstance(old, msgspec.Struct):
        # Only what is read of an object is kept of it: no time of a heartbeat is.
        version = after.resource_version
        same = msgspec.structs.replace(before, resource_version=version)
        return bool(msgspec.structs.replace(old, metadata=same) != new)
    return True


def _seen_of_vm(vmnode: VMNode) -> tuple[object, ...]:
    """What plans look at in a VMNode: not what is awaited, in words, nor since when.

    Whether the hypervisor has been asked for it yet makes no difference either: as long as it
    has no identity, it is not among the VMs that are counted there.
    """
    meta, status = vmnode.metadata, vmnode.status or VMNodeStatus()
    early = status.phase in (Phase.REQUESTED, Phase.CREATING)
    return (
        (meta.uid, meta.generation, meta.deletion_timestamp, meta.annotations),
        Phase.REQUESTED if early else status.phase,
        (status.identity, status.host, status.size),
        (status.failures, status.lost_since),
        [c for c in status.conditions if c.type == "Resized"],
    )
