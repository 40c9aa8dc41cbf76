"""What became of a move."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from plimsoll.decide.plan import Move, Reason
from plimsoll.kube import Json


class Outcome(StrEnum):
    """How carrying out one move ended."""

    DONE = "Done"
    REFUSED = "Refused"
    """The last look before it said no: the world is not as it was decided on."""
    FAILED = "Failed"
    SKIPPED = "Skipped"
    """A move that it builds on was not made."""


class Refused(Exception):
    """A move must not be made now. Not an error: the next decision sees the new world."""

    def __init__(self, guard: Reason, message: str) -> None:
        super().__init__(message)
        self.guard = guard


class FieldConflict(Exception):
    """Somebody else owns the field; the text names the owner and says how to hand it over."""


class Result(NamedTuple):
    """A move and what became of it."""

    move: Move
    outcome: Outcome
    message: str = ""
    guard: Reason | None = None
    """Set when it was refused."""
    conflict: bool = False
    """It was refused because somebody else owns the field."""
    written: Json | None = None
    """What the API server answered: to be seen before the next decision."""
