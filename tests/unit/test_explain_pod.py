"""``plimsoll explain pod`` on files: where a pod goes, and why not to each VM and each pool."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from plimsoll.cli import app
from plimsoll.decide import why

NOW = "2026-01-01T01:00:00Z"
Json = dict[str, Any]
Explain = Callable[..., str]


def pool(name: str, **spec: Any) -> Json:
    """VMs of 2 to 4 CPUs and 4 to 16 GiB, line 85%."""
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "VMPool",
        "metadata": {"name": name},
        "spec": {
            "hypervisor": "rack",
            "nodes": {"min": 0, "max": 4},
            "size": {"cpu": {"min": 2, "max": 4}, "memory": {"min": "4Gi", "max": "16Gi"}},
            "density": {
                "pods": {"min": 1, "max": 20},
                "loadLinePercent": 85,
                "reserved": {"cpu": "200m", "memory": "512Mi"},
            },
            "cost": {"perVM": 4, "perCPU": 1, "perGiB": "250m"},
            **spec,
        },
    }


def node(name: str, **spec: Any) -> Json:
    have = {"cpu": "4", "memory": "16Gi", "pods": "20"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "disk": "hdd"}},
        "spec": spec,
        "status": {
            "allocatable": have,
            "capacity": have,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(name: str, cpu: str, on: str = "", phase: str = "", **spec: Any) -> Json:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}
    if on:
        spec["nodeName"] = on
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "uid": name, "labels": {"app": name}},
        "spec": {"containers": [container], **spec},
        "status": {"phase": phase or ("Running" if on else "Pending")},
    }


CLAIM = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
DEDICATED = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
ITEMS = [
    pool("web"),
    pool("db", template={"taints": [DEDICATED]}),
    *(node(f"n{number}") for number in range(8)),
    node("d1", taints=[DEDICATED]),
    node("c1", unschedulable=True),
    *(pod(f"busy-{number}", "3500m", f"n{number}", priority=10) for number in range(8)),
    pod("large", "2"),
    pod("huge", "9"),
    pod("gated", "1", schedulingGates=[{"name": "later"}]),
    pod("odd", "1", schedulerName="mine"),
    pod("vip", "3", priority=100),
    pod("filling", "1", priority=-20),
    pod("stateful", "1", volumes=[CLAIM]),
    pod("done", "1", phase="Succeeded"),
    {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "slow"},
        "provisioner": "disk.example.com",
    },
    {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "pv"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]},
    },
]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["explain", *arguments])


@pytest.fixture
def site(tmp_path: Path) -> str:
    path = tmp_path / "site.json"
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "other", "namespace": "shop"},
        "spec": {"storageClassName": "slow", "accessModes": ["ReadWriteOnce"]},
    }
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*ITEMS, claim]}))
    return str(path)


@pytest.fixture
def explain(site: str) -> Explain:
    def told(name: str, *arguments: str) -> str:
        result = run("pod", name, "-n", "shop", "-f", site, "--now", NOW, *arguments)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    return told


def test_a_pod_for_which_a_vm_is_launched(explain: Explain) -> None:
    told = explain("large")
    assert told.startswith("Pod shop/large: pending; asks for 2 CPU, 1Gi\nGoes to web-1, a new VM")
    assert "  Launch vm/web-1 (" in told
    assert "    rather than Load existing VMs: none takes it: " in told
    assert (
        "  kube-scheduler: 0/10 nodes are available: 1 node(s) had untolerated taint(s), "
        "1 node(s) were unschedulable, 8 Insufficient cpu.\n"
    ) in told
    assert "  1 VM: it goes here\n    web-1 (web)\n" in told
    assert "  8 VMs: Insufficient cpu" in told
    assert "    d1: dedicated=db:NoSchedule\n" in told
    assert (
        "  db: 0 VMs\n    Launch: a new VM: node(s) had untolerated taint(s) "
        "(dedicated=db:NoSchedule)\n"
    ) in told


def test_vms_with_the_same_trouble_are_named_up_to_a_limit(explain: Explain) -> None:
    few, every = explain("huge"), explain("huge", "--all")
    assert "    n4: cpu: asked 9, free 500m of 4\n    and 3 more (--all)\n" in few
    assert "n5:" not in few
    assert "    n7: cpu: asked 9, free 500m of 4\n" in every
    assert "(--all)" not in every


def test_a_pod_that_finds_no_place_is_told_what_each_pool_lacks(explain: Explain) -> None:
    told = explain("huge")
    assert "Finds no place (TooBig)\n" in told
    assert "    Grow web-1: even at its largest size it would be above its load line" in told
    assert "    Launch: the largest VM (4 CPU, 16Gi) holds 3230m CPU, 13492Mi under " in told
    # All that stands in the way is told, not only what the scheduler meets first.
    assert "1 VM: node(s) had untolerated taint(s); Insufficient cpu\n" in told


def test_a_gated_pod(explain: Explain) -> None:
    told = explain("gated")
    assert "  waits for its scheduling gates: it is not planned for" in told
    assert "Gets no place: it is not planned for\n" in told
    assert "kube-scheduler:" not in told
    assert "    Launch: could be, 2 CPU, 4Gi" in told


def test_a_pod_that_is_not_modelled(explain: Explain) -> None:
    told = explain("odd")
    assert "  not modelled, so it is never placed by guess: scheduler mine\n" in told
    assert "Finds no place (NotModelled)\n" in told
    assert "a rule that Plimsoll does not model" in told


def test_a_pod_without_its_claim(explain: Explain) -> None:
    told = explain("stateful")
    assert "  no VM would help now: " in told
    assert "Finds no place (VolumeBinding)\n" in told
    assert "kube-scheduler:" not in told


def test_a_pod_that_preempts_and_one_that_is_driven_out(explain: Explain) -> None:
    told = explain("vip")
    assert "Preempts pod/shop/vip: it drives shop/busy-0 out of VM n0: no VM is bought" in told
    assert "it takes the pod as it is" not in told
    assert "7 VMs: Insufficient cpu; would fit by preemption\n" in told
    assert "; preempts at most 1 pod of a lower priority\n" in told
    told = explain("busy-0")
    assert "Loses its place on n0 and finds no other (TooBig)\n" in told
    assert "  Preempts pod/shop/vip: it drives shop/busy-0 out" in told


def test_an_expendable_pod(explain: Explain) -> None:
    told = explain("filling")
    assert "    Launch: nothing is launched for pods of a priority below -10\n" in told
    told = explain("filling", "--expendable-below", "-5")
    assert "    Launch: nothing is launched for pods of a priority below -5\n" in told


def test_a_pod_that_runs_and_stays(explain: Explain) -> None:
    told = explain("busy-5")
    assert told.startswith("Pod shop/busy-5: on n5; asks for 3500m CPU, 1Gi\n")
    assert "Stays on n5\n" in told
    assert "  1 VM: it runs here and stays\n    n5\n" in told
    assert "kube-scheduler:" not in told


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nope", "there is no pod shop/nope"),
        ("busy", "there is no pod shop/busy; there is shop/busy-0, shop/busy-1, shop/busy-2"),
        ("done", "pod shop/done has finished (Succeeded): it needs no place"),
    ],
)
def test_a_pod_that_is_not_there(site: str, name: str, said: str) -> None:
    result = run("pod", name, "-n", "shop", "-f", site)
    assert result.exit_code == 2
    assert result.stderr == f"error: {said}\n"


def test_room_that_the_plan_gives_to_others(tmp_path: Path) -> None:
    path = tmp_path / "contested.json"
    items = [node("n1"), pod("first", "3", priority=5), pod("second", "2")]
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    told = run("pod/shop/second", "-f", str(path)).stdout
    assert "VMs: 1 of 1 would take it as they are now\n" in told
    assert (
        "  1 VM: room goes to other pods of the plan; then Insufficient cpu\n"
        "    n1: cpu: asked 2, free 1 of 4\n"
    ) in told
    assert "Pools: there are none\n" in told
    told = run("pod/first", "-n", "shop", "-f", str(path)).stdout
    assert "Goes to n1\n  Load: it takes the pod as it is, which costs nothing\n" in told


@pytest.mark.parametrize("name", ["cart", "report"])
def test_the_guide_shows_what_is_printed(name: str) -> None:
    root = Path(__file__).parents[2]
    guide = (root / "docs/guides/explain.md").read_text()
    data = str(root / "tests/data/shop.yaml")
    told = run("pod", name, "-n", "shop", "-f", data, "--now", NOW).stdout.splitlines(True)
    shown = told if name == "cart" else told[-6:]
    assert "".join(shown) in guide


def test_the_guide_names_the_schedulers_words() -> None:
    guide = (Path(__file__).parents[2] / "docs/guides/explain.md").read_text()
    words = [text for text in vars(why).values() if str(text).startswith("node(s)")]
    assert len(words) == 12
    for text in words:
        assert f"`{text}`" in guide or text == why.SPREAD_LABEL


def test_pools_are_explained_from_files_too(site: str) -> None:
    result = run("vmpool", "web", "-f", site, "--now", NOW)
    assert result.exit_code == 0
    assert result.stdout.startswith("VMPool web at Hypervisor rack\n")
    assert "  Launch vm/web-1 (" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-f", "missing.yaml"], "missing.yaml: cannot be read"),
        (["--now", "soon"], "--now soon: is no moment: write it like 2026-01-31T"),
    ],
)
def test_bad_input_is_told_on_standard_error(site: str, arguments: list[str], said: str) -> None:
    result = run("pod", "huge", "-f", site, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""
