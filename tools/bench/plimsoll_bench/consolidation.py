"""Thinning out clusters, beside the naive way."""

from __future__ import annotations

from plimsoll_bench import checker, clusters, naive, offline
from plimsoll_bench.case import Case
from plimsoll_bench.table import Row, at_most, judged

_NO_DEARER = at_most(1.0)


def rows(case: Case) -> list[Row]:
    """Price of what remains, of that of the naive way, on several clusters."""
    section = f"Consolidation of {case.settings.cluster_vms:,} VMs, beside 'emptiest first'"
    found = []
    for cluster in clusters.to_consolidate(case.settings.cluster_vms):
        case.say(f"consolidating: {cluster.name}")
        path = case.file("cluster", [cluster.pool], cluster.objects)
        planned = offline.plan(path)
        ours, theirs = planned.answer(cluster.price), naive.consolidate(cluster)
        notes = [
            f"{who}: {problem}"
            for who, answer in (("Plimsoll", ours), ("naive", theirs))
            for problem in checker.problems(cluster.pods, answer)
        ]
        before = len(cluster.nodes)
        row = Row(
            section,
            cluster.name,
            ours.price / theirs.price,
            beside=f"VMs {before} -> {len(ours.machines)}, naive {len(theirs.machines)}; "
            f"price {ours.price:,.0f}, naive {theirs.price:,.0f}; "
            f"{ours.seconds:.2f} s, naive {theirs.seconds:.2f} s",
            notes=tuple(notes),
        )
        found.append(judged(row, _NO_DEARER))
    return found
