"""The command line: the whole benchmark, or one part of it."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from plimsoll_bench import against_karpenter, table
from plimsoll_bench.case import Case
from plimsoll_bench.settings import FULL, QUICK

PARTS: Mapping[str, str] = {
    "karpenter": "against_karpenter",
    "autoscaler": "against_autoscaler",
    "scale": "scale",
    "change": "replanning",
    "reading": "reading",
    "survival": "promising",
    "consolidation": "consolidation",
    "live": "live",
}
"""Module of each part; it has a function ``rows(case)``. Only what is asked for is imported."""


def main(arguments: list[str]) -> int:
    """Measures what is asked for and prints the table; the exit code.

    0: it was measured, whatever the goals; 1: an answer of ours was wrong by the checker.
    """
    parser = argparse.ArgumentParser(prog="plimsoll_bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; or all")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only that it runs")
    parser.add_argument("--vms", type=int, help="VMs of the live case")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    parser.add_argument("--mix", type=int, nargs="+", metavar="PODS", help=_show_mix.__doc__)
    parser.add_argument("--plain", action="store_true", help="with --mix: without rules")
    given = parser.parse_args(arguments)
    if given.mix:
        _show_mix(given.mix, given.plain)
        return 0
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: no such part; there are {', '.join(PARTS)}")
    settings = QUICK if given.quick else FULL
    if given.vms is not None:
        settings = replace(settings, live_vms=given.vms)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {text}", file=sys.stderr, flush=True)

    rows: list[table.Row] = []
    with tempfile.TemporaryDirectory(prefix="plimsoll-bench-") as folder:
        for name in given.parts or PARTS:
            part = importlib.import_module(f"plimsoll_bench.{PARTS[name]}")
            rows += part.rows(Case(settings, Path(folder), say))
    for line in table.lines(rows):
        print(line)
    if given.json is not None:
        table.write(given.json, rows, asdict(settings))
        say(f"written to {given.json}")
    return int(any(row.notes and not row.peer for row in rows))


def _show_mix(counts: list[int], plain: bool) -> None:
    """plan Karpenter's mix of so many pods once, without Karpenter: for tuning"""
    with tempfile.TemporaryDirectory(prefix="plimsoll-bench-") as folder:
        for count in counts:
            case = Case(QUICK, Path(folder), print)
            print(against_karpenter.show(case, count, plain), flush=True)
