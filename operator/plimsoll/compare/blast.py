"""Blast radius: what one failure takes along.

One machine (or host) fails at a time. What it takes along is the share of all placed
containers that run in it, and the workloads of which every replica does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Blast:
    """What failures of one kind of thing take along."""

    containers: tuple[int, ...]
    """Containers that each failure takes along, the most first; they add up to all placed."""
    worst_share: float
    """Of all placed containers, in the worst failure."""
    mean_share: float
    """On average over all that may fail."""
    worst_lost: int
    """Workloads that lose all replicas in the worst failure for them, single ones included."""
    exposed: int
    """Workloads of several replicas that some single failure takes away altogether."""


def blast(places: Mapping[str, str], workloads: Mapping[str, str], domains: Iterable[str]) -> Blast:
    """The blast radius of domains that fail one at a time.

    ``places``: key of a container -> the domain (VM or host) in which it runs.
    ``workloads``: key of a container -> its workload. ``domains``: all that may fail, empty
    ones too.
    """
    inside = Counter(dict.fromkeys(domains, 0))
    replicas: Counter[str] = Counter()
    spread: dict[str, set[str]] = {}
    for key, domain in places.items():
        inside[domain] += 1
        name = workloads[key]
        replicas[name] += 1
        spread.setdefault(name, set()).add(domain)
    lost: Counter[str] = Counter()
    exposed = 0
    for name, where in spread.items():
        if len(where) == 1:
            lost[next(iter(where))] += 1
            exposed += replicas[name] > 1
    counts = tuple(sorted(inside.values(), reverse=True))
    total = max(1, len(places))
    return Blast(
        containers=counts,
        worst_share=max(counts, default=0) / total,
        mean_share=sum(counts) / total / max(1, len(counts)),
        worst_lost=max(lost.values(), default=0),
        exposed=exposed,
    )
