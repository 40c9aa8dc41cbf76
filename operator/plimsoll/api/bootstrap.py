"""How a VM becomes a node: what its user data says."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from plimsoll.api.base import Model
from plimsoll.api.rules import Checked, Rule, matches

Endpoint = Annotated[
    str,
    Field(max_length=512),
    Checked(
        (
            matches(
                r"^(https://[^\s/?#@]+)?$",
                "is not an address of an API server",
                "write https://host or https://host:port",
            ),
        )
    ),
]


class Bootstrap(Model):
    """How the pool's VMs join the cluster."""

    method: Literal["Kubelet", "K3s", "Custom"] = Field(
        default="Kubelet",
        description="Kubelet: TLS bootstrap with a token, as kubeadm does it. K3s: a k3s agent. "
        "Custom: `userData` below.",
    )
    endpoint: Endpoint = Field(
        default="",
        description="The API server as the VMs reach it; empty: as the operator itself does.",
    )
    user_data: str = Field(
        default="",
        max_length=32768,
        description="Template of the user data, for the method Custom: ${name}, ${endpoint}, "
        "${token}, ${caData}, ${caHash}, ${providerID}, ${labels}, ${taints}, ${maxPods}, "
        "${reservedCPU} and ${reservedMemory} are put in; $$ is a dollar sign.",
    )
    extra_user_data: str = Field(
        default="",
        max_length=32768,
        description="Further cloud-config, merged into that of the methods Kubelet and K3s: for "
        "SSH keys, registries, mirrors.",
    )

    rules = (
        Rule(
            "(self.method == 'Custom') == (self.userData != '')",
            "userData belongs to the method Custom, and that needs it",
            "give both or neither",
            lambda spec: (spec.method == "Custom") == (spec.user_data != ""),
            field=".userData",
        ),
    )
