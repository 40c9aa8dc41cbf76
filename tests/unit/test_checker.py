"""The independent checker finds each mistake that a plan could make, and no others."""

from __future__ import annotations

from typing import Any

import pytest

import planning as w
from checker import problems, size_problems
from plimsoll.api import labels as names
from plimsoll.decide.plan import Plan
from plimsoll.world.snapshot import Pod, Snapshot
from plimsoll.world.wire import (
    LabelSelector,
    NodeSelector,
    NodeSelectorTerm,
    PodAffinityTerm,
    SelectorRequirement,
    Taint,
    Toleration,
)

ATTACHED = "attachable-volumes-csi-csi.example"
GPU = "example.com/gpu"


def where(key: str, operator: str, *values: str) -> NodeSelector:
    requirement = SelectorRequirement(key=key, operator=operator, values=list(values))
    return NodeSelector(node_selector_terms=[NodeSelectorTerm(match_expressions=[requirement])])


def term(key: str = names.HOSTNAME, app: str = "other", **fields: Any) -> PodAffinityTerm:
    selector = LabelSelector(match_labels={"app": app})
    return PodAffinityTerm(topology_key=key, label_selector=selector, **fields)


OTHER = w.shape(100, 100, app="other")


def found(
    pods: dict[str, Pod], vm: dict[str, Any] | None = None, pool: dict[str, Any] | None = None
) -> list[str]:
    """What the checker says when all pending pods are put onto ``web-1``, in zone a.

    Besides there is ``web-2``, in zone b.
    """
    web = w.pool(**(pool or {}))
    fields = {"labels": {}, "extended": {}, "max_pods": 110, **(vm or {})}
    one = w.vm("web-1", "h1", of=web, zone="a", taints=fields.pop("taints", ()))
    labels, extended = fields.pop("labels"), fields.pop("extended")
    one = w.replace(
        one,
        labels={**one.labels, **labels},
        allocatable=w.replace(one.allocatable, extended=extended),
        **fields,
    )
    two = w.vm("web-2", "h2", of=web, zone="b")
    world = Snapshot(
        hypervisors=(w.hypervisor(w.host("h1"), w.host("h2")),),
        pools=(web,),
        vms=(one, two),
        pods=tuple(pods.values()),
        namespaces={"default": {"team": "red"}, "shop": {"team": "blue"}},
    )
    placements = {pod.key: pod.node or "web-1" for pod in pods.values()}
    return problems(world, Plan(placements=placements))


def pods(of: Any, *others: Pod) -> dict[str, Pod]:
    pending = w.replace(w.pod("p", of), namespace=of.namespace)
    return {pod.key: pod for pod in (pending, *others)}


def test_a_good_place_has_no_problem() -> None:
    assert found(pods(w.shape(), w.pod("o", OTHER, "web-1"))) == []


Case = tuple[dict[str, Any], dict[str, Any], str]
"""Fields of the shape, fields of the VM, what is wrong (empty: nothing)."""

NODE_RULES: dict[str, Case] = {
    "selector": ({"node_selector": {"a": "b"}}, {}, "node selector"),
    "affinity": ({"node_affinity": where("a", "Exists")}, {}, "node selector"),
    "greater": ({"node_affinity": where("n", "Gt", "3")}, {"labels": {"n": "4"}}, ""),
    "not greater": ({"node_affinity": where("n", "Gt", "4")}, {"labels": {"n": "4"}}, "affinity"),
    "no number": ({"node_affinity": where("n", "Lt", "4")}, {"labels": {"n": "x"}}, "affinity"),
    "volume": ({"volume_nodes": (where(names.ZONE, "In", "b"),)}, {}, "volume"),
    "volume here": ({"volume_nodes": (where(names.ZONE, "In", "a"),)}, {}, ""),
    "volumes apart": (
        {"volume_nodes": tuple(where(names.ZONE, "In", zone) for zone in "ab")},
        {},
        "volume",
    ),
    "taint": ({}, {"taints": (Taint(key="t", effect="NoSchedule"),)}, "taint"),
    "taint that drives away": ({}, {"taints": (Taint(key="t", effect="NoExecute"),)}, "taint"),
    "taint that is a wish": ({}, {"taints": (Taint(key="t", effect="PreferNoSchedule"),)}, ""),
    "toleration above": (
        {"tolerations": (Toleration(key="t", operator="Gt", value="5"),)},
        {"taints": (Taint(key="t", value="6", effect="NoSchedule"),)},
        "",
    ),
    "toleration not above": (
        {"tolerations": (Toleration(key="t", operator="Gt", value="5"),)},
        {"taints": (Taint(key="t", value="5", effect="NoSchedule"),)},
        "taint",
    ),
    "toleration of another effect": (
        {"tolerations": (Toleration(operator="Exists", effect="NoExecute"),)},
        {"taints": (Taint(key="t", effect="NoSchedule"),)},
        "taint",
    ),
    "cordoned": ({}, {"schedulable": False}, "takes no pods"),
    "too many pods": ({}, {"max_pods": 0}, "1 pods, 0 allowed"),
    "CPU": ({"cpu": 5000}, {}, "5000 of cpu used"),
    "no such resource": ({"extended": {GPU: 1}}, {}, f"1 of {GPU} used, 0 there"),
    "resource": ({"extended": {GPU: 1}}, {"extended": {GPU: 1}}, ""),
    "volumes without a limit": ({"extended": {ATTACHED: 9}}, {}, ""),
    "volumes within the limit": ({"extended": {ATTACHED: 2}}, {"extended": {ATTACHED: 2}}, ""),
    "too many volumes": (
        {"extended": {ATTACHED: 3}},
        {"extended": {ATTACHED: 2}},
        f"3 of {ATTACHED} used",
    ),
    "blocked": ({"blocked": "claim not bound"}, {}, "though claim not bound"),
    "not modelled": ({"not_modelled": ("x",)}, {}, "by guess"),
}


@pytest.mark.parametrize(("shape", "vm", "wrong"), NODE_RULES.values(), ids=NODE_RULES.keys())
def test_rules_about_the_vm(shape: dict[str, Any], vm: dict[str, Any], wrong: str) -> None:
    cpu = shape.pop("cpu", 500) if "cpu" in shape else 500
    told = found(pods(w.shape(cpu, **shape)), vm)
    assert any(wrong in problem for problem in told) if wrong else told == []


def test_a_runtime_class_that_the_pool_does_not_offer() -> None:
    template = {"runtimeClasses": ["runc"]}
    assert found(pods(w.shape(runtime_class="runc")), pool={"template": template}) == []
    (told,) = found(pods(w.shape(runtime_class="kata")), pool={"template": template})
    assert "runtime class" in told


def test_a_gated_pod_is_not_to_be_placed() -> None:
    (told,) = found({"default/p": w.pod("p", gated=True)})
    assert "gated" in told


@pytest.mark.parametrize(
    ("mine", "theirs", "clash"),
    [
        ("0.0.0.0", "0.0.0.0", True),
        ("0.0.0.0", "10.0.0.1", True),
        ("10.0.0.1", "0.0.0.0", True),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
    ],
)
def test_host_ports(mine: str, theirs: str, clash: bool) -> None:
    there = w.pod("o", w.shape(100, 100, host_ports=((theirs, "TCP", 80),)), "web-1")
    told = found(pods(w.shape(host_ports=((mine, "TCP", 80),)), there))
    assert bool(told) is clash
    assert found(pods(w.shape(host_ports=((mine, "UDP", 80),)), there)) == []


@pytest.mark.parametrize(
    ("rule", "at", "clash"),
    [
        (term(), "web-1", True),
        (term(), "web-2", False),
        (term(names.ZONE), "web-1", True),
        (term("absent"), "web-1", False),
        (term(app="third"), "web-1", False),
        (term(namespaces=["default"]), "web-1", True),
        (term(namespaces=["shop"]), "web-1", False),
        (term(namespace_selector=LabelSelector(match_labels={"team": "red"})), "web-1", True),
        (term(namespace_selector=LabelSelector(match_labels={"team": "blue"})), "web-1", False),
        (term(namespace_selector=LabelSelector()), "web-1", True),
    ],
)
def test_anti_affinity_holds_both_ways(rule: PodAffinityTerm, at: str, clash: bool) -> None:
    told = found(pods(w.shape(anti_affinity=(rule,)), w.pod("o", OTHER, at)))
    assert bool(told) is clash
    carrier = w.pod("o", w.shape(100, 100, app="third", anti_affinity=(rule,)), at)
    assert bool(found(pods(OTHER, carrier))) is clash


def test_anti_affinity_is_about_the_own_namespace_unless_it_says_so() -> None:
    mine = w.shape(namespace="shop", anti_affinity=(term(),))
    assert found(pods(mine, w.pod("o", OTHER, "web-1"))) == []
    mine = w.shape(namespace="shop", anti_affinity=(term(namespaces=["default"]),))
    assert found(pods(mine, w.pod("o", OTHER, "web-1")))


def test_affinity_needs_a_pod_that_all_terms_are_about() -> None:
    here, there = w.pod("o", OTHER, "web-1"), w.pod("o", OTHER, "web-2")
    near = w.shape(affinity=(term(),))
    assert found(pods(near, here)) == []
    assert found(pods(near, there))
    assert found(pods(near))
    both = w.shape(affinity=(term(), term(app="third")))
    third = w.pod("t", w.shape(100, 100, app="third"), "web-1")
    assert found(pods(both, here, third))
    # The first of its kind may go anywhere, a later one not.
    own = w.shape(affinity=(term(app="app"),))
    assert found(pods(own)) == []
    assert found(pods(own, w.pod("o", w.shape(100, 100), "web-2")))


@pytest.mark.parametrize(
    ("fields", "there", "broken"),
    [
        ({}, 0, False),
        ({}, 1, True),
        ({"max_skew": 2}, 1, False),
        ({"min_domains": 3, "max_skew": 2}, 2, True),
        ({"node_taints_policy": "Honor"}, 1, True),
    ],
)
def test_spread(fields: dict[str, Any], there: int, broken: bool) -> None:
    kind = w.shape(100, 100, spread=(w.spread(names.ZONE, **fields),))
    running = [w.pod(f"o{number}", w.shape(100, 100), "web-1") for number in range(there)]
    assert bool(found(pods(kind, *running))) is broken


def test_spread_counts_only_what_its_policies_and_selector_let_it() -> None:
    running = w.pod("o", w.shape(100, 100), "web-1")
    leaving = w.replace(running, terminating=True)
    kind = w.shape(100, 100, spread=(w.spread(names.ZONE),))
    assert found(pods(kind, leaving)) == []
    # Only zone a can be chosen at all, so it is the emptiest one too.
    confined = w.replace(kind, node_selector={names.ZONE: "a"})
    assert found(pods(confined, running)) == []
    ignoring = w.spread(names.ZONE, node_affinity_policy="Ignore")
    assert found(pods(w.replace(confined, spread=(ignoring,)), running))
    everything = w.replace(w.spread(names.ZONE), label_selector=LabelSelector())
    assert found(pods(w.replace(kind, spread=(everything,)), running)) == []


def test_a_vm_of_a_size_that_the_pool_does_not_offer() -> None:
    size = {
        "cpu": {"min": 2, "max": 8, "step": 2},
        "memory": {"min": "4Gi", "max": "32Gi", "step": "4Gi"},
        "memoryPerCPU": "2Gi",
    }
    web = w.pool(size=size, density={"pods": {"min": 2, "max": 10, "perCPU": 2}})

    def told(**fields: Any) -> list[str]:
        vm = w.vm("web-1", "h1", fields.pop("cpu", 4), fields.pop("memory", 8), of=web)
        return list(size_problems(web, w.replace(vm, **{"max_pods": 8, **fields})))

    assert told() == []
    assert told(cpu=3, memory=6)
    assert told(memory=12)
    assert told(cpu=10, memory=20)
    assert told(max_pods=9)
    assert told(cpu=8, memory=16, max_pods=11)
