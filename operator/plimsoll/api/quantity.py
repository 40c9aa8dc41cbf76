"""Kubernetes resource quantities as exact integers.

Grammar and rounding follow ``k8s.io/apimachinery/pkg/api/resource``: a decimal
number with an SI suffix (n, u, m, k, M, G, T, P, E), a binary suffix
(Ki ... Ei) or a decimal exponent; what is finer than the unit is rounded up.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))"
    r"(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?",
    re.ASCII,
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}

MAX = 2**63 - 1
"""Largest value of a quantity in its unit (int64, as in Kubernetes)."""
LONGEST = 32
"""Longest text of a quantity: hostile text must not cost time."""
# Beyond it a value overflows or vanishes.
_LARGEST_EXPONENT = 99


class QuantityError(ValueError):
    """A text is no quantity, is negative, or does not fit into 64 bits."""


def parse_exact(value: object) -> Fraction:
    """The exact value of a quantity, of either sign and any size.

    Raises:
        QuantityError: ill-formed.
    """
    return _exact(_text(value))


def _text(value: object) -> str:
    # bool is an int in Python, yet `cpu: yes` in YAML is a mistake, not one CPU.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise QuantityError(f"{value!r} is not a quantity: write a number or a string")
    return value if isinstance(value, str) else repr(value)


# A cluster's quantities repeat a great deal: each distinct text is read once.
@lru_cache(maxsize=4096)
def _exact(text: str) -> Fraction:
    match = _QUANTITY.fullmatch(text) if len(text) <= LONGEST else None
    if match is None:
        raise QuantityError(
            f"{text[:LONGEST]!r} is not a quantity: write a number with an optional suffix, "
            "such as 2, 500m, 1.5 or 512Mi"
        )
    number = Fraction(match["number"])
    suffix = match["suffix"]
    if not suffix:
        return number
    if suffix in _BINARY:
        return number * _BINARY[suffix]
    exponent = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
    exponent = max(-_LARGEST_EXPONENT, min(exponent, _LARGEST_EXPONENT))
    power: int = 10 ** abs(exponent)
    return number * power if exponent >= 0 else number / power


def round_up(value: Fraction) -> int:
    """The smallest integer that is not less."""
    return -(-value.numerator // value.denominator)


@lru_cache(maxsize=4096)
def _scaled(text: str, units: int) -> int:
    exact = _exact(text)
    if exact < 0:
        raise QuantityError(f"{text!r} is negative: give zero or more")
    whole = round_up(exact * units)
    if whole > MAX:
        raise QuantityError(f"{text!r} does not fit into 64 bits: give a smaller quantity")
    return whole


def parse_milli(value: object) -> int:
    """Thousandths of a unit (millicores for CPU), rounded up.

    Raises:
        QuantityError: ill-formed, negative or larger than 64 bits.
    """
    return _scaled(_text(value), 1000)


def parse_bytes(value: object) -> int:
    """Whole units (bytes for memory, pieces for extended resources), rounded up.

    Raises:
        QuantityError: ill-formed, negative or larger than 64 bits.
    """
    return _scaled(_text(value), 1)


def format_milli(milli: int) -> str:
    """The shortest canonical text of so many thousandths: ``2``, ``1500m``."""
    return f"{milli}m" if milli % 1000 else str(milli // 1000)


def format_bytes(number: int) -> str:
    """The canonical text with the largest binary suffix that stays exact: ``2Gi``."""
    for suffix, unit in reversed(_BINARY.items()):
        if number and number % unit == 0:
            return f"{number // unit}{suffix}"
    return str(number)
