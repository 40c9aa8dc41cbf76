"""``plimsoll plan``: exit codes, the JSON document, and the same answer every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from checker import problems
from plimsoll.cli import app
from plimsoll.decide.planner import plan
from plimsoll.offline.files import load
from plimsoll.world.assemble import assemble

DATA = Path(__file__).parent.parent / "data"
DUMP, SITE = str(DATA / "dump.json"), str(DATA / "site.yaml")
NOW = "2026-01-01T01:00:00Z"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", "--now", NOW, *arguments])


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    program = "from plimsoll.cli import app; app()"
    return subprocess.run(
        [sys.executable, "-c", program, "plan", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def document(*paths: str) -> dict[str, Any]:
    files = [argument for path in paths for argument in ("-f", path)]
    found: dict[str, Any] = json.loads(run(*files, "-o", "json").stdout)
    return found


@pytest.fixture
def unplaceable(tmp_path: Path) -> str:
    """A file with a pod that no VM of the site is large enough for."""
    path = tmp_path / "huge.yaml"
    container = {"name": "c", "resources": {"requests": {"cpu": "500"}}}
    huge = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "huge"},
        "spec": {"containers": [container], "tolerations": [{"operator": "Exists"}]},
    }
    path.write_text(yaml.safe_dump(huge))
    return str(path)


# Exit codes


def test_nothing_to_do(tmp_path: Path) -> None:
    path = tmp_path / "pods.json"
    path.write_text('{"apiVersion": "v1", "kind": "PodList", "items": []}')
    result = run("-f", str(path))
    assert result.exit_code == 0
    assert result.stdout.startswith("Nothing to do\n")
    assert document(str(path))["moves"] == []


def test_a_plan_that_places_every_pod() -> None:
    result = run("-f", SITE)
    assert result.exit_code == 0
    assert result.stderr == ""


def test_a_plan_that_leaves_a_pod_unplaced(unplaceable: str) -> None:
    result = run("-f", SITE, "-f", unplaceable)
    assert result.exit_code == 3
    assert "1 pod without a place" in result.stdout
    assert "default/huge (TooBig): " in result.stdout
    (unplaced,) = document(SITE, unplaceable)["unplaced"]
    assert unplaced["pod"] == "default/huge"
    assert "web" in unplaced["why"]


def test_no_vm_is_launched_for_pods_below_a_priority(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    size = {
        "cpu": {"min": 2, "max": 2, "step": 2},
        "memory": {"min": "4Gi", "max": "4Gi", "step": "4Gi"},
    }
    pool = {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "VMPool",
        "metadata": {"name": "web"},
        "spec": {"hypervisor": "rack", "nodes": {"min": 0, "max": 1}, "size": size},
    }
    filling = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "filling"},
        "spec": {"priority": -20, "containers": [{"name": "c"}]},
    }
    site.write_text(yaml.safe_dump_all((pool, filling)))
    assert run("-f", str(site)).exit_code == 3
    assert "Expendable" in run("-f", str(site)).stdout
    assert run("-f", str(site), "--expendable-below", "-20").exit_code == 0


def test_bad_input_is_told_on_standard_error_alone(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {a: 1}}\n")
    result = process("-f", str(path), "-f", str(tmp_path / "missing"))
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"error: {path}, document 1 (Pod p): $.metadata.labels.a: must be text, not a whole "
        "number: put it in quotes",
        f"error: {tmp_path}/missing: cannot be read: No such file or directory: check the path",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-f", SITE, "-o", "xml"], "'xml' is none of table, json, yaml"),
        (["-f", SITE, "--now", "soon"], "--now soon: is no moment: write it like 2026-01-31T"),
        ([], "Missing option"),
    ],
)
def test_a_command_line_that_is_wrong(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


# The document


def test_the_document_has_the_documented_fields(unplaceable: str) -> None:
    found = document(SITE, unplaceable)
    assert list(found) == [
        "moves",
        "placements",
        "vms",
        "unplaced",
        "cost",
        "seconds",
        "notes",
    ]
    move = found["moves"][0]
    assert list(move) == [
        "kind",
        "subject",
        "from",
        "to",
        "host",
        "reason",
        "cost",
        "drifted",
        "deferred",
        "rejected",
    ]
    rejected = [r for m in document(DUMP)["moves"] for r in m["rejected"]]
    assert list(rejected[0]) == ["kind", "subject", "reason", "message", "cost"]
    vm = next(vm for vm in found["vms"] if vm["new"])
    assert list(vm) == ["name", "pool", "host", "labels", "allocatable", "new"]
    assert all(type(vm["allocatable"][name]) is int for name in ("cpu", "memory", "pods"))
    assert vm["labels"]["kubernetes.io/hostname"] == vm["name"]
    assert {p["node"] for p in found["placements"]} <= {vm["name"] for vm in found["vms"]}
    assert list(found["cost"]) == ["before", "after"]
    assert list(found["seconds"]) == ["read", "decide"]


def test_the_documentation_names_every_field(unplaceable: str) -> None:
    page = (DATA.parent.parent / "docs" / "reference" / "plan-json.md").read_text()
    found = document(SITE, unplaceable)
    for name, value in found.items():
        inner = value[0] if isinstance(value, list) and value else value
        assert f"`{name}`" in page or f"`{name}." in page
        for field in inner if isinstance(inner, dict) else ():
            assert f".{field}" in page


def test_every_pod_of_the_files_is_placed_or_unplaced(unplaceable: str) -> None:
    found = document(SITE, unplaceable)
    pods = {p["pod"] for p in found["placements"]} | {u["pod"] for u in found["unplaced"]}
    loaded = load([SITE, unplaceable])
    assert pods >= {f"{p.metadata.namespace}/{p.metadata.name}" for p in loaded.objects.pods}


@pytest.mark.parametrize("path", [DUMP, SITE])
def test_the_plan_stands_up_to_the_independent_checker(path: str) -> None:
    loaded = load([path])
    snapshot = assemble(loaded.objects, loaded.observations, 1767229200.0)
    assert problems(snapshot, plan(snapshot, 1767229200.0)) == []


def test_yaml_is_the_same_document() -> None:
    found = yaml.safe_load(run("-f", SITE, "-o", "yaml").stdout)
    assert found | {"seconds": 0} == document(SITE) | {"seconds": 0}


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    dump = json.loads(Path(DUMP).read_text())
    dump["items"].reverse()
    backwards = tmp_path / "backwards.json"
    backwards.write_text(json.dumps(dump))
    outputs = set()
    for seed, path in (("1", DUMP), ("2", DUMP), ("3", str(backwards))):
        result = process("-f", path, "-o", "json", "--now", NOW, PYTHONHASHSEED=seed)
        assert result.returncode == 0
        before, _, rest = result.stdout.partition('"seconds"')
        outputs.add(before + rest[rest.index("}") :])
    assert len(outputs) == 1


# For people


def test_each_decision_is_one_line_with_its_reason() -> None:
    lines = run("-f", SITE).stdout.splitlines()
    for move in document(SITE)["moves"]:
        (line,) = [
            li for li in lines if li.startswith(f"  {move['kind']} ") and move["subject"] in li
        ]
        assert line.endswith(move["reason"])
    assert any(line.startswith("  pods ") for line in lines[lines.index("Totals") :])


def test_skipped_kinds_and_problems_are_noted(tmp_path: Path) -> None:
    pool = next(d for d in yaml.safe_load_all(Path(SITE).read_text()) if d["kind"] == "VMPool")
    pool["metadata"]["name"] = "lost"
    pool["spec"]["hypervisor"] = "nowhere"
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}
    path = tmp_path / "more.yaml"
    path.write_text(yaml.safe_dump_all([pool, service]))
    assert document(SITE, str(path))["notes"][:2] == [
        "Kinds that no decision rests on were skipped: Service (1)",
        "VMPool lost cannot be served: there is no Hypervisor nowhere: create it, or correct "
        "spec.hypervisor",
    ]


def test_a_plan_starts_without_client_and_framework() -> None:
    """They would take longer to import than the plan takes."""
    program = (
        "import sys; from plimsoll.cli import app\n"
        f"try: app(['plan', '-f', {SITE!r}, '-o', 'json'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'kopf', 'kubernetes', 'aiohttp', 'rich.table'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "[]"
