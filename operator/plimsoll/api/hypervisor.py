"""Kind ``Hypervisor``: where VMs live, and the hosts they live on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from plimsoll.api.base import AGE, LABEL_NAME, READY, Column, Kind, Model, Presentation
from plimsoll.api.common import Conditions
from plimsoll.api.libvirt import Libvirt
from plimsoll.api.rules import ATOMIC, SET, ListOf, Rule
from plimsoll.api.scalars import BytesSum, Duration, Interval, MilliSum, PositiveBytes
from plimsoll.api.static import Static
from plimsoll.api.text import DomainName, LabelValue, Name, Time

HostState = Literal["Up", "Down", "Isolated", "Maintenance", "Unknown"]
"""What the hypervisor says of a host.

Only ``Up`` takes new VMs. ``Down`` is confirmed off; ``Isolated`` may still run
its VMs; ``Unknown`` means that nobody could say, and pauses replacement.
"""


class SimulatedHost(Model):
    """One physical machine of the simulated hypervisor. ``state`` is how a test breaks it."""

    name: DomainName = Field(
        description="Name of the host; VM nodes carry it as label plimsoll.dev/host."
    )
    zone: LabelValue = Field(
        default="", description="Failure domain above the host; empty for none."
    )
    cpu: int = Field(description="Number of physical CPUs.", ge=1, le=4096)
    memory: PositiveBytes = Field(description="Physical memory.")
    state: HostState = Field(default="Up", description="Set it to Down to make the host fail.")


class SimulatedFault(Model):
    """An error or delay of the simulated hypervisor's API, on order."""

    operation: Literal["hosts", "ensure", "describe", "listOwned", "resize", "delete"] = Field(
        description="The call that fails or waits."
    )
    error: Literal[
        "", "Retryable", "RateLimited", "NoCapacity", "Conflict", "NotSupported", "Invalid"
    ] = Field(default="", description="Error to raise; empty for none.")
    delay: Duration = Field(default=0.0, description="Time the call takes before it answers.")
    host: str = Field(
        default="", description="Only calls that concern this host; empty for all.", max_length=63
    )


class Simulated(Model):
    """Settings of the simulated hypervisor: its hosts, its pace, its failures."""

    hosts: Annotated[tuple[SimulatedHost, ...], ListOf("map", ("name",))] = Field(
        description="The physical machines.", min_length=1, max_length=1024
    )
    boot_time: Duration = Field(
        default=3.0, description="Time from the creation of a VM to a node that joins."
    )
    hot_add_time: Duration = Field(
        default=1.0, description="Time from a resize to the new capacity."
    )
    delete_time: Duration = Field(default=1.0, description="Time from a delete to the VM's end.")
    restart_time: Duration = Field(
        default=5.0,
        description="High availability: time from a host's failure to its VMs' restart elsewhere.",
    )
    high_availability: bool = Field(
        default=True, description="Whether VMs of a failed host restart on another."
    )
    hot_add: bool = Field(default=True, description="Whether running VMs can grow.")
    hot_remove: bool = Field(default=False, description="Whether running VMs can shrink.")
    faults: Annotated[tuple[SimulatedFault, ...], ATOMIC] = Field(
        default=(), description="API errors and delays in force.", max_length=32
    )


class SecretReference(Model):
    """A Secret in the operator's own namespace."""

    name: Name = Field(description="Name of the Secret.")


class HypervisorSpec(Model):
    """How to reach a hypervisor."""

    provider: Literal["simulated", "libvirt", "static"] = Field(
        description="Which provider module talks to it."
    )
    simulated: Simulated | None = Field(
        default=None, description="Settings of the provider `simulated`."
    )
    libvirt: Libvirt | None = Field(default=None, description="Settings of the provider `libvirt`.")
    static: Static | None = Field(default=None, description="Settings of the provider `static`.")
    credentials_secret_ref: SecretReference | None = Field(
        default=None,
        description="Secret with the credentials, in the operator's own namespace; absent where "
        "the provider needs none.",
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
    inventory_interval: Interval = Field(
        default=10.0, description="How often hosts and VMs are listed."
    )

    rules = (
        Rule(
            "self.provider != 'simulated' || has(self.simulated)",
            "provider simulated needs the section simulated",
            "add it, with at least one host",
            lambda spec: spec.provider != "simulated" or spec.simulated is not None,
            field=".simulated",
        ),
        Rule(
            "self.provider != 'libvirt' || has(self.libvirt)",
            "provider libvirt needs the section libvirt",
            "add it, with at least one host and its URI",
            lambda spec: spec.provider != "libvirt" or spec.libvirt is not None,
            field=".libvirt",
        ),
        Rule(
            "self.provider != 'static' || has(self.static)",
            "provider static needs the section static",
            "add it, with at least one machine",
            lambda spec: spec.provider != "static" or spec.static is not None,
            field=".static",
        ),
    )


class HostStatus(Model):
    """What is known of one host."""

    name: str = Field(description="Name of the host.", max_length=253)
    zone: str = Field(default="", description="Failure domain above the host.", max_length=63)
    state: HostState = Field(
        description="Up: takes VMs. Down: confirmed off. Isolated: may still run its VMs. "
        "Maintenance: takes no VMs. Unknown: nobody could say."
    )
    state_since: Time = Field(default="", description="When this state was first seen (RFC 3339).")
    cpu: MilliSum = Field(description="CPUs that may be given to VMs, overcommitment included.")
    memory: BytesSum = Field(description="Memory that may be given to VMs.")
    cpu_used: MilliSum = Field(default=0, description="CPUs given to VMs.")
    memory_used: BytesSum = Field(default=0, description="Memory given to VMs.")
    vms: int = Field(default=0, description="Number of VMs of this cluster.", ge=0)
    free_nodes: (
        Annotated[tuple[Annotated[str, Field(max_length=63)], ...], Field(max_length=1024), SET]
        | None
    ) = Field(
        default=None,
        description="Where machines are claimed and not made: nodes that may be; else absent.",
    )


class Capabilities(Model):
    """What the provider can do; decisions rest on it."""

    hot_add_cpu: bool = Field(default=False, description="CPUs can be added to a running VM.")
    hot_add_memory: bool = Field(default=False, description="Memory can be added to a running VM.")
    hot_remove: bool = Field(default=False, description="A running VM can be made smaller safely.")
    high_availability: bool = Field(
        default=False, description="VMs of a failed host restart on another by themselves."
    )
    start: bool = Field(default=False, description="A VM that is off can be started again.")
    adopts: bool = Field(
        default=False, description="Machines are nodes already, and are claimed instead of made."
    )
    bootstrap: bool = Field(
        default=False, description="VMs are real machines, which need user data to become nodes."
    )


class HypervisorStatus(Model):
    """What the controller last saw of the hypervisor."""

    observed_generation: int | None = Field(
        default=None, ge=0, description="Generation of the spec that this status speaks of."
    )
    conditions: Conditions = Field(
        default=(), description="Ready, and Reconciling or Stalled while true."
    )
    hosts: Annotated[tuple[HostStatus, ...], ListOf("map", ("name",))] = Field(
        default=(), description="The physical machines.", max_length=1024
    )
    capabilities: Capabilities | None = Field(default=None, description="What the provider can do.")
    last_inventory: Time = Field(
        default="", description="When hosts and VMs were last listed (RFC 3339)."
    )


class Hypervisor(Kind):
    """One vCenter, Proxmox or Hyper-V cluster or set of libvirt hosts, where VMs live."""

    presentation = Presentation(
        plural="hypervisors",
        short_name="hv",
        scope="Cluster",
        columns=(
            Column("Provider", "string", ".spec.provider", "Which provider talks to it."),
            READY,
            Column(
                "Inventory",
                "date",
                ".status.lastInventory",
                "Time since hosts and VMs were listed.",
            ),
            AGE,
        ),
    )
    rules = (LABEL_NAME,)
    kind: Literal["Hypervisor"] = "Hypervisor"
    spec: HypervisorSpec = Field(description="How to reach it.")
    status: HypervisorStatus | None = Field(default=None, description="What was seen of it.")
