"""Bases of the models: everything in a manifest, object metadata, the kinds."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

from plimsoll.api.rules import Rule, add_validations, require

GROUP = "plimsoll.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class _Manifest(BaseModel):
    """camelCase outside, snake_case inside, never changed."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class Model(_Manifest):
    """Base of everything in a manifest that is Plimsoll's own.

    Unknown fields are refused, so that a misspelt field in a file is an error
    and not a silently ignored wish. A subclass lists what spans several of its
    fields in ``rules``.
    """

    model_config = ConfigDict(extra="forbid")
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _keeps_rules(self) -> Self:
        require(self, self.rules)
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        rendered = handler(schema)
        add_validations(handler.resolve_ref_schema(rendered), cls.rules)
        return rendered


class ObjectMeta(_Manifest):
    """The part of ``metav1.ObjectMeta`` that Plimsoll reads; the rest is kept out, not refused."""

    model_config = ConfigDict(extra="ignore")
    name: str = ""
    generate_name: str | None = None
    namespace: str | None = None
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    finalizers: tuple[str, ...] = ()


class Column(NamedTuple):
    """A column of ``kubectl get``; priority 1 shows it with ``-o wide`` only."""

    name: str
    type: Literal["string", "integer", "date"]
    path: str
    description: str
    priority: int = 0


def condition_column(condition: str, description: str) -> Column:
    """The column that shows the status of one condition."""
    path = f'.status.conditions[?(@.type=="{condition}")].status'
    return Column(condition, "string", path, description)


READY = condition_column("Ready", "Whether all is as wanted.")
AGE = Column("Age", "date", ".metadata.creationTimestamp", "Time since creation.")


class Presentation(NamedTuple):
    """How the API server serves a kind."""

    plural: str
    short_name: str
    scope: Literal["Cluster", "Namespaced"]
    columns: tuple[Column, ...]
    scale: bool = False
    """Has the ``scale`` subresource: spec.replicas, status.replicas, status.selector."""


class Kind(Model):
    """Base of the kinds; a subclass adds ``kind``, ``spec`` and ``status``."""

    presentation: ClassVar[Presentation]
    api_version: Literal["plimsoll.dev/v1alpha1"] = "plimsoll.dev/v1alpha1"
    metadata: ObjectMeta


LABEL_NAME = Rule(
    "size(self.metadata.name) <= 63",
    "the name is longer than 63 characters",
    "choose a shorter one; labels carry it",
    lambda kind: len(kind.metadata.name) <= 63,
    field=".metadata.name",
)
"""For a kind whose name becomes the value of a label."""


def host_name(length: int, why: str) -> Rule:
    """For a kind whose name becomes a VM's host name, or a part of one."""
    return Rule(
        f"size(self.metadata.name) <= {length} && !self.metadata.name.contains('.')",
        f"the name is longer than {length} characters or has a dot",
        f"choose a name that fits into a host name; {why}",
        lambda kind: len(kind.metadata.name) <= length and "." not in kind.metadata.name,
        field=".metadata.name",
    )
