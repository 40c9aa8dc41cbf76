"""What is not tried for lack of room would have been tried in vain."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import HealthCheck, given, settings

import planning as w
from plimsoll.decide.crowding import Crowding
from plimsoll.decide.plan import Lever, encode
from plimsoll.decide.planner import plan
from plimsoll.world.snapshot import Snapshot
from worlds import worlds


@given(worlds(priorities=(0, 0, 100)))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_plans_are_the_same_without_counting_room_first(world: Snapshot) -> None:
    found = plan(world, w.NOW)
    with patch.object(Crowding, "lacks_room", lambda *_: False):
        assert encode(found) == encode(plan(world, w.NOW))


def two_vms(cpus: int, *sizes: int) -> Snapshot:
    """One VM with a container of two CPUs, and one of six with containers of so many millicores."""
    owner = w.pool(
        nodes={"min": 0, "max": 9},
        size={"cpu": {"min": 2, "max": cpus}, "memory": {"min": "8Gi", "max": "8Gi"}},
        density={"loadLinePercent": 100, "reserved": {"cpu": "0", "memory": "0"}},
        disruption={"consolidateAfter": "1m"},
    )
    return Snapshot(
        hypervisors=(w.hypervisor(w.host("h0", 64, 256)),),
        pools=(owner,),
        vms=(w.vm("web-1", "h0", 6, 8, of=owner), w.vm("web-2", "h0", 6, 8, of=owner)),
        pods=(
            w.pod("a", w.shape(2000, 256), "web-1"),
            *(w.pod(f"b{n}", w.shape(cpu, 256), "web-2") for n, cpu in enumerate(sizes)),
        ),
    )


def retired(world: Snapshot) -> list[str]:
    return [move.subject for move in w.moves(plan(world, w.NOW), Lever.RETIRE)]


def test_containers_that_just_fit_elsewhere_move() -> None:
    assert retired(two_vms(6, 2000, 2000)) == ["vm/web-1"]
    assert retired(two_vms(6, 2000, 2500)) == []


def test_what_vms_may_grow_by_counts_as_room() -> None:
    assert retired(two_vms(8, 2500, 2500)) == ["vm/web-1"]
