"""Times as Kubernetes writes them: RFC 3339, UTC, to the second."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(when: float) -> str:
    """The text of a time in seconds since the epoch."""
    return datetime.fromtimestamp(int(when), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_rfc3339(text: str) -> bool:
    """Whether the text is a time that ``parse_rfc3339`` can read."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def parse_rfc3339(text: str) -> float:
    """Seconds since the epoch.

    Raises:
        ValueError: the text is no RFC 3339 time with a zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no time zone: write it as 2026-01-31T12:00:00Z")
    return moment.timestamp()
