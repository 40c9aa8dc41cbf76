"""Structures that several kinds share: conditions, taints, recorded decisions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from plimsoll.api.base import API_VERSION, GROUP, VERSION, Model, ObjectMeta
from plimsoll.api.rules import ATOMIC, Checked, ListOf, matches
from plimsoll.api.text import Key, LabelValue, Time

__all__ = [
    "API_VERSION",
    "GROUP",
    "VERSION",
    "Condition",
    "Conditions",
    "Decision",
    "Decisions",
    "ObjectMeta",
    "Taint",
    "Taints",
]

CONDITION_REASON = matches(
    r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
    "is not a condition's reason",
    "write one word in CamelCase",
)


class Condition(Model):
    """A condition, as ``metav1.Condition`` has it."""

    type: Key = Field(description="What the condition is about, in CamelCase.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: Annotated[str, Field(max_length=256), Checked((CONDITION_REASON,))] = Field(
        description="Why, as one stable CamelCase word for machines."
    )
    message: str = Field(default="", description="Details, for people.", max_length=32768)
    observed_generation: int | None = Field(
        default=None, ge=0, description="Generation of the spec that the condition speaks of."
    )
    last_transition_time: Time = Field(description="When the status last changed (RFC 3339).")


Conditions = Annotated[tuple[Condition, ...], Field(max_length=16), ListOf("map", ("type",))]


class Taint(Model):
    """A node taint."""

    key: Key = Field(description="Taint key.")
    value: LabelValue = Field(default="", description="Taint value.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        description="What happens to pods that do not tolerate it."
    )


Taints = Annotated[tuple[Taint, ...], Field(max_length=32), ListOf("map", ("key", "effect"))]


class Decision(Model):
    """One carried-out move, kept in a status so that a person can ask why."""

    time: Time = Field(description="When it was decided (RFC 3339).")
    kind: str = Field(description="The lever: Load, Resize, Grow, Replicate ...", max_length=32)
    subject: str = Field(description="What was moved.", max_length=512)
    change: str = Field(default="", description="From what to what.", max_length=512)
    reason: str = Field(description="Why.", max_length=2048)
    rejected: Annotated[tuple[Annotated[str, Field(max_length=2048)], ...], ATOMIC] = Field(
        default=(), description="What was considered instead, and why not.", max_length=16
    )


Decisions = Annotated[tuple[Decision, ...], Field(max_length=20), ATOMIC]
