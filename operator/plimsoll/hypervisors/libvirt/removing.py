"""Removes a VM from one host. Runs in the host's thread.

The domain goes last: its mark names what is left after a crash at any step.
"""

from __future__ import annotations

from plimsoll.hypervisors.contract import Retryable
from plimsoll.hypervisors.libvirt import reading
from plimsoll.hypervisors.libvirt.connection import Session
from plimsoll.hypervisors.libvirt.library import Domain
from plimsoll.hypervisors.libvirt.mark import VolumeNames
from plimsoll.hypervisors.libvirt.volumes import remove_volumes


def remove(
    session: Session, domain: Domain, cluster: str, owner_uid: str, names: VolumeNames
) -> bool:
    """Destroys the domain, removes its volumes and its record.

    Returns whether it was active here until now, which proves that it is nowhere else.

    Raises:
        Conflict: it is of another cluster or owner.
        Retryable: somebody started it again in the meantime.
    """
    found = reading.ours(session, domain, cluster, owner_uid)
    if found is None:
        return False
    seen, mark = found
    was_active = _destroy(session, domain)
    remove_volumes(session, mark.storage_pool, names.all_of(seen.uuid))
    session.step(f"undefining {seen.name}")
    if domain.isActive():
        raise Retryable(f"host {session.host}: {seen.name} was started while it was deleted")
    api = session.api
    try:
        domain.undefineFlags(
            api.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | api.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | api.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            | api.VIR_DOMAIN_UNDEFINE_NVRAM
        )
    except api.libvirtError as error:
        if not session.has_code(error, "VIR_ERR_NO_DOMAIN"):
            raise
    return was_active


def _destroy(session: Session, domain: Domain) -> bool:
    if not domain.isActive():
        return False
    session.step(f"powering {domain.name()} off")
    try:
        domain.destroy()
    except session.api.libvirtError:
        if domain.isActive():
            raise
    return True
