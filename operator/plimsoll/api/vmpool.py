"""Kind ``VMPool``: VMs made from one template for one purpose."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from plimsoll.api.base import (
    AGE,
    READY,
    Column,
    Kind,
    Model,
    Presentation,
    condition_column,
    host_name,
)
from plimsoll.api.bootstrap import Bootstrap
from plimsoll.api.common import Conditions, Decisions, Taints
from plimsoll.api.libvirt import LibvirtTemplate
from plimsoll.api.ranges import MIN_MAX, MIN_MAX_QUANTITY
from plimsoll.api.rules import ATOMIC, SET, Rule
from plimsoll.api.scalars import (
    Bytes,
    BytesSum,
    Duration,
    Interval,
    Milli,
    MilliSum,
    PositiveBytes,
    as_integer,
    is_quantity,
    quantity_at,
)
from plimsoll.api.text import Annotations, DomainName, Labels, Name, TimeOfDay, TimeZone


class NodeCount(Model):
    """Scale-out range of the pool."""

    min: int = Field(default=0, ge=0, le=5000, description="Fewest VMs.")
    max: int = Field(ge=0, le=5000, description="Most VMs.")

    rules = (MIN_MAX,)


class CpuRange(Model):
    """Scale-up range of one VM, in virtual CPUs."""

    min: int = Field(ge=1, le=4096, description="Virtual CPUs of the smallest VM.")
    max: int = Field(ge=1, le=4096, description="Virtual CPUs of the largest VM.")
    step: int = Field(
        default=1, ge=1, le=4096, description="A VM's CPUs are `min` plus a multiple of it."
    )

    rules = (
        MIN_MAX,
        Rule(
            "self.step < 1 || self.min > self.max || (self.max - self.min) % self.step == 0",
            "max is not min plus a multiple of step",
            "change max, or give a step that divides max - min",
            lambda size: size.min > size.max or (size.max - size.min) % size.step == 0,
            field=".max",
        ),
    )


class MemoryRange(Model):
    """Scale-up range of one VM's memory."""

    min: PositiveBytes = Field(description="Memory of the smallest VM.")
    max: PositiveBytes = Field(description="Memory of the largest VM.")
    step: PositiveBytes = Field(
        default=1024**3, description="A VM's memory is `min` plus a multiple of it."
    )

    rules = (
        MIN_MAX_QUANTITY,
        Rule(
            f"!({is_quantity('self.min')}) || !({is_quantity('self.max')})"
            f" || !({is_quantity('self.step')})"
            f" || {quantity_at('self.min')}.isGreaterThan({quantity_at('self.max')})"
            f" || ({as_integer('self.max')} - {as_integer('self.min')})"
            f" % {as_integer('self.step')} == 0",
            "max is not min plus a multiple of step",
            "change max, or give a step that divides max - min",
            lambda size: size.min > size.max or (size.max - size.min) % size.step == 0,
            field=".max",
        ),
    )


class SizeRange(Model):
    """How small and how large one VM may be; equal ends mean a fixed size."""

    cpu: CpuRange = Field(description="Virtual CPUs.")
    memory: MemoryRange = Field(description="Memory.")
    memory_per_cpu: PositiveBytes | None = Field(
        default=None,
        alias="memoryPerCPU",
        description="If set, a VM has exactly so much memory for each CPU, as machine types of one "
        "family have; `memory` then bounds it and its `step` is not used.",
    )

    rules = (
        Rule(
            "!has(self.memoryPerCPU)"
            + "".join(
                f" || !({is_quantity(path)})"
                for path in ("self.memoryPerCPU", "self.memory.min", "self.memory.max")
            )
            + f" || ({as_integer('self.memoryPerCPU')} * self.cpu.max"
            f" >= {as_integer('self.memory.min')}"
            f" && {as_integer('self.memoryPerCPU')} * self.cpu.min"
            f" <= {as_integer('self.memory.max')})",
            "no number of CPUs gives a memory within size.memory",
            "change memoryPerCPU, or widen memory",
            lambda size: (
                size.memory_per_cpu is None
                or (
                    size.memory_per_cpu * size.cpu.max >= size.memory.min
                    and size.memory_per_cpu * size.cpu.min <= size.memory.max
                )
            ),
            field=".memoryPerCPU",
        ),
    )


class PodRange(Model):
    """How many pods one VM may take."""

    min: int = Field(
        default=20, ge=1, le=1000, description="Pods that a VM takes at least: its first berths."
    )
    max: int = Field(
        default=110,
        ge=1,
        le=1000,
        description="Pods that a VM takes at most, as measured use allows; also kubelet's maxPods.",
    )
    per_cpu: int | None = Field(
        default=None,
        alias="perCPU",
        ge=1,
        le=1000,
        description="If set, a VM is launched to take no more than so many pods for each of its "
        "CPUs, and never more than `max`.",
    )

    rules = (MIN_MAX,)


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

    days: Annotated[tuple[Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"], ...], SET] = (
        Field(default=(), max_length=7, description="Days on which it opens; empty for every day.")
    )
    start: TimeOfDay = Field(description="Time of day at which it opens (HH:MM).")
    duration: Interval = Field(description="How long it stays open.")
    time_zone: TimeZone = Field(default="UTC", description="IANA name of the time zone of `start`.")


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
    windows: Annotated[tuple[Window, ...], ATOMIC] = Field(
        default=(),
        max_length=32,
        description="When voluntary disruption is allowed; empty: always.",
    )


class PhaseTimeouts(Model):
    """How long a launch may stay in one phase; the whole of it is bounded by `launchTimeout`."""

    creating: Interval | None = Field(
        default=None, description="From the first call of the hypervisor to a VM that exists."
    )
    booting: Interval | None = Field(
        default=None, description="From a VM that exists to one that runs."
    )
    joining: Interval | None = Field(
        default=None, description="From a VM that runs to its Ready node."
    )


class Template(Model):
    """What every VM of the pool carries as a node."""

    labels: Labels = Field(default={}, description="Node labels.")
    annotations: Annotations = Field(default={}, description="Node annotations.")
    taints: Taints = Field(default=(), description="Node taints.")
    runtime_classes: Annotated[tuple[Name, ...], SET] = Field(
        default=(),
        max_length=16,
        description="RuntimeClasses that the VM's image offers; empty: not restricted.",
    )
    libvirt: LibvirtTemplate | None = Field(
        default=None, description="The VM on a hypervisor of the provider `libvirt`."
    )
    bootstrap: Bootstrap | None = Field(
        default=None, description="How the VM joins; absent: by kubelet's TLS bootstrap."
    )


class VMPoolSpec(Model):
    """What VMs there may be, and how they are used."""

    hypervisor: Name = Field(description="Name of the Hypervisor. Cannot be changed.")
    replicas: int | None = Field(
        default=None,
        ge=0,
        le=5000,
        description="Fixes the number of VMs, by hand or by `kubectl scale`; absent: decided by "
        "Plimsoll.",
    )
    nodes: NodeCount = Field(description="Scale-out range: how many VMs.")
    size: SizeRange = Field(description="Scale-up range: how large one VM.")
    density: Density = Field(default=Density(), description="How deep one VM may be loaded.")
    cost: Cost = Field(default=Cost(), description="What VMs cost.")
    zones: Annotated[tuple[DomainName, ...], SET] = Field(
        default=(),
        max_length=64,
        description="Zones to spread over, only where the hypervisor's hosts carry none.",
    )
    survive: Survive = Field(default=Survive(), description="What must be withstood.")
    disruption: Disruption = Field(
        default=Disruption(), description="How gently containers are moved."
    )
    max_launching: int = Field(
        default=5, ge=1, le=500, description="VMs that may be on their way at once."
    )
    launch_timeout: Interval = Field(
        default=600.0, description="From the wish for a VM to its Ready node, before it is retried."
    )
    phase_timeouts: PhaseTimeouts = Field(
        default=PhaseTimeouts(), description="Shorter limits of single phases of a launch."
    )
    when_off: Literal["Restart", "Replace"] = Field(
        default="Restart",
        description="What becomes of a VM that is off while its host is up. Restart: it is "
        "started, where the hypervisor lets us, up to three times in ten minutes. Replace, and "
        "what does not stay up: it is given up after the hypervisor's `restartWindow`.",
    )
    update_strategy: Literal["RollingUpdate", "OnDelete"] = Field(
        default="RollingUpdate",
        description="What a change of `template.libvirt` or `template.bootstrap` does to VMs that "
        "are there. RollingUpdate: they are replaced one after the other, within `disruption`. "
        "OnDelete: each keeps what it was made with until its VMNode is deleted. Labels, "
        "annotations and taints are changed in place either way.",
    )
    template: Template = Field(default=Template(), description="What every VM carries as a node.")

    rules = (
        Rule(
            "self.hypervisor == oldSelf.hypervisor",
            "hypervisor cannot be changed",
            "create another VMPool and retire this one",
            field=".hypervisor",
        ),
        Rule(
            "!has(self.replicas) || (self.replicas >= self.nodes.min"
            " && self.replicas <= self.nodes.max)",
            "replicas must lie between nodes.min and nodes.max",
            "change replicas, or widen nodes first",
            lambda spec: spec.replicas is None or spec.nodes.min <= spec.replicas <= spec.nodes.max,
            field=".replicas",
        ),
        Rule(
            "self.survive.hosts == 0 || self.nodes.max > self.survive.hosts",
            "nodes.max must be greater than survive.hosts",
            "a pool cannot outlive as many hosts as it has VMs; raise nodes.max or lower "
            "survive.hosts",
            lambda spec: spec.survive.hosts == 0 or spec.nodes.max > spec.survive.hosts,
            field=".survive.hosts",
        ),
        Rule(
            "!isQuantity(string(self.density.reserved.cpu))"
            f" || sign({quantity_at('self.density.reserved.cpu')}.sub(self.size.cpu.min)) < 0",
            "density.reserved.cpu must be less than size.cpu.min",
            "else the smallest VM has no CPU for pods; reserve less or raise size.cpu.min",
            lambda spec: spec.density.reserved.cpu < spec.size.cpu.min * 1000,
            field=".density.reserved.cpu",
        ),
        Rule(
            "!isQuantity(string(self.density.reserved.memory))"
            " || !isQuantity(string(self.size.memory.min))"
            f" || {quantity_at('self.density.reserved.memory')}"
            f".isLessThan({quantity_at('self.size.memory.min')})",
            "density.reserved.memory must be less than size.memory.min",
            "else the smallest VM has no memory for pods; reserve less or raise size.memory.min",
            lambda spec: spec.density.reserved.memory < spec.size.memory.min,
            field=".density.reserved.memory",
        ),
        Rule(
            "!self.template.labels.exists(key, key.startsWith('plimsoll.dev/')"
            " || key == 'kubernetes.io/hostname')",
            "template.labels must not have keys of plimsoll.dev/ or kubernetes.io/hostname",
            "remove them; Plimsoll sets these itself",
            lambda spec: (
                not any(
                    key.startswith("plimsoll.dev/") or key == "kubernetes.io/hostname"
                    for key in spec.template.labels
                )
            ),
            field=".template.labels",
        ),
    )


class VMPoolStatus(Model):
    """What the controller last saw and decided."""

    observed_generation: int | None = Field(
        default=None, ge=0, description="Generation of the spec that this status speaks of."
    )
    conditions: Conditions = Field(
        default=(), description="Ready, Redundant, and Reconciling or Stalled while true."
    )
    replicas: int = Field(default=0, ge=0, description="VMs that exist or are on their way.")
    ready_replicas: int = Field(default=0, ge=0, description="VMs whose node is Ready.")
    selector: str = Field(
        default="", max_length=512, description="Label selector of the pool's VMNodes."
    )
    cpu: MilliSum = Field(default=0, description="Virtual CPUs of all VMs.")
    memory: BytesSum = Field(default=0, description="Memory of all VMs.")
    decisions: Decisions = Field(default=(), description="The last decisions, newest first.")


class VMPool(Kind):
    """VMs made from one template for one purpose, each loaded up to its load line."""

    presentation = Presentation(
        plural="vmpools",
        short_name="vmp",
        scope="Cluster",
        scale=True,
        columns=(
            Column("Hypervisor", "string", ".spec.hypervisor", "Where its VMs live."),
            Column("Min", "integer", ".spec.nodes.min", "Fewest VMs."),
            Column("Max", "integer", ".spec.nodes.max", "Most VMs."),
            Column("VMs", "integer", ".status.replicas", "VMs that exist."),
            Column("Up", "integer", ".status.readyReplicas", "VMs whose node is Ready."),
            Column("CPU", "string", ".status.cpu", "Virtual CPUs of all VMs."),
            Column("Memory", "string", ".status.memory", "Memory of all VMs."),
            READY,
            condition_column("Redundant", "Whether the survival promise is kept."),
            AGE,
        ),
    )
    rules = (host_name(52, "its VMs are named after it"),)
    kind: Literal["VMPool"] = "VMPool"
    spec: VMPoolSpec = Field(description="What VMs there may be, and how they are used.")
    status: VMPoolStatus | None = Field(
        default=None, description="What the controller last saw and decided."
    )
