"""Statuses and decisions as people and kstatus read them."""

from __future__ import annotations

from typing import Any

from plimsoll.act.decisions import KEPT, Concerns, by_object, with_newest
from plimsoll.act.outcome import Outcome, Result
from plimsoll.act.status import Turn, pool_statuses, workload_statuses
from plimsoll.api import ContainerWorkload, Hypervisor, VMNode, VMPool
from plimsoll.api.common import Decision
from plimsoll.decide.plan import (
    Lever,
    Move,
    NewVm,
    Plan,
    Reason,
    Refusal,
    Size,
    Unplaced,
    WorkloadVerdict,
)
from plimsoll.world import wire
from plimsoll.world.assemble import assemble
from plimsoll.world.objects import Objects, Observations

NOW = 1_000_000.0
MIB = 1024**2

POOL: dict[str, Any] = {
    "metadata": {"name": "web", "uid": "p1", "generation": 3},
    "spec": {
        "hypervisor": "rack",
        "nodes": {"min": 1, "max": 4},
        "size": {"cpu": {"min": 2, "max": 8}, "memory": {"min": "4Gi", "max": "16Gi"}},
        "survive": {"hosts": 1},
    },
}
HYPERVISOR: dict[str, Any] = {
    "metadata": {"name": "rack"},
    "spec": {
        "provider": "simulated",
        "simulated": {"hosts": [{"name": "h1", "cpu": 16, "memory": "64Gi"}]},
    },
}
WORKLOAD: dict[str, Any] = {
    "metadata": {"name": "httpd", "namespace": "shop", "uid": "w1", "generation": 2},
    "spec": {
        "targetRef": {"kind": "Deployment", "name": "httpd"},
        "scaleOut": {"min": 2, "max": 9},
        "redundancy": {"survive": 1},
    },
}


def vmnode(phase: str) -> VMNode:
    return VMNode.model_validate(
        {
            "metadata": {"name": "web-1", "uid": "v1"},
            "spec": {
                "pool": "web",
                "hypervisor": "rack",
                "host": "h1",
                "size": {"cpu": 2, "memory": "4Gi"},
                "template": {},
            },
            "status": {"phase": phase},
        }
    )


def node() -> wire.Node:
    amounts: dict[str, wire.Quantity] = {"cpu": "2", "memory": "4Gi", "pods": "110"}
    ready = wire.Condition(type="Ready", status="True")
    return wire.Node(
        metadata=wire.Meta(name="web-1"),
        status=wire.NodeStatus(capacity=amounts, allocatable=amounts, conditions=[ready]),
    )


def pods(ready: int) -> tuple[wire.Pod, ...]:
    owner = wire.OwnerReference(kind="ReplicaSet", name="httpd-1", controller=True)
    return tuple(
        wire.Pod(
            metadata=wire.Meta(
                name=f"httpd-1-{number}",
                namespace="shop",
                uid=f"pod-{number}",
                labels={"app": "httpd", "pod-template-hash": "1"},
                owner_references=[owner],
            ),
            spec=wire.PodSpec(containers=[wire.ContainerSpec(name="httpd")], node_name="web-1"),
            status=wire.PodStatus(
                phase="Running",
                conditions=[
                    wire.Condition(type="Ready", status="True" if number < ready else "False")
                ],
            ),
        )
        for number in range(2)
    )


def turn(
    phase: str = "Ready", ready: int = 2, told: Observations | None = None, **plan: Any
) -> Turn:
    deployment = wire.Controller(
        metadata=wire.Meta(name="httpd", namespace="shop", uid="d1"),
        spec=wire.ControllerSpec(
            replicas=2, selector=wire.LabelSelector(match_labels={"app": "httpd"})
        ),
    )
    objects = Objects(
        hypervisors=(Hypervisor.model_validate(HYPERVISOR),),
        pools=(VMPool.model_validate(POOL),),
        vmnodes=(vmnode(phase),),
        workloads=(ContainerWorkload.model_validate(WORKLOAD),),
        deployments=(deployment,),
        nodes=(node(),) if phase == "Ready" else (),
        pods=pods(ready),
    )
    verdict = WorkloadVerdict(
        key="shop/httpd",
        replicas=2,
        size=Size(cpu=250, memory=256 * MIB),
        redundant=False,
        message="its replicas are on 1 host",
    )
    plan.setdefault("workloads", (verdict,))
    snapshot = assemble(objects, told or Observations(), NOW)
    return Turn(objects=objects, snapshot=snapshot, plan=Plan(**plan), now=NOW)


def conditions(status: Any) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in status.conditions}


def test_a_pool_whose_vms_are_ready() -> None:
    status = pool_statuses(turn())["web"]
    assert conditions(status) == {
        "Ready": ("True", "VMsReady"),
        "Redundant": ("True", "PromiseKept"),
    }
    assert (status.replicas, status.ready_replicas, status.cpu) == (1, 1, 2000)
    assert (status.observed_generation, status.selector) == (3, "plimsoll.dev/pool=web")


def test_a_pool_with_a_vm_on_its_way_is_reconciling_and_names_it() -> None:
    status = pool_statuses(turn(phase="Booting"))["web"]
    assert conditions(status)["Ready"] == ("False", "VMsNotReady")
    assert conditions(status)["Reconciling"] == ("True", "VMsNotReady")
    assert status.conditions[0].message == "not ready: web-1 (Booting)"


def test_a_pool_that_stands_still_says_why() -> None:
    still = Refusal(guard=Reason.LOOP_DETECTED, subject="vmpool/web", message="in a circle")
    status = pool_statuses(turn(refusals=(still,)))["web"]
    assert conditions(status)["Stalled"] == ("True", "LoopDetected")
    assert "Reconciling" not in conditions(status)


def test_a_broken_promise_of_a_pool_is_shown() -> None:
    status = pool_statuses(turn(survival={"web": "h1 may not fail"}))["web"]
    assert conditions(status)["Redundant"] == ("False", "PromiseBroken")


def test_a_workload_shows_what_was_decided_and_whether_it_is_redundant() -> None:
    status = workload_statuses(turn())["shop/httpd"]
    assert conditions(status) == {
        "Ready": ("True", "ReplicasReady"),
        "Redundant": ("False", "PromiseBroken"),
    }
    assert (status.replicas, status.ready_replicas, status.desired_replicas) == (2, 2, 2)
    assert (status.cpu, status.memory) == (250, 256 * MIB)
    assert status.selector == "app=httpd"


def test_a_workload_whose_replicas_are_not_ready_is_reconciling() -> None:
    status = workload_statuses(turn(ready=1))["shop/httpd"]
    assert conditions(status)["Reconciling"] == ("True", "ReplicasNotReady")
    assert status.conditions[0].message == "1 of 2 replicas ready"


def test_a_pod_without_a_place_stalls_its_workload_with_what_each_pool_lacked() -> None:
    missing = Unplaced(
        pod="shop/httpd-1-0", reason=Reason.TOO_BIG, why={"web": "the largest VM is too small"}
    )
    status = workload_statuses(turn(unplaced=(missing,)))["shop/httpd"]
    assert conditions(status)["Stalled"] == ("True", "TooBig")
    assert "web: the largest VM is too small" in status.conditions[0].message


def test_a_workload_that_cannot_be_steered_is_stalled() -> None:
    told = Observations(problems={"ContainerWorkload/shop/httpd": "somebody else owns it"})
    status = workload_statuses(turn(told=told))["shop/httpd"]
    assert conditions(status)["Stalled"] == ("True", "TargetProblem")


def move(kind: Lever, subject: str, **more: Any) -> Result:
    return Result(Move(kind=kind, subject=subject, reason="because", **more), Outcome.DONE)


def test_decisions_go_to_the_object_that_they_touch() -> None:
    new = NewVm(
        name="web-2",
        pool="web",
        hypervisor="rack",
        host="h1",
        zone="",
        size=Size(cpu=2000, memory=4096 * MIB),
        berths=20,
        max_pods=110,
    )
    told = by_object(
        [
            move(Lever.LAUNCH, "vm/web-2", vm=new),
            move(Lever.GROW, "vm/web-1", source="2 CPU", target="4 CPU"),
            move(Lever.REPLICATE, "workload/shop/httpd", source="2", target="3"),
            move(Lever.RESIZE, "pod/shop/httpd-1-0", source="250m", target="500m"),
            move(Lever.RESIZE, "pod/shop/httpd-1-1", source="250m", target="500m"),
            move(Lever.MOVE, "pod/shop/somebody-elses"),
        ],
        turn().snapshot,
        NOW,
    )
    assert [d.kind for d in told["vmpool/web"]] == ["Launch", "Grow"]
    assert [(d.kind, d.change) for d in told["workload/shop/httpd"]] == [
        ("Replicate", "2 -> 3"),
        ("Resize", "250m -> 500m"),
    ]
    assert told["workload/shop/httpd"][1].subject == "2 pods, shop/httpd-1-0 the first"
    assert set(told) == {"vmpool/web", "workload/shop/httpd"}


def test_what_was_not_done_is_not_told_as_done() -> None:
    refused = Result(Move(kind=Lever.RETIRE, subject="vm/web-1", reason="r"), Outcome.REFUSED)
    assert by_object([refused], turn().snapshot, NOW) == {}


def test_the_newest_decision_comes_first_and_the_list_is_bounded() -> None:
    def decision(number: int) -> Decision:
        return Decision(time="1970-01-01T00:00:00Z", kind="Load", subject=f"{number}", reason="r")

    kept = with_newest([decision(n) for n in range(KEPT, 0, -1)], [decision(21), decision(22)])
    assert [d.subject for d in kept[:3]] == ["22", "21", "20"]
    assert len(kept) == KEPT


def test_a_refusal_concerns_its_pool_or_workload() -> None:
    concerns = Concerns(turn().snapshot)
    assert concerns.of("vm/web-1") == "vmpool/web"
    assert concerns.of("vmpool/web") == "vmpool/web"
    assert concerns.of("pod/shop/httpd-1-0") == "workload/shop/httpd"
    assert concerns.of("vm/somebody-elses") == ""
