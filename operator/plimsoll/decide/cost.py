"""Cost of VMs under their pool's model, in thousandths of the unit that people pay in."""

from __future__ import annotations

from plimsoll.api.vmpool import VMPoolSpec
from plimsoll.decide.fleet import Fleet

GIB = 1024**3

DISRUPTION_PENALTY = 50
"""Cost put on moving one container, in thousandths: what a plan must save to be worth it."""


def of_size(spec: VMPoolSpec, cpu: int, memory: int) -> int:
    """Cost of one VM of so many millicores and bytes."""
    model = spec.cost
    price: int = model.per_vm + model.per_cpu * cpu // 1000 + model.per_gib * memory // GIB
    return price


def of_fleet(fleet: Fleet) -> int:
    """Cost of all VMs that are there to stay."""
    return sum(
        of_size(pool.spec, target.cpu, target.memory)
        for name, pool in fleet.pools.items()
        for target in fleet.of_pool(name)
    )
