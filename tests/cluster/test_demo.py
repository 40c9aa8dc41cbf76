"""The demo, told from start to end: the one narrated story of the whole system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOLD_WITHIN = 500.0
"""Seconds. Each chapter gives up by itself, and says why, long before."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the demo wrote for machines; what it said is shown when a test fails."""
    output = tmp_path_factory.mktemp("demo") / "report.json"
    environment = {name: value for name, value in os.environ.items() if name != "KEEP"}
    environment["PYTHONPATH"] = f"{ROOT}/tools/demo:{ROOT}/tools/testenv"
    done = subprocess.run(
        [sys.executable, "-m", "plimsoll_demo", "--json", str(output)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TOLD_WITHIN,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0
    told: dict[str, Any] = json.loads(output.read_text())
    return told


pytestmark = [pytest.mark.timeout(TOLD_WITHIN + 60), pytest.mark.xdist_group("demo")]


def facts(report: dict[str, Any], chapter: str) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in report["chapters"] if c["name"] == chapter)
    assert found["ok"]
    kept: dict[str, Any] = found["facts"]
    # Whatever a chapter does, no promise is broken when it ends.
    assert kept["redundant"]
    return kept


def test_it_starts_with_two_vms_on_two_hosts(report: dict[str, Any]) -> None:
    start = facts(report, "a")
    assert start["vms"] == len(start["hosts"]) == 2


def test_more_containers_raise_the_density_and_launch_nothing(report: dict[str, Any]) -> None:
    start, dense = facts(report, "a"), facts(report, "b")
    assert dense["containers"] > start["containers"]
    assert dense["berths"] > start["berths"]
    assert (dense["vms"], dense["vm_cpu"]) == (start["vms"], start["vm_cpu"])


def test_load_first_makes_replicas_larger_and_then_their_vms(report: dict[str, Any]) -> None:
    dense, grown = facts(report, "b"), facts(report, "c")
    assert grown["replicas"] == dense["replicas"]
    assert grown["replica_cpu_before"] < grown["replica_cpu_resized"]
    assert grown["replica_cpu_resized"] < grown["replica_cpu"]["tomcat"]
    assert grown["vms"] == dense["vms"]
    assert grown["vm_cpu"] > dense["vm_cpu"]


def test_more_throughput_takes_more_replicas_and_more_vms(report: dict[str, Any]) -> None:
    grown, wide = facts(report, "c"), facts(report, "d")
    assert wide["replicas"]["tomcat"] > grown["replicas"]["tomcat"]
    assert wide["vms"] > grown["vms"]


def test_a_dead_host_breaks_no_promise(report: dict[str, Any]) -> None:
    hit = facts(report, "e")
    assert 0 < hit["replicas_left"] < hit["replicas_before"]
    assert hit["load"] <= hit["need"] <= hit["capacity_left"]
    assert hit["restarted"]
    assert hit["host"] not in hit["restarted"].values()


def test_when_load_falls_everything_is_given_back(report: dict[str, Any]) -> None:
    start, end = facts(report, "a"), facts(report, "f")
    assert end["vms"] == start["vms"] < end["vms_before"]
    assert end["vm_cpu"] == start["vm_cpu"] < end["vm_cpu_before"]
    assert end["replicas"] == start["replicas"]


def test_every_decision_is_told_with_its_reason(report: dict[str, Any]) -> None:
    decisions = report["decisions"]
    assert all(decision["reason"] for decision in decisions)
    told = {decision["kind"] for decision in decisions}
    assert told >= {"Load", "Resize", "Grow", "Replicate", "Launch", "Retire", "Shrink"}


def test_the_same_containers_cost_least_in_shared_vms(report: dict[str, Any]) -> None:
    moments = {moment["name"]: moment for moment in report["summary"]}
    assert list(moments) == ["before", "at peak", "after"]
    for moment in moments.values():
        assert moment["plimsoll"]["cost"] < moment["one_app_per_vm"]["cost"]
        assert moment["plimsoll"]["cost"] < moment["bare_metal"]["cost"]
        assert moment["plimsoll"]["machines"] < moment["one_app_per_vm"]["machines"]
