"""Kind ``VMNode``: the recorded intent and the observed life of one VM."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from plimsoll.api.common import API_VERSION, Bytes, Condition, Model, Name, ObjectMeta, Rule
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

    cpu: int = Field(ge=1, le=4096, description="Virtual CPUs.")
    memory: Bytes = Field(description="Memory.")


class Retirement(Model):
    """The wish that the VM be drained and deleted; taking it back uncordons the node."""

    reason: str = Field(description="Why the VM is retired.", max_length=2048)
    since: str = Field(description="When it was decided (RFC 3339).", max_length=64)


class VMNodeSpec(Model):
    """What is wanted. Written before anything happens at the hypervisor."""

    pool: Name = Field(description="Name of the VMPool. Cannot be changed.")
    hypervisor: Name = Field(description="Name of the Hypervisor. Cannot be changed.")
    host: str = Field(
        default="", max_length=253, description="Host to create the VM on; empty: any."
    )
    zone: str = Field(default="", max_length=63, description="Zone, where hosts carry none.")
    size: Size = Field(description="Size wanted.")
    max_pods: int = Field(default=110, ge=1, le=1000, description="Kubelet's maxPods.")
    reserved_cpu: str = Field(default="200m", max_length=32, description="CPU kept back.")
    reserved_memory: str = Field(default="512Mi", max_length=32, description="Memory kept back.")
    berths: int = Field(default=20, ge=0, le=1000, description="Berths the node advertises.")
    template: Template = Field(default=Template(), description="What the VM carries as a node.")
    retire: Retirement | None = Field(
        default=None, description="Set to have the VM drained and deleted."
    )

    rules = (
        Rule("self.pool == oldSelf.pool", "pool cannot be changed"),
        Rule("self.hypervisor == oldSelf.hypervisor", "hypervisor cannot be changed"),
    )


class Identity(Model):
    """How the hypervisor knows the VM. A name is not identity; names are reused."""

    uuid: str = Field(description="Unique id at the hypervisor.", max_length=128)
    provider_id: str = Field(
        default="", alias="providerID", max_length=512, description="The node's spec.providerID."
    )


class VMNodeStatus(Model):
    """What was seen of the VM and its node."""

    observed_generation: int | None = Field(
        default=None, description="Generation of the spec that this status speaks of."
    )
    phase: Phase = Field(default=Phase.REQUESTED, description="Where the VM is in its life.")
    phase_since: str = Field(
        default="", max_length=64, description="When the phase began (RFC 3339)."
    )
    message: str = Field(
        default="", max_length=4096, description="What is awaited, or what failed."
    )
    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Ready, and Reconciling or Stalled while true.",
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
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
    failures: int = Field(
        default=0, ge=0, description="Launch attempts that failed since it was last Ready."
    )
    attempt_since: str = Field(
        default="",
        max_length=64,
        description="When the launch attempt under way began, or the last one failed (RFC 3339).",
    )
    lost_since: str = Field(
        default="",
        max_length=64,
        description="When the VM or its host was first seen failed (RFC 3339); empty: it is not.",
    )


class VMNode(Model):
    """One VM and the Kubernetes node that it becomes. Written by Plimsoll."""

    api_version: Literal["plimsoll.dev/v1alpha1"] = API_VERSION
    kind: Literal["VMNode"] = "VMNode"
    metadata: ObjectMeta
    spec: VMNodeSpec
    status: VMNodeStatus | None = None
