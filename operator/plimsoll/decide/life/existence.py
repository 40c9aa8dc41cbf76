"""Whether a VM exists: the three answers, and who has to be asked for them."""

from __future__ import annotations

from enum import StrEnum

from plimsoll.api.vmnode import Phase, VMNode, VMNodeStatus
from plimsoll.world.snapshot import Frozen
from plimsoll.world.vms import VmInfo


class Exists(Frozen, frozen=True, kw_only=True):
    """The hypervisor showed the VM."""

    vm: VmInfo


class Gone(Frozen, frozen=True):
    """Proven: a full, authenticated listing does not have it."""


class Unknown(Frozen, frozen=True, kw_only=True):
    """The hypervisor could not say; ``message`` tells why."""

    message: str
    reason: str = "HypervisorUnreachable"


class NotAsked(Frozen, frozen=True):
    """Nothing of the decision rests on the VM."""


Existence = Exists | Gone | Unknown | NotAsked


class Question(StrEnum):
    """What must be asked of the hypervisor before the next step."""

    NONE = "None"
    OWNER = "Owner"
    """A full listing, searched for VMs that carry this VMNode's UID."""
    IDENTITY = "Identity"
    """The VM with the recorded identity."""
    SIGHTING = "Sighting"
    """The inventory's last look will do, as long as nothing is to be destroyed."""
    LAST = "Last"
    """By identity, and if that is gone by owner: nothing of ours may stay behind."""


_QUESTIONS = {
    Phase.REQUESTED: Question.NONE,
    Phase.CREATING: Question.OWNER,
    Phase.BOOTING: Question.IDENTITY,
    Phase.JOINING: Question.IDENTITY,
    Phase.READY: Question.SIGHTING,
    Phase.RESIZING: Question.IDENTITY,
    Phase.DRAINING: Question.SIGHTING,
    Phase.DELETING: Question.LAST,
}


def question(record: VMNode) -> Question:
    """What the next step of this VMNode needs to know of its VM."""
    return _QUESTIONS[(record.status or VMNodeStatus()).phase]


class Loss(StrEnum):
    """What is known of a VM that failed, or whose host did; also the reason in conditions."""

    RESTARTING = "Restarting"
    """The hypervisor's high availability is bringing it up again."""
    MAY_RUN = "MayRun"
    """Its host cannot be reached and may still run it."""
    PAUSED = "Paused"
    """Somebody, or a full disk, stopped it in its tracks; it may run again at any time."""
    OFF = "ConfirmedOff"
    UNKNOWN = "Unknown"
    """The hypervisor cannot be asked."""
