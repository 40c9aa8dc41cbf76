"""docs/concepts/decision-table.md, row by row: each row is decided here, and nothing else is.

A row names its situation; the function of that name builds it. What the page says is
chosen and rejected, at which prices, is compared with the plan, word by word.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import planning as w
from checker import problems
from plimsoll.api import labels as names
from plimsoll.decide import wording
from plimsoll.decide.plan import Lever, Plan
from plimsoll.decide.planner import plan
from plimsoll.world.snapshot import Pod, Pool, Resources, Snapshot, Workload

PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "decision-table.md"
BERTH = {names.BERTHS: 1}
Situation = Callable[[], Snapshot]
SITUATIONS: dict[str, Situation] = {}


class Row(NamedTuple):
    """What the page says."""

    chosen: list[str]
    rejected: list[str]


def row(situation: Situation) -> Situation:
    """Names a situation after its row."""
    SITUATIONS[situation.__name__.replace("_", "-")] = situation
    return situation


def page() -> dict[str, Row]:
    """By name: the rows of the page."""
    rows = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        name = re.fullmatch(r"`([a-z-]+)`", cells[0])
        if name is not None:
            assert len(cells) == 5, f"{name[1]}: a row has five cells"
            assert name[1] not in rows, f"{name[1]} is there twice"
            rows[name[1]] = Row(_lines(cells[2]), _lines(cells[3]))
    return rows


def _lines(cell: str) -> list[str]:
    return [part.strip() for part in cell.split("<br>") if part.strip() not in ("", "none")]


def chosen(found: Plan) -> list[str]:
    """The moves, the berths that only follow from them aside."""
    lines = []
    for move in found.moves:
        of = move.subject.removeprefix("vm/").replace("default/", "")
        change = f"{move.source} → {move.target}".strip(" →")
        price = f" ({'+' if move.cost > 0 else ''}{wording.money(move.cost)})" if move.cost else ""
        host = f" on {move.host}" if move.kind is Lever.LAUNCH else ""
        change = "" if move.kind is Lever.RETIRE else f": {change}"
        lines.append(f"{move.kind} {of}{change}{host}{price}")
    lines += [f"{u.pod.removeprefix('default/')} waits: {u.reason}" for u in found.unplaced]
    return lines


def rejected(found: Plan) -> list[str]:
    """Alternatives with their price, or with why they could not be had.

    Where nothing is done at all: which guards refused.
    """
    lines = []
    for move in found.moves:
        for other in move.rejected:
            price = other.reason.value if other.cost is None else wording.money(other.cost)
            lines.append(f"{other.lever}: {price}")
    if not found.moves:
        lines += [f"refused: {refusal.guard}" for refusal in found.refusals]
    return sorted(dict.fromkeys(lines), key=_by_lever)


def _by_lever(line: str) -> tuple[int, str]:
    levers = [lever.value for lever in Lever]
    lever = line.split(":")[0]
    return (levers.index(lever) if lever in levers else len(levers), line)


# ----- the situations


def hosts(*cpus: int) -> tuple[w.Host, ...]:
    return tuple(w.host(f"h{number}", cpu) for number, cpu in enumerate(cpus))


def fleet(
    rack: tuple[w.Host, ...],
    *vms: w.Vm,
    pods: tuple[Pod, ...] = (),
    of: Workload | None = None,
    pool: Pool | None = None,
    **capabilities: bool,
) -> Snapshot:
    """A pool, its VMs and what runs on them; without ``pool`` none of the VMs may go."""
    able = w.EVERYTHING.model_copy(update=capabilities)
    return Snapshot(
        hypervisors=(w.hypervisor(*rack, capabilities=able),),
        pools=(pool or w.pool(nodes={"min": len(vms), "max": 10}),),
        vms=vms,
        pods=tuple(sorted(pods, key=lambda p: p.key)),
        workloads=(of,) if of is not None else (),
    )


def full(vm: str, cpu: int, memory: int = 1024) -> Pod:
    """A container of nobody's that fills a VM and must stay."""
    return w.pod(f"full-{vm}", w.shape(cpu, memory, app="full"), vm, held="bare pod")


def replicas(of: Workload, cpu: int, *vms: str, **fields: object) -> tuple[Pod, ...]:
    """One replica on each of these VMs, of so many millicores."""
    return tuple(
        w.replace(w.replica(f"app-{number}", of, vm, cpu), **fields)
        for number, vm in enumerate(vms)
    )


@row
def a_container_and_a_vm_under_its_line() -> Snapshot:
    pool = w.pool(pods_min=1)
    first = w.pod("first", w.shape(extended=BERTH), "web-1")
    waiting = w.pod("second", w.shape(extended=BERTH))
    return fleet(hosts(16), w.vm("web-1", "h0", of=pool), pods=(first, waiting), pool=pool)


@row
def one_replica_at_its_limit_on_a_half_empty_vm() -> Snapshot:
    app = w.workload(replicas=1, demand=w.load(1000), scaleOut={"min": 1, "max": 20})
    return fleet(hosts(16), w.vm("web-1", "h0"), pods=replicas(app, 500, "web-1"), of=app)


@row
def one_replica_at_scale_up_max_on_a_half_empty_vm() -> Snapshot:
    app = w.workload(replicas=1, demand=w.load(3000), scaleOut={"min": 1, "max": 20})
    return fleet(hosts(16), w.vm("web-1", "h0"), pods=replicas(app, 2000, "web-1"), of=app)


@row
def a_vm_at_its_line_and_room_on_its_host() -> Snapshot:
    pods = (full("web-1", 2000), w.pod("next", w.shape(1500)))
    return fleet(hosts(16), w.vm("web-1", "h0", 2, 8), pods=pods)


@row
def a_vm_at_its_line_its_host_full_another_free() -> Snapshot:
    pods = (full("web-1", 2000), w.pod("next", w.shape(1500)))
    return fleet(hosts(2, 16), w.vm("web-1", "h0", 2, 8), pods=pods)


@row
def a_vm_at_its_line_and_no_host_left() -> Snapshot:
    pods = (full("web-1", 2000), w.pod("next", w.shape(1500)))
    return fleet(hosts(2), w.vm("web-1", "h0", 2, 8), pods=pods)


@row
def memory_runs_out_before_cpu() -> Snapshot:
    pods = (full("web-1", 500, 7168), w.pod("next", w.shape(500, 3072)))
    return fleet(hosts(16), w.vm("web-1", "h0", 4, 8), pods=pods)


@row
def the_guest_refuses_hot_add() -> Snapshot:
    refusing = w.vm("web-1", "h0", 2, 8, hot_add_refused="kubelet runs a static CPU manager")
    pods = (full("web-1", 2000), w.pod("next", w.shape(1500)))
    return fleet(hosts(16), refusing, pods=pods)


@row
def growing_needs_a_larger_vm_another_vm_has_room() -> Snapshot:
    app = w.workload(replicas=1, demand=w.load(2000), scaleOut={"min": 1, "max": 20})
    pods = (*replicas(app, 1000, "web-1"), full("web-1", 1000), full("web-2", 500))
    vms = (w.vm("web-1", "h0", 2, 8), w.vm("web-2", "h1", 4, 8))
    return fleet(hosts(16, 16), *vms, pods=pods, of=app)


@row
def growing_needs_a_larger_vm_and_so_does_one_more_replica() -> Snapshot:
    app = w.workload(replicas=1, demand=w.load(2000), scaleOut={"min": 1, "max": 20})
    pods = (*replicas(app, 1000, "web-1"), full("web-1", 1000))
    return fleet(hosts(16), w.vm("web-1", "h0", 2, 8), pods=pods, of=app)


@row
def resizing_would_restart_the_container() -> Snapshot:
    app = w.workload(replicas=1, demand=w.load(1000), scaleOut={"min": 1, "max": 20})
    pods = replicas(app, 500, "web-1", restart_on_resize=True)
    return fleet(hosts(16), w.vm("web-1", "h0"), pods=pods, of=app)


@row
def the_kubelet_refuses_the_resize() -> Snapshot:
    app = w.workload(replicas=1, demand=w.load(1000), scaleOut={"min": 1, "max": 20})
    pods = replicas(app, 500, "web-1", resize_refused="Infeasible: node has too little CPU")
    return fleet(hosts(16), w.vm("web-1", "h0"), pods=pods, of=app)


@row
def a_new_replica_came_where_it_cannot_grow() -> Snapshot:
    kind = w.shape(250, 256, app="app", extended=BERTH)
    app = w.workload(replicas=4, of=kind, demand=w.load(7200))
    pool = w.pool(
        nodes={"min": 2, "max": 6},
        size={"cpu": {"min": 4, "max": 4}, "memory": {"min": "8Gi", "max": "8Gi"}},
    )
    vms = tuple(w.vm(f"web-{n}", f"h{n - 1}", of=pool, berths=2 + n % 2) for n in (1, 2))
    late = w.replace(w.replica("late", app, "web-1"), created=w.NOW - 5)
    pods = (*replicas(app, 1800, "web-1", "web-1", "web-2"), late)
    return fleet(hosts(16, 16), *vms, pods=pods, of=app, pool=pool)


@row
def redundancy_unmet_though_there_is_room_on_the_only_vm() -> Snapshot:
    app = w.workload(
        replicas=1,
        demand=w.load(500),
        scaleOut={"min": 1, "max": 20},
        redundancy={"survive": 1},
    )
    return fleet(hosts(16, 16), w.vm("web-1", "h0"), pods=replicas(app, 500, "web-1"), of=app)


@row
def redundancy_across_vms_on_one_host() -> Snapshot:
    app = w.workload(
        replicas=1,
        demand=w.load(500),
        scaleOut={"min": 1, "max": 20},
        redundancy={"survive": 1, "across": "vm"},
    )
    return fleet(hosts(16), w.vm("web-1", "h0"), pods=replicas(app, 500, "web-1"), of=app)


@row
def redundancy_across_zones() -> Snapshot:
    rack = tuple(
        w.host(f"h{number}", zone=zone) for number, zone in enumerate(("east", "east", "west"))
    )
    app = w.workload(
        replicas=1,
        demand=w.load(500),
        scaleOut={"min": 1, "max": 20},
        redundancy={"survive": 1, "across": "zone"},
    )
    vms = (w.vm("web-1", "h0", zone="east"), w.vm("web-2", "h1", zone="east"))
    pods = (*replicas(app, 500, "web-1"), full("web-1", 500), full("web-2", 500))
    return fleet(rack, *vms, pods=pods, of=app)


@row
def redundancy_over_four_hosts_instead_of_two() -> Snapshot:
    app = w.workload(
        replicas=2,
        demand=w.load(2000),
        redundancy={"survive": 1},
    )
    pool = w.pool(nodes={"min": 4, "max": 4})
    vms = tuple(w.vm(f"web-{n}", f"h{n - 1}", 2, 8, of=pool) for n in (1, 2, 3, 4))
    pods = (
        *replicas(app, 1000, "web-1", "web-2"),
        *(full(f"web-{n}", 1000) for n in (1, 2, 3, 4)),
    )
    return fleet(hosts(16, 16, 16, 16), *vms, pods=pods, of=app, pool=pool)


@row
def growth_would_take_the_room_to_restart_after_a_host_loss() -> Snapshot:
    pool = w.pool(survive={"hosts": 1})
    vms = (w.vm("web-1", "h0", 4, 8, of=pool), w.vm("web-2", "h1", 4, 8, of=pool))
    pods = (full("web-1", 4000), full("web-2", 4000), w.pod("next", w.shape(1000)))
    return fleet(hosts(8, 8), *vms, pods=pods, pool=pool)


@row
def no_high_availability_and_one_host_may_fail() -> Snapshot:
    pool = w.pool(survive={"hosts": 1})
    pods = (w.pod("only", w.shape(2000), "web-1"),)
    return fleet(
        hosts(16, 16),
        w.vm("web-1", "h0", 2, 4, of=pool),
        pods=pods,
        pool=pool,
        high_availability=False,
    )


def coarse(per_vm: int | str, per_cpu: int) -> Snapshot:
    """Four containers that just fit into a VM of 2 CPUs, the next sizes being 6 and 10."""
    pool = w.pool(
        size={
            "cpu": {"min": 2, "max": 10, "step": 4},
            "memory": {"min": "4Gi", "max": "16Gi", "step": "4Gi"},
        },
        cost={"perVM": per_vm, "perCPU": per_cpu, "perGiB": "100m"},
    )
    pods = tuple(w.pod(f"p{number}", w.shape(1900)) for number in range(4))
    return fleet(hosts(16, 16), pods=pods, pool=pool)


@row
def licences_dear_against_cpus() -> Snapshot:
    return coarse(40, 1)


@row
def cpus_dear_against_licences() -> Snapshot:
    return coarse("100m", 4)


def thirty_cores(licence: int) -> Snapshot:
    """Containers of 30 CPUs in all, on hosts that restart nothing, one of which may fail."""
    pool = w.pool(
        size={
            "cpu": {"min": 6, "max": 30, "step": 6},
            "memory": {"min": "4Gi", "max": "64Gi", "step": "4Gi"},
        },
        cost={"perVM": licence, "perCPU": 1, "perGiB": "250m"},
        survive={"hosts": 1},
    )
    pods = tuple(w.pod(f"p{number}", w.shape(6000, 1024)) for number in range(5))
    rack = tuple(w.host(f"h{number}", 32, 128) for number in range(6))
    return fleet(rack, pods=pods, pool=pool, high_availability=False)


@row
def thirty_cores_and_one_host_may_fail() -> Snapshot:
    return thirty_cores(1)


@row
def thirty_cores_and_one_host_may_fail_licences_dear() -> Snapshot:
    return thirty_cores(40)


@row
def a_host_is_lost_and_its_vms_are_being_restarted() -> Snapshot:
    kind = w.shape(250, 256, app="app", spread=(w.spread(min_domains=2),))
    app = w.workload(replicas=2, of=kind, demand=w.load(500), redundancy={"survive": 1})
    rack = (w.host("h0"), w.host("h1", state="Down"), w.host("h2"))
    vms = (w.vm("web-1", "h0"), w.vm("web-2", "h1", lost=True, ready=False))
    pods = (*replicas(app, 500, "web-1", "web-2"), w.pod("next", w.shape(4000)))
    return fleet(rack, *vms, pods=pods, of=app)


@row
def the_pool_is_at_nodes_max() -> Snapshot:
    pool = w.pool(nodes={"min": 1, "max": 1})
    vm = w.vm("web-1", "h0", 8, 32, of=pool)
    return fleet(hosts(16), vm, pods=(full("web-1", 8000), w.pod("next")), pool=pool)


@row
def the_number_of_replicas_is_fixed_by_hand() -> Snapshot:
    app = w.workload(replicas=2, demand=w.load(9000))
    app = w.replace(app, spec=app.spec.model_copy(update={"replicas": 3}))
    vms = (w.vm("web-1", "h0", 8, 8), w.vm("web-2", "h1", 8, 8))
    return fleet(hosts(16, 16), *vms, pods=replicas(app, 2000, "web-1", "web-2"), of=app)


def fallen(least: int, **known: bool) -> Snapshot:
    pool = w.pool(nodes={"min": least, "max": 10})
    app = w.workload(replicas=4, demand=w.load(1000, **known))
    vms = (w.vm("web-1", "h0", 4, 4, of=pool), w.vm("web-2", "h1", 4, 4, of=pool))
    pods = replicas(app, 2000, "web-1", "web-1", "web-2", "web-2")
    return fleet(hosts(16, 16), *vms, pods=pods, of=app, pool=pool)


@row
def the_load_has_fallen() -> Snapshot:
    return fallen(1)


@row
def the_load_has_fallen_but_not_all_of_it_was_measured() -> Snapshot:
    return fallen(2, window_full=False)


@row
def fewer_replicas_would_need_a_larger_vm() -> Snapshot:
    app = w.workload(replicas=4, demand=w.load(2000), scaleOut={"min": 1, "max": 20})
    pods = (*replicas(app, 500, "web-1", "web-1", "web-1", "web-1"), full("web-1", 1500))
    return fleet(hosts(16), w.vm("web-1", "h0", 4, 8), pods=pods, of=app)


@row
def measured_use_is_over_the_line() -> Snapshot:
    pool = w.pool(pods_min=1)
    busy = w.vm("web-1", "h0", of=pool, berths=5, usage=Resources(cpu=4500, memory=0))
    running = w.pod("first", w.shape(extended=BERTH), "web-1")
    return fleet(hosts(16), busy, pods=(running,), pool=pool)


@row
def a_vm_whose_containers_fit_elsewhere() -> Snapshot:
    vms = (w.vm("web-1", "h0"), w.vm("web-2", "h1"))
    pods = (w.pod("a", w.shape(3000), "web-1"), w.pod("b", w.shape(500), "web-2"))
    return fleet(hosts(16, 16), *vms, pods=pods, pool=w.pool())


@row
def the_dearer_vm_goes_although_the_other_is_emptier() -> Snapshot:
    vms = (w.vm("web-1", "h0"), w.vm("web-2", "h1", 2, 4))
    pods = (w.pod("a", w.shape(3000), "web-1"), w.pod("b", w.shape(500), "web-2"))
    return fleet(hosts(16, 16), *vms, pods=pods, pool=w.pool())


@row
def a_vm_that_costs_less_than_moving_its_containers() -> Snapshot:
    pool = w.pool(cost={"perVM": "10m", "perCPU": "10m", "perGiB": "1m"})
    vms = (w.vm("web-1", "h0", of=pool), w.vm("web-2", "h1", 2, 4, of=pool))
    pods = tuple(
        w.pod(f"{vm}-{number}", w.shape(500), vm) for vm in ("web-1", "web-2") for number in (1, 2)
    )
    return fleet(hosts(16, 16), *vms, pods=pods, pool=pool)


# ----- the tests


def test_every_row_has_a_situation_and_every_situation_a_row() -> None:
    assert sorted(page()) == sorted(SITUATIONS)
    assert len(SITUATIONS) >= 12


@pytest.mark.parametrize("name", sorted(SITUATIONS))
def test_it_is_decided_as_the_page_says(name: str) -> None:
    world = SITUATIONS[name]()
    found = plan(world, w.NOW)
    assert problems(world, found) == []
    said = page()[name]
    assert chosen(found) == said.chosen
    assert rejected(found) == said.rejected


@pytest.mark.parametrize("name", sorted(SITUATIONS))
def test_alternatives_are_told_in_the_order_of_the_levers_and_with_their_price(name: str) -> None:
    levers = list(Lever)
    for move in plan(SITUATIONS[name](), w.NOW).moves:
        order = [levers.index(other.lever) for other in move.rejected]
        assert order == sorted(order)
        for other in move.rejected:
            if other.cost is not None:
                assert wording.money(other.cost) in other.message


@pytest.mark.parametrize("name", sorted(SITUATIONS))
def test_what_was_decided_is_not_decided_again(name: str) -> None:
    """Once it is carried out, the same load moves nothing but what waited for it."""
    world, cost = SITUATIONS[name](), None
    for _ in range(5):
        found = plan(world, w.NOW)
        if not found.moves:
            return
        assert cost is None or found.cost.after <= cost
        cost = found.cost.after
        world = _grown_up(w.carry_out(world, found))
    raise AssertionError(f"still moving: {w.kinds(plan(world, w.NOW))}")


def _grown_up(world: Snapshot) -> Snapshot:
    """New replicas have names of their own, as a ReplicaSet gives them."""
    taken = len(world.pods)
    pods = [w.replace(p, name=p.name.replace("-new-", f"-{taken}-")) for p in world.pods]
    return w.replace(world, pods=tuple(sorted(pods, key=lambda p: p.key)))
