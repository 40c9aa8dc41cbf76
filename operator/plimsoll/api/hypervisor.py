"""Kind ``Hypervisor``: where VMs live, and the hosts they live on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from plimsoll.api.common import (
    API_VERSION,
    Bytes,
    Condition,
    Duration,
    Milli,
    Model,
    Name,
    ObjectMeta,
    Rule,
)

HostState = Literal["Up", "Down", "Isolated", "Maintenance", "Unknown"]
"""What the hypervisor says of a host.

Only ``Up`` takes new VMs. ``Down`` is confirmed off; ``Isolated`` may still run
its VMs; ``Unknown`` means that nobody could say, and pauses replacement.
"""


class SimulatedHost(Model):
    """One physical machine of the simulated hypervisor. ``state`` is how a test breaks it."""

    name: Name = Field(description="Name of the host; VM nodes carry it as plimsoll.dev/host.")
    zone: str = Field(
        default="", description="Failure domain above the host, empty for none.", max_length=63
    )
    cpu: int = Field(description="Physical CPUs.", ge=1, le=4096)
    memory: Bytes = Field(description="Physical memory.")
    state: HostState = Field(default="Up", description="Set it to Down to make the host fail.")


class SimulatedFault(Model):
    """An error or delay of the simulated hypervisor's API, on order."""

    operation: Literal["hosts", "ensure", "describe", "listOwned", "resize", "delete"] = Field(
        description="The call that fails or waits."
    )
    error: Literal[
        "", "Retryable", "RateLimited", "NoCapacity", "Conflict", "NotSupported", "Invalid"
    ] = Field(default="", description="Error to raise, empty for none.")
    delay: Duration = Field(default=0.0, description="Time the call takes before it answers.")
    host: str = Field(
        default="", description="Only calls that concern this host, empty for all.", max_length=253
    )


class Simulated(Model):
    """Settings of the simulated hypervisor: its hosts, its pace, its failures."""

    hosts: tuple[SimulatedHost, ...] = Field(
        description="The physical machines.",
        min_length=1,
        max_length=1024,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    boot_time: Duration = Field(default=3.0, description="From create to a node that joins.")
    hot_add_time: Duration = Field(default=1.0, description="From resize to seen capacity.")
    delete_time: Duration = Field(default=1.0, description="From delete to gone.")
    restart_time: Duration = Field(
        default=5.0, description="High availability: from host failure to restart elsewhere."
    )
    high_availability: bool = Field(
        default=True, description="Whether VMs of a failed host restart on another."
    )
    hot_add: bool = Field(default=True, description="Whether running VMs can grow.")
    hot_remove: bool = Field(default=False, description="Whether running VMs can shrink.")
    faults: tuple[SimulatedFault, ...] = Field(
        default=(),
        description="API errors and delays in force.",
        max_length=32,
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class SecretReference(Model):
    """A Secret in the operator's own namespace."""

    name: Name = Field(description="Name of the Secret.")


class HypervisorSpec(Model):
    """How to reach a hypervisor."""

    provider: Literal["simulated"] = Field(
        description="Which provider module talks to it. Cannot be changed."
    )
    simulated: Simulated | None = Field(
        default=None, description="Settings of the provider `simulated`."
    )
    credentials_secret_ref: SecretReference | None = Field(
        default=None, description="Credentials, from the operator's own namespace."
    )
    cpu_overcommit_percent: int = Field(
        default=100,
        ge=100,
        le=1600,
        description="Virtual CPUs that may be given out per 100 physical CPUs.",
    )
    restart_window: Duration = Field(
        default=120.0,
        description="After a host fails, how long the hypervisor's own high availability has to "
        "restart its VMs before Plimsoll replaces them.",
    )
    inventory_interval: Duration = Field(
        default=10.0, description="How often hosts and VMs are listed."
    )

    rules = (
        Rule(
            "self.provider == oldSelf.provider",
            "provider cannot be changed: create another Hypervisor and move the pools",
        ),
        Rule(
            "self.provider != 'simulated' || has(self.simulated)",
            "provider simulated needs the section spec.simulated",
        ),
    )

    @model_validator(mode="after")
    def _section_present(self) -> HypervisorSpec:
        if self.provider == "simulated" and self.simulated is None:
            raise ValueError("provider simulated needs the section spec.simulated")
        return self


class HostStatus(Model):
    """What is known of one host."""

    name: str = Field(description="Name of the host.", max_length=253)
    zone: str = Field(default="", description="Failure domain above the host.", max_length=63)
    state: HostState = Field(description="Up, Down, Isolated, Maintenance or Unknown.")
    state_since: str = Field(
        default="", description="When this state was first seen (RFC 3339).", max_length=64
    )
    cpu: Milli = Field(description="CPUs that may be given to VMs, overcommitment included.")
    memory: Bytes = Field(description="Memory that may be given to VMs.")
    cpu_used: Milli = Field(default=0, description="CPUs given to VMs.")
    memory_used: Bytes = Field(default=0, description="Memory given to VMs.")
    vms: int = Field(default=0, description="Number of VMs of this cluster.", ge=0)


class Capabilities(Model):
    """What the provider can do; decisions rest on it."""

    hot_add_cpu: bool = Field(default=False, description="CPUs can be added to a running VM.")
    hot_add_memory: bool = Field(default=False, description="Memory can be added while running.")
    hot_remove: bool = Field(default=False, description="A running VM can be made smaller safely.")
    high_availability: bool = Field(
        default=False, description="VMs of a failed host restart on another by themselves."
    )


class HypervisorStatus(Model):
    """What the controller last saw of the hypervisor."""

    observed_generation: int | None = Field(
        default=None, description="Generation of the spec that this status speaks of."
    )
    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Ready, and Reconciling or Stalled while true.",
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    hosts: tuple[HostStatus, ...] = Field(
        default=(),
        description="The physical machines.",
        max_length=1024,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    capabilities: Capabilities | None = Field(default=None, description="What the provider can do.")
    last_inventory: str = Field(
        default="", description="When hosts and VMs were last listed (RFC 3339).", max_length=64
    )


class Hypervisor(Model):
    """One vCenter, Proxmox or Hyper-V cluster or set of libvirt hosts, where VMs live."""

    api_version: Literal["plimsoll.dev/v1alpha1"] = API_VERSION
    kind: Literal["Hypervisor"] = "Hypervisor"
    metadata: ObjectMeta
    spec: HypervisorSpec
    status: HypervisorStatus | None = None
