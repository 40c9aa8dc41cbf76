"""Arrays over VMs: what the filters ask of each VM, one column a question.

A VM has a *slot*, its index in every column. Within a plan slots are given in the order in
which VMs are opened and are never given twice; between plans VMs that come or go are taken
in by ``arrange``. So the order of slots is that of the snapshot, and equal worlds make equal
columns.
A column of labels holds a small number for each distinct value, so that a selector
is worked out once for each value, not for each VM.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

ABSENT: Final = 0
"""Code of VMs that have no value in a column of values."""
NO_LIMIT: Final = 2**62
UNLIMITED_PREFIX: Final = "attachable-volumes-"
"""A node that does not name such a resource has no limit of it (nodevolumelimits)."""


class Values:
    """A column of values such as a label's: a code for each VM, ``ABSENT`` for none."""

    def __init__(self, columns: Columns, get: Callable[[int], Hashable | None]) -> None:
        self._columns = columns
        self._get = get
        self.values: list[Any] = [None]
        """By code."""
        self.size = 1
        """Number of codes, that of ``ABSENT`` included."""
        self._codes: dict[Hashable, int] = {}
        self._all: Ints = np.zeros(columns.capacity, np.int64)
        self.codes: Ints = self._all[:0]
        self._tables: dict[Hashable, tuple[int, Bools]] = {}
        self.extend()

    def code(self, value: Hashable) -> int:
        """The code of a value; a new one gets the next."""
        code = self._codes.get(value)
        if code is None:
            code = self._codes[value] = self.size
            self.values.append(value)
            self.size += 1
        return code

    def known(self, value: Hashable) -> int:
        """The code of a value; ``ABSENT`` where no VM has it."""
        return self._codes.get(value, ABSENT)

    def extend(self) -> None:
        """Takes in the VMs opened since."""
        count = self._columns.count
        if len(self._all) < count:
            self._all = _grown(self._all, self._columns.capacity)
        for slot in range(len(self.codes), count):
            self._set(slot)
        self.codes = self._all[:count]

    def arrange(self, places: Ints, fresh: list[int]) -> None:
        """As ``Columns.arrange``; ``fresh`` are the slots of VMs that are new."""
        count = len(places)
        if len(self._all) < count:
            self._all = _grown(self._all, self._columns.capacity)
        self._all[:count] = self._all[places]
        for slot in fresh:
            self._set(slot)
        self.codes = self._all[:count]

    def _set(self, slot: int) -> None:
        value = self._get(slot)
        self._all[slot] = ABSENT if value is None else self.code(value)

    def truncate(self, count: int) -> None:
        """Forgets the slots from ``count`` on; values once seen keep their codes."""
        self.codes = self._all[:count]

    def select(self, table: Bools) -> Bools:
        """By slot: what a table by code says of the VM's value."""
        return table.take(self.codes)

    def where(self, key: Hashable, test: Callable[[Any], bool], since: int = 0) -> Bools:
        """VMs from slot ``since`` on whose value passes a test (None: it has no value).

        ``key`` names the test, so that its answers are kept.
        """
        known, table = self._tables.get(key, (0, np.zeros(0, np.bool_)))
        if known < len(self.values):
            more = [test(value) for value in self.values[known:]]
            table = np.concatenate([table, np.array(more, np.bool_)])
            self._tables[key] = (len(self.values), table)
        return table.take(self.codes[since:])


class Columns:
    """All columns over the VMs of a fleet. Amounts in millicores and bytes."""

    _INTS: Final = (
        "cpu",
        "memory",
        "cpu_used",
        "memory_used",
        "pods",
        "cpu_left",
        "memory_left",
        "pods_left",
    )

    def __init__(
        self,
        capacity: int,
        labels_of: Callable[[int], Mapping[str, str]],
        left_of: Callable[[int, str], int],
    ) -> None:
        self.capacity = max(64, capacity)
        self.count = 0
        """Slots in use."""
        self.takes_version = 0
        """Grows when ``takes`` or ``is_open`` changes."""
        self.open_version = 0
        """Grows when VMs come or go."""
        self._labels_of = labels_of
        self._left_of = left_of
        self._store: dict[str, npt.NDArray[Any]] = {
            **{name: np.zeros(self.capacity, np.int64) for name in self._INTS},
            "takes": np.zeros(self.capacity, np.bool_),
            "is_open": np.zeros(self.capacity, np.bool_),
            "is_new": np.zeros(self.capacity, np.bool_),
        }
        self.cpu: Ints
        """Size of the VM."""
        self.memory: Ints
        self.cpu_used: Ints
        """Requests of everything on it."""
        self.memory_used: Ints
        self.pods: Ints
        self.cpu_left: Ints
        """Requests that still go under the load line; negative above it."""
        self.memory_left: Ints
        self.pods_left: Ints
        self.takes: Bools
        """Takes new pods."""
        self.is_open: Bools
        """Is among the fleet's VMs now."""
        self.is_new: Bools
        """Is to be launched."""
        self._extended: dict[str, Ints] = {}
        self.has_extended = False
        """Whether any extended resource is asked for."""
        self.labels: dict[str, Values] = {}
        self._others: list[Values] = []
        self._view()

    def label(self, key: str) -> Values:
        """The column of a label."""
        column = self.labels.get(key)
        if column is None:
            labels_of = self._labels_of
            column = self.labels[key] = Values(self, lambda slot: labels_of(slot).get(key))
        return column

    def values(self, get: Callable[[int], Hashable | None]) -> Values:
        """A further column of values."""
        column = Values(self, get)
        self._others.append(column)
        return column

    def extended(self, name: str) -> Ints:
        """What is left of an extended resource."""
        column = self._extended.get(name)
        if column is None:
            column = np.zeros(self.capacity, np.int64)
            for slot in range(self.count):
                column[slot] = self._left_of(slot, name)
            self._extended[name] = column
            self.has_extended = True
        return column[: self.count]

    def reset_extended(self, slot: int) -> None:
        """Brings the columns of extended resources up to date for one VM."""
        for name, column in self._extended.items():
            column[slot] = self._left_of(slot, name)

    def open(self) -> int:
        """A new slot; answers it. The caller sets what is in it."""
        slot = self.count
        if slot == self.capacity:
            self._grow()
        self.count += 1
        self._view()
        return slot

    def truncate(self, count: int) -> None:
        """Forgets the slots from ``count`` on."""
        self.count = count
        for array in self._store.values():
            array[count:] = 0
        self.takes_version += 1
        self.open_version += 1
        self._view()
        for column in (*self.labels.values(), *self._others):
            column.truncate(count)

    def arrange(self, places: Ints) -> None:
        """Gives all VMs other slots: by new slot the one it had, or -1 for a VM that is new.

        The caller sets what is in those that are new. Whoever is not named is forgotten.
        """
        self.count = count = len(places)
        fresh = np.flatnonzero(places < 0)
        while count > self.capacity:
            self._grow()
        for array in (*self._store.values(), *self._extended.values()):
            array[:count] = array[places]
            array[fresh] = 0
            array[count:] = 0
        self.takes_version += 1
        self.open_version += 1
        self._view()
        for column in (*self.labels.values(), *self._others):
            column.arrange(places, fresh.tolist())

    def extend_values(self) -> None:
        """Takes newly opened VMs into the columns of values."""
        for column in self.labels.values():
            column.extend()
        for column in self._others:
            column.extend()

    def _grow(self) -> None:
        self.capacity *= 2
        self._store = {name: _grown(a, self.capacity) for name, a in self._store.items()}
        self._extended = {name: _grown(a, self.capacity) for name, a in self._extended.items()}

    def _view(self) -> None:
        for name, array in self._store.items():
            setattr(self, name, array[: self.count])


def _grown(array: Any, capacity: int) -> Any:
    larger = np.zeros(capacity, array.dtype)
    larger[: len(array)] = array
    return larger
