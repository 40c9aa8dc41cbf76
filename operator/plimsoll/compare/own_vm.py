"""One app per VM: every container alone in a VM of its own, without Kubernetes.

The VM holds the container under the pool's load line besides the guest's system, in whole
CPUs and steps of 512Mi; the smallest and largest size of the pool do not bind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from plimsoll.api.vmpool import VMPoolSpec
from plimsoll.compare.assumptions import MIB, Options
from plimsoll.compare.estate import Estate
from plimsoll.compare.hosts import Park, fits_any, pack
from plimsoll.compare.layout import Layout, Machine, Way
from plimsoll.world.snapshot import Resources

CPU_STEP: Final = 1000
MEMORY_STEP: Final = 512 * MIB


def one_app_per_vm(
    estate: Estate,
    specs: Mapping[str, VMPoolSpec],
    pool_of: Mapping[str, str],
    park: Park,
    options: Options,
    spare: int,
) -> Layout:
    """Every container in its own VM, packed on hosts.

    ``pool_of``: key of a container -> the pool whose line and prices its VM has.
    """
    layout = Layout(Way.ONE_APP_PER_VM, [], {})
    for container in estate.containers:
        pool = pool_of[container.key]
        cpu, memory = own_size(specs[pool], container.requests, options)
        if not fits_any(park, cpu, memory):
            layout.unplaced[container.key] = "its VM would be larger than a host"
            continue
        layout.placed[container.key] = len(layout.machines)
        layout.machines.append(Machine(container.key, cpu, memory, pool))
    pack(layout, {c.key: c.workload for c in estate.containers}, park, spare)
    return layout


def own_size(spec: VMPoolSpec, requests: Resources, options: Options) -> tuple[int, int]:
    """Millicores and bytes of the VM for one container."""
    line = spec.density.load_line_percent
    cpu = -(-requests.cpu * 100 // line) + options.guest_cpu
    memory = -(-requests.memory * 100 // line) + options.guest_memory
    return (
        max(1, -(-cpu // CPU_STEP)) * CPU_STEP,
        max(1, -(-memory // MEMORY_STEP)) * MEMORY_STEP,
    )
