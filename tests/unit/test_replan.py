"""Planning again after little has changed decides what planning from scratch decides."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import planning as w
from plimsoll.api import labels as names
from plimsoll.decide import replan
from plimsoll.decide.effort import Memory
from plimsoll.decide.fleet import Fleet
from plimsoll.decide.plan import Lever, Plan, encode
from plimsoll.decide.planner import plan
from plimsoll.decide.replan import Replanner
from plimsoll.world.snapshot import Pod, PodShape, Resources, Snapshot, Vm
from plimsoll.world.wire import LabelSelector, PodAffinityTerm, Taint

RACK = w.hypervisor(w.host("h0", 1000, 4000))
HOSTS = tuple(w.host(f"h{n}", 32, 128, zone="ab"[n % 2]) for n in range(4))


def shapes(app: str) -> list[PodShape]:
    """Some with rules, some without."""
    term = PodAffinityTerm(
        topology_key=names.HOSTNAME, label_selector=LabelSelector(match_labels={"app": app})
    )
    return [
        w.shape(500, 512, app=app),
        w.shape(1500, 256, app=app, priority=10),
        w.shape(250, 1024, app=app, anti_affinity=(term,)),
        w.shape(250, 256, app=app, spread=(w.spread(names.ZONE, app),)),
        w.shape(250, 256, app=app, affinity=(term,)),
    ]


KINDS = [shape for app in ("one", "two") for shape in shapes(app)]


def world() -> Snapshot:
    return Snapshot(
        hypervisors=(w.hypervisor(*HOSTS),),
        pools=(w.pool(nodes={"min": 1, "max": 8}, disruption={"consolidateAfter": "1m"}),),
        namespaces={"default": {}},
    )


def changed(before: Snapshot, chance: random.Random) -> Snapshot:
    """The same with a pod more, fewer or other, or with a VM more, fewer or in another state."""
    pods = list(before.pods)
    kinds = ["come"] * 4 + ["go", "strand", "terminate", "cordon", "unready", "measured"]
    kinds += ["nothing", "join", "join", "vanish", "relabel", "move", "retire", "inventory"]
    what = chance.choice(kinds)
    if what == "come":
        pods += [
            w.pod(f"p{chance.random():.9f}-{number}", chance.choice(KINDS))
            for number in range(chance.randint(1, 4))
        ]
    elif what == "strand":
        # Bound to a node that is perhaps gone.
        pods.append(w.pod(f"p{chance.random():.9f}", KINDS[0], f"web-{chance.randint(1, 4)}"))
    elif what == "go" and pods:
        pods.remove(chance.choice(pods))
    elif what == "terminate" and pods:
        number = chance.randrange(len(pods))
        pods[number] = w.replace(pods[number], terminating=True)
    vms = list(before.vms)
    if what == "cordon" and vms:
        number = chance.randrange(len(vms))
        vms[number] = w.replace(vms[number], schedulable=not vms[number].schedulable)
    elif what == "unready" and vms:
        number = chance.randrange(len(vms))
        vms[number] = w.replace(vms[number], ready=not vms[number].ready)
    elif what == "measured":
        # Now and then more than the load line allows.
        vms = [w.replace(vm, usage=_share_of(vm, chance.uniform(0.2, 1.2))) for vm in vms]
    elif what == "join":
        vms += _joining({vm.name for vm in vms}, chance)
    elif what == "vanish" and vms:
        # Its pods are still bound to it.
        vms.remove(chance.choice(vms))
    elif what in ("relabel", "move", "retire") and vms:
        number = chance.randrange(len(vms))
        vms[number] = _other(vms[number], what, chance)
    hypervisors = before.hypervisors
    if what == "inventory":
        taken = tuple(w.replace(host, cpu_other=chance.choice([0, 8000])) for host in HOSTS)
        hypervisors = (w.replace(before.hypervisors[0], hosts=taken),)
    return w.replace(
        before,
        hypervisors=hypervisors,
        pods=tuple(sorted(pods, key=_key)),
        vms=tuple(sorted(vms, key=lambda vm: vm.name)),
    )


def _joining(names: set[str], chance: random.Random) -> list[Vm]:
    """A VM of the pool that somebody made, or a node of no pool, unless the name is taken."""
    name, host = f"web-{chance.randint(1, 6)}", chance.choice(HOSTS)
    joining = w.vm(name, host.name, 4, 8, zone=host.zone)
    if chance.random() < 0.3:
        joining = w.replace(joining, pool=None, hypervisor="")
    return [joining] if name not in names else []


def _other(vm: Vm, what: str, chance: random.Random) -> Vm:
    """The VM with another label or taint, on another host, or about to leave."""
    if what == "retire":
        return w.replace(vm, retiring=not vm.retiring)
    if what == "move":
        host = chance.choice(HOSTS)
        labels = vm.labels | {names.HOST: host.name, names.ZONE: host.zone}
        return w.replace(vm, host=host.name, zone=host.zone, labels=labels)
    taints = (Taint(key="dedicated", effect=chance.choice(["NoSchedule", "NoExecute"])),)
    return w.replace(
        vm,
        labels=vm.labels | {"tier": chance.choice("ab")},
        taints=() if vm.taints else taints,
    )


def _share_of(vm: Vm, share: float) -> Resources:
    allocatable = vm.allocatable
    return Resources(cpu=int(allocatable.cpu * share), memory=int(allocatable.memory * share))


def _key(pod: Pod) -> str:
    return pod.key


@given(st.integers(0, 2**32))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_sequence_of_changes_is_decided_as_from_scratch(seed: int) -> None:
    chance = random.Random(seed)
    replanner, now, present = Replanner(), w.NOW, world()
    for _ in range(8):
        present = changed(present, chance)
        again = replanner.plan(present, now)
        assert encode(again) == encode(plan(present, now))
        if chance.random() < 0.6:
            present = w.carry_out(present, again)
            now += 30
        now += chance.choice([0, 3600])


def test_a_vm_more_or_fewer_is_taken_into_the_fleet_that_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Snapshot] = []

    class Counted(Fleet):
        def __init__(self, snapshot: Snapshot) -> None:
            made.append(snapshot)
            super().__init__(snapshot)

    owner = w.pool(nodes={"min": 0, "max": 20})
    vms = tuple(w.vm(f"web-{n:02}", "h0", 4, 8, of=owner) for n in range(10, 20))
    pods = tuple(w.pod(f"p{n}", KINDS[n % len(KINDS)], f"web-1{n}") for n in range(10))
    present = Snapshot(
        hypervisors=(RACK,), pools=(owner,), vms=vms, pods=pods, namespaces={"default": {}}
    )
    replanner = Replanner()
    monkeypatch.setattr(replan, "Fleet", Counted)
    replanner.plan(present, w.NOW)
    first = w.vm("web-01", "h0", 4, 8, of=owner)
    for vms in ((first, *present.vms), present.vms, present.vms[:4] + present.vms[5:]):
        present = w.replace(present, vms=vms)
        assert encode(replanner.plan(present, w.NOW)) == encode(plan(present, w.NOW))
    assert len(made) == 1


def test_a_plan_that_failed_is_not_built_on(monkeypatch: pytest.MonkeyPatch) -> None:
    replanner, present = Replanner(), changed(world(), random.Random(1))
    replanner.plan(present, w.NOW)

    class Broken(replan.Planner):
        def plan(self) -> Plan:
            super().plan()
            raise RuntimeError("in the middle of it")

    with monkeypatch.context() as patched:
        patched.setattr(replan, "Planner", Broken)
        with pytest.raises(RuntimeError):
            replanner.plan(present, w.NOW)
    assert encode(replanner.plan(present, w.NOW)) == encode(plan(present, w.NOW))


def test_vms_that_became_empty_go_at_once_among_many_that_could_not() -> None:
    """More VMs than come up again in one plan without a change of their own."""
    number = 150
    owner = w.pool(
        nodes={"min": 0, "max": 200},
        size={"cpu": {"min": 2, "max": 2}, "memory": {"min": "4Gi", "max": "4Gi"}},
        disruption={"maxUnavailable": 200, "consolidateAfter": "1m"},
    )
    large = tuple(w.host(f"h{n}", 1000, 4000) for n in range(3))
    full = Snapshot(
        hypervisors=(w.hypervisor(*large),),
        pools=(owner,),
        vms=tuple(w.vm(f"web-{n:03}", f"h{n % 3}", 2, 4, of=owner) for n in range(number)),
        pods=tuple(w.pod(f"p{n:03}", w.shape(2000, 256), f"web-{n:03}") for n in range(number)),
    )
    replanner = Replanner()
    assert replanner.plan(full, w.NOW).moves == ()
    emptier = w.replace(full, pods=full.pods[: number // 2])
    found = replanner.plan(emptier, w.NOW)
    assert len(w.moves(found, Lever.RETIRE)) == number - number // 2


def test_vms_that_could_not_go_come_up_again_in_their_turn() -> None:
    """Each plan tries some of those about which nothing changed: in the end all had a turn."""
    memory = Memory()
    fleet = Fleet(
        Snapshot(vms=tuple(w.vm(f"web-{n:03}", "h0") for n in range(150)), hypervisors=(RACK,))
    )
    targets = list(fleet.bins.values())
    for target in targets:
        memory.failed(target)
    tried: set[str] = set()
    for _ in range(4):
        memory.begin(at_rest=True)
        turns = memory.turns(targets)
        assert len(turns) < len(targets)
        tried.update(target.name for target in turns)
        for target in turns:
            memory.failed(target)
    assert len(tried) == len(targets)
