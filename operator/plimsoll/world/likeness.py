"""Finds again what was worked out for a pod, for pods that consist of the same parts in memory.

Whether parts are the same is asked of their identities, which costs a fraction of comparing
them. Equal parts may be different objects all the same; then nothing is found, and no harm is
done (``podreader`` sees to it that it is rare).
"""

from __future__ import annotations

from operator import is_not
from typing import Final, Generic, TypeVar

import msgspec

from plimsoll.world.wire import PodSpec

V = TypeVar("V")

_NODE: Final = [field.name for field in msgspec.structs.fields(PodSpec)].index("node_name")
_MOST: Final = 10_000
_MOST_OF_KIND: Final = 16


class Alike(Generic[V]):
    """Values by the parts of a pod."""

    def __init__(self) -> None:
        # By identity of the containers, which the parts in the value keep from being reused.
        self._kinds: dict[int, list[tuple[tuple[object, ...], V]]] = {}

    def find(self, spec: PodSpec, *others: object) -> V | None:
        """What was kept for a spec that is the same but for its node, and the same others."""
        kind = self._kinds.get(id(spec.containers))
        if kind is not None:
            parts = _parts(spec, others)
            for known, value in kind:
                if not any(map(is_not, known, parts)):
                    return value
        return None

    def keep(self, value: V, spec: PodSpec, *others: object) -> None:
        """Keeps the value, which is not None, for such pods. Always give as many others."""
        if len(self._kinds) >= _MOST:
            self._kinds.clear()
        kind = self._kinds.setdefault(id(spec.containers), [])
        if len(kind) >= _MOST_OF_KIND:
            kind.clear()
        kind.append((_parts(spec, others), value))

    def clear(self) -> None:
        """Forgets everything."""
        self._kinds.clear()


def _parts(spec: PodSpec, others: tuple[object, ...]) -> tuple[object, ...]:
    parts = msgspec.structs.astuple(spec)
    return (*parts[:_NODE], *parts[_NODE + 1 :], *others)
