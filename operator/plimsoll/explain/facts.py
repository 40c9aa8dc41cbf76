"""All that an explanation is told from."""

from __future__ import annotations

from typing import NamedTuple

from plimsoll.world.objects import Objects
from plimsoll.world.snapshot import Snapshot


class Facts(NamedTuple):
    """A cluster, or files, at one moment."""

    objects: Objects
    snapshot: Snapshot
    now: float
    notes: tuple[str, ...]
    """What a reader must know about them."""
