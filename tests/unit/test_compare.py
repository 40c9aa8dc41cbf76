"""``plimsoll compare``: four ways to run a cluster's containers, and what is said of them."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from planning import GIB, MIB, pool, shape
from plimsoll.cli import app
from plimsoll.compare.answer import answer
from plimsoll.compare.assumptions import Options
from plimsoll.compare.blast import blast
from plimsoll.compare.comparison import Comparison, compare
from plimsoll.compare.estate import Container
from plimsoll.compare.figures import Figures, figures_of
from plimsoll.compare.hosts import HostSize, Park, pack
from plimsoll.compare.layout import Layout, Machine, Way
from plimsoll.compare.rows import rows
from plimsoll.compare.spreading import part_hosts, spread
from plimsoll.offline.files import load
from plimsoll.world.snapshot import PodShape, Resources
from plimsoll.world.wire import LabelSelector, PodAffinityTerm

DATA = Path(__file__).parent.parent / "data"
CLUSTER = str(DATA / "cluster.json")
SITE = str(DATA / "site.yaml")
OWN, METAL, AS_IS, PLIMSOLL = Way.ONE_APP_PER_VM, Way.BARE_METAL, Way.AS_IS, Way.PLIMSOLL


# Builders of dumps


def node(name: str, cpu: int = 4, memory: int = 16, **fields: Any) -> dict[str, Any]:
    """A node of so many CPUs and GiB, all of it allocatable."""
    labels = {"kubernetes.io/hostname": name, **fields.pop("labels", {})}
    has = {"cpu": str(cpu), "memory": f"{memory}Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": fields,
        "status": {"capacity": has, "allocatable": has},
    }


def pod(
    name: str,
    on: str | None = None,
    app: str = "",
    cpu: int = 500,
    memory: int = 512,
    kind: str = "ReplicaSet",
    meta: dict[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A pod of so many millicores and MiB, of a controller named after its app."""
    owner = {"apiVersion": "apps/v1", "kind": kind, "name": app, "uid": app, "controller": True}
    requests = {"cpu": f"{cpu}m", "memory": f"{memory}Mi"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"app": app or name},
            **({"ownerReferences": [owner]} if app else {}),
            **(meta or {}),
        },
        "spec": {
            "containers": [{"name": "c", "resources": {"requests": requests}}],
            **({"nodeName": on} if on else {}),
            **spec,
        },
    }


def replicas(app: str, on: list[str | None], **fields: Any) -> list[dict[str, Any]]:
    return [pod(f"{app}-{n}", where, app, **fields) for n, where in enumerate(on)]


def apart(app: str) -> dict[str, Any]:
    """Anti-affinity of an app's pods by node."""
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {"app": app}},
    }
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def vmpool(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "VMPool",
        "metadata": {"name": "web"},
        "spec": {
            "hypervisor": "rack",
            "nodes": {"max": 50},
            "size": {
                "cpu": {"min": 2, "max": 8, "step": 2},
                "memory": {"min": "4Gi", "max": "32Gi"},
            },
            **spec,
        },
    }


def rack(hosts: int, cpu: int = 16, memory: str = "64Gi", **spec: Any) -> dict[str, Any]:
    """A Hypervisor with so many equal hosts."""
    named = [{"name": f"rack-{n}", "cpu": cpu, "memory": memory} for n in range(hosts)]
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "Hypervisor",
        "metadata": {"name": "rack"},
        "spec": {"provider": "simulated", "simulated": {"hosts": named}, **spec},
    }


def written(directory: Path, *items: dict[str, Any]) -> str:
    path = directory / "dump.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return str(path)


def compared(directory: Path, *items: dict[str, Any], **options: Any) -> Comparison:
    loaded = load([written(directory, *items)])
    return compare(loaded.objects, loaded.observations, Options(**options))


def sample(**options: Any) -> Comparison:
    loaded = load([CLUSTER])
    return compare(loaded.objects, loaded.observations, Options(**options))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["compare", *arguments])


# The figures of a small cluster, by hand


@pytest.fixture
def small(tmp_path: Path) -> Comparison:
    """Two nodes; of two replicas each on one node, and a database on the first."""
    return compared(
        tmp_path,
        node("a"),
        node("b"),
        *replicas("web", ["a", "b"], cpu=500, memory=1024),
        *replicas("api", ["a", "a"], cpu=1000, memory=2048),
        pod("db", "a", cpu=1500, memory=4096),
        load_line=100,
    )


def test_one_app_per_vm_holds_the_app_and_a_system(small: Comparison) -> None:
    own = small.figures[OWN]
    # 0.5 + 0.1 CPU -> 1; 1 + 0.1 -> 2; 1.5 + 0.1 -> 2. Memory: 1.5, 2.5 and 4.5 GiB.
    assert (own.vms, own.cpu, own.memory) == (5, 8000, int(12.5 * GIB))
    # Four per VM, one per CPU, a quarter per GiB.
    assert own.cost == 5 * 4000 + 8 * 1000 + 3125
    assert own.guest_memory == 5 * 512 * MIB
    assert own.vm_blast is not None
    assert (own.vm_blast.worst_share, own.vm_blast.exposed) == (0.2, 0)


def test_as_is_is_what_the_dump_shows(small: Comparison) -> None:
    today = small.figures[AS_IS]
    assert (today.vms, today.cpu, today.memory) == (2, 8000, 32 * GIB)
    assert (today.placed, today.cpu_requested, today.memory_requested) == (5, 4500, 10 * GIB)
    assert today.vm_blast is not None
    assert today.vm_blast.containers == (4, 1)
    assert today.vm_blast.worst_share == 0.8
    assert today.vm_blast.mean_share == 0.5
    # With node a go both replicas of the API, and the database.
    assert (today.vm_blast.worst_lost, today.vm_blast.exposed) == (2, 1)


def test_bare_metal_has_whole_hosts_and_no_vm(small: Comparison) -> None:
    metal = small.figures[METAL]
    assert (metal.vms, metal.hosts, metal.vm_blast, metal.per_vm) == (0, 1, None, None)
    assert (metal.cpu, metal.memory) == (64_000, 512 * GIB)
    assert metal.cost == metal.cost_whole == 64_000 + 128_000
    assert metal.host_blast.worst_share == 1.0


def test_plimsoll_needs_no_more_than_a_vm_for_each_container(small: Comparison) -> None:
    ours = small.figures[PLIMSOLL]
    assert ours.placed == 5
    assert 4500 <= ours.cpu <= small.figures[AS_IS].cpu
    assert ours.vms <= 2


def test_paying_hosts_whole_adds_what_a_vm_costs_as_such(small: Comparison) -> None:
    for way in (OWN, AS_IS, PLIMSOLL):
        figures = small.figures[way]
        assert figures.cost_whole == figures.hosts * 192_000 + figures.vms * 4000


# What holds for every cluster


@st.composite
def clusters(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Nodes, and workloads of which some replicas are apart, pending or beside others."""
    nodes = [
        node(f"n{n}", draw(st.sampled_from([4, 8])), 32) for n in range(draw(st.integers(1, 5)))
    ]
    names: list[str | None] = [n["metadata"]["name"] for n in nodes]
    items = list(nodes)
    for number in range(draw(st.integers(1, 6))):
        app = f"app{number}"
        on = draw(st.lists(st.sampled_from([*names, None]), min_size=1, max_size=6))
        rules = {"affinity": apart(app)} if draw(st.booleans()) else {}
        cpu, memory = draw(st.sampled_from([0, 100, 700, 2000])), draw(st.sampled_from([64, 1500]))
        items += replicas(app, on, cpu=cpu, memory=memory, **rules)
    items += [pod(f"agent-{name}", name, "agent", 50, 64, "DaemonSet") for name in names]
    return items


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(items=clusters(), line=st.sampled_from([70, 100]), survive=st.integers(0, 2))
def test_figures_agree_with_each_other(
    tmp_path: Path, items: list[dict[str, Any]], line: int, survive: int
) -> None:
    found = compared(tmp_path, *items, load_line=line, survive_hosts=survive)
    ours, own, metal = found.figures[PLIMSOLL], found.figures[OWN], found.figures[METAL]
    assert [f.unplaced for f in (own, metal, ours)] == [0, 0, 0]
    assert own.vms == found.containers
    for figures in found.figures.values():
        assert figures.placed + figures.unplaced == found.containers
        for radius in (figures.vm_blast, figures.host_blast):
            if radius is None:
                continue
            assert sum(radius.containers) == figures.placed
            assert radius.mean_share <= radius.worst_share <= 1
            assert radius.exposed <= found.replicated
            if figures.placed:
                assert radius.mean_share * len(radius.containers) == pytest.approx(1)
        assert figures.host_blast.worst_share >= figures.machine_blast.worst_share
    for figures in (own, metal, ours):
        assert figures.cpu_requested == found.cpu
        assert figures.cpu * line >= figures.cpu_requested * 100
        assert figures.memory * line >= figures.memory_requested * 100
    assert metal.hosts == metal.guests
    assert own.spare_hosts == metal.spare_hosts == survive
    if not survive:
        # A promise about hosts may take VMs that the containers alone do not.
        assert ours.vms <= own.vms


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(items=clusters(), hosts=st.integers(0, 4))
def test_machines_hold_their_containers_by_the_rules(
    tmp_path: Path, items: list[dict[str, Any]], hosts: int
) -> None:
    layouts: dict[Way, Layout] = {}

    def seen(layout: Layout, *rest: Any) -> Figures:
        layouts[layout.way] = layout
        return figures_of(layout, *rest)

    prices = {"loadLinePercent": 80, "reserved": {"cpu": "500m", "memory": "1Gi"}}
    inventory = [vmpool(density=prices), rack(hosts)] if hosts else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plimsoll.compare.comparison.figures_of", seen)
        compared(tmp_path, *items, *inventory, load_line=80)
    asked = {f"default/{item['metadata']['name']}": item for item in items if item["kind"] == "Pod"}
    kept_cpu, kept_memory = (500, GIB) if hosts else (100, 512 * MIB)
    for way in (METAL, PLIMSOLL):
        inside: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        for key, number in layouts[way].placed.items():
            inside[number].append(asked[key])
        for number, pods in inside.items():
            machine = layouts[way].machines[number]
            requests = [p["spec"]["containers"][0]["resources"]["requests"] for p in pods]
            cpu = sum(int(r["cpu"].removesuffix("m")) for r in requests)
            memory = sum(int(r["memory"].removesuffix("Mi")) for r in requests) * MIB
            # The DaemonSet's pod of each machine, and the runtime's share of each container.
            assert cpu + 50 <= (machine.cpu - kept_cpu) * 80 / 100 or cpu == 0
            memory += (64 + 16 * len(pods)) * MIB
            assert memory <= (machine.memory - kept_memory) * 80 / 100
            alone = Counter(p["metadata"]["labels"]["app"] for p in pods if "affinity" in p["spec"])
            assert not alone or max(alone.values()) == 1
    given: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for machine in layouts[PLIMSOLL].machines:
        given[machine.host][0] += machine.cpu
        given[machine.host][1] += machine.memory
    if hosts:
        assert all(cpu <= 16_000 and memory <= 64 * GIB for cpu, memory in given.values())


@pytest.mark.parametrize("seed", range(12))
def test_hosts_hold_their_vms_and_workloads_are_parted_where_hosts_allow(seed: int) -> None:
    rnd = random.Random(seed)
    machines, workloads, placed = [], {}, {}
    for number in range(rnd.randint(1, 60)):
        name = f"vm-{number}"
        zone = rnd.choice(["", "", "east", "west"])
        machines.append(
            Machine(name, rnd.choice([1, 2, 8]) * 1000, rnd.choice([2, 8, 40]) * GIB, "p", zone)
        )
        placed[name], workloads[name] = number, f"app-{rnd.randint(0, 25)}"
    layout = Layout(PLIMSOLL, machines, placed)
    known = tuple(
        HostSize(f"known-{n}", "", 8000, 64 * GIB, 8000, 64 * GIB, zone)
        for n, zone in enumerate(["east", "west", ""])
    )
    like = HostSize("host", "", 16_000, 96 * GIB, 16_000, 96 * GIB)
    pack(layout, workloads, Park(known, like, ()), spare=0)
    sizes = {h.name: (h.cpu, h.memory) for h in layout.hosts}
    used: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    zones: defaultdict[str, set[str]] = defaultdict(set)
    for machine in machines:
        used[machine.host][0] += machine.cpu
        used[machine.host][1] += machine.memory
        zones[machine.host].add(machine.zone)
    assert used.keys() == sizes.keys()
    for name, (cpu, memory) in used.items():
        assert cpu <= sizes[name][0]
        assert memory <= sizes[name][1]
        assert len(zones[name] - {""}) <= 1


def test_vms_of_a_workload_share_a_host_only_if_there_is_one() -> None:
    def layout(vms: int) -> Layout:
        machines = [Machine(f"vm-{n}", 4000, GIB, "p") for n in range(vms)]
        return Layout(PLIMSOLL, machines, {m.name: n for n, m in enumerate(machines)})

    like = HostSize("host", "", 8000, 64 * GIB, 8000, 64 * GIB)
    three, two = layout(3), layout(2)
    pack(three, {"vm-0": "web", "vm-1": "web", "vm-2": "db"}, Park((), like, ()), spare=0)
    assert three.machines[0].host != three.machines[1].host
    pack(two, {"vm-0": "web", "vm-1": "web"}, Park((), like, ()), spare=0)
    assert len(two.hosts) == 1


@pytest.mark.parametrize("seed", range(12))
def test_spreading_keeps_to_load_lines_and_rules(seed: int) -> None:
    rnd = random.Random(seed)
    spec = pool(density={"loadLinePercent": 80, "pods": {"min": 1, "max": 9}}).spec
    line_cpu, line_memory = 7800 * 80 // 100, (32 * GIB - 512 * MIB) * 80 // 100
    machines = [Machine(f"vm-{n}", 8000, 32 * GIB, "web", host=f"host-{n % 3}") for n in range(8)]
    layout, containers = Layout(PLIMSOLL, machines, {}), []
    free: list[list[int]] = [[line_cpu, line_memory, 9] for _ in machines]
    for number in range(80):
        app = f"app-{rnd.randint(0, 12)}"
        made = shape(100 + 150 * (number % 7 if app < "app-5" else 1), 900, app=app)
        at = next(
            (
                n
                for n, (cpu, memory, pods) in enumerate(free)
                if made.requests.cpu <= cpu and made.requests.memory <= memory and pods
            ),
            None,
        )
        if at is not None:
            for index, amount in enumerate((made.requests.cpu, made.requests.memory, 1)):
                free[at][index] -= amount
            containers.append(Container(f"default/{number}", app, made, made.requests, None))
            layout.placed[f"default/{number}"] = at
    before = _alone(layout, containers)
    spread(layout, containers, {"web": spec}, {"web": Resources()})
    assert _alone(layout, containers) <= before
    by_host = _alone(layout, containers, by_host=True)
    part_hosts(layout, containers, {"web": spec}, {"web": Resources()})
    assert _alone(layout, containers, by_host=True) <= by_host
    used: defaultdict[int, list[Container]] = defaultdict(list)
    for container in containers:
        used[layout.placed[container.key]].append(container)
    for inside in used.values():
        assert sum(c.requests.cpu for c in inside) <= line_cpu
        assert sum(c.requests.memory for c in inside) <= line_memory
        assert len(inside) <= 9


def _alone(layout: Layout, containers: list[Container], *, by_host: bool = False) -> int:
    """Workloads of several replicas that run in one machine, or on one host, alone."""
    where: defaultdict[str, list[str]] = defaultdict(list)
    for container in containers:
        machine = layout.machines[layout.placed[container.key]]
        where[container.workload].append(machine.host if by_host else machine.name)
    return sum(1 for some in where.values() if len(some) > 1 and len(set(some)) == 1)


def test_a_pod_that_a_rule_speaks_of_stays_where_the_planner_put_it() -> None:
    def container(name: str, of: PodShape) -> Container:
        return Container(name, name, of, of.requests, None)

    term = PodAffinityTerm(
        topology_key="kubernetes.io/hostname",
        label_selector=LabelSelector(match_labels={"app": "web"}),
    )
    near = shape(app="helper", affinity=(term,))
    some = [container("default/web", shape(app="web")), container("default/helper", near)]
    machines = [Machine(f"vm-{n}", 8000, 32 * GIB, "web") for n in range(2)]
    layout = Layout(PLIMSOLL, machines, {"default/web": 0, "default/helper": 0})
    spread(layout, some, {"web": pool().spec}, {"web": Resources()})
    assert layout.placed == {"default/web": 0, "default/helper": 0}


# Rules, pools and hosts


def test_bare_metal_keeps_pods_apart_by_host(tmp_path: Path) -> None:
    items = [node("a", 16), *replicas("web", [None] * 3, affinity=apart("web"))]
    found = compared(tmp_path, *items)
    assert found.figures[METAL].hosts == 3
    assert found.figures[PLIMSOLL].vms == 3
    assert any(fact.what == "pods apart by node" for fact in found.facts)


def test_no_more_pods_on_a_bare_metal_host_than_are_said(tmp_path: Path) -> None:
    items = [node("a"), *replicas("web", [None] * 21, cpu=10, memory=10)]
    assert compared(tmp_path, *items, host_pods=10).figures[METAL].hosts == 3


def test_nodes_that_pods_tell_apart_become_pools_of_their_own(tmp_path: Path) -> None:
    taint = {"key": "role", "value": "db", "effect": "NoSchedule"}
    found = compared(
        tmp_path,
        node("a", 4),
        node("b", 4),
        node("d", 16, 64, labels={"role": "db"}, taints=[taint]),
        pod("web", "a"),
        pod(
            "db",
            "d",
            cpu=9000,
            nodeSelector={"role": "db"},
            tolerations=[{"key": "role", "operator": "Exists"}],
        ),
    )
    assert [f.unplaced for f in found.figures.values()] == [0, 0, 0, 0]
    sizes = [f.value for f in found.facts if f.what.startswith("size of a VM")]
    assert sorted(size.split(",")[0] for size in sizes) == ["2-16 CPUs", "2-4 CPUs"]
    assert found.figures[METAL].hosts == 2


def test_a_vmpool_of_the_dump_is_taken_with_its_prices(tmp_path: Path) -> None:
    prices = {"perVM": 100, "perCPU": 1, "perGiB": 0}
    items = [node("a"), *replicas("web", ["a"] * 4), vmpool(cost=prices)]
    found = compared(tmp_path, *items)
    assert found.figures[PLIMSOLL].vms == 1
    assert found.figures[PLIMSOLL].cost == 100_000 + found.figures[PLIMSOLL].cpu
    assert found.figures[AS_IS].cost == 100_000 + 4000
    assert found.figures[METAL].cost == 64_000
    cheap = compared(tmp_path, *items, cost_per_vm=0)
    assert cheap.figures[AS_IS].cost == 4000


def test_an_inventory_is_taken_as_it_is(tmp_path: Path) -> None:
    items = [node("a", 8, 32), *replicas("web", ["a"] * 4, cpu=3000), vmpool(), rack(2)]
    found = compared(tmp_path, *items)
    assert found.figures[METAL].cpu == 16_000
    assert (found.figures[OWN].hosts, found.figures[OWN].beyond) == (1, 0)
    assert found.figures[PLIMSOLL].hosts <= 2
    assert found.figures[PLIMSOLL].hypervisor_cpu == 0
    many = compared(
        tmp_path, node("a", 8), *replicas("web", ["a"] * 9, cpu=3000), vmpool(), rack(2)
    )
    assert many.figures[OWN].beyond == many.figures[OWN].hosts - 2 > 0
    assert any("beyond the inventory" in note for note in many.notes)


def test_overcommitted_cpus_are_for_vms_alone(tmp_path: Path) -> None:
    hosts = rack(4, cpuOvercommitPercent=200)
    items = [node("a", 8), *replicas("web", ["a"] * 6, cpu=6000), vmpool(), hosts]
    found = compared(tmp_path, *items)
    assert found.figures[OWN].hosts == 2
    assert found.figures[METAL].cpu == 16_000 * found.figures[METAL].hosts
    assert compared(tmp_path, *items, cpu_overcommit=100).figures[OWN].hosts == 3


def test_hosts_of_today_are_measured_where_vms_say_theirs(tmp_path: Path) -> None:
    nodes = [node(f"n{n}", 4, labels={"plimsoll.dev/host": f"rack-{n % 2}"}) for n in range(3)]
    items = [*nodes, *replicas("web", ["n0", "n2"]), vmpool(), rack(5)]
    today = compared(tmp_path, *items).figures[AS_IS]
    assert (today.hosts_measured, today.hosts) == (True, 2)
    # Both replicas are on the first host, though in two VMs.
    assert (today.host_blast.containers, today.host_blast.exposed) == ((2, 0), 1)


def test_a_promised_redundancy_is_kept_in_every_way_that_is_placed(tmp_path: Path) -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c"}]},
            },
        },
    }
    promise = {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "ContainerWorkload",
        "metadata": {"name": "web"},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "scaleOut": {"min": 2, "max": 4},
            "redundancy": {"survive": 1, "across": "host"},
        },
    }
    found = compared(tmp_path, deployment, promise, vmpool(), rack(3))
    for way in (METAL, PLIMSOLL):
        assert found.figures[way].host_blast.exposed == 0
        assert found.figures[way].hosts == 2


def test_a_survived_host_costs_a_spare_one(tmp_path: Path) -> None:
    items = [node("a"), *replicas("web", ["a"] * 2)]
    one, none = (compared(tmp_path, *items, survive_hosts=n) for n in (1, 0))
    for way in (OWN, METAL, AS_IS):
        assert one.figures[way].spare_hosts == 1
        assert one.figures[way].cost_whole == none.figures[way].cost_whole + 192_000


def test_licences_are_paid_for_each_host() -> None:
    without, paid = sample(), sample(vm_host_licence=7000, bare_host_licence=5000)
    for way, figures in paid.figures.items():
        licence = 5000 if way is METAL else 7000
        assert figures.licences == licence * figures.hosts
        assert figures.cost - without.figures[way].cost == figures.licences
        assert figures.cost_whole - without.figures[way].cost_whole == figures.licences


def test_a_larger_system_takes_more_in_each_vm() -> None:
    small, large = sample(), sample(guest_memory=2 * GIB)
    assert large.figures[OWN].memory > small.figures[OWN].memory
    assert large.figures[OWN].guest_memory == 4 * small.figures[OWN].guest_memory
    assert large.figures[PLIMSOLL].guest_memory == large.figures[PLIMSOLL].vms * 2 * GIB


def test_a_larger_runtime_takes_more_where_there_are_containers() -> None:
    plain, heavy = sample(), sample(container_memory=GIB)
    assert heavy.figures[OWN] == plain.figures[OWN]
    assert heavy.figures[PLIMSOLL].memory > plain.figures[PLIMSOLL].memory
    assert heavy.figures[PLIMSOLL].runtime_memory == heavy.containers * GIB


# What counts as a container, and to whom it belongs


def test_what_is_no_container_is_left_out_and_told(tmp_path: Path) -> None:
    role = "node-role.kubernetes.io/control-plane"
    taint = {"key": role, "effect": "NoSchedule"}
    found = compared(
        tmp_path,
        node("a"),
        node("master", labels={role: ""}, taints=[taint]),
        pod("web", "a"),
        pod("agent", "a", "agent", kind="DaemonSet"),
        pod("dns", "master", "dns"),
        pod("gone", "a", meta={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
        pod("gated", schedulingGates=[{"name": "wait"}]),
    )
    assert (found.containers, found.figures[AS_IS].vms) == (1, 1)
    assert found.figures[AS_IS].daemon_cpu == 500
    # The DaemonSet itself is not in the dump; new machines run its pods all the same.
    assert found.figures[PLIMSOLL].daemon_cpu == found.figures[METAL].daemon_cpu == 500
    told = " ".join(found.notes)
    for what in ("control plane are left out: 1", "1 on the control plane", "1 held", "1 on their"):
        assert what in told


def test_replicas_of_a_deployment_are_one_workload_across_its_replicasets(tmp_path: Path) -> None:
    hashed = {"labels": {"app": "web", "pod-template-hash": "1"}}
    also = {"labels": {"app": "web", "pod-template-hash": "2"}}
    found = compared(
        tmp_path,
        node("a"),
        pod("one", "a", "web-1", meta=hashed),
        pod("two", "a", "web-2", meta=also),
        pod("bare", "a"),
    )
    assert (found.workloads, found.replicated) == (2, 1)


def test_pending_pods_have_no_place_today_and_one_elsewhere(tmp_path: Path) -> None:
    found = compared(tmp_path, node("a"), pod("web", "a"), pod("wait", cpu=3000))
    assert found.figures[AS_IS].unplaced == 1
    assert found.figures[PLIMSOLL].unplaced == found.figures[METAL].unplaced == 0
    assert any("it is pending (1)" in note for note in found.notes)


def test_a_container_larger_than_a_host_is_told(tmp_path: Path) -> None:
    found = compared(tmp_path, node("a"), pod("web", "a"), pod("huge", cpu=400_000))
    assert [found.figures[way].unplaced for way in (OWN, METAL, PLIMSOLL)] == [1, 1, 1]
    told = run("-f", str(tmp_path / "dump.json")).stdout
    assert "Not every container finds a place" in " ".join(told.split())


def test_volumes_and_devices_do_not_keep_a_container_out_but_are_told(tmp_path: Path) -> None:
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    gpu = {"name": "c", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    found = compared(
        tmp_path, node("a"), pod("db", "a", volumes=[claim]), pod("ml", "a", containers=[gpu])
    )
    assert [f.unplaced for f in found.figures.values()] == [0, 0, 0, 0]
    told = next(note for note in found.notes if "taken to be met" in note)
    assert "nvidia.com/gpu (1)" in told
    assert "volumes (1)" in told


def test_manifests_alone_say_nothing_of_today() -> None:
    loaded = load([SITE])
    found = compare(loaded.objects, loaded.observations, Options())
    assert list(found.figures) == [OWN, METAL, PLIMSOLL]
    assert found.figures[PLIMSOLL].placed == found.containers == 13
    assert any("nothing is known" in note for note in found.notes)


def test_a_blast_takes_workloads_that_are_nowhere_else() -> None:
    places = {"a1": "x", "a2": "x", "b1": "x", "b2": "y", "c1": "y"}
    workloads = {key: key[0] for key in places}
    found = blast(places, workloads, ["x", "y", "idle"])
    assert found.containers == (3, 2, 0)
    assert found.worst_share == 0.6
    assert found.mean_share == pytest.approx(1 / 3)
    assert (found.worst_lost, found.exposed) == (1, 1)


# The answer follows the figures


def test_the_answer_follows_the_figures() -> None:
    found = sample()
    assert answer(found).verdict.startswith("For this cluster the answer is both")
    dear = sample(vm_host_licence=10_000_000)
    assert answer(dear).verdict.startswith(
        "For this cluster the answer is containers on bare metal"
    )

    def better_in_all(figures: Figures) -> Figures:
        nothing = blast({}, {}, ["x"])
        return replace(figures, hosts=0, cost_machines=0, cost_whole=0, host_blast=nothing)

    for way, name in ((OWN, "one app per VM"), (METAL, "containers on bare metal")):
        tilted = {w: better_in_all(f) if w is way else f for w, f in found.figures.items()}
        assert name in answer(replace(found, figures=tilted)).verdict


def test_there_is_no_answer_while_a_way_holds_fewer_containers(tmp_path: Path) -> None:
    small = vmpool(nodes={"max": 1})
    found = compared(tmp_path, node("a"), *replicas("web", ["a"] * 9, cpu=2000), small, rack(9))
    assert found.figures[PLIMSOLL].unplaced > 0
    assert answer(found).verdict.startswith("There is no answer yet")
    assert any("nodes.max is 1" in note for note in found.notes)


def test_nodes_that_do_not_say_how_large_they_are_are_told(tmp_path: Path) -> None:
    silent = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}
    found = compared(tmp_path, silent, pod("web", "a"))
    assert found.figures[PLIMSOLL].placed == 1
    assert any("do not say how large they are" in note for note in found.notes)


# The command


def test_json_agrees_with_the_comparison() -> None:
    document = json.loads(run("-f", CLUSTER, "-o", "json").stdout)
    found = sample()
    assert list(document["ways"]) == ["oneAppPerVM", "bareMetal", "asIs", "plimsoll"]
    ours, figures = document["ways"]["plimsoll"], found.figures[PLIMSOLL]
    assert ours["vms"] == figures.vms
    assert ours["cost"]["total"] * 1000 == figures.cost
    assert ours["provisioned"] == {"cpu": figures.cpu, "memory": figures.memory}
    assert ours["vmDies"]["worstShare"] == figures.machine_blast.worst_share
    assert document["ways"]["bareMetal"]["vmDies"] is None
    assert {a["origin"] for a in document["assumptions"]} == {"measured", "assumed"}


def test_an_option_changes_the_figure_and_its_origin() -> None:
    document = json.loads(run("-f", CLUSTER, "-o", "json", "--guest-memory", "1Gi").stdout)
    told = {a["what"]: a for a in document["assumptions"]}
    system = told["operating system, each VM and bare-metal host"]
    assert (system["value"], system["origin"]) == ("100m CPU, 1Gi", "given")
    assert system["options"] == ["--guest-cpu", "--guest-memory"]


def test_columns_of_the_table_are_aligned() -> None:
    lines = run("-f", CLUSTER).stdout.splitlines()
    start = next(n for n, line in enumerate(lines) if line.strip().startswith("one app per VM "))
    rows = [line for line in lines[start : lines.index("", start)] if line.startswith(" ")]
    assert len(rows) > 15
    assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--guest-cpu", "1x"), "--guest-cpu: '1x' is not a quantity"),
        (("--vm-cpu", "9-2"), "--vm-cpu: '9-2' ends below where it begins"),
        (("--vm-memory", "0"), "--vm-memory: must be more than 0"),
        (("--load-line", "0"), "--load-line: '0' is no whole number from 1 to 100"),
        (("--host-cpu", "12"), "is larger than what a host gives to VMs"),
        (("--guest-memory", "9Gi", "--vm-memory", "8Gi"), "give less or larger VMs"),
    ],
)
def test_a_bad_option_is_named(arguments: tuple[str, ...], message: str) -> None:
    result = run("-f", CLUSTER, *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not a dump", "is not an object"),
        ('{"a": 1}', "$.kind: is missing"),
        ('{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}', "no containers"),
        (json.dumps(node("a")), "no containers"),
        (json.dumps(pod("agent", "a", "agent", kind="DaemonSet")), "no containers"),
        (json.dumps(pod("web", "a")), "1 pods are bound to nodes, and no Node"),
    ],
)
def test_what_is_no_dump_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "dump.json"
    path.write_text(text)
    result = run("-f", str(path))
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    result = run("-f", CLUSTER, "--html", str(tmp_path / "none" / "page.html"))
    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr


def test_equal_dumps_give_equal_bytes_whatever_their_order(tmp_path: Path) -> None:
    items = json.loads(Path(CLUSTER).read_text())["items"]
    pages = []
    for number in range(2):
        random.Random(number).shuffle(items)
        path = tmp_path / str(number)
        path.mkdir()
        dump, html = written(path, *items), path / "page.html"
        program = "from plimsoll.cli import app; app()"
        subprocess.run(
            [sys.executable, "-c", program, "compare", "-f", dump, "--html", str(html)],
            env=os.environ | {"PYTHONHASHSEED": str(number)},
            check=True,
            capture_output=True,
        )
        pages.append(html.read_bytes())
    assert pages[0] == pages[1]


def test_the_guide_names_every_option_and_every_row() -> None:
    guide = (DATA.parent.parent / "docs" / "guides" / "compare.md").read_text()
    for option in fields(Options):
        assert f"`--{option.name.replace('_', '-')}" in guide
    for row in rows(sample(vm_host_licence=1000)):
        assert row.label in guide


# The page


class _Page(HTMLParser):
    """Checks nesting, and keeps what a reader or a browser would look for."""

    void = frozenset({"meta", "line", "rect", "path", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: dict[str, str] = {}
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self._identity = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._identity = dict(attrs).get("id") or ""
        if self._identity:
            assert self._identity not in self.ids
            self.ids[self._identity] = ""
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self._identity:
            self.ids[self._identity] += data


@pytest.fixture
def page(tmp_path: Path) -> str:
    path = tmp_path / "page.html"
    assert run("-f", CLUSTER, "--html", str(path)).exit_code == 0
    return path.read_text(encoding="utf-8")


def test_the_page_needs_nothing_besides_itself(page: str) -> None:
    parser = _Page()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert not parser.tags.keys() & {"script", "link", "img", "iframe", "object", "embed", "base"}
    assert not {name for _, name, _ in parser.attributes} & {"src", "href", "srcset", "xlink:href"}
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page)


def test_every_plot_says_in_words_what_it_shows(page: str) -> None:
    parser = _Page()
    parser.feed(page)
    named = [value for tag, name, value in parser.attributes if name == "aria-labelledby"]
    assert len(named) == parser.tags["svg"] >= 10
    for title, description in (value.split() for value in named):
        assert parser.ids[title]
        assert "VMs, Plimsoll: " in parser.ids[description]
    assert page.count('role="img"') == parser.tags["svg"]


def test_the_page_holds_the_answer_the_table_and_the_assumptions(page: str) -> None:
    parser = _Page()
    parser.feed(page)
    text = " ".join(parser.text)
    printed = run("-f", CLUSTER).stdout
    assert " ".join(printed.split("\n\n")[0].split()) in " ".join(text.split())
    assert f"{sample().figures[PLIMSOLL].vms}" in text
    for words in ("if hosts are paid whole", "--guest-memory", "assumed", "measured"):
        assert words in text
    assert "prefers-color-scheme: dark" in page


def test_bars_lie_within_their_plot(page: str) -> None:
    for width, body in re.findall(r'<svg viewBox="0 0 (\d+) \d+".*?</title>(.*?)</svg>', page):
        for x, length in re.findall(r'<rect [^>]*x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', body):
            assert float(x) + float(length) <= float(width)


def test_names_of_files_cannot_break_the_page(tmp_path: Path) -> None:
    dump = tmp_path / "<script>b&d.json"
    dump.write_text(Path(CLUSTER).read_text())
    html = tmp_path / "page.html"
    assert run("-f", str(dump), "--html", str(html)).exit_code == 0
    parser = _Page()
    parser.feed(html.read_text())
    assert "script" not in parser.tags
    assert "&lt;script&gt;b&amp;d.json" in html.read_text()
