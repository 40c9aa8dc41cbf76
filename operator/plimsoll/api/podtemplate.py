"""What Plimsoll itself needs of a pod template; all else is passed on as it is."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, GetPydanticSchema, with_config
from typing_extensions import TypedDict

from plimsoll.api.rules import ATOMIC

_OPEN = ConfigDict(extra="allow")


@with_config(_OPEN)
class _Container(TypedDict):
    """A container, as in a Deployment."""

    name: Annotated[
        str, Field(min_length=1, max_length=63, description="Name, unique within the pod.")
    ]


@with_config(_OPEN)
class _PodSpec(TypedDict):
    """A pod spec, as in a Deployment."""

    containers: Annotated[
        list[_Container],
        Field(min_length=1, max_length=64, description="The containers of a replica."),
        ATOMIC,
    ]


@with_config(_OPEN)
class _PodTemplate(TypedDict):
    """A pod template, as in a Deployment."""

    spec: Annotated[_PodSpec, Field(description="The pod spec, as in a Deployment.")]


PodTemplate = Annotated[
    dict[str, Any], GetPydanticSchema(lambda _, handler: handler.generate_schema(_PodTemplate))
]
