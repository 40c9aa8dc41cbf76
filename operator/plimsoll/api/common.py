"""What the four kinds share: the model base, scalar types, metadata, conditions."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from plimsoll.api.duration import format_duration, parse_duration
from plimsoll.api.quantity import format_bytes, format_milli, parse_bytes, parse_milli

GROUP = "plimsoll.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class Rule(NamedTuple):
    """A validation rule of the API server (CEL), for checks that span fields."""

    cel: str
    """Expression over ``self`` (and ``oldSelf`` for transition rules)."""
    message: str
    """What is wrong and what to do, shown to the person who applied the object."""


class Model(BaseModel):
    """Base of everything in a manifest: camelCase outside, snake_case inside.

    Unknown fields are refused, so that a misspelt field in a file is an error
    and not a silently ignored wish. ``rules`` become CEL validations of the
    generated schema; a subclass checks the same in a Python validator, so that
    files are held to what the API server holds objects to.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )
    rules: ClassVar[tuple[Rule, ...]] = ()


class _SchemaExtra(NamedTuple):
    """Marker read by the CRD generator: the field's OpenAPI schema, verbatim."""

    schema: dict[str, Any]


QUANTITY_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "x-kubernetes-int-or-string": True,
    "pattern": r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$",
    "maxLength": 32,
}

Milli = Annotated[
    int,
    BeforeValidator(parse_milli),
    PlainSerializer(format_milli),
    _SchemaExtra(QUANTITY_SCHEMA),
]
"""A quantity in thousandths: millicores for CPU, thousandths of a cost unit."""

Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    PlainSerializer(format_bytes),
    _SchemaExtra(QUANTITY_SCHEMA),
]
"""A quantity in whole bytes."""

Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    _SchemaExtra(
        {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$", "maxLength": 32}
    ),
]
"""Seconds, written as ``90s``, ``10m`` or ``1h30m``."""

Name = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
"""A DNS subdomain name (RFC 1123), as Kubernetes objects have."""

Labels = dict[str, str]


class ObjectMeta(BaseModel):
    """The part of ``metav1.ObjectMeta`` that Plimsoll reads; the rest is kept out, not refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True
    )
    name: str = ""
    generate_name: str | None = None
    namespace: str | None = None
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: Labels = {}
    annotations: Labels = {}
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    finalizers: tuple[str, ...] = ()


class Condition(Model):
    """One ``metav1.Condition``."""

    type: str = Field(description="What the condition is about, in CamelCase.", max_length=316)
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(
        default="", description="Stable CamelCase reason, for machines.", max_length=1024
    )
    message: str = Field(default="", description="Details, for people.", max_length=32768)
    observed_generation: int | None = Field(
        default=None, description="Generation of the spec that the condition speaks of."
    )
    last_transition_time: str = Field(
        description="When the status last changed (RFC 3339).", max_length=64
    )


class Taint(Model):
    """A node taint."""

    key: str = Field(description="Taint key.", min_length=1, max_length=316)
    value: str = Field(default="", description="Taint value.", max_length=63)
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        description="What happens to pods that do not tolerate it."
    )


class Decision(Model):
    """One carried-out move, kept in a status so that a person can ask why."""

    time: str = Field(description="When it was decided (RFC 3339).", max_length=64)
    kind: str = Field(description="The lever: Load, Resize, Grow, Replicate ...", max_length=32)
    subject: str = Field(description="What was moved.", max_length=512)
    change: str = Field(default="", description="From what to what.", max_length=512)
    reason: str = Field(description="Why.", max_length=2048)
    rejected: tuple[str, ...] = Field(
        default=(), description="What was considered instead, and why not.", max_length=16
    )
