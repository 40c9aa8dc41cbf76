"""What one way of running the containers comes to: machines, hosts, and what runs where."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Way(StrEnum):
    """The four ways, in the order in which they are shown."""

    ONE_APP_PER_VM = "oneAppPerVM"
    BARE_METAL = "bareMetal"
    AS_IS = "asIs"
    PLIMSOLL = "plimsoll"


TITLES: Final = {
    Way.ONE_APP_PER_VM: "one app per VM",
    Way.BARE_METAL: "containers on bare metal",
    Way.AS_IS: "containers on VMs, as they are",
    Way.PLIMSOLL: "containers on VMs, with Plimsoll",
}


@dataclass(slots=True)
class Machine:
    """What runs containers: a VM, or a host itself. Millicores and bytes."""

    name: str
    cpu: int
    memory: int
    pool: str
    zone: str = ""
    host: str = ""
    """Empty: not decided yet."""


@dataclass(frozen=True)
class HostUse:
    """A physical host that is in use, at its physical size."""

    name: str
    cpu: int
    memory: int


@dataclass
class Layout:
    """One way."""

    way: Way
    machines: list[Machine]
    placed: dict[str, int]
    """Key of a container -> index of the machine that it runs in."""
    unplaced: dict[str, str] = field(default_factory=dict)
    """Key of a container -> why there is no place for it."""
    hosts: list[HostUse] = field(default_factory=list)
    spare: int = 0
    """Hosts kept free besides, so that as many may fail."""
    daemon_cpu: int = 0
    """Requests of DaemonSet and static pods, on all machines together."""
    daemon_memory: int = 0
    hosts_measured: bool = False
    """On which host a VM runs stands in the dump."""
    beyond: int = 0
    """Hosts of ``hosts`` that the inventory does not have."""
    notes: list[str] = field(default_factory=list)

    @property
    def in_vms(self) -> bool:
        return self.way is not Way.BARE_METAL
