"""The two cases of Cluster Autoscaler's own benchmark.

It is not run here: it is not to be had as a Go module. What it took is cited from the
founding design, where it was measured on a machine of the same kind, and is no ratio.
"""

from __future__ import annotations

from collections.abc import Iterable

from plimsoll_bench import checker, offline, workloads
from plimsoll_bench.case import Case
from plimsoll_bench.objects import Json, MachineType
from plimsoll_bench.table import Row, at_least, at_most, judged, median

_UP = at_most(1.0)
_DOWN = at_most(2.0)
_CITED_UP = (50_000, "Cluster Autoscaler: 32.9 s (cited)")
_CITED_DOWN = (2_000, "Cluster Autoscaler: 12.2 s, 1,200 retired (cited)")
_PODS_EACH = 40
_SHARE = 100

FIXED = [MachineType(workloads.FIXED_CPUS * 1000, workloads.FIXED_MEMORY, workloads.FIXED_PODS, 1)]


def each(cpu: int, memory: int) -> float:
    """Price of a VM where all are alike."""
    return 1.0


def rows(case: Case) -> list[Row]:
    """Scaling up for many equal pods, scaling down from many half-empty VMs."""
    return [*_up(case), *_down(case)]


def _up(case: Case) -> list[Row]:
    count = case.settings.pending
    pods = workloads.equal_pods(count)
    planned = _planned(case, f"{count:,} equal pending pods", pods)
    answer = planned[-1].answer(each)
    speed = _speed(
        f"{count:,} equal pending pods, 50 to a VM",
        planned,
        checker.problems(pods, answer, FIXED),
        beside=_CITED_UP[1] if count == _CITED_UP[0] else "",
    )
    launched = Row(speed.section, "VMs launched", len(answer.machines), notes=speed.notes)
    return [judged(speed, _UP), judged(launched, at_most(-(-count // 50)))]


def _down(case: Case) -> list[Row]:
    count = case.settings.filled_vms
    objects = workloads.filled_vms(count, _PODS_EACH, _SHARE)
    pods = [one for one in objects if one["kind"] == "Pod"]
    planned = _planned(case, f"{count:,} VMs at 40%", objects)
    speed = _speed(
        f"{len(pods):,} pods on {count:,} VMs at 40%",
        planned,
        checker.problems(pods, planned[-1].answer(each), FIXED),
        beside=_CITED_DOWN[1] if count == _CITED_DOWN[0] else "",
    )
    needed = -(-count * _PODS_EACH // _SHARE)
    retired = Row(
        speed.section,
        "VMs retired",
        len(planned[-1].retired),
        beside=f"of {count:,}, of which {needed:,} are needed",
        notes=speed.notes,
    )
    return [judged(speed, _DOWN), judged(retired, at_least(count - needed))]


def _planned(case: Case, told: str, objects: list[Json]) -> list[offline.Planned]:
    """The same plan, made as often as is measured."""
    path = case.file("autoscaler", [workloads.fixed_pool()], objects)
    planned = []
    for number in range(case.settings.repeats):
        case.say(f"{told}, {number + 1} of {case.settings.repeats}")
        planned.append(offline.plan(path))
    return planned


def _speed(told: str, planned: list[offline.Planned], problems: Iterable[str], beside: str) -> Row:
    seconds = tuple(one.seconds for one in planned)
    return Row(
        f"Cluster Autoscaler's cases: {told}",
        "Plimsoll: plan",
        median(seconds),
        "s",
        beside=beside,
        samples=seconds,
        notes=tuple(problems),
    )
