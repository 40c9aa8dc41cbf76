"""The two cases of Cluster Autoscaler's own benchmark.

It is not run here: it is not to be had as a Go module. What it took is cited from the
founding design, where it was measured on a machine of the same kind, and is no ratio.
"""

from __future__ import annotations

from plimsoll_bench import checker, offline, workloads
from plimsoll_bench.case import Case
from plimsoll_bench.objects import MachineType
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
    path = case.file("pending", [workloads.fixed_pool()], pods)
    runs = []
    for number in range(case.settings.repeats):
        case.say(f"{count:,} equal pending pods, {number + 1} of {case.settings.repeats}")
        runs.append(offline.plan(path))
    answer = runs[-1].answer(each)
    section = f"Cluster Autoscaler's cases: {count:,} equal pending pods, 50 to a VM"
    notes = tuple(checker.problems(pods, answer, FIXED))
    least = -(-count // 50)
    return [
        judged(
            Row(
                section,
                "Plimsoll: plan",
                median(run.seconds for run in runs),
                "s",
                beside=_CITED_UP[1] if count == _CITED_UP[0] else "",
                samples=tuple(run.seconds for run in runs),
                notes=notes,
            ),
            _UP,
        ),
        judged(
            Row(section, "VMs launched", len(answer.machines), notes=notes),
            at_most(least),
        ),
    ]


def _down(case: Case) -> list[Row]:
    count = case.settings.filled_vms
    objects = workloads.filled_vms(count, _PODS_EACH, _SHARE)
    path = case.file("filled", [workloads.fixed_pool()], objects)
    runs = []
    for number in range(case.settings.repeats):
        case.say(f"{count:,} VMs at 40%, {number + 1} of {case.settings.repeats}")
        runs.append(offline.plan(path))
    pods = [one for one in objects if one["kind"] == "Pod"]
    answer = runs[-1].answer(each)
    section = f"Cluster Autoscaler's cases: {count * _PODS_EACH:,} pods on {count:,} VMs at 40%"
    notes = tuple(checker.problems(pods, answer, FIXED))
    needed = -(-count * _PODS_EACH // _SHARE)
    return [
        judged(
            Row(
                section,
                "Plimsoll: plan",
                median(run.seconds for run in runs),
                "s",
                beside=_CITED_DOWN[1] if count == _CITED_DOWN[0] else "",
                samples=tuple(run.seconds for run in runs),
                notes=notes,
            ),
            _DOWN,
        ),
        judged(
            Row(
                section,
                "VMs retired",
                len(runs[-1].retired),
                beside=f"of {count:,}, of which {needed:,} are needed",
                notes=notes,
            ),
            at_least(count - needed),
        ),
    ]
