"""Quantities and durations are read and written as Kubernetes does."""

from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.api.duration import DurationError, format_duration, parse_duration
from plimsoll.api.quantity import (
    LONGEST,
    MAX,
    QuantityError,
    format_bytes,
    format_milli,
    parse_bytes,
    parse_exact,
    parse_milli,
)

_AMOUNTS = st.integers(min_value=0, max_value=MAX)


@given(_AMOUNTS)
def test_milli_survives_the_round_trip(milli: int) -> None:
    assert parse_milli(format_milli(milli)) == milli


@given(_AMOUNTS)
def test_bytes_survive_the_round_trip(number: int) -> None:
    assert parse_bytes(format_bytes(number)) == number


@given(st.integers(min_value=1, max_value=2**20), st.sampled_from(["Ki", "Mi", "Gi", "Ti"]))
def test_bytes_are_written_with_the_largest_suffix_that_is_exact(number: int, suffix: str) -> None:
    text = format_bytes(parse_bytes(f"{number}{suffix}"))
    digits = text.rstrip("KMGTPEi")
    assert int(digits) % 1024 != 0
    assert parse_bytes(text) == parse_bytes(f"{number}{suffix}")


@given(st.decimals(min_value=0, max_value=10**6, allow_nan=False, places=6))
def test_what_is_finer_than_the_unit_is_rounded_up(number: object) -> None:
    text = f"{number:f}"
    exact = Fraction(text)
    assert 0 <= parse_bytes(text) - exact < 1
    assert 0 <= parse_milli(text) - exact * 1000 < 1


@pytest.mark.parametrize(
    ("text", "milli"),
    [
        ("0", 0),
        ("1", 1000),
        (2, 2000),
        (0.1, 100),
        ("0.1", 100),
        ("100m", 100),
        ("1.5", 1500),
        (".5", 500),
        ("+1", 1000),
        ("1k", 1_000_000),
        ("100u", 1),
        ("1n", 1),
        ("1e3", 1_000_000),
        ("1E-3", 1),
        ("9223372036854775807m", MAX),
    ],
)
def test_cpu_as_kubernetes_reads_it(text: object, milli: int) -> None:
    assert parse_milli(text) == milli


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("128974848", 128974848),
        ("129e6", 129_000_000),
        ("129M", 129_000_000),
        ("128974848000m", 128974848),
        ("123Mi", 128974848),
        ("1.5Gi", 1610612736),
        ("1Ki", 1024),
        ("1k", 1000),
        ("1E", 10**18),
        ("1E2", 100),
        ("7Ei", 7 * 2**60),
        ("400m", 1),
        (1e3, 1000),
    ],
)
def test_memory_as_kubernetes_reads_it(text: object, number: int) -> None:
    assert parse_bytes(text) == number


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1Ki"),
        (1536, "1536"),
        (2**31, "2Gi"),
        (10**9, "1000000000"),
    ],
)
def test_bytes_are_written_plainly(number: int, text: str) -> None:
    assert format_bytes(number) == text


@pytest.mark.parametrize(("milli", "text"), [(0, "0"), (250, "250m"), (1500, "1500m"), (2000, "2")])
def test_milli_is_written_plainly(milli: int, text: str) -> None:
    assert format_milli(milli) == text


@pytest.mark.parametrize(
    "value",
    [
        *("", " 1", "1 ", "1 Gi", "Gi", "1GB", "1Gib", "1K", "1e", "0x10", "1,5", "--1", "1" * 33),
        "\N{ARABIC-INDIC DIGIT ONE}",
        *(True, None, [1], float("nan"), float("inf")),
    ],
)
def test_ill_formed_quantities_are_refused(value: object) -> None:
    for parse in (parse_milli, parse_bytes, parse_exact):
        with pytest.raises(QuantityError, match="is not a quantity: write"):
            parse(value)


@pytest.mark.parametrize("value", ["-1", -1, "-1m", "-0.5Gi", "-1e3"])
def test_negative_quantities_are_refused(value: object) -> None:
    for parse in (parse_milli, parse_bytes):
        with pytest.raises(QuantityError, match="is negative: give zero or more"):
            parse(value)


@pytest.mark.parametrize("value", ["8Ei", "9223372036854775808", "1e30", "1e999999999999", 2**63])
def test_quantities_beyond_64_bits_are_refused(value: object) -> None:
    for parse in (parse_milli, parse_bytes):
        with pytest.raises(QuantityError, match="does not fit into 64 bits: give a smaller"):
            parse(value)


@given(st.text(max_size=2 * LONGEST) | st.floats() | st.integers() | st.booleans())
def test_any_value_is_read_or_refused(value: object) -> None:
    with contextlib.suppress(QuantityError):
        assert 0 <= parse_milli(value) <= MAX


@given(st.integers(min_value=0, max_value=99_999 * 3_600_000))
def test_durations_survive_the_round_trip_to_the_millisecond(milli: int) -> None:
    seconds = milli / 1000
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("250ms", 0.25), ("1m1m", 120)],
)
def test_durations_as_the_gateway_api_reads_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.25, "250ms"), (90, "1m30s"), (86400, "24h")]
)
def test_durations_are_written_plainly(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    "value",
    ["", "0", "10", "1.5h", "-1s", "1d", "10 m", "10M", "123456s", "1s1s1s1s1s", "1s\n", 600, None],
)
def test_ill_formed_durations_are_refused(value: object) -> None:
    with pytest.raises(DurationError, match="is not a duration: write whole numbers with units"):
        parse_duration(value)
