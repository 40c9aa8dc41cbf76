"""YAML as Kubernetes reads it, into plain values that JSON can carry.

Built straight from libyaml's events, which takes a quarter of the time of
PyYAML's own constructors: cluster dumps are large. Plain scalars mean what they mean to
``kubectl`` (YAML 1.1: ``yes`` is a boolean, ``0644`` is octal), with what libraries do not
agree on (dates, base 60, ``y`` and ``n``, ``08``, ``1e3``) left as text, which is what whoever
wrote it without quotes meant; quantities are read from text anyway. Keys are always text.
Unlike in PyYAML, a key that is given twice is an error, and aliases cannot blow a small file up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NoReturn

import yaml

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MOST_VALUES: Final = 50_000_000
"""Values of one file, those that aliases repeat included."""
MOST_DEPTH: Final = 100

_CONSTANTS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_INTEGER: Final = re.compile(r"[+-]?(?:0b[01]+|0x[0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", re.ASCII)
_FLOAT: Final = re.compile(r"[+-]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][+-][0-9]+)?", re.ASCII)
_TAG: Final = "tag:yaml.org,2002:"


class Unreadable(ValueError):
    """A text is no YAML. ``line`` and ``column`` count from 1; 0: not known."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


def documents(text: str) -> Iterator[Any]:
    """The values of the documents of a YAML stream, empty documents included as None.

    Raises:
        Unreadable: with the place where reading stopped.
    """
    try:
        yield from _Builder().build(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = ", ".join(part for part in (error.context, error.problem) if part)
        if mark is None:
            raise Unreadable(message) from None
        raise Unreadable(message, mark.line + 1, mark.column + 1) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Unreadable(f"character {error.character!r} is not allowed in YAML", line) from None


class _Builder:
    """Puts values together from events; one instance reads one stream."""

    def __init__(self) -> None:
        self._count = 0
        self._anchors: dict[str, tuple[Any, int]] = {}

    def build(self, events: Iterator[Any]) -> Iterator[Any]:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()
                yield self._value(next(events), events, 0)

    def _value(self, event: Any, events: Iterator[Any], depth: int) -> Any:
        self._count += 1
        if self._count > MOST_VALUES:
            _fail(event, f"the file holds more than {MOST_VALUES} values")
        kind = type(event)
        if kind is yaml.ScalarEvent:
            value = _scalar(event)
        elif kind is yaml.AliasEvent:
            return self._alias(event)
        elif depth >= MOST_DEPTH:
            _fail(event, f"values are nested more than {MOST_DEPTH} deep")
        elif event.anchor is not None:
            before = self._count
            value = self._collection(event, events, depth)
            self._anchors[event.anchor] = (value, self._count - before)
            return value
        else:
            return self._collection(event, events, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 0)
        return value

    def _collection(self, event: Any, events: Iterator[Any], depth: int) -> Any:
        if type(event) is yaml.MappingStartEvent:
            return self._mapping(events, depth)
        result = []
        for item in events:
            if type(item) is yaml.SequenceEndEvent:
                break
            result.append(self._value(item, events, depth + 1))
        return result

    def _mapping(self, events: Iterator[Any], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: list[tuple[Any, Any]] = []
        for event in events:
            kind = type(event)
            if kind is yaml.MappingEndEvent:
                break
            if kind is not yaml.ScalarEvent:
                _fail(event, "a key must be plain text")
            key = event.value
            if key == "<<" and event.implicit[0]:
                merged.append((event, self._value(next(events), events, depth + 1)))
                continue
            if key in result:
                _fail(event, f"key {key!r} is given twice: remove one")
            result[key] = self._value(next(events), events, depth + 1)
        for event, value in merged:
            for mapping in value if isinstance(value, list) else [value]:
                if not isinstance(mapping, dict):
                    _fail(event, "<< merges objects only")
                result = {**mapping, **result}
        return result

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            _fail(event, f"*{event.anchor} refers to nothing before it")
        value, count = self._anchors[event.anchor]
        self._count += count
        return value


def _scalar(event: Any) -> Any:
    tag = event.tag
    if tag is None:
        return _plain(event.value) if event.implicit[0] else event.value
    if not tag.startswith(_TAG):
        if tag == "!":
            return event.value
        _fail(event, f"tag {tag} has no meaning here: remove it")
    name = tag.removeprefix(_TAG)
    if name in ("str", "binary", "timestamp"):
        return event.value
    value = _plain(event.value)
    wanted: dict[str, type | tuple[type, ...]] = {
        "null": type(None),
        "bool": bool,
        "int": int,
        "float": (int, float),
    }
    if name not in wanted or not isinstance(value, wanted[name]):
        _fail(event, f"{event.value!r} is not what its tag !!{name} says")
    return value


# Dumps repeat the same few words and numbers.
@lru_cache(maxsize=8192)
def _plain(text: str) -> str | int | float | bool | None:
    """What an unquoted scalar means."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in "+-.0123456789":
        return text
    digits = text.replace("_", "")
    if _INTEGER.fullmatch(digits):
        number = _integer(digits)
        # Larger numbers are floats in Go, and JSON's too.
        return number if -(2**63) <= number < 2**64 else float(number)
    return float(digits) if _FLOAT.fullmatch(digits) else text


def _integer(digits: str) -> int:
    unsigned = digits.lstrip("+-").lower()
    if len(unsigned) > 1 and unsigned[0] == "0" and unsigned[1] not in "bx":
        unsigned = f"0o{unsigned[1:]}"
    return int(unsigned, 0) * (-1 if digits[0] == "-" else 1)


def _fail(event: Any, message: str) -> NoReturn:
    mark = event.start_mark
    raise Unreadable(message, mark.line + 1, mark.column + 1)
