"""Rows of the result: for people as a table, for programs as ``build/bench.json``."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One figure, beside what it is measured against."""

    section: str
    name: str
    value: float
    unit: str = ""
    goal: str = ""
    """In words, such as ``<= 0.66``; empty: there is none."""
    met: bool | None = None
    beside: str = ""
    """The two sides of a ratio, or whose figure the value is compared with."""
    samples: tuple[float, ...] = ()
    """The single measurements that the value rests on."""
    notes: tuple[str, ...] = ()
    """What the independent checker, or anything else, found wrong."""
    peer: bool = False
    """The row is about somebody else's answer alone: its faults are not ours."""


def at_most(limit: float) -> tuple[str, float, bool]:
    """A goal that small figures meet; for `judged`."""
    return f"<= {limit:g}", limit, True


def at_least(limit: float) -> tuple[str, float, bool]:
    """A goal that large figures meet; for `judged`."""
    return f">= {limit:g}", limit, False


def judged(row: Row, goal: tuple[str, float, bool]) -> Row:
    """The row with its goal, and whether it is met. What the checker faults meets none."""
    text, limit, small = goal
    good = row.value <= limit if small else row.value >= limit
    return replace(row, goal=text, met=good and not row.notes)


def median(values: Iterable[float]) -> float:
    """The middle of all values."""
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all are not above."""
    ordered = sorted(values)
    return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1]


def lines(rows: Iterable[Row]) -> Iterator[str]:
    """The table, a section at a time."""
    section, told = "", set[str]()
    for row in rows:
        if row.section != section:
            section, told = row.section, set()
            yield ""
            yield section
        met = {True: "met", False: "NOT MET", None: ""}[row.met]
        value = f"{row.value:,.3f}" if abs(row.value) < 100 else f"{row.value:,.0f}"
        yield (
            f"  {row.name:<58} {value:>9} {row.unit:<5} {row.goal:<9} {met:<8} {row.beside}"
        ).rstrip()
        for note in row.notes:
            if note not in told:
                yield f"      ! {note}"
        told.update(row.notes)


def write(path: Path, rows: Sequence[Row], settings: dict[str, Any]) -> None:
    """Writes all rows, with the machine and the sizes that they were measured with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": {
            "cpus": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "settings": settings,
        "rows": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
