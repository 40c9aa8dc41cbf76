"""Moves in an explanation."""

from __future__ import annotations

from collections.abc import Iterator

from plimsoll.decide.plan import Move
from plimsoll.offline.text import change


def move_lines(move: Move) -> Iterator[str]:
    """A move, what it was preferred to, and why it waits."""
    text = f" ({change(move)})" if change(move) else ""
    yield f"  {move.kind} {move.subject}{text}: {move.reason}"
    for rejected in move.rejected:
        yield f"    rather than {rejected}"
    if move.deferred:
        yield f"    waits: {move.deferred}"
