"""The volumes of a VM in a storage pool of its host. All functions run in the host's thread."""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ET
from typing import Any, Final

from plimsoll.api.libvirt import LibvirtTemplate
from plimsoll.hypervisors.contract import Invalid, NoCapacity
from plimsoll.hypervisors.libvirt.connection import Session
from plimsoll.hypervisors.libvirt.domainxml import Paths
from plimsoll.hypervisors.libvirt.library import Pool, Volume
from plimsoll.hypervisors.libvirt.mark import VolumeNames
from plimsoll.hypervisors.libvirt.seed import seed_image

log = logging.getLogger(__name__)

FREE_MIN: Final = 64 * 1024**2
"""Bytes that a storage pool must have left for another VM to be put into it."""
_FILES: Final = frozenset({"dir", "fs", "netfs"})
"""Types of storage pools whose volumes are files, which overlays need."""
CONSOLE_TAIL: Final = 8192
"""Bytes of a console that are read, at most."""


def open_pool(session: Session, name: str) -> Pool:
    """The storage pool, started if it was not.

    Raises:
        Invalid: there is none of that name, or it holds no files.
    """
    session.step(f"opening storage pool {name}")
    try:
        pool = session.conn.storagePoolLookupByName(name)
    except session.api.libvirtError as error:
        if not session.has_code(error, "VIR_ERR_NO_STORAGE_POOL"):
            raise
        raise Invalid(
            f"host {session.host} has no storage pool {name!r}: define it there, or name another "
            "in template.libvirt.storagePool"
        ) from None
    kind = ET.fromstring(pool.XMLDesc(0)).get("type")
    if kind not in _FILES:
        raise Invalid(
            f"storage pool {name!r} of host {session.host} is of type {kind}, whose volumes are "
            "no files: VMs need one of type dir, fs or netfs"
        )
    if not pool.isActive():
        session.step(f"starting storage pool {name}")
        try:
            pool.create(0)
        except session.api.libvirtError:
            if not pool.isActive():  # somebody else may have been faster
                raise
    return pool


def find_volume(session: Session, pool: Pool, name: str, *, refresh: bool = False) -> Volume | None:
    """The volume of this name, or None.

    ``refresh`` looks at the storage itself if libvirt does not know the name: files
    come and go without libvirt, and hosts share storage.
    """
    for again in (False, True):
        if again:
            session.step(f"refreshing storage pool {pool.name()}")
            pool.refresh(0)
        try:
            return pool.storageVolLookupByName(name)
        except session.api.libvirtError as error:
            if not session.has_code(error, "VIR_ERR_NO_STORAGE_VOL"):
                raise
        if not refresh:
            break
    return None


def make_volumes(
    session: Session,
    pool: Pool,
    template: LibvirtTemplate,
    names: VolumeNames,
    uuid: str,
    name: str,
    user_data: str,
) -> Paths:
    """Disk, seed (if there is user data) and console log of a new VM.

    Raises:
        Invalid: the base image is missing, or larger than the disk.
        NoCapacity: the storage pool is full.
    """
    image = find_volume(session, pool, template.image, refresh=True)
    where = f"storage pool {pool.name()!r} of host {session.host}"
    if image is None:
        raise Invalid(
            f"{where} has no volume {template.image!r}, the base image: put it there, or name "
            "another in template.libvirt.image"
        )
    free = pool.info()[3]
    if free < FREE_MIN:
        raise NoCapacity(f"{where} has {free} bytes left, and {FREE_MIN} are the least for a VM")
    capacity = image.info()[1]
    if template.disk_size < capacity:
        raise Invalid(
            f"template.libvirt.diskSize of {template.disk_size} bytes is less than the image "
            f"{template.image!r} of {where} has: {capacity}; make it larger"
        )
    session.step(f"creating the disk of {name}")
    disk = pool.createXML(_overlay_xml(names.disk(uuid), template.disk_size, image), 0)
    seed = console = ""
    if user_data:
        content = seed_image(user_data, uuid, name)
        session.step(f"creating the seed of {name}")
        volume = pool.createXML(_raw_xml(names.seed(uuid), len(content)), 0)
        _upload(session, volume, content)
        seed = volume.path()
    session.step(f"creating the console log of {name}")
    console = pool.createXML(_raw_xml(names.console(uuid), 0), 0).path()
    return Paths(disk=disk.path(), seed=seed, console=console)


def remove_volumes(session: Session, pool_name: str, names: tuple[str, ...]) -> list[str]:
    """Removes the volumes of these names; returns those that were there.

    A storage pool that the host does not have any more holds nothing of ours.
    """
    try:
        pool = open_pool(session, pool_name)
    except Invalid as error:
        log.warning("nothing removed: %s", error)
        return []
    removed = []
    for name in names:
        volume = find_volume(session, pool, name)
        if volume is None:
            continue
        session.step(f"removing volume {name}")
        try:
            volume.delete(0)
        except session.api.libvirtError as error:
            if not session.has_code(error, "VIR_ERR_NO_STORAGE_VOL"):
                raise
        removed.append(name)
    return removed


def read_tail(session: Session, volume: Volume, limit: int = CONSOLE_TAIL) -> bytes:
    """The last bytes of a volume."""
    size = max(volume.info()[1], volume.info()[2])
    start = max(0, size - limit)
    stream = session.conn.newStream(0)
    volume.download(stream, start, 0, 0)
    parts: list[bytes] = []

    def take(_stream: Any, data: bytes, _opaque: Any) -> int:
        parts.append(data)
        return len(data)

    stream.recvAll(take, None)
    stream.finish()
    return b"".join(parts)[-limit:]


def _upload(session: Session, volume: Volume, content: bytes) -> None:
    stream = session.conn.newStream(0)
    volume.upload(stream, 0, len(content), 0)
    rest = memoryview(content)

    def give(_stream: Any, wanted: int, _opaque: Any) -> bytes:
        nonlocal rest
        part, rest = bytes(rest[:wanted]), rest[wanted:]
        return part

    stream.sendAll(give, None)
    stream.finish()


def _overlay_xml(name: str, size: int, image: Volume) -> str:
    kind = ET.fromstring(image.XMLDesc(0)).find("target/format")
    volume = _volume(name, size, "qcow2")
    backing = ET.SubElement(volume, "backingStore")
    ET.SubElement(backing, "path").text = image.path()
    ET.SubElement(backing, "format", type=kind.get("type", "raw") if kind is not None else "raw")
    return ET.tostring(volume, encoding="unicode")


def _raw_xml(name: str, size: int) -> str:
    return ET.tostring(_volume(name, size, "raw"), encoding="unicode")


def _volume(name: str, size: int, kind: str) -> ET.Element:
    volume = ET.Element("volume")
    ET.SubElement(volume, "name").text = name
    ET.SubElement(volume, "capacity", unit="bytes").text = str(size)
    ET.SubElement(volume, "allocation", unit="bytes").text = "0"
    ET.SubElement(ET.SubElement(volume, "target"), "format", type=kind)
    return volume
