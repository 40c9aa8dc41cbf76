"""A document -> an object of one of the four kinds, or every problem in people's words."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from plimsoll.api import KINDS, ContainerWorkload, Hypervisor, VMNode, VMPool
from plimsoll.api.base import API_VERSION, GROUP, Kind
from plimsoll.api.rules import BROKEN
from plimsoll.api.schema import Schema, fields, structural

_KINDS = {kind.__name__: kind for kind in KINDS}
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN = 60
"""Values longer than that are not quoted."""


class Problem(NamedTuple):
    """One thing that is wrong."""

    path: str
    """JSON path, such as ``.spec.size.cpu.min``; empty: the whole document."""
    message: str
    """What is wrong."""
    remedy: str
    """What to do."""

    def __str__(self) -> str:
        return f"{self.path or 'the document'}: {self.message}: {self.remedy}"


class InvalidObject(ValueError):
    """A document is not an object of Plimsoll's. ``problems`` says everything that is wrong."""

    def __init__(self, subject: str, problems: Iterable[Problem]) -> None:
        self.subject = subject
        """Kind and name, as far as the document tells them: ``VMPool web``."""
        self.problems = tuple(problems)
        super().__init__(
            f"{subject} is not valid" + "".join(f"\n  {problem}" for problem in self.problems)
        )


def validate(document: object) -> Hypervisor | VMPool | VMNode | ContainerWorkload:
    """The object that a document (from YAML, JSON or the API server) describes.

    It is held to what the API server would hold it to, and to a little more
    where only Python can tell (whether a time zone exists).

    Raises:
        InvalidObject: with every problem found.
    """
    if not isinstance(document, Mapping):
        raise InvalidObject(
            "the document",
            [Problem("", "is not an object", "write apiVersion, kind, metadata and spec")],
        )
    subject = _subject(document)
    problems = list(_header(document))
    if problems:
        raise InvalidObject(subject, problems)
    kind = _KINDS[document["kind"]]
    # As JSON, because there a list is a list and a text is no number.
    try:
        text = json.dumps(document, default=str)
    except (TypeError, ValueError) as error:  # YAML knows more keys than JSON, and cycles
        raise InvalidObject(
            subject, [Problem("", f"cannot be written as JSON ({error})", "use plain keys")]
        ) from None
    if "null" in text:
        text = json.dumps(_present(document, structural(kind)), default=str)
    try:
        parsed = kind.model_validate_json(text, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        found = [problem for detail in error.errors() for problem in _problems(detail, kind)]
        raise InvalidObject(subject, found) from None
    if not (parsed.metadata.name or parsed.metadata.generate_name):
        raise InvalidObject(
            subject, [Problem(".metadata.name", "is missing", f"give the {subject} a name")]
        )
    return parsed


def _present(value: Any, schema: Schema | None) -> Any:
    """The value without nulls: null means absent, as for the API server.

    What is passed on as it is (pod templates) keeps them.
    """
    if schema and schema.get("x-kubernetes-preserve-unknown-fields"):
        return value
    if isinstance(value, Mapping):
        return {
            key: _present(item, _at(schema or {}, (key,)))
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        return [_present(item, _at(schema or {}, (0,))) for item in value]
    return value


def _subject(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    words = [word for word in (document.get("kind"), name) if isinstance(word, str) and word]
    return " ".join(words) or "the object"


def _header(document: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with apiVersion and kind."""
    version, kind = document.get("apiVersion"), document.get("kind")
    if version is None:
        yield Problem(".apiVersion", "is missing", f"write apiVersion: {API_VERSION}")
    elif version != API_VERSION:
        known = f"write {API_VERSION}"
        if isinstance(version, str) and version.startswith(f"{GROUP}/"):
            yield Problem(".apiVersion", f"{_quote(version)} is not served", known)
        else:
            yield Problem(".apiVersion", f"{_quote(version)} is not Plimsoll's", known)
    if kind is None:
        yield Problem(".kind", "is missing", f"choose one of {', '.join(_KINDS)}")
    elif not isinstance(kind, str) or kind not in _KINDS:
        yield Problem(".kind", f"{_quote(kind)} is not a known kind", _choose(kind, _KINDS))


def _problems(error: ErrorDetails, kind: type[Kind]) -> Iterator[Problem]:
    """One of pydantic's errors, in people's words."""
    location, value = error["loc"], error["input"]
    path = "".join(map(_step, location))
    context = error.get("ctx", {})
    match error["type"]:
        case _ if error["type"] == BROKEN:
            for rule in context["broken"]:
                yield Problem(path + rule.field, _said_of(value, rule.message), rule.remedy)
        case "missing":
            schema = _at(structural(kind), location)
            about = schema.get("description", "") if schema else ""
            yield Problem(path, "is missing", f"add it ({about})" if about else "add it")
        case "extra_forbidden":
            yield Problem(path, "is not a known field", _known_field(kind, location))
        case "literal_error" | "enum":
            schema = _at(structural(kind), location) or {}
            choices = [str(choice) for choice in schema.get("enum", ())]
            yield Problem(path, f"{_quote(value)} is not allowed", _choose(value, choices))
        case "greater_than_equal":
            yield Problem(path, f"{_quote(value)} is too small", f"give {context['ge']} or more")
        case "less_than_equal":
            yield Problem(path, f"{_quote(value)} is too large", f"give {context['le']} or less")
        case "string_too_short":
            yield Problem(path, "is empty", "write something")
        case "string_too_long":
            most = f"{context['max_length']} characters"
            yield Problem(path, "is too long", f"write at most {most}")
        case "too_long":
            yield Problem(path, "has too many items", f"keep at most {context['max_length']}")
        case "too_short":
            yield Problem(path, "has too few items", f"give at least {context['min_length']}")
        case other:
            wanted = _TYPES.get(other)
            if wanted is None:
                yield Problem(path, f"is not valid ({error['msg']})", "see the reference")
            else:
                yield Problem(path, f"{_quote(value)} is not {wanted}", _convert(value, wanted))


_INTEGER, _TEXT, _SWITCH, _OBJECT, _LIST = (
    "a whole number",
    "text",
    "true or false",
    "an object",
    "a list",
)
_TYPES = {
    "int_type": _INTEGER,
    "int_parsing_size": _INTEGER,
    "string_type": _TEXT,
    "bool_type": _SWITCH,
    "model_type": _OBJECT,
    "dict_type": _OBJECT,
    "tuple_type": _LIST,
    "list_type": _LIST,
}


def _convert(value: object, wanted: str) -> str:
    """How to turn the value into what is wanted."""
    if wanted == _INTEGER and isinstance(value, str) and value.isdecimal():
        return f"remove the quotes: {value}"
    if wanted == _TEXT and not isinstance(value, Mapping | list):
        return f'put it in quotes: "{json.dumps(value)}"'
    if wanted == _SWITCH and isinstance(value, str) and value.lower() in ("true", "false"):
        return f"remove the quotes: {value.lower()}"
    if wanted == _LIST:
        return "begin each item with '- '"
    if wanted == _OBJECT:
        return "write its fields below it, indented"
    return f"write {wanted}"


def _known_field(kind: type[Kind], location: tuple[int | str, ...]) -> str:
    """Where a field that is unknown here is known, or what is nearest."""
    schema = structural(kind)
    name = str(location[-1])
    known = (_at(schema, location[:-1]) or {}).get("properties", {})
    if _nearest(name, known):
        return _choose(name, known)
    elsewhere = [
        field.path.rpartition(".")[0]
        for field in fields(schema)
        if field.path.endswith(f".{name}") and not field.path.startswith(".status")
    ]
    if elsewhere:
        return f"it belongs in {' or '.join(elsewhere)}"
    return _choose(name, known)


def _choose(value: object, known: Iterable[str]) -> str:
    known = list(known)
    nearest = _nearest(str(value), known)
    if nearest:
        return f"did you mean {nearest}?"
    return f"choose one of {', '.join(word or '(empty)' for word in known)}"


def _nearest(word: str, known: Iterable[str]) -> str:
    """The known word that is most like this one, or an empty text."""
    plain = {candidate.lower().replace("_", ""): candidate for candidate in known}
    found = difflib.get_close_matches(word.lower().replace("_", ""), plain, n=1, cutoff=0.6)
    return plain[found[0]] if found else ""


def _at(schema: Schema, location: Iterable[int | str]) -> Schema | None:
    """The schema of the value at a location."""
    node: Schema | None = schema
    for step in location:
        if node is None:
            return None
        if isinstance(step, int):
            node = node.get("items")
        else:
            node = node.get("properties", {}).get(step, node.get("additionalProperties"))
    return node


def _step(step: int | str) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _PLAIN.fullmatch(step) else f"[{json.dumps(step)}]"


def _said_of(value: object, message: str) -> str:
    return message if isinstance(value, Mapping | list) else f"{_quote(value)} {message}"


def _quote(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
