"""Replicas, their size, VMs and their sizes decided together: near the cheapest, and at rest.

The cheapest is found by trying everything out for one workload on an empty pool. What
follows is tried in worlds that already run: nothing moves for ever, nothing gets dearer
while the load stays the same.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import planning as w
from checker import problems
from plimsoll.api import labels as names
from plimsoll.decide.filters import Filters
from plimsoll.decide.fleet import Fleet
from plimsoll.decide.placing import Placer
from plimsoll.decide.plan import Plan, Reason
from plimsoll.decide.planner import plan
from plimsoll.decide.trial import Trial
from plimsoll.world.snapshot import Pod, Pool, Snapshot, Vm, Workload

WITHIN = 1.3
"""No plan may cost more than so many times the cheapest. Of 8,167 random cases 99% were at
the cheapest itself, and the worst at 1.28 times."""


class Case(NamedTuple):
    """One workload, one empty pool. CPU in millicores, memory in MiB, prices in thousandths."""

    cpu: int
    memory: int
    largest: int
    """Millicores of the largest replica."""
    most: int
    survive: int
    vms: int
    sizes: tuple[int, ...]
    """CPUs that a VM may have."""
    price: tuple[int, int, int]
    """Of a VM, a CPU, a GiB."""
    line: int
    reserved: int
    hosts: tuple[int, ...]
    """CPUs of each."""

    @property
    def least(self) -> int:
        return self.survive + 1


@st.composite
def cases(draw: st.DrawFn) -> Case:
    low, step = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2, 4]))
    return Case(
        cpu=draw(st.sampled_from([100, 900, 1900, 2500, 3900, 5200, 7000])),
        memory=draw(st.sampled_from([256, 1000, 3000, 6000])),
        largest=draw(st.sampled_from([1000, 2000])),
        most=draw(st.integers(3, 6)),
        survive=draw(st.sampled_from([0, 0, 1])),
        vms=draw(st.sampled_from([4, 10])),
        sizes=tuple(low + step * n for n in range(draw(st.integers(2, 4)))),
        price=draw(
            st.sampled_from(
                [(4000, 1000, 250), (40000, 1000, 250), (100, 1000, 100), (1000, 4000, 100)]
            )
        ),
        line=draw(st.sampled_from([85, 100])),
        reserved=draw(st.sampled_from([0, 200])),
        hosts=tuple(draw(st.lists(st.sampled_from([8, 16]), min_size=1, max_size=3))),
    )


def world(case: Case) -> Snapshot:
    per_vm, per_cpu, per_gib = (f"{price}m" for price in case.price)
    low, high = case.sizes[0], case.sizes[-1]
    pool = w.pool(
        nodes={"min": 0, "max": case.vms},
        cost={"perVM": per_vm, "perCPU": per_cpu, "perGiB": per_gib},
        size={
            "cpu": {"min": low, "max": high, "step": case.sizes[1] - low},
            "memory": {"min": "4Gi", "max": "32Gi", "step": "4Gi"},
        },
        density={
            "pods": {"min": 1, "max": 110},
            "loadLinePercent": case.line,
            "reserved": {"cpu": f"{case.reserved}m", "memory": 0},
        },
    )
    app = w.workload(
        replicas=0,
        demand=w.load(case.cpu, case.memory),
        scaleUp={
            "cpu": {"min": "250m", "max": f"{case.largest}m"},
            "memory": {"min": "256Mi", "max": "4Gi"},
        },
        scaleOut={"min": case.least, "max": case.most},
        redundancy={"survive": case.survive},
    )
    rack = (w.host(f"h{number}", cpus, 256) for number, cpus in enumerate(case.hosts))
    return Snapshot(hypervisors=(w.hypervisor(*rack),), pools=(pool,), workloads=(app,))


def _partitions(number: int, most: int) -> Iterator[tuple[int, ...]]:
    """Ways to put so many replicas onto VMs."""
    if number == 0:
        yield ()
    for first in range(min(number, most), 0, -1):
        for rest in _partitions(number - first, first):
            yield (first, *rest)


def _cheapest(case: Case) -> int | None:
    """The least cost of any replicas on any VMs on any hosts; None: nothing carries the load."""
    prices = []
    for replicas in range(case.least, case.most + 1):
        for vms in _partitions(replicas, replicas):
            if len(vms) > case.vms:
                continue
            for homes in product(range(len(case.hosts)), repeat=len(vms)):
                price = _price(case, vms, homes)
                if price is not None:
                    prices.append(price)
    return min(prices, default=None)


def _price(case: Case, vms: tuple[int, ...], homes: tuple[int, ...]) -> int | None:
    on_host: Counter[int] = Counter()
    for number, home in zip(vms, homes, strict=True):
        on_host[home] += number
    left = sum(sorted(on_host.values(), reverse=True)[case.survive :])
    if not left:
        return None
    cpu = max(250, -(-case.cpu // left // 50) * 50)
    memory = max(256, -(-case.memory // left // 32) * 32)
    if cpu > case.largest or memory > 4096:
        return None
    total, used = 0, Counter[int]()
    for number, home in zip(vms, homes, strict=True):
        cpus = [
            c for c in case.sizes if (c * 1000 - case.reserved) * case.line >= number * cpu * 100
        ]
        gib = [g for g in range(4, 33, 4) if g * 1024 * case.line >= number * memory * 100]
        if not cpus or not gib:
            return None
        used[home] += cpus[0]
        total += case.price[0] + case.price[1] * cpus[0] + case.price[2] * gib[0]
    fits = all(used[home] <= case.hosts[home] for home in used)
    return total if fits else None


@given(cases())
@settings(max_examples=300)
def test_one_workload_on_an_empty_pool_costs_little_more_than_the_cheapest(case: Case) -> None:
    least = _cheapest(case)
    assume(least is not None)
    assert least is not None
    found = plan(world(case), w.NOW)
    assert problems(world(case), found) == []
    (verdict,) = found.workloads
    assert verdict.redundant, verdict.message
    assert not verdict.message
    assert found.cost.after <= WITHIN * least


# ----- worlds that run


def running_world(seed: int) -> Snapshot:
    """Hosts, VMs, one or two workloads with replicas on them; some cannot be resized."""
    draw = random.Random(seed)
    rack = tuple(w.host(f"h{n}", draw.choice([12, 16])) for n in range(draw.randint(1, 4)))
    pool = w.pool(
        nodes={"min": draw.randint(0, 2), "max": draw.randint(3, 8)},
        survive={"hosts": draw.choice([0, 0, 1])},
        cost={
            "perVM": draw.choice(["4", "40", "100m"]),
            "perCPU": draw.choice(["1", "4"]),
            "perGiB": "250m",
        },
        density={
            "pods": {"min": 5, "max": 110},
            "loadLinePercent": draw.choice([85, 100]),
            "reserved": {"cpu": "100m", "memory": "128Mi"},
        },
    )
    able = w.EVERYTHING.model_copy(
        update={
            "high_availability": draw.choice([True, False]),
            "hot_remove": draw.choice([False, False, True]),
        }
    )
    vms = tuple(
        w.vm(f"web-{n + 1}", rack[n % len(rack)].name, draw.choice([2, 4]), 8, of=pool)
        for n in range(draw.randint(1, 3))
    )
    apps, pods = [], []
    room = {vm.name: vm.allocatable.cpu * 85 // 100 for vm in vms}
    for number in range(draw.randint(1, 2)):
        app, own = _app(draw, f"app{number}", vms, room)
        apps.append(app)
        pods += own
    return Snapshot(
        hypervisors=(w.hypervisor(*rack, capabilities=able),),
        pools=(pool,),
        vms=vms,
        pods=tuple(sorted(pods, key=lambda pod: pod.key)),
        workloads=tuple(apps),
    )


def _app(
    draw: random.Random, name: str, vms: tuple[Vm, ...], room: dict[str, int]
) -> tuple[Workload, list[Pod]]:
    fields = {"extended": {names.BERTHS: 1}} if draw.random() < 0.5 else {}
    size, replicas = draw.choice([250, 500, 1000]), draw.randint(1, 4)
    app = w.workload(
        name,
        replicas=replicas,
        of=w.shape(250, 256, app=name, **fields),
        demand=w.load(
            int(draw.choice([0.3, 0.8, 1.2, 2, 3.5]) * size * replicas),
            draw.choice([100, 600, 2000]) * replicas,
            window_full=draw.random() < 0.8,
        ),
        redundancy={"survive": draw.choice([0, 0, 1]), "across": draw.choice(["host", "vm"])},
        scaleOut={"min": draw.choice([1, 2]), "max": draw.choice([4, 10])},
    )
    pods = []
    for number in range(replicas):
        home = next((vm.name for vm in vms if room[vm.name] >= size), None)
        pod = w.replica(f"{name}-{number}", app, home, size if home else 250)
        if home is not None:
            room[home] -= size
        pods.append(
            w.replace(
                pod,
                restart_on_resize=draw.random() < 0.1,
                resize_refused="Infeasible" if draw.random() < 0.05 else "",
            )
        )
    return app, pods


_STUCK = {Reason.AT_MAX_SIZE, Reason.NO_HOST_ROOM, Reason.RESIZE_REFUSED, Reason.SURVIVAL}


def lacks(found: Plan) -> bool:
    """Whether something is not as it should be, so that the next plan may spend more on it.

    A replica that cannot grow is made up for, but still has as much to carry as the others.
    """
    return bool(
        found.unplaced
        or found.survival
        or any(verdict.message for verdict in found.workloads)
        or any(
            refusal.guard in _STUCK and not refusal.subject.startswith("workload/")
            for refusal in found.refusals
        )
    )


@given(st.integers(0, 10**9))
@example(306)  # Fewer replicas were sized as if they were spread further than they are.
@example(747)  # An option was taken for enough because of sizes that it would give back.
@example(1931)  # Fewer, larger replicas took the room that a survival promise needs.
@example(5201)  # Replicas that cannot grow were counted on although they would be lost.
@settings(max_examples=300)
def test_under_the_same_load_all_comes_to_rest_and_nothing_gets_dearer(seed: int) -> None:
    snapshot, now = running_world(seed), w.NOW
    cost: int | None = None
    for turn in range(12):
        found = plan(snapshot, now)
        assert problems(snapshot, found) == []
        if not found.moves:
            return
        assert cost is None or found.cost.after <= cost
        cost = None if lacks(found) else found.cost.after
        snapshot = _after(snapshot, found, turn)
        now += 3600
    raise AssertionError(f"still moving: {w.kinds(plan(snapshot, now))}")


def _after(snapshot: Snapshot, found: Plan, turn: int) -> Snapshot:
    """The plan carried out; new replicas have names that are not used again."""
    after = w.carry_out(snapshot, found)
    pods = (w.replace(p, name=p.name.replace("-new-", f"-{turn}x")) for p in after.pods)
    return w.replace(after, pods=tuple(sorted(pods, key=lambda pod: pod.key)))


@given(st.integers(0, 10**9))
@settings(max_examples=150)
def test_promises_of_workloads_that_hold_are_kept(seed: int) -> None:
    snapshot = running_world(seed)
    still = w.replace(snapshot, pools=(_standing_still(snapshot.pools[0]),))
    held = {v.key for v in plan(still, w.NOW).workloads if v.redundant}
    found = plan(snapshot, w.NOW)
    assert held <= {v.key for v in found.workloads if v.redundant}


def _standing_still(pool: Pool) -> Pool:
    return w.replace(pool, problem="stands still")


# ----- what the rest stands on


def test_a_trial_leaves_no_trace() -> None:
    snapshot = running_world(7)
    fleet = Fleet(snapshot)
    placer = Placer(fleet, Filters(fleet), w.NOW)
    before = _state(fleet)
    with Trial(placer) as trial:
        for number in range(30):
            trial.place(f"default/more-{number}", w.shape(1900, 3000), None, None)
        trial.keep_promises()
        assert trial.cost > 0
        assert trial.grown or trial.launched
    assert _state(fleet) == before
    assert (placer.grown, placer.launched, placer.refusals) == ({}, {}, {})


def _state(fleet: Fleet) -> object:
    return (
        {
            name: (target.size, dict(target.pods), dict(target.resized), target.cpu_used)
            for name, target in fleet.bins.items()
        },
        dict(fleet.where),
        {name: (room.cpu_free, room.memory_free, room.vms) for name, room in fleet.rooms.items()},
        set(fleet.names),
        [target.name for name in sorted(fleet.pools) for target in fleet.of_pool(name)],
    )


def test_a_statefulset_gives_up_its_highest_ordinals_first() -> None:
    app = w.replace(
        w.workload(replicas=3, demand=w.load(300), scaleOut={"min": 1, "max": 5}),
        target="StatefulSet/app",
    )
    pods = [w.replica(f"app-{number}", app, "web-1", 500) for number in (10, 9, 0)]
    snapshot = Snapshot(
        hypervisors=(w.hypervisor(w.host("h0")),),
        pools=(w.pool(),),
        vms=(w.vm("web-1", "h0"),),
        pods=tuple(sorted(pods, key=lambda pod: pod.key)),
        workloads=(app,),
    )
    assert list(plan(snapshot, w.NOW).placements) == ["default/app-0"]


def test_memory_is_not_taken_to_shrink_by_having_more_replicas() -> None:
    """Growing needs a larger VM; more replicas would each need as much memory as this one."""
    app = w.workload(replicas=1, demand=w.load(250, 2048), scaleOut={"min": 1, "max": 5})
    snapshot = Snapshot(
        hypervisors=(w.hypervisor(w.host("h0"), w.host("h1")),),
        pools=(w.pool(nodes={"min": 2, "max": 2}),),
        vms=(w.vm("web-1", "h0", 4, 4), w.vm("web-2", "h1", 4, 4)),
        pods=(
            w.replica("app-0", app, "web-1", 250, 1024),
            w.pod("full-1", w.shape(500, 3072), "web-1"),
            w.pod("full-2", w.shape(500, 2560), "web-2"),
        ),
        workloads=(app,),
    )
    assert w.kinds(plan(snapshot, w.NOW)) == ["Resize pod/default/app-0", "Grow vm/web-1"]
