"""VMs as hypervisors describe them: what providers answer and the life cycle decides on."""

from __future__ import annotations

from enum import StrEnum

from plimsoll.world.snapshot import Frozen


class PowerState(StrEnum):
    """What the hypervisor says of a VM."""

    CREATING = "Creating"
    RUNNING = "Running"
    OFF = "Off"
    """Confirmed not running."""
    PAUSED = "Paused"
    """Somebody, or a full disk, has stopped it in its tracks; it may run again at any time."""
    RESTARTING = "Restarting"
    """High availability is bringing it up again elsewhere."""
    DELETING = "Deleting"
    UNKNOWN = "Unknown"
    """Its host cannot be asked; it may run."""


class VmInfo(Frozen, frozen=True, kw_only=True):
    """A VM as the hypervisor describes it."""

    uuid: str
    """Identity: never reused, unlike names and numeric ids."""
    name: str
    owner_uid: str
    """UID of the VMNode in its mark; empty: it carries no mark of ours."""
    cluster: str
    """Cluster id in its mark."""
    host: str
    power: PowerState
    cpu: int
    memory: int
    provider_id: str
    created: float
    """Seconds since the epoch."""
    addresses: tuple[str, ...] = ()
    """IP addresses, as far as the hypervisor knows them."""
