"""Why a pod does not go onto a VM: every reason in the scheduler's words, with its numbers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings

import planning as w
from plimsoll.api import labels as names
from plimsoll.api.vmnode import Phase
from plimsoll.decide import why
from plimsoll.decide.filters import Filters
from plimsoll.decide.fleet import Fleet
from plimsoll.decide.planner import plan
from plimsoll.decide.whypod import explain
from plimsoll.world.snapshot import PodShape, Resources, Snapshot, Vm
from plimsoll.world.wire import (
    LabelSelector,
    NodeSelector,
    PodAffinityTerm,
    Taint,
)
from worlds import is_app, nodes_where, requirement, worlds

APP = is_app("app")
HOSTNAME = names.HOSTNAME
TIGHT = w.pool(
    density={
        "pods": {"min": 1, "max": 3},
        "loadLinePercent": 50,
        "reserved": {"cpu": 0, "memory": 0},
    }
)


def told(shape: PodShape, target: Vm, *pods: PodShape) -> list[tuple[str, str]]:
    """What keeps a pod off a VM on which these run: words and numbers."""
    bound = [w.pod(f"there-{n}", one, target.name) for n, one in enumerate(pods)]
    snapshot = Snapshot(
        hypervisors=(w.hypervisor(w.host("h1")),),
        pools=(TIGHT, w.pool("slow", template={"runtimeClasses": ["runc"]})),
        vms=(target,),
        pods=tuple(bound),
    )
    fleet = Fleet(snapshot)
    found = why.obstacles(fleet, shape, fleet.bins[target.name])
    return [(obstacle.words, obstacle.numbers) for obstacle in found]


def vm(**fields: Any) -> Vm:
    """4 CPUs and 8 GiB of which half is under the line."""
    return w.vm("web-1", "h1", of=TIGHT, **fields)


def near(app: LabelSelector, key: str = HOSTNAME) -> tuple[PodAffinityTerm, ...]:
    return (PodAffinityTerm(topology_key=key, label_selector=app),)


def on(key: str, operator: str, *values: str) -> NodeSelector:
    return nodes_where(requirement(key, operator, *values))


OTHER = w.shape(app="db", anti_affinity=near(APP))
DISK = "attachable-volumes-csi-disk.example.com"

CASES: dict[str, tuple[PodShape, Vm, tuple[PodShape, ...], list[tuple[str, str]]]] = {
    "it fits": (w.shape(), vm(), (), []),
    "cordoned": (
        w.shape(),
        vm(schedulable=False),
        (),
        [("node(s) were unschedulable", "cordoned")],
    ),
    "leaving": (
        w.shape(),
        vm(retiring=True, phase=Phase.DRAINING),
        (),
        [("the VM is leaving", "it is being emptied (Draining)")],
    ),
    "not ready": (
        w.shape(),
        vm(ready=False),
        (),
        [("the VM is not ready", "its phase is Ready")],
    ),
    "lost": (
        w.shape(),
        vm(lost=True, ready=False),
        (),
        [("the VM is not ready", "it or its host failed")],
    ),
    "taints": (
        w.shape(),
        vm(taints=(Taint(key="a", value="b", effect="NoSchedule"),)),
        (),
        [("node(s) had untolerated taint(s)", "a=b:NoSchedule")],
    ),
    "node selector": (
        w.shape(node_selector={"disk": "ssd"}),
        vm(),
        (),
        [("node(s) didn't match Pod's node affinity/selector", "disk is absent, not ssd")],
    ),
    "node affinity": (
        w.shape(node_affinity=on(names.POOL, "In", "db", "mq")),
        vm(),
        (),
        [
            (
                "node(s) didn't match Pod's node affinity/selector",
                f"{names.POOL} is web, asked is In [db, mq]",
            )
        ],
    ),
    "host ports": (
        w.shape(host_ports=(("0.0.0.0", "TCP", 80),)),
        vm(),
        (w.shape(app="db", host_ports=(("0.0.0.0", "TCP", 80),)),),
        [
            (
                "node(s) didn't have free ports for the requested pod ports",
                "TCP 80 is taken by default/there-0",
            )
        ],
    ),
    "number of pods": (
        w.shape(100, 64),
        vm(),
        (w.shape(100, 64),) * 3,
        [("Too many pods", "3 of 3")],
    ),
    "CPU": (
        w.shape(3800),
        vm(),
        (w.shape(500),),
        [("Insufficient cpu", "cpu: asked 3800m, free 3500m of 4")],
    ),
    "memory": (
        w.shape(100, 8 * 1024),
        vm(),
        (w.shape(100, 1024),),
        [("Insufficient memory", "memory: asked 8Gi, free 7Gi of 8Gi")],
    ),
    "load line": (
        w.shape(1000),
        vm(),
        (w.shape(1500),),
        [
            (
                "above the load line",
                "cpu: asked 1, free 2500m of 4, but only 500m under the line 50% (2)",
            )
        ],
    ),
    "extended resource": (
        w.shape(extended={"example.com/gpu": 2}),
        vm(allocatable=Resources(cpu=4000, memory=8 * w.GIB, extended={"example.com/gpu": 3})),
        (w.shape(extended={"example.com/gpu": 2}),),
        [("Insufficient example.com/gpu", "example.com/gpu: asked 2, free 1 of 3")],
    ),
    "berths that can be raised": (
        w.shape(extended={names.BERTHS: 1}),
        vm(berths=1),
        (w.shape(extended={names.BERTHS: 1}),),
        [(f"Insufficient {names.BERTHS}", "asked 1, free 0 of 1; up to 3 can be")],
    ),
    "volumes to attach": (
        w.shape(extended={DISK: 1}),
        vm(allocatable=Resources(cpu=4000, memory=8 * w.GIB, extended={DISK: 1})),
        (w.shape(extended={DISK: 1}),),
        [("node(s) exceed max volume count", "disk.example.com: 1 to attach, 0 of 1 free")],
    ),
    "nodes of a volume": (
        w.shape(volume_nodes=(on("zone", "In", "a"),)),
        vm(),
        (),
        [
            (
                "node(s) didn't match PersistentVolume's node affinity",
                "zone is absent, asked is In [a]",
            )
        ],
    ),
    "a volume that is not there": (
        w.shape(blocked="claim data does not exist"),
        vm(),
        (),
        [("its volumes", "claim data does not exist")],
    ),
    "spread": (
        w.shape(spread=(w.spread(HOSTNAME, min_domains=2),)),
        vm(),
        (w.shape(),),
        [
            (
                "node(s) didn't match pod topology spread constraints",
                f"{HOSTNAME}=web-1 has 1 (app=app), the emptiest domain 0; maxSkew 1, minDomains 2",
            )
        ],
    ),
    "spread without the label": (
        w.shape(spread=(w.spread("rack"),)),
        vm(),
        (),
        [
            (
                "node(s) didn't match pod topology spread constraints (missing required label)",
                "rack is absent",
            )
        ],
    ),
    "affinity": (
        w.shape(app="web", affinity=near(APP)),
        vm(),
        (),
        [("node(s) didn't match pod affinity rules", f"none (app=app) in {HOSTNAME}=web-1")],
    ),
    "anti-affinity": (
        w.shape(app="web", anti_affinity=near(APP)),
        vm(),
        (w.shape(),),
        [("node(s) didn't match pod anti-affinity rules", f"1 (app=app) in {HOSTNAME}=web-1")],
    ),
    "anti-affinity of others": (
        w.shape(),
        vm(),
        (OTHER,),
        [
            (
                "node(s) didn't satisfy existing pods anti-affinity rules",
                f"1 pod keeps such pods out of {HOSTNAME}=web-1",
            )
        ],
    ),
    "not modelled": (
        w.shape(not_modelled=("resource claims",)),
        vm(),
        (),
        [("a rule that Plimsoll does not model", "resource claims")],
    ),
    "RuntimeClass": (
        w.shape(runtime_class="kata"),
        w.vm("slow-1", "h1", of=w.pool("slow", template={"runtimeClasses": ["runc"]})),
        (),
        [("the pool does not offer the RuntimeClass", "asked kata, offered runc")],
    ),
    "all at once, in the scheduler's order": (
        w.shape(9000, node_selector={"disk": "ssd"}, anti_affinity=near(APP)),
        vm(taints=(Taint(key="a", value="b", effect="NoExecute"),), schedulable=False),
        (w.shape(),),
        [
            ("node(s) were unschedulable", "cordoned"),
            ("node(s) had untolerated taint(s)", "a=b:NoExecute"),
            ("node(s) didn't match Pod's node affinity/selector", "disk is absent, not ssd"),
            ("Insufficient cpu", "cpu: asked 9, free 3500m of 4"),
            ("node(s) didn't match pod anti-affinity rules", f"1 (app=app) in {HOSTNAME}=web-1"),
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_reason_has_the_schedulers_words_and_its_numbers(case: str) -> None:
    shape, target, pods, expected = CASES[case]
    assert told(shape, target, *pods) == expected


@given(world=worlds(priorities=(0, 10)))
@settings(max_examples=60, deadline=None)
def test_reasons_are_told_of_just_those_vms_that_the_filters_refuse(world: Snapshot) -> None:
    fleet = Fleet(world)
    filters = Filters(fleet)
    shapes = {pod.shape.key: pod.shape for pod in world.pods}
    for shape, target in itertools.product(shapes.values(), list(fleet.bins.values())):
        found = why.obstacles(fleet, shape, target)
        assert why.takes(found) == (filters.reason(shape, target) is None), found
        assert found == sorted(found, key=lambda obstacle: obstacle.plugin)


def test_the_schedulers_sentence_stops_at_the_first_plugin_of_each_node() -> None:
    vms = (
        vm(),
        w.vm("web-2", "h1", taints=(Taint(key="a", value="b", effect="NoSchedule"),)),
        w.vm("web-3", "h1"),
        w.vm("web-4", "h1", phase=Phase.BOOTING, ready=False),
    )
    fleet = Fleet(Snapshot(hypervisors=(w.hypervisor(),), pools=(TIGHT,), vms=vms))
    shape = w.shape(9000, 32 * 1024, node_selector={HOSTNAME: "web-1"})
    found = [(b, why.obstacles(fleet, shape, b)) for b in fleet.bins.values()]
    # What is only on its way is no node yet; NodeResourcesFit names all that is short.
    assert why.scheduler_says(found) == (
        "0/3 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 node(s) didn't "
        "match Pod's node affinity/selector, 1 node(s) had untolerated taint(s)."
    )
    assert why.scheduler_says([(fleet.bins["web-1"], [])]) == ""


def test_preemption_is_told_where_it_would_make_room() -> None:
    low = w.shape(3500, key="low", priority=-1)
    pods = (w.pod("low", low, "web-1"), w.pod("held", w.shape(3500), "web-2"))
    vms = (vm(), w.vm("web-2", "h1", of=TIGHT))
    fleet = Fleet(Snapshot(hypervisors=(w.hypervisor(),), pools=(TIGHT,), vms=vms, pods=pods))
    wants = w.shape(1000)
    assert why.victims(fleet, wants, fleet.bins["web-1"]) == 1
    assert why.victims(fleet, wants, fleet.bins["web-2"]) == 0
    assert why.victims(fleet, w.shape(1000, preempts=False), fleet.bins["web-1"]) == 0
    assert fleet.where["default/low"] == "web-1"


@given(world=worlds(priorities=(0, 10)))
@settings(max_examples=25, deadline=None)
def test_what_is_explained_is_what_is_planned(world: Snapshot) -> None:
    made = plan(world, w.NOW)
    lost = {one.pod for one in made.unplaced}
    for pod in world.pods:
        answer = explain(world, pod.key, w.NOW)
        assert answer.place == made.placements.get(pod.key, "")
        assert (answer.unplaced is not None) == (pod.key in lost)
        assert {vm.name for vm in answer.vms} == {v.name for v in (*world.vms, *made.vms)}
        # Where it goes it fits, once the others are where the plan puts them; where the
        # scheduler makes room for pods, its word is taken.
        there = next((vm for vm in answer.vms if vm.name == answer.place), None)
        trusted = answer.refusals or any(other.nominated for other in world.pods)
        if there is not None and pod.node != answer.place and not trusted:
            assert all(o.words == why.LOAD_LINE or o.berths for o in there.then), there
