"""Karpenter's benchmark mix, given to Plimsoll and to the real Karpenter in turns."""

from __future__ import annotations

from plimsoll_bench import checker, offline, workloads
from plimsoll_bench.bound import lower_bound
from plimsoll_bench.case import Case
from plimsoll_bench.karpenter import CannotBuild, Karpenter
from plimsoll_bench.objects import Answer, Json, MachineType
from plimsoll_bench.table import Row, at_least, at_most, judged, median

_FASTER = at_least(100)
_CHEAPER = at_most(0.66)
_NEAR_BOUND = at_most(1.15)
_NEAR_BOUND_PLAIN = at_most(1.05)


def price(cpu: int, memory: int) -> float:
    """Price of a machine of Karpenter's types, by its allocatable millicores and bytes."""
    return workloads.karpenter_price(
        (cpu + workloads.RESERVED_CPU) // 1000, memory + workloads.RESERVED_MEMORY
    )


def rows(case: Case) -> list[Row]:
    """Speed and price beside Karpenter's, and price above the proven bound."""
    try:
        peer: Karpenter | None = Karpenter.build(case.folder)
    except CannotBuild as error:
        case.say(f"Karpenter is left out: {error}")
        peer = None
    types = workloads.karpenter_types()
    found: list[Row] = []
    for count in case.settings.mixes:
        found += _mix(case, count, peer, types)
    found += _plain(case, types)
    return found


def _mix(case: Case, count: int, peer: Karpenter | None, types: list[MachineType]) -> list[Row]:
    settings = case.settings
    pods = workloads.karpenter_mix(count)
    path = case.file(f"mix-{count}", [workloads.karpenter_pool()], pods)
    ours: list[Answer] = []
    theirs: list[Answer] = []
    for number in range(settings.repeats):
        case.say(f"Karpenter's mix, {count:,} pods, {number + 1} of {settings.repeats}")
        ours.append(offline.plan(path).answer(price))
        if peer is not None and (count < settings.once_from or not number):
            theirs.append(peer.solve(path)[0])
    judge = count == settings.judged_mix
    section = f"Karpenter's benchmark mix, {count:,} pods"
    found = [_seconds(section, "Plimsoll: plan", ours, pods, types)]
    if theirs:
        found.append(_seconds(section, "Karpenter: Solve", theirs, pods, types))
        faster = Row(
            section,
            "how many times faster than Karpenter",
            median(a.seconds for a in theirs) / median(a.seconds for a in ours),
            "x",
            beside=f"{median(a.seconds for a in theirs):.2f} s / "
            f"{median(a.seconds for a in ours):.3f} s",
            notes=found[0].notes,
        )
        cheaper = Row(
            section,
            "price, of Karpenter's",
            median(a.price for a in ours) / median(a.price for a in theirs),
            beside=f"{median(a.price for a in ours):.1f} / {median(a.price for a in theirs):.1f}",
            notes=found[0].notes,
        )
        found.append(judged(faster, _FASTER) if judge else faster)
        found.append(judged(cheaper, _CHEAPER) if judge else cheaper)
    found.append(_bounded(section, pods, ours[-1], types, _NEAR_BOUND, found[0].notes))
    return found


def _plain(case: Case, types: list[MachineType]) -> list[Row]:
    count = case.settings.plain
    case.say(f"pods of the same sizes without rules, {count:,} pods")
    pods = workloads.plain_mix(count)
    path = case.file("plain", [workloads.karpenter_pool()], pods)
    answer = offline.plan(path).answer(price)
    section = f"Only resources bind, {count:,} pods"
    first = _seconds(section, "Plimsoll: plan", [answer], pods, types)
    return [first, _bounded(section, pods, answer, types, _NEAR_BOUND_PLAIN, first.notes)]


def _seconds(
    section: str, name: str, answers: list[Answer], pods: list[Json], types: list[MachineType]
) -> Row:
    """How long it took, and what the checker finds wrong with the last answer."""
    last = answers[-1]
    return Row(
        section,
        name,
        median(answer.seconds for answer in answers),
        "s",
        beside=f"{len(last.machines):,} VMs, price {last.price:,.1f}, "
        f"{checker.unsettled(pods, last):,} pods hang on the order",
        samples=tuple(answer.seconds for answer in answers),
        notes=tuple(checker.problems(pods, last, types)),
        peer=name.startswith("Karpenter"),
    )


def _bounded(
    section: str,
    pods: list[Json],
    answer: Answer,
    types: list[MachineType],
    goal: tuple[str, float, bool],
    notes: tuple[str, ...],
) -> Row:
    bound = lower_bound(pods, types)
    row = Row(
        section,
        "price, of the proven lower bound",
        answer.price / bound,
        beside=f"{answer.price:,.1f} / {bound:,.1f}",
        notes=notes,
    )
    return judged(row, goal)


def show(case: Case, count: int, plain: bool) -> str:
    """Plans the mix (or the same sizes without rules) once; one line about it."""
    pods = (workloads.plain_mix if plain else workloads.karpenter_mix)(count)
    types = workloads.karpenter_types()
    planned = offline.plan(case.file("shown", [workloads.karpenter_pool()], pods))
    answer = planned.answer(price)
    bound = lower_bound(pods, types)
    return (
        f"{count:,} pods: read {planned.read_seconds:.2f} s, plan {answer.seconds:.3f} s, "
        f"{len(answer.machines):,} VMs, price {answer.price:,.1f}, bound {bound:,.1f}, "
        f"{answer.price / bound:.3f} of the bound, {checker.unsettled(pods, answer)} hang on the "
        f"order, problems: {checker.problems(pods, answer, types) or 'none'}"
    )
