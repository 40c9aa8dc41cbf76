"""Adds CPUs and memory to a running VM. Runs in the host's thread."""

from __future__ import annotations

from plimsoll.hypervisors.contract import (
    HypervisorError,
    NotSupported,
    PowerState,
    Retryable,
    VmInfo,
)
from plimsoll.hypervisors.libvirt import reading
from plimsoll.hypervisors.libvirt.capacity import require_room
from plimsoll.hypervisors.libvirt.connection import Session
from plimsoll.hypervisors.libvirt.domainxml import DIMM_STEP, dimm_xml
from plimsoll.hypervisors.libvirt.library import Domain
from plimsoll.hypervisors.libvirt.mark import Mark
from plimsoll.hypervisors.libvirt.reading import Seen


def resize(
    session: Session,
    domain: Domain,
    cluster: str,
    cpu: int,
    memory: int,
    overcommit_percent: int,
) -> VmInfo | None:
    """Grows the domain to so many CPUs and bytes, live and for good; None: it vanished.

    Memory comes first: it is what the host may refuse.

    Raises:
        Conflict: it is of another cluster.
        NoCapacity: the host lacks the difference.
        NotSupported: it would shrink, or grow beyond what it was made for.
        Retryable: it is not running.
    """
    session.step("looking for the domain")
    found = reading.ours(session, domain, cluster)
    if found is None:
        return None
    seen, mark = found
    if (seen.cpu, seen.memory) == (cpu, memory):
        return seen.info(session.host)
    _check(session, seen, mark, cpu, memory, overcommit_percent)
    flags = session.api.VIR_DOMAIN_AFFECT_LIVE | session.api.VIR_DOMAIN_AFFECT_CONFIG
    if memory > seen.memory:
        session.step(f"adding memory to {seen.name}")
        try:
            domain.attachDeviceFlags(dimm_xml(memory - seen.memory), flags)
        except session.api.libvirtError as error:
            raise _refused(session, seen, error) from None
    if cpu > seen.cpu:
        session.step(f"adding CPUs to {seen.name}")
        domain.setVcpusFlags(cpu, flags)
    grown = reading.read(session, domain)
    return grown.info(session.host) if grown else None


def _check(
    session: Session, seen: Seen, mark: Mark, cpu: int, memory: int, overcommit_percent: int
) -> None:
    what = f"host {session.host}: {seen.name}"
    if cpu < seen.cpu or memory < seen.memory:
        raise NotSupported(f"{what} cannot be made smaller while it runs")
    require_room(session, cpu - seen.cpu, memory - seen.memory, overcommit_percent)
    if cpu > mark.max_cpu or memory > mark.max_memory:
        raise NotSupported(
            f"{what} was made to grow to {mark.max_cpu} CPUs and {mark.max_memory} bytes, not to "
            f"{cpu} and {memory}"
        )
    if (memory - seen.memory) % DIMM_STEP:
        raise NotSupported(
            f"{what}: memory can be added in steps of {DIMM_STEP} bytes, not by "
            f"{memory - seen.memory}: change size.memory.step of the pool"
        )
    if seen.power is not PowerState.RUNNING:
        raise Retryable(f"{what} is {seen.power}, not running")


def _refused(session: Session, seen: Seen, error: Exception) -> HypervisorError | Exception:
    if "slot" in str(error):
        return NotSupported(f"host {session.host}: {seen.name} has no free memory slot: {error}")
    return error
