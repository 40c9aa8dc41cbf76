"""Reads a large JSON list piece by piece, so that memory holds one piece of it at a time.

A list of JSON values may be cut at any comma if both sides turn out to be lists of JSON values
again. So the text is cut where it looks like the end of an item, and it is decoding that tells
whether it was one: if not, what is left of the file is read as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Final

import msgspec

from plimsoll.world.podreader import Head

PIECE: Final = 2**20
"""Bytes of a piece. Files that are smaller are read as a whole."""

_LIST: Final = re.compile(
    rb"\s*\{"
    rb'(?:\s*"(?:apiVersion|kind)"\s*:\s*"[^"\\]*"\s*,|\s*"metadata"\s*:\s*\{[^{}]*\}\s*,)*'
    rb'\s*"items"\s*:\s*\['
    rb'(?P<opening>\s*\{\s*"(?:apiVersion|kind|metadata)")'
)
_BEGIN: Final = re.compile(
    rb'\}?,\s*\{\s*(?:"apiVersion"\s*:\s*"[^"]*"\s*,\s*"kind"|"kind"\s*:\s*"[^"]*"\s*,'
    rb'\s*"apiVersion"|"metadata"\s*:\s*\{)'
)
"""How an item begins, and hardly anything within one."""
_TRIES: Final = 3
_LARGEST: Final = 8
"""Pieces that one item may be as large as."""


class Kind(msgspec.Struct, rename="camel"):
    """What an object says that it is."""

    api_version: str = ""
    kind: str = ""


_heads: Final = msgspec.json.Decoder(list[Head])
_kinds: Final = msgspec.json.Decoder(list[Kind])
_anything: Final = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True)
class Piece:
    """Consecutive items of a list."""

    first: int
    """Position of the first one in the list."""
    count: int
    text: memoryview
    implied: Kind
    """What items are that do not say it."""
    heads: list[Head] | None
    """The items, looked at as if they were pods; None: some do not fit."""

    def items(self) -> list[msgspec.Raw]:
        """The items as JSON."""
        return _anything.decode(self.text)


@dataclass(frozen=True)
class Rest:
    """What is left when no further piece is cut off."""

    text: bytes
    """That of the file, without the items that were in the pieces."""
    first: int = 0
    """Position in the list of the first item that is left."""
    head: int = 0
    """Bytes before that item."""
    left_out: int = 0
    """Bytes of the file between these and the item."""


def pieces(file: BinaryIO, size: int = PIECE) -> Iterator[Piece | Rest]:
    """The pieces of a file with one large list, then the rest.

    Of any other file, the rest is the whole. All pieces stand in the same place in memory: the
    text of one is gone as soon as the next is asked for.
    """
    text = bytearray(size)
    filled = _fill(file, text, 0)
    match = _LIST.match(text) if filled == size else None
    if match is None:
        yield Rest(bytes(text[:filled]) + file.read())
        return
    head, cut = bytes(text[: match.start("opening")]), b"}," + match["opening"]
    if cut not in text:
        # Python's json puts a space before each item but the first.
        cut = b"}, " + match["opening"]
    implied = _implied(head)
    left, first, left_out = bytes(text[len(head) :]), 0, 0
    more = True
    while more and len(left) <= _LARGEST * size:
        if 2 * len(left) > len(text):
            text = bytearray(2 * len(text))
        # The text gets the brackets of a list: one before it, one in the place of a comma.
        text[: 1 + len(left)] = b"[" + left
        filled = _fill(file, text, 1 + len(left))
        more = filled == len(text)
        piece, end, tries = None, 0, 0
        for end in islice(_ends(text, cut, filled), _TRIES):
            tries += 1
            text[end] = ord("]")
            piece = _piece(first, memoryview(text)[: end + 1], implied)
            if piece is not None:
                break
            text[end] = ord(",")
        if piece is not None:
            yield piece
            first += piece.count
            left_out += end
            left = bytes(text[end + 1 : filled])
        else:
            left = bytes(text[1:filled])
            more = more and not tries
    yield Rest(head + left + file.read(), first, len(head), left_out)


def _ends(text: bytearray, cut: bytes, end: int) -> Iterator[int]:
    """Positions of commas that stand between items as it seems, the last one first."""
    while (end := text.rfind(cut, 0, end)) >= 0:
        if _BEGIN.match(text, end):
            yield end + 1


def _fill(file: BinaryIO, text: bytearray, begin: int) -> int:
    """Reads until the text is full or the file ends; where it ends in the text."""
    with memoryview(text) as view:
        while begin < len(text):
            count = file.readinto(view[begin:])  # type: ignore[attr-defined]
            if not count:
                break
            begin += count
    return begin


def _implied(head: bytes) -> Kind:
    """What items of a typed list (PodList) are, if the list says it before them."""
    try:
        said = msgspec.json.decode(head + b"]}", type=Kind)
    except msgspec.DecodeError:
        return Kind()
    kind = said.kind.removesuffix("List")
    return Kind(said.api_version, kind) if kind != said.kind else Kind()


def _piece(first: int, text: memoryview, implied: Kind) -> Piece | None:
    """The piece; None: it is no list of objects of known kinds."""
    heads: list[Head] | None = None
    kinds: Sequence[Head | Kind]
    try:
        try:
            kinds = heads = _heads.decode(text)
        except msgspec.ValidationError:
            kinds = _kinds.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    # The list itself may tell what they are, yet after them.
    if not implied.kind and not all(kind.kind for kind in kinds):
        return None
    return Piece(first, len(kinds), text, implied, heads)
