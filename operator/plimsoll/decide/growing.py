"""Making VMs larger by hot-add: which can grow, to what size, at what price (lever Grow)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from plimsoll.decide import cost, guards, survival, wording
from plimsoll.decide.classes import PodClass
from plimsoll.decide.columns import Bools, Ints
from plimsoll.decide.filters import Filters, growth_needed
from plimsoll.decide.fleet import Bin, Fleet
from plimsoll.decide.plan import Reason, Refusal, Size
from plimsoll.world.snapshot import Resources

TOLD: Final = 4
"""VMs of which it is told why they do not grow."""


@dataclass
class Options:
    """VMs that could grow for a pod: slots, sizes (millicores, bytes) and what that costs."""

    slots: Ints
    cpu: Ints
    memory: Ints
    price: Ints
    refused: tuple[Refusal, ...]
    """Why some others do not."""

    def size(self, number: int) -> Size:
        """The size that one of them would have."""
        return Size(cpu=int(self.cpu[number]), memory=int(self.memory[number]))

    def without(self, number: int) -> Options:
        """All but one of them."""
        keep = np.arange(len(self.slots)) != number
        return Options(
            self.slots[keep], self.cpu[keep], self.memory[keep], self.price[keep], self.refused
        )


class Growing:
    """Growth of VMs on one fleet; nothing is changed here."""

    def __init__(self, fleet: Fleet, filters: Filters) -> None:
        self._fleet = fleet
        self._filters = filters
        self._may_grow: Bools = np.zeros(0, np.bool_)
        self._may_cpu: Bools = np.zeros(0, np.bool_)
        self._may_memory: Bools = np.zeros(0, np.bool_)

    def may_grow(self) -> Bools:
        """By slot: whether the VM is open and guards allow it to have more CPUs or memory.

        Guards rest on the snapshot, not on the plan, so each VM is asked about once.
        """
        self._look()
        return self._may_grow & self._fleet.columns.is_open

    def size_for(self, target: Bin, more: Resources, extra_pods: int) -> Refusal | Size:
        """The size at which a VM takes so much more, but for the survival promise."""
        subject = f"vm/{target.name}"
        needed = growth_needed(self._fleet, target, more, extra_pods)
        if needed is None:
            return Refusal(
                guard=Reason.AT_MAX_SIZE,
                subject=subject,
                message="even at its largest size it would be above its load line",
            )
        refusal = guards.grow(
            self._fleet, target, needed.cpu > target.cpu, needed.memory > target.memory
        )
        if refusal is not None:
            return refusal
        room = self._fleet.room(target.hypervisor, target.host)
        if not room.has(needed.cpu - target.cpu, needed.memory - target.memory):
            return Refusal(
                guard=Reason.NO_HOST_ROOM,
                subject=subject,
                message=f"host {target.host} has no room for {wording.size(needed)}",
            )
        return needed

    def survivable(self, target: Bin, needed: Size) -> Refusal | Size:
        """The size, unless a promise that holds would be broken by it."""
        kept = survival.kept(self._fleet)
        if not kept:
            return needed
        before = target.size
        self._fleet.resize_bin(target, needed)
        broken = survival.first_broken(self._fleet, kept)
        self._fleet.resize_bin(target, before)
        if broken:
            return Refusal(guard=Reason.SURVIVAL, subject=f"vm/{target.name}", message=broken)
        return needed

    def options(self, kind: PodClass, mask: Bools) -> Options:
        """How the VMs in the mask could grow for one more such pod, host by host and pool by pool.

        Where none can, it is told of a few of them why.
        """
        found = [self._of_pool(kind, mask, name) for name in sorted(self._fleet.pools)]
        found = [options for options in found if options is not None and len(options.slots)]
        if len(found) == 1 and found[0] is not None:
            return found[0]
        parts = [options for options in found if options is not None]
        if not parts:
            return self._none(kind, mask)
        slots = np.concatenate([o.slots for o in parts])
        order = np.argsort(slots, kind="stable")
        return Options(
            slots[order],
            np.concatenate([o.cpu for o in parts])[order],
            np.concatenate([o.memory for o in parts])[order],
            np.concatenate([o.price for o in parts])[order],
            (),
        )

    def most(self, kind: PodClass, target: Bin, number: int, size: Size) -> tuple[int, Size]:
        """How many of so many pods a VM can grow for, at least one, and the size that takes.

        ``size`` is that for one of them.
        """
        low, high = 1, number
        while low < high:
            middle = (low + high + 1) // 2
            larger = self.size_for(target, _times(kind, middle), middle)
            if isinstance(larger, Size):
                larger = self.survivable(target, larger)
            if isinstance(larger, Size):
                low, size = middle, larger
            else:
                high = middle - 1
        return low, size

    def _of_pool(self, kind: PodClass, mask: Bools, name: str) -> Options | None:
        fleet, columns = self._fleet, self._fleet.columns
        code = fleet.pool_of.known(name)
        if not code:
            return None
        slots = np.flatnonzero(mask & (fleet.pool_of.codes == code))
        if not len(slots):
            return None
        sizes, spec = fleet.sizes[name], fleet.pools[name].spec
        new = columns.is_new[slots]
        pods = np.where(new, columns.pods[slots] + 1, 0)
        cpu, memory = sizes.smallest_all(
            columns.cpu_used[slots] + kind.cpu, columns.memory_used[slots] + kind.memory, pods
        )
        cpu_now, memory_now = columns.cpu[slots], columns.memory[slots]
        good = cpu >= 0
        good &= new | (columns.pods_left[slots] > 0)
        for extended, amount in kind.extended:
            good &= columns.extended(extended)[slots] >= amount
        cpu, memory = np.maximum(cpu, cpu_now), np.maximum(memory, memory_now)
        more_cpu, more_memory = cpu - cpu_now, memory - memory_now
        good &= (more_cpu == 0) | self._may_cpu[slots]
        good &= (more_memory == 0) | self._may_memory[slots]
        hypervisor = fleet.hypervisors.get(spec.hypervisor)
        if hypervisor is not None and hypervisor.hosts is not None:
            free_cpu, free_memory = self._free(slots)
            good &= (more_cpu <= free_cpu) & (more_memory <= free_memory)
        if not good.all():
            slots, cpu, memory = slots[good], cpu[good], memory[good]
            cpu_now, memory_now = cpu_now[good], memory_now[good]
        price = cost.of_sizes(spec, cpu, memory) - cost.of_sizes(spec, cpu_now, memory_now)
        return Options(slots, cpu, memory, price, ())

    def _free(self, slots: Ints) -> tuple[Ints, Ints]:
        """Room of the host of each of these VMs."""
        fleet = self._fleet
        codes = fleet.hosts.codes[slots]
        cpu = np.zeros(len(fleet.hosts), np.int64)
        memory = np.zeros(len(fleet.hosts), np.int64)
        for code in np.unique(codes).tolist():
            room = fleet.room(*fleet.hosts.values[code])
            cpu[code], memory[code] = room.cpu_free or 0, room.memory_free or 0
        return cpu[codes], memory[codes]

    def _none(self, kind: PodClass, mask: Bools) -> Options:
        nothing = np.zeros(0, np.int64)
        refused = []
        for target in self._fleet.at(np.flatnonzero(mask)[:TOLD]):
            refusal = self.size_for(target, kind.shape.requests, 1)
            if isinstance(refusal, Refusal):
                refused.append(refusal)
        return Options(nothing, nothing, nothing, nothing, tuple(refused))

    def _look(self) -> None:
        known, fleet = len(self._may_grow), self._fleet
        if known == fleet.columns.count:
            return
        pooled, cpu, memory = [], [], []
        for target in fleet.by_slot[known:]:
            pooled.append(target.pool is not None)
            cpu.append(guards.grow(fleet, target, cpu=True, memory=False) is None)
            memory.append(guards.grow(fleet, target, cpu=False, memory=True) is None)
        self._may_grow = np.concatenate([self._may_grow, np.array(pooled, np.bool_)])
        self._may_cpu = np.concatenate([self._may_cpu, np.array(cpu, np.bool_)])
        self._may_memory = np.concatenate([self._may_memory, np.array(memory, np.bool_)])


def _times(kind: PodClass, number: int) -> Resources:
    return Resources(
        cpu=kind.cpu * number,
        memory=kind.memory * number,
        extended={name: amount * number for name, amount in kind.extended},
    )
