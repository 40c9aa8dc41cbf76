"""Disruption windows: weekly times in which containers may be moved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from plimsoll.api.vmpool import Window

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def _openings(window: Window, now: datetime) -> list[datetime]:
    zone = ZoneInfo(window.time_zone)
    local = now.astimezone(zone)
    hour, minute = map(int, window.start.split(":"))
    reach = int(window.duration // 86400) + 1
    times = []
    for offset in range(-reach, 9):
        day = local.date() + timedelta(days=offset)
        if not window.days or _DAYS[day.weekday()] in window.days:
            start = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
            times.append(start.astimezone(UTC))
    return times


def is_open(windows: tuple[Window, ...], now: float) -> bool:
    """Whether voluntary disruption is allowed now. No window at all: always.

    A window of an unknown time zone is closed: what cannot be read forbids.
    """
    if not windows:
        return True
    moment = datetime.fromtimestamp(now, UTC)
    for window in windows:
        try:
            starts = _openings(window, moment)
        except ZoneInfoNotFoundError:
            continue
        if any(s <= moment < s + timedelta(seconds=window.duration) for s in starts):
            return True
    return False


def next_opening(windows: tuple[Window, ...], now: float) -> float | None:
    """When the next window opens (seconds since the epoch); None if none ever does."""
    moment = datetime.fromtimestamp(now, UTC)
    starts: list[float] = []
    for window in windows:
        try:
            starts += [s.timestamp() for s in _openings(window, moment) if s > moment]
        except ZoneInfoNotFoundError:
            continue
    return min(starts, default=None)
