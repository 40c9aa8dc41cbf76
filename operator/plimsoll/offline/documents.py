"""Reads files into documents: any mix of YAML and JSON, single objects and lists of them."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from plimsoll.offline import yamltext
from plimsoll.offline.problems import Problem
from plimsoll.offline.yamltext import Unreadable

STDIN: Final = "-"
SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
"""What is read of a directory; a file named by itself may be called anything."""

_WHITESPACE: Final = " \t\r\n"


class Document(NamedTuple):
    """One object of a file, as JSON that is not looked into yet."""

    source: str
    number: int
    """Number of the document in the file, from 1."""
    path: str
    """Where in the document the object stands: ``$``, or ``$.items[3]``."""
    json: msgspec.Raw
    api_version: str
    kind: str


class _Head(msgspec.Struct, rename="camel"):
    """What tells what a document is, and whether it is a list."""

    api_version: Any = None
    kind: Any = None
    items: list[msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET


def read(paths: Iterable[str], problems: list[Problem]) -> Iterator[Document]:
    """All objects of files, of directories (recursively) and of ``-``, standard input.

    What cannot be read is added to ``problems``, and reading goes on with the rest.
    """
    for path in paths:
        for source in _files(path, problems):
            try:
                content = sys.stdin.buffer.read() if path == STDIN else Path(source).read_bytes()
            except OSError as error:
                problems.append(
                    Problem(source, f"cannot be read: {error.strerror}", remedy="check the path")
                )
                continue
            yield from _documents(source, content, problems)


def _files(path: str, problems: list[Problem]) -> list[str]:
    if path == STDIN:
        return ["stdin"]
    if not Path(path).is_dir():
        return [path]
    found = sorted(
        str(file) for file in Path(path).rglob("*") if file.suffix in SUFFIXES and file.is_file()
    )
    if not found:
        suffixes = ", ".join(sorted(SUFFIXES))
        problems.append(
            Problem(path, f"the directory holds no {suffixes}", remedy="name the files")
        )
    return found


def _documents(source: str, content: bytes, problems: list[Problem]) -> Iterator[Document]:
    number = found = 0
    try:
        for number, json in enumerate(_values(_text(content)), start=1):
            if json is not None:
                found += 1
                yield from _objects(source, number, json, problems)
    except Unreadable as error:
        where = f"line {error.line}" if error.line else ""
        where += f", column {error.column}" if error.column else ""
        message = f"{where}: {error.message}" if where else error.message
        problems.append(
            Problem(source, message, document=number + 1, remedy="correct it, or fetch it again")
        )
        return
    if not found:
        problems.append(
            Problem(source, "is empty: it holds no object", remedy="fill it, or leave it out")
        )


def _text(content: bytes) -> str:
    """The text of a file; shells on Windows write UTF-16."""
    encoding = "utf-8-sig"
    for mark, name in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if content.startswith(mark):
            encoding = name
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable("the text is not UTF-8", line) from None


def _values(text: str) -> Iterator[msgspec.Raw | None]:
    """The documents of a file as JSON; None where a YAML document is empty."""
    begin = len(text) - len(text.lstrip(_WHITESPACE))
    if text[begin : begin + 1] in ("{", "["):
        # JSON is YAML too, but a dump of it is read fifty times faster as JSON.
        try:
            yield from _json_values(text, begin)
        except Unreadable as error:
            # In flow style, keys and words need no quotes.
            if '"' in text[begin : begin + 20]:
                raise
            try:
                yield from [_encoded(value) for value in yamltext.documents(text)]
            except Unreadable:
                raise error from None
        return
    for value in yamltext.documents(text):
        yield _encoded(value)


def _encoded(value: Any) -> msgspec.Raw | None:
    return None if value is None else msgspec.Raw(msgspec.json.encode(value))


def _json_values(text: str, begin: int) -> Iterator[msgspec.Raw]:
    """One JSON document, or several one after the other."""
    try:
        yield msgspec.json.decode(text, type=msgspec.Raw)
        return
    except msgspec.DecodeError as error:
        if "trailing characters" not in str(error):
            raise _unreadable_json(text, error) from None
    except RecursionError:
        raise Unreadable("values are nested too deep") from None
    import json

    decoder = json.JSONDecoder()
    while begin < len(text):
        try:
            _, end = decoder.raw_decode(text, begin)
        except json.JSONDecodeError as error:
            raise Unreadable(f"not JSON: {error.msg}", error.lineno, error.colno) from None
        yield msgspec.Raw(text[begin:end].encode())
        begin = end + len(text[end:]) - len(text[end:].lstrip(_WHITESPACE))


def _unreadable_json(text: str, error: msgspec.DecodeError) -> Unreadable:
    import json

    # msgspec is fast, the standard library says where it stopped.
    try:
        json.loads(text)
    except json.JSONDecodeError as detail:
        if "truncated" in str(error):
            message = "the JSON ends too early: the file is truncated"
        else:
            message = f"not JSON: {detail.msg}"
        return Unreadable(message, detail.lineno, detail.colno)
    except RecursionError:
        return Unreadable("values are nested too deep")
    return Unreadable(str(error))


def _objects(
    source: str, number: int, json: msgspec.Raw, problems: list[Problem]
) -> Iterator[Document]:
    """The document, or the items of a list."""

    def wrong(message: str, path: str, remedy: str) -> None:
        problems.append(Problem(source, message, document=number, path=path, remedy=remedy))

    def look(raw: msgspec.Raw, path: str) -> _Head | None:
        try:
            return msgspec.json.decode(raw, type=_Head)
        except msgspec.ValidationError as error:
            if "items" in str(error):
                wrong("is not a list", f"{path}.items", "begin each item with '- '")
            else:
                wrong("is not an object", path, "write apiVersion, kind, metadata and spec")
        except RecursionError:
            wrong("values are nested too deep", path, "correct it, or fetch it again")
        return None

    def named(head: _Head, path: str) -> bool:
        complete = True
        for field, value, example in (
            ("kind", head.kind, "kind: Pod"),
            ("apiVersion", head.api_version, "apiVersion: v1"),
        ):
            if value is None:
                remedy = f"add it, such as {example}; if the file is cut off, fetch it again"
                wrong("is missing", f"{path}.{field}", remedy)
                complete = False
            elif not isinstance(value, str) or not value:
                wrong(f"{value!r} is no text", f"{path}.{field}", f"write it like {example}")
                complete = False
        return complete

    head = look(json, "$")
    if head is None or not named(head, "$"):
        return
    if not head.kind.endswith("List") or (head.items is msgspec.UNSET and head.kind != "List"):
        yield Document(source, number, "$", json, head.api_version, head.kind)
        return
    # Items of a typed list (PodList) need not repeat what they are.
    implied = head.kind.removesuffix("List")
    for position, item in enumerate(head.items or ()):
        path = f"$.items[{position}]"
        inner = look(item, path)
        if inner is None:
            continue
        if implied and inner.kind is None:
            inner.kind, inner.api_version = implied, inner.api_version or head.api_version
        if named(inner, path):
            yield Document(source, number, path, item, inner.api_version, inner.kind)
