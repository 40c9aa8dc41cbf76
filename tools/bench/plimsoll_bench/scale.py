"""How time and memory grow, and what a plan takes from cold and after a single change."""

from __future__ import annotations

from pathlib import Path

from plimsoll_bench import clusters, offline, workloads
from plimsoll_bench.case import Case
from plimsoll_bench.objects import Json
from plimsoll_bench.table import Row, at_most, judged, median

_GROWTH = at_most(12)
_COLD_SECONDS = at_most(3)
_COLD_MEGABYTES = at_most(400)
_MIX_POOLS = 5
"""Pools that share Karpenter's mix: 100,000 pods of it need 20,000 VMs, a pool has 5,000."""


def rows(case: Case) -> list[Row]:
    """Growth from few pods to many, and the whole command on a filled cluster."""
    return [*_growth(case), *_cold(case)]


def _growth(case: Case) -> list[Row]:
    few, many = case.settings.growth
    section = f"Growth from {few:,} to {many:,} pending pods ({many / few:g}-fold)"
    found = []
    for name, make in (("pods without rules", _plain), ("Karpenter's mix", _mix)):
        paths = {count: case.file(f"growth-{count}", *make(count)) for count in (few, many)}
        seconds: dict[int, list[float]] = {few: [], many: []}
        for number in range(case.settings.repeats):
            for count, path in paths.items():
                case.say(f"growth: {name}, {count:,}, {number + 1} of {case.settings.repeats}")
                seconds[count].append(offline.plan(path).seconds)
        before, after = median(seconds[few]), median(seconds[many])
        row = Row(
            section,
            f"time to plan, {name}",
            after / before,
            "x",
            beside=f"{after:.3f} s / {before:.3f} s",
            samples=tuple(seconds[many]),
        )
        found.append(judged(row, _GROWTH))
        for path in paths.values():
            path.unlink()
    return found


def _plain(count: int) -> tuple[list[Json], list[Json]]:
    return [workloads.karpenter_pool()], workloads.plain_mix(count)


def _mix(count: int) -> tuple[list[Json], list[Json]]:
    pools = []
    for number in range(_MIX_POOLS):
        pool = workloads.karpenter_pool()
        pool["metadata"]["name"] = f"bench-{number}"
        pools.append(pool)
    return pools, workloads.karpenter_mix(count)


def _cold(case: Case) -> list[Row]:
    cluster = clusters.held(case.settings.held_vms)
    path = case.file("held", [cluster.pool], cluster.objects, clusters.newcomers(100))
    runs = []
    for number in range(case.settings.repeats):
        case.say(f"from cold: {cluster.name}, {number + 1} of {case.settings.repeats}")
        runs.append(offline.cold(path))
    section = f"The command `plimsoll plan`, {cluster.name}, 100 more pending"
    beside = f"{_megabytes(path):.0f} MB of JSON; from the start of Python to its end"
    return [
        judged(
            Row(
                section,
                "seconds from cold",
                median(run.seconds for run in runs),
                "s",
                beside=beside,
                samples=tuple(run.seconds for run in runs),
            ),
            _COLD_SECONDS,
        ),
        judged(
            Row(
                section,
                "most memory resident",
                median(run.peak_bytes for run in runs) / 1e6,
                "MB",
                samples=tuple(run.peak_bytes / 1e6 for run in runs),
            ),
            _COLD_MEGABYTES,
        ),
    ]


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6
