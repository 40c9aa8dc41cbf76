"""The comparison as plain text: the answer, the figures under each other, what is assumed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from plimsoll.compare.answer import answer
from plimsoll.compare.comparison import Comparison
from plimsoll.compare.rows import headings, rows

_WIDTH: Final = 100


def lines(comparison: Comparison, notes: Sequence[str] = ()) -> Iterator[str]:
    """All lines; ``notes`` are those of the files."""
    yield from textwrap.wrap(str(answer(comparison)), _WIDTH)
    yield ""
    yield from _table(comparison)
    yield ""
    yield "What this rests on"
    for fact in comparison.facts:
        source = f"{fact.origin.value}; {fact.options}" if fact.options else fact.origin.value
        yield from _wrapped(f"{fact.what}: {fact.value} ({source})")
    told = [*notes, *comparison.notes]
    if told:
        yield ""
        yield "Notes"
        for note in told:
            yield from _wrapped(note)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False
    )


def _table(comparison: Comparison) -> Iterator[str]:
    heads, found = headings(comparison), list(rows(comparison))
    first = max(len(row.label) for row in found) + 2
    widths = [max(len(head), *(len(row.cells[n]) for row in found)) for n, head in enumerate(heads)]
    yield _line("", first, heads, widths)
    section = ""
    for row in found:
        if row.section != section:
            section = row.section
            yield section
        yield _line(f"  {row.label}", first, row.cells, widths)


def _line(label: str, first: int, cells: Sequence[str], widths: Sequence[int]) -> str:
    right = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join((label.ljust(first), *right)).rstrip()
