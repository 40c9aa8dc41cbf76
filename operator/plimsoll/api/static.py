"""Provider ``static``: machines that run already, such as bare metal."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from plimsoll.api.base import Model
from plimsoll.api.rules import Checked, ListOf, matches
from plimsoll.api.scalars import PositiveBytes
from plimsoll.api.text import DomainName, LabelValue

_LABEL = matches(
    r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
    "is not a node name of one label",
    "use lower-case letters, digits and '-', at most 63, with no dot; start kubelet with "
    "--hostname-override if need be",
)
_UUID = matches(
    r"^[0-9a-fA-F-]{8,64}$",
    "is not a system UUID",
    "copy status.nodeInfo.systemUUID of its node, or /sys/class/dmi/id/product_uuid",
)


class StaticMachine(Model):
    """One machine whose kubelet registers by itself."""

    node: Annotated[str, Field(max_length=63), Checked((_LABEL,))] = Field(
        description="Name of its node, and of the VMNode that claims it."
    )
    system_uuid: Annotated[str, Field(max_length=64), Checked((_UUID,))] = Field(
        alias="systemUUID",
        description="What tells it from any other machine: systemUUID of its node.",
    )
    cpu: int = Field(ge=1, le=4096, description="Number of CPUs.")
    memory: PositiveBytes = Field(description="Memory.")
    host: DomainName = Field(
        description="Failure domain: of bare metal its own name, of a system container or a VM "
        "made by hand the physical machine that it shares with others."
    )
    zone: LabelValue = Field(
        default="", description="Failure domain above the host; empty for none."
    )
    maintenance: bool = Field(
        default=False, description="Is not claimed; if it is claimed already, it stays so."
    )


class Static(Model):
    """Machines that are there. They are claimed and released, never made, changed or stopped."""

    machines: Annotated[tuple[StaticMachine, ...], ListOf("map", ("node",))] = Field(
        description="The machines.", min_length=1, max_length=1024
    )
