"""Documents -> structs, with errors in people's words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from plimsoll.offline.checks import step
from plimsoll.offline.nulls import without_nulls

T = TypeVar("T")

_ERROR: Final = re.compile(r"(?P<what>.*?)(?: - at `(?P<path>\$.*)`)?", re.DOTALL)
_MISMATCH: Final = re.compile(r"Expected `(?P<wanted>[^`]*)`, got `(?P<got>[^`]*)`")
_MISSING: Final = re.compile(r"Object missing required field `(?P<field>[^`]*)`")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+)\]|(\[\.\.\.\])")
_WORDS: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "nothing",
}
_REMEDIES: Final = {
    "str": "put it in quotes",
    "int": "write a whole number, without quotes",
    "bool": "write true or false, without quotes",
    "object": "write its fields below it, indented",
    "array": "begin each item with '- '",
}


class Misfit(NamedTuple):
    """Why a document is not of its kind."""

    path: str
    """Relative to the object, beginning with a dot; empty: the whole."""
    message: str
    remedy: str


class DecodingError(ValueError):
    """A document is not of its kind."""

    def __init__(self, misfit: Misfit) -> None:
        super().__init__(f"{misfit.path}: {misfit.message}")
        self.misfit = misfit


def decode(json: msgspec.Raw, kind: type[T]) -> T:
    """The struct that a JSON document describes; null counts as absent.

    Raises:
        DecodingError: a field has the wrong type, or a required one is missing.
    """
    try:
        return msgspec.json.decode(json, type=kind)
    except msgspec.ValidationError:
        pass
    # The slow way, taken by documents with nulls or errors only.
    value = without_nulls(msgspec.json.decode(json))
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as error:
        raise DecodingError(_explain(str(error), value)) from None


def _explain(error: str, value: Any) -> Misfit:
    match = _ERROR.fullmatch(error)
    what, path = (match["what"], match["path"] or "$") if match is not None else (error, "$")
    missing = _MISSING.fullmatch(what)
    if missing is not None:
        where = next(_located(value, _steps(path), None), path.removeprefix("$"))
        return Misfit(f"{where}.{missing['field']}", "is missing", "add it")
    mismatch = _MISMATCH.fullmatch(what)
    if mismatch is None:
        return Misfit(path.removeprefix("$"), what, "correct it")
    wanted = [name for name in mismatch["wanted"].split(" | ") if name != "null"]
    got = mismatch["got"]
    where = next(_located(value, _steps(path), got), path.removeprefix("$"))
    message = f"must be {' or '.join(_WORDS.get(n, n) for n in wanted)}, not {_WORDS.get(got, got)}"
    return Misfit(where, message, _REMEDIES.get(wanted[0], "correct it"))


def _steps(path: str) -> list[str | int | None]:
    """Keys and positions of a path; None for a key of a map, which msgspec does not name."""
    return [
        key or (int(position) if position else None)
        for key, position, _ in _STEP.findall(path.removeprefix("$"))
    ]


def _located(value: Any, steps: list[str | int | None], got: str | None) -> Iterator[str]:
    """Paths that fit the steps and end in a value of the type that was got."""
    if not steps:
        if got is None or _type_of(value) == got:
            yield ""
        return
    first, rest = steps[0], steps[1:]
    if first is None and isinstance(value, dict):
        for key, item in value.items():
            for tail in _located(item, rest, got):
                yield step(key) + tail
    elif isinstance(first, int) and isinstance(value, list) and first < len(value):
        for tail in _located(value[first], rest, got):
            yield f"[{first}]{tail}"
    elif isinstance(first, str) and isinstance(value, dict) and first in value:
        for tail in _located(value[first], rest, got):
            yield step(first) + tail


def _type_of(value: object) -> str:
    names = {str: "str", bool: "bool", int: "int", float: "float", dict: "object", list: "array"}
    return names.get(type(value), "null")
