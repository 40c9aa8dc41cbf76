"""An independent check of an answer at any scale, whoever gave it.

It shares no code with Plimsoll's decision: it reads the pods as JSON, and counts. What
does not change with the order (capacity, number of pods, anti-affinity, sizes on offer,
prices) is checked on the final picture. Affinity and spread are rules of the moment at
which a pod is bound, so for them an order is searched for in which all pods can be bound
to the machines, which stand empty at first. Any will do, as the scheduler tries again
what did not fit at first.

The search goes backwards: from the final picture it takes away, one after the other,
pods that could have been bound last, until nothing is left. Backwards is easier, for
most of what is taken away makes room for the rest: only where a zone (or machine) has
the least pods of all does taking one away narrow what others may differ from it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from plimsoll_bench.objects import (
    HOSTNAME,
    ZONE,
    Answer,
    Json,
    Machine,
    MachineType,
    by_key,
    requests_of,
)

_KNOWN = frozenset({"containers", "affinity", "topologySpreadConstraints", "nodeName"})
_MOST_NAMED = 5

Group = tuple[str, tuple[tuple[str, str], ...]]
"""Topology key and labels that are counted."""


@dataclass(frozen=True)
class Rules:
    """What the rules of pods of one class are."""

    labels: tuple[tuple[str, str], ...]
    spread: tuple[tuple[Group, int], ...] = ()
    """With maxSkew."""
    affinity: tuple[Group, ...] = ()
    anti_affinity: tuple[Group, ...] = ()


def problems(
    pods: Sequence[Json], answer: Answer, types: Collection[MachineType] | None = None
) -> list[str]:
    """All that is wrong with an answer, each kind summed up in a line; empty: nothing.

    ``types``: the machines on offer; None: whatever the answer says of them is believed.

    Raises:
        NotImplementedError: a pod has a rule that is not known here.
    """
    known = by_key(pods)
    rules = {key: rules_of(pod) for key, pod in known.items()}
    machines = _with_zones(answer.machines, rules)
    found = [
        *_complete(known, answer),
        *(_on_offer(machines, types) if types is not None else ()),
        *_capacity(known, machines),
        *_anti_affinity(rules, machines),
    ]
    return found or _Replay(rules, machines).problems()


def unsettled(pods: Sequence[Json], answer: Answer) -> int:
    """Pods whose own rules the final picture breaks: they could not be bound last.

    Not wrong, but they depend on the order in which the scheduler takes pods.
    """
    rules = {key: rules_of(pod) for key, pod in by_key(pods).items()}
    machines = _with_zones(answer.machines, rules)
    replay = _Replay(rules, machines)
    return sum(
        count for rule, number, count in replay.items() if not replay.could_be_last(rule, number)
    )


def _complete(known: dict[str, Json], answer: Answer) -> Iterable[str]:
    times = Counter(key for machine in answer.machines for key in machine.pods)
    times.update(answer.unplaced)
    yield from _said("has no place and is not said to have none", set(known) - set(times))
    yield from _said("has several places", {key for key, count in times.items() if count > 1})
    yield from _said("is not one of the pods", set(times) - set(known))
    yield from _said("is left without a place", answer.unplaced)


def _on_offer(machines: Sequence[Machine], types: Collection[MachineType]) -> Iterable[str]:
    offered = {(kind.cpu, kind.memory): kind for kind in types}
    strange, wrong_pods, wrong_price = [], [], []
    for machine in machines:
        kind = offered.get((machine.cpu, machine.memory))
        if kind is None:
            strange.append(machine.name)
        elif machine.max_pods > kind.max_pods:
            wrong_pods.append(machine.name)
        elif abs(machine.price - kind.price) > 1e-6 * kind.price:
            wrong_price.append(machine.name)
    yield from _said("is of a size that is not on offer", strange)
    yield from _said("is said to take more pods than its type", wrong_pods)
    yield from _said("is not priced as its type", wrong_price)


def _capacity(known: dict[str, Json], machines: Sequence[Machine]) -> Iterable[str]:
    full: dict[str, list[str]] = {"CPU": [], "memory": [], "pods": []}
    for machine in machines:
        requests = [requests_of(known[key]) for key in machine.pods if key in known]
        for what, asked, there in (
            ("CPU", sum(cpu for cpu, _ in requests), machine.cpu),
            ("memory", sum(memory for _, memory in requests), machine.memory),
            ("pods", len(machine.pods), machine.max_pods),
        ):
            if asked > there:
                full[what].append(machine.name)
    for what, names in full.items():
        yield from _said(f"has not enough {what} for its pods", names)


def _anti_affinity(rules: dict[str, Rules], machines: Sequence[Machine]) -> Iterable[str]:
    groups = {group for rule in rules.values() for group in rule.anti_affinity}
    for group in sorted(groups):
        topology, labels = group
        there: defaultdict[str, Counter[tuple[bool, bool]]] = defaultdict(Counter)
        for machine in machines:
            for key in machine.pods:
                rule = rules.get(key)
                if rule is not None:
                    minds, counted = group in rule.anti_affinity, selects(labels, rule)
                    there[domain_of(machine, topology)][minds, counted] += 1
        yield from _said(
            f"has pods that must be apart ({topology})",
            [
                domain
                for domain, pods in there.items()
                # Those that mind may meet nobody that is counted, themselves excepted.
                if pods[True, True] + pods[True, False]
                and pods[True, True] + pods[False, True] > (0 if pods[True, False] else 1)
            ],
        )


def rules_of(pod: Json) -> Rules:
    """The rules of a pod.

    Raises:
        NotImplementedError: it has some that are not known here.
    """
    spec, metadata = pod["spec"], pod["metadata"]
    strange = set(spec) - _KNOWN
    if strange or metadata["namespace"] != "default":
        raise NotImplementedError(f"{metadata['name']}: {sorted(strange)}, or its namespace")
    affinity = spec.get("affinity", {})
    if set(affinity) - {"podAffinity", "podAntiAffinity"}:
        raise NotImplementedError(f"{metadata['name']}: {sorted(affinity)}")

    def terms(kind: str) -> tuple[Group, ...]:
        required = affinity.get(kind, {}).get("requiredDuringSchedulingIgnoredDuringExecution", ())
        return tuple(_group(term) for term in required)

    return Rules(
        labels=tuple(sorted(metadata.get("labels", {}).items())),
        spread=tuple(
            (_group(constraint), constraint["maxSkew"])
            for constraint in spec.get("topologySpreadConstraints", ())
            if constraint["whenUnsatisfiable"] == "DoNotSchedule"
        ),
        affinity=terms("podAffinity"),
        anti_affinity=terms("podAntiAffinity"),
    )


def _group(term: Json) -> Group:
    selector = term["labelSelector"]
    if set(selector) != {"matchLabels"} or term["topologyKey"] not in (ZONE, HOSTNAME):
        raise NotImplementedError(json.dumps(term))
    return term["topologyKey"], tuple(sorted(selector["matchLabels"].items()))


def selects(labels: tuple[tuple[str, str], ...], rule: Rules) -> bool:
    """Whether labels that are counted are those of a pod."""
    return set(labels) <= set(rule.labels)


def domain_of(machine: Machine, topology: str) -> str:
    """The domain of a topology in which a machine is."""
    return machine.name if topology == HOSTNAME else (machine.zones or ("",))[0]


def _said(what: str, names: Iterable[str]) -> Iterable[str]:
    some = sorted(names)
    if some:
        more = f" and {len(some) - _MOST_NAMED} more" if len(some) > _MOST_NAMED else ""
        yield f"{what}: {', '.join(some[:_MOST_NAMED])}{more}"


def _with_zones(machines: Sequence[Machine], rules: dict[str, Rules]) -> list[Machine]:
    """The machines, each in one zone: where the choice was left open, one that suits.

    Machines whose pods must be in the same zone as each other are put there together, if
    they have a zone in common; the rest go round.
    """
    groups: dict[Group, list[int]] = defaultdict(list)
    for number, machine in enumerate(machines):
        for key in machine.pods:
            for group in rules[key].affinity if key in rules else ():
                if group[0] == ZONE and (not groups[group] or groups[group][-1] != number):
                    groups[group].append(number)
    together = list(range(len(machines)))

    def root(number: int) -> int:
        while together[number] != number:
            number = together[number]
        return number

    for numbers in groups.values():
        for number in numbers[1:]:
            together[root(number)] = root(numbers[0])
    members: dict[int, list[int]] = defaultdict(list)
    for number in range(len(machines)):
        members[root(number)].append(number)
    placed = list(machines)
    for turn, numbers in enumerate(members.values()):
        common = set.intersection(*(set(machines[number].zones) for number in numbers))
        for number in numbers:
            zones = sorted(common) or sorted(machines[number].zones)
            if len(machines[number].zones) > 1:
                chosen = zones[turn % len(zones)]
                placed[number] = _in_zone(machines[number], chosen)
    return placed


def _in_zone(machine: Machine, zone: str) -> Machine:
    return Machine(
        machine.name,
        machine.cpu,
        machine.memory,
        machine.max_pods,
        machine.price,
        (zone,),
        machine.pods,
    )


@dataclass
class _Group:
    """How many pods a rule counts in each domain."""

    domains: int
    """Of how many domains the least count is taken."""
    counts: Counter[str] = field(default_factory=Counter)
    total: int = 0
    least: int = 0
    waiting: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """Pods still there that the group binds, by domain and by how far it may be from the least."""
    near: Counter[str] = field(default_factory=Counter)
    """Pods still there that must have one of the group in their domain."""
    _having: Counter[int] = field(default_factory=Counter)
    """Count -> domains that have it."""

    def __post_init__(self) -> None:
        self._having[0] = self.domains

    def change(self, domain: str, by: int) -> None:
        before = self.counts[domain]
        self.counts[domain] = before + by
        self.total += by
        self._having[before] -= 1
        self._having[before + by] += 1
        self.least = min(self.least, before + by)
        while not self._having[self.least]:
            self.least += 1

    def lowers(self, domain: str) -> bool:
        """Whether one pod less there makes the least less."""
        return self.counts[domain] == self.least

    def blocks(self, domain: str) -> int:
        """Pods that could not be last any more, were one pod taken away there."""
        blocked = 0
        if self.counts[domain] == 1 and self.total > 1:
            blocked += self.near[domain]
        if self.lowers(domain):
            for other, limits in self.waiting.items():
                difference = self.counts[other] - self.least + 1
                blocked += sum(count for skew, count in limits.items() if difference > skew)
        return blocked


class _Replay:
    """Takes pods away from the final picture, each of which could have been bound last."""

    def __init__(self, rules: dict[str, Rules], machines: Sequence[Machine]) -> None:
        self._machines = machines
        self._left: Counter[tuple[Rules, int]] = Counter(
            (rules[key], number)
            for number, machine in enumerate(machines)
            for key in machine.pods
            if key in rules
        )
        domains = {HOSTNAME: len(machines), ZONE: len({domain_of(m, ZONE) for m in machines})}
        of_rules = {rule for rule, _ in self._left}
        groups = {
            group: _Group(domains[group[0]])
            for rule in of_rules
            for group in (*rule.affinity, *(group for group, _ in rule.spread))
        }
        self._spread = {
            rule: tuple((group[0], groups[group], skew) for group, skew in rule.spread)
            for rule in of_rules
        }
        self._affinity = {
            rule: tuple((g[0], groups[g], int(selects(g[1], rule))) for g in rule.affinity)
            for rule in of_rules
        }
        self._counted = {
            rule: tuple((g[0], state) for g, state in groups.items() if selects(g[1], rule))
            for rule in of_rules
        }
        for rule, number, count in self.items():
            self._change(rule, number, count)

    def items(self) -> list[tuple[Rules, int, int]]:
        """Pods that are still there: their rules, the number of their machine, and how many."""
        return [(rule, number, count) for (rule, number), count in self._left.items() if count]

    def problems(self) -> list[str]:
        """Takes away what it can, and says what stays."""
        while self._round(self._evens) or self._round(self._harmless) or self._least_harm():
            pass
        stuck = self.items()
        if not stuck:
            return []
        rule, number, _ = stuck[0]
        return [
            f"no order was found in which {sum(count for *_, count in stuck)} pods can be bound, "
            f"such as one on {self._machines[number].name} with {rule}"
        ]

    def could_be_last(self, rule: Rules, number: int) -> bool:
        """Whether such a pod could be bound to that machine with all others still there."""
        machine = self._machines[number]
        for topology, state, skew in self._spread[rule]:
            if state.counts[domain_of(machine, topology)] - state.least > skew:
                return False
        for topology, state, itself in self._affinity[rule]:
            near = state.counts[domain_of(machine, topology)] - itself
            if not near and not (itself and state.total == 1):
                return False
        return True

    def _round(self, wanted: Callable[[Rules, int], bool]) -> bool:
        """Takes away all that could be last and are wanted; whether there were any."""
        progress = False
        for rule, number, count in self.items():
            for _ in range(count):
                if not self.could_be_last(rule, number) or not wanted(rule, number):
                    break
                self._take(rule, number)
                progress = True
        return progress

    def _least_harm(self) -> bool:
        """Takes away the pod that could be last and blocks the fewest; whether there was one."""
        can = [(r, n) for r, n, _ in self.items() if self.could_be_last(r, n)]
        if not can:
            return False
        self._take(*min(can, key=lambda item: self._blocks(*item)))
        return True

    def _evens(self, rule: Rules, number: int) -> bool:
        """Whether nobody could mind that such a pod goes: its domains have more than others."""
        machine = self._machines[number]
        return not any(
            state.lowers(domain_of(machine, topology)) or state.blocks(domain_of(machine, topology))
            for topology, state in self._counted[rule]
        )

    def _harmless(self, rule: Rules, number: int) -> bool:
        return not self._blocks(rule, number)

    def _blocks(self, rule: Rules, number: int) -> int:
        machine = self._machines[number]
        return sum(
            state.blocks(domain_of(machine, topology)) for topology, state in self._counted[rule]
        )

    def _take(self, rule: Rules, number: int) -> None:
        self._left[rule, number] -= 1
        self._change(rule, number, -1)

    def _change(self, rule: Rules, number: int, by: int) -> None:
        machine = self._machines[number]
        for topology, state in self._counted[rule]:
            state.change(domain_of(machine, topology), by)
        for topology, state, skew in self._spread[rule]:
            state.waiting[domain_of(machine, topology)][skew] += by
        for topology, state, itself in self._affinity[rule]:
            if not itself:
                state.near[domain_of(machine, topology)] += by
