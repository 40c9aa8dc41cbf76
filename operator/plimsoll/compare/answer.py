"""The answer in plain language, worked out from the figures; it has no favourite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from plimsoll.compare.comparison import Comparison
from plimsoll.compare.figures import Figures
from plimsoll.compare.layout import Way
from plimsoll.compare.rows import cpus, gib, percent, price

_NAMES: Final = {
    Way.ONE_APP_PER_VM: "one app per VM",
    Way.BARE_METAL: "bare metal",
    Way.AS_IS: "the VMs as they are",
    Way.PLIMSOLL: "containers on VMs with Plimsoll",
}
_NEARLY: Final = 0.01
"""Differences of less than this share count as none."""


_COST: Final = "cost at the pool's prices"
_COST_WHOLE: Final = "cost if hosts are paid whole"


class _Criterion(NamedTuple):
    name: str
    value: Callable[[Figures], float]
    """Less is better."""


_CRITERIA: Final = (
    _Criterion("hosts", lambda f: f.hosts + f.spare_hosts),
    _Criterion(_COST, lambda f: f.cost),
    _Criterion(_COST_WHOLE, lambda f: f.cost_whole),
    _Criterion("overhead in memory", lambda f: f.overhead_memory),
    _Criterion("the loss of a machine", lambda f: f.machine_blast.worst_share),
    _Criterion("the loss of a host", lambda f: f.host_blast.worst_share),
)


class Duel(NamedTuple):
    """Containers on VMs as Plimsoll runs them against another way, by criterion."""

    better: tuple[str, ...]
    worse: tuple[str, ...]


def duel(ours: Figures, rival: Figures) -> Duel:
    """Where one way is better than another, and where it is worse."""
    better: list[str] = []
    worse: list[str] = []
    for name, value in _CRITERIA:
        mine, other = value(ours), value(rival)
        if abs(mine - other) <= _NEARLY * max(mine, other):
            continue
        (better if mine < other else worse).append(name)
    return Duel(_merged(better), _merged(worse))


def _merged(found: list[str]) -> tuple[str, ...]:
    """Both costs as one word, where they agree."""
    if not {_COST, _COST_WHOLE} <= set(found):
        return tuple(found)
    return tuple("cost" if name == _COST else name for name in found if name != _COST_WHOLE)


class Answer(NamedTuple):
    """One paragraph: what follows from the figures, and the figures that it follows from."""

    verdict: str
    reasons: str

    def __str__(self) -> str:
        return f"{self.verdict} {self.reasons}"


def answer(comparison: Comparison) -> Answer:
    """The answer for one dump."""
    ways = comparison.figures
    ours = ways[Way.PLIMSOLL]
    rivals = ways[Way.ONE_APP_PER_VM], ways[Way.BARE_METAL]
    if any(rival.unplaced != ours.unplaced for rival in rivals):
        verdict = "There is no answer yet: not every way finds a place for the same containers."
        return Answer(verdict, " ".join(_sentences(comparison)))
    own, metal = (duel(ours, rival) for rival in rivals)
    scores = (
        f"Against one app per VM, containers on VMs with Plimsoll are {_scored(own)}; "
        f"against bare metal they are {_scored(metal)}."
    )
    return Answer(_verdict(own, metal), " ".join((*_sentences(comparison), scores)))


def _sentences(comparison: Comparison) -> Iterator[str]:
    ways = comparison.figures
    own, metal, ours = ways[Way.ONE_APP_PER_VM], ways[Way.BARE_METAL], ways[Way.PLIMSOLL]
    several = f"{comparison.replicated:,}" if comparison.replicated else "none"
    yield (
        f"The dump holds {_count(comparison.containers, 'container')} of "
        f"{_count(comparison.workloads, 'workload')}, {several} of them with "
        f"several replicas; together they request {_count_of(cpus(comparison.cpu), 'CPU')} and "
        f"{gib(comparison.memory)} GiB."
    )
    today = ways.get(Way.AS_IS)
    if today is not None:
        yield (
            f"Today they run in {_count(today.vms, 'VM')} and request {percent(today.cpu_used)} of "
            f"the CPU and {percent(today.memory_used)} of the memory there; Plimsoll would run "
            f"them in {_count(ours.vms, 'VM')} with {_change(ours.cpu, today.cpu)} CPU and "
            f"{_change(ours.memory, today.memory)} memory, and the worst VM to lose would take "
            f"along {percent(ours.machine_blast.worst_share)} of the containers instead of "
            f"{percent(today.machine_blast.worst_share)}."
        )
    yield (
        f"One app per VM takes {_count(own.vms, 'VM')} on {_hosts(own)}, containers on bare metal "
        f"{_hosts(metal)} and no VM, containers on VMs with Plimsoll {_count(ours.vms, 'VM')} on "
        f"{_hosts(ours)}."
    )
    yield from _missing(comparison)
    yield _cheapest(comparison)
    yield (
        f"The worst host to lose takes along {percent(own.host_blast.worst_share)} of the "
        f"containers with one app per VM, {percent(metal.host_blast.worst_share)} on bare metal "
        f"and {percent(ours.host_blast.worst_share)} with Plimsoll; the worst VM takes "
        f"{percent(own.machine_blast.worst_share)} with one app per VM and "
        f"{percent(ours.machine_blast.worst_share)} with Plimsoll."
    )


def _missing(comparison: Comparison) -> Iterator[str]:
    short = [
        f"{figures.unplaced:,} with {_NAMES[way]}"
        for way, figures in comparison.figures.items()
        if figures.unplaced
    ]
    if short:
        yield f"Not every container finds a place: {_listed(short)} do not, and are not counted."


def _cheapest(comparison: Comparison) -> str:
    def best(value: Callable[[Figures], int]) -> tuple[str, int]:
        least = min(map(value, comparison.figures.values()))
        names = [_NAMES[w] for w, f in comparison.figures.items() if value(f) == least]
        return _listed(names), least

    name, cost = best(lambda f: f.cost)
    whole_name, whole = best(lambda f: f.cost_whole)
    if name == whole_name:
        return (
            f"Cheapest is {name}: {price(cost)} at the pool's prices, {price(whole)} if hosts are "
            "paid whole."
        )
    return (
        f"Cheapest at the pool's prices is {name} ({price(cost)}); if hosts are paid whole it is "
        f"{whole_name} ({price(whole)})."
    )


def _verdict(own: Duel, metal: Duel) -> str:
    """What most of the criteria speak for, and what speaks against it."""
    containers, vms = len(own.better) > len(own.worse), len(metal.better) > len(metal.worse)
    against: tuple[str, ...] = ()
    if containers and vms:
        choice = "both: containers on VMs"
        against = tuple(dict.fromkeys((*own.worse, *metal.worse)))
    elif containers:
        choice, against = "containers on bare metal", metal.better
    elif vms:
        choice, against = "one app per VM", own.better
    else:
        choice = "one layer alone, bare metal or one app per VM"
    weigh = "weighs" if len(against) == 1 else "weigh"
    unless = f", unless {_listed(against)} {weigh} more" if against else ""
    return f"For this cluster the answer is {choice}{unless}."


def _scored(found: Duel) -> str:
    if not found.better and not found.worse:
        return "equal in everything compared"
    if not found.worse:
        return f"better in {_listed(found.better)}, and worse in nothing compared"
    if not found.better:
        return f"worse in {_listed(found.worse)}, and better in nothing compared"
    return f"better in {_listed(found.better)}, and worse in {_listed(found.worse)}"


def _change(now: int, before: int) -> str:
    """A change for readers: ``12% less``."""
    if not before or abs(now - before) < _NEARLY * before:
        return "as much"
    share = percent(abs(now - before) / before)
    return f"{share} {'less' if now < before else 'more'}"


def _hosts(of: Figures) -> str:
    hosts = _count(of.hosts, "host")
    return f"{hosts} and {of.spare_hosts} spare" if of.spare_hosts else hosts


def _count(number: int, noun: str) -> str:
    return _count_of(f"{number:,}", noun)


def _count_of(number: str, noun: str) -> str:
    return f"{number} {noun}" if number == "1" else f"{number} {noun}s"


def _listed(names: list[str] | tuple[str, ...]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
