"""VMs made from an older template give way: one by one, launch first, within the budgets."""

from __future__ import annotations

from typing import Any

import pytest

import planning as w
from plimsoll.api.vmpool import Template
from plimsoll.decide.drifting import drift
from plimsoll.decide.plan import Lever, Plan, Reason
from plimsoll.decide.planner import plan
from plimsoll.world.snapshot import Pool, Snapshot, Vm

OLD, NEW = ({"libvirt": {"image": image}} for image in ("node-1.qcow2", "node-2.qcow2"))
MADE = Template.model_validate(OLD)


def pool(template: dict[str, Any] = NEW, **spec: Any) -> Pool:
    """VMs of one size: nothing is to be gained by growing one for another's containers."""
    size = {"cpu": {"min": 4, "max": 4}, "memory": {"min": "8Gi", "max": "8Gi"}}
    return w.pool(template=template, size=size, **spec)


def old_vm(name: str, on: str, of: Pool, **fields: Any) -> Vm:
    return w.vm(name, on, of=of, template=MADE, **fields)


def world(of: Pool, number: int = 3, cpu: int = 3000) -> Snapshot:
    """Old VMs of 4 CPUs on three hosts, each with one pod."""
    names = [f"web-{n}" for n in range(1, number + 1)]
    return Snapshot(
        hypervisors=(w.hypervisor(w.host("h1"), w.host("h2"), w.host("h3")),),
        pools=(of,),
        vms=tuple(old_vm(name, f"h{n % 3 + 1}", of) for n, name in enumerate(names)),
        pods=tuple(w.pod(f"p-{name}", w.shape(cpu, 4096), name) for name in names),
    )


def decide(snapshot: Snapshot) -> Plan:
    return plan(snapshot, w.NOW)


def test_a_new_vm_is_launched_before_an_old_one_is_drained() -> None:
    found = decide(world(pool()))
    launch, retire = found.moves
    assert (launch.kind, launch.deferred) == (Lever.LAUNCH, "")
    assert (retire.kind, retire.subject, retire.drifted) == (Lever.RETIRE, "vm/web-1", True)
    assert retire.reason.startswith("Drifted: it differs from its pool in template.libvirt.image")
    assert "waits until VM web-4 is Ready" in retire.deferred


def test_every_old_vm_is_replaced_once_and_then_nothing_moves() -> None:
    snapshot, turns = world(pool()), 0
    while any(vm.template is not None for vm in snapshot.vms):
        found = decide(snapshot)
        assert len(w.moves(found, Lever.RETIRE)) == 1
        # No container goes to a VM that is to go as well.
        old = {vm.name for vm in snapshot.vms if vm.template is not None}
        before = {pod.key: pod.node for pod in snapshot.pods}
        assert all(to == before[key] or to not in old for key, to in found.placements.items())
        snapshot = w.carry_out(snapshot, found)
        turns += 1
    assert turns == 3
    assert len(snapshot.vms) == 3
    assert not w.moves(decide(snapshot), Lever.RETIRE)


def test_as_many_go_at_once_as_may_be_unavailable() -> None:
    many = decide(world(pool(disruption={"maxUnavailable": 2})))
    assert len([move for move in many.moves if move.drifted]) == 2
    none = decide(world(pool(disruption={"maxUnavailable": 0})))
    assert not [move for move in none.moves if move.drifted]


def test_one_that_leaves_already_counts() -> None:
    base = world(pool())
    leaving = tuple(w.replace(vm, retiring=vm.name == "web-3") for vm in base.vms)
    assert not [move for move in decide(w.replace(base, vms=leaving)).moves if move.drifted]


def test_where_no_further_vm_may_be_launched_one_goes_whose_containers_fit_elsewhere() -> None:
    full = decide(world(pool(nodes={"min": 3, "max": 3})))
    assert not full.moves
    assert {(r.guard, r.subject) for r in full.refusals} >= {(Reason.DRIFTED, "vm/web-1")}
    roomy = decide(world(pool(nodes={"min": 3, "max": 3}), cpu=1000))
    assert [(move.kind, move.drifted) for move in roomy.moves] == [(Lever.RETIRE, True)]
    fixed = decide(world(pool(replicas=3), cpu=1000))
    assert [(move.kind, move.drifted) for move in fixed.moves] == [(Lever.RETIRE, True)]


def test_the_pool_never_has_fewer_than_its_least_where_it_may_have_more() -> None:
    found = decide(world(pool(nodes={"min": 3, "max": 4}), cpu=1000))
    assert [move.kind for move in found.moves] == [Lever.LAUNCH, Lever.RETIRE]


def test_on_delete_only_tells() -> None:
    found = decide(world(pool(updateStrategy="OnDelete")))
    assert not found.moves
    told = [r.message for r in found.refusals if r.guard is Reason.DRIFTED]
    assert len(told) == 3
    assert "delete its VMNode" in told[0]


def test_windows_held_vms_and_budgets_are_respected() -> None:
    closed = {"windows": [{"days": ["Sun"], "start": "03:00", "duration": "1h"}]}
    found = decide(world(pool(disruption=closed)))
    assert not [move for move in found.moves if move.drifted]
    assert found.recheck_at is not None
    base = world(pool())
    held = tuple(w.replace(vm, held="annotation") for vm in base.vms)
    assert not [move for move in decide(w.replace(base, vms=held)).moves if move.drifted]


@pytest.mark.parametrize(
    ("made", "wanted", "parts"),
    [
        (OLD, OLD, ""),
        (OLD, NEW, "template.libvirt.image"),
        ({}, NEW, "template.libvirt"),
        (OLD, {**OLD, "labels": {"a": "b"}, "annotations": {"a": "b"}}, ""),
        (OLD, {**OLD, "bootstrap": {}}, ""),
        (
            OLD,
            {**OLD, "bootstrap": {"endpoint": "https://a"}},
            "template.bootstrap.endpoint",
        ),
    ],
)
def test_only_what_a_vm_is_made_from_is_drift(
    made: dict[str, Any], wanted: dict[str, Any], parts: str
) -> None:
    vm = w.vm("web-1", "h1", template=Template.model_validate(made))
    assert drift(vm, pool(wanted)) == parts
    assert drift(w.vm("web-1", "h1"), pool(wanted)) == ""
