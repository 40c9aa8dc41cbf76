"""How a VM becomes a node: what its user data says."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import Annotated, Final, Literal

from pydantic import Field

from plimsoll.api.base import Model
from plimsoll.api.rules import ATOMIC, Checked, Rule, matches
from plimsoll.api.text import Name

PLACEHOLDERS: Final = (
    "name",
    "endpoint",
    "token",
    "caData",
    "caHash",
    "providerID",
    "labels",
    "taints",
    "maxPods",
    "reservedCPU",
    "reservedMemory",
    "clusterDNS",
    "clusterDomain",
)
"""What a template of user data may ask for, as ``${name}``."""

_LISTED = ", ".join(f"${{{name}}}" for name in PLACEHOLDERS)

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

UserDataTemplate = Annotated[
    str,
    Field(max_length=32768),
    Checked(
        (
            matches(
                r"^([^$]|[$][$]|[$][{](" + "|".join(PLACEHOLDERS) + r")[}])*$",
                "has a $ that begins nothing known",
                f"write $$ for a dollar sign, or one of {_LISTED}",
            ),
        )
    ),
]


def _is_ip(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return True
    return address.scope_id is None and address.ipv4_mapped is None


IpAddress = Annotated[
    str,
    Field(max_length=45),
    Checked(
        (
            Rule(
                "isIP(self)",
                "is not an IP address",
                "write one such as 10.96.0.10 or fd00::a",
                _is_ip,
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
    cluster_dns: Annotated[tuple[IpAddress, ...], ATOMIC] = Field(
        default=(),
        alias="clusterDNS",
        max_length=3,
        description="Addresses of the cluster's DNS service, for kubelet; empty: pods ask whom the "
        "VM asks. Not for the method K3s.",
    )
    cluster_domain: Name = Field(
        default="cluster.local", description="The cluster's DNS domain, for kubelet."
    )
    user_data: UserDataTemplate = Field(
        default="",
        description=f"Template of the user data, for the method Custom. Put in are {_LISTED}; $$ "
        "is a dollar sign.",
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
        Rule(
            "self.method != 'Custom' || self.extraUserData == ''",
            "extraUserData does not belong to the method Custom",
            "write it into userData",
            lambda spec: spec.method != "Custom" or spec.extra_user_data == "",
            field=".extraUserData",
        ),
        Rule(
            "self.method != 'K3s' || self.clusterDNS.size() == 0",
            "clusterDNS does not belong to the method K3s",
            "remove it; a k3s server tells its agents",
            lambda spec: spec.method != "K3s" or not spec.cluster_dns,
            field=".clusterDNS",
        ),
    )
