"""Whole plans compared: smaller VMs where large ones may be dear.

Placing takes the levers in their order, pod by pod, so VMs that grow become as large as
they may. That is cheapest where a VM costs much by itself. It may not be

- where sizes come in coarse steps and CPUs or memory are dear: exact fits waste nothing;
- where a pool must survive the loss of a host and its hypervisor restarts nothing: one
  large VM takes a spare as large, five small ones on five hosts a spare of a fifth.

Then the same is planned with smaller largest sizes too, and the cheapest plan is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

import msgspec

from plimsoll.decide import wording
from plimsoll.decide.plan import Lever, Move, Plan, Reason, Rejected
from plimsoll.world.snapshot import Pool, Snapshot

Caps = Mapping[str, int]
"""By pool: the most millicores of a VM."""

_PARTS = (2, 3, 4, 5, 6, 8)
"""Into how many the largest VM is divided, to find sizes that are worth a try."""
_COARSE = 2
"""Steps of so many CPUs waste enough for exact fits to matter."""
_PODS = 10_000
"""Pods planned for again in all, each alternative counting anew: where there are more, one
VM more or less is a small part of the cost, and time is dearer."""


def cheapest(snapshot: Snapshot, first: Plan, again: Callable[[Caps], Plan]) -> Plan:
    """The cheapest of a plan and its alternatives; ``again`` plans with caps.

    Nothing is planned again unless VMs are launched or grow in a pool where it may help.
    """
    pools = list(_dear(snapshot, first))
    if not pools:
        return first
    most = _PODS // max(1, len(snapshot.pods))
    others = [again(caps) for caps in islice(_caps(pools, _largest(snapshot, first)), most)]
    plans = sorted([first, *(_told_as(first, p) for p in others if _places(first, p))], key=_rank)
    best = plans[0]
    rest = [plan for plan in plans[1:] if plan.vms != best.vms][:1]
    if best is not first and first not in rest:
        rest.append(first)
    names = {pool.name for pool in pools}
    moves = tuple(
        _told(move, best, rest) if move.vm is not None and move.vm.pool in names else move
        for move in best.moves
    )
    return msgspec.structs.replace(best, moves=moves)


def _dear(snapshot: Snapshot, found: Plan) -> Iterator[Pool]:
    """Pools for which large VMs may be dear, and whose VMs become larger or more."""
    hypervisors = {hypervisor.name: hypervisor for hypervisor in snapshot.hypervisors}
    changed = _largest(snapshot, found)
    for pool in snapshot.pools:
        hypervisor = hypervisors.get(pool.spec.hypervisor)
        if pool.name not in changed or hypervisor is None:
            continue
        spare = (
            pool.spec.survive.hosts > 0
            and hypervisor.hosts is not None
            and not hypervisor.capabilities.high_availability
        )
        if spare or pool.spec.size.cpu.step >= _COARSE:
            yield pool


def _largest(snapshot: Snapshot, found: Plan) -> dict[str, int]:
    """By pool: millicores of the largest VM that is launched or grown."""
    owners = {vm.name: vm.pool for vm in snapshot.vms}
    largest: dict[str, int] = {}
    for move in found.moves:
        if move.vm is not None:
            pool, cpu = move.vm.pool, move.vm.size.cpu
        elif move.kind is Lever.GROW and move.size is not None:
            pool, cpu = owners.get(move.subject.removeprefix("vm/")) or "", move.size.cpu
        else:
            continue
        largest[pool] = max(largest.get(pool, 0), cpu)
    return largest


def _caps(pools: list[Pool], largest: Mapping[str, int]) -> Iterator[dict[str, int]]:
    seen = [{pool.name: largest[pool.name] for pool in pools}]
    for parts in _PARTS:
        for up in (1, 0):
            caps = {pool.name: _offered(pool, largest[pool.name], parts, up) for pool in pools}
            if caps not in seen:
                seen.append(caps)
                yield caps


def _offered(pool: Pool, largest: int, parts: int, up: int) -> int:
    """A part of the largest size, on the next step up or down."""
    cpu = pool.spec.size.cpu
    low, step = cpu.min * 1000, cpu.step * 1000
    steps, rest = divmod(max(0, -(-largest // parts) - low), step)
    return min(low + (steps + (up if rest else 0)) * step, largest)


def _rank(plan: Plan) -> tuple[int, int, int, int, int]:
    """Least first: what lacks a place, promises broken, workloads that lack, cost, VMs.

    That expendable pods lack one is no reason for more VMs.
    """
    return (
        len(_lacking(plan)),
        len(plan.survival),
        sum(bool(verdict.message) for verdict in plan.workloads),
        plan.cost.after,
        len(plan.vms),
    )


def _places(first: Plan, other: Plan) -> bool:
    """Whether a plan finds places for all pods for which the first one does.

    Numbers will not do: small VMs may carry more pods, and the large ones never.
    """
    return _lacking(other) <= _lacking(first)


def _lacking(plan: Plan) -> set[str]:
    return {u.pod for u in plan.unplaced if u.reason is not Reason.EXPENDABLE}


def _told_as(first: Plan, other: Plan) -> Plan:
    """A plan that says of pods without a place what the first says: that knows no caps."""
    known = {unplaced.pod: unplaced for unplaced in first.unplaced}
    unplaced = tuple(known.get(unplaced.pod, unplaced) for unplaced in other.unplaced)
    return msgspec.structs.replace(other, unplaced=unplaced)


def _told(move: Move, best: Plan, others: list[Plan]) -> Move:
    assert move.vm is not None
    alternatives = (_rejected(move.vm.pool, best, other) for other in others)
    return msgspec.structs.replace(move, rejected=(*move.rejected, *alternatives))


def _rejected(pool: str, best: Plan, other: Plan) -> Rejected:
    launches = [move.vm for move in other.moves if move.vm is not None]
    sizes = ", ".join(
        f"{number} of {size}"
        for size, number in Counter(wording.size(vm.size) for vm in launches).items()
    )
    subject = f"vmpool/{pool}"
    if _rank(other)[:3] != _rank(best)[:3]:
        return Rejected(
            lever=Lever.LAUNCH,
            subject=subject,
            reason=Reason.SURVIVAL,
            message=f"VMs ({sizes}) would not carry all, or not after the promised loss",
        )
    price = other.cost.after - other.cost.before
    planned = best.cost.after - best.cost.before
    return Rejected(
        lever=Lever.LAUNCH,
        subject=subject,
        reason=Reason.COSTLIER if price > planned else Reason.MORE_VMS,
        message=f"VMs ({sizes}) would cost {wording.money(price)} in all, those planned "
        f"{wording.money(planned)}",
        cost=price,
    )
