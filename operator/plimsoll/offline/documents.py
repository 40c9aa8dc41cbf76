"""Reads files into documents: any mix of YAML and JSON, single objects and lists of them."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from plimsoll.offline import yamltext
from plimsoll.offline.problems import Problem
from plimsoll.offline.streaming import Piece, Rest, pieces
from plimsoll.offline.yamltext import Unreadable
from plimsoll.world.podreader import Head

STDIN: Final = "-"
SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
"""What is read of a directory; a file named by itself may be called anything."""

_POD: Final = ("Pod", "v1")
_WHITESPACE: Final = " \t\r\n"


class Document(NamedTuple):
    """One object of a file, as JSON that is not looked into yet."""

    source: str
    number: int
    """Number of the document in the file, from 1."""
    position: int | None
    """Where the object stands in the list that the document is; None: it is the document."""
    json: msgspec.Raw
    api_version: str
    kind: str


class Pods(NamedTuple):
    """Consecutive pods of a list."""

    source: str
    number: int
    first: int
    """Position of the first one in the list."""
    heads: list[Head]
    piece: Piece

    def documents(self) -> Iterator[Document]:
        """The same pods, one by one."""
        begin = self.first - self.piece.first
        items = self.piece.items()[begin : begin + len(self.heads)]
        for position, json in enumerate(items, self.first):
            yield Document(self.source, self.number, position, json, "v1", "Pod")


def path_of(position: int | None) -> str:
    """The JSON path of an object in its document."""
    return "$" if position is None else f"$.items[{position}]"


class _Head(msgspec.Struct, rename="camel"):
    """What tells what a document is, and whether it is a list."""

    api_version: Any = None
    kind: Any = None
    items: list[msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET


def read(paths: Iterable[str], problems: list[Problem]) -> Iterator[Document | Pods]:
    """All objects of files, of directories (recursively) and of ``-``, standard input.

    What cannot be read is added to ``problems``, and reading goes on with the rest. An object
    is to be decoded before the next one is asked for: its text does not outlive that.
    """
    for path in paths:
        for source in _files(path, problems):
            try:
                with nullcontext(sys.stdin.buffer) if path == STDIN else open(source, "rb") as file:
                    yield from _documents(source, file, problems)
            except OSError as error:
                problems.append(
                    Problem(source, f"cannot be read: {error.strerror}", remedy="check the path")
                )


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


def _documents(source: str, file: BinaryIO, problems: list[Problem]) -> Iterator[Document | Pods]:
    number = found = 0
    rest = Rest(b"")
    try:
        for piece in pieces(file):
            if isinstance(piece, Rest):
                rest = piece
            else:
                yield from _of_piece(source, piece, problems)
        for number, json in enumerate(_values(_text(rest.text)), start=1):
            if json is not None:
                found += 1
                first = rest.first if number == 1 else 0
                yield from _objects(source, number, first, json, problems)
    except Unreadable as error:
        line, column = _place_in_file(error, file, rest)
        where = f"line {line}" if line else ""
        where += f", column {column}" if column else ""
        message = f"{where}: {error.message}" if where else error.message
        problems.append(
            Problem(source, message, document=number + 1, remedy="correct it, or fetch it again")
        )
        return
    if not found:
        problems.append(
            Problem(source, "is empty: it holds no object", remedy="fill it, or leave it out")
        )


def _of_piece(source: str, piece: Piece, problems: list[Problem]) -> Iterator[Document | Pods]:
    implied = piece.implied
    if piece.heads is None:
        kind = implied.kind, implied.api_version
        yield from _items(source, 1, piece.first, piece.items(), kind, problems)
        return
    items: list[msgspec.Raw] = []
    begin = 0
    for end, head in enumerate([*piece.heads, None]):
        if head is not None:
            kind = head.kind or implied.kind, head.api_version or implied.api_version
            if kind == _POD:
                continue
        if begin < end:
            yield Pods(source, 1, piece.first + begin, piece.heads[begin:end], piece)
        if head is not None:
            items = items or piece.items()
            position = piece.first + end
            if all(kind):
                yield Document(source, 1, position, items[end], kind[1], kind[0])
            else:
                yield from _items(source, 1, position, [items[end]], kind, problems)
        begin = end + 1


def _place_in_file(error: Unreadable, file: BinaryIO, rest: Rest) -> tuple[int, int]:
    """Line and column in the file of an error in its rest; 0: not known, of a pipe."""
    if not rest.left_out:
        return error.line, error.column
    if not file.seekable():
        return 0, 0
    file.seek(0)
    before = file.read(rest.head + rest.left_out)
    head = before[: rest.head]
    line = error.line + before.count(b"\n") - head.count(b"\n")
    if error.line > 1 + head.count(b"\n"):
        return line, error.column
    last_lines = (text[text.rfind(b"\n") + 1 :].decode() for text in (before, head))
    return line, error.column + len(next(last_lines)) - len(next(last_lines))


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
    source: str, number: int, first: int, json: msgspec.Raw, problems: list[Problem]
) -> Iterator[Document]:
    """The document, or the items of a list, the first of which stands at position ``first``."""
    head = _look(source, number, None, json, problems)
    if head is None or not _named(source, number, None, head, problems):
        return
    if not head.kind.endswith("List") or (head.items is msgspec.UNSET and head.kind != "List"):
        yield Document(source, number, None, json, head.api_version, head.kind)
        return
    # Items of a typed list (PodList) need not repeat what they are.
    implied = head.kind.removesuffix("List"), head.api_version
    yield from _items(source, number, first, head.items or (), implied, problems)


def _items(
    source: str,
    number: int,
    first: int,
    items: Iterable[msgspec.Raw],
    implied: tuple[str, str],
    problems: list[Problem],
) -> Iterator[Document]:
    kind, api_version = implied
    for position, item in enumerate(items, first):
        inner = _look(source, number, position, item, problems)
        if inner is None:
            continue
        if kind and inner.kind is None:
            inner.kind, inner.api_version = kind, inner.api_version or api_version
        if _named(source, number, position, inner, problems):
            yield Document(source, number, position, item, inner.api_version, inner.kind)


def _look(
    source: str, number: int, position: int | None, raw: msgspec.Raw, problems: list[Problem]
) -> _Head | None:
    """What an object says that it is."""

    def wrong(message: str, path: str, remedy: str) -> None:
        problems.append(Problem(source, message, document=number, path=path, remedy=remedy))

    try:
        return msgspec.json.decode(raw, type=_Head)
    except msgspec.ValidationError as error:
        path = path_of(position)
        if "items" in str(error):
            wrong("is not a list", f"{path}.items", "begin each item with '- '")
        else:
            wrong("is not an object", path, "write apiVersion, kind, metadata and spec")
    except RecursionError:
        path = path_of(position)
        wrong("values are nested too deep", path, "correct it, or fetch it again")
    return None


def _named(
    source: str, number: int, position: int | None, head: _Head, problems: list[Problem]
) -> bool:
    """Whether the object says what it is."""
    complete = True
    for field, value, example in (
        ("kind", head.kind, "kind: Pod"),
        ("apiVersion", head.api_version, "apiVersion: v1"),
    ):
        path = f"{path_of(position)}.{field}"
        if value is None:
            message = "is missing"
            remedy = f"add it, such as {example}; if the file is cut off, fetch it again"
        elif not isinstance(value, str) or not value:
            message, remedy = f"{value!r} is no text", f"write it like {example}"
        else:
            continue
        problems.append(Problem(source, message, document=number, path=path, remedy=remedy))
        complete = False
    return complete
