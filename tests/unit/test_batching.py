"""When changes are decided on, and which ones are worth a decision."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from plimsoll.api import VMNode
from plimsoll.batching import PAUSE, TURN_APART_MOST, Batch, concerns_plan
from plimsoll.resources import NODES, PODS, VMNODES
from plimsoll.world import wire

LONGEST = 0.2


def due(*changes: float, turn_ended: float = 0.0, turn_took: float = 0.1) -> float:
    batch = Batch(LONGEST, turn_ended, turn_took)
    for at in changes:
        batch.add(at)
    return batch.due()


class TestWhenToDecide:
    def test_a_change_after_a_quiet_time_waits_for_a_pause_only(self) -> None:
        assert due(10.0) == pytest.approx(10.0 + PAUSE)

    def test_changes_that_follow_each_other_are_decided_on_together(self) -> None:
        assert due(10.0, 10.03, 10.06) == pytest.approx(10.06 + PAUSE)

    def test_changes_without_a_pause_are_not_awaited_for_ever(self) -> None:
        assert due(*(10.0 + 0.01 * n for n in range(100))) == pytest.approx(10.0 + LONGEST)

    def test_under_load_turns_are_half_as_far_apart_as_they_are_long(self) -> None:
        assert due(10.0, turn_ended=10.0, turn_took=0.3) == pytest.approx(10.15)

    def test_a_long_turn_does_not_keep_changes_waiting_as_long(self) -> None:
        after = due(10.0, turn_ended=10.0, turn_took=5.0)
        assert after == pytest.approx(10.0 + TURN_APART_MOST)


def node(**status: Any) -> wire.Node:
    version = status.pop("version", "1")
    document = {
        "metadata": {"name": "vm-1", "uid": "u", "resourceVersion": version},
        "status": status,
    }
    return msgspec.convert(document, wire.Node)


def ready(status: str, heartbeat: str) -> dict[str, str]:
    return {"type": "Ready", "status": status, "lastHeartbeatTime": heartbeat}


def vmnode(**status: Any) -> VMNode:
    return VMNode.model_validate(
        {
            "apiVersion": "plimsoll.dev/v1alpha1",
            "kind": "VMNode",
            "metadata": {"name": "vm-1", "uid": "u"},
            "spec": {"pool": "web", "hypervisor": "rack", "size": {"cpu": 2, "memory": "4Gi"}},
            "status": status,
        }
    )


class TestWhatConcernsThePlan:
    def test_a_heartbeat_does_not(self) -> None:
        before = node(version="1", conditions=[ready("True", "2026-01-01T00:00:00Z")])
        after = node(version="2", conditions=[ready("True", "2026-01-01T00:05:00Z")])
        assert not concerns_plan(NODES, before, after)

    def test_a_node_that_is_lost_does(self) -> None:
        before = node(version="1", conditions=[ready("True", "2026-01-01T00:00:00Z")])
        after = node(version="2", conditions=[ready("False", "2026-01-01T00:00:00Z")])
        assert concerns_plan(NODES, before, after)

    @pytest.mark.parametrize("resource", [NODES, PODS, VMNODES])
    def test_what_comes_or_goes_does(self, resource: Any) -> None:
        assert concerns_plan(resource, None, node())
        assert concerns_plan(resource, node(), None)

    def test_what_the_scheduler_says_of_a_pod_does(self) -> None:
        def pod(version: str, conditions: list[Any]) -> wire.Pod:
            meta = {"name": "web", "namespace": "a", "uid": "u", "resourceVersion": version}
            return msgspec.convert(
                {"metadata": meta, "status": {"conditions": conditions}}, wire.Pod
            )

        unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        assert concerns_plan(PODS, pod("1", []), pod("2", [unschedulable]))
        assert not concerns_plan(PODS, pod("1", [unschedulable]), pod("2", [unschedulable]))

    def test_what_is_awaited_of_a_vm_does_not(self) -> None:
        before = vmnode(phase="Joining", message="waiting for its node")
        after = vmnode(phase="Joining", message="its node is not ready yet")
        assert not concerns_plan(VMNODES, before, after)
        assert not concerns_plan(VMNODES, vmnode(phase="Requested"), vmnode(phase="Creating"))

    @pytest.mark.parametrize(
        "status",
        [
            {"phase": "Ready"},
            {"phase": "Creating", "failures": 1},
            {"phase": "Creating", "host": "h1"},
            {"phase": "Creating", "identity": {"uuid": "u"}},
            {"phase": "Creating", "size": {"cpu": 2, "memory": "4Gi"}},
            {"phase": "Creating", "lostSince": "2026-01-01T00:00:00Z"},
        ],
    )
    def test_what_becomes_of_a_vm_does(self, status: dict[str, Any]) -> None:
        assert concerns_plan(VMNODES, vmnode(phase="Requested"), vmnode(**status))
