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
            # Most often an object has been replaced where it stood.
            places = list(compress(count(), map(is_not, before, objects)))
            if len(places) * _FEW <= len(objects):
                gone = {id(before[place]): before[place] for place in places}
                new = {id(objects[place]): objects[place] for place in places}
                return _changes(gone, new)
        return _changes(_by_id(before), _by_id(objects))


def _by_id(objects: Sequence[T]) -> dict[int, T]:
    return dict(zip(map(id, objects), objects, strict=True))


def _changes(before: dict[int, T], now: dict[int, T]) -> Changes[T]:
    return Changes(
        [value for key, value in before.items() if key not in now],
        [value for key, value in now.items() if key not in before],
    )


def same(one: Sequence[object], other: Sequence[object]) -> bool:
    """Whether two sequences hold the same objects."""
    return one is other or (len(one) == len(other) and not any(map(is_not, one, other)))
