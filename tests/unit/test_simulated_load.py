"""How simulated load becomes measured use."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from plimsoll.simulator.load import (
    LOAD,
    USAGE,
    Amount,
    Target,
    Workload,
    deployments_of,
    loads_on,
    parse_amount,
    usage_of_pods,
)
from plimsoll.simulator.selector import parse_selector
from plimsoll.world import wire

MIB = 1024**2
DEPLOYMENTS = {("ns", "web-1"): "web"}


def meta(
    name: str, owner: tuple[str, str] | None = None, annotations: dict[str, str] | None = None
) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "namespace": "ns", "annotations": annotations or {}}
    if owner:
        kind, of = owner
        found["ownerReferences"] = [{"kind": kind, "name": of, "controller": True}]
    return found


def pod(
    name: str,
    *,
    owner: tuple[str, str] | None = ("ReplicaSet", "web-1"),
    ready: bool = True,
    phase: str = "Running",
    resources: dict[str, Any] | None = None,
    applied: dict[str, Any] | None = None,
    others: tuple[str, ...] = (),
    metadata: dict[str, Any] | None = None,
) -> wire.Pod:
    wished = resources or {"requests": {"cpu": "1", "memory": "100Mi"}}
    names = ("app", *others)
    return msgspec.convert(
        {
            "metadata": meta(name, owner) | (metadata or {}),
            "spec": {"containers": [{"name": n, "resources": wished} for n in names]},
            "status": {
                "phase": phase,
                "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
                "containerStatuses": [{"name": "app", "resources": applied}] if applied else [],
            },
        },
        wire.Pod,
    )


def deployment(load: str) -> wire.Controller:
    return msgspec.convert({"metadata": meta("web", annotations={LOAD: load})}, wire.Controller)


def workload(load: str, container: str = "") -> Workload:
    spec = {
        "targetRef": {"kind": "Deployment", "name": "web"},
        "scaleUp": {"container": container},
    }
    return msgspec.convert(
        {"metadata": meta("any", annotations={LOAD: load}), "spec": spec}, Workload
    )


def usage(
    *pods: wire.Pod, on: str = "cpu=3,memory=300Mi", container: str = ""
) -> dict[str, dict[str, Amount]]:
    loads = loads_on([workload(on, container)], {})
    return {
        found.pod.metadata.name: found.containers
        for found in usage_of_pods(pods, loads, DEPLOYMENTS)
        if not found.problem
    }


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("cpu=6,memory=3Gi", Amount(6000, 3 * 1024 * MIB)),
        (" memory = 64Mi ", Amount(0, 64 * MIB)),
        ("cpu=250m", Amount(250, 0)),
    ],
)
def test_an_amount_is_read(text: str, amount: Amount) -> None:
    assert parse_amount(text) == amount


@pytest.mark.parametrize("text", ["", "6", "cpu", "disk=1", "cpu=x", "cpu=1;memory=1Gi"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"amount|quantity"):
        parse_amount(text)


def test_ready_pods_share_evenly_and_others_idle() -> None:
    leaving = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    found = usage(
        pod("a"),
        pod("b"),
        pod("c", ready=False),
        pod("d", metadata=meta("d", ("ReplicaSet", "web-1")) | leaving),
        pod("e", owner=("ReplicaSet", "other-1")),
        pod("f", owner=None),
        pod("g", phase="Pending"),
    )
    idle = Amount(100, 10 * MIB)
    assert found == {
        "a": {"app": Amount(1500, 150 * MIB)},
        "b": {"app": Amount(1500, 150 * MIB)},
        "c": {"app": idle},
        "d": {"app": idle},
        "e": {"app": idle},
        "f": {"app": idle},
    }


def test_two_loads_of_equal_size_are_shared_apart() -> None:
    database = {"metadata": meta("db", annotations={LOAD: "cpu=2"})}
    loads = loads_on(
        [workload("cpu=2")], {"StatefulSet": [msgspec.convert(database, wire.Controller)]}
    )
    pods = [pod("a"), pod("b", owner=("StatefulSet", "db"))]
    assert [u.containers["app"].cpu for u in usage_of_pods(pods, loads, DEPLOYMENTS)] == [2000] * 2


def test_a_limit_holds_and_what_is_above_is_lost() -> None:
    limited = {"requests": {"cpu": "1"}, "limits": {"cpu": "1", "memory": "128Mi"}}
    assert usage(pod("a", resources=limited), pod("b"))["a"]["app"] == Amount(1000, 128 * MIB)
    assert usage(pod("a", resources=limited), pod("b"))["b"]["app"] == Amount(1500, 150 * MIB)


def test_after_a_resize_the_applied_limit_counts_not_the_wished_one() -> None:
    wished = {"requests": {"cpu": "4"}, "limits": {"cpu": "4"}}
    applied = {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}
    assert usage(pod("a", resources=wished, applied=applied))["a"]["app"].cpu == 2000


def test_the_load_falls_on_the_named_container() -> None:
    found = usage(pod("a", others=("proxy",)), container="proxy")["a"]
    assert (found["app"].cpu, found["proxy"].cpu) == (100, 3000)
    found = usage(pod("a", others=("proxy",)), container="no-such")["a"]
    assert (found["app"].cpu, found["proxy"].cpu) == (3000, 100)


def test_a_pods_own_annotation_goes_before_all() -> None:
    own = meta("a", ("ReplicaSet", "web-1"), annotations={USAGE: "cpu=7m,memory=1Mi"})
    assert usage(pod("a", metadata=own))["a"] == {"app": Amount(7, MIB)}


def test_a_workloads_word_goes_before_its_deployments() -> None:
    deployments = {"Deployment": [deployment("cpu=9")]}
    target = Target("ns", "Deployment", "web")
    assert loads_on([workload("cpu=1")], deployments)[target].amount.cpu == 1000
    assert loads_on([], deployments)[target].amount.cpu == 9000


def test_a_workload_without_target_loads_the_deployment_that_it_owns() -> None:
    own = msgspec.convert({"metadata": meta("web", annotations={LOAD: "cpu=1"})}, Workload)
    assert loads_on([own], {})[Target("ns", "Deployment", "web")].amount.cpu == 1000


def test_an_order_that_cannot_be_read_leaves_its_pods_unmeasured() -> None:
    assert usage(pod("a"), pod("b", owner=None), on="lots").keys() == {"b"}
    loads = loads_on([workload("lots")], {})
    (found,) = usage_of_pods([pod("a")], loads, DEPLOYMENTS)
    assert found.problem.startswith("Deployment ns/web: load on order: 'lots'")
    bad = pod("c", metadata=meta("c", annotations={USAGE: "cpu=x"}))
    (found,) = usage_of_pods([bad], {}, {})
    assert "Pod ns/c" in found.problem


def test_pods_are_traced_through_their_replicasets() -> None:
    owned = {"metadata": meta("web-1", ("Deployment", "web"))}
    alone = {"metadata": meta("web-2")}
    replicasets = [msgspec.convert(obj, wire.Controller) for obj in (owned, alone)]
    assert deployments_of(replicasets) == DEPLOYMENTS


@pytest.mark.parametrize(
    ("selector", "passing"),
    [
        ("", "abc"),
        ("app=web", "ab"),
        ("app==web", "ab"),
        ("app!=web", "c"),
        ("app=web,tier=x", "a"),
        ("tier", "ab"),
        ("!tier", "c"),
        ("tier in (x, y)", "ab"),
        ("tier notin (x)", "bc"),
        ("app=web , tier in (y)", "b"),
        ("example.org/a-b=", ""),
    ],
)
def test_a_selector_chooses(selector: str, passing: str) -> None:
    labels = {"a": {"app": "web", "tier": "x"}, "b": {"app": "web", "tier": "y"}, "c": {}}
    test = parse_selector(selector)
    assert "".join(name for name, found in labels.items() if test(found)) == passing


@pytest.mark.parametrize("selector", ["=", "a=b c", "a in x", "a in (x", "a;b"])
def test_what_is_no_selector_is_refused(selector: str) -> None:
    with pytest.raises(ValueError, match="not a label selector"):
        parse_selector(selector)
