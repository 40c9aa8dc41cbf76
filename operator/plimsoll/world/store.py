"""What a reflector knows of one resource: the objects, and how recent that knowledge is.

Pure: lists, events and bookmarks go in, in whatever order and however often the
network delivers them; the newest state of each object comes out. Versions are
``resourceVersion`` as a number, comparable within one resource.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

import msgspec

log = logging.getLogger(__name__)

T = TypeVar("T")


class Key(NamedTuple):
    """Names one object of a resource; the namespace of a cluster-scoped one is empty."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Item(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """One object as it was received."""

    key: Key
    uid: str
    version: int
    value: T | None
    """None: it could not be understood."""
    problem: str = ""
    """Why it could not be understood."""


Listener = Callable[[Key, T | None, T | None], None]
"""Called with (key, old, new): old None for a new object, new None for one that is gone."""


class Store(Generic[T]):
    """The objects of one resource by key.

    Of an object that can no longer be understood the last good value stays, so
    that a broken update never looks like a deletion; ``problems`` says so.
    """

    def __init__(self) -> None:
        self._items: dict[Key, Item[T]] = {}
        self._values: dict[Key, T] = {}
        self._all: tuple[T, ...] | None = None
        self._problems: dict[Key, str] = {}
        self._gone: dict[Key, int] = {}
        self._floor = 0
        self._listeners: list[Listener[T]] = []

    def on_change(self, listener: Listener[T]) -> None:
        """Calls ``listener`` after every change. A re-created object is first gone, then new."""
        self._listeners.append(listener)

    def get(self, namespace: str, name: str) -> T | None:
        """The object, or None."""
        return self._values.get(Key(namespace, name))

    def values(self) -> tuple[T, ...]:
        """All objects that were understood; the same tuple as long as nothing changes."""
        if self._all is None:
            self._all = tuple(self._values.values())
        return self._all

    def __len__(self) -> int:
        return len(self._items)

    @property
    def problems(self) -> dict[Key, str]:
        """The objects that cannot be understood, and why."""
        return dict(self._problems)

    def has_seen(self, key: Key, version: int) -> bool:
        """Whether this version of the object, or what came after it, has been taken in."""
        if self._floor >= version or self._gone.get(key, -1) >= version:
            return True
        item = self._items.get(key)
        return item is not None and item.version >= version

    def replace(self, items: Iterable[Item[T]], version: int) -> None:
        """Takes in a complete list of that version: whatever is not in it is gone."""
        before, self._items, self._gone = self._items, {}, {}
        self._floor = version
        for item in items:
            self._items[item.key] = _keep_good(before.get(item.key), item)
        self._values = {k: i.value for k, i in self._items.items() if i.value is not None}
        self._problems = {k: i.problem for k, i in self._items.items() if i.problem}
        self._all = None
        for key in before.keys() - self._items.keys():
            self._tell(key, before[key], None)
        for key, item in self._items.items():
            self._tell(key, before.get(key), item)

    def put(self, item: Item[T]) -> None:
        """Takes in an added or modified object, unless something newer is known."""
        if self._is_old(item):
            return
        before = self._items.get(item.key)
        after = self._items[item.key] = _keep_good(before, item)
        self._keep(item.key, after)
        self._gone.pop(item.key, None)
        self._tell(item.key, before, after)

    def remove(self, item: Item[T]) -> None:
        """Takes in a deletion, unless something newer is known."""
        if self._is_old(item):
            return
        # Remembered until the next bookmark: a late event must not bring it back.
        self._gone[item.key] = item.version
        before = self._items.pop(item.key, None)
        self._keep(item.key, None)
        if before is not None:
            self._tell(item.key, before, None)

    def bookmark(self, version: int) -> None:
        """Takes in that all events up to this version have been delivered."""
        self._floor = max(self._floor, version)
        self._gone = {key: gone for key, gone in self._gone.items() if gone > self._floor}

    def _keep(self, key: Key, item: Item[T] | None) -> None:
        if item is not None and item.value is not None:
            self._values[key] = item.value
        else:
            self._values.pop(key, None)
        if item is not None and item.problem:
            self._problems[key] = item.problem
        else:
            self._problems.pop(key, None)
        self._all = None

    def _is_old(self, item: Item[T]) -> bool:
        known = self._items.get(item.key)
        return item.version <= max(
            self._floor, self._gone.get(item.key, 0), known.version if known else 0
        )

    def _tell(self, key: Key, before: Item[T] | None, after: Item[T] | None) -> None:
        if before and after and before.uid != after.uid:
            self._tell(key, before, None)
            before = None
        old = before.value if before else None
        new = after.value if after else None
        if old is new or (before and after and before.version == after.version):
            return
        for listener in self._listeners:
            try:
                listener(key, old, new)
            except Exception:
                # One listener's mistake must not cost the others their news.
                log.exception("listener failed for %s", key)


def _keep_good(before: Item[T] | None, item: Item[T]) -> Item[T]:
    if item.value is None and before and before.uid == item.uid:
        return Item(item.key, item.uid, item.version, before.value, item.problem)
    return item
