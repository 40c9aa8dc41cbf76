"""Provider ``libvirt``: the hosts of a Hypervisor, and what a pool's VMs look like there."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from plimsoll.api.base import Model
from plimsoll.api.rules import ATOMIC, Checked, ListOf, Rule, matches
from plimsoll.api.scalars import Interval, PositiveBytes
from plimsoll.api.text import DomainName, LabelValue

_URI = matches(
    r"^qemu([+](unix|ssh|tls|tcp|libssh2|libssh))?://[^\s]*$",
    "is not a libvirt URI of QEMU/KVM",
    "write one such as qemu:///system, qemu+ssh://root@host/system or qemu+tls://host/system",
)
_ITEM = r"^[A-Za-z0-9_]([-A-Za-z0-9_.+]*[A-Za-z0-9_])?$"
_ITEM_HINT = "use letters, digits, '-', '_', '.' and '+', with a letter or digit at both ends"

PoolName = Annotated[
    str,
    Field(min_length=1, max_length=128),
    Checked((matches(_ITEM, "is not a name of a libvirt storage pool", _ITEM_HINT),)),
]
VolumeName = Annotated[
    str,
    Field(min_length=1, max_length=200),
    Checked((matches(_ITEM, "is not a name of a libvirt volume", _ITEM_HINT),)),
]
_Optional = Annotated[
    str,
    Field(max_length=64),
    Checked((matches(r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", "has wrong characters",
                     _ITEM_HINT),)),
]  # fmt: skip


class LibvirtHost(Model):
    """One machine with a libvirt daemon: a failure domain."""

    name: DomainName = Field(
        description="Name of the host; VM nodes carry it as label plimsoll.dev/host."
    )
    zone: LabelValue = Field(
        default="", description="Failure domain above the host; empty for none."
    )
    uri: Annotated[str, Field(min_length=1, max_length=512), Checked((_URI,))] = Field(
        description="Where its daemon listens, such as qemu+ssh://root@host-a/system."
    )
    maintenance: bool = Field(
        default=False, description="Takes no new VMs; those that it has stay."
    )


class Libvirt(Model):
    """Hosts with KVM/QEMU, each spoken to through its own libvirt daemon."""

    hosts: Annotated[tuple[LibvirtHost, ...], ListOf("map", ("name",))] = Field(
        description="The physical machines.", min_length=1, max_length=256
    )
    call_timeout: Interval = Field(
        default=20.0, description="How long a daemon may take to answer before it counts as silent."
    )


class LibvirtNetwork(Model):
    """How a VM is connected. Exactly one of the three."""

    network: _Optional = Field(default="", description="Name of a libvirt network.")
    bridge: _Optional = Field(default="", description="Name of a bridge of the host.")
    user: bool = Field(
        default=False,
        description="QEMU's user-mode network, in which the guest sees the host as 10.0.2.2 and "
        "nobody reaches the guest. For tests.",
    )

    rules = (
        Rule(
            "[self.network != '', self.bridge != '', self.user].filter(x, x).size() == 1",
            "needs exactly one of network, bridge and user",
            "name one of them",
            lambda self: [bool(self.network), bool(self.bridge), self.user].count(True) == 1,
        ),
    )


class LibvirtTemplate(Model):
    """What a pool's VMs look like on libvirt."""

    image: VolumeName = Field(
        description="Base image: a volume (qcow2 or raw) in the storage pool of every host. It is "
        "only read: each VM writes to an overlay of its own."
    )
    storage_pool: PoolName = Field(
        default="default", description="Storage pool of the image, and of the VMs' disks and seeds."
    )
    disk_size: PositiveBytes = Field(
        default=10 * 1024**3, description="Size of a VM's disk; at least that of the image."
    )
    network: LibvirtNetwork = Field(
        default=LibvirtNetwork(network="default"), description="How a VM is connected."
    )
    machine: _Optional = Field(
        default="q35", description="Machine type of QEMU, such as q35 or pc-q35-7.2."
    )
    cpu_model: _Optional = Field(
        default="",
        description="CPU model, host-model or host-passthrough; empty: host-passthrough with KVM, "
        "and what QEMU can do at most without.",
    )
    acceleration: Literal["Auto", "KVM", "Software"] = Field(
        default="Auto",
        description="Auto: KVM where the host has it, software emulation elsewhere (slow).",
    )
    firmware: Literal["BIOS", "UEFI"] = Field(
        default="BIOS", description="What the image boots with."
    )
    extra_devices: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], ATOMIC] = Field(
        default=(),
        max_length=16,
        description="Further devices, each one element of libvirt's domain XML below `devices`.",
    )
