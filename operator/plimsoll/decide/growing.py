"""Making VMs larger by hot-add: which can grow, to what size, at what price (lever Grow)."""

from __future__ import annotations

from typing import Final

import numpy as np

from plimsoll.decide import cost, guards, survival, wording
from plimsoll.decide.classes import PodClass
from plimsoll.decide.columns import NO_LIMIT, Bools, Floats, Ints
from plimsoll.decide.filters import extended_fit
from plimsoll.decide.fitting import Changes, Fit
from plimsoll.decide.fleet import Bin, Fleet
from plimsoll.decide.plan import Reason, Refusal, Size
from plimsoll.decide.ranking import NO, Ranking
from plimsoll.world.snapshot import Resources

TOLD: Final = 4
"""VMs of which it is told why they do not grow."""


class Growth:
    """What it takes to grow each VM for one more pod of one size and one set of node rules.

    Prices are in thousandths of the pool's unit. Room on hosts, other pods and promises
    are not looked at here.
    """

    grows: Final = True
    """Whether VMs become larger for the pod."""

    def __init__(self, fleet: Fleet, growing: Growing, kind: PodClass, fit: Fit) -> None:
        self._fleet = fleet
        self._growing = growing
        self._kind = kind
        self._fit = fit
        self._changes = Changes(fleet)
        self._ranking = Ranking()
        self._price: Ints = np.zeros(0, np.int64)
        self._cpu: Ints = np.zeros(0, np.int64)
        self._memory: Ints = np.zeros(0, np.int64)

    def scores(self) -> Floats:
        """By slot, larger is better: cheapest, then a VM to be launched anyway, then best fit.

        ``NO`` where it cannot grow so far.
        """
        self._catch_up()
        return self._ranking.scores(self._fleet.columns.count)

    def short_list(self) -> tuple[list[tuple[float, int]], bool]:
        """The best VMs, as ``Ranking.short_list`` has them."""
        self._catch_up()
        return self._ranking.short_list(self._fleet.columns.count)

    def best(self, allowed: Bools | None) -> int | None:
        """The slot of the best VM that is allowed; None: there is none."""
        self._catch_up()
        return self._ranking.best(self._fleet.columns.count, allowed)

    def prices(self) -> Ints:
        """By slot, where it can grow so far (after ``scores``)."""
        return self._price[: self._fleet.columns.count]

    def more(self) -> tuple[Ints, Ints]:
        """By slot: millicores and bytes that it would take from its host (after ``scores``)."""
        count = self._fleet.columns.count
        return self._cpu[:count], self._memory[:count]

    def size(self, slot: int) -> Size:
        """The size that the VM would have (after ``scores``)."""
        target = self._fleet.by_slot[slot]
        return Size(
            cpu=target.cpu + int(self._cpu[slot]), memory=target.memory + int(self._memory[slot])
        )

    def _catch_up(self) -> None:
        changed, count = self._changes.take(), self._fleet.columns.count
        if changed is None:
            self._work_out()
        elif changed:
            if len(self._price) < count:
                more = np.zeros(count, np.int64)
                self._price, self._cpu, self._memory = (
                    np.concatenate([a, more]) for a in (self._price, self._cpu, self._memory)
                )
            for slot in {*changed}:
                self._work_out_one(slot)

    def _work_out(self) -> None:
        fleet, kind, columns = self._fleet, self._kind, self._fleet.columns
        mask = kind.rules.nodes.admitted() & self._growing.may_grow()
        length = max(64, 2 * columns.count)
        scores = np.full(columns.count, NO)
        self._price, self._cpu, self._memory = (np.zeros(length, np.int64) for _ in range(3))
        for name in fleet.pools:
            code = fleet.pool_of.known(name)
            slots = np.flatnonzero(mask & (fleet.pool_of.codes == code)) if code else ()
            if len(slots):
                scores[slots] = self._work_out_pool(name, np.asarray(slots))
        self._ranking.reset(scores)

    def _work_out_pool(self, name: str, slots: Ints) -> Floats:
        fleet, kind, columns = self._fleet, self._kind, self._fleet.columns
        spec, new = fleet.pools[name].spec, columns.is_new[slots]
        cpu, memory = fleet.sizes[name].smallest_all(
            columns.cpu_used[slots] + kind.cpu,
            columns.memory_used[slots] + kind.memory,
            np.where(new, columns.pods[slots] + 1, 0),
        )
        good = (cpu >= 0) & (new | (columns.pods_left[slots] > 0))
        for extended, amount in kind.extended:
            good &= columns.extended(extended)[slots] >= amount
        cpu_now, memory_now = columns.cpu[slots], columns.memory[slots]
        cpu, memory = np.maximum(cpu, cpu_now), np.maximum(memory, memory_now)
        most_cpu, most_memory = self._growing.ceilings()
        good &= (cpu <= most_cpu[slots]) & (memory <= most_memory[slots])
        more_cpu, more_memory = cpu - cpu_now, memory - memory_now
        may_cpu, may_memory = self._growing.may_add()
        good &= (more_cpu == 0) | may_cpu[slots]
        good &= (more_memory == 0) | may_memory[slots]
        price = cost.of_sizes(spec, cpu, memory) - cost.of_sizes(spec, cpu_now, memory_now)
        score = 2 * new - 4 * price + _squashed(self._fit.after_growth(slots))
        self._price[slots] = price
        self._cpu[slots], self._memory[slots] = more_cpu, more_memory
        return np.where(good, score, NO)

    def _work_out_one(self, slot: int) -> None:
        """As ``_work_out``, of one VM."""
        self._ranking.set(slot, self._score(slot))

    def _score(self, slot: int) -> float:
        fleet, kind = self._fleet, self._kind
        target = fleet.by_slot[slot]
        if not (self._growing.may_grow().item(slot) and kind.rules.nodes.admitted().item(slot)):
            return NO
        size = growth_needed(fleet, target, kind.shape.requests)
        if size is None or target.pool is None:
            return NO
        most_cpu, most_memory = self._growing.ceilings()
        if size.cpu > most_cpu[slot] or size.memory > most_memory[slot]:
            return NO
        cpu, memory = size.cpu - target.cpu, size.memory - target.memory
        may_cpu, may_memory = self._growing.may_add()
        if (cpu and not may_cpu[slot]) or (memory and not may_memory[slot]):
            return NO
        spec = target.pool.spec
        price = cost.rounded(spec, size.cpu, size.memory) - cost.rounded(
            spec, target.cpu, target.memory
        )
        self._price[slot], self._cpu[slot], self._memory[slot] = price, cpu, memory
        after = self._fit.after_growth_of(target)
        # Prices are whole, so that less than 1 apart is less than any price.
        score = after / (1 + abs(after)) - 4 * price
        return score + 2 if target.new else score


class Growing:
    """Growth of VMs on one fleet; nothing is changed here."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._may_grow: Bools = np.zeros(0, np.bool_)
        self._may_cpu: Bools = np.zeros(0, np.bool_)
        self._may_memory: Bools = np.zeros(0, np.bool_)
        self._most_cpu: Ints = np.zeros(0, np.int64)
        self._most_memory: Ints = np.zeros(0, np.int64)
        self._open: tuple[int, Bools] | None = None

    def may_grow(self) -> Bools:
        """By slot: whether the VM is open, of a pool, and guards allow it to become larger.

        Guards rest on the snapshot, not on the plan, so each VM is asked about once.
        """
        self._look()
        version = self._fleet.columns.open_version
        if self._open is None or self._open[0] != version:
            self._open = (version, self._may_grow & self._fleet.columns.is_open)
        return self._open[1]

    def may_add(self) -> tuple[Bools, Bools]:
        """By slot: whether guards allow it more CPUs, and more memory."""
        self._look()
        return self._may_cpu, self._may_memory

    def ceilings(self) -> tuple[Ints, Ints]:
        """By slot: millicores and bytes to which the VM can ever grow, or has already."""
        self._look()
        return self._most_cpu, self._most_memory

    def has_host_room(self, target: Bin, size: Size) -> bool:
        """Whether the VM's host has room for it at this size."""
        room = self._fleet.room(target.hypervisor, target.host)
        if room.cpu_free is None:
            return True
        # A VM takes at least nothing, also from a host that is overfull.
        return size.cpu - target.cpu <= max(0, room.cpu_free) and (
            size.memory - target.memory <= max(0, room.memory_free or 0)
        )

    def with_host_room(self, growth: Growth, allowed: Bools | None) -> Bools:
        """Those of the VMs that are allowed whose host has room for the growth, by slot."""
        fleet = self._fleet
        cpu, memory = growth.more()
        codes = fleet.hosts.codes
        free_cpu = np.full(fleet.hosts.size, NO_LIMIT, np.int64)
        free_memory = np.full(fleet.hosts.size, NO_LIMIT, np.int64)
        for code, host in enumerate(fleet.hosts.values[1:], start=1):
            room = fleet.room(*host)
            if room.cpu_free is not None:
                free_cpu[code] = max(0, room.cpu_free)
                free_memory[code] = max(0, room.memory_free or 0)
        mask: Bools = (cpu <= free_cpu[codes]) & (memory <= free_memory[codes])
        return mask if allowed is None else mask & allowed

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
        most = ceiling(target)
        if needed.cpu > most.cpu or needed.memory > most.memory:
            return Refusal(
                guard=Reason.AT_MAX_SIZE,
                subject=subject,
                message=f"it was made to grow up to {wording.size(most)}, and would need "
                f"{wording.size(needed)}",
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

    def refusals(self, kind: PodClass, mask: Bools) -> list[Refusal]:
        """Why some of the VMs in the mask do not grow for one more such pod."""
        refused = []
        for target in self._fleet.at(np.flatnonzero(mask)[:TOLD]):
            refusal = self.size_for(target, kind.shape.requests, 1)
            if isinstance(refusal, Refusal):
                refused.append(refusal)
        return refused

    def _look(self) -> None:
        known, fleet = len(self._may_grow), self._fleet
        if known == fleet.columns.count:
            return
        pooled, cpu, memory = [], [], []
        most = [ceiling(target) for target in fleet.by_slot[known:]]
        for target in fleet.by_slot[known:]:
            if target.pool is None or fleet.sizes[target.pool.name].fixed:
                pooled.append(False)
                cpu.append(False)
                memory.append(False)
                continue
            pooled.append(True)
            cpu.append(guards.grow(fleet, target, cpu=True, memory=False) is None)
            memory.append(guards.grow(fleet, target, cpu=False, memory=True) is None)
        self._may_grow = np.concatenate([self._may_grow, np.array(pooled, np.bool_)])
        self._may_cpu = np.concatenate([self._may_cpu, np.array(cpu, np.bool_)])
        self._may_memory = np.concatenate([self._may_memory, np.array(memory, np.bool_)])
        self._most_cpu = np.concatenate([self._most_cpu, np.array([m.cpu for m in most], np.int64)])
        self._most_memory = np.concatenate(
            [self._most_memory, np.array([m.memory for m in most], np.int64)]
        )


def ceiling(target: Bin) -> Size:
    """The size to which a VM can ever grow; never less than it has."""
    vm = target.vm
    cpu, memory = (vm.max_cpu, vm.max_memory) if vm is not None else (None, None)
    return Size(
        cpu=NO_LIMIT if cpu is None else max(cpu, target.cpu),
        memory=NO_LIMIT if memory is None else max(memory, target.memory),
    )


def growth_needed(
    fleet: Fleet, target: Bin, requests: Resources, extra_pods: int = 1
) -> Size | None:
    """The smallest size at which so much more goes under the line; None if no size does.

    ``requests`` are those of all ``extra_pods`` together. Neither CPU nor memory is ever
    less than it is now.
    """
    if target.pool is None:
        return None
    sizes = fleet.sizes[target.pool.name]
    pods = len(target.pods) + extra_pods
    if not target.new and extra_pods and pods > target.max_pods:
        return None
    if extra_pods and not extended_fit(target, requests):
        return None
    size = sizes.smallest(
        target.cpu_used + requests.cpu,
        target.memory_used + requests.memory,
        pods if target.new else 0,
    )
    if size is None:
        return None
    if sizes.memory_per_cpu is not None:
        return size if size.cpu >= target.cpu else target.size
    return Size(cpu=max(size.cpu, target.cpu), memory=max(size.memory, target.memory))


def _squashed(score: Floats) -> Floats:
    """In the same order, between -1 and 1."""
    result: Floats = score / (1 + np.abs(score))
    return result


def _times(kind: PodClass, number: int) -> Resources:
    return Resources(
        cpu=kind.cpu * number,
        memory=kind.memory * number,
        extended={name: amount * number for name, amount in kind.extended},
    )
