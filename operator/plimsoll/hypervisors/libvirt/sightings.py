"""What was last seen where: it says whom to ask first, and what a silent host had."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from plimsoll.hypervisors.contract import PowerState, VmInfo
from plimsoll.hypervisors.libvirt.capacity import Room


class Sightings:
    """Kept in memory only. Nothing is ever proven by it."""

    def __init__(self) -> None:
        self._vms: dict[str, VmInfo] = {}
        self._rooms: dict[str, Room] = {}

    def note(self, vm: VmInfo) -> None:
        """This VM was seen just now."""
        self._vms[vm.uuid] = vm

    def listed(self, host: str, vms: Iterable[VmInfo]) -> None:
        """Exactly these VMs of ours are on the host now."""
        here = {vm.uuid: vm for vm in vms}
        for uuid in [uuid for uuid, vm in self._vms.items() if vm.host == host]:
            if uuid not in here:
                del self._vms[uuid]
        self._vms.update(here)

    def gone(self, uuid: str) -> None:
        """No host has this VM."""
        self._vms.pop(uuid, None)

    def last(self, uuid: str) -> VmInfo | None:
        """What was last seen of the VM; None: nothing."""
        return self._vms.get(uuid)

    def on(self, hosts: Collection[str], without: Iterable[VmInfo]) -> tuple[VmInfo, ...]:
        """The VMs last seen on these hosts, of which nothing is known now."""
        elsewhere = {vm.uuid for vm in without}
        return tuple(
            msgspec.structs.replace(vm, power=PowerState.UNKNOWN, addresses=())
            for vm in self._vms.values()
            if vm.host in hosts and vm.uuid not in elsewhere
        )

    def measured(self, host: str, room: Room) -> None:
        """The host is so large, and so full, now."""
        self._rooms[host] = room

    def room(self, host: str) -> Room | None:
        """What was last seen of the host's size."""
        return self._rooms.get(host)
