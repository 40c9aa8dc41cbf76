"""Quantities and durations as the models have them, with the rules that go with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from plimsoll.api import duration, quantity
from plimsoll.api.rules import Rule, broken_rules, matches, require, validations

LARGEST = "1P"
"""Exclusive bound of every quantity that a person writes.

Below it, bytes are exact in CEL's floating point numbers and thousandths in int64.
"""


def quantity_at(path: str) -> str:
    """CEL: the quantity at the path, which may hold an integer or a string."""
    return f"quantity(string({path}))"


_SELF = quantity_at("self")


def is_quantity(path: str) -> str:
    """CEL: the value at the path is well-formed, positive and below the bound.

    Rules that compute with several quantities ask this first: each value's own
    rules already say what is wrong with it, once and in plain words.
    """
    value = quantity_at(path)
    return (
        f"isQuantity(string({path})) && sign({value}) > 0"
        f" && {value}.isLessThan(quantity('{LARGEST}'))"
    )


def as_integer(path: str) -> str:
    """CEL: the quantity at the path as an integer.

    CEL's own ``asInteger`` refuses 1.5Gi and 2000m, which are whole numbers.
    """
    return f"int({quantity_at(path)}.asApproximateFloat() + 0.5)"


_INTEGER_OR_STRING = Rule(
    "",  # the schema's type says it to the API server
    "must be of type integer or string",
    'put a number with a decimal point in quotes, such as "0.5"',
)
# To the API server a suffix alone is a quantity, of zero; to a person it is a slip.
_WELL_FORMED = "(isQuantity(string(self)) && string(self).matches('^[+-]?[.]?[0-9]'))"
WELL_FORMED = Rule(
    _WELL_FORMED,
    "is not a quantity",
    "write a number with an optional suffix, such as 2, 500m, 1.5 or 512Mi",
)
NOT_NEGATIVE = Rule(
    f"!{_WELL_FORMED} || sign({_SELF}) >= 0",
    "must not be negative",
    "give zero or more",
    lambda exact: exact >= 0,
)
POSITIVE = Rule(
    f"!{_WELL_FORMED} || sign({_SELF}) > 0",
    "must be greater than zero",
    "give a positive quantity",
    lambda exact: exact > 0,
)
FITS = Rule(
    f"!{_WELL_FORMED} || {_SELF}.isLessThan(quantity('{LARGEST}'))",
    "is too large",
    f"give less than {LARGEST}",
    lambda exact: exact < quantity.parse_exact(LARGEST),
)
WHOLE = Rule(
    f"!({is_quantity('self')}) || sign({_SELF}.sub({as_integer('self')})) == 0",
    "is not a whole number of bytes",
    "the suffix m means thousandths; write M or Mi for megabytes",
    lambda exact: exact <= 0 or exact.denominator == 1,
)


@dataclass(frozen=True)
class _Quantity:
    """Annotation of an int that manifests write as a quantity, in so many parts of a unit."""

    parts: int
    format: Callable[[int], str]
    rules: tuple[Rule, ...]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._parse,
            serialization=core_schema.plain_serializer_function_ser_schema(self.format),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "format": "quantity",
            "examples": ["2", "500m"] if self.parts == 1000 else ["4Gi", "512Mi"],
            "maxLength": quantity.LONGEST,
            "x-kubernetes-validations": validations(self.rules),
        }

    def _parse(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise broken_rules(_INTEGER_OR_STRING)
        return _amount(value, self.parts, self.rules)


@lru_cache(maxsize=4096)
def _amount(value: int | str, parts: int, rules: tuple[Rule, ...]) -> int:
    try:
        exact = quantity.parse_exact(value)
    except quantity.QuantityError:
        raise broken_rules(WELL_FORMED) from None
    require(exact, rules)
    return quantity.round_up(exact * parts)


Milli = Annotated[int, _Quantity(1000, quantity.format_milli, (WELL_FORMED, NOT_NEGATIVE, FITS))]
"""A quantity in thousandths, rounded up: millicores for CPU, thousandths of a cost unit."""

PositiveMilli = Annotated[
    int, _Quantity(1000, quantity.format_milli, (WELL_FORMED, POSITIVE, FITS))
]

Bytes = Annotated[
    int, _Quantity(1, quantity.format_bytes, (WELL_FORMED, NOT_NEGATIVE, FITS, WHOLE))
]
"""A quantity in whole bytes."""

PositiveBytes = Annotated[
    int, _Quantity(1, quantity.format_bytes, (WELL_FORMED, POSITIVE, FITS, WHOLE))
]

MilliSum = Annotated[int, _Quantity(1000, quantity.format_milli, (WELL_FORMED, NOT_NEGATIVE))]
"""Thousandths that the controller adds up and writes to a status: any size."""

BytesSum = Annotated[int, _Quantity(1, quantity.format_bytes, (WELL_FORMED, NOT_NEGATIVE))]
"""Bytes that the controller adds up and writes to a status: any size."""


IS_DURATION = matches(
    duration.PATTERN,
    "is not a duration",
    "write whole numbers with units, such as 90s, 10m or 1h30m",
)
A_SECOND_OR_MORE = Rule(
    f"!self.matches(r'{duration.PATTERN}') || duration(self) >= duration('1s')",
    "is too short",
    "give 1s or more",
    lambda seconds: seconds >= 1,
)


@dataclass(frozen=True)
class _Duration:
    """Annotation of float seconds that manifests write as a duration."""

    rules: tuple[Rule, ...] = ()

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._parse,
            serialization=core_schema.plain_serializer_function_ser_schema(
                duration.format_duration
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "type": "string",
            "format": "duration",
            "examples": ["90s", "1h30m"],
            "maxLength": 32,
            "x-kubernetes-validations": validations((IS_DURATION, *self.rules)),
        }

    def _parse(self, value: object) -> float:
        try:
            seconds = duration.parse_duration(value)
        except duration.DurationError:
            raise broken_rules(IS_DURATION) from None
        require(seconds, self.rules)
        return seconds


Duration = Annotated[float, _Duration()]
"""Seconds, written as ``90s``, ``10m`` or ``1h30m``."""

Interval = Annotated[float, _Duration((A_SECOND_OR_MORE,))]
"""A duration for which zero makes no sense: at least one second."""
