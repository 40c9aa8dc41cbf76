"""What time does to a simulated VM. Pure: state in, state out.

All that is under way carries the time at which it completes, so it does not
matter when, how often or by which process ``advance`` is called.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from plimsoll.api.hypervisor import HypervisorSpec
from plimsoll.simulator.placement import host_states, simulated
from plimsoll.simulator.records import VmRecord
from plimsoll.world.vms import PowerState

REMOVED = "Down"
"""State of a host that is no longer listed: it was taken out, and its VMs with it."""


def alive(vm: VmRecord, spec: HypervisorSpec) -> bool:
    """Whether the VM runs and its kubelet reaches the API server.

    The VMs of an isolated host run on, but nobody hears of them.
    """
    state = host_states(spec).get(vm.host, REMOVED)
    return vm.power is PowerState.RUNNING and state not in ("Down", "Isolated")


def restart_due(vm: VmRecord, spec: HypervisorSpec, now: float) -> bool:
    """Whether the VM starts again now, so that ``advance`` must be told where."""
    return vm.power is PowerState.RESTARTING and vm.due <= now


def advance(
    vm: VmRecord, spec: HypervisorSpec, now: float, destination: str = ""
) -> VmRecord | None:
    """The VM as time and the state of its host have left it; None when it is deleted.

    ``destination`` is the host on which it starts again if ``restart_due``;
    empty when none has room: then it stays off until its own host is up.
    """
    settings = simulated(spec)
    state = host_states(spec).get(vm.host, REMOVED)
    done = vm.due <= now
    match vm.power:
        case PowerState.DELETING:
            return None if done and state != "Isolated" else vm
        case PowerState.OFF if state == "Up":
            return _replace(vm, power=PowerState.RESTARTING, due=now + settings.boot_time)
        case PowerState.RESTARTING if done and destination:
            return _booted(_replace(vm, host=destination))
        case PowerState.RESTARTING if done:
            return _replace(vm, power=PowerState.OFF, due=0.0)
        case PowerState.CREATING | PowerState.RUNNING if state == "Down":
            if settings.high_availability:
                return _replace(vm, power=PowerState.RESTARTING, due=now + settings.restart_time)
            return _replace(vm, power=PowerState.OFF, due=0.0)
        case PowerState.CREATING if done and state != "Isolated":
            return _booted(vm)
        case PowerState.RUNNING if done and vm.due:
            return _replace(vm, cpu=vm.wanted_cpu, memory=vm.wanted_memory, due=0.0)
    return vm


def next_due(vms: Iterable[VmRecord], now: float) -> float | None:
    """When something that is under way next completes; None if nothing is.

    What is overdue waits for a change (of its host's state), not for time.
    """
    return min((vm.due for vm in vms if vm.due > now), default=None)


def _booted(vm: VmRecord) -> VmRecord:
    """A boot brings the wanted size into effect, and kubelet registers its node."""
    return _replace(
        vm,
        power=PowerState.RUNNING,
        cpu=vm.wanted_cpu,
        memory=vm.wanted_memory,
        due=0.0,
        registered=False,
    )


def _replace(vm: VmRecord, **changes: object) -> VmRecord:
    return msgspec.structs.replace(vm, **changes)
