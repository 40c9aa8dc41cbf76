"""What every hypervisor provider must offer, and how it may fail.

Rules of the contract (design, sections 5 and 6):

- ``ensure`` is keyed by the VMNode's UID: called twice, it returns the same VM.
- Existence has three answers. ``describe`` returns a VM (exists), returns None
  (gone: proven by identity in a full, authenticated, live listing) or raises
  (unknown). Unknown is never gone.
- ``delete`` touches only a VM that carries this cluster's mark and the recorded
  identity; deleting what is gone succeeds.
- Every call is bounded in time by the provider and raises ``Retryable`` when it
  runs out.
"""

from __future__ import annotations

from typing import Protocol

from plimsoll.api.hypervisor import Capabilities, HostState
from plimsoll.api.libvirt import LibvirtTemplate
from plimsoll.world.snapshot import Frozen
from plimsoll.world.vms import PowerState, VmInfo

__all__ = [
    "Conflict",
    "HostInfo",
    "HypervisorError",
    "Intent",
    "Invalid",
    "Listing",
    "NoCapacity",
    "NotSupported",
    "PowerState",
    "Provider",
    "RateLimited",
    "Retryable",
    "VmInfo",
]


class HypervisorError(Exception):
    """A call failed; the subclass says what to do about it."""


class Retryable(HypervisorError):
    """Unreachable, timed out or busy: nothing is known; try again later."""


class RateLimited(Retryable):
    """Too many calls: try again, more slowly."""


class NoCapacity(HypervisorError):
    """No host has room, or admission control refused: a capacity signal, not a fault."""


class Conflict(HypervisorError):
    """Something of another owner is in the way (same name, foreign mark)."""


class NotSupported(HypervisorError):
    """This hypervisor, or this VM, cannot do that."""


class Invalid(HypervisorError):
    """The request itself is wrong; trying again will not help."""


class HostInfo(Frozen, frozen=True, kw_only=True):
    """One physical machine. CPU in millicores without overcommitment, memory in bytes."""

    name: str
    zone: str
    cpu: int
    memory: int
    cpu_used: int
    """Millicores given to VMs, also to those of others."""
    memory_used: int
    state: HostState
    free_nodes: tuple[str, ...] | None = None
    """Where machines are claimed and not made: names of the nodes that may be."""


class Listing(Frozen, frozen=True, kw_only=True):
    """What one look at a hypervisor showed of this cluster's VMs."""

    vms: tuple[VmInfo, ...]
    silent: tuple[str, ...] = ()
    """Hosts that could not say. Their VMs are as last seen, with power Unknown, or missing."""


class Intent(Frozen, frozen=True, kw_only=True):
    """The VM that is wanted, as its VMNode records it."""

    uid: str
    """UID of the VMNode: the idempotency key."""
    name: str
    pool: str
    host: str
    """Empty: any host."""
    cpu: int
    """Virtual CPUs."""
    memory: int
    """Bytes."""
    allocatable_cpu: int
    """Millicores left to pods after the reservation."""
    allocatable_memory: int
    max_pods: int
    labels: dict[str, str]
    annotations: dict[str, str]
    taints: tuple[tuple[str, str, str], ...]
    """(key, value, effect)."""
    max_cpu: int = 0
    """Virtual CPUs to which it can ever be grown; 0: not at all."""
    max_memory: int = 0
    libvirt: LibvirtTemplate | None = None
    """What the VM looks like on libvirt."""
    user_data: str = ""
    """What makes the VM a node. Secret: it holds a token."""


class Provider(Protocol):
    """One hypervisor, spoken to on behalf of one cluster."""

    def capabilities(self) -> Capabilities:
        """What this hypervisor can do. Static: no call is made."""

    async def hosts(self) -> tuple[HostInfo, ...]:
        """All physical machines, with their state."""

    async def ensure(self, intent: Intent) -> VmInfo:
        """The VM of this intent, created if it does not exist yet.

        Raises:
            NoCapacity: the host, or every host, is full.
            Conflict: a VM of that name exists and is not this intent's.
        """

    async def describe(self, uuid: str, host: str = "") -> VmInfo | None:
        """The VM with this identity, or None when it is proven gone.

        ``host`` is where it was last seen, as recorded. A VM last seen on a host
        that can no longer be asked is not proven gone.
        """

    async def list_owned(self) -> tuple[VmInfo, ...]:
        """Every VM that carries this cluster's mark; complete, or an error."""

    async def listing(self) -> Listing:
        """The VMs that carry this cluster's mark, as far as hosts answer.

        Good for reporting, and for finding what is there. That something is gone
        follows from it only if no host was silent.

        Raises:
            HypervisorError: nothing at all could be seen.
        """

    async def owned_by(self, owner_uid: str, host: str) -> tuple[VmInfo, ...]:
        """Every VM of this owner; complete, or an error.

        ``host`` is the only host on which one can have been made, as the owner's
        intent has recorded it before: other hosts need not answer then. Empty: any.
        """

    async def resize(self, uuid: str, cpu: int, memory: int) -> VmInfo:
        """Starts hot-add (or removal, if capable) towards virtual CPUs and bytes.

        Returns at once; ``describe`` shows the size that is reached.

        Raises:
            NoCapacity: the host has no room for the difference.
            NotSupported: the VM cannot be resized while running.
        """

    async def delete(self, uuid: str, owner_uid: str) -> None:
        """Starts the deletion of the VM with this identity and this owner; gone is success.

        Raises:
            Conflict: a VM of that identity has another owner or cluster.
        """

    async def start(self, uuid: str, owner_uid: str) -> None:
        """Powers on a VM of ours that is off; one that runs already is success.

        Raises:
            NotSupported: this hypervisor does that by itself, or not at all.
            Conflict: a VM of that identity has another owner or cluster.
        """

    async def seal(self, uuid: str, owner_uid: str) -> None:
        """Wipes what the VM was bootstrapped with: it has become a node, or never will.

        Repeating it is success, and so is a VM that never had any.
        """

    async def console(self, uuid: str) -> str:
        """The last lines that the VM wrote to its console; empty where nobody knows.

        Never raises for a VM that is gone.
        """

    async def sweep(self, grace: float) -> tuple[str, ...]:
        """Removes disks and seeds with our cluster's mark that belong to no VM.

        Only what has been so at two looks at least ``grace`` seconds apart. Returns
        what was removed, for Events. A hypervisor without leftovers returns nothing.
        """

    async def close(self) -> None:
        """Releases connections."""
