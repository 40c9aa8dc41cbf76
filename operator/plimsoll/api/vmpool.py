"""Kind ``VMPool``: VMs made from one template for one purpose."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from plimsoll.api.common import (
    API_VERSION,
    Bytes,
    Condition,
    Decision,
    Duration,
    Labels,
    Milli,
    Model,
    Name,
    ObjectMeta,
    Rule,
    Taint,
)


class NodeCount(Model):
    """Scale-out range of the pool."""

    min: int = Field(default=0, ge=0, le=5000, description="Fewest VMs.")
    max: int = Field(ge=0, le=5000, description="Most VMs.")

    rules = (Rule("self.min <= self.max", "nodes.min must not be greater than nodes.max"),)

    @model_validator(mode="after")
    def _ordered(self) -> NodeCount:
        if self.min > self.max:
            raise ValueError("nodes.min must not be greater than nodes.max")
        return self


class CpuRange(Model):
    """Scale-up range of one VM, in virtual CPUs."""

    min: int = Field(ge=1, le=4096, description="CPUs of the smallest VM.")
    max: int = Field(ge=1, le=4096, description="CPUs of the largest VM.")
    step: int = Field(default=1, ge=1, le=4096, description="Sizes are min plus a multiple of it.")

    rules = (
        Rule("self.min <= self.max", "size.cpu.min must not be greater than size.cpu.max"),
        Rule(
            "(self.max - self.min) % self.step == 0",
            "size.cpu.max must be size.cpu.min plus a multiple of size.cpu.step",
        ),
    )

    @model_validator(mode="after")
    def _on_step(self) -> CpuRange:
        if self.min > self.max:
            raise ValueError("size.cpu.min must not be greater than size.cpu.max")
        if (self.max - self.min) % self.step:
            raise ValueError("size.cpu.max must be size.cpu.min plus a multiple of size.cpu.step")
        return self


class MemoryRange(Model):
    """Scale-up range of one VM, in bytes of memory."""

    min: Bytes = Field(description="Memory of the smallest VM.")
    max: Bytes = Field(description="Memory of the largest VM.")
    step: Bytes = Field(default=1024**3, description="Sizes are min plus a multiple of it.")

    rules = (
        Rule(
            "quantity(string(self.min)).isGreaterThan(quantity('0'))",
            "size.memory.min must be greater than zero",
        ),
        Rule(
            "quantity(string(self.step)).isGreaterThan(quantity('0'))",
            "size.memory.step must be greater than zero",
        ),
        Rule(
            "!quantity(string(self.min)).isGreaterThan(quantity(string(self.max)))",
            "size.memory.min must not be greater than size.memory.max",
        ),
        Rule(
            "(quantity(string(self.max)).asInteger() - quantity(string(self.min)).asInteger())"
            " % quantity(string(self.step)).asInteger() == 0",
            "size.memory.max must be size.memory.min plus a multiple of size.memory.step",
        ),
    )

    @model_validator(mode="after")
    def _on_step(self) -> MemoryRange:
        if self.min <= 0:
            raise ValueError("size.memory.min must be greater than zero")
        if self.step <= 0:
            raise ValueError("size.memory.step must be greater than zero")
        if self.min > self.max:
            raise ValueError("size.memory.min must not be greater than size.memory.max")
        if (self.max - self.min) % self.step:
            raise ValueError(
                "size.memory.max must be size.memory.min plus a multiple of size.memory.step"
            )
        return self


class SizeRange(Model):
    """How small and how large one VM may be; equal ends mean a fixed size."""

    cpu: CpuRange = Field(description="Virtual CPUs.")
    memory: MemoryRange = Field(description="Memory.")


class PodRange(Model):
    """How many pods one VM may take."""

    min: int = Field(default=20, ge=1, le=1000, description="Berths offered at least.")
    max: int = Field(
        default=110, ge=1, le=1000, description="Berths offered at most; also kubelet's maxPods."
    )

    rules = (
        Rule("self.min <= self.max", "density.pods.min must not be greater than density.pods.max"),
    )

    @model_validator(mode="after")
    def _ordered(self) -> PodRange:
        if self.min > self.max:
            raise ValueError("density.pods.min must not be greater than density.pods.max")
        return self


class Reserved(Model):
    """What a VM keeps for its system; the rest is allocatable to pods."""

    cpu: Milli = Field(default=200, description="CPU kept back.")
    memory: Bytes = Field(default=512 * 1024**2, description="Memory kept back.")


class Density(Model):
    """How deep one VM may be loaded."""

    pods: PodRange = Field(default=PodRange(), description="Number of pods.")
    load_line_percent: int = Field(
        default=85,
        ge=1,
        le=100,
        description="The load line: share of allocatable CPU and memory that may be requested.",
    )
    reserved: Reserved = Field(default=Reserved(), description="Kept for the system of the VM.")


class Cost(Model):
    """Cost model, in any unit people pay in: licences, power, money."""

    per_vm: Milli = Field(default=4000, alias="perVM", description="Cost of one VM.")
    per_cpu: Milli = Field(default=1000, alias="perCPU", description="Cost of one virtual CPU.")
    per_gib: Milli = Field(default=250, alias="perGiB", description="Cost of one GiB of memory.")


class Survive(Model):
    """What the pool must withstand."""

    hosts: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Hosts that may fail while every replica still has room.",
    )


class Window(Model):
    """A weekly time in which disruption is allowed."""

    days: tuple[Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"], ...] = Field(
        default=(),
        max_length=7,
        description="Days on which it starts; empty for every day.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    start: str = Field(
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$",
        max_length=5,
        description="Time of day at which it opens (HH:MM).",
    )
    duration: Duration = Field(description="How long it stays open.")
    time_zone: str = Field(
        default="UTC", max_length=64, description="IANA name of the time zone of `start`."
    )


class Disruption(Model):
    """How gently containers are moved off VMs."""

    max_unavailable: int = Field(
        default=1,
        ge=0,
        le=5000,
        description="VMs drained at once; 0 forbids voluntary disruption.",
    )
    consolidate_after: Duration = Field(
        default=600.0,
        description="How long a VM's pods must be unchanged before it may be emptied.",
    )
    drain_timeout: Duration = Field(
        default=600.0, description="How long evictions may take before the drain is given up."
    )
    on_drain_timeout: Literal["Keep", "Force"] = Field(
        default="Keep",
        description="What then: keep the VM, or delete the remaining pods past their budgets.",
    )
    windows: tuple[Window, ...] = Field(
        default=(),
        max_length=32,
        description="When voluntary disruption is allowed; empty: always.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class Template(Model):
    """What every VM of the pool carries as a node."""

    labels: Labels = Field(default={}, description="Node labels.", max_length=64)
    annotations: Labels = Field(default={}, description="Node annotations.", max_length=64)
    taints: tuple[Taint, ...] = Field(
        default=(),
        description="Node taints.",
        max_length=32,
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    runtime_classes: tuple[str, ...] = Field(
        default=(),
        max_length=16,
        description="RuntimeClasses that the VM's image offers; empty: not restricted.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )


class VMPoolSpec(Model):
    """What VMs there may be, and how they are used."""

    hypervisor: Name = Field(description="Name of the Hypervisor. Cannot be changed.")
    replicas: int | None = Field(
        default=None,
        ge=0,
        le=5000,
        description="Fixes the number of VMs by hand or by `kubectl scale`; absent: decided.",
    )
    nodes: NodeCount = Field(description="Scale-out range: how many VMs.")
    size: SizeRange = Field(description="Scale-up range: how large one VM.")
    density: Density = Field(default=Density(), description="How deep one VM may be loaded.")
    cost: Cost = Field(default=Cost(), description="What VMs cost.")
    zones: tuple[str, ...] = Field(
        default=(),
        max_length=64,
        description="Zones to spread over, only where the hypervisor's hosts carry none.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    survive: Survive = Field(default=Survive(), description="What must be withstood.")
    disruption: Disruption = Field(
        default=Disruption(), description="How gently containers are moved."
    )
    max_launching: int = Field(
        default=5, ge=1, le=500, description="VMs that may be on their way at once."
    )
    launch_timeout: Duration = Field(
        default=600.0, description="From the wish for a VM to its Ready node, before it is retried."
    )
    template: Template = Field(default=Template(), description="What every VM carries as a node.")

    rules = (
        Rule(
            "self.hypervisor == oldSelf.hypervisor",
            "hypervisor cannot be changed: create another VMPool and retire this one",
        ),
        Rule(
            "!has(self.replicas) || (self.replicas >= self.nodes.min"
            " && self.replicas <= self.nodes.max)",
            "replicas must lie between nodes.min and nodes.max",
        ),
    )

    @model_validator(mode="after")
    def _replicas_in_range(self) -> VMPoolSpec:
        if self.replicas is not None and not self.nodes.min <= self.replicas <= self.nodes.max:
            raise ValueError("replicas must lie between nodes.min and nodes.max")
        return self


class VMPoolStatus(Model):
    """What the controller last saw and decided."""

    observed_generation: int | None = Field(
        default=None, description="Generation of the spec that this status speaks of."
    )
    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Ready, Redundant, and Reconciling or Stalled while true.",
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    replicas: int = Field(default=0, ge=0, description="VMs that exist or are on their way.")
    ready_replicas: int = Field(default=0, ge=0, description="VMs whose node is Ready.")
    selector: str = Field(
        default="", max_length=512, description="Label selector of the pool's VMNodes."
    )
    cpu: Milli = Field(default=0, description="Virtual CPUs of all VMs.")
    memory: Bytes = Field(default=0, description="Memory of all VMs.")
    decisions: tuple[Decision, ...] = Field(
        default=(),
        max_length=20,
        description="The last decisions, newest first.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class VMPool(Model):
    """VMs made from one template for one purpose, each loaded up to its load line."""

    api_version: Literal["plimsoll.dev/v1alpha1"] = API_VERSION
    kind: Literal["VMPool"] = "VMPool"
    metadata: ObjectMeta
    spec: VMPoolSpec
    status: VMPoolStatus | None = None
