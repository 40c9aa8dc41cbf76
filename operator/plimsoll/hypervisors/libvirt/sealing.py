"""Wipes a VM's seed. Runs in the host's thread."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from plimsoll.hypervisors.libvirt import reading
from plimsoll.hypervisors.libvirt.connection import Session
from plimsoll.hypervisors.libvirt.domainxml import SEED_TARGET, ejected_xml
from plimsoll.hypervisors.libvirt.library import Domain
from plimsoll.hypervisors.libvirt.mark import VolumeNames
from plimsoll.hypervisors.libvirt.volumes import remove_volumes


def seal(
    session: Session, domain: Domain, cluster: str, owner_uid: str, names: VolumeNames
) -> None:
    """Takes the seed out of its drive, live and for good, and removes it.

    Raises:
        Conflict: it is of another cluster or owner.
    """
    session.step("looking for the domain")
    found = reading.ours(session, domain, cluster, owner_uid)
    if found is None:
        return
    seen, mark = found
    api = session.api
    active = bool(domain.isActive())
    live = api.VIR_DOMAIN_AFFECT_LIVE if active else 0
    # The guest may have locked the drive; it has read what it needs.
    force = api.VIR_DOMAIN_DEVICE_MODIFY_FORCE if active else 0
    for xml, affected in (
        (domain.XMLDesc(0), live or api.VIR_DOMAIN_AFFECT_CONFIG),
        (domain.XMLDesc(api.VIR_DOMAIN_XML_INACTIVE), api.VIR_DOMAIN_AFFECT_CONFIG),
    ):
        drive = _seed_drive(ET.fromstring(xml), names.seed(seen.uuid))
        if drive is not None:
            session.step(f"taking the seed out of {seen.name}")
            domain.updateDeviceFlags(ejected_xml(drive), affected | (force if live else 0))
    remove_volumes(session, mark.storage_pool, (names.seed(seen.uuid),))


def _seed_drive(domain: ET.Element, seed: str) -> ET.Element | None:
    for disk in domain.findall("devices/disk[@device='cdrom']"):
        target, source = disk.find("target"), disk.find("source")
        if target is None or source is None or target.get("dev") != SEED_TARGET:
            continue
        if source.get("file", "").endswith(f"/{seed}"):
            return disk
    return None
