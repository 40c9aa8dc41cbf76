"""What became of a move."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from plimsoll.decide.plan import Move, Reason
from plimsoll.resources import Resource


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


class Written(NamedTuple):
    """One write of ours, to be waited for before the next decision."""

    resource: Resource
    name: str
    namespace: str | None
    resource_version: str

    @classmethod
    def of(cls, resource: Resource, obj: Mapping[str, Any]) -> Written:
        """The write that an answer of the API server confirms."""
        meta = obj["metadata"]
        return cls(resource, meta["name"], meta.get("namespace"), meta["resourceVersion"])


class Result(NamedTuple):
    """A move and what became of it."""

    move: Move
    outcome: Outcome
    message: str = ""
    guard: Reason | None = None
    """Set when it was refused."""
    conflict: bool = False
    """It was refused because somebody else owns the field."""
    written: Written | None = None
