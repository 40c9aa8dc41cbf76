"""Domains as the contract describes VMs. All functions run in the host's thread."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Final

from plimsoll.hypervisors.contract import Conflict, PowerState, VmInfo
from plimsoll.hypervisors.libvirt.connection import Session
from plimsoll.hypervisors.libvirt.library import Domain
from plimsoll.hypervisors.libvirt.mark import Mark, mark_in
from plimsoll.world.snapshot import Frozen

KIB: Final = 1024
SCHEME: Final = "libvirt://"
"""What a providerID begins with; the domain's UUID follows."""
_POWER: Final = {
    # The states of virDomainState, by number: they are part of libvirt's protocol.
    1: PowerState.RUNNING,
    2: PowerState.RUNNING,  # blocked on a resource: libvirt's word for idle
    3: PowerState.PAUSED,
    4: PowerState.RUNNING,  # being shut down: it runs until it is off
    5: PowerState.OFF,
    6: PowerState.OFF,  # crashed
    7: PowerState.PAUSED,  # suspended by its own power management
}


class Seen(Frozen, frozen=True, kw_only=True):
    """One domain, of whomever, as plain data."""

    uuid: str
    name: str
    active: bool
    power: PowerState
    cpu: int
    memory: int
    """Bytes, with all memory modules."""
    mark: Mark | None
    files: tuple[str, ...]
    """Paths of its disks and images."""

    def info(self, host: str, addresses: tuple[str, ...] = ()) -> VmInfo:
        """In the words of the contract."""
        mark = self.mark
        return VmInfo(
            uuid=self.uuid,
            name=self.name,
            owner_uid=mark.owner_uid if mark else "",
            cluster=mark.cluster if mark else "",
            host=host,
            power=self.power,
            cpu=self.cpu,
            memory=self.memory,
            provider_id=f"{SCHEME}{self.uuid}",
            created=mark.created if mark else 0.0,
            addresses=addresses,
        )


def by_uuid(session: Session, uuid: str) -> Domain | None:
    """The domain with this identity; None: this host does not have it."""
    return _looked_up(session, session.conn.lookupByUUIDString, uuid)


def by_name(session: Session, name: str) -> Domain | None:
    """The domain of this name; None: this host has none."""
    return _looked_up(session, session.conn.lookupByName, name)


def _looked_up(session: Session, look: Domain, key: str) -> Domain | None:
    try:
        return look(key)
    except session.api.libvirtError as error:
        if session.has_code(error, "VIR_ERR_NO_DOMAIN"):
            return None
        raise


def read(session: Session, domain: Domain) -> Seen | None:
    """The domain as it is now; None: it vanished in the meantime."""
    try:
        state = domain.state()[0]
        root = ET.fromstring(domain.XMLDesc(0))
    except session.api.libvirtError as error:
        if session.has_code(error, "VIR_ERR_NO_DOMAIN"):
            return None
        raise
    power = _POWER.get(state, PowerState.UNKNOWN)
    vcpu = root.find("vcpu")
    count = "0" if vcpu is None else vcpu.get("current") or vcpu.text or "0"
    sources = (source.get("file") for source in root.findall("devices/disk/source"))
    return Seen(
        uuid=root.findtext("uuid", ""),
        name=root.findtext("name", ""),
        active=power is not PowerState.OFF,
        power=power,
        cpu=int(count),
        memory=int(root.findtext("memory", "0")) * KIB,
        mark=mark_in(root),
        files=tuple(path for path in sources if path),
    )


def read_all(session: Session) -> list[Seen]:
    """Every domain of the host, also those of others."""
    session.step("listing its domains")
    found = []
    for domain in session.conn.listAllDomains(0):
        session.step("reading a domain")
        seen = read(session, domain)
        if seen is not None:
            found.append(seen)
    return found


def ours(
    session: Session, domain: Domain, cluster: str, owner_uid: str = ""
) -> tuple[Seen, Mark] | None:
    """The domain and its mark, if it is ours to change; None: it vanished.

    Raises:
        Conflict: it carries no mark, or that of another cluster or owner.
    """
    seen = read(session, domain)
    if seen is None:
        return None
    what = f"host {session.host}: domain {seen.name} ({seen.uuid})"
    if seen.mark is None:
        raise Conflict(f"{what} carries no mark of Plimsoll")
    if seen.mark.cluster != cluster:
        raise Conflict(f"{what} is marked by cluster {seen.mark.cluster!r}")
    if owner_uid and seen.mark.owner_uid != owner_uid:
        raise Conflict(f"{what} belongs to VMNode UID {seen.mark.owner_uid}, not {owner_uid}")
    return seen, seen.mark
