"""``plimsoll plan``: reads files, decides, prints. No cluster is needed, and none is asked."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, TextIO

from plimsoll.api.timestamp import parse_rfc3339
from plimsoll.decide.planner import plan
from plimsoll.offline.files import Loaded, load
from plimsoll.offline.podclasses import owners
from plimsoll.offline.problems import BadInput
from plimsoll.offline.report import Report, document, lines
from plimsoll.world.assemble import assemble
from plimsoll.world.snapshot import EXPENDABLE_BELOW, Snapshot

FEASIBLE: Final = 0
"""Nothing to do, or a plan after which every pod has its place."""
BAD_INPUT: Final = 2
UNPLACED: Final = 3
"""A plan that leaves pods without a place."""


class Output(StrEnum):
    """How a plan is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def main(
    paths: Iterable[str],
    output: Output,
    now: str | None,
    expendable_below: int = EXPENDABLE_BELOW,
) -> int:
    """Prints the plan on standard output, or what is wrong on standard error; the exit code.

    ``now`` (RFC 3339) is the moment to plan for: None means that of the newest
    measurement in the files, or the present.
    """
    began = time.perf_counter()
    try:
        moment = parse_rfc3339(now) if now is not None else None
    except ValueError:
        print(f"--now {now}: is no moment: write it like 2026-01-31T12:00:00Z", file=sys.stderr)
        return BAD_INPUT
    try:
        loaded, snapshot, moment = read(paths, moment, expendable_below)
    except BadInput as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return BAD_INPUT
    ready = time.perf_counter()
    decided = plan(snapshot, moment)
    done = time.perf_counter()
    report = Report(
        snapshot,
        decided,
        loaded.notes,
        ready - began,
        done - ready,
        lambda: owners(loaded.objects.pods),
    )
    _print(report, output, sys.stdout)
    return UNPLACED if decided.unplaced else FEASIBLE


def read(
    paths: Iterable[str], moment: float | None, expendable_below: int = EXPENDABLE_BELOW
) -> tuple[Loaded, Snapshot, float]:
    """What files hold, the snapshot to decide on, and the moment of which it speaks.

    Raises:
        BadInput: with everything that is wrong in all the files.
    """
    # All that is read stays, so that looking for garbage among it would be time lost.
    gc.disable()
    try:
        loaded = load(paths)
        if moment is None:
            moment = loaded.moment if loaded.moment is not None else time.time()
        snapshot = assemble(
            loaded.objects, loaded.observations, moment, expendable_below=expendable_below
        )
        gc.freeze()
    finally:
        gc.enable()
    return loaded, snapshot, moment


def _print(report: Report, output: Output, to: TextIO) -> None:
    match output:
        case Output.JSON:
            import msgspec

            to.write(msgspec.json.format(msgspec.json.encode(document(report)), indent=2).decode())
            to.write("\n")
        case Output.YAML:
            import yaml

            dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
            yaml.dump(document(report), to, Dumper=dumper, sort_keys=False, allow_unicode=True)
        case Output.TABLE if to.isatty():
            from rich.console import Console

            console = Console(file=to, highlight=False)
            for line in lines(report):
                console.print(line.text, style=line.style or None, markup=False, soft_wrap=True)
        case Output.TABLE:
            to.writelines(f"{line.text}\n" for line in lines(report))
