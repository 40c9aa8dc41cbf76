"""Whether there is room for so many containers at all: a bound that costs little.

Wherever they go, containers of at least some size need as many places of that size. If
there are fewer, they need not be tried one by one. Rules only leave fewer places.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

import numpy as np

from plimsoll.decide.columns import Bools, Ints
from plimsoll.decide.fleet import Bin, Fleet

_SIZES: Final = 3
"""Of so many of the largest sizes places are counted: small containers find room more easily."""


class _Largest(NamedTuple):
    """By slot: how large a VM may become at most. Millicores, bytes."""

    version: int
    cpu: Ints
    memory: Ints


class Crowding:
    """Counts places on a fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._most: _Largest | None = None

    def lacks_room(self, cpu: Counter[int], memory: Counter[int], source: Bin) -> bool:
        """Whether some of the containers that leave a VM find no room elsewhere.

        ``cpu`` and ``memory`` say how many ask for so many millicores, and for so many bytes.
        """
        columns, most = self._fleet.columns, self._largest()
        # A VM that is yet to be launched may come to take more pods.
        there = columns.takes & ((columns.pods_left > 0) | columns.is_new)
        there[source.slot] = False
        # What a VM grows by is allocatable as a whole, and the load line is at most that.
        more_cpu = np.maximum(0, most.cpu - columns.cpu)
        more_memory = np.maximum(0, most.memory - columns.memory)
        return _lacks(cpu, columns.cpu_left + more_cpu, there) or _lacks(
            memory, columns.memory_left + more_memory, there
        )

    def _largest(self) -> _Largest:
        """The largest size that the pool offers, 0 where a VM cannot grow.

        Neither hosts nor guards are asked: they only let VMs grow less.
        """
        fleet, columns = self._fleet, self._fleet.columns
        known = self._most
        if known is not None and known.version == columns.open_version:
            return known
        cpu, memory = np.zeros((2, columns.count), np.int64)
        for name, pool in fleet.pools.items():
            sizes, hypervisor = fleet.sizes[name], fleet.hypervisors.get(pool.spec.hypervisor)
            if sizes.fixed or hypervisor is None:
                continue
            able = hypervisor.capabilities
            mine = fleet.pool_of.codes == fleet.pool_of.known(name)
            cpu[mine & (columns.is_new | able.hot_add_cpu)] = sizes.cpu_max
            memory[mine & (columns.is_new | able.hot_add_memory)] = sizes.memory_max
        self._most = _Largest(columns.open_version, cpu, memory)
        return self._most


def _lacks(sizes: Counter[int], left: Ints, there: Bools) -> bool:
    """Whether there are fewer places of one of the largest sizes than are needed."""
    needed = 0
    for size in sorted(sizes, reverse=True)[:_SIZES]:
        needed += sizes[size]
        if size > 0 and int((left[there & (left >= size)] // size).sum()) < needed:
            return True
    return False
