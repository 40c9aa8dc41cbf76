"""Plimsoll as people run it: ``plimsoll plan -f FILE`` in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from plimsoll_bench.objects import ZONE, Answer, Json, Machine

NOW = "2026-06-01T00:00:00Z"
"""The moment that is planned for: long after every object's creation."""

_LAUNCHER = Path(__file__).with_name("launcher.py")
_PLIMSOLL = "from plimsoll.cli import app; app()"
_FEASIBLE, _UNPLACED = 0, 3


@dataclass(frozen=True)
class Run:
    """What one run of a command took, from start to end."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Planned:
    """A plan as ``-o json`` prints it."""

    run: Run
    document: Json

    @property
    def read_seconds(self) -> float:
        """From the file to the snapshot."""
        return float(self.document["seconds"]["read"])

    @property
    def seconds(self) -> float:
        """From the snapshot to the plan."""
        return float(self.document["seconds"]["decide"])

    @cached_property
    def retired(self) -> frozenset[str]:
        """VMs that the plan retires, those that wait for their turn included."""
        return frozenset(
            move["subject"].removeprefix("vm/")
            for move in self.document["moves"]
            if move["kind"] == "Retire"
        )

    def answer(self, price: Callable[[int, int], float]) -> Answer:
        """The VMs that remain, each priced by its allocatable millicores and bytes.

        The price is not taken from the plan: it is that of what the plan buys.
        """
        pods: defaultdict[str, list[str]] = defaultdict(list)
        for placement in self.document["placements"]:
            pods[placement["node"]].append(placement["pod"])
        machines = []
        for vm in self.document["vms"]:
            if vm["name"] in self.retired:
                continue
            there = vm["allocatable"]
            machines.append(
                Machine(
                    name=vm["name"],
                    cpu=there["cpu"],
                    memory=there["memory"],
                    max_pods=there["pods"],
                    price=price(there["cpu"], there["memory"]),
                    zones=(vm["labels"][ZONE],) if ZONE in vm["labels"] else (),
                    pods=tuple(pods[vm["name"]]),
                )
            )
        unplaced = tuple(pod["pod"] for pod in self.document["unplaced"])
        return Answer(self.seconds, tuple(machines), unplaced)


def plan(path: Path) -> Planned:
    """Plans a file, and reads what was printed.

    Raises:
        RuntimeError: the command found the file at fault, or broke.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "plan.json"
        run = _run(path, output, "json")
        return Planned(run, json.loads(output.read_bytes()))


def cold(path: Path) -> Run:
    """Plans a file and prints the plan for people; what the process took in all."""
    with tempfile.TemporaryDirectory() as folder:
        return _run(path, Path(folder) / "plan.txt", "table")


def _run(path: Path, output: Path, form: str) -> Run:
    result = output.with_suffix(".result")
    command = [sys.executable, "-c", _PLIMSOLL, "plan", "-f", str(path), "-o", form, "--now", NOW]
    launched = subprocess.run(
        [sys.executable, "-I", "-S", str(_LAUNCHER), str(result), str(output), *command],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    code, seconds, peak = result.read_text().split()
    if int(code) not in (_FEASIBLE, _UNPLACED):
        raise RuntimeError(f"plimsoll plan -f {path} ended with {code}:\n{launched.stderr.strip()}")
    return Run(float(seconds), int(peak))
