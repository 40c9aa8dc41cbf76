"""Documents that acting sends: sizes with their limits, and the record of a new VM."""

from __future__ import annotations

import pytest

from plimsoll.act import fields
from plimsoll.api import VMNode, VMPool
from plimsoll.decide.plan import NewVm, Size
from plimsoll.world import wire

MIB = 1024**2


def resources(requests: dict[str, str], limits: dict[str, str] | None = None) -> wire.Resources:
    return wire.Resources(requests=dict(requests), limits=dict(limits or {}))


def test_a_guaranteed_container_stays_guaranteed() -> None:
    same = {"cpu": "500m", "memory": "256Mi"}
    changed = fields.resized(resources(same, same), Size(cpu=1000, memory=512 * MIB))
    assert changed["requests"] == changed["limits"] == {"cpu": "1", "memory": "512Mi"}


def test_limits_keep_their_ratio_and_missing_limits_stay_missing() -> None:
    changed = fields.resized(
        resources({"cpu": "500m", "memory": "256Mi"}, {"cpu": "2"}),
        Size(cpu=750, memory=512 * MIB),
    )
    assert changed == {
        "requests": {"cpu": "750m", "memory": "512Mi"},
        "limits": {"cpu": "3"},
    }


def test_only_what_changes_is_sent() -> None:
    current = resources({"cpu": "500m", "memory": "256Mi"})
    assert fields.resized(current, Size(cpu=500, memory=512 * MIB)) == {
        "requests": {"memory": "512Mi"}
    }
    assert fields.resized(current, Size(cpu=500, memory=256 * MIB)) == {}


@pytest.mark.parametrize(
    ("limit", "old", "new", "expected"),
    [(1000, 500, 250, 500), (1000, 333, 100, 301), (1000, None, 400, 1000), (100, None, 400, 400)],
)
def test_a_scaled_limit_is_never_below_its_request(
    limit: int, old: int | None, new: int, expected: int
) -> None:
    assert fields.scaled(limit, old, new) == expected
    assert fields.scaled(limit, old, new) >= new


def test_the_record_of_a_vm_is_complete_and_held_by_a_finalizer_from_the_start() -> None:
    pool = VMPool.model_validate(
        {
            "metadata": {"name": "web", "uid": "pool-uid"},
            "spec": {
                "hypervisor": "rack",
                "nodes": {"max": 3},
                "size": {
                    "cpu": {"min": 2, "max": 8},
                    "memory": {"min": "4Gi", "max": "16Gi"},
                },
                "density": {"reserved": {"cpu": "300m", "memory": "1Gi"}, "pods": {"max": 50}},
                "template": {"labels": {"tier": "web"}},
            },
        }
    )
    vm = NewVm(
        name="web-1",
        pool="web",
        hypervisor="rack",
        host="h1",
        zone="z1",
        size=Size(cpu=4000, memory=8 * 1024 * MIB),
        berths=20,
        max_pods=110,
    )
    document = fields.vmnode(vm, pool)
    assert document["metadata"]["finalizers"] == ["plimsoll.dev/vm"]
    assert document["metadata"]["ownerReferences"][0]["uid"] == "pool-uid"
    spec = VMNode.model_validate(document).spec
    assert (spec.size.cpu, spec.size.memory) == (4, 8 * 1024 * MIB)
    assert (spec.reserved_cpu, spec.reserved_memory) == (300, 1024 * MIB)
    assert spec.max_pods == 110
    assert spec.template.labels == {"tier": "web"}
