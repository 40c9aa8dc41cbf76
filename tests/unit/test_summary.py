"""A large plan is told by class of pods and by kind of move; nothing is lost on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from plimsoll.cli import app

NOW = "2026-01-01T01:00:00Z"
Json = dict[str, Any]


def pod(name: str, cpu: str, owner: tuple[str, str] | None = None, **spec: Any) -> Json:
    """A pending pod; ``owner``: kind and name."""
    meta: Json = {"name": name, "namespace": "shop", "uid": name}
    if owner is not None:
        kind, of = owner
        reference = {"kind": kind, "name": of, "uid": of, "controller": True}
        meta |= {"ownerReferences": [reference], "labels": {"pod-template-hash": "77f"}}
    container = {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"containers": [container], **spec},
    }


def pool(name: str, largest: int) -> Json:
    size = {"cpu": {"min": 2, "max": largest}, "memory": {"min": "4Gi", "max": "16Gi"}}
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "VMPool",
        "metadata": {"name": name},
        "spec": {
            "hypervisor": "rack",
            "nodes": {"min": 0, "max": 500},
            "size": size,
            "density": {"pods": {"min": 1, "max": 110}, "reserved": {"cpu": 0, "memory": 0}},
            "cost": {"perVM": 1, "perCPU": 1, "perGiB": 0},
        },
    }


@pytest.fixture
def many(tmp_path: Path) -> str:
    """800 replicas of a Deployment, 12 large bare pods, 60 that nothing is large enough for."""
    path = tmp_path / "many.json"
    items = [
        pool("web", 4),
        *(pod(f"web-77f-{n}", "1", ("ReplicaSet", "web-77f")) for n in range(800)),
        *(pod(f"bare-{n:02}", "3", hostNetwork=False) for n in range(12)),
        *(pod(f"huge-{n}", "500", ("StatefulSet", "huge")) for n in range(59)),
        pod("waits", "1", schedulingGates=[{"name": "later"}]),
        pod("odd", "500", ("StatefulSet", "huge"), schedulerName="mine"),
    ]
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return str(path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", "--now", NOW, *arguments])


def test_a_large_plan_is_told_by_class(many: str) -> None:
    result = run("-f", many)
    assert result.exit_code == 3
    told = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert len(told) < 40
    document = json.loads(run("-f", many, "-o", "json").stdout)
    launches = document["moves"]
    assert {move["kind"] for move in launches} == {"Launch"}
    assert told[0] == f"{len(launches)} moves"
    assert told[1].startswith(f"{len(launches)} x Launch web: ")
    assert f"{len(launches) - 5} wait: maxLaunching is 5" in told
    # Those without a place come first, then those that get one.
    at = told.index("Pods by class")
    assert told[at + 1] == (
        "60 shop/huge (StatefulSet) 500 CPU, 1Gi 59 without a place (TooBig); "
        "1 without a place (NotModelled)"
    )
    web = {p["node"] for p in document["placements"] if p["pod"].startswith("shop/web")}
    assert told[at + 2] == (
        f"800 shop/web (Deployment) 1 CPU, 1Gi 800 go to {len(web)} new VMs of web"
    )
    assert told[at + 3].startswith("12 shop/pods of no owner 3 CPU, 1Gi 12 go to 12 new VMs")
    assert "1 shop/pods of no owner 1 CPU, 1Gi 1 wait for scheduling gates" in told


def test_pods_that_lack_the_same_are_told_once_with_an_example(many: str) -> None:
    told = run("-f", many).stdout.splitlines()
    at = told.index("60 pods without a place")
    assert told[at + 1].startswith("  59 pods, e.g. shop/huge-0 (TooBig): ")
    assert "holds" in told[at + 1]
    assert told[at + 2].startswith("  shop/odd (NotModelled): ")


def test_the_document_still_has_everything(many: str) -> None:
    document = json.loads(run("-f", many, "-o", "json").stdout)
    assert len(document["placements"]) == 812
    assert len(document["unplaced"]) == 60
    new = {vm["name"] for vm in document["vms"] if vm["new"]}
    assert {move["subject"] for move in document["moves"]} == {f"vm/{name}" for name in new}


def test_many_sizes_are_summed_and_few_moves_told_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "sizes.json"
    pods = [pod(f"p-{n}", "1", nodeSelector={"plimsoll.dev/pool": "web"}) for n in range(120)]
    for number, one in enumerate(pods):
        (container,) = one["spec"]["containers"]
        container["resources"]["requests"]["cpu"] = str(1 + number % 6)
        # No two on one VM: each VM is as large as its pod.
        container["ports"] = [{"containerPort": 80, "hostPort": 80}]
    alone = pod("alone", "1", nodeSelector={"plimsoll.dev/pool": "db"})
    items = [pool("web", 8), pool("db", 2), *pods, alone]
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    told = run("-f", str(path)).stdout
    (web,) = (line for line in told.splitlines() if " x Launch web: " in line)
    assert "120 x Launch web: 20 of " in web
    assert ", and 3 other sizes, in all " in web
    assert "; cost +" in web
    assert "Launch  vm/db-1  " in told
