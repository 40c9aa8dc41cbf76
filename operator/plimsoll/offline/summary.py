"""A large plan for people: pods by class, moves and failures that are alike in one line.

What is left out here is in ``-o json``; small plans are told in full instead.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from plimsoll.decide import wording
from plimsoll.decide.plan import Lever, Move, Plan, Rejected, Size, Unplaced
from plimsoll.offline.podclasses import Owner, PodClass, classes
from plimsoll.offline.text import Line, change, count, in_columns, move_lines, unplaced_text
from plimsoll.world.snapshot import Snapshot

LARGE_MOVES: Final = 60
LARGE_UNPLACED: Final = 40
LARGE_PODS: Final = 400
"""With more than any of these a plan is told as a summary."""
_FEW: Final = 3
"""So many moves of one kind are still told one by one."""
_CLASSES: Final = 30
_GROUPS: Final = 20
_SIZES: Final = 3
_REJECTIONS: Final = 3
_VMS: Final = 3


def is_large(snapshot: Snapshot, plan: Plan) -> bool:
    """Whether nobody would read the plan line by line."""
    return (
        len(plan.moves) > LARGE_MOVES
        or len(plan.unplaced) > LARGE_UNPLACED
        or len(snapshot.pods) > LARGE_PODS
    )


# ----- moves


def moves(snapshot: Snapshot, plan: Plan) -> Iterator[Line]:
    """Moves of one kind and one pool or workload together, in the order of the plan."""
    pools: dict[str, str] = {vm.name: vm.pool or "" for vm in snapshot.vms}
    pools |= {vm.name: vm.pool or "" for vm in plan.vms}
    groups: defaultdict[tuple[Lever, str], list[Move]] = defaultdict(list)
    for move in plan.moves:
        groups[move.kind, _concern(move, pools, snapshot)].append(move)
    for (kind, concern), group in groups.items():
        if len(group) <= _FEW:
            yield from move_lines(group)
        else:
            yield from _group(kind, concern, group)


def _concern(move: Move, pools: Mapping[str, str], snapshot: Snapshot) -> str:
    kind, _, key = move.subject.partition("/")
    if kind == "vm":
        return pools.get(key, "")
    if kind == "pod":
        pod = snapshot.pod(key)
        return pod.workload if pod is not None and pod.workload else "pods"
    return kind + "s"


def _group(kind: Lever, concern: str, group: Sequence[Move]) -> Iterator[Line]:
    first = group[0]
    told = [text for text in (_changes(group), _hosts(group), _cost(group)) if text]
    yield Line(f"  {len(group):,} x {kind} {concern}: {'; '.join(told) or first.reason}")
    yield Line(f"    e.g. {first.subject}: {first.reason}")
    for why, number in Counter(move.deferred for move in group if move.deferred).items():
        yield Line(f"    {number:,} wait: {why}", "dim")
    rejected: defaultdict[tuple[str, str], list[Rejected]] = defaultdict(list)
    for move in group:
        for one in move.rejected:
            rejected[one.lever.value, one.reason.value].append(one)
    for some in sorted(rejected.values(), key=len, reverse=True)[:_REJECTIONS]:
        times = f"{len(some):,} times, e.g. " if len(some) > 1 else ""
        yield Line(f"    rather than {times}{some[0]}", "dim")


def _changes(group: Sequence[Move]) -> str:
    """Sizes before and after, the most frequent first, and for new VMs their sum."""
    found = Counter(change(move) for move in group)
    if len(found) == 1:
        return change(group[0])
    usual = [f"{number:,} of {text}" for text, number in found.most_common(_SIZES)]
    rest = len(found) - len(usual)
    text = ", ".join(usual) + (f", and {rest:,} other sizes" if rest else "")
    new = [move.vm.size for move in group if move.vm is not None]
    if new:
        total = Size(cpu=sum(s.cpu for s in new), memory=sum(s.memory for s in new))
        text += f", in all {wording.size(total)}"
    return text


def _hosts(group: Sequence[Move]) -> str:
    hosts = {move.host for move in group if move.host}
    if not hosts or any(host.startswith("assumed-") for host in hosts):
        return ""
    return f"on {next(iter(hosts))}" if len(hosts) == 1 else f"on {len(hosts):,} hosts"


def _cost(group: Sequence[Move]) -> str:
    cost = sum(move.cost for move in group)
    if not cost:
        return ""
    return f"cost {'+' if cost > 0 else '-'}{wording.money(abs(cost))}"


# ----- pods without a place


def unplaced(plan: Plan) -> Iterator[Line]:
    """Pods that lack the same, together, with one of them as the example."""
    texts: dict[int, tuple[tuple[str, str], ...]] = {}
    groups: defaultdict[tuple[str, tuple[tuple[str, str], ...]], list[Unplaced]]
    groups = defaultdict(list)
    for one in plan.unplaced:
        # Pods of one class share what they lack: it is put in order once.
        why = texts.get(id(one.why))
        if why is None:
            why = texts[id(one.why)] = tuple(sorted(one.why.items()))
        groups[one.reason.value, why].append(one)
    ordered = sorted(groups.values(), key=len, reverse=True)
    for some in ordered[:_GROUPS]:
        text = unplaced_text(some[0])
        yield Line(f"  {len(some):,} pods, e.g. {text}" if len(some) > 1 else f"  {text}", "red")
    rest = ordered[_GROUPS:]
    if rest:
        number = sum(map(len, rest))
        yield Line(f"  {number:,} more, for {count(len(rest), 'other reason')}: -o json", "dim")


# ----- classes


def pods(snapshot: Snapshot, plan: Plan, owner_of: Mapping[str, Owner]) -> Iterator[Line]:
    """Classes of pods: how many, how large, where they stay and where they go."""
    pools = {vm.name: vm.pool for vm in plan.vms}
    new = {vm.name for vm in plan.vms if vm.new}
    found = classes(snapshot, plan, owner_of)
    rows = [
        (f"{one.pods:,}", str(one.owner), one.size(), "; ".join(_where(one, pools, new)))
        for one in found[:_CLASSES]
    ]
    for text in in_columns(rows):
        yield Line(f"  {text}")
    rest = found[_CLASSES:]
    if rest:
        number = sum(one.pods for one in rest)
        lost = sum(one.unplaced.total() for one in rest)
        without = f", {lost:,} of them without a place" if lost else ""
        yield Line(f"  {number:,} more pods in {count(len(rest), 'class', 'classes')}{without}")


def _where(one: PodClass, pools: Mapping[str, str | None], new: set[str]) -> Iterator[str]:
    if one.stay:
        yield f"{one.stay.total():,} stay on {_vms(one.stay, pools, set())}"
    if one.come:
        yield f"{one.come.total():,} go to {_vms(one.come, pools, new)}"
    for reason, number in one.unplaced.most_common():
        yield f"{number:,} without a place ({reason})"
    for why, number in one.aside.most_common():
        yield f"{number:,} {why}"


def _vms(on: Counter[str], pools: Mapping[str, str | None], new: set[str]) -> str:
    if len(on) <= _VMS:
        return ", ".join(f"{name} (new)" if name in new else name for name in sorted(on))
    fresh = sum(name in new for name in on)
    of = sorted({pools.get(name) or "no pool" for name in on})
    named = ", ".join(of[:_VMS]) + (f" and {len(of) - _VMS} more" if len(of) > _VMS else "")
    if fresh == len(on):
        return f"{len(on):,} new VMs of {named}"
    return f"{len(on):,} VMs of {named}" + (f", {fresh:,} of them new" if fresh else "")
