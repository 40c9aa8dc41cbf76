"""Workloads whose replica count belongs to somebody else, for a while."""

from __future__ import annotations

from typing import NamedTuple


class _Found(NamedTuple):
    text: str
    until: float


class Conflicts:
    """Remembers a conflict, and lets it be tried again now and then.

    Whoever owns the field may give it up without any trace that a watch shows,
    so only another try can tell.
    """

    def __init__(self, retry: float) -> None:
        self._retry = retry
        self._found: dict[str, _Found] = {}

    def found(self, workload: str, text: str, now: float) -> None:
        """A write for this workload (``namespace/name``) met another owner."""
        self._found[workload] = _Found(text, now + self._retry)

    def texts(self, now: float) -> dict[str, str]:
        """By workload key: the conflicts that are not to be tried again yet."""
        self._found = {key: found for key, found in self._found.items() if now < found.until}
        return {key: found.text for key, found in self._found.items()}

    def times(self) -> list[float]:
        """When there will be something to try again, in seconds since the epoch."""
        return [found.until for found in self._found.values()]
