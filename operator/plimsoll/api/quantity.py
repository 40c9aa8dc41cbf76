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
    r"(?P<sign>[+-]?)(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
    r"(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?"
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}

MAX = 2**63 - 1
"""Largest value of a quantity in its unit (int64, as in Kubernetes)."""


class QuantityError(ValueError):
    """A text is no quantity, is negative, or does not fit into 64 bits."""


@lru_cache(maxsize=4096)
def _scaled(text: str, unit_exponent: int) -> int:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise QuantityError(
            f"{text!r} is not a quantity: write a number with an optional suffix, "
            "such as 2, 500m, 1.5 or 512Mi"
        )
    value = Fraction(match["number"])
    suffix = match["suffix"]
    if suffix in _BINARY:
        value *= 1024 ** _BINARY[suffix]
    elif suffix in _DECIMAL:
        value *= Fraction(10) ** _DECIMAL[suffix]
    elif suffix:
        value *= Fraction(10) ** int(suffix[1:])
    if match["sign"] == "-" and value != 0:
        raise QuantityError(f"{text!r} is negative: give zero or more")
    value *= Fraction(10) ** unit_exponent
    whole = -(-value.numerator // value.denominator)
    if whole > MAX:
        raise QuantityError(f"{text!r} does not fit into 64 bits: give a smaller quantity")
    return whole


def _text(value: object) -> str:
    # bool is an int in Python, yet `cpu: yes` in YAML is a mistake, not one CPU.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise QuantityError(f"{value!r} is not a quantity: write a number or a string")
    return value.strip() if isinstance(value, str) else repr(value)


def parse_milli(value: object) -> int:
    """Thousandths of a unit (millicores for CPU), rounded up.

    Raises:
        QuantityError: ill-formed, negative or larger than 64 bits.
    """
    return _scaled(_text(value), 3)


def parse_bytes(value: object) -> int:
    """Whole units (bytes for memory, pieces for extended resources), rounded up.

    Raises:
        QuantityError: ill-formed, negative or larger than 64 bits.
    """
    return _scaled(_text(value), 0)


def format_milli(milli: int) -> str:
    """The shortest canonical text of so many thousandths: ``2``, ``1500m``."""
    return f"{milli}m" if milli % 1000 else str(milli // 1000)


def format_bytes(number: int) -> str:
    """The canonical text with the largest binary suffix that stays exact: ``2Gi``."""
    for suffix, power in reversed(_BINARY.items()):
        unit = 1024**power
        if number and number % unit == 0:
            return f"{number // unit}{suffix}"
    return str(number)
