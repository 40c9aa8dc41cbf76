"""Whatever the world looks like: no guard is broken, plans are deterministic, plans settle."""

from __future__ import annotations

import copy

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import planning as w
from checker import problems
from plimsoll.api import labels as names
from plimsoll.decide import survival
from plimsoll.decide.fleet import Fleet
from plimsoll.decide.plan import encode
from plimsoll.decide.planner import plan
from plimsoll.world.snapshot import Pod, PodShape, Pool, Snapshot
from plimsoll.world.wire import LabelSelector, PodAffinityTerm, Taint, Toleration

TAINT = Taint(key="dedicated", value="batch", effect="NoSchedule")


@st.composite
def shapes(draw: st.DrawFn) -> PodShape:
    app = draw(st.sampled_from(["a", "b"]))
    fields = {}
    rule = draw(st.sampled_from(["none", "none", "host", "vm", "apart", "selector", "port"]))
    if rule == "host":
        fields["spread"] = (w.spread(names.HOST, app),)
    elif rule == "vm":
        fields["spread"] = (w.spread(names.HOSTNAME, app, max_skew=2),)
    elif rule == "apart":
        fields["anti_affinity"] = (
            PodAffinityTerm(
                topology_key=draw(st.sampled_from([names.HOST, names.HOSTNAME])),
                label_selector=LabelSelector(match_labels={"app": app}),
            ),
        )
    elif rule == "selector":
        fields["node_selector"] = {names.POOL: draw(st.sampled_from(["web", "batch"]))}
    elif rule == "port":
        fields["host_ports"] = (("0.0.0.0", "TCP", 80),)
    if draw(st.booleans()):
        fields["tolerations"] = (Toleration(key="dedicated", operator="Exists"),)
    if draw(st.booleans()):
        fields["extended"] = {names.BERTHS: 1}
    return w.shape(
        draw(st.sampled_from([0, 100, 500, 1500, 3000])),
        draw(st.sampled_from([0, 256, 1024, 6144])),
        app=app,
        **fields,
    )


@st.composite
def pools(draw: st.DrawFn) -> tuple[Pool, ...]:
    least = draw(st.integers(0, 2))
    most = draw(st.integers(max(1, least), 5))
    web = w.pool(
        "web",
        nodes={"min": least, "max": most},
        survive={"hosts": draw(st.integers(0, 1)) if most > 1 else 0},
        density={
            "pods": {"min": 2, "max": draw(st.sampled_from([4, 110]))},
            "loadLinePercent": draw(st.sampled_from([70, 100])),
            "reserved": {"cpu": "100m", "memory": "128Mi"},
        },
        disruption={"consolidateAfter": "1m"},
    )
    if not draw(st.booleans()):
        return (web,)
    batch = w.pool(
        "batch",
        template={"taints": [{"key": "dedicated", "value": "batch", "effect": "NoSchedule"}]},
    )
    return (batch, web)


@st.composite
def worlds(draw: st.DrawFn) -> Snapshot:
    """Worlds that a scheduler could have made: bound pods fit where they are bound."""
    hosts = tuple(
        w.host(
            f"h{i}",
            draw(st.sampled_from([8, 16])),
            64,
            state=draw(st.sampled_from(["Up", "Up", "Up", "Down"])),
        )
        for i in range(draw(st.integers(1, 3)))
    )
    rack = w.hypervisor(
        *hosts,
        ready=draw(st.sampled_from([True, True, True, False])),
        capabilities=w.EVERYTHING.model_copy(
            update={
                "high_availability": draw(st.booleans()),
                "hot_remove": draw(st.booleans()),
            }
        ),
    )
    owners = draw(pools())
    web = owners[-1]
    vms = []
    for number in range(draw(st.integers(0, min(3, web.spec.nodes.max)))):
        home = hosts[number % len(hosts)]
        vms.append(
            w.vm(
                f"web-{number + 1}",
                home.name,
                2,
                8,
                of=web,
                ready=home.state == "Up",
                lost=home.state == "Down",
                retiring=draw(st.sampled_from([False, False, False, True])),
            )
        )
    pods: list[Pod] = []
    for number in range(draw(st.integers(0, 12))):
        kind = draw(shapes())
        held = draw(st.sampled_from(["", "", "", "do-not-disrupt"]))
        pods.append(w.pod(f"p{number:02}", kind, None, held=held))
    world = Snapshot(hypervisors=(rack,), pools=owners, vms=tuple(vms), pods=tuple(pods))
    # Let some of the pods run where the plan itself would put them: a consistent start.
    first = plan(world, w.NOW)
    line = web.spec.density.load_line_percent
    room = {
        v.name: [v.allocatable.cpu * line // 100, v.allocatable.memory * line // 100] for v in vms
    }

    def bind(pod: Pod) -> Pod:
        left = room.get(first.placements.get(pod.key, ""))
        requests = pod.shape.requests
        if left is None or left[0] < requests.cpu or left[1] < requests.memory:
            return pod
        left[0] -= requests.cpu
        left[1] -= requests.memory
        return w.replace(pod, node=first.placements[pod.key], ready=True)

    bound = tuple(
        bind(p) if not p.shape.spread and not p.shape.anti_affinity and draw(st.booleans()) else p
        for p in pods
    )
    berths = {
        v.name: max(
            v.berths or 0,
            sum(p.shape.requests.extended.get(names.BERTHS, 0) for p in bound if p.node == v.name),
        )
        for v in vms
    }
    fits = tuple(w.replace(v, berths=berths[v.name]) for v in vms)
    return w.replace(world, pods=bound, vms=fits)


SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(worlds())
@SETTINGS
def test_no_rule_and_no_guard_is_broken(world: Snapshot) -> None:
    assert problems(world, plan(world, w.NOW)) == []


@given(worlds())
@SETTINGS
def test_equal_worlds_give_equal_plans(world: Snapshot) -> None:
    again = copy.deepcopy(world)
    assert encode(plan(world, w.NOW)) == encode(plan(again, w.NOW))


@given(worlds())
@SETTINGS
def test_planning_again_after_carrying_out_yields_no_moves(world: Snapshot) -> None:
    first = plan(world, w.NOW)
    # A pod left over may find a place in what the plan's own moves have freed.
    assume(not first.unplaced)
    after = w.carry_out(world, first)
    assert w.kinds(plan(after, w.NOW)) == []


@given(worlds())
@SETTINGS
def test_left_alone_the_world_settles_and_never_gets_dearer(world: Snapshot) -> None:
    """With time passing, consolidation ends after a few rounds and only ever saves."""
    now = w.NOW
    first = plan(world, now)
    waiting = bool(first.unplaced or first.survival)
    world = w.carry_out(world, first)
    for _ in range(6):
        now += 3600
        found = plan(world, now)
        if not found.moves:
            return
        if not waiting:
            assert found.cost.after <= found.cost.before
        waiting = bool(found.unplaced or found.survival)
        world = w.carry_out(world, found)
    raise AssertionError(f"still moving: {w.kinds(plan(world, now + 3600))}")


@given(worlds())
@SETTINGS
def test_a_kept_survival_promise_stays_kept(world: Snapshot) -> None:
    assume(world.hypervisors[0].capabilities.high_availability)
    kept = survival.kept(Fleet(world))
    after = Fleet(w.carry_out(world, plan(world, w.NOW)))
    assert survival.first_broken(after, kept) == ""
