"""Lines of text that small and large plans have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from plimsoll.decide.plan import Move, Unplaced


class Line(NamedTuple):
    """One line of text, and how loud it is: ``bold``, ``red``, ``dim`` or empty."""

    text: str
    style: str = ""


def move_lines(moves: Sequence[Move]) -> Iterator[Line]:
    """Every move with its reason in a line, and below it what it was preferred to."""
    for move, text in zip(moves, in_columns(map(_cells, moves)), strict=True):
        yield Line(f"  {text}")
        if move.deferred:
            yield Line(f"    waits: {move.deferred}", "dim")
        for rejected in move.rejected:
            yield Line(f"    rather than {rejected}", "dim")


def _cells(move: Move) -> tuple[str, ...]:
    host = f"on {move.host}" if move.host else ""
    return move.kind.value, move.subject, change(move), host, move.reason


def change(move: Move) -> str:
    """From what to what; empty: nothing to be told."""
    return " -> ".join(part for part in (move.source, move.target) if part)


def in_columns(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Rows with their cells under each other, but for the last, which may be long."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False) if width]
        yield "  ".join((*cells, row[-1]))


def unplaced_text(unplaced: Unplaced) -> str:
    """A pod, the main reason, and what each pool lacked."""
    why = "; ".join(f"{pool}: {lacked}" for pool, lacked in sorted(unplaced.why.items()))
    return f"{unplaced.pod} ({unplaced.reason.value}): {why or 'no pool may take it'}"


def count(number: int, noun: str, nouns: str = "") -> str:
    """``1 pod``, ``2,000 pods``."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"
