"""Kind ``VMNode``: the recorded intent and the observed life of one VM."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from plimsoll.api.base import AGE, READY, Column, Kind, Model, Presentation, host_name
from plimsoll.api.common import Conditions
from plimsoll.api.rules import Rule
from plimsoll.api.scalars import Bytes, Milli, PositiveBytes
from plimsoll.api.text import LabelValue, Name, Time
from plimsoll.api.vmpool import Template


class Phase(StrEnum):
    """Where a VM is in its life; ``decide/lifecycle.py`` has every transition."""

    REQUESTED = "Requested"
    CREATING = "Creating"
    BOOTING = "Booting"
    JOINING = "Joining"
    READY = "Ready"
    RESIZING = "Resizing"
    DRAINING = "Draining"
    DELETING = "Deleting"


class Size(Model):
    """Size of one VM."""

    cpu: int = Field(ge=1, le=4096, description="Number of virtual CPUs.")
    memory: PositiveBytes = Field(description="Memory.")


class Retirement(Model):
    """The wish that the VM be drained and deleted; taking it back uncordons the node."""

    reason: str = Field(description="Why the VM is retired.", max_length=2048)
    since: Time = Field(description="When it was decided (RFC 3339).")


class VMNodeSpec(Model):
    """What is wanted. Written before anything happens at the hypervisor."""

    pool: Name = Field(description="Name of the VMPool. Cannot be changed.")
    hypervisor: Name = Field(description="Name of the Hypervisor. Cannot be changed.")
    host: str = Field(
        default="", max_length=253, description="Host to create the VM on; empty: any."
    )
    zone: LabelValue = Field(default="", description="Zone, where the hosts carry none.")
    size: Size = Field(description="Size wanted.")
    max_size: Size | None = Field(
        default=None,
        description="To what the VM can ever grow, fixed when it is made; absent: not at all.",
    )
    max_pods: int = Field(
        default=110, ge=1, le=1000, description="Most pods on the node: kubelet's maxPods."
    )
    reserved_cpu: Milli = Field(default=200, description="CPU kept for the system of the VM.")
    reserved_memory: Bytes = Field(
        default=512 * 1024**2, description="Memory kept for the system of the VM."
    )
    berths: int = Field(
        default=20,
        ge=0,
        le=1000,
        description="Pods that the VM takes now: the berths its node advertises.",
    )
    template: Template = Field(default=Template(), description="What the VM carries as a node.")
    retire: Retirement | None = Field(
        default=None, description="Set to have the VM drained and deleted."
    )

    rules = (
        Rule(
            "self.pool == oldSelf.pool",
            "pool cannot be changed",
            "retire this VM and let the other pool launch one",
            field=".pool",
        ),
        Rule(
            "self.hypervisor == oldSelf.hypervisor",
            "hypervisor cannot be changed",
            "retire this VM and let another be launched there",
            field=".hypervisor",
        ),
        Rule(
            "self.berths <= self.maxPods",
            "berths must not be greater than maxPods",
            "lower berths",
            lambda spec: spec.berths <= spec.max_pods,
            field=".berths",
        ),
    )


class Identity(Model):
    """How the hypervisor knows the VM. A name is not identity; names are reused."""

    uuid: str = Field(min_length=1, max_length=128, description="Unique id at the hypervisor.")
    provider_id: str = Field(
        default="", alias="providerID", max_length=512, description="The node's spec.providerID."
    )


class VMNodeStatus(Model):
    """What was seen of the VM and its node."""

    observed_generation: int | None = Field(
        default=None, ge=0, description="Generation of the spec that this status speaks of."
    )
    phase: Phase = Field(default=Phase.REQUESTED, description="Where the VM is in its life.")
    phase_since: Time = Field(default="", description="When the phase began (RFC 3339).")
    message: str = Field(
        default="", max_length=4096, description="What is awaited, or what failed."
    )
    conditions: Conditions = Field(
        default=(), description="Ready, and Reconciling or Stalled while true."
    )
    identity: Identity | None = Field(
        default=None, description="Recorded when the hypervisor confirmed the VM."
    )
    host: str = Field(default="", max_length=253, description="Host on which the VM runs.")
    node_name: str = Field(default="", max_length=253, description="Name of the node.")
    node_uid: str = Field(
        default="", alias="nodeUID", max_length=64, description="UID of the matched node."
    )
    size: Size | None = Field(default=None, description="Size last seen at the hypervisor.")
    bootstrap_token: str = Field(
        default="",
        max_length=6,
        description="Id (never the secret) of the VM's bootstrap token, while there is one.",
    )
    failures: int = Field(
        default=0, ge=0, description="Launch attempts that failed since it was last Ready."
    )
    attempt_since: Time = Field(
        default="",
        description="When the launch attempt under way began, or the last one failed (RFC 3339).",
    )
    starts: int = Field(
        default=0,
        ge=0,
        description="Times that the VM was off and was started again, counted together while less "
        "than ten minutes lie between them.",
    )
    started_at: Time = Field(default="", description="When it last was started again (RFC 3339).")
    lost_since: Time = Field(
        default="",
        description="When the VM or its host was first seen failed (RFC 3339); empty: it is not.",
    )

    rules = (
        Rule(
            "!has(oldSelf.identity) || !has(self.identity)"
            " || self.identity.uuid == oldSelf.identity.uuid",
            "the recorded identity cannot be exchanged for another",
            "clear it first, once its VM is proven gone",
            field=".identity",
        ),
    )


class VMNode(Kind):
    """One VM and the Kubernetes node that it becomes. Written by Plimsoll."""

    presentation = Presentation(
        plural="vmnodes",
        short_name="vmn",
        scope="Cluster",
        columns=(
            Column("Pool", "string", ".spec.pool", "The VMPool."),
            Column("Phase", "string", ".status.phase", "Where the VM is in its life."),
            READY,
            Column("Host", "string", ".status.host", "Host on which the VM runs."),
            Column("CPU", "integer", ".spec.size.cpu", "Virtual CPUs wanted."),
            Column("Memory", "string", ".spec.size.memory", "Memory wanted."),
            Column("Berths", "integer", ".spec.berths", "Pods that the VM takes now."),
            Column("Message", "string", ".status.message", "What is awaited, or failed.", 1),
            AGE,
        ),
    )
    rules = (host_name(63, "the VM carries it"),)
    kind: Literal["VMNode"] = "VMNode"
    spec: VMNodeSpec = Field(description="What is wanted.")
    status: VMNodeStatus | None = Field(default=None, description="What was seen of it.")
