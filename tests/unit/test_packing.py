"""How close plans come to what their pods ask for, on mixes in which rules matter."""

from __future__ import annotations

import pytest

import planning as w
from mixes import a_pool, mixed_pods
from plimsoll.decide.planner import plan
from plimsoll.world.snapshot import Snapshot


@pytest.mark.parametrize("seed", [1, 2])
def test_large_vms_are_not_filled_with_what_needs_memory_alone(seed: int) -> None:
    """One that is full of memory at its largest size would have CPUs left that no pod can use."""
    pods, pool = mixed_pods(1000, seed), a_pool()
    rack = w.replace(w.hypervisor(), hosts=None)
    world = Snapshot(hypervisors=(rack,), pools=(pool,), pods=pods, namespaces={"default": {}})
    found = plan(world, w.NOW)
    assert not found.unplaced
    asked = max(
        sum(pod.shape.requests.cpu for pod in pods) / 1000,
        sum(pod.shape.requests.memory for pod in pods) / (2 * w.GIB),
    )
    assert found.cost.after <= 1.03 * asked * 1000
