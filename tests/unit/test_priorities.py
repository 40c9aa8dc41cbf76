"""Priorities: who drives out whom, for whom no VM is bought, and whom taints drive away."""

from __future__ import annotations

from typing import Any

import planning as w
from checker import problems
from plimsoll.api import labels as names
from plimsoll.decide.plan import Lever, Plan, Reason
from plimsoll.decide.planner import plan
from plimsoll.world.snapshot import Pod, Snapshot
from plimsoll.world.wire import LabelSelector, PodAffinityTerm, Taint, Toleration

HOSTS = w.hypervisor(w.host("h0"), w.host("h1"))
EXPENDABLE = -100


def world(*pods: Pod, taints: tuple[Taint, ...] = (), vms: int = 1, **fields: Any) -> Snapshot:
    """VMs of 4 CPUs that cannot grow, in a pool that can have ten."""
    owner = w.pool(size={"cpu": {"min": 4, "max": 4}, "memory": {"min": "8Gi", "max": "8Gi"}})
    return Snapshot(
        hypervisors=(HOSTS,),
        pools=(owner,),
        vms=tuple(
            w.vm(f"web-{n}", f"h{n % 2}", of=owner, taints=taints if n == 1 else ())
            for n in range(1, vms + 1)
        ),
        pods=tuple(sorted(pods, key=lambda pod: pod.key)),
        **fields,
    )


def decided(snapshot: Snapshot) -> Plan:
    found = plan(snapshot, w.NOW)
    assert problems(snapshot, found) == []
    return found


def pod(name: str, node: str | None, cpu: int, priority: int = 0, **fields: Any) -> Pod:
    preempts = fields.pop("preempts", True)
    tolerations = fields.pop("tolerations", ())
    shape = w.shape(cpu, 256, priority=priority, preempts=preempts, tolerations=tolerations)
    return w.pod(name, shape, node, **fields)


def launched(found: Plan) -> int:
    return len(w.moves(found, Lever.LAUNCH))


def test_no_vm_is_bought_for_a_pod_that_preempts_but_for_the_one_it_drives_out() -> None:
    found = decided(world(pod("low", "web-1", 3000), pod("high", None, 3000, 100)))
    assert found.placements["default/high"] == "web-1"
    assert found.placements["default/low"] != "web-1"
    assert launched(found) == 1
    assert {r.guard for r in found.refusals} >= {Reason.PREEMPTS}


def test_as_few_as_possible_are_driven_out_and_those_of_the_lowest_priority() -> None:
    found = decided(
        world(
            pod("first", "web-1", 1500, 1),
            pod("second", "web-1", 1500, 2),
            pod("third", "web-1", 1000, 3),
            pod("high", None, 1500, 100),
        )
    )
    assert found.placements["default/high"] == "web-1"
    moved = {key for key, name in found.placements.items() if name != "web-1"}
    assert moved == {"default/first"}


def test_one_who_never_preempts_gets_a_vm() -> None:
    polite = pod("high", None, 3000, 100, preempts=False)
    found = decided(world(pod("low", "web-1", 3000), polite))
    assert found.placements["default/low"] == "web-1"
    assert launched(found) == 1


def test_equal_priorities_do_not_preempt() -> None:
    found = decided(world(pod("one", "web-1", 3000, 5), pod("two", None, 3000, 5)))
    assert found.placements["default/one"] == "web-1"
    assert launched(found) == 1


def test_pods_of_daemonsets_are_driven_out_too_and_get_no_other_place() -> None:
    agent = pod("agent", "web-1", 500, daemon=True)
    before = world(agent, pod("high", None, 3700, 100))
    (owner,) = before.pools
    found = decided(w.replace(before, pools=(w.replace(owner, daemons=(agent.shape,)),)))
    assert found.placements["default/high"] == "web-1"
    assert [(u.pod, u.reason) for u in found.unplaced] == [("default/agent", Reason.PREEMPTS)]
    assert launched(found) == 0


def test_nothing_is_launched_for_an_expendable_pod() -> None:
    found = decided(world(pod("main", "web-1", 3000), pod("filler", None, 3000, EXPENDABLE)))
    assert launched(found) == 0
    (unplaced,) = found.unplaced
    assert (unplaced.pod, unplaced.reason) == ("default/filler", Reason.EXPENDABLE)


def test_an_expendable_pod_takes_room_that_is_there() -> None:
    found = decided(world(pod("main", "web-1", 3000), pod("filler", None, 1000, EXPENDABLE)))
    assert found.placements["default/filler"] == "web-1"


def test_an_expendable_pod_gives_way_and_gets_no_vm_in_return() -> None:
    found = decided(world(pod("filler", "web-1", 3000, EXPENDABLE), pod("main", None, 3000)))
    assert found.placements["default/main"] == "web-1"
    assert launched(found) == 0
    assert [u.pod for u in found.unplaced] == ["default/filler"]


def test_expendable_pods_do_not_keep_a_vm() -> None:
    found = decided(world(pod("filler", "web-1", 3000, EXPENDABLE)))
    assert [m.subject for m in w.moves(found, Lever.RETIRE)] == ["vm/web-1"]
    assert [u.reason for u in found.unplaced] == [Reason.EXPENDABLE]


def test_an_expendable_pod_takes_the_last_place_only_if_nobody_else_wants_it() -> None:
    owner = w.pool(density={"pods": {"min": 1, "max": 3}})
    pods = [w.pod(f"main-{n}", w.shape(0, 0)) for n in range(3)]
    filler = w.pod("a-filler", w.shape(0, 0, priority=EXPENDABLE))
    there = w.replace(w.vm("web-1", "h0", of=owner), max_pods=3)
    found = decided(
        Snapshot(hypervisors=(HOSTS,), pools=(owner,), vms=(there,), pods=(filler, *pods))
    )
    assert launched(found) == 0
    assert [u.pod for u in found.unplaced] == ["default/a-filler"]


def test_no_vm_is_made_larger_by_expendable_pods_above_its_line() -> None:
    owner = w.pool(density={"loadLinePercent": 60})
    there = w.vm("web-1", "h0", 4, 16, of=owner)
    filler = pod("filler", "web-1", 2500, EXPENDABLE)

    def grown(*pods: Pod) -> list[Any]:
        world = Snapshot(hypervisors=(HOSTS,), pools=(owner,), vms=(there,), pods=pods)
        return w.moves(decided(world), Lever.GROW)

    assert not grown(filler, pod("main", "web-1", 1000))
    assert grown(pod("main", "web-1", 4000))


def test_a_vm_that_lost_its_pods_keeps_no_place_for_a_pending_expendable_pod() -> None:
    found = decided(world(pod("filler", None, 3000, EXPENDABLE)))
    assert [m.subject for m in w.moves(found, Lever.RETIRE)] == ["vm/web-1"]
    assert [u.reason for u in found.unplaced] == [Reason.EXPENDABLE]


def test_expendable_pods_of_a_retired_vm_take_room_that_is_left_elsewhere() -> None:
    found = decided(
        world(
            pod("main", "web-1", 2500),
            pod("filler", "web-2", 1000, EXPENDABLE),
            vms=2,
        )
    )
    assert [m.subject for m in w.moves(found, Lever.RETIRE)] == ["vm/web-2"]
    assert found.placements["default/filler"] == "web-1"


def test_after_a_loss_the_room_of_expendable_pods_is_there() -> None:
    owner = w.pool(
        survive={"hosts": 1},
        size={"cpu": {"min": 4, "max": 4}, "memory": {"min": "8Gi", "max": "8Gi"}},
    )
    rack = w.hypervisor(
        *(w.host(f"h{n}") for n in range(3)),
        capabilities=w.EVERYTHING.model_copy(update={"high_availability": False}),
    )
    found = plan(
        Snapshot(
            hypervisors=(rack,),
            pools=(owner,),
            vms=tuple(w.vm(f"web-{n}", f"h{n}", of=owner) for n in range(2)),
            pods=(pod("filler", "web-1", 3000, EXPENDABLE), pod("main", "web-0", 3000)),
        ),
        w.NOW,
    )
    assert not w.kinds(found)


def test_the_cutoff_is_the_snapshots() -> None:
    filler = pod("filler", None, 3000, EXPENDABLE)
    assert launched(decided(world(filler, vms=0, expendable_below=-1000))) == 1


def test_a_nomination_does_not_outweigh_the_pods_own_rules() -> None:
    term = PodAffinityTerm(
        topology_key=names.HOSTNAME, label_selector=LabelSelector(match_labels={"app": "db"})
    )
    lonely = w.pod("web", w.shape(100, affinity=(term,)), nominated="web-1")
    found = decided(world(pod("main", "web-1", 1000), lonely))
    assert [u.reason for u in found.unplaced] == [Reason.AFFINITY]


def test_a_nominated_pod_counts_where_the_scheduler_makes_room() -> None:
    going = pod("going", "web-1", 3000, terminating=True)
    found = decided(world(going, pod("high", None, 3000, 100, nominated="web-1")))
    assert found.placements["default/high"] == "web-1"
    assert launched(found) == 0


def test_a_nomination_that_came_to_nothing_is_not_believed() -> None:
    found = decided(world(pod("other", "web-1", 3000), pod("late", None, 3000, nominated="web-1")))
    assert found.placements["default/late"] != "web-1"
    assert launched(found) == 1


LEAVE = Taint(key="maintenance", value="", effect="NoExecute")


def test_pods_that_a_taint_will_drive_away_get_places_elsewhere() -> None:
    for_a_while = Toleration(key="maintenance", operator="Exists", toleration_seconds=300)
    for_good = Toleration(key="maintenance", operator="Exists")
    found = decided(
        world(
            pod("goes", "web-1", 1000),
            pod("may-return", "web-1", 1000, tolerations=(for_a_while,)),
            pod("stays", "web-1", 1000, tolerations=(for_good,), held="it keeps its VM"),
            pod("busy", "web-2", 3500),
            taints=(LEAVE,),
            vms=2,
        )
    )
    assert found.placements["default/stays"] == "web-1"
    assert found.placements["default/may-return"] == "web-1"
    assert found.placements["default/goes"] not in ("web-1", "web-2")
    assert launched(found) == 1


def test_taints_of_a_node_in_trouble_displace_nothing() -> None:
    trouble = Taint(key="node.kubernetes.io/unreachable", value="", effect="NoExecute")
    found = decided(world(pod("waits", "web-1", 1000), taints=(trouble,)))
    assert found.placements["default/waits"] == "web-1"
    assert launched(found) == 0
