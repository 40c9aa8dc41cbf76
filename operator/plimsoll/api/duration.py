"""Durations as Go and Kubernetes write them: ``90s``, ``10m``, ``1h30m``."""

from __future__ import annotations

import re

PATTERN = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class DurationError(ValueError):
    """A text is no duration."""


def parse_duration(value: object) -> float:
    """Seconds of a duration text.

    Raises:
        DurationError: the text is not a sequence of numbers with units ms, s, m or h.
    """
    if isinstance(value, str) and re.fullmatch(PATTERN, value):
        return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))
    if value == "0":
        return 0.0
    raise DurationError(
        f"{value!r} is not a duration: write numbers with units, such as 90s, 10m or 1h30m"
    )


def format_duration(seconds: float) -> str:
    """The text of so many seconds, to the millisecond: ``1h30m``, ``90ms``, ``0s``."""
    milli = round(seconds * 1000)
    parts = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milli = divmod(milli, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
