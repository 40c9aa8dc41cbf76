"""What one step of a VMNode's life consists of: at most one action, then one status write."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

from plimsoll.api.vmnode import VMNodeStatus
from plimsoll.api.vmpool import Template
from plimsoll.decide.life.node import NodeChange
from plimsoll.decide.life.pods import PodRef
from plimsoll.world.snapshot import Frozen


class Nothing(Frozen, frozen=True):
    """Only look, and write the status if it changed."""


class EnsureVm(Frozen, frozen=True):
    """Create the VM of this VMNode, or find the one that is there."""


class ReadConsole(Frozen, frozen=True, kw_only=True):
    """Ask what the VM wrote to its console, before it is deleted."""

    uuid: str


class StartVm(Frozen, frozen=True, kw_only=True):
    """Power the VM with this identity on again."""

    uuid: str


class SealVm(Frozen, frozen=True, kw_only=True):
    """Delete the VM's bootstrap token, and wipe what the VM was given to become a node."""

    uuid: str


class DeleteToken(Frozen, frozen=True):
    """Delete the VM's bootstrap token."""


class ResizeVm(Frozen, frozen=True, kw_only=True):
    """Ask the hypervisor for this size: virtual CPUs and bytes."""

    uuid: str
    cpu: int
    memory: int


class TakeBackSize(Frozen, frozen=True, kw_only=True):
    """Set the wanted size to the one that is there: virtual CPUs and bytes."""

    cpu: int
    memory: int


class AdoptNode(Frozen, frozen=True, kw_only=True):
    """Put on our node what it misses."""

    uid: str
    change: NodeChange


class TakeTemplate(Frozen, frozen=True, kw_only=True):
    """Record the pool's template, or what of it a VM that is there can follow."""

    template: Template
    uid: str = ""
    """Of our node, on which to change what follows from it; empty: there is none."""
    change: NodeChange = NodeChange()


class SetBerths(Frozen, frozen=True, kw_only=True):
    """Advertise so many berths on the node."""

    uid: str
    berths: int


class Cordon(Frozen, frozen=True, kw_only=True):
    """Let no more pods onto the node, and note that it was us."""

    uid: str


class Uncordon(Frozen, frozen=True, kw_only=True):
    """Take our own cordon back."""

    uid: str


class Evict(Frozen, frozen=True, kw_only=True):
    """Ask the Eviction API for each of these; budgets may refuse."""

    pods: tuple[PodRef, ...]


class DeletePods(Frozen, frozen=True, kw_only=True):
    """Delete these past their budgets, with their own grace period."""

    pods: tuple[PodRef, ...]


class MarkOutOfService(Frozen, frozen=True, kw_only=True):
    """Taint the node, so that its pods and volumes are let go: its machine is confirmed off."""

    uid: str


class ClearOutOfService(Frozen, frozen=True, kw_only=True):
    """The machine came back after all: remove our taint."""

    uid: str


class TakeBackRetirement(Frozen, frozen=True):
    """Remove ``spec.retire``."""


class DeleteRecord(Frozen, frozen=True):
    """Delete the VMNode object; its finalizer keeps it until VM and node are gone."""


class DeleteVm(Frozen, frozen=True, kw_only=True):
    """Start the deletion of the VM with this identity."""

    uuid: str


class DeleteNode(Frozen, frozen=True, kw_only=True):
    """Delete the Node object with this UID."""

    uid: str


Action = (
    Nothing
    | EnsureVm
    | ReadConsole
    | StartVm
    | SealVm
    | DeleteToken
    | ResizeVm
    | TakeBackSize
    | AdoptNode
    | TakeTemplate
    | SetBerths
    | Cordon
    | Uncordon
    | Evict
    | DeletePods
    | MarkOutOfService
    | ClearOutOfService
    | TakeBackRetirement
    | DeleteRecord
    | DeleteVm
    | DeleteNode
)


class Kind(StrEnum):
    """How a step presents itself after kstatus."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class Fact(NamedTuple):
    """A condition as it is now, without its history."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


class Happened(NamedTuple):
    """Something worth an Event; ``reason`` is one of ``EventReason``."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Step:
    """One step. Carried out in this order: action, status, events."""

    action: Action
    status: VMNodeStatus
    """The whole status to be written, except for its conditions."""
    facts: tuple[Fact, ...]
    """The conditions that hold."""
    recheck_after: float | None
    """Seconds until time alone may change the answer; None: wait for a change."""
    events: tuple[Happened, ...] = ()
    done: bool = False
    """Nothing is left of the VM and its node: let the VMNode go."""
