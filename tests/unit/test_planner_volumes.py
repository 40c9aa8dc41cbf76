"""Volumes in plans: where pods go with them, and what is launched for them."""

from __future__ import annotations

from collections import Counter

import planning as w
from checker import problems
from plimsoll.api import labels as names
from plimsoll.decide.plan import Lever, Plan, Reason
from plimsoll.decide.planner import plan
from plimsoll.world.snapshot import Pod, PodShape, Pool, Snapshot, Vm
from plimsoll.world.wire import NodeSelector, NodeSelectorTerm, SelectorRequirement

ATTACHED = "attachable-volumes-csi-csi.example"
LOCAL = "free-volumes.plimsoll.dev/0"


def in_zone(*zones: str) -> NodeSelector:
    requirement = SelectorRequirement(key=names.ZONE, operator="In", values=list(zones))
    return NodeSelector(node_selector_terms=[NodeSelectorTerm(match_expressions=[requirement])])


def with_extended(vm: Vm, **amounts: int) -> Vm:
    extended = {ATTACHED: amounts.get("attached"), LOCAL: amounts.get("local")}
    present = {name: amount for name, amount in extended.items() if amount is not None}
    return w.replace(vm, allocatable=w.replace(vm.allocatable, extended=present))


def decide(*pods: Pod, vms: tuple[Vm, ...] = (), pool: Pool | None = None) -> tuple[Plan, Snapshot]:
    rack = w.hypervisor(w.host("h1", zone="a"), w.host("h2", zone="b"))
    world = Snapshot(hypervisors=(rack,), pools=(pool or w.pool(),), vms=vms, pods=pods)
    decided = plan(world, w.NOW)
    assert problems(world, decided) == []
    return decided, world


def some(number: int, of: PodShape) -> tuple[Pod, ...]:
    return tuple(w.pod(f"p{index}", of) for index in range(number))


def launched(decided: Plan) -> list[str]:
    """Zones of the VMs that are launched."""
    return sorted(m.vm.zone for m in w.moves(decided, Lever.LAUNCH) if m.vm is not None)


def test_a_pod_goes_where_its_volume_is() -> None:
    there = (w.vm("web-1", "h1", zone="a"), w.vm("web-2", "h2", zone="b"))
    decided, _ = decide(w.pod("p", w.shape(volume_nodes=(in_zone("b"),))), vms=there)
    assert decided.placements == {"default/p": "web-2"}


def test_a_vm_is_launched_in_the_zone_of_the_volume() -> None:
    for zone in ("a", "b"):
        decided, _ = decide(w.pod("p", w.shape(volume_nodes=(in_zone(zone),))))
        assert launched(decided) == [zone]


def test_no_vm_is_launched_where_none_would_reach_the_volume() -> None:
    apart = w.shape(volume_nodes=(in_zone("a"), in_zone("b")))
    for shape in (w.shape(volume_nodes=(in_zone("c"),)), apart):
        decided, _ = decide(w.pod("p", shape))
        assert decided.moves == ()
        assert [u.reason for u in decided.unplaced] == [Reason.VOLUME]


def test_nothing_is_done_for_a_pod_that_no_node_would_help() -> None:
    why = "pod has unbound immediate PersistentVolumeClaims"
    there = (w.vm("web-1", "h1"),)
    for vms in ((), there):
        decided, _ = decide(w.pod("p", w.shape(blocked=why)), w.pod("q"), vms=vms)
        assert set(decided.placements) == {"default/q"}
        (unplaced,) = decided.unplaced
        assert unplaced.reason is Reason.VOLUME
        assert any(why in text for text in unplaced.why.values())


def test_no_vm_gets_more_volumes_than_it_can_attach() -> None:
    full = with_extended(w.vm("web-1", "h1"), attached=2)
    pool = w.replace(w.pool(), attach_limits={ATTACHED: 2})
    three = some(3, w.shape(100, 100, extended={ATTACHED: 1}))
    decided, _ = decide(*three, vms=(full,), pool=pool)
    assert sorted(Counter(decided.placements.values()).values()) == [1, 2]
    assert len(launched(decided)) == 1


def test_what_keeps_a_pod_off_a_vm_for_its_volumes_is_called_so() -> None:
    """Neither a lack of resources nor labels, as in kube-scheduler's words."""
    there = w.vm("web-1", "h1", zone="a")
    elsewhere = w.shape(100, 100, volume_nodes=(in_zone("c"),))
    too_many = w.shape(100, 100, extended={ATTACHED: 3})
    too_large = w.shape(64_000, 100, extended={ATTACHED: 3})
    none = w.pool(nodes={"max": 1})
    for shape, reason in (
        (elsewhere, Reason.VOLUME),
        (too_many, Reason.VOLUME),
        (too_large, Reason.RESOURCES),
    ):
        decided, _ = decide(
            w.pod("p", shape),
            # It keeps the VM from being retired.
            w.pod("q", w.shape(100, 100), "web-1"),
            vms=(with_extended(there, attached=2),),
            pool=w.replace(none, attach_limits={ATTACHED: 2}),
        )
        (unplaced,) = decided.unplaced
        assert unplaced.why["existing VMs"] == f"1 {reason.value}"


def test_volumes_without_a_limit_are_not_counted() -> None:
    decided, _ = decide(
        *some(30, w.shape(10, 10, extended={ATTACHED: 5})), vms=(w.vm("web-1", "h1"),)
    )
    assert launched(decided) == []
    assert len(decided.placements) == 30


def test_a_new_vm_attaches_as_many_volumes_as_the_least_of_its_pool() -> None:
    pool = w.replace(w.pool(), attach_limits={ATTACHED: 2})
    decided, _ = decide(*some(5, w.shape(100, 100, extended={ATTACHED: 1})), pool=pool)
    assert len(launched(decided)) == 3


def test_a_local_volume_is_promised_once() -> None:
    there = (
        with_extended(w.vm("web-1", "h1"), local=1),
        with_extended(w.vm("web-2", "h2"), local=2),
    )
    decided, _ = decide(*some(4, w.shape(100, 100, extended={LOCAL: 1})), vms=there)
    assert sorted(decided.placements.values()) == ["web-1", "web-2", "web-2"]
    assert launched(decided) == []
    assert len(decided.unplaced) == 1
