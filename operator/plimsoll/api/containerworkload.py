"""Kind ``ContainerWorkload``: an application in containers, and its promises."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from plimsoll.api.base import (
    AGE,
    LABEL_NAME,
    READY,
    Column,
    Kind,
    Model,
    Presentation,
    condition_column,
)
from plimsoll.api.common import Conditions, Decisions
from plimsoll.api.podtemplate import PodTemplate
from plimsoll.api.ranges import MIN_MAX, MIN_MAX_QUANTITY
from plimsoll.api.rules import Rule
from plimsoll.api.scalars import (
    BytesSum,
    Duration,
    MilliSum,
    PositiveBytes,
    PositiveMilli,
)
from plimsoll.api.text import Name


class TargetReference(Model):
    """An existing object that runs the containers."""

    api_version: Literal["apps/v1"] = Field(default="apps/v1", description="Its API version.")
    kind: Literal["Deployment", "StatefulSet"] = Field(description="Its kind.")
    name: Name = Field(description="Its name, in the same namespace.")


class CpuSize(Model):
    """Scale-up range of a replica's CPU request."""

    min: PositiveMilli = Field(description="CPU request of the smallest replica.")
    max: PositiveMilli = Field(description="CPU request of the largest replica.")

    rules = (MIN_MAX_QUANTITY,)


class MemorySize(Model):
    """Scale-up range of a replica's memory request."""

    min: PositiveBytes = Field(description="Memory request of the smallest replica.")
    max: PositiveBytes = Field(description="Memory request of the largest replica.")

    rules = (MIN_MAX_QUANTITY,)


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

    rules = (MIN_MAX,)


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
        default=1,
        ge=0,
        le=10000,
        description="Replicas that may be evicted at once; 0 forbids every eviction.",
    )


class ContainerWorkloadSpec(Model):
    """What runs, how far it may scale, and what it must survive."""

    target_ref: TargetReference | None = Field(
        default=None,
        description="An existing Deployment or StatefulSet to steer. Cannot be changed.",
    )
    template: PodTemplate | None = Field(
        default=None,
        description="A pod template (as in a Deployment); Plimsoll then owns a Deployment of the "
        "workload's name.",
    )
    replicas: int | None = Field(
        default=None,
        ge=0,
        le=10000,
        description="Fixes the number of replicas, by hand or by `kubectl scale`; absent: decided "
        "by Plimsoll.",
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
            "name an existing Deployment or StatefulSet in targetRef, or write the pods in "
            "template",
            lambda spec: (spec.target_ref is None) != (spec.template is None),
        ),
        Rule(
            "has(self.targetRef) == has(oldSelf.targetRef)"
            " && (!has(self.targetRef) || self.targetRef == oldSelf.targetRef)",
            "targetRef cannot be changed",
            "create another ContainerWorkload",
            field=".targetRef",
        ),
        Rule(
            "!has(self.replicas) || (self.replicas >= self.scaleOut.min"
            " && self.replicas <= self.scaleOut.max)",
            "replicas must lie between scaleOut.min and scaleOut.max",
            "change replicas, or widen scaleOut first",
            lambda spec: (
                spec.replicas is None or spec.scale_out.min <= spec.replicas <= spec.scale_out.max
            ),
            field=".replicas",
        ),
        Rule(
            "self.redundancy.survive < self.scaleOut.max",
            "redundancy.survive must be less than scaleOut.max",
            "a workload cannot outlive as many domains as it has replicas; raise scaleOut.max or "
            "lower redundancy.survive",
            lambda spec: spec.redundancy.survive < spec.scale_out.max,
            field=".redundancy.survive",
        ),
        Rule(
            "!has(self.template) || !has(self.scaleUp) || self.scaleUp.container == ''"
            " || self.template.spec.containers.exists(c, c.name == self.scaleUp.container)",
            "scaleUp.container is not a container of template",
            "name one of template.spec.containers",
            lambda spec: (
                spec.template is None
                or spec.scale_up is None
                or not spec.scale_up.container
                or any(
                    container["name"] == spec.scale_up.container
                    for container in spec.template["spec"]["containers"]
                )
            ),
            field=".scaleUp.container",
        ),
    )


class ContainerWorkloadStatus(Model):
    """What the controller last saw and decided."""

    observed_generation: int | None = Field(
        default=None, ge=0, description="Generation of the spec that this status speaks of."
    )
    conditions: Conditions = Field(
        default=(), description="Ready, Redundant, and Reconciling or Stalled while true."
    )
    replicas: int = Field(default=0, ge=0, description="Replicas that exist.")
    ready_replicas: int = Field(default=0, ge=0, description="Replicas that are Ready.")
    desired_replicas: int = Field(default=0, ge=0, description="Replicas decided.")
    selector: str = Field(
        default="", max_length=4096, description="Label selector of the workload's pods."
    )
    cpu: MilliSum = Field(default=0, description="CPU request of a replica, as decided.")
    memory: BytesSum = Field(default=0, description="Memory request of a replica, as decided.")
    demand_cpu: MilliSum = Field(default=0, description="CPU in use by all replicas, as measured.")
    demand_memory: BytesSum = Field(
        default=0, description="Memory in use by all replicas, as measured."
    )
    decisions: Decisions = Field(default=(), description="The last decisions, newest first.")


class ContainerWorkload(Kind):
    """A containerised application and its promises."""

    presentation = Presentation(
        plural="containerworkloads",
        short_name="cw",
        scope="Namespaced",
        scale=True,
        columns=(
            Column("Min", "integer", ".spec.scaleOut.min", "Fewest replicas."),
            Column("Max", "integer", ".spec.scaleOut.max", "Most replicas."),
            Column("Replicas", "integer", ".status.replicas", "Replicas that exist."),
            Column("Up", "integer", ".status.readyReplicas", "Replicas that are Ready."),
            Column("CPU", "string", ".status.cpu", "CPU request of a replica."),
            Column("Memory", "string", ".status.memory", "Memory request of a replica."),
            READY,
            condition_column("Redundant", "Whether the survival promise is kept."),
            AGE,
        ),
    )
    rules = (LABEL_NAME,)
    kind: Literal["ContainerWorkload"] = "ContainerWorkload"
    spec: ContainerWorkloadSpec = Field(
        description="What runs, how far it may scale, and what it must survive."
    )
    status: ContainerWorkloadStatus | None = Field(
        default=None, description="What the controller last saw and decided."
    )
