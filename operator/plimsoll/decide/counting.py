"""Pods by topology domain, as affinity, anti-affinity and topology spread count them.

What rules ask of all VMs is kept as arrays over slots. Where one VM is one domain, as with
host names, a pod changes them in one place, and nothing is worked out anew.
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
        if self._none is not None:
            none = self.counts.item(code) == 0
            if slot >= len(self._none):
                self._none = None
            elif self._none.item(slot) != none:
                if self.column.unique:
                    self._none[slot] = none
                else:
                    self._none = None

    def truncate(self, count: int) -> None:
        """Forgets the slots from ``count`` on."""
        if self._none is not None and len(self._none) > count:
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
        known, count = self._none, len(self.column.codes)
        if known is None or len(known) != count:
            self.cover()
            since = 0 if known is None else len(known)
            more = (self.counts == 0).take(self.column.codes[since:])
            self._none = known = more if known is None else np.concatenate([known, more])
        return known

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
        if not self.eligible().item(slot):
            return
        before = self.total
        super().add(slot, number)
        if self.total != before and self._version == self._columns.open_version:
            self._patch(slot, number)

    def carry(self, slot: int, number: int) -> None:
        """So many more pods on a VM that have this constraint."""
        self.carriers.add(slot, number)
        if self._broken is not None and slot < len(self._broken):
            self._patch_broken(slot)

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
        self._forget()

    def arrange(self) -> None:
        super().arrange()
        self.carriers.arrange()
        self._eligible = np.zeros(0, np.bool_)
        self._open = None
        self._forget()

    def domains(self) -> tuple[Bools, Ints, bool]:
        """Which domains have an eligible node, their codes, and whether all domains have."""
        version = self._columns.open_version
        if self._open is None or self._open[0] != version:
            self.cover()
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
            self._forget()
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
            self.carriers.cover()
            size = self.column.size
            table = self.counts[:size] == self.max_skew + least
            table &= self.carriers.counts[:size] > 0
            self._broken = self.column.select(table)
            self._broken &= self.eligible()
        return self._broken

    def would_break_new(self, labels: Mapping[str, str]) -> bool:
        """As ``would_break``, for an eligible VM that is only tried out."""
        if not self.carriers.in_domain(labels):
            return False
        return self.in_domain(labels) == self.max_skew + self.least()

    def uneven(self, slots: Ints) -> Bools:
        """Which of these slots are in a domain that holds too many."""
        return self.at_slots(slots) - self.least() > self.max_skew

    def _patch(self, slot: int, number: int) -> None:
        """Brings what is kept up to date for pods that one eligible VM has got or lost."""
        if number < 0:
            self._forget()
            return
        count = self.counts.item(self.column.codes.item(slot))
        if count - number == self._least:
            self._emptiest -= 1
            if not self._emptiest:
                self._forget()
                return
        unique, bound = self.column.unique, self.max_skew + self._least
        for own, mask in list(self._allowed.items()):
            value = own <= self.max_skew and count <= bound - own
            if mask.item(slot) != value:
                if unique:
                    mask[slot] = value
                else:
                    del self._allowed[own]
        if self._broken is not None:
            self._patch_broken(slot)

    def _patch_broken(self, slot: int) -> None:
        assert self._broken is not None
        code = self.column.codes.item(slot)
        value = (
            self.counts.item(code) == self.max_skew + self._least
            and self.carriers.counts.item(code) > 0
        )
        if self.column.unique:
            self._broken[slot] = value and self._eligible.item(slot)
        elif not self._eligible.item(slot) or self._broken.item(slot) != value:
            self._broken = None

    def _forget(self) -> None:
        self._version = -1
        self._allowed.clear()
        self._broken = None
