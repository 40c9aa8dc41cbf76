"""Makes a VM on one host. Runs in the host's thread.

The order makes a crash between any two steps harmless: volumes first (a sweep
finds those that no domain ever used), then the domain with our mark, whose name
is the lock, then power.
"""

from __future__ import annotations

import logging
import time
import uuid as uuids
from typing import Final

from plimsoll.api.libvirt import LibvirtTemplate
from plimsoll.hypervisors.contract import (
    Conflict,
    HypervisorError,
    Intent,
    Invalid,
    NoCapacity,
    Retryable,
    VmInfo,
)
from plimsoll.hypervisors.libvirt import errors, reading
from plimsoll.hypervisors.libvirt.capacity import require_room
from plimsoll.hypervisors.libvirt.connection import Session
from plimsoll.hypervisors.libvirt.domainxml import domain_xml
from plimsoll.hypervisors.libvirt.facts import platform_for
from plimsoll.hypervisors.libvirt.library import Domain
from plimsoll.hypervisors.libvirt.mark import Mark, VolumeNames
from plimsoll.hypervisors.libvirt.removing import remove
from plimsoll.hypervisors.libvirt.volumes import make_volumes, open_pool, remove_volumes

log = logging.getLogger(__name__)

_ENDED: Final = ("VIR_ERR_INTERNAL_ERROR", "VIR_ERR_OPERATION_FAILED")


def make(
    session: Session,
    intent: Intent,
    template: LibvirtTemplate,
    cluster: str,
    names: VolumeNames,
    overcommit_percent: int,
) -> VmInfo:
    """The VM of this intent on this host, running.

    Raises:
        NoCapacity: the host or its storage pool is full.
        Conflict: a domain of that name exists and is not this intent's.
        Invalid: the template cannot be had on this host.
    """
    found = _made(session, intent, cluster)
    if found is None:
        found = _define(session, intent, template, cluster, names, overcommit_percent)
    domain, fresh = found
    try:
        power_on(session, domain)
    except HypervisorError:
        if fresh:
            _undo(session, domain, intent, cluster, names)
        raise
    seen = reading.read(session, domain)
    if seen is None:
        raise Retryable(f"host {session.host}: {intent.name} came and went")
    return seen.info(session.host)


def power_on(session: Session, domain: Domain) -> None:
    """Starts the domain; one that runs already is success.

    Raises:
        HypervisorError: it does not start.
    """
    if domain.isActive():
        return
    session.step(f"starting {domain.name()}")
    try:
        domain.create()
    except session.api.libvirtError as error:
        if domain.isActive():  # somebody else was faster
            return
        where = f"host {session.host}: starting {domain.name()}"
        refused = errors.typed(session.api, error, where)
        if session.has_code(error, *_ENDED) and session.conn.isAlive():
            # QEMU itself ended: this is known, and trying the same at once will not help.
            refused = refused if isinstance(refused, NoCapacity) else Invalid(str(refused))
        raise refused from None


def _made(session: Session, intent: Intent, cluster: str) -> tuple[Domain, bool] | None:
    """What an earlier call, or another writer, made for this intent."""
    session.step(f"looking for {intent.name}")
    domain = reading.by_name(session, intent.name)
    if domain is None:
        return None
    try:
        return (domain, False) if reading.ours(session, domain, cluster, intent.uid) else None
    except Conflict as error:
        raise Conflict(
            f"{error}: the VM of VMNode {intent.name} cannot have its name; rename or remove that "
            "domain"
        ) from None


def _define(
    session: Session,
    intent: Intent,
    template: LibvirtTemplate,
    cluster: str,
    names: VolumeNames,
    overcommit_percent: int,
) -> tuple[Domain, bool]:
    """A new domain, and True; or the one that another writer made in the meantime, and False."""
    require_room(session, intent.cpu, intent.memory, overcommit_percent)
    platform = platform_for(session, template)
    uuid = str(uuids.uuid4())
    pool = open_pool(session, template.storage_pool)
    mark = Mark(
        cluster=cluster,
        owner_uid=intent.uid,
        name=intent.name,
        pool=intent.pool,
        storage_pool=template.storage_pool,
        created=time.time(),
        max_cpu=max(intent.cpu, intent.max_cpu),
        max_memory=max(intent.memory, intent.max_memory),
    )
    try:
        paths = make_volumes(session, pool, template, names, uuid, intent.name, intent.user_data)
        xml = domain_xml(intent, template, platform, mark, uuid, paths)
        session.step(f"defining {intent.name}")
        return session.conn.defineXML(xml), True
    except (session.api.libvirtError, HypervisorError):
        remove_volumes(session, template.storage_pool, names.all_of(uuid))
        found = _made(session, intent, cluster)
        if found is None:
            raise
        return found


def _undo(
    session: Session, domain: Domain, intent: Intent, cluster: str, names: VolumeNames
) -> None:
    """Takes back a domain that does not start; what stays is found by its mark."""
    try:
        if not domain.isActive():
            remove(session, domain, cluster, intent.uid, names)
    except (session.api.libvirtError, HypervisorError) as error:
        log.warning("%s does not start and was not taken back: %s", intent.name, error)
