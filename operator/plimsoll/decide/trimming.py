"""Making VMs that are still to be launched smaller by giving pods of theirs to other VMs.

A new VM is as large as what it carries, rounded up to a size that its pool offers. Where
little of the last step is in use, a pod or a few go where others have room left over anyway,
and the step is saved. Nothing runs on these VMs yet, so nobody is disturbed.

Only moves that change nothing for other pods are made: whoever was even, near or apart still
is. Pods that a workload steers, and those with preferences, stay where they were put.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement
from typing import Final, NamedTuple

import numpy as np

from plimsoll.decide import cost, survival
from plimsoll.decide.classes import PodClass, Rules
from plimsoll.decide.columns import ABSENT, Ints
from plimsoll.decide.counting import Spread
from plimsoll.decide.fitting import how_well, number_for
from plimsoll.decide.fleet import Bin
from plimsoll.decide.placing import Placer
from plimsoll.decide.preferring import wishes_of
from plimsoll.decide.roster import Roster
from plimsoll.decide.sizes import Sizes

_ROUNDS: Final = 3
"""How often all VMs are gone through: what one gives may be what another needs."""
_LOOKED_AT: Final = 256
"""VMs that are looked at in one round: those that have the least to give for what they save."""
_TOGETHER: Final = 3
"""Pods of one VM, at most, that are moved to save a step."""
_KINDS: Final = 10
"""Classes of pods on a VM that are considered: the smallest ones."""
_TRIED: Final = 8
"""Sets of pods that are tried out on a VM."""
_HOMES: Final = 12
"""VMs that are asked for each pod: the best fitting ones."""

_BROKEN: Final = 16
"""Steps that would break a survival promise, after which no more are looked for: each takes a
look at all that may be lost."""


class _Step(NamedTuple):
    """What a VM must give up to become one step smaller."""

    slot: int
    cpu: int
    """Millicores; none if not positive."""
    memory: int
    pods: int


class _Group(NamedTuple):
    """Pods of one class on a VM."""

    kind: PodClass
    keys: list[str]
    size: float
    """CPUs, memory counted by the ratio of all pods."""


class Trimming:
    """Trims new VMs on the placer's fleet."""

    def __init__(self, placer: Placer, roster: Roster) -> None:
        self._placer = placer
        self._fleet = placer.fleet
        self._roster = roster
        self._kept = survival.kept(self._fleet)
        self._rooms: dict[object, Ints] = {}
        """VMs that had room for one more pod when the round began, by what the pod asks for."""
        self._broken = 0
        """Steps that a survival promise did not allow."""
        self._movable: dict[int, tuple[Rules, bool]] = {}

    def trim(self) -> None:
        """Saves every step that it finds."""
        columns = self._fleet.columns
        if np.count_nonzero(columns.is_open & columns.is_new) < 2:
            return
        for _ in range(_ROUNDS):
            self._rooms = {}
            found = [self._trim(step) for step in self._steps()]
            if not any(found):
                break

    # ----- which VMs

    def _steps(self) -> list[_Step]:
        """Steps that may be saved, those for which the least must be given up first."""
        columns, fleet = self._fleet.columns, self._fleet
        new = columns.is_open & columns.is_new
        found: list[tuple[float, _Step]] = []
        for name in sorted(fleet.pools):
            code = fleet.pool_of.known(name)
            slots = np.flatnonzero(new & (fleet.pool_of.codes == code)) if code else ()
            if not len(slots):
                continue
            sizes = fleet.sizes[name]
            for cpu, memory in _smaller(sizes):
                found += self._steps_of(np.asarray(slots), sizes, cpu, memory)
        found.sort(key=lambda item: (item[0], item[1].slot))
        return [step for _, step in found[:_LOOKED_AT]]

    def _steps_of(
        self, slots: Ints, sizes: Sizes, cpu: int, memory: int
    ) -> Iterator[tuple[float, _Step]]:
        """The steps of so many millicores and bytes, and how much must be given up."""
        columns, ratio = self._fleet.columns, self._fleet.memory_per_cpu
        after_cpu, after_memory = columns.cpu[slots] - cpu, columns.memory[slots] - memory
        good = after_cpu >= sizes.cpu_min
        if sizes.memory_per_cpu is None:
            good &= after_memory >= sizes.memory_min
        slots, after_cpu, after_memory = slots[good], after_cpu[good], after_memory[good]
        line_cpu = (after_cpu - sizes.reserved_cpu) * sizes.line // 100
        line_memory = (after_memory - sizes.reserved_memory) * sizes.line // 100
        over_cpu = columns.cpu_used[slots] - line_cpu
        over_memory = columns.memory_used[slots] - line_memory
        size = np.maximum(over_cpu, 0) / 1000 + np.maximum(over_memory, 0) / ratio
        for number in np.argsort(size, kind="stable")[:_LOOKED_AT].tolist():
            pods = len(self._fleet.by_slot[slots[number]].pods)
            allowed = sizes.pods(int(after_cpu[number]))
            yield (
                float(size[number]),
                _Step(
                    int(slots[number]),
                    int(over_cpu[number]),
                    int(over_memory[number]),
                    pods - allowed,
                ),
            )

    # ----- one VM

    def _trim(self, step: _Step) -> bool:
        """Saves the step if what it takes finds places."""
        fleet = self._fleet
        source = fleet.by_slot[step.slot]
        assert source.pool is not None
        before = cost.of_bin(source)
        for chosen in self._choices(source, step):
            if self._broken == _BROKEN:
                return False
            mark = fleet.mark()
            if self._move(chosen, source) and self._shrink(source, before):
                fleet.commit()
                return True
            fleet.rollback(mark)
        return False

    def _choices(self, source: Bin, step: _Step) -> list[list[tuple[PodClass, str]]]:
        """Sets of pods that are enough, the smallest first; of each set large pods first."""
        groups = self._groups(source)
        if not _can_give(groups, step):
            return []
        found: list[tuple[float, tuple[int, ...]]] = []
        for number in range(max(1, step.pods), _TOGETHER + 1):
            found += [
                (sum(groups[i].size for i in some), some)
                for some in combinations_with_replacement(range(len(groups)), number)
                if sum(groups[i].kind.cpu for i in some) >= step.cpu
                and sum(groups[i].kind.memory for i in some) >= step.memory
                and all(some.count(i) <= len(groups[i].keys) for i in set(some))
            ]
            if len(found) >= _TRIED:
                break
        choices = []
        for _, some in sorted(found)[:_TRIED]:
            keys = {i: iter(groups[i].keys) for i in some}
            choices.append([(groups[i].kind, next(keys[i])) for i in reversed(some)])
        return choices

    def _groups(self, source: Bin) -> list[_Group]:
        """Pods that may move and for which another VM has room, by class, small ones first."""
        fleet = self._fleet
        by_kind: dict[str, list[str]] = {}
        for key, shape in source.pods.items():
            by_kind.setdefault(shape.key, []).append(key)
        found = []
        for keys in by_kind.values():
            kind = fleet.classes.of(source.pods[keys[0]])
            if not self._may_move(kind.rules):
                continue
            room = self._room(kind)
            if not len(room) or (len(room) == 1 and room[0] == source.slot):
                continue
            keys = [key for key in keys if self._is_free(key, source)]
            if keys:
                size = kind.cpu / 1000 + kind.memory / fleet.memory_per_cpu
                found.append(_Group(kind, sorted(keys), size))
        found.sort(key=lambda group: (group.size, group.kind.order))
        return found[:_KINDS]

    def _is_free(self, key: str, source: Bin) -> bool:
        pod = self._fleet.pods.get(key)
        return (
            pod is not None
            and pod.workload not in self._roster.workloads
            and key not in source.resized
        )

    def _may_move(self, rules: Rules) -> bool:
        known = self._movable.get(id(rules))
        if known is None:
            may = not rules.shape.host_ports and wishes_of(self._fleet, rules) is None
            known = self._movable[id(rules)] = (rules, may)
        return known[1]

    def _room(self, kind: PodClass) -> Ints:
        known = self._rooms.get(kind.size_key)
        if known is None:
            mask = self._placer.filters.room(kind) & kind.rules.nodes.admitted()
            known = self._rooms[kind.size_key] = np.flatnonzero(mask)
        return known

    def _shrink(self, source: Bin, before: int) -> bool:
        """Makes the VM as small as it may be; whether it costs less now and promises hold."""
        assert source.pool is not None
        size = self._fleet.sizes[source.pool.name].smallest(
            source.cpu_used, source.memory_used, len(source.pods)
        )
        if size is None or cost.of_bin(source, size) >= before:
            return False
        self._fleet.resize_bin(source, size)
        broken = survival.first_broken(self._fleet, self._kept)
        self._broken += bool(broken)
        return not broken

    # ----- one pod

    def _move(self, chosen: list[tuple[PodClass, str]], source: Bin) -> bool:
        """Moves pods to other VMs as these are; False: not all of them find a place."""
        for kind, key in chosen:
            target = self._home(kind, source)
            if target is None:
                return False
            self._fleet.take(key)
            self._fleet.put_all((key,), kind, target)
        return True

    def _home(self, kind: PodClass, source: Bin) -> Bin | None:
        """The best fitting VM to which a pod may move."""
        fleet, columns = self._fleet, self._fleet.columns
        slots = self._room(kind)
        slots = slots[number_for(fleet, kind, slots) > 0]
        slots = slots[slots != source.slot]
        if not len(slots):
            return None
        score = how_well(fleet, kind, columns.cpu_left[slots], columns.memory_left[slots])
        best = slots[np.argsort(-score, kind="stable")[:_HOMES]]
        for target in fleet.at(best):
            if self._goes(kind.rules, source, target):
                return target
        return None

    def _goes(self, rules: Rules, source: Bin, target: Bin) -> bool:
        """Whether a pod may move as far as other pods go: its own rules, and theirs."""
        for key in rules.wanted_near():
            if source.labels.get(key) != target.labels.get(key):
                return False
        if not all(counter.in_domain(target.labels) for counter in rules.near):
            return False
        for counter in (*rules.apart, *rules.pods.avoiders):
            if counter.total and counter.in_domain(target.labels):
                return False
        own = dict(rules.even)
        return all(
            _stays_even(spread, own.get(spread), source.slot, target.slot)
            for spread in (*rules.pods.spreads, *own)
        )


def _stays_even(spread: Spread, own: int | None, source: int, target: int) -> bool:
    """Whether all are as even as before if a pod moves. ``own``: None unless it is its own
    constraint, then 1 if it counts itself."""
    codes, eligible = spread.column.codes, spread.eligible()
    here, there = codes.item(source), codes.item(target)
    if here == there and eligible.item(source) == eligible.item(target):
        return True
    if own is None and not spread.carriers.total:
        return True
    least = spread.least()
    spread.cover()
    counts = spread.counts
    if least > 0 and counts.item(here) <= least:
        return False
    most = spread.max_skew + least
    if own is not None and (there == ABSENT or counts.item(there) + own > most):
        return False
    spread.carriers.cover()
    return not spread.carriers.counts.item(there) or counts.item(there) + 1 <= most


def _can_give(groups: list[_Group], step: _Step) -> bool:
    """Whether the largest pods of these would be enough; most VMs are ruled out by this."""
    pods = [group.kind for group in groups for _ in group.keys[:_TOGETHER]]
    return (
        sum(sorted(kind.cpu for kind in pods)[-_TOGETHER:]) >= step.cpu
        and sum(sorted(kind.memory for kind in pods)[-_TOGETHER:]) >= step.memory
    )


def _smaller(sizes: Sizes) -> list[tuple[int, int]]:
    """By how much a VM may become smaller at once: millicores, bytes."""
    if sizes.fixed:
        return []
    if sizes.memory_per_cpu is not None:
        return [(sizes.cpu_step, sizes.cpu_step // 1000 * sizes.memory_per_cpu)]
    return [(sizes.cpu_step, 0), (0, sizes.memory_step)]
