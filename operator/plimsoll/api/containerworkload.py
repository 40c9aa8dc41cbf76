"""Kind ``ContainerWorkload``: an application in containers, and its promises."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from plimsoll.api.common import (
    API_VERSION,
    Bytes,
    Condition,
    Decision,
    Duration,
    Milli,
    Model,
    Name,
    ObjectMeta,
    Rule,
)


class TargetReference(Model):
    """An existing object that runs the containers."""

    api_version: Literal["apps/v1"] = Field(default="apps/v1", description="Its API version.")
    kind: Literal["Deployment", "StatefulSet"] = Field(description="Its kind.")
    name: Name = Field(description="Its name, in the same namespace.")


class CpuSize(Model):
    """Scale-up range of a replica's CPU request."""

    min: Milli = Field(description="CPU of the smallest replica.")
    max: Milli = Field(description="CPU of the largest replica.")

    rules = (
        Rule(
            "quantity(string(self.min)).isGreaterThan(quantity('0'))",
            "scaleUp.cpu.min must be greater than zero",
        ),
        Rule(
            "!quantity(string(self.min)).isGreaterThan(quantity(string(self.max)))",
            "scaleUp.cpu.min must not be greater than scaleUp.cpu.max",
        ),
    )

    @model_validator(mode="after")
    def _ordered(self) -> CpuSize:
        if self.min <= 0:
            raise ValueError("scaleUp.cpu.min must be greater than zero")
        if self.min > self.max:
            raise ValueError("scaleUp.cpu.min must not be greater than scaleUp.cpu.max")
        return self


class MemorySize(Model):
    """Scale-up range of a replica's memory request."""

    min: Bytes = Field(description="Memory of the smallest replica.")
    max: Bytes = Field(description="Memory of the largest replica.")

    rules = (
        Rule(
            "quantity(string(self.min)).isGreaterThan(quantity('0'))",
            "scaleUp.memory.min must be greater than zero",
        ),
        Rule(
            "!quantity(string(self.min)).isGreaterThan(quantity(string(self.max)))",
            "scaleUp.memory.min must not be greater than scaleUp.memory.max",
        ),
    )

    @model_validator(mode="after")
    def _ordered(self) -> MemorySize:
        if self.min <= 0:
            raise ValueError("scaleUp.memory.min must be greater than zero")
        if self.min > self.max:
            raise ValueError("scaleUp.memory.min must not be greater than scaleUp.memory.max")
        return self


class ScaleUp(Model):
    """How small and how large one replica may be."""

    cpu: CpuSize = Field(description="CPU request.")
    memory: MemorySize = Field(description="Memory request.")
    container: str = Field(
        default="", max_length=63, description="The container that is resized; empty: the first."
    )


class ScaleOut(Model):
    """How many replicas there may be."""

    min: int = Field(default=1, ge=0, le=10000, description="Fewest replicas.")
    max: int = Field(ge=1, le=10000, description="Most replicas.")

    rules = (Rule("self.min <= self.max", "scaleOut.min must not be greater than scaleOut.max"),)

    @model_validator(mode="after")
    def _ordered(self) -> ScaleOut:
        if self.min > self.max:
            raise ValueError("scaleOut.min must not be greater than scaleOut.max")
        return self


class Redundancy(Model):
    """The survival promise: after losing so many domains, the rest still carry the load."""

    survive: int = Field(default=0, ge=0, le=64, description="Domains that may be lost.")
    across: Literal["host", "vm", "zone"] = Field(
        default="host", description="What a domain is: a physical host, a VM or a zone."
    )


class TargetUtilization(Model):
    """How full a replica should be when the load is as measured."""

    cpu_percent: int = Field(
        default=70, ge=1, le=100, description="Measured CPU use per 100 of requested CPU."
    )
    memory_percent: int = Field(
        default=80, ge=1, le=100, description="Measured memory use per 100 of requested memory."
    )


class DisruptionBudget(Model):
    """A PodDisruptionBudget that Plimsoll creates and keeps for the workload."""

    max_unavailable: int = Field(
        default=1, ge=0, le=10000, description="Replicas that may be evicted at once."
    )


class ContainerWorkloadSpec(Model):
    """What runs, how far it may scale, and what it must survive."""

    target_ref: TargetReference | None = Field(
        default=None, description="An existing Deployment or StatefulSet to steer."
    )
    template: dict[str, Any] | None = Field(
        default=None,
        description="A pod template (as in a Deployment); Plimsoll then owns a Deployment of the "
        "workload's name.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    replicas: int | None = Field(
        default=None,
        ge=0,
        le=10000,
        description="Fixes the number of replicas by hand or by `kubectl scale`; absent: decided.",
    )
    scale_up: ScaleUp | None = Field(
        default=None, description="Scale-up range of a replica; absent: its size is not touched."
    )
    scale_out: ScaleOut = Field(description="Scale-out range: how many replicas.")
    redundancy: Redundancy = Field(default=Redundancy(), description="The survival promise.")
    target_utilization: TargetUtilization = Field(
        default=TargetUtilization(), description="How full a replica should be."
    )
    scale_down_after: Duration = Field(
        default=300.0,
        description="Stabilisation: fewer or smaller replicas only for a load that has been lower "
        "for this long.",
    )
    disruption_budget: DisruptionBudget | None = Field(
        default=None, description="Creates a PodDisruptionBudget; absent: none is created."
    )

    rules = (
        Rule(
            "has(self.targetRef) != has(self.template)",
            "give either targetRef or template, not both and not neither",
        ),
        Rule(
            "has(self.targetRef) == has(oldSelf.targetRef) && (!has(self.targetRef) ||"
            " self.targetRef == oldSelf.targetRef)",
            "targetRef cannot be changed: create another ContainerWorkload",
        ),
        Rule(
            "!has(self.replicas) || (self.replicas >= self.scaleOut.min"
            " && self.replicas <= self.scaleOut.max)",
            "replicas must lie between scaleOut.min and scaleOut.max",
        ),
        Rule(
            "self.redundancy.survive < self.scaleOut.max",
            "scaleOut.max must be greater than redundancy.survive: a workload cannot lose as "
            "many domains as it has replicas",
        ),
    )

    @model_validator(mode="after")
    def _consistent(self) -> ContainerWorkloadSpec:
        if (self.target_ref is None) == (self.template is None):
            raise ValueError("give either targetRef or template, not both and not neither")
        if (
            self.replicas is not None
            and not self.scale_out.min <= self.replicas <= self.scale_out.max
        ):
            raise ValueError("replicas must lie between scaleOut.min and scaleOut.max")
        if self.redundancy.survive >= self.scale_out.max:
            raise ValueError(
                "scaleOut.max must be greater than redundancy.survive: a workload cannot lose as "
                "many domains as it has replicas"
            )
        return self


class ContainerWorkloadStatus(Model):
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
    replicas: int = Field(default=0, ge=0, description="Replicas that exist.")
    ready_replicas: int = Field(default=0, ge=0, description="Replicas that are Ready.")
    desired_replicas: int = Field(default=0, ge=0, description="Replicas decided.")
    selector: str = Field(
        default="", max_length=4096, description="Label selector of the workload's pods."
    )
    cpu: Milli = Field(default=0, description="CPU request of a replica, as decided.")
    memory: Bytes = Field(default=0, description="Memory request of a replica, as decided.")
    demand_cpu: Milli = Field(default=0, description="CPU in use by all replicas, as measured.")
    demand_memory: Bytes = Field(default=0, description="Memory in use by all replicas.")
    decisions: tuple[Decision, ...] = Field(
        default=(),
        max_length=20,
        description="The last decisions, newest first.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class ContainerWorkload(Model):
    """A containerised application and its promises."""

    api_version: Literal["plimsoll.dev/v1alpha1"] = API_VERSION
    kind: Literal["ContainerWorkload"] = "ContainerWorkload"
    metadata: ObjectMeta
    spec: ContainerWorkloadSpec
    status: ContainerWorkloadStatus | None = None
