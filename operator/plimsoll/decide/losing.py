"""What becomes of what hosts hold once some of them are lost: first fit on the others.

Exact, but worked out only for those sets of lost hosts that the quick test of ``bounds``
does not prove; what was found for a set is kept as long as nothing that it rests on changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Final, NamedTuple

import numpy as np

from plimsoll.decide.bounds import Bins, Bounds, Item
from plimsoll.decide.columns import Bools, Ints

MOST_SETS: Final = 2000
"""Above so many sets of lost hosts, only those of the fullest hosts are tried."""


class Stuck(NamedTuple):
    """What finds no place if some hosts are lost."""

    hosts: tuple[str, ...]
    """The fullest first."""
    item: Item
    number: int
    """Of the items that are alike, the how manieth, from 0."""


class _Fitted(NamedTuple):
    """Everything down to a size found a place."""

    down_to: int
    """In the first resource."""
    used: frozenset[int]
    """Bins that took something."""
    last: int
    """No bin after it was looked at."""


class _Change(NamedTuple):
    host: int
    """Whose items changed; -1: of none."""
    bin: int
    """-1: none."""
    less: bool
    """The bin has no more room than before."""


class Losses:
    """Losing any so many of some hosts. Whoever changes what there is tells it."""

    def __init__(self, hosts: Sequence[str], lost: int, prices: tuple[float, float]) -> None:
        self.hosts = hosts
        self.numbers = {name: number for number, name in enumerate(hosts)}
        self._lost = lost
        self._weights = [0] * len(hosts)
        self._there = [0] * len(hosts)
        """Bins or items by which a host counts among those that may be lost."""
        self.bins = Bins()
        self._bounds = Bounds(self.bins, len(hosts), lost, prices)
        self._items: list[dict[Item, int]] = [{} for _ in hosts]
        self._fitted: dict[tuple[int, ...], tuple[int, _Fitted]] = {}
        """By set of hosts: how many changes were known then, and what was found."""
        self._asked = 0
        self._changes: list[_Change] = []
        self._stuck: tuple[int, ...] | None = None
        """The set that failed last: likely to fail again."""

    # ----- what there is

    def count(self, host: int, number: int, weight: int) -> None:
        """A host counts so much more among those that may be lost, and is so much fuller."""
        self._there[host] += number
        self._weights[host] += weight

    def set_bin(self, number: int, host: int, first: int, second: int, is_open: bool) -> None:
        """What a bin has to spare. ``host``: -1 if it is lost with none."""
        bins = self.bins
        if number >= bins.count:
            bins.cover(number + 1)
        was_open, before = bool(bins.open[number]), int(bins.host[number])
        first_before, second_before = int(bins.first[number]), int(bins.second[number])
        if (was_open, before, first_before, second_before) == (is_open, host, first, second):
            return
        bins.open[number], bins.host[number] = is_open, host
        bins.first[number], bins.second[number] = first, second
        moved = before not in (-1, host)
        self._bounds.touch(number, before, was_open != is_open or before != host)
        if moved:
            self._fitted.clear()
        less = not is_open or (was_open and first <= first_before and second <= second_before)
        self._note(_Change(-1, number, less))

    def truncate(self, count: int) -> None:
        """Forgets the bins from ``count`` on, all of them closed."""
        self._fitted.clear()
        self._bounds.truncate(count)

    def change(self, host: int, before: Mapping[Item, int], after: Mapping[Item, int]) -> None:
        """What was a part of what a host holds is another now."""
        items = self._items[host]
        for item in (*before, *(item for item in after if item not in before)):
            more = after.get(item, 0) - before.get(item, 0)
            if not more:
                continue
            number = items.get(item, 0) + more
            if number:
                items[item] = number
            else:
                del items[item]
            self._bounds.change(host, item, more)
        self._note(_Change(host, -1, less=False))

    def _note(self, change: _Change) -> None:
        if self._fitted:
            self._changes.append(change)
        else:
            self._changes.clear()

    # ----- the question

    def holds(self) -> bool:
        """Whether everything finds a place, whichever hosts are lost."""
        if self._quick():
            return True
        if self._stuck is not None and self._fails_again(self._stuck):
            return False
        return self._first_stuck() is None

    def stuck(self) -> Stuck | None:
        """The first set of hosts, fullest first, whose loss leaves something without a place."""
        return None if self._quick() else self._first_stuck()

    def _quick(self) -> bool:
        if self._bounds.full:
            self._bounds.round()
            for host, items in enumerate(self._items):
                for item, number in items.items():
                    self._bounds.change(host, item, number)
        return self._bounds.holds(self._size())

    def _first_stuck(self) -> Stuck | None:
        sets = np.array(list(self._sets()), np.int64).reshape(-1, self._size())
        for row, down_to in self._bounds.doubtful(sets):
            hosts = tuple(sets[row].tolist())
            stuck = self._try(hosts, down_to)
            if stuck is not None:
                self._stuck = hosts
                return stuck
        self._stuck = None
        return None

    def _fails_again(self, hosts: tuple[int, ...]) -> bool:
        if len(hosts) != self._size() or not set(hosts) <= set(self._fullest()):
            return False
        doubtful = self._bounds.doubtful(np.array([hosts], np.int64))
        return bool(doubtful) and self._try(hosts, doubtful[0][1]) is not None

    def _size(self) -> int:
        return min(self._lost, sum(number > 0 for number in self._there))

    def _sets(self) -> Iterator[tuple[int, ...]]:
        """Sets of hosts that are lost together, the fullest first."""
        return combinations(self._fullest(), self._size())

    def _fullest(self) -> list[int]:
        """The hosts, or as many of the fullest as there are not too many sets of."""
        falling = sorted(
            (host for host, number in enumerate(self._there) if number),
            key=lambda host: (-self._weights[host], host),
        )
        size = most = self._size()
        while most < len(falling) and comb(most + 1, size) <= MOST_SETS:
            most += 1
        return falling[:most]

    # ----- first fit

    def _try(self, hosts: tuple[int, ...], down_to: int) -> Stuck | None:
        if self._asked != self._bounds.asked:
            self._fitted.clear()
            self._asked = self._bounds.asked
        key = tuple(sorted(hosts))
        known = self._fitted.get(key)
        if known is not None and known[1].down_to <= down_to and self._still(hosts, *known):
            self._fitted[key] = (len(self._changes), known[1])
            return None
        found = self._fit(hosts, down_to)
        if isinstance(found, Stuck):
            self._fitted.pop(key, None)
            return found
        self._fitted[key] = (len(self._changes), found)
        return None

    def _still(self, hosts: tuple[int, ...], since: int, fitted: _Fitted) -> bool:
        """Whether first fit would do the very same again.

        A bin that took nothing took it not for lack of room: with less, or too little for
        the smallest item tried, it would not either. Bins beyond the last are not looked at.
        """
        bins = self.bins
        for change in self._changes[since:]:
            if change.host >= 0:
                if change.host in hosts:
                    return False
            elif int(bins.host[change.bin]) in hosts:
                continue
            elif change.bin in fitted.used or (
                change.bin < fitted.last
                and not change.less
                and bins.first[change.bin] >= fitted.down_to
            ):
                return False
        return True

    def _fit(self, hosts: tuple[int, ...], down_to: int) -> Stuck | _Fitted:
        bins, count = self.bins, self.bins.count
        # What is too small for the smallest item takes nothing.
        rest: Bools = bins.open[:count] & (bins.first[:count] >= down_to)
        for host in hosts:
            rest &= bins.host[:count] != host
        slots = np.flatnonzero(rest)
        room = _Room(bins.first[slots], bins.second[slots])
        masks: dict[int, Bools] = {}
        for item, number in self._homeless(hosts):
            if item.first < down_to:
                break
            rule, mask = self._bounds.rule(item.rules), None
            if rule:
                mask = masks.get(rule)
                if mask is None:
                    mask = masks[rule] = self._bounds.admitted(rule)[slots]
            placed = room.fill(item, number, mask)
            if placed < number:
                return Stuck(tuple(self.hosts[host] for host in hosts), item, placed)
        used = slots[sorted(room.used)].tolist()
        return _Fitted(down_to, frozenset(used), used[-1] if used else -1)

    def _homeless(self, hosts: tuple[int, ...]) -> list[tuple[Item, int]]:
        """What the hosts hold, in the order in which it is put elsewhere."""
        together: dict[Item, int] = {}
        for host in hosts:
            for item, number in self._items[host].items():
                together[item] = together.get(item, 0) + number
        return sorted(
            together.items(), key=lambda pair: (-pair[0].first, -pair[0].second, pair[0].tie)
        )


class _Room:
    """What bins have to spare, filled by first fit."""

    def __init__(self, first: Ints, second: Ints) -> None:
        self._first = first
        self._second = second
        self.used: set[int] = set()

    def fill(self, item: Item, number: int, mask: Bools | None) -> int:
        """Puts so many items into bins in the mask (None: all); answers how many found room."""
        first, second = self._first, self._second
        ok = first >= item.first
        ok &= second >= item.second
        if mask is not None:
            ok &= mask
        if number > _MANY:
            return self._fill_many(item, number, ok)
        left = number
        while left:
            bin_ = int(ok.argmax()) if len(ok) else 0
            if not len(ok) or not ok[bin_]:
                break
            took = left
            if item.first:
                took = min(took, int(first[bin_]) // item.first)
            if item.second:
                took = min(took, int(second[bin_]) // item.second)
            first[bin_] -= took * item.first
            second[bin_] -= took * item.second
            ok[bin_] = False
            self.used.add(bin_)
            left -= took
        return number - left

    def _fill_many(self, item: Item, number: int, ok: Bools) -> int:
        # Each bin that has room takes at least one.
        taking = np.flatnonzero(ok)[:number]
        most = np.full(len(taking), number, np.int64)
        if item.first:
            most = np.minimum(most, self._first[taking] // item.first)
        if item.second:
            most = np.minimum(most, self._second[taking] // item.second)
        up_to = most.cumsum()
        end = min(len(taking), int(np.searchsorted(up_to, number)) + 1)
        taking, took = taking[:end], most[:end]
        placed = int(up_to[end - 1]) if end else 0
        if placed > number:
            took[-1] -= placed - number
        self._first[taking] -= took * item.first
        self._second[taking] -= took * item.second
        self.used.update(taking.tolist())
        return min(placed, number)


_MANY: Final = 8
"""Above so many items of a kind, all bins are looked at together."""
