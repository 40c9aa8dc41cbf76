"""Durations as the Gateway API defines them (GEP-2257): ``90s``, ``10m``, ``1h30m``.

Every such text is also a Go duration, and none is long enough to overflow one.
"""

from __future__ import annotations

import re

PATTERN = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
_DURATION = re.compile(PATTERN)
_PART = re.compile(r"([0-9]+)(ms|[hms])")
_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


class DurationError(ValueError):
    """A text is no duration."""


def parse_duration(value: object) -> float:
    """Seconds of a duration text.

    Raises:
        DurationError: the text is not one to four whole numbers with units h, m, s or ms.
    """
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise DurationError(
            f"{value!r} is not a duration: write whole numbers with units, such as 90s, 10m or "
            "1h30m"
        )
    return sum(int(number) * _MILLISECONDS[unit] for number, unit in _PART.findall(value)) / 1000


def format_duration(seconds: float) -> str:
    """The text of so many seconds, to the millisecond: ``1h30m``, ``90ms``, ``0s``."""
    milli = round(seconds * 1000)
    parts = []
    for unit, size in _MILLISECONDS.items():
        count, milli = divmod(milli, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
