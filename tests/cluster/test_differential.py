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


def test_what_disagreed_once_agrees(kubeconfig: str) -> None:
    worlds = {path.stem: list(yaml.safe_load_all(path.read_text())) for path in CASES}
    assert run(disagreements(kubeconfig, worlds), timeout=280) == []
