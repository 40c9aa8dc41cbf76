"""Null in a file means what it means to the API server: in most places, absent."""

from __future__ import annotations

from typing import Any, Final

_TEXTS: Final = frozenset({"labels", "annotations", "matchLabels", "nodeSelector"})
"""Maps of text, in which null is the empty text: ``nodeSelector: {role/worker: }``."""
_QUANTITIES: Final = frozenset(
    {
        "requests",
        "limits",
        "capacity",
        "allocatable",
        "allocatedResources",
        "overhead",
        "podFixed",
        "usage",
    }
)
"""Maps of quantities, in which null is zero."""


def without_nulls(value: Any, field: str = "") -> Any:
    """A copy of a JSON value as if its author had left out what is null."""
    if isinstance(value, dict):
        # A RuntimeClass has an object ``overhead`` too; podFixed in it is no quantity.
        instead = "" if field in _TEXTS else 0 if field in _QUANTITIES else None
        result = {}
        for key, item in value.items():
            if item is not None:
                result[key] = without_nulls(item, key)
            elif instead is not None and key != "podFixed":
                result[key] = instead
        return result
    if isinstance(value, list):
        return [without_nulls(item) for item in value if item is not None]
    return value
