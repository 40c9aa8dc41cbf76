"""Which volumes belong to no VM. The listing runs in the hosts' threads; the judging is pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from typing import Final

from plimsoll.hypervisors.libvirt.connection import Session
from plimsoll.hypervisors.libvirt.mark import VolumeNames
from plimsoll.hypervisors.libvirt.reading import read_all
from plimsoll.world.snapshot import Frozen

AT_ONCE: Final = 4
"""Volumes that are removed in one pass, at most."""
_FILES: Final = frozenset({"dir", "fs", "netfs"})


class Leftover(Frozen, frozen=True, kw_only=True):
    """A volume with a name of ours."""

    host: str
    pool: str
    volume: str
    uuid: str


class Stock(Frozen, frozen=True, kw_only=True):
    """What one host has: volumes with names of ours, domains, and files that are in use."""

    volumes: tuple[tuple[Leftover, str], ...] = ()
    """Each with its path."""
    uuids: frozenset[str] = frozenset()
    used: frozenset[str] = frozenset()


def take_stock(session: Session, names: VolumeNames) -> Stock:
    """The host's volumes of ours, in all its active storage pools of files."""
    domains = read_all(session)
    used = {path for seen in domains for path in seen.files}
    volumes = []
    for pool in session.conn.listAllStoragePools(session.api.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
        session.step(f"looking through storage pool {pool.name()}")
        if ET.fromstring(pool.XMLDesc(0)).get("type") not in _FILES:
            continue
        pool.refresh(0)
        for volume in pool.listAllVolumes(0):
            session.step(f"looking at volumes of {pool.name()}")
            root = ET.fromstring(volume.XMLDesc(0))
            backing = root.findtext("backingStore/path")
            if backing:
                used.add(backing)
            uuid = names.uuid_in(volume.name())
            if uuid is not None:
                found = Leftover(
                    host=session.host, pool=pool.name(), volume=volume.name(), uuid=uuid
                )
                volumes.append((found, volume.path()))
    return Stock(
        volumes=tuple(volumes),
        uuids=frozenset(seen.uuid for seen in domains),
        used=frozenset(used),
    )


def leftovers(stocks: Iterable[Stock]) -> tuple[Leftover, ...]:
    """Volumes of VMs that no host has, which nothing uses. ``stocks`` must be of all hosts.

    Hosts may share storage: a VM of one may have its disk listed by another.
    """
    stocks = tuple(stocks)
    uuids = frozenset[str]().union(*(stock.uuids for stock in stocks))
    used = frozenset[str]().union(*(stock.used for stock in stocks))
    return tuple(
        found
        for stock in stocks
        for found, path in stock.volumes
        if found.uuid not in uuids and path not in used
    )


def due(
    found: Iterable[Leftover], first_seen: Mapping[Leftover, float], now: float, grace: float
) -> tuple[tuple[Leftover, ...], dict[Leftover, float]]:
    """Those to be removed now, and what to remember until the next look.

    Seen twice, at least ``grace`` seconds apart: what is being made has no domain yet.
    """
    seen = {leftover: first_seen.get(leftover, now) for leftover in found}
    ripe = [item for item in seen if item in first_seen and now - seen[item] >= grace]
    return tuple(ripe[:AT_ONCE]), seen
