"""Which nominations a plan changes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from aio import run
from plimsoll.act.nominate import MOST_AT_ONCE, MOST_TELLINGS, Nominations
from plimsoll.apierrors import ApiError, Conflict, Forbidden, Invalid, NotFound
from plimsoll.decide.plan import Plan
from plimsoll.world import wire
from plimsoll.world.objects import Objects
from plimsoll.world.snapshot import Pod, PodShape, Resources, Snapshot

GIVEN_UP = wire.PodCondition(type="PodScheduled", status="False", reason="Unschedulable")


def pod(name: str = "web", nominated: str = "", **changes: Any) -> wire.Pod:
    """A pod for which the scheduler found no place."""
    conditions = changes.pop("conditions", [GIVEN_UP])
    return wire.Pod(
        metadata=wire.Meta(name=name, namespace="shop", uid=f"uid-{name}"),
        spec=wire.PodSpec(**changes),
        status=wire.PodStatus(conditions=conditions, nominated_node_name=nominated),
    )


def objects(*pods: wire.Pod, nodes: tuple[str, ...] = ("vm-1", "vm-2")) -> Objects:
    return Objects(
        pods=pods, nodes=tuple(wire.Node(metadata=wire.Meta(name=name)) for name in nodes)
    )


def planned(place: str, *names: str) -> Plan:
    return Plan(placements={f"shop/{name}": place for name in names or ("web",)})


def nominated(*pods: wire.Pod, **places: str) -> dict[str, str | None]:
    """What is due, by pod name, where nothing was told before."""
    plan = Plan(placements={f"shop/{name}": place for name, place in places.items()})
    return {due.pod.metadata.name: due.node for due in Nominations().due(plan, objects(*pods))}


class FakeKube:
    """Answers with the pod as it would be stored, or with an error."""

    def __init__(self, error: ApiError | None = None) -> None:
        self.error = error
        self.written: list[Any] = []

    async def patch_subresource(
        self, resource: Any, name: str, sub: str, body: Any, namespace: str, kind: str
    ) -> Any:
        if self.error is not None:
            raise self.error
        self.written.append((name, sub, body["status"]["nominatedNodeName"]))
        return body


def tell(nominations: Nominations, plan: Plan, world: Objects, kube: FakeKube) -> list[Any]:
    return run(nominations.tell(kube, plan, world))  # type: ignore[arg-type]


def test_a_pod_that_was_given_up_is_nominated_where_the_plan_has_it() -> None:
    assert nominated(pod(), web="vm-1") == {"web": "vm-1"}


@pytest.mark.parametrize(
    "other",
    [
        pod(conditions=[]),
        pod(conditions=[msgspec.structs.replace(GIVEN_UP, reason="SchedulingGated")]),
        pod(node_name="vm-2"),
        pod(nominated="vm-1"),
    ],
    ids=["not looked at yet", "gated", "bound", "nominated there already"],
)
def test_others_are_left_alone(other: wire.Pod) -> None:
    assert nominated(other, web="vm-1") == {}


def spread(
    name: str,
    selector: wire.LabelSelector | None,
    max_skew: int = 1,
    keys: tuple[str, ...] = (),
    when: str = "DoNotSchedule",
    **fields: Any,
) -> wire.Pod:
    constraint = wire.TopologySpreadConstraint(
        max_skew=max_skew,
        topology_key="zone",
        when_unsatisfiable=when,
        label_selector=selector,
        match_label_keys=[*keys],
    )
    made = pod(name, topology_spread_constraints=[constraint], **fields)
    labels = {"app": "web", "revision": name}
    return msgspec.structs.replace(
        made, metadata=msgspec.structs.replace(made.metadata, labels=labels)
    )


WEB = wire.LabelSelector(match_labels={"app": "web"})


@pytest.mark.parametrize("selector", [WEB, wire.LabelSelector()], ids=["own", "empty"])
def test_of_pods_that_would_wait_for_each_other_some_come_first(
    selector: wire.LabelSelector,
) -> None:
    for most in (1, 2):
        pods = [spread(name, selector, most) for name in ("a", "b", "c")]
        found = nominated(*pods, a="vm-1", b="vm-1", c="vm-1")
        assert found == dict.fromkeys(["a", "b", "c"][:most], "vm-1")
    there = [spread("a", selector), spread("b", selector, nominated="vm-1")]
    assert nominated(*there, spread("c", selector), a="vm-1", b="vm-1", c="vm-2") == {"c": "vm-2"}


@pytest.mark.parametrize(
    "harmless",
    [
        {"selector": None},
        {"selector": wire.LabelSelector(match_labels={"app": "other"})},
        {"selector": WEB, "keys": ("revision",)},
        {"selector": WEB, "when": "ScheduleAnyway"},
    ],
    ids=["none", "of others", "by revision", "soft"],
)
def test_spreads_that_keep_nobody_waiting_hold_no_nomination_back(harmless: dict[str, Any]) -> None:
    pods = [spread(name, **harmless) for name in ("a", "b")]
    assert nominated(*pods, a="vm-1", b="vm-1") == {"a": "vm-1", "b": "vm-1"}


def test_one_too_many_is_taken_back() -> None:
    pods = [spread(name, WEB, nominated="vm-1", preemption_policy="Never") for name in ("a", "b")]
    assert nominated(*pods, a="vm-1", b="vm-1") == {"b": None}


def test_a_vm_without_a_node_is_not_named() -> None:
    assert nominated(pod(), web="vm-9") == {}


def test_the_nomination_of_a_preemption_stands() -> None:
    assert nominated(pod(nominated="vm-2"), web="vm-1") == {}
    assert nominated(pod(nominated="vm-2")) == {}


def test_what_cannot_be_of_a_preemption_does_not_stand() -> None:
    assert nominated(pod(nominated="vm-2", preemption_policy="Never")) == {"web": None}


def test_an_own_nomination_follows_the_plan() -> None:
    nominations = Nominations()
    kube = FakeKube()
    tell(nominations, planned("vm-1"), objects(pod()), kube)
    there = objects(pod(nominated="vm-1"))
    assert tell(nominations, planned("vm-1"), there, kube) == []
    tell(nominations, planned("vm-2"), there, kube)
    tell(nominations, Plan(), objects(pod(nominated="vm-2")), kube)
    assert kube.written == [("web", "status", node) for node in ("vm-1", "vm-2", None)]


def test_a_nomination_that_the_scheduler_drops_is_not_repeated_for_ever() -> None:
    nominations = Nominations()
    kube = FakeKube()
    for _ in range(MOST_TELLINGS + 2):
        tell(nominations, planned("vm-1"), objects(pod()), kube)
    assert len(kube.written) == MOST_TELLINGS
    tell(nominations, planned("vm-2"), objects(pod()), kube)
    assert kube.written[-1] == ("web", "status", "vm-2")


def test_only_so_many_are_written_at_once() -> None:
    names = [f"web-{number}" for number in range(MOST_AT_ONCE + 10)]
    due = Nominations().due(planned("vm-1", *names), objects(*map(pod, names)))
    assert len(due) == MOST_AT_ONCE


@pytest.mark.parametrize("error", [NotFound, Conflict, Invalid, Forbidden])
def test_a_refusal_is_no_failure(error: type[ApiError]) -> None:
    refused = FakeKube(error(400, "Some", "no"))
    assert tell(Nominations(), planned("vm-1"), objects(pod()), refused) == []


def test_own_nominations_do_not_bind_the_plan_and_those_of_others_do() -> None:
    nominations = Nominations()
    tell(nominations, planned("vm-1"), objects(pod()), FakeKube())
    shape = PodShape(key="s", namespace="shop", labels={}, requests=Resources())
    seen = [
        Pod(namespace="shop", name=n, uid=f"uid-{n}", shape=shape, node=None, nominated="vm-1")
        for n in ("other", "web")
    ]
    world = objects(pod(nominated="vm-1"), pod("other", nominated="vm-1"))
    snapshot = nominations.without_own(Snapshot(pods=tuple(seen)), world)
    assert [p.nominated for p in snapshot.pods] == ["vm-1", None]
    again = nominations.without_own(Snapshot(pods=tuple(seen)), world)
    assert again.pods[1] is snapshot.pods[1]
