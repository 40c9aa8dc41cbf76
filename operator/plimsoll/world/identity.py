"""Telling at once that two objects are alike: they consist of the same parts in memory."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Final

import msgspec

from plimsoll.world.wire import PodSpec

_PARTS: Final[Any] = attrgetter(
    *(f.name for f in msgspec.structs.fields(PodSpec) if f.name not in ("node_name", "volumes"))
)


def spec_identity(spec: PodSpec) -> tuple[int, ...]:
    """Identities of all parts of a spec but its node and its volumes.

    Specs of equal identity are equal but for these two, as long as one of them is kept alive.
    The contrary does not hold: equal parts may be different objects (see ``podreader``).
    """
    return tuple(map(id, _PARTS(spec)))
