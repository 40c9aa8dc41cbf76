"""The benchmark's own tools, at tiny sizes: what they measure must be what they say."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from plimsoll_bench import (
    against_karpenter,
    bound,
    checker,
    clusters,
    naive,
    offline,
    table,
    workloads,
)
from plimsoll_bench.objects import (
    GIB,
    HOSTNAME,
    MIB,
    ZONE,
    Answer,
    Json,
    Machine,
    MachineType,
    key_of,
    pod,
    write,
)

TYPES = workloads.karpenter_types()


def machine(name: str, *pods: Json, cpus: int = 4, zone: str = "z1") -> Machine:
    kind = TYPES[cpus - 1]
    return Machine(
        name, kind.cpu, kind.memory, kind.max_pods, kind.price, (zone,), tuple(map(key_of, pods))
    )


def spread(name: str, label: str, counts: str, topology: str = ZONE) -> Json:
    """A pod with a label that spreads by how many pods have another (or the same) label."""
    constraint = {
        "maxSkew": 1,
        "topologyKey": topology,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"l": counts}},
    }
    return pod(name, 100, 100 * MIB, labels={"l": label}, topologySpreadConstraints=[constraint])


def rule(name: str, kind: str, topology: str) -> Json:
    labels = {"app": "one"}
    affinity = {kind: workloads.required(labels, topology)}
    return pod(name, 100, 100 * MIB, labels=labels, affinity=affinity)


def found(pods: list[Json], *machines: Machine) -> str:
    return "\n".join(checker.problems(pods, Answer(0.0, machines), TYPES))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Json], Answer]:
    """Karpenter's mix, and what Plimsoll makes of it."""
    pods = workloads.karpenter_mix(150)
    path = tmp_path_factory.mktemp("mix") / "pods.json"
    planned = offline.plan(write(path, [workloads.karpenter_pool()], pods))
    return pods, planned.answer(against_karpenter.price)


# Workloads


def test_the_mix_is_a_fifth_of_each_kind() -> None:
    pods = workloads.karpenter_mix(103)
    rules = [checker.rules_of(one) for one in pods]
    topologies = [[group[0] for group, _ in r.spread] for r in rules]
    assert topologies.count([ZONE]) == topologies.count([HOSTNAME]) == 20
    assert sum(bool(r.affinity) for r in rules) == sum(bool(r.anti_affinity) for r in rules) == 20
    assert len(pods) - 80 == 23
    assert {one["metadata"]["name"] for one in pods} == {f"pod-{n:06}" for n in range(103)}
    assert pods == workloads.karpenter_mix(103)
    assert pods != workloads.karpenter_mix(103, seed=1)


def test_the_types_are_those_of_karpenters_benchmark() -> None:
    assert len(TYPES) == 400
    assert TYPES[0] == MachineType(900, 2 * GIB - 10 * MIB, 10, pytest.approx(0.3147483648))
    assert TYPES[-1].max_pods == 4000


# Plimsoll's answer


def test_a_plan_passes_the_checker(mixed: tuple[list[Json], Answer]) -> None:
    pods, answer = mixed
    assert checker.problems(pods, answer, TYPES) == []
    assert len(answer.machines) >= 30


def test_a_plan_is_not_below_the_bound(mixed: tuple[list[Json], Answer]) -> None:
    pods, answer = mixed
    assert bound.lower_bound(pods, TYPES) <= answer.price


def test_spoilt_plans_do_not_pass(mixed: tuple[list[Json], Answer]) -> None:
    pods, answer = mixed
    first, second, *rest = answer.machines

    def after(*machines: Machine, unplaced: tuple[str, ...] = ()) -> str:
        return "\n".join(checker.problems(pods, Answer(0.0, machines, unplaced), TYPES))

    merged = replace(first, pods=first.pods + second.pods)
    assert "has no place" in after(first, *rest)
    assert "has pods that must be apart" in after(merged, replace(second, pods=()), *rest)
    assert "several places" in after(merged, second, *rest)
    assert "without a place" in after(
        replace(first, pods=first.pods[1:]), second, *rest, unplaced=first.pods[:1]
    )
    assert "not priced" in after(replace(first, price=first.price / 2), second, *rest)
    assert "not on offer" in after(replace(first, cpu=first.cpu + 1000), second, *rest)
    assert "more pods than its type" in after(replace(first, max_pods=1000), second, *rest)


# The checker's rules


def test_capacity() -> None:
    pods = [pod(f"p{n}", 1500, 100 * MIB) for n in range(3)]
    assert found(pods, machine("a", *pods, cpus=5)) == ""
    assert "not enough CPU" in found(pods, machine("a", *pods, cpus=4))
    many = [pod(f"p{n}", 1, 1 * MIB) for n in range(11)]
    assert "not enough pods" in found(many, machine("a", *many, cpus=1))
    large = [pod("p", 100, 4 * GIB)]
    assert "not enough memory" in found(large, machine("a", *large, cpus=2))


def test_pods_that_must_be_apart() -> None:
    one, two = (rule(name, "podAntiAffinity", HOSTNAME) for name in ("one", "two"))
    assert found([one, two], machine("a", one), machine("b", two)) == ""
    assert "must be apart" in found([one, two], machine("a", one, two))
    bystander = pod("three", 100, 100 * MIB, labels={"app": "one"})
    assert "must be apart" in found([one, bystander], machine("a", one, bystander))
    stranger = pod("four", 100, 100 * MIB, labels={"app": "two"})
    assert found([one, stranger], machine("a", one, stranger)) == ""


def test_pods_that_must_be_near_each_other() -> None:
    pods = [rule(f"p{n}", "podAffinity", ZONE) for n in range(3)]
    near = [machine("a", pods[0]), machine("b", *pods[1:])]
    assert found(pods, *near) == ""
    assert "no order was found" in found(pods, near[0], replace(near[1], zones=("z2",)))


def test_an_open_zone_is_chosen_so_that_rules_hold() -> None:
    pods = [rule(f"p{n}", "podAffinity", ZONE) for n in range(2)]
    first, second = machine("a", pods[0]), machine("b", pods[1])
    either = replace(first, zones=("z1", "z2"))
    assert found(pods, either, replace(second, zones=("z2", "z3"))) == ""
    assert "no order" in found(pods, either, replace(second, zones=("z3",)))


def test_spread_over_zones_counts_in_the_order_of_binding() -> None:
    """Three pods of another kind would be in the way, were they bound first."""
    mine = spread("mine", "a", counts="b")
    others = [pod(f"o{n}", 100, 100 * MIB, labels={"l": "b"}) for n in range(3)]
    answer = machine("a", mine, *others), machine("b", zone="z2")
    assert found([mine, *others], *answer) == ""
    assert checker.unsettled([mine, *others], Answer(0.0, answer)) == 1


def test_uneven_spread_is_found() -> None:
    pods = [spread(f"p{n}", "a", counts="a") for n in range(5)]
    assert found(pods, machine("a", *pods[:3]), machine("b", *pods[3:], zone="z2")) == ""
    assert "no order" in found(pods, machine("a", *pods[:4]), machine("b", *pods[4:], zone="z2"))


def test_spread_over_nodes_is_bound_by_the_emptiest() -> None:
    pods = [spread(f"p{n}", "a", counts="a", topology=HOSTNAME) for n in range(4)]
    full = machine("a", *pods[:2]), machine("b", *pods[2:])
    assert found(pods, *full) == ""
    assert "no order" in found(pods, *full, machine("c"))


def test_pods_that_wait_for_each_other_are_found() -> None:
    """Of two kinds on a node that count each other, all but one pod of a kind must come last."""
    kinds = [
        [spread(f"{mine}{n}", mine, counts=other, topology=HOSTNAME) for n in range(3)]
        for mine, other in (("a", "b"), ("b", "a"))
    ]
    few = [*kinds[0], kinds[1][0]]
    assert found(few, machine("m", *few), machine("empty")) == ""
    many = [*kinds[0], *kinds[1][:2]]
    assert "no order" in found(many, machine("m", *many), machine("empty"))


def test_an_order_is_found_wherever_there_is_one() -> None:
    """Beside a search through all orders, on answers drawn at random."""
    draw = random.Random(5)
    seen = set()
    for _ in range(300):
        pods = [
            draw.choice(
                [
                    lambda name: spread(name, draw.choice("ab"), draw.choice("ab")),
                    lambda name: spread(name, draw.choice("ab"), draw.choice("ab"), HOSTNAME),
                    lambda name: rule(name, "podAffinity", ZONE),
                    lambda name: pod(name, 100, MIB, labels={"l": draw.choice("ab")}),
                ]
            )(f"p{n}")
            for n in range(6)
        ]
        where = {key_of(one): draw.randrange(3) for one in pods}
        machines = [
            machine(f"m{n}", *(p for p in pods if where[key_of(p)] == n), zone=f"z{n % 2}")
            for n in range(3)
        ]
        possible = any_order({}, pods, machines)
        assert (found(pods, *machines) == "") == possible, machines
        seen.add(possible)
    assert seen == {True, False}


def any_order(
    bound_to: dict[str, tuple[Json, Machine]], left: list[Json], machines: list[Machine]
) -> bool:
    """Whether pods can be bound to their machines one after the other, by trying everything."""
    if not left:
        return True
    return any(
        may_bind(one, target, bound_to, machines)
        and any_order(
            {**bound_to, key_of(one): (one, target)},
            [other for other in left if other is not one],
            machines,
        )
        for one in left
        for target in machines
        if key_of(one) in target.pods
    )


def may_bind(
    one: Json, target: Machine, bound_to: dict[str, tuple[Json, Machine]], machines: list[Machine]
) -> bool:
    """The scheduler's rules for one pod, given what is bound already."""

    def domain(of: Machine, topology: str) -> str:
        return of.name if topology == HOSTNAME else of.zones[0]

    def counts(term: Json) -> Counter[str]:
        wanted = term["labelSelector"]["matchLabels"].items()
        return Counter(
            domain(where, term["topologyKey"])
            for other, where in bound_to.values()
            if wanted <= other["metadata"]["labels"].items()
        )

    spec = one["spec"]
    for constraint in spec.get("topologySpreadConstraints", ()):
        there, key = counts(constraint), constraint["topologyKey"]
        mine = (
            constraint["labelSelector"]["matchLabels"].items() <= one["metadata"]["labels"].items()
        )
        least = min(there[domain(m, key)] for m in machines)
        if there[domain(target, key)] + mine - least > constraint["maxSkew"]:
            return False
    for terms in spec.get("affinity", {}).values():
        for term in terms["requiredDuringSchedulingIgnoredDuringExecution"]:
            there = counts(term)
            if there and not there[domain(target, term["topologyKey"])]:
                return False
    return True


# The bound


def test_the_bound_of_full_machines_is_their_price() -> None:
    one = MachineType(1000, 2 * GIB, 10, 3.0)
    pods = [pod(f"p{n}", 500, 100 * MIB) for n in range(8)]
    assert bound.lower_bound(pods, [one]) == pytest.approx(12.0)


def test_pods_that_must_be_apart_raise_the_bound() -> None:
    one = MachineType(1000, 2 * GIB, 10, 3.0)
    pods = [rule(f"p{n}", "podAntiAffinity", HOSTNAME) for n in range(8)]
    assert bound.lower_bound(pods, [one]) == pytest.approx(24.0)


def test_types_that_others_make_up_change_no_bound() -> None:
    few = TYPES[:12]
    uneven = [*few, MachineType(10**6, 10**13, 100, 1000.0)]
    pods = workloads.karpenter_mix(60)
    assert bound.lower_bound(pods, few) == pytest.approx(bound.lower_bound(pods, uneven))


def test_a_pod_that_fits_no_type_has_no_bound() -> None:
    with pytest.raises(ValueError, match="too large for every type"):
        bound.lower_bound([pod("p", 10**6, MIB)], TYPES)


# The yardstick for consolidation


@pytest.mark.parametrize("cluster", clusters.to_consolidate(18), ids=lambda cluster: cluster.name)
def test_the_naive_way_breaks_no_rule(cluster: clusters.Cluster) -> None:
    answer = naive.consolidate(cluster)
    assert checker.problems(cluster.pods, answer) == []
    assert len(answer.machines) < 18


def test_the_filled_cluster_keeps_its_rules() -> None:
    cluster = clusters.held(20)
    bound_to: dict[str, list[str]] = {node["metadata"]["name"]: [] for node in cluster.nodes}
    for one in cluster.pods:
        bound_to[one["spec"]["nodeName"]].append(key_of(one))
    machines = tuple(
        Machine(
            name,
            int(node["status"]["allocatable"]["cpu"]) * 1000,
            int(node["status"]["allocatable"]["memory"]),
            110,
            1.0,
            (node["metadata"]["labels"][ZONE],),
            tuple(bound_to[name]),
        )
        for node in cluster.nodes
        for name in [node["metadata"]["name"]]
    )
    assert checker.problems(cluster.pods, Answer(0.0, machines)) == []


# The table


def test_goals_are_judged() -> None:
    row = table.Row("a", "b", 0.7)
    assert table.judged(row, table.at_most(0.7)).met
    assert not table.judged(row, table.at_most(0.66)).met
    assert table.judged(row, table.at_least(0.5)).met
    assert not table.judged(row, table.at_least(0.71)).met


def test_what_the_checker_faults_meets_no_goal() -> None:
    faulty = table.Row("a", "b", 0.1, notes=("p has no place",))
    row = table.judged(faulty, table.at_most(1))
    assert row.met is False
    text = "\n".join(table.lines([row, row]))
    assert text.count("NOT MET") == 2
    assert text.count("! p has no place") == 1


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(n) for n in range(1, 101)]
    assert table.percentile(values, 99) == 99.0
    assert table.percentile(values, 50) == 50.0
    assert table.percentile([3.0], 99) == 3.0
