"""Rules of everything that has a ``min`` and a ``max``."""

from __future__ import annotations

from plimsoll.api.rules import Rule
from plimsoll.api.scalars import quantity_at

_MESSAGE = "min must not be greater than max"
_REMEDY = "lower min or raise max"

MIN_MAX = Rule(
    "self.min <= self.max",
    _MESSAGE,
    _REMEDY,
    lambda ends: ends.min <= ends.max,
    field=".min",
)
MIN_MAX_QUANTITY = Rule(
    "!isQuantity(string(self.min)) || !isQuantity(string(self.max))"
    f" || !{quantity_at('self.min')}.isGreaterThan({quantity_at('self.max')})",
    _MESSAGE,
    _REMEDY,
    lambda ends: ends.min <= ends.max,
    field=".min",
)
