"""How much of a host is given away. All functions run in the host's thread."""

from __future__ import annotations

from typing import Final

from plimsoll.hypervisors.contract import NoCapacity
from plimsoll.hypervisors.libvirt.connection import Session
from plimsoll.hypervisors.libvirt.reading import Seen, read_all
from plimsoll.world.snapshot import Frozen

_KIB: Final = 1024


class Room(Frozen, frozen=True, kw_only=True):
    """A host's size and what is taken of it: millicores and bytes."""

    cpu: int
    memory: int
    cpu_used: int
    memory_used: int


def room(session: Session, domains: list[Seen]) -> Room:
    """The host's room.

    A VM of anybody counts while it is active. A VM with a mark of Plimsoll, of
    whichever cluster, counts also while it is off, as it is going to be started.
    """
    session.step("asking for its size")
    cpus = session.conn.getInfo()[2]
    memory = session.conn.getMemoryStats(session.api.VIR_NODE_MEMORY_STATS_ALL_CELLS)["total"]
    taken = [seen for seen in domains if seen.active or seen.mark is not None]
    return Room(
        cpu=cpus * 1000,
        memory=memory * _KIB,
        cpu_used=sum(seen.cpu * 1000 for seen in taken),
        memory_used=sum(seen.memory for seen in taken),
    )


def require_room(session: Session, cpu: int, memory: int, overcommit_percent: int) -> None:
    """Checks that so many more CPUs and bytes fit on the host.

    Raises:
        NoCapacity: they do not; it says what is lacking.
    """
    found = room(session, read_all(session))
    lacking = []
    over = found.cpu_used + cpu * 1000 - found.cpu * overcommit_percent // 100
    if over > 0:
        lacking.append(f"{over}m CPU")
    over = found.memory_used + memory - found.memory
    if over > 0:
        lacking.append(f"{over} bytes of memory")
    if lacking:
        raise NoCapacity(f"host {session.host} lacks {' and '.join(lacking)}")
