"""Cost of VMs under their pool's model, in thousandths of the unit that people pay in."""

from __future__ import annotations

from collections import Counter

from plimsoll.api.vmpool import VMPoolSpec
from plimsoll.decide.columns import Ints
from plimsoll.decide.fleet import Bin, Fleet
from plimsoll.decide.plan import Size

GIB = 1024**3
_MIB = 1024**2

DISRUPTION_PENALTY = 50
"""Cost put on moving one container, in thousandths: what a plan must save to be worth it."""


def of_size(spec: VMPoolSpec, cpu: int, memory: int) -> int:
    """Cost of one VM of so many millicores and bytes."""
    model = spec.cost
    price: int = model.per_vm + model.per_cpu * cpu // 1000 + model.per_gib * memory // GIB
    return price


def of_sizes(spec: VMPoolSpec, cpu: Ints, memory: Ints) -> Ints:
    """As ``rounded``, of many VMs at once."""
    model = spec.cost
    of_memory = model.per_gib * (memory // _MIB) // (GIB // _MIB)
    price: Ints = model.per_vm + model.per_cpu * cpu // 1000 + of_memory
    return price


def rounded(spec: VMPoolSpec, cpu: int, memory: int) -> int:
    """As ``of_size``, to the MiB: the product of an array in bytes could overflow."""
    return of_size(spec, cpu, memory // _MIB * _MIB)


def of_bin(target: Bin, size: Size | None = None) -> int:
    """Cost of one VM at a size (absent: that which it has); nothing for a node not ours."""
    if target.pool is None:
        return 0
    at = size or target.size
    return of_size(target.pool.spec, at.cpu, at.memory)


def of_fleet(fleet: Fleet) -> int:
    """Cost of all VMs that are there to stay."""
    total = 0
    for name, pool in fleet.pools.items():
        sizes = Counter((target.cpu, target.memory) for target in fleet.of_pool(name))
        total += sum(number * of_size(pool.spec, *size) for size, number in sizes.items())
    return total
