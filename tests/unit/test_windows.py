"""Disruption windows, over midnight and over a change of the clocks."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from plimsoll.api.vmpool import Window
from plimsoll.decide.windows import is_open, next_opening

NIGHT = Window.model_validate(
    {"days": ["Sat"], "start": "22:00", "duration": "4h", "timeZone": "Europe/Berlin"}
)


def at(text: str, zone: str = "Europe/Berlin") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-28T21:59", False),
        ("2026-11-28T22:00", True),
        ("2026-11-29T01:59", True),  # Sunday, but it opened on Saturday
        ("2026-11-29T02:00", False),
        ("2026-11-27T23:00", False),
    ],
)
def test_a_window_opens_and_closes(moment: str, expected: bool) -> None:
    assert is_open((NIGHT,), at(moment)) is expected


def test_no_window_means_always() -> None:
    assert is_open((), at("2026-11-27T03:00"))


def test_an_unknown_time_zone_stays_closed() -> None:
    nowhere = NIGHT.model_copy(update={"time_zone": "Atlantis/Capital"})
    assert not is_open((nowhere,), at("2026-11-28T23:00"))
    assert next_opening((nowhere,), at("2026-11-28T23:00")) is None


def test_the_start_is_local_time_on_both_sides_of_a_clock_change() -> None:
    daily = NIGHT.model_copy(update={"days": ()})
    # Clocks go back in the night to 25 October 2026.
    assert next_opening((daily,), at("2026-10-25T12:00")) == at("2026-10-25T22:00")
    assert next_opening((daily,), at("2026-10-24T12:00")) == at("2026-10-24T22:00")


def test_a_window_longer_than_a_week_is_always_open() -> None:
    long = NIGHT.model_copy(update={"duration": 8 * 86400.0})
    assert is_open((long,), at("2026-11-25T12:00"))
