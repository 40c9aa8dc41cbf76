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
        if same(before, objects):
            return Changes()
        if len(before) == len(objects):
            # Most often objects have been replaced where they stood.
            places = list(compress(count(), map(is_not, before, objects)))
            if len(places) * _FEW <= len(objects):
                before = tuple(before[place] for place in places)
                objects = tuple(objects[place] for place in places)
        known, now = set(map(id, before)), set(map(id, objects))
        return Changes(_those(before, known - now), _those(objects, now - known))


def _those(objects: Sequence[T], ids: set[int]) -> Sequence[T]:
    return list(compress(objects, map(ids.__contains__, map(id, objects)))) if ids else ()


def same(one: Sequence[object], other: Sequence[object]) -> bool:
    """Whether two sequences hold the same objects."""
    return one is other or (len(one) == len(other) and not any(map(is_not, one, other)))
