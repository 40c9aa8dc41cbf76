"""Pods by topology domain, as affinity, anti-affinity and topology spread count them.

What rules ask is answered for one VM from the counts, and for all VMs as an array over slots
that is kept until a count changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from plimsoll.decide.columns import ABSENT, Bools, Columns, Ints, Values
from plimsoll.world.wire import TopologySpreadConstraint


class Counter:
    """Pods by domain of one topology key."""

    def __init__(self, column: Values, key: str) -> None:
        self.column = column
        self.key = key
        """The topology key."""
        self.counts: Ints = np.zeros(max(8, column.size), np.int64)
        """By the column's code; none are without a domain."""
        self.users: list[Any] = []
        """Rules of pods that must be near, or evenly spread among, those that it counts."""
        self.total = 0
        self._none: Bools | None = None

    def add(self, slot: int, number: int) -> None:
        """So many more pods on a VM; one without the label is in no domain."""
        code = self.column.codes.item(slot)
        if code == ABSENT:
            return
        if code >= len(self.counts):
            self.cover()
        self.counts[code] += number
        self.total += number
        self._none = None

    def at(self, slot: int) -> int:
        """Pods in the domain of one VM; 0 if it is in none."""
        code = self.column.codes.item(slot)
        return self.counts.item(code) if code < len(self.counts) else 0

    def truncate(self, count: int) -> None:
        """Forgets the slots from ``count`` on."""
        self._none = None

    def arrange(self) -> None:
        """All VMs got other slots."""
        self._none = None

    def cover(self) -> None:
        """Makes room for domains seen since."""
        if len(self.counts) < self.column.size:
            more = np.zeros(2 * self.column.size, np.int64)
            more[: len(self.counts)] = self.counts
            self.counts = more

    def at_slots(self, slots: Ints | None = None) -> Ints:
        """Pods in the domain of each VM, or of these; 0 for VMs without one."""
        self.cover()
        codes = self.column.codes
        return self.counts.take(codes if slots is None else codes[slots])

    def none(self) -> Bools:
        """By slot: whether there are none of them in the VM's domain."""
        if self._none is None or len(self._none) != len(self.column.codes):
            self.cover()
            self._none = (self.counts == 0).take(self.column.codes)
        return self._none

    def in_domain(self, labels: Mapping[str, str]) -> int | None:
        """Pods in the domain of a VM with these labels; None: it is in none."""
        value = labels.get(self.key)
        if value is None:
            return None
        code = self.column.known(value)
        return int(self.counts[code]) if ABSENT < code < len(self.counts) else 0


class Spread(Counter):
    """Pods by domain as one topology spread constraint counts them.

    A domain counts if one of its nodes is eligible: it has every topology key of the
    pod's constraints and passes the policies (Honor: node affinity and selector; taints
    only where asked). So do the pods: those on other nodes do not.
    """

    def __init__(
        self,
        column: Values,
        columns: Columns,
        constraint: TopologySpreadConstraint,
        eligible: Callable[[int], Bools],
    ) -> None:
        super().__init__(column, constraint.topology_key)
        self.max_skew = constraint.max_skew
        self.min_domains = constraint.min_domains or 0
        self.carriers = Counter(column, constraint.topology_key)
        """Placed pods that have this constraint; ``carry`` adds to them."""
        self._columns = columns
        self._eligible_since = eligible
        self._eligible: Bools = np.zeros(0, np.bool_)
        self._open: tuple[int, Bools, Ints, bool] | None = None
        # What follows holds until VMs come or go, or the emptiest domain is another.
        self._version = -1
        self._least = 0
        self._emptiest = 0
        """Domains with no more pods than the emptiest one."""
        self._allowed: dict[int, Bools] = {}
        self._broken: Bools | None = None

    def add(self, slot: int, number: int) -> None:
        eligible = self._eligible if slot < len(self._eligible) else self.eligible()
        if not eligible.item(slot):
            return
        code = self.column.codes.item(slot)
        if code >= len(self.counts):
            self.cover()
        before = self.counts.item(code)
        self.counts[code] = before + number
        self.total += number
        self._none = self._broken = None
        self._allowed.clear()
        if number < 0:
            self._version = -1
        elif before == self._least:
            self._emptiest -= 1
            if not self._emptiest:
                self._version = -1

    def carry(self, slot: int, number: int) -> None:
        """So many more pods on a VM that have this constraint."""
        self.carriers.add(slot, number)
        self._broken = None

    def eligible(self) -> Bools:
        """By slot: whether the node is counted. VMs that are gone are told by ``domains``."""
        known = len(self._eligible)
        if known < self._columns.count:
            self._eligible = np.concatenate([self._eligible, self._eligible_since(known)])
        return self._eligible

    def truncate(self, count: int) -> None:
        super().truncate(count)
        self.carriers.truncate(count)
        self._eligible = self._eligible[:count]
        self._version = -1

    def arrange(self) -> None:
        super().arrange()
        self.carriers.arrange()
        self._eligible = np.zeros(0, np.bool_)
        self._open = None
        self._version = -1

    def domains(self) -> tuple[Bools, Ints, bool]:
        """Which domains have an eligible node, their codes, and whether all domains have."""
        version = self._columns.open_version
        if self._open is None or self._open[0] != version:
            self.cover()
            self.carriers.cover()
            labelled = self.column.codes[self._columns.is_open & (self.column.codes != ABSENT)]
            there = self.column.codes[self.eligible() & self._columns.is_open]
            exists = np.zeros(len(self.counts), np.bool_)
            exists[there] = True
            exists[ABSENT] = False
            every = bool(self._eligible.all()) or bool(exists[labelled].all())
            self._open = (version, exists, np.flatnonzero(exists), every)
        return self._open[1:]

    def least(self) -> int:
        """Pods in the emptiest domain.

        With fewer than ``minDomains`` domains the global minimum counts as 0.
        """
        if self._version != self._columns.open_version:
            self._broken = None
            self._allowed.clear()
            _, codes, _ = self.domains()
            counts = self.counts[codes]
            few = not len(codes) or len(codes) < self.min_domains
            self._least = 0 if few else int(counts.min())
            self._emptiest = len(codes) if few else int(np.count_nonzero(counts == self._least))
            self._version = self._columns.open_version
        return self._least

    def allowed(self, own: int) -> Bools:
        """By slot: whether one more pod may go there; ``own``: 1 if it counts itself."""
        least = self.least()
        mask = self._allowed.get(own)
        if mask is None:
            exists, _, every = self.domains()
            size = self.column.size
            table = self.counts[:size] <= self.max_skew + least - own
            if not every:
                # A domain in which no node counts has no pods that count; none has fewer.
                table |= ~exists[:size]
            if own > self.max_skew:
                table[:] = False
            table[ABSENT] = False
            mask = self._allowed[own] = self.column.select(table)
        return mask

    def allowed_at(self, slot: int, own: int) -> bool:
        """As ``allowed``, of one VM."""
        code = self.column.codes.item(slot)
        if code == ABSENT or own > self.max_skew:
            return False
        # Asked for every VM that is looked at: a call less where nothing has changed.
        least = self._least if self._version == self._columns.open_version else self.least()
        if self.counts.item(code) <= self.max_skew + least - own:
            return True
        exists, _, every = self.domains()
        return not (every or exists.item(code))

    def allowed_new(self, labels: Mapping[str, str], own: int) -> bool:
        """As ``allowed``, for an eligible VM that is only tried out.

        It may be the first of its domain, which then is the emptiest.
        """
        value = labels.get(self.key)
        if value is None:
            return False
        exists, _, _ = self.domains()
        code = self.column.known(value)
        if code != ABSENT and code < len(exists) and exists[code]:
            return int(self.counts[code]) + own - self.least() <= self.max_skew
        return own <= self.max_skew

    def would_break(self) -> Bools:
        """By slot: whether one more counted pod would leave pods there uneven that are even."""
        least = self.least()
        if self._broken is None:
            size = self.column.size
            table = self.counts[:size] == self.max_skew + least
            table &= self.carriers.counts[:size] > 0
            self._broken = self.column.select(table)
            self._broken &= self.eligible()
        return self._broken

    def would_break_at(self, slot: int) -> bool:
        """As ``would_break``, of one VM."""
        least = self._least if self._version == self._columns.open_version else self.least()
        code = self.column.codes.item(slot)
        return (
            self.counts.item(code) == self.max_skew + least
            and self.carriers.counts.item(code) > 0
            and self._eligible.item(slot)
        )

    def would_break_new(self, labels: Mapping[str, str]) -> bool:
        """As ``would_break``, for an eligible VM that is only tried out."""
        if not self.carriers.in_domain(labels):
            return False
        return self.in_domain(labels) == self.max_skew + self.least()

    def uneven(self, slots: Ints) -> Bools:
        """Which of these slots are in a domain that holds too many."""
        return self.at_slots(slots) - self.least() > self.max_skew
