"""A quick, sufficient test that first fit finds room for what is lost with any so many hosts.

Items that hosts hold are lost with them and put onto the bins of the other hosts by first
fit, in falling order of their first resource. Two resources, called first and second.

The test. Say first fit finds no bin for an item x of sizes (f, s). Every bin b that is
left, admits x, and had room for it at the start, with (F, S) to spare, must have got an item
since, and all items so far are of at least f. So what was put into b is

* blocked by the first resource: more than F - f of it, and at least f of it;
* blocked by the second resource: more than S - s of it, and at least f of the first.

With any positive prices p, q of the two resources, what was put into b is therefore worth
at least

    w(b, x) = min(p max(F - f, f), p f + q (S - s)).

All that was put anywhere are lost items no smaller than f in the first resource, worth
load(x). So if the w(b, x) of the bins that are left add up to more than load(x), first fit
does not fail at x. With w and load added up by host, this is, for the lost hosts L,

    sum over h in L of (w(h, x) + load(h, x))  <  sum over all bins of w(b, x),

which holds for every L of k hosts if it holds for the k largest summands. Items of equal
sizes and node rules are one group; where there are very many, sizes are rounded: up where f
and s are what must fit (``high``), down where they are what was put there (``low``).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from plimsoll.decide.classes import NodeRules
from plimsoll.decide.columns import Bools, Floats, Ints

FREE: Final = 0
"""Number of the rules that admit every bin."""
_SURE: Final = 1 - 1e-9
"""Floating-point sums may be off by less than that."""
_NEVER: Final = 1e9
"""Worth of a bin that an item which asks for nothing of a resource is never kept off by."""
MOST_GROUPS: Final = 600
"""Above so many groups sizes are rounded, to three binary places."""


class Item(NamedTuple):
    """What hosts hold: a container or a VM, as far as its place matters."""

    first: int
    second: int
    rules: NodeRules | None
    """None: it goes into every bin."""
    tie: bytes
    """Order among items of equal size."""


class Bins:
    """What can be filled: arrays over bins, which grow as bins are added."""

    def __init__(self) -> None:
        self.count = 0
        self.first: Ints = np.zeros(64, np.int64)
        self.second: Ints = np.zeros(64, np.int64)
        self.host: Ints = np.full(64, -1, np.int64)
        """Index of its host; -1: it is lost with none."""
        self.open: Bools = np.zeros(64, np.bool_)

    def cover(self, number: int) -> None:
        """Makes room for so many bins."""
        if number > len(self.first):
            size = 2 * number
            self.first = larger(self.first, size)
            self.second = larger(self.second, size)
            self.host = larger(self.host, size, -1)
            self.open = larger(self.open, size)
        self.count = max(self.count, number)


class Bounds:
    """The quick test over all hosts and groups, kept in step by those who change a bin."""

    def __init__(self, bins: Bins, hosts: int, lost: int, prices: tuple[float, float]) -> None:
        self._bins = bins
        self._lost = lost
        self._price, self._second_price = prices
        self._rules: list[NodeRules | None] = [None]
        self._rule_numbers: dict[int, int] = {}
        self.bound: Bools = np.zeros(1, np.bool_)
        """By rules: whether they are asked. Where they admit bins on no more hosts than may be
        lost they are not: no bin that is there would help, but a new one may."""
        self._admitted: Bools = np.ones((64, 8), np.bool_)
        """By bin and rules."""
        self._known = 0
        """Bins of which it is known whom they admit."""
        self._rounded = False
        self._groups: dict[tuple[int, int, int], int] = {}
        self._high: Floats = np.zeros(64)
        self._low: Floats = np.zeros(64)
        self._second: Floats = np.zeros(64)
        self._rule_of: Ints = np.zeros(64, np.int64)
        self._worked_out = 0
        """Groups whose columns are worked out."""
        shape = (hosts, 64)
        self._number: Ints = np.zeros(shape, np.int64)
        self._load: tuple[Ints, Ints] = (np.zeros(shape, np.int64), np.zeros(shape, np.int64))
        self._of_host: Floats = np.zeros(shape)
        """Worth of each host's bins."""
        self._sums: Floats = np.zeros(shape)
        """The same, and the load of all items that come no later than the group."""
        self._loose: Floats = np.zeros(64)
        """Worth of bins without a host."""
        self._worth: Floats = np.zeros((64, 64))
        self._order: Ints = np.zeros(0, np.int64)
        self._ends: Ints = np.zeros(0, np.int64)
        self._changed_bins: set[int] = set()
        self._changed_hosts: set[int] = set()
        self.asked = 0
        """Grows when it changes which rules are asked."""
        self._there: Ints = np.zeros((hosts + 1, 8), np.int64)
        """By host and rules: open bins that are admitted; those without a host come last."""
        self._counted: dict[int, int] = {}
        """Bins among them, and their hosts."""
        self._opened: set[int] = set()
        self._on_host: list[set[int]] = [set() for _ in range(hosts)]
        self._without_host: set[int] = set()

    # ----- what there is

    @property
    def full(self) -> bool:
        """Whether there are so many groups that sizes must be rounded."""
        return not self._rounded and len(self._groups) > MOST_GROUPS

    def round(self) -> None:
        """Rounds sizes from now on; what hosts hold is to be given anew."""
        self._rounded = True
        self._groups.clear()
        self._worked_out = 0
        for array in (self._number, *self._load):
            array[:] = 0

    def rule(self, rules: NodeRules | None) -> int:
        """The number of some rules."""
        if rules is None:
            return FREE
        number = self._rule_numbers.get(id(rules))
        if number is None:
            number = self._rule_numbers[id(rules)] = len(self._rules)
            self._rules.append(rules)
            self.bound = np.append(self.bound, True)
            if number >= self._admitted.shape[1]:
                self._admitted = wider(self._admitted, 2 * number)
                self._there = wider(self._there, 2 * number)
            self._admit(number, 0, self._known)
            for known, host in self._counted.items():
                self._there[host, number] += self._admitted[known, number]
            self._ask()
        return number

    def admitted(self, number: int) -> Bools:
        """By bin: whether rules admit it; all where they are not asked."""
        self.refresh()
        if not self.bound[number]:
            return np.ones(self._bins.count, np.bool_)
        return self._admitted[: self._bins.count, number]

    def change(self, host: int, item: Item, number: int) -> None:
        """A host holds so many more of an item."""
        group = self._group(item)
        self._number[host, group] += number
        self._load[0][host, group] += number * item.first
        self._load[1][host, group] += number * item.second
        self._changed_hosts.add(host)

    def touch(self, number: int, before: int, opened: bool) -> None:
        """A bin has changed; ``before``: the host that it had, ``opened``: it came or went."""
        host = int(self._bins.host[number])
        if before != host or number not in self._set(host):
            self._set(before).discard(number)
            self._set(host).add(number)
        self._changed_bins.add(number)
        if opened:
            self._opened.add(number)

    def truncate(self, count: int) -> None:
        """Forgets the bins from ``count`` on, all of them closed."""
        self.refresh()
        bins = self._bins
        for number in range(count, bins.count):
            self._set(int(bins.host[number])).discard(number)
        bins.host[count:] = -1
        bins.count = min(bins.count, count)
        self._known = min(self._known, count)

    # ----- the test

    def holds(self, count: int) -> bool:
        """Whether any ``count`` hosts may be lost, as far as this test can tell."""
        self.refresh()
        groups = len(self._groups)
        if not groups or not count:
            return True
        sums, total = self._sums[:, :groups], self._total()
        used = self._number[:, :groups].any(axis=0)
        if bool(np.all((count * sums.max(axis=0) < total) | ~used)):
            return True
        if count == 1:
            return not bool(np.any(self._failing(np.arange(len(sums))[:, None])[0]))
        largest = np.partition(sums, len(sums) - count, axis=0)[-count:].sum(axis=0)
        return bool(np.all((largest < total) | ~used))

    def doubtful(self, sets: Ints) -> list[tuple[int, int]]:
        """Of sets of lost hosts (a row each), those that the test does not prove.

        With each: the least size in the first resource of items that are in doubt.
        """
        self.refresh()
        found: list[tuple[int, int]] = []
        for start in range(0, len(sets), 512):
            failing, groups = self._failing(sets[start : start + 512])
            for row in np.flatnonzero(failing.any(axis=1)).tolist():
                low = self._low[groups[failing[row]]].min()
                found.append((start + row, int(low)))
        return found

    def _failing(self, sets: Ints) -> tuple[Bools, Ints]:
        """By set and group: whether the group is in doubt; only groups that may be."""
        groups = len(self._groups)
        sums, total = self._sums[:, :groups], self._total()
        chosen = np.flatnonzero(sets.shape[1] * sums.max(axis=0) >= total)
        failing = sums[:, chosen][sets].sum(axis=1) >= total[chosen]
        failing &= self._number[:, chosen][sets].any(axis=1)
        return failing, chosen

    def _total(self) -> Floats:
        groups = len(self._groups)
        total: Floats = (self._of_host[:, :groups].sum(axis=0) + self._loose[:groups]) * _SURE
        return total

    # ----- keeping in step

    def refresh(self) -> None:
        """Takes in what has changed."""
        if self._known < self._bins.count:
            self._admit_new()
        if self._opened:
            self._count_opened()
        groups = len(self._groups)
        if self._worked_out < groups:
            self._work_out_groups(np.arange(self._worked_out, groups))
            if not self._worked_out:
                self._changed_bins.clear()
            self._worked_out = groups
            self._sort()
            self._changed_hosts.update(range(len(self._sums)))
        if self._changed_bins:
            bins = np.array(sorted(self._changed_bins), np.int64)
            self._worth[bins, :groups] = self._worth_of(bins, np.arange(groups))
            hosts = {int(host) for host in self._bins.host[bins]}
            for host in hosts:
                self._add_up(host, groups)
            self._changed_hosts.update(hosts - {-1})
            self._changed_bins.clear()
        for host in self._changed_hosts:
            self._sum(host, groups)
        self._changed_hosts.clear()

    def _set(self, host: int) -> set[int]:
        return self._on_host[host] if host >= 0 else self._without_host

    def _group(self, item: Item) -> int:
        low, high = item.first, item.first
        second = item.second
        if self._rounded:
            low, high = _down(low), _up(high)
            second = _up(second)
        key = (high, second, self.rule(item.rules))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = len(self._groups)
            if group >= len(self._high):
                self._widen(2 * group)
            self._high[group], self._low[group], self._second[group] = high, low, second
            self._rule_of[group] = key[2]
        return group

    def _widen(self, size: int) -> None:
        self._high, self._low = larger(self._high, size), larger(self._low, size)
        self._second, self._loose = larger(self._second, size), larger(self._loose, size)
        self._rule_of = larger(self._rule_of, size)
        self._number = wider(self._number, size)
        self._load = (wider(self._load[0], size), wider(self._load[1], size))
        self._of_host, self._sums = wider(self._of_host, size), wider(self._sums, size)
        self._worth = wider(self._worth, size)

    def _admit_new(self) -> None:
        count = self._bins.count
        if count > len(self._admitted):
            self._admitted = taller(self._admitted, len(self._bins.first))
        if count > len(self._worth):
            self._worth = taller(self._worth, len(self._bins.first))
        known, self._known = self._known, count
        for number in range(1, len(self._rules)):
            self._admit(number, known, count)

    def _admit(self, number: int, since: int, count: int) -> None:
        rules = self._rules[number]
        if rules is not None:
            mask = rules.selected() & rules.tolerated()
            self._admitted[since:count, number] = mask[since:count]

    def _count_opened(self) -> None:
        """Takes in bins that came, went or moved."""
        for number in self._opened:
            host = self._counted.pop(number, None)
            if host is not None:
                self._there[host, : len(self._rules)] -= self._admitted[number, : len(self._rules)]
            if self._bins.open[number]:
                host = self._counted[number] = int(self._bins.host[number])
                self._there[host, : len(self._rules)] += self._admitted[number, : len(self._rules)]
        self._opened.clear()
        self._ask()

    def _ask(self) -> None:
        """Which rules are asked; the groups of those that come or go are worked out anew."""
        there = self._there[:, : len(self._rules)]
        bound = np.count_nonzero(there[:-1], axis=0) > self._lost
        bound |= there[-1] > 0
        bound[FREE] = False
        flipped = np.flatnonzero(bound != self.bound)
        self.bound = bound
        if len(flipped):
            self.asked += 1
            done = np.arange(self._worked_out)
            stale = done[np.isin(self._rule_of[: self._worked_out], flipped)]
            if len(stale):
                self._work_out_groups(stale)
                self._changed_hosts.update(range(len(self._sums)))

    def _work_out_groups(self, groups: Ints) -> None:
        count, hosts = self._bins.count, len(self._sums)
        worth = self._worth_of(np.arange(count), groups)
        self._worth[:count, groups] = worth
        home = self._bins.host[:count] + 1
        for column, group in enumerate(groups.tolist()):
            sums = np.bincount(home, weights=worth[:, column], minlength=hosts + 1)
            self._loose[group] = sums[0]
            self._of_host[:, group] = sums[1:]

    def _worth_of(self, bins: Ints, groups: Ints) -> Floats:
        first = self._bins.first[bins, None].astype(np.float64)
        second = self._bins.second[bins, None].astype(np.float64)
        high, low, other = self._high[groups], self._low[groups], self._second[groups]
        rules = self._rule_of[groups]
        fits: Bools = (first >= high) & (second >= other) & self._bins.open[bins, None]
        fits &= self._admitted[bins[:, None], rules] | ~self.bound[rules]
        by_first = np.where(high > 0, self._price * np.maximum(first - high, low), _NEVER)
        by_second = np.where(
            other > 0, self._second_price * (second - other) + self._price * low, _NEVER
        )
        return np.where(fits, np.minimum(by_first, by_second), 0.0)

    def _add_up(self, host: int, groups: int) -> None:
        bins = np.array(sorted(self._set(host)), np.int64)
        sums = self._worth[bins, :groups].sum(axis=0)
        if host < 0:
            self._loose[:groups] = sums
        else:
            self._of_host[host, :groups] = sums

    def _sort(self) -> None:
        high = self._high[: len(self._groups)]
        self._order = np.argsort(-high, kind="stable")
        falling = -high[self._order]
        self._ends = np.searchsorted(falling, falling, side="right") - 1

    def _sum(self, host: int, groups: int) -> None:
        load = self._price * self._load[0][host, :groups]
        load += self._second_price * self._load[1][host, :groups]
        self._sums[host, self._order] = load[self._order].cumsum()[self._ends]
        self._sums[host, :groups] += self._of_host[host, :groups]


def larger(array: Any, size: int, fill: int = 0) -> Any:
    """The array with so many elements."""
    return np.concatenate([array, np.full(size - len(array), fill, array.dtype)])


def taller(array: Any, size: int) -> Any:
    """The table with so many rows."""
    more = np.zeros((size - len(array), array.shape[1]), array.dtype)
    return np.concatenate([array, more])


def wider(array: Any, size: int) -> Any:
    """The table with so many columns."""
    more = np.zeros((len(array), size - array.shape[1]), array.dtype)
    return np.concatenate([array, more], axis=1)


def _up(amount: int) -> int:
    step = 1 << max(0, amount.bit_length() - 4)
    return -(-amount // step) * step


def _down(amount: int) -> int:
    """The least amount that ``_up`` takes to where it takes this one."""
    step = 1 << max(0, amount.bit_length() - 4)
    return (-(-amount // step) - 1) * step + 1 if amount > 0 else 0
