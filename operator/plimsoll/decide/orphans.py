"""Which VMs with our mark belong to no VMNode, and whether one may be removed.

A VM is removed only after it was seen twice as an orphan, a grace period apart,
one in each pass. Many orphans at once mean that it is our own view that is
broken (a restored cluster, a failed listing): then none is removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from plimsoll.world.snapshot import Frozen
from plimsoll.world.vms import PowerState, VmInfo

FEW = 3
"""So many orphans are never too many."""
SHARE_PERCENT = 30
"""More than this share of all VMs is too many."""
AT_ONCE = 1
"""Removals in one pass."""


class Claim(Frozen, frozen=True, kw_only=True):
    """A VMNode's claim to a VM: by identity where it is recorded, else by its own UID."""

    uid: str
    name: str
    identity: str = ""


class Verdict(Frozen, frozen=True, kw_only=True):
    """What one look found."""

    orphans: tuple[VmInfo, ...] = ()
    remove: tuple[VmInfo, ...] = ()
    """Those that may be removed now, if a last live look agrees."""
    halted: str = ""
    """Why none is removed although some are due; empty: no such reason."""
    first_seen: dict[str, float] = {}
    """Identity -> when it was first seen as an orphan; to be given to the next look."""


def orphans(
    vms: Iterable[VmInfo],
    claims: Iterable[Claim],
    first_seen: Mapping[str, float],
    now: float,
    grace: float,
) -> Verdict:
    """Judges a complete listing of the VMs that carry our mark. Times in seconds.

    ``claims`` must be newer than the listing: a VMNode is always older than its VM.
    """
    listed = tuple(sorted(vms, key=lambda vm: vm.uuid))
    by_uid = {claim.uid: claim for claim in claims}
    found = tuple(vm for vm in listed if _is_orphan(vm, by_uid.get(vm.owner_uid)))
    seen = {vm.uuid: first_seen.get(vm.uuid, now) for vm in found}
    due = tuple(
        vm
        for vm in found
        if vm.uuid in first_seen and now - seen[vm.uuid] >= grace and now - vm.created >= grace
    )
    halted = ""
    if due and len(found) > max(FEW, len(listed) * SHARE_PERCENT // 100):
        halted = (
            f"{len(found)} of {len(listed)} VMs have no VMNode, which is too many to be true: "
            "none is removed; restore their VMNodes, or remove the VMs by hand"
        )
    return Verdict(
        orphans=found,
        remove=() if halted else due[:AT_ONCE],
        halted=halted,
        first_seen=seen,
    )


def _is_orphan(vm: VmInfo, claim: Claim | None) -> bool:
    if vm.power is PowerState.DELETING:
        return False
    # Of two VMs made for one VMNode, the one that it does not know is an orphan too.
    return claim is None or (bool(claim.identity) and claim.identity != vm.uuid)
