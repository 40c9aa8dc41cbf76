"""What is decided in which situation, and why: one test a situation."""

from __future__ import annotations

import pytest

import planning as w
from checker import problems
from plimsoll.api import labels as names
from plimsoll.api.vmnode import Phase
from plimsoll.decide.plan import Lever, Plan, Reason
from plimsoll.decide.planner import plan
from plimsoll.world.snapshot import Budget, Pod, Resources, Snapshot, Workload
from plimsoll.world.wire import LabelSelector, Taint, Toleration

ONE_HOST = w.hypervisor(w.host("h0"))
TWO_HOSTS = w.hypervisor(w.host("h0"), w.host("h1"))
BERTH = {names.BERTHS: 1}


def decide(world: Snapshot) -> Plan:
    """The plan, which must also stand up to the independent checker."""
    found = plan(world, w.NOW)
    assert problems(world, found) == []
    return found


def full(vm: str, cpu: int = 4000) -> Pod:
    """A pod that fills a VM."""
    return w.pod(f"full-{vm}", w.shape(cpu, 1024), vm, held="bare pod")


# Load: more containers on a VM


def test_a_pod_that_fits_takes_a_berth_and_nothing_else() -> None:
    owner = w.pool(pods_min=1)
    first = w.pod("first", w.shape(extended=BERTH), "web-1")
    world = Snapshot(
        hypervisors=(ONE_HOST,),
        pools=(owner,),
        vms=(w.vm("web-1", "h0", of=owner),),
        pods=(first, w.pod("second", w.shape(extended=BERTH))),
    )
    found = decide(world)
    assert w.kinds(found) == ["Load vm/web-1"]
    assert found.moves[0].berths == 2
    assert found.placements["default/second"] == "web-1"
    assert found.cost.after == found.cost.before


def test_berths_are_not_raised_while_measured_use_is_over_the_line_but_lowered_to_use() -> None:
    owner = w.pool(pods_min=1)
    busy = w.vm("web-1", "h0", of=owner, berths=5, usage=Resources(cpu=4500, memory=0))
    running = w.pod("first", w.shape(extended=BERTH), "web-1")
    world = Snapshot(hypervisors=(ONE_HOST,), pools=(owner,), vms=(busy,), pods=(running,))
    found = decide(world)
    assert [(m.kind, m.berths) for m in found.moves] == [(Lever.LOAD, 1)]


def test_the_load_line_keeps_a_pod_off_although_the_scheduler_would_take_it() -> None:
    owner = w.pool(
        density={"loadLinePercent": 50, "reserved": {"cpu": 0, "memory": 0}},
        size={
            "cpu": {"min": 4, "max": 4},
            "memory": {"min": "8Gi", "max": "8Gi"},
        },
        nodes={"min": 1, "max": 1},
    )
    world = Snapshot(
        hypervisors=(ONE_HOST,),
        pools=(owner,),
        vms=(w.vm("web-1", "h0", of=owner),),
        pods=(w.pod("big", w.shape(2500, 512)),),
    )
    found = decide(world)
    assert found.moves == ()
    (unplaced,) = found.unplaced
    assert unplaced.reason is Reason.POOL_AT_MAX
    assert "LoadLine" in unplaced.why["existing VMs"]


# Grow, then Launch


def test_a_vm_at_its_line_grows_before_another_is_launched() -> None:
    world = Snapshot(
        hypervisors=(ONE_HOST,),
        pools=(w.pool(),),
        vms=(w.vm("web-1", "h0", 2, 8),),
        pods=(w.pod("a", w.shape(1500, 512), "web-1"), w.pod("b", w.shape(1500, 512))),
    )
    (move,) = decide(world).moves
    assert (move.kind, move.source, move.target) == (Lever.GROW, "2 CPU, 8Gi", "4 CPU, 8Gi")
    assert {r.lever for r in move.rejected} == {Lever.LOAD, Lever.LAUNCH}


@pytest.mark.parametrize(
    ("most_cpu", "most_memory"), [(2000, 32 * w.GIB), (3000, 32 * w.GIB), (8000, 8 * w.GIB)]
)
def test_a_vm_never_grows_beyond_what_it_was_made_for(most_cpu: int, most_memory: int) -> None:
    # Memory is at its ceiling in the last case, CPUs in the others.
    more = w.shape(1500, 512) if most_cpu < 8000 else w.shape(100, 6 * 1024)
    low = w.vm("web-1", "h0", 2, 8, max_cpu=most_cpu, max_memory=most_memory)
    world = Snapshot(
        hypervisors=(ONE_HOST,),
        pools=(w.pool(),),
        vms=(low,),
        pods=(w.pod("a", w.shape(1500, 4 * 1024), "web-1"), w.pod("b", more)),
    )
    move = decide(world).moves[0]
    assert move.kind is Lever.LAUNCH
    (grow,) = [r for r in move.rejected if r.lever is Lever.GROW]
    assert grow.reason is Reason.AT_MAX_SIZE
    high = w.replace(low, max_cpu=8000, max_memory=32 * w.GIB)
    (move,) = decide(w.replace(world, vms=(high,))).moves
    assert move.kind is Lever.GROW


def test_a_vm_whose_host_is_full_does_not_grow_and_one_is_launched_elsewhere() -> None:
    world = Snapshot(
        hypervisors=(w.hypervisor(w.host("h0", 4), w.host("h1", 4)),),
        pools=(w.pool(),),
        vms=(w.vm("web-1", "h0", 4, 8),),
        pods=(full("web-1"), w.pod("b", w.shape(1500, 512))),
    )
    (move,) = decide(world).moves
    assert (move.kind, move.host, move.target) == (Lever.LAUNCH, "h1", "2 CPU, 4Gi")
    assert Reason.NO_HOST_ROOM in {r.reason for r in move.rejected}


def test_with_no_host_left_the_pod_is_unplaced_and_says_what_was_lacking() -> None:
    world = Snapshot(
        hypervisors=(w.hypervisor(w.host("h0", 4)),),
        pools=(w.pool(),),
        vms=(w.vm("web-1", "h0", 4, 8),),
        pods=(full("web-1"), w.pod("b", w.shape(1500, 512))),
    )
    found = decide(world)
    (unplaced,) = found.unplaced
    assert unplaced.reason is Reason.NO_HOST_ROOM
    assert "host h0 has no room for 2 CPU, 4Gi" in unplaced.why["web"]


def test_hot_add_refused_by_the_guest_is_respected() -> None:
    refusing = w.vm("web-1", "h0", 2, 8, hot_add_refused="kubelet runs a static CPU manager")
    world = Snapshot(
        hypervisors=(ONE_HOST,),
        pools=(w.pool(),),
        vms=(refusing,),
        pods=(full("web-1", 2000), w.pod("b", w.shape(1500, 512))),
    )
    (move,) = decide(world).moves
    assert move.kind is Lever.LAUNCH
    assert "static CPU manager" in " ".join(r.message for r in move.rejected)


def test_a_new_vm_is_as_large_as_what_it_will_carry() -> None:
    pods = tuple(w.pod(f"p{n}", w.shape(1000, 1024)) for n in range(6))
    world = Snapshot(hypervisors=(ONE_HOST,), pools=(w.pool(),), pods=pods)
    (move,) = decide(world).moves
    assert (move.kind, move.target) == (Lever.LAUNCH, "6 CPU, 8Gi")


def test_a_new_vm_has_room_for_the_daemonset_pods_of_its_pool() -> None:
    owner = w.replace(w.pool(), daemons=(w.shape(500, 512, app="agent"),))
    world = Snapshot(
        hypervisors=(ONE_HOST,), pools=(owner,), pods=(w.pod("p", w.shape(2000, 1024)),)
    )
    (move,) = decide(world).moves
    assert move.target == "4 CPU, 4Gi"


def test_a_vm_on_its_way_is_used_and_not_launched_twice() -> None:
    coming = w.vm("web-1", "h0", 4, 8, phase=Phase.BOOTING, ready=False, berths=None)
    world = Snapshot(hypervisors=(ONE_HOST,), pools=(w.pool(),), vms=(coming,), pods=(w.pod("p"),))
    found = decide(world)
    assert found.moves == ()
    assert found.placements == {"default/p": "web-1"}


def test_pool_limits_hold() -> None:
    owner = w.pool(
        nodes={"min": 0, "max": 1},
        size={"cpu": {"min": 2, "max": 2}, "memory": {"min": "4Gi", "max": "4Gi"}},
    )
    pods = tuple(w.pod(f"p{n}", w.shape(1500, 512)) for n in range(3))
    found = decide(Snapshot(hypervisors=(ONE_HOST,), pools=(owner,), pods=pods))
    assert len(w.moves(found, Lever.LAUNCH)) == 1
    assert {u.reason for u in found.unplaced} == {Reason.POOL_AT_MAX}


def test_a_pool_is_filled_to_its_smallest_count_over_distinct_hosts() -> None:
    found = decide(Snapshot(hypervisors=(TWO_HOSTS,), pools=(w.pool(nodes={"min": 2, "max": 4}),)))
    assert sorted((m.kind, m.host) for m in found.moves) == [
        (Lever.LAUNCH, "h0"),
        (Lever.LAUNCH, "h1"),
    ]


def test_launches_beyond_max_launching_are_planned_but_wait() -> None:
    owner = w.pool(nodes={"min": 3, "max": 4}, maxLaunching=2)
    found = decide(Snapshot(hypervisors=(TWO_HOSTS,), pools=(owner,)))
    assert [bool(m.deferred) for m in found.moves] == [False, False, True]


def test_nothing_is_launched_grown_or_retired_while_the_hypervisor_is_unreachable() -> None:
    world = Snapshot(
        hypervisors=(w.replace(TWO_HOSTS, ready=False),),
        pools=(w.pool(),),
        vms=(w.vm("web-1", "h0", 2, 8), w.vm("web-2", "h1", 2, 8)),
        pods=(w.pod("big", w.shape(3000, 512)),),
    )
    found = decide(world)
    assert found.moves == ()
    assert Reason.HYPERVISOR_UNREADY in {r.guard for r in found.refusals}


def test_a_launch_back_off_is_waited_out() -> None:
    owner = w.replace(w.pool(), launch_blocked_until=w.NOW + 30)
    found = decide(Snapshot(hypervisors=(ONE_HOST,), pools=(owner,), pods=(w.pod("p"),)))
    assert found.moves == ()
    assert found.unplaced[0].reason is Reason.LAUNCH_BACKOFF
    assert found.recheck_at == w.NOW + 30


def test_a_pool_stands_still_when_too_many_of_its_vms_are_unready() -> None:
    vms = tuple(w.vm(f"web-{n}", "h0", 2, 4, ready=n > 4) for n in range(1, 7))
    world = Snapshot(
        hypervisors=(TWO_HOSTS,),
        pools=(w.pool(),),
        vms=vms,
        pods=(w.pod("big", w.shape(3000, 512)),),
    )
    found = decide(world)
    assert found.moves == ()
    assert Reason.TOO_MANY_UNREADY in {r.guard for r in found.refusals}


def test_growth_that_would_leave_no_room_to_restart_after_a_host_loss_is_refused() -> None:
    owner = w.pool(survive={"hosts": 1}, nodes={"max": 2})
    world = Snapshot(
        hypervisors=(w.hypervisor(w.host("h0", 8), w.host("h1", 8)),),
        pools=(owner,),
        vms=(w.vm("web-1", "h0", 4, 8, of=owner), w.vm("web-2", "h1", 4, 8, of=owner)),
        pods=(full("web-1"), full("web-2"), w.pod("more", w.shape(1000, 512))),
    )
    found = decide(world)
    assert found.moves == ()
    assert any(r.guard is Reason.SURVIVAL for r in found.refusals)


def test_a_vm_does_not_get_the_name_of_a_node_that_is_gone_but_still_has_pods() -> None:
    stranded = w.pod("stranded", w.shape(500, 512), "web-1")
    waiting = w.pod("waiting", w.shape(500, 512))
    world = Snapshot(hypervisors=(ONE_HOST,), pools=(w.pool(),), pods=(stranded, waiting))
    assert w.kinds(plan(world, w.NOW)) == ["Launch vm/web-2"]
    world = w.replace(world, pods=(waiting,))
    assert w.kinds(plan(world, w.NOW)) == ["Launch vm/web-1"]


# Selectors, taints, spread


def test_taints_and_selectors_choose_the_pool() -> None:
    batch = w.pool(
        "batch",
        template={
            "labels": {"tier": "batch"},
            "taints": [{"key": "dedicated", "value": "batch", "effect": "NoSchedule"}],
        },
    )
    tolerant = w.shape(
        node_selector={"tier": "batch"},
        tolerations=(Toleration(key="dedicated", value="batch", effect="NoSchedule"),),
    )
    world = Snapshot(
        hypervisors=(ONE_HOST,),
        pools=(batch, w.pool()),
        pods=(
            w.pod("ok", tolerant),
            w.pod("intolerant", w.shape(node_selector={"tier": "batch"})),
            w.pod("plain"),
        ),
    )
    found = decide(world)
    assert found.placements == {"default/ok": "batch-1", "default/plain": "web-1"}
    assert (
        found.unplaced[0]
        .why["batch"]
        .endswith("has the taint dedicated=batch:NoSchedule, which the pod does not tolerate")
    )


def test_an_existing_node_of_somebody_else_is_used_but_never_touched() -> None:
    foreign = w.vm(
        "metal", "", 8, 32, berths=None, taints=(Taint(key="x", effect="PreferNoSchedule"),)
    )
    foreign = w.replace(foreign, pool=None)
    world = Snapshot(hypervisors=(ONE_HOST,), pools=(w.pool(),), vms=(foreign,), pods=(w.pod("p"),))
    found = decide(world)
    assert found.moves == ()
    assert found.placements == {"default/p": "metal"}


def test_spread_over_hosts_opens_a_vm_on_each() -> None:
    kind = w.shape(500, 512, spread=(w.spread(min_domains=2),))
    pods = tuple(w.pod(f"p{n}", kind) for n in range(4))
    found = decide(Snapshot(hypervisors=(TWO_HOSTS,), pools=(w.pool(),), pods=pods))
    assert {m.host for m in found.moves} == {"h0", "h1"}
    assert sorted(found.placements.values()) == ["web-1", "web-1", "web-2", "web-2"]


def test_without_an_inventory_hosts_are_unbounded_and_the_plan_says_so() -> None:
    unknown = w.replace(ONE_HOST, hosts=None)
    owner = w.pool(zones=["a", "b"])
    kind = w.shape(500, 512, spread=(w.spread(names.ZONE, min_domains=2),))
    pods = tuple(w.pod(f"p{n}", kind) for n in range(2))
    found = decide(Snapshot(hypervisors=(unknown,), pools=(owner,), pods=pods))
    assert sorted(v.zone for v in found.vms) == ["a", "b"]
    assert "unbounded" in found.notes[0]
    assert [m.vm.host for m in found.moves if m.vm] == ["", ""]


def test_what_is_not_modelled_is_reported_and_never_guessed() -> None:
    claim = w.shape(not_modelled=("resource claims (DRA)",))
    found = decide(
        Snapshot(hypervisors=(ONE_HOST,), pools=(w.pool(),), pods=(w.pod("gpu", claim),))
    )
    assert found.moves == ()
    assert found.unplaced[0].reason is Reason.NOT_MODELLED
    assert "resource claims (DRA)" in found.unplaced[0].why["web"]


def test_a_gated_pod_is_left_alone() -> None:
    world = Snapshot(hypervisors=(ONE_HOST,), pools=(w.pool(),), pods=(w.pod("gated", gated=True),))
    assert decide(world).moves == ()


# Workloads: up, then out


def running(
    of: Workload, *cpus: int, hosts: tuple[str, ...] = ("web-1", "web-2")
) -> tuple[Pod, ...]:
    return tuple(w.replica(f"r{n}", of, hosts[n % len(hosts)], cpu) for n, cpu in enumerate(cpus))


def two_vms(of: Workload, pods: tuple[Pod, ...], cpu: int = 4) -> Snapshot:
    return Snapshot(
        hypervisors=(TWO_HOSTS,),
        pools=(w.pool(nodes={"min": 2, "max": 6}),),
        vms=(w.vm("web-1", "h0", cpu, 8), w.vm("web-2", "h1", cpu, 8)),
        pods=pods,
        workloads=(of,),
    )


def test_a_replica_grows_in_place_before_replicas_multiply() -> None:
    app = w.workload(replicas=2, demand=w.load(2000))
    found = decide(two_vms(app, running(app, 250, 250)))
    assert w.kinds(found) == ["Resize pod/default/r0", "Resize pod/default/r1"]
    assert {m.size.cpu for m in found.moves if m.size} == {1000}


def test_at_their_largest_size_replicas_multiply() -> None:
    app = w.workload(replicas=2, demand=w.load(5000))
    found = decide(two_vms(app, running(app, 2000, 2000)))
    (move,) = w.moves(found, Lever.REPLICATE)
    assert (move.source, move.target) == ("2", "3")
    assert "out for throughput" in move.reason
    assert move.rejected[0].reason is Reason.AT_MAX_SIZE


def test_a_resize_that_does_not_fit_grows_the_vm_and_waits_for_it() -> None:
    app = w.workload(replicas=2, demand=w.load(4000))
    found = decide(two_vms(app, running(app, 250, 250), cpu=2))
    grown = w.moves(found, Lever.GROW)
    assert {m.subject for m in grown} == set()  # 2 CPUs hold one replica of 2 CPUs
    crowded = (*running(app, 250, 250), w.pod("other", w.shape(1000, 512), "web-1"))
    found = decide(two_vms(app, crowded, cpu=2))
    assert [m.subject for m in w.moves(found, Lever.GROW)] == ["vm/web-1"]
    waiting = {m.subject: m.deferred for m in w.moves(found, Lever.RESIZE)}
    assert "web-1 has grown" in waiting["pod/default/r0"]
    assert waiting["pod/default/r1"] == ""


def test_where_a_replica_can_not_grow_more_replicas_make_up_for_it() -> None:
    app = w.workload(replicas=2, demand=w.load(4000))
    pods = tuple(w.replace(p, resize_refused="Infeasible") for p in running(app, 250, 250))
    found = decide(two_vms(app, pods))
    (move,) = w.moves(found, Lever.REPLICATE)
    assert int(move.target) > 2
    assert move.rejected[0].lever is Lever.RESIZE


def test_redundancy_sets_a_floor_of_replicas_on_distinct_hosts() -> None:
    kind = w.shape(250, 256, app="app", spread=(w.spread(min_domains=3),))
    app = w.workload(replicas=1, of=kind, scaleOut={"min": 1, "max": 9}, redundancy={"survive": 2})
    world = w.replace(
        two_vms(app, (w.replica("r0", app, "web-1"),)),
        hypervisors=(w.hypervisor(w.host("h0"), w.host("h1"), w.host("h2")),),
    )
    found = decide(world)
    (move,) = w.moves(found, Lever.REPLICATE)
    assert move.target == "3"
    assert "out for redundancy" in move.reason
    assert [m.host for m in w.moves(found, Lever.LAUNCH)] == ["h2"]
    assert found.workloads[0].redundant


def test_redundancy_launches_on_another_host_although_there_is_room_on_the_first() -> None:
    app = w.workload(replicas=1, redundancy={"survive": 1})
    world = w.replace(
        two_vms(app, (w.replica("r0", app, "web-1"),)),
        pools=(w.pool(nodes={"min": 1, "max": 6}),),
        vms=(w.vm("web-1", "h0", 8, 32),),
    )
    found = decide(world)
    (move,) = w.moves(found, Lever.LAUNCH)
    assert move.host == "h1"
    assert "out for redundancy" in move.reason
    assert found.workloads[0].redundant


def test_after_losing_a_host_the_rest_must_carry_the_load() -> None:
    app = w.workload(replicas=2, demand=w.load(1500), redundancy={"survive": 1})
    found = decide(two_vms(app, running(app, 250, 250)))
    assert {m.size.cpu for m in found.moves if m.size} == {1500}


def test_redundancy_that_the_hosts_cannot_give_is_said_and_does_not_run_away() -> None:
    app = w.workload(replicas=2, demand=w.load(500), redundancy={"survive": 1})
    world = w.replace(
        two_vms(app, running(app, 250, 250, hosts=("web-1",))),
        hypervisors=(ONE_HOST,),
        pools=(w.pool(nodes={"min": 1, "max": 6}),),
        vms=(w.vm("web-1", "h0"),),
    )
    found = decide(world)
    assert not found.workloads[0].redundant
    assert "at least 2" in found.workloads[0].message
    assert w.moves(found, Lever.REPLICATE) == []


def test_no_metrics_mean_no_scaling_down() -> None:
    app = w.workload(replicas=6, demand=None)
    found = decide(two_vms(app, running(app, *[1000] * 6)))
    assert found.moves == ()


def test_a_load_watched_for_too_short_a_time_shrinks_nothing() -> None:
    app = w.workload(replicas=6, demand=w.load(250, window_full=False))
    found = decide(two_vms(app, running(app, *[1000] * 6)))
    assert found.moves == ()
    assert Reason.STABILISING in {r.guard for r in found.refusals}


def test_a_load_that_stays_low_gives_back_replicas_and_size() -> None:
    app = w.workload(replicas=3, demand=w.load(600))
    found = decide(two_vms(app, running(app, 2000, 2000, 2000)))
    shrunk = w.moves(found, Lever.SHRINK)
    assert ("workload/default/app", "2") in {(m.subject, m.target) for m in shrunk}
    assert {m.size.cpu for m in shrunk if m.size} == {300}


def test_a_count_fixed_by_hand_is_kept() -> None:
    app = w.workload(replicas=2, demand=w.load(9000))
    fixed = app.spec.model_copy(update={"replicas": 3})
    app = w.replace(app, spec=fixed)
    (move,) = w.moves(decide(two_vms(app, running(app, 2000, 2000))), Lever.REPLICATE)
    assert (move.target, move.reason) == ("3", "spec.replicas fixes 3")


# Replicas that start smaller than they will be


WITH_BERTH = w.shape(250, 256, app="app", extended=BERTH)


def test_a_pending_replica_is_placed_and_resized_as_large_as_it_will_be() -> None:
    app = w.workload(replicas=4, of=WITH_BERTH, demand=w.load(7600))
    pending = tuple(w.replica(f"p{n}", app, None) for n in range(2))
    found = decide(two_vms(app, (*running(app, 1900, 1900), *pending)))
    resized = {m.subject: (m.size.cpu, m.deferred) for m in w.moves(found, Lever.RESIZE) if m.size}
    assert resized == {"pod/default/p0": (1900, ""), "pod/default/p1": (1900, "")}
    assert sorted(found.placements.values()) == ["web-1", "web-1", "web-2", "web-2"]


def test_a_replica_that_runs_takes_the_room_it_grows_into_before_a_pending_one() -> None:
    app = w.workload(replicas=3, of=WITH_BERTH, demand=w.load(5700))
    small = w.pool(
        nodes={"min": 1, "max": 6},
        size={
            "cpu": {"min": 2, "max": 4, "step": 2},
            "memory": {"min": "4Gi", "max": "32Gi", "step": "4Gi"},
        },
    )
    world = Snapshot(
        hypervisors=(TWO_HOSTS,),
        pools=(small,),
        vms=(w.vm("web-1", "h0", of=small),),
        pods=(*running(app, 250, 250, hosts=("web-1",)), w.replica("p", app, None)),
        workloads=(app,),
    )
    found = decide(world)
    assert {m.subject for m in w.moves(found, Lever.RESIZE)} == {
        f"pod/default/{name}" for name in ("r0", "r1", "p")
    }
    assert found.placements["default/p"] == "web-2"


def test_no_berth_is_offered_that_a_full_grown_replica_has_no_room_for() -> None:
    app = w.workload(replicas=2, of=WITH_BERTH, demand=w.load(3000))
    world = two_vms(app, running(app, 1500, 1500))
    found = decide(world)
    assert {(m.subject, m.berths) for m in w.moves(found, Lever.LOAD)} == {
        ("vm/web-1", 2),
        ("vm/web-2", 2),
    }
    assert w.kinds(decide(w.carry_out(world, found))) == []


def test_berths_are_offered_again_once_replicas_start_as_large_as_they_are() -> None:
    app = w.workload(replicas=2, of=WITH_BERTH, demand=w.load(500))
    world = two_vms(app, running(app, 250, 250))
    few = tuple(w.replace(vm, berths=2) for vm in world.vms)
    found = decide(w.replace(world, vms=few))
    assert {m.berths for m in w.moves(found, Lever.LOAD)} == {20}


def crowded(age: float, allowed: int = 1) -> Snapshot:
    """Three replicas where two have room at their full size, the last one still small."""
    app = w.workload(replicas=4, of=WITH_BERTH, demand=w.load(7200))
    pool = w.pool(nodes={"min": 2, "max": 6}, size=FIXED)
    pods = [
        w.replica("r0", app, "web-1", 1800),
        w.replica("r1", app, "web-1", 1800),
        w.replica("r2", app, "web-2", 1800),
        w.replace(w.replica("late", app, "web-1"), created=w.NOW - age),
    ]
    return Snapshot(
        hypervisors=(TWO_HOSTS,),
        pools=(pool,),
        vms=tuple(w.vm(f"web-{n}", f"h{n - 1}", of=pool, berths=3) for n in (1, 2)),
        pods=tuple(sorted(pods, key=lambda p: p.key)),
        workloads=(app,),
        budgets=(
            Budget(namespace="default", name="app", selector=LabelSelector(), allowed=allowed),
        ),
    )


FIXED = {
    "cpu": {"min": 4, "max": 4},
    "memory": {"min": "8Gi", "max": "8Gi"},
}


def test_a_new_replica_that_cannot_grow_where_it_came_is_moved_and_not_made_up_for() -> None:
    found = decide(crowded(age=5.0))
    (move,) = w.moves(found, Lever.MOVE)
    assert (move.subject, move.source, move.target) == ("pod/default/late", "web-1", "web-2")
    assert ("vm/web-1", 2) in {(m.subject, m.berths) for m in w.moves(found, Lever.LOAD)}
    assert w.moves(found, Lever.REPLICATE) == []


def test_a_new_replica_that_may_not_be_evicted_waits_and_is_not_made_up_for() -> None:
    found = decide(crowded(age=5.0, allowed=0))
    assert w.moves(found, Lever.MOVE) == []
    assert w.moves(found, Lever.REPLICATE) == []


def test_a_replica_that_has_long_served_is_made_up_for_and_not_moved() -> None:
    found = decide(crowded(age=3600.0))
    assert w.moves(found, Lever.MOVE) == []
    (move,) = w.moves(found, Lever.REPLICATE)
    assert move.target == "5"


def test_replicas_that_are_larger_than_asked_for_make_up_for_one_that_cannot_grow() -> None:
    app = w.workload(replicas=3, demand=w.load(3000))
    pods = running(app, 1800, 1800, 250)
    stuck = w.replace(pods[2], resize_refused="Infeasible")
    found = decide(two_vms(app, (*pods[:2], stuck)))
    assert w.moves(found, Lever.REPLICATE) == []


def test_fewer_replicas_only_once_those_that_stay_have_grown() -> None:
    app = w.workload(replicas=4, demand=w.load(2000))
    found = decide(two_vms(app, running(app, 250, 250, 250, 250)))
    (fewer,) = (m for m in w.moves(found, Lever.SHRINK) if m.replicas is not None)
    assert fewer.deferred
    assert all(not m.deferred for m in w.moves(found, Lever.RESIZE))


def test_fewer_replicas_only_as_far_as_those_that_stay_can_grow_all_at_once() -> None:
    app = w.workload(replicas=6, demand=w.load(3600))
    pool = w.pool(nodes={"min": 2, "max": 2}, size=FIXED)
    vms = tuple(w.vm(f"web-{n}", f"h{n - 1}", of=pool) for n in (1, 2))
    world = w.replace(two_vms(app, running(app, *[600] * 6)), pools=(pool,), vms=vms)
    # Two of 1800m would do; but while six are there, none can be larger than 1333m.
    (fewer,) = (m for m in w.moves(decide(world), Lever.SHRINK) if m.replicas is not None)
    assert fewer.target == "3"


def test_fewer_replicas_never_at_the_cost_of_the_survival_promise() -> None:
    # Three hosts are there, so seven replicas would do, were they on all three.
    app = w.workload(
        replicas=8, demand=w.load(8000), redundancy={"survive": 1}, scaleOut={"min": 2, "max": 20}
    )
    world = w.replace(
        two_vms(app, running(app, *[2000] * 8), cpu=8),
        hypervisors=(w.hypervisor(w.host("h0"), w.host("h1"), w.host("h2")),),
    )
    found = decide(world)
    assert [m for m in w.moves(found, Lever.SHRINK) if m.replicas is not None] == []
    assert Reason.REDUNDANCY in {r.guard for r in found.refusals}


# A host is lost


def test_while_vms_are_restarted_elsewhere_their_room_is_left_free_and_nothing_is_moved() -> None:
    kind = w.shape(250, 256, app="app", spread=(w.spread(min_domains=2),))
    app = w.workload(replicas=3, of=kind, redundancy={"survive": 1})
    world = w.replace(
        two_vms(app, running(app, 250, 250, 250)),
        hypervisors=(w.hypervisor(w.host("h0"), w.host("h1", state="Down"), w.host("h2")),),
    )
    lost = (world.vms[0], w.replace(world.vms[1], lost=True, ready=False))
    wants = w.pod("wants", w.shape(4000, 512))
    found = decide(w.replace(world, vms=lost, pods=(*world.pods, wants)))
    assert found.moves == ()
    assert any("restarting web-2" in refusal.message for refusal in found.refusals)


# Back: Retire, Move


def two_half_empty(**fields: object) -> Snapshot:
    owner = w.pool(**fields)
    return Snapshot(
        hypervisors=(TWO_HOSTS,),
        pools=(owner,),
        vms=(w.vm("web-1", "h0", of=owner), w.vm("web-2", "h1", of=owner)),
        pods=(
            w.pod("a", w.shape(1000, 512), "web-1"),
            w.pod("b", w.shape(500, 512), "web-2"),
        ),
    )


def test_a_vm_whose_containers_fit_elsewhere_is_retired() -> None:
    found = decide(two_half_empty())
    assert w.kinds(found) == ["Retire vm/web-2"]
    assert found.placements["default/b"] == "web-1"
    assert found.cost.after < found.cost.before


def test_nothing_is_retired_below_the_smallest_count() -> None:
    assert decide(two_half_empty(nodes={"min": 2, "max": 4})).moves == ()


def test_a_vm_is_not_retired_before_it_was_quiet_long_enough() -> None:
    world = two_half_empty()
    restless = tuple(w.replace(v, quiet_since=w.NOW - 60) for v in world.vms)
    found = decide(w.replace(world, vms=restless))
    assert found.moves == ()
    assert found.recheck_at == w.NOW - 60 + 600
    assert {r.guard for r in found.refusals} == {Reason.NOT_QUIET}


def test_held_pods_and_exhausted_budgets_keep_a_vm() -> None:
    world = two_half_empty()
    held = tuple(w.replace(p, held="plimsoll.dev/do-not-disrupt") for p in world.pods)
    assert {r.guard for r in decide(w.replace(world, pods=held)).refusals} == {Reason.HELD}
    budget = Budget(
        namespace="default",
        name="app",
        selector=LabelSelector(match_labels={"app": "app"}),
        allowed=0,
    )
    found = decide(w.replace(world, budgets=(budget,)))
    assert found.moves == ()
    assert {r.guard for r in found.refusals} == {Reason.BUDGET}


def test_outside_its_disruption_windows_a_pool_keeps_its_vms() -> None:
    # NOW is a Friday, 08:00 UTC.
    closed = {"windows": [{"days": ["Sat"], "start": "02:00", "duration": "2h"}]}
    found = decide(two_half_empty(disruption=closed))
    assert found.moves == ()
    assert {r.guard for r in found.refusals} == {Reason.WINDOW_CLOSED}
    assert found.recheck_at is not None
    opened = {"windows": [{"start": "07:00", "duration": "2h"}]}
    assert w.kinds(decide(two_half_empty(disruption=opened))) == ["Retire vm/web-2"]


def test_retirement_keeps_a_workloads_redundancy() -> None:
    app = w.workload(replicas=2, redundancy={"survive": 1})
    world = two_vms(app, running(app, 250, 250))
    found = decide(w.replace(world, pools=(w.pool(),)))
    assert found.moves == ()
    assert Reason.REDUNDANCY in {r.guard for r in found.refusals}


def test_only_as_many_vms_are_retired_at_once_as_may_be_unavailable() -> None:
    owner = w.pool(disruption={"maxUnavailable": 1})
    world = Snapshot(
        hypervisors=(TWO_HOSTS,),
        pools=(owner,),
        vms=tuple(w.vm(f"web-{n}", "h0", 2, 4, of=owner) for n in range(1, 4)),
    )
    found = decide(world)
    assert [bool(m.deferred) for m in w.moves(found, Lever.RETIRE)] == [False, True, True]


def test_replicas_crowded_onto_one_host_are_spread_again() -> None:
    kind = w.shape(250, 256, app="app", spread=(w.spread(min_domains=2),))
    app = w.workload(replicas=2, of=kind, redundancy={"survive": 1})
    world = two_vms(app, running(app, 250, 250, hosts=("web-1",)))
    found = decide(world)
    assert w.kinds(found) == ["Move pod/default/r0"]
    assert found.workloads[0].redundant


def test_replicas_are_not_spread_again_while_one_waits_for_its_place() -> None:
    kind = w.shape(250, 256, app="app", spread=(w.spread(min_domains=2),))
    app = w.workload(replicas=3, of=kind, redundancy={"survive": 1})
    pods = (*running(app, 250, 250, hosts=("web-1",)), w.replica("r2", app, None))
    assert w.moves(decide(two_vms(app, pods)), Lever.MOVE) == []


def test_replicas_on_the_only_vm_get_another_on_another_host_and_then_one_moves() -> None:
    kind = w.shape(250, 256, app="app", spread=(w.spread(),))
    app = w.workload(replicas=2, of=kind, redundancy={"survive": 1})
    world = w.replace(
        two_vms(app, running(app, 250, 250, hosts=("web-1",))),
        pools=(w.pool(nodes={"min": 1, "max": 6}),),
        vms=(w.vm("web-1", "h0"),),
    )
    found = decide(world)
    (launch,) = w.moves(found, Lever.LAUNCH)
    (move,) = w.moves(found, Lever.MOVE)
    assert launch.host == "h1"
    assert "out for redundancy" in launch.reason
    assert "web-2 is Ready" in move.deferred
    assert found.workloads[0].redundant
    ready = w.replace(world, vms=(*world.vms, w.vm("web-2", "h1", 2, 4)))
    (move,) = decide(ready).moves
    assert (move.kind, move.target, move.deferred) == (Lever.MOVE, "web-2", "")


def test_no_replica_is_evicted_for_a_vm_that_is_not_ready_yet() -> None:
    kind = w.shape(250, 256, app="app", spread=(w.spread(),))
    app = w.workload(replicas=2, of=kind, redundancy={"survive": 1})
    coming = w.vm("web-2", "h1", phase=Phase.JOINING, ready=False)
    world = two_vms(app, running(app, 250, 250, hosts=("web-1",)))
    found = decide(w.replace(world, vms=(world.vms[0], coming)))
    assert all(move.deferred for move in found.moves)


def test_no_replica_is_evicted_that_the_scheduler_could_put_back() -> None:
    kind = w.shape(250, 256, app="app", spread=(w.spread(max_skew=5),))
    app = w.workload(replicas=2, of=kind, redundancy={"survive": 1})
    found = decide(two_vms(app, running(app, 250, 250, hosts=("web-1",))))
    assert w.moves(found, Lever.MOVE) == []
    assert not found.workloads[0].redundant


def test_a_joining_vm_whose_pool_is_gone_is_not_counted_on() -> None:
    orphan = w.replace(
        w.vm("other-1", "h1", phase=Phase.JOINING, ready=False), pool="other", berths=None
    )
    world = Snapshot(hypervisors=(TWO_HOSTS,), pools=(w.pool(),), vms=(orphan,), pods=(w.pod("p"),))
    assert w.kinds(decide(world)) == ["Launch vm/web-1"]


def test_pods_of_a_vm_that_drains_are_planned_for_before_anything_else() -> None:
    leaving = w.vm("web-1", "h0", retiring=True)
    world = Snapshot(
        hypervisors=(TWO_HOSTS,),
        pools=(w.pool(),),
        vms=(leaving,),
        pods=(w.pod("a", w.shape(1000, 512), "web-1"),),
    )
    found = decide(world)
    assert w.kinds(found) == ["Launch vm/web-2"]
    assert found.placements["default/a"] == "web-2"
