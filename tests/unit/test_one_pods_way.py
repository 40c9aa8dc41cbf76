"""docs/concepts/one-pods-way.md names what there is, and what a plan really runs."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from typer.testing import CliRunner

from plimsoll.cli import app

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "operator" / "plimsoll"
PAGE = (ROOT / "docs" / "concepts" / "one-pods-way.md").read_text()
BEFORE_ACTING, ACTING = PAGE.split("## From the plan to the cluster")

WORLD = """
apiVersion: plimsoll.dev/v1alpha1
kind: Hypervisor
metadata: {name: rack}
spec:
  provider: simulated
  simulated: {hosts: [{name: h0, cpu: 16, memory: 64Gi}, {name: h1, cpu: 16, memory: 64Gi}]}
---
apiVersion: plimsoll.dev/v1alpha1
kind: VMPool
metadata: {name: web}
spec:
  hypervisor: rack
  nodes: {min: 0, max: 4}
  size: {cpu: {min: 2, max: 8, step: 2}, memory: {min: 4Gi, max: 32Gi, step: 4Gi}}
  density: {pods: {min: 1, max: 20}}
  cost: {perVM: 4, perCPU: 1, perGiB: 250m}
"""

POD = """
---
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: %s}}
spec:
  containers:
  - {name: app, image: app, resources: {requests: {cpu: "%s", memory: 1Gi}}}
"""
APART = """  affinity:
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
      - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: %s}}}
"""


class Named(NamedTuple):
    """A function or a class of the package, as the page names it."""

    file: str
    name: str


def named(text: str) -> list[Named]:
    cells = re.findall(r"`([\w/]+\.py)` \| `([\w.]+)` \|", text + " ")
    return [Named(*cell) for cell in cells]


def defined(file: str) -> Iterator[str]:
    """Functions and classes of a file, methods with their class."""
    for node in ast.parse((PACKAGE / file).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{inner.name}"


def test_every_function_that_is_named_is_there() -> None:
    functions = named(PAGE)
    assert len(functions) == PAGE.count(".py` | `")
    assert [one for one in functions if one.name not in defined(one.file)] == []


def test_pods_that_wait_go_that_way(tmp_path: Path) -> None:
    apart = (("small", "a", "1"), ("next", "a", "1"), ("third", "b", "4"), ("huge", "c", "64"))
    free = (("free", "d", "1"), ("freer", "e", "500m"))
    world = tmp_path / "world.yaml"
    documents = [POD % pod + APART % pod[1] for pod in apart] + [POD % pod for pod in free]
    world.write_text(WORLD + "".join(documents))
    run: set[Named] = set()
    package = f"{PACKAGE}/"

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(package):
            file = code.co_filename.removeprefix(package)
            run.add(Named(file, code.co_qualname.removesuffix(".__init__")))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        outcome = CliRunner().invoke(app, ["plan", "-f", str(world)])
    finally:
        sys.setprofile(before)
    assert outcome.exit_code == 3, "huge finds no place"
    assert [one for one in named(BEFORE_ACTING) if one not in run] == []
    assert named(ACTING)
