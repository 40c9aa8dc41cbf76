"""Plans agree with the real kube-scheduler about where pods can go.

Random worlds over all the rules, one for each number: `make fuzz` tries thousands of others. What
disagreed once is kept as a case of its own in tests/data/disagreements.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from aio import run
from differential.cluster import Cluster
from differential.generate import mixed
from differential.runner import NO_HEARTBEAT_SECONDS, SLOTS, Slots, compare_all
from plimsoll.decide.plan import Plan, Reason, Unplaced
from plimsoll_testenv import ControlPlane

pytestmark = pytest.mark.xdist_group("differential")

CASES = sorted((Path(__file__).parents[1] / "data" / "disagreements").glob("*.yaml"))
WORLDS = 240
CHUNK = 60


@pytest.fixture(scope="module")
def kubeconfig() -> Iterator[str]:
    """A control plane for this alone: its scheduler looks at every node, also of other tests."""
    with ControlPlane.start(node_monitor_grace_period=NO_HEARTBEAT_SECONDS) as control_plane:
        yield str(control_plane.kubeconfig)
        control_plane.require_running()


async def disagreements(kubeconfig: str, worlds: dict[str, list[dict[str, object]]]) -> list[str]:
    async with Cluster.connect(kubeconfig, SLOTS) as cluster:
        found, counts = await compare_all(Slots(cluster), worlds.items())
    assert counts["worlds"] + counts["not compared"] == len(worlds)
    return [f"world {name}: {one}" for name, several in found.items() for one in several]


@pytest.mark.parametrize("first", range(0, WORLDS, CHUNK))
def test_plans_of_random_worlds_come_true(kubeconfig: str, first: int) -> None:
    worlds = {str(number): mixed(number) for number in range(first, first + CHUNK)}
    assert run(disagreements(kubeconfig, worlds), timeout=280) == []


def wrong_plans() -> Iterator[tuple[str, list[dict[str, object]], Plan]]:
    """By the kind of disagreement that each must be found out as: a world, and a wrong plan."""
    manifests = [
        node("small", cpu="1"),
        node("large", cpu="4"),
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
            "spec": {
                "containers": [
                    {"name": "main", "image": "none", "resources": {"requests": {"cpu": "2"}}}
                ]
            },
        },
    ]
    yield "refused", manifests, Plan(placements={"default/web": "small"})
    gone = Unplaced(pod="default/web", reason=Reason.RESOURCES, why={})
    yield "fits", manifests, Plan(unplaced=(gone,))
    yield "fits", manifests, Plan()


def node(name: str, cpu: str) -> dict[str, object]:
    amounts = {"cpu": cpu, "memory": "8Gi", "pods": "10"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


@pytest.mark.parametrize(("kind", "manifests", "plan"), list(wrong_plans()))
def test_a_wrong_plan_is_found_out(
    kubeconfig: str,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    manifests: list[dict[str, object]],
    plan: Plan,
) -> None:
    monkeypatch.setattr("differential.compare.decide", lambda _: plan)
    (found,) = run(disagreements(kubeconfig, {"wrong": manifests}), timeout=100)
    assert found.startswith(f"world wrong: {kind} default/web")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_what_disagreed_once_agrees(kubeconfig: str, path: Path) -> None:
    worlds = {path.stem: list(yaml.safe_load_all(path.read_text()))}
    assert run(disagreements(kubeconfig, worlds), timeout=280) == []
