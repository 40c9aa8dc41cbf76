"""Sharing out hosts among VMs: who has room, and who takes a VM. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from plimsoll.api.hypervisor import HostState, HypervisorSpec, Simulated
from plimsoll.simulator.records import VmRecord
from plimsoll.world.snapshot import Frozen


class NoRoom(Exception):
    """No host may take the VM; the message says why of each."""


RECORD_SECONDS: Final = 60.0
"""Above the time that any call between a claim and its record may take."""


class Claim(Frozen, frozen=True, kw_only=True):
    """Room that is promised to a VM whose record does not show it yet."""

    name: str
    host: str
    cpu: int
    """Virtual CPUs."""
    memory: int
    until: float
    """When the promise lapses, should its holder have died (seconds since the epoch)."""

    def covers(self, name: str, host: str, cpu: int, memory: int, now: float) -> bool:
        """Whether it promises just that, for long enough to make the record."""
        same = (self.name, self.host, self.cpu, self.memory) == (name, host, cpu, memory)
        return same and self.until - now > RECORD_SECONDS


class HostRoom(Frozen, frozen=True, kw_only=True):
    """One physical machine and what is given out of it. Millicores and bytes."""

    name: str
    zone: str
    state: HostState
    cpu: int
    """With overcommitment."""
    memory: int
    cpu_used: int
    memory_used: int

    def lacks(self, cpu: int, memory: int) -> str:
        """Why it cannot take millicores and bytes more; empty if it can."""
        if self.state != "Up":
            return f"{self.name} is {self.state}"
        lacking = []
        if self.cpu_used + cpu > self.cpu:
            lacking.append(f"{self.cpu_used + cpu - self.cpu}m CPU")
        if self.memory_used + memory > self.memory:
            lacking.append(f"{self.memory_used + memory - self.memory} bytes of memory")
        return f"{self.name} lacks {' and '.join(lacking)}" if lacking else ""

    def free_share(self, cpu: int, memory: int) -> float:
        """What would be left of its scarcer resource after taking so much, as a share."""
        return min(
            (self.cpu - self.cpu_used - cpu) / max(self.cpu, 1),
            (self.memory - self.memory_used - memory) / max(self.memory, 1),
        )


def simulated(spec: HypervisorSpec) -> Simulated:
    """The settings of the simulated hypervisor, which its model requires to be there."""
    assert spec.simulated is not None, "HypervisorSpec refuses simulated without its section"
    return spec.simulated


def host_states(spec: HypervisorSpec) -> dict[str, HostState]:
    """State by host name. A host that is not listed has been taken out: count it as Down."""
    return {host.name: host.state for host in simulated(spec).hosts}


def rooms(
    spec: HypervisorSpec, vms: Iterable[VmRecord], claims: Mapping[str, Claim] | None = None
) -> tuple[HostRoom, ...]:
    """Every host with what VMs and claims (by owner UID) take of it.

    A VM that moves counts at both ends until its record shows the new host.
    """
    pending = dict(claims or {})
    used: dict[str, tuple[int, int]] = {}

    def take(host: str, cpu: int, memory: int) -> None:
        before = used.get(host, (0, 0))
        used[host] = (before[0] + cpu * 1000, before[1] + memory)

    for vm in vms:
        cpu, memory = vm.claimed_cpu, vm.claimed_memory
        claim = pending.get(vm.owner_uid)
        if claim is not None and claim.host == vm.host:
            cpu, memory = max(cpu, claim.cpu), max(memory, claim.memory)
            del pending[vm.owner_uid]
        take(vm.host, cpu, memory)
    for claim in pending.values():
        take(claim.host, claim.cpu, claim.memory)
    return tuple(
        HostRoom(
            name=host.name,
            zone=host.zone,
            state=host.state,
            cpu=host.cpu * 1000 * spec.cpu_overcommit_percent // 100,
            memory=host.memory,
            cpu_used=used.get(host.name, (0, 0))[0],
            memory_used=used.get(host.name, (0, 0))[1],
        )
        for host in simulated(spec).hosts
    )


def choose(hosts: Iterable[HostRoom], cpu: int, memory: int, host: str = "") -> str:
    """The host for virtual CPUs and bytes: the given one, or else the emptiest that fits.

    Raises:
        NoRoom: the given host, or every host, is not up or is full.
    """
    candidates = [room for room in hosts if not host or room.name == host]
    if host and not candidates:
        raise NoRoom(f"there is no host {host}")
    lacks = {room.name: room.lacks(cpu * 1000, memory) for room in candidates}
    fitting = [room for room in candidates if not lacks[room.name]]
    if not fitting:
        raise NoRoom("; ".join(lacks.values()))
    return min(fitting, key=lambda room: (-room.free_share(cpu * 1000, memory), room.name)).name


def restart_host(vm: VmRecord, spec: HypervisorSpec, hosts: Iterable[HostRoom]) -> str:
    """Where a stopped VM starts again: its own host if that is up, else another by HA.

    ``hosts`` must not count the VM itself.

    Raises:
        NoRoom: its host is not up, and no other may or can take it.
    """
    everywhere = tuple(hosts)
    try:
        return choose(everywhere, vm.wanted_cpu, vm.wanted_memory, vm.host)
    except NoRoom:
        if not simulated(spec).high_availability:
            raise
    return choose(everywhere, vm.wanted_cpu, vm.wanted_memory)


def open_claims(
    claims: Mapping[str, Claim], vms: Iterable[VmRecord], now: float
) -> dict[str, Claim]:
    """The claims that are neither shown by a record by now nor lapsed."""
    shown = {vm.owner_uid: vm for vm in vms}

    def settled(owner: str, claim: Claim) -> bool:
        vm = shown.get(owner)
        return (
            vm is not None
            and vm.host == claim.host
            and vm.claimed_cpu >= claim.cpu
            and vm.claimed_memory >= claim.memory
        )

    return {
        owner: claim
        for owner, claim in claims.items()
        if claim.until > now and not settled(owner, claim)
    }
