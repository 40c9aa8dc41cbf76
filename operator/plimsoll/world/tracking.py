"""Finds out what changed in a collection: stores replace an object whenever it changes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, count
from operator import is_not
from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")


_FEW: Final = 4
"""Up to a quarter replaced in their places, comparing place by place is quicker."""


class Changes(NamedTuple, Generic[T]):
    """What is in a collection no more, and what is in it now."""

    gone: Sequence[T] = ()
    new: Sequence[T] = ()

    def __bool__(self) -> bool:
        return bool(self.gone or self.new)


class Tracked(Generic[T]):
    """A collection of objects as it was last seen."""

    def __init__(self) -> None:
        self._objects: tuple[T, ...] = ()

    def see(self, objects: tuple[T, ...]) -> Changes[T]:
        """What changed since the last time. The objects' identities decide."""
        before, self._objects = self._objects, objects
        return changes(before, objects)


def changes(before: tuple[T, ...], now: tuple[T, ...]) -> Changes[T]:
    """What changed from one collection to the next. The objects' identities decide."""
    if same(before, now):
        return Changes()
    # Most often objects have been replaced where they stood, or a few have come or gone.
    start = _shared(before, now)
    before, now = before[start:], now[start:]
    end = _shared(before[::-1], now[::-1])
    before, now = before[: len(before) - end], now[: len(now) - end]
    if len(before) == len(now):
        places = list(compress(count(), map(is_not, before, now)))
        if len(places) * _FEW <= len(now):
            before = tuple(before[place] for place in places)
            now = tuple(now[place] for place in places)
    old, new = set(map(id, before)), set(map(id, now))
    return Changes(_those(before, old - new), _those(now, new - old))


def _shared(one: Sequence[object], other: Sequence[object]) -> int:
    """With how many of the same objects two sequences begin."""
    return next(compress(count(), map(is_not, one, other)), min(len(one), len(other)))


def _those(objects: Sequence[T], ids: set[int]) -> Sequence[T]:
    return list(compress(objects, map(ids.__contains__, map(id, objects)))) if ids else ()


def same(one: Sequence[object], other: Sequence[object]) -> bool:
    """Whether two sequences hold the same objects."""
    return one is other or (len(one) == len(other) and not any(map(is_not, one, other)))
