"""Our mark on a domain, and the names of its volumes: what tells what is ours.

The mark is an element of our own namespace in the domain's ``<metadata>``, which
libvirt keeps and does not read.
"""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from typing import Final

from plimsoll.world.snapshot import Frozen

NAMESPACE: Final = "https://plimsoll.dev/xmlns/libvirt/1"
_VM: Final = f"{{{NAMESPACE}}}vm"
_UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

ET.register_namespace("plimsoll", NAMESPACE)


class Mark(Frozen, frozen=True, kw_only=True):
    """What our mark says of a domain."""

    cluster: str
    owner_uid: str
    """UID of the VMNode."""
    name: str
    """Name of the VMNode."""
    pool: str
    """Name of the VMPool."""
    storage_pool: str
    """Where the domain's volumes lie."""
    created: float
    """Seconds since the epoch."""
    max_cpu: int
    max_memory: int
    """To what it may be grown; bytes."""

    def element(self) -> ET.Element:
        """The element below ``<metadata>``."""
        values = {
            "cluster": self.cluster,
            "owner": self.owner_uid,
            "name": self.name,
            "pool": self.pool,
            "storage-pool": self.storage_pool,
            "created": repr(self.created),
            "max-cpu": str(self.max_cpu),
            "max-memory": str(self.max_memory),
        }
        return ET.Element(_VM, values)


def mark_in(domain: ET.Element) -> Mark | None:
    """The mark in a domain's XML; None: it carries none, or one that nobody can read."""
    found = domain.find(f"metadata/{_VM}")
    if found is None:
        return None
    try:
        return Mark(
            cluster=found.attrib["cluster"],
            owner_uid=found.attrib["owner"],
            name=found.attrib["name"],
            pool=found.attrib["pool"],
            storage_pool=found.attrib["storage-pool"],
            created=float(found.attrib["created"]),
            max_cpu=int(found.attrib["max-cpu"]),
            max_memory=int(found.attrib["max-memory"]),
        )
    except (KeyError, ValueError):
        return None


class VolumeNames:
    """Names of the volumes of one hypervisor's VMs in one cluster.

    Storage may be shared by hosts, hypervisors and clusters: so the names say
    whose they are, and a volume of another name is never removed.
    """

    def __init__(self, cluster: str, hypervisor: str) -> None:
        owner = hashlib.sha256(f"{cluster}/{hypervisor}".encode()).hexdigest()[:12]
        self.prefix = f"plimsoll-{owner}-"
        self._pattern = re.compile(
            rf"{self.prefix}({_UUID})(?:\.qcow2|-seed\.iso|-console\.log)", re.ASCII
        )

    def disk(self, uuid: str) -> str:
        return f"{self.prefix}{uuid}.qcow2"

    def seed(self, uuid: str) -> str:
        return f"{self.prefix}{uuid}-seed.iso"

    def console(self, uuid: str) -> str:
        return f"{self.prefix}{uuid}-console.log"

    def all_of(self, uuid: str) -> tuple[str, ...]:
        """Every name that a volume of this domain may have."""
        return self.disk(uuid), self.seed(uuid), self.console(uuid)

    def uuid_in(self, name: str) -> str | None:
        """UUID of the domain to which a volume of this name belongs; None: it is not ours."""
        found = self._pattern.fullmatch(name)
        return found[1] if found else None
