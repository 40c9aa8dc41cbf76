"""VMs that the rest can do without, one by one and in sets (lever Retire).

A VM is retired only if every one of its containers has another place under the line,
no promise that holds now is broken by it, and what is saved is worth the disruption.
Sets are retired where their containers fit into fewer or smaller new VMs that cost
less: the new ones are launched first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import nsmallest
from itertools import islice
from typing import Any, Final

import msgspec

from plimsoll.decide import cost, guards, wording
from plimsoll.decide.effort import Effort
from plimsoll.decide.emptying import Emptied, Emptying, retirement
from plimsoll.decide.fleet import Bin
from plimsoll.decide.placing import Placer
from plimsoll.decide.plan import Lever, Move, Reason, Refusal, Rejected
from plimsoll.decide.roster import Roster
from plimsoll.decide.sizes import Sizes
from plimsoll.decide.waiting import Waiting
from plimsoll.world.snapshot import Pod, Pool

_REPLACE_PERCENT: Final = 40
"""New VMs must save at least this share of what those they replace cost: booting and
moving are not worth small change, and what is small today may have to grow tomorrow."""
_LARGEST_SET: Final = 128
"""VMs that are replaced together at most: so many drains one after the other take long."""
_PROMISE: Final = 5_000
"""Effort of finding out that a survival promise would be broken, in containers: a look at
every set of lost hosts takes as long as moving so many."""
_TOLD: Final = 20
"""VMs of which it is told why they stay although the rest could do without them."""

Order = Callable[[Bin], Any]


class Retiring:
    """Retires VMs on the placer's fleet."""

    def __init__(self, placer: Placer, roster: Roster, waiting: Waiting, effort: Effort) -> None:
        self._placer = placer
        self._fleet = placer.fleet
        self._roster = roster
        self._waiting = waiting
        self._effort = effort
        self._emptying = Emptying(placer, roster)

    def moves(self, pools: Iterable[Pool]) -> list[Move]:
        """VMs of these pools to be retired, those that must wait among them."""
        pools = list(pools)
        free, refused = self._candidates(pools)
        found = self._best_of_orders(free)
        for pool in pools:
            found += self._replace(pool, free)
        self._tell(refused)
        return self._written(pools, found)

    def _candidates(self, pools: list[Pool]) -> tuple[list[Bin], list[tuple[Bin, Refusal]]]:
        """VMs that guards let go, and those that they do not."""
        free, refused = [], []
        where, roster = self._fleet.where, self._roster
        added = [key for workload in roster.workloads.values() for key in roster.added(workload)]
        needed = {where[key] for key in added if key in where}
        everyone = [b for pool in pools for b in self._fleet.of_pool(pool.name)]
        memory = self._effort.memory
        for target in memory.turns(everyone) if memory is not None else everyone:
            if target.new or target.name in needed:
                continue
            refusal = self._refusal(target)
            if refusal is None:
                free.append(target)
            else:
                refused.append((target, refusal))
        return free, refused

    def _refusal(self, target: Bin) -> Refusal | None:
        """Why guards do not let a VM go."""
        budgets = self._fleet.snapshot.budgets
        return guards.retire(self._fleet, target, self._staying(target), budgets, self._placer.now)

    def _staying(self, target: Bin) -> Iterator[Pod]:
        """Its containers that would have to go elsewhere; looked at when they are asked for."""
        yield from (
            pod for pod in self._fleet.pods_of(target) if not pod.daemon and not pod.terminating
        )

    def _best_of_orders(self, free: list[Bin]) -> list[Emptied]:
        """Emptiest first, or dearest for its containers first: whatever ends up cheaper."""
        mark = self._fleet.mark()
        found = self._one_by_one(free, _emptiest)
        if len({cost.of_bin(target) for target in free}) < 2 or self._effort.spent:
            self._fleet.commit()
            return found
        worth = sum(emptied.worth for emptied in found)
        self._fleet.rollback(mark)
        mark = self._fleet.mark()
        other = self._one_by_one(free, _dearest)
        if sum(emptied.worth for emptied in other) > worth:
            found = other
        else:
            self._fleet.rollback(mark)
            mark = self._fleet.mark()
            found = self._one_by_one(free, _emptiest)
        self._fleet.commit()
        return found

    def _one_by_one(self, free: list[Bin], order: Order) -> list[Emptied]:
        """Retires one VM after the other; those that took in others' pods are tried last."""
        found: list[Emptied] = []
        waiting = sorted(free, key=order)
        while waiting:
            fuller: list[Bin] = []
            before = {target.slot: len(target.pods) for target in waiting}
            for target in waiting:
                if self._effort.spent:
                    return found
                if len(target.pods) > before[target.slot]:
                    fuller.append(target)
                    continue
                emptied = self._try([target])
                if emptied is not None:
                    found.append(emptied)
                elif self._effort.memory is not None:
                    self._effort.memory.failed(target)
            if len(fuller) == len(waiting):
                break
            waiting = sorted(fuller, key=order)
        return found

    def _try(self, targets: list[Bin], why: str = "", *, tell: bool = True) -> Emptied | None:
        """Retires VMs together, unless that is not possible or not worth it."""
        may_launch = bool(why)
        if not self._enough_left(targets):
            return None
        groups = [group for target in targets for group in self._emptying.movable(target)]
        if not may_launch and self._emptying.stuck(groups):
            return None
        self._emptying.look(groups)
        self._effort.spend(sum(len(target.pods) for target in targets))
        mark = self._fleet.mark()
        reason = why or f"takes the containers of {targets[0].name}, which is retired"
        emptied = self._emptying.run(targets, groups, reason, may_launch=may_launch)
        refusal = None
        if emptied is not None:
            refusal = self._emptying.broken(emptied, groups)
            if refusal is None and emptied.worth <= 0:
                refusal = Refusal(
                    guard=Reason.COSTLIER,
                    subject=f"vm/{targets[0].name}",
                    message="moving its containers costs more than the VM does",
                )
        if emptied is None or refusal is not None:
            self._fleet.rollback(mark)
            if refusal is not None and refusal.guard is Reason.SURVIVAL:
                self._effort.spend(_PROMISE)
            if refusal is not None and tell:
                self._placer.refuse(refusal)
            return None
        self._fleet.commit()
        return emptied

    def _enough_left(self, targets: list[Bin]) -> bool:
        """Whether each pool keeps its smallest count without these VMs."""
        for name in {target.pool.name for target in targets if target.pool is not None}:
            going = sum(target.pool is not None and target.pool.name == name for target in targets)
            spec = self._fleet.pools[name].spec
            least = spec.nodes.min if spec.replicas is None else spec.replicas
            if self._fleet.census[name].total - going < least:
                return False
        return True

    def _replace(self, pool: Pool, free: list[Bin]) -> list[Emptied]:
        """Of VMs that may go, retires sets that fewer or smaller new VMs replace for less."""
        hypervisor = self._fleet.hypervisors.get(pool.spec.hypervisor)
        if (
            pool.spec.replicas is not None
            or hypervisor is None
            or hypervisor.capabilities.hot_remove
            or self._waiting.under_way(pool)
        ):
            return []
        wasteful = sorted(
            (target for target in free if target.pool is pool and target.name in self._fleet.bins),
            key=_most_wasted,
        )
        # Others have gone since, and some have taken in their pods: guards are asked again.
        still_free = (target for target in wasteful if self._refusal(target) is None)
        free = list(islice(still_free, _LARGEST_SET))
        best: tuple[int, int] = (0, 0)
        number = 1
        while number <= len(free) and not self._effort.spent:
            spent = sum(cost.of_bin(target) for target in free[:number])
            if (spent - _least_cost(pool, free[:number])) * 100 < spent * _REPLACE_PERCENT:
                break
            mark = self._fleet.mark()
            emptied = self._try(free[:number], _REPLACED, tell=False)
            if (
                emptied is not None
                and emptied.saved * 100 >= spent * _REPLACE_PERCENT
                and emptied.worth > best[0]
            ):
                best = (emptied.worth, number)
            self._fleet.rollback(mark)
            number *= 2
        if not best[1]:
            return []
        chosen = self._try(free[: best[1]], _REPLACED, tell=False)
        return [chosen] if chosen is not None else []

    def _tell(self, refused: list[tuple[Bin, Refusal]]) -> None:
        """Notes why VMs stay that the rest could do without, and when to look again."""
        first = nsmallest(_TOLD, refused, key=lambda item: _emptiest(item[0]))
        memory = self._effort.memory
        known = memory.dispensable([target for target, _ in first]) if memory is not None else {}
        for target, refusal in first:
            if self._effort.spent:
                break
            if target.name not in self._fleet.bins or not self._enough_left([target]):
                continue
            possible = known.get(target.name)
            if possible is None:
                mark = self._fleet.mark()
                possible = self._try([target], tell=False) is not None
                self._fleet.rollback(mark)
                if memory is not None:
                    memory.asked(target, possible)
            if possible:
                self._placer.refuse(refusal)
        for target, refusal in refused:
            if target.pool is not None:
                self._waiting.note(target.pool, target, refusal)

    def _written(self, pools: list[Pool], found: list[Emptied]) -> list[Move]:
        moves: list[Move] = []
        for pool in pools if found else ():
            wait = self._waiting.under_way(pool)
            most = pool.spec.disruption.max_unavailable
            leaving = sum(
                vm.pool == pool.name and (vm.retiring or vm.phase in ("Draining", "Deleting"))
                for vm in self._fleet.snapshot.vms
            )
            for emptied in found:
                for target in emptied.targets:
                    if target.pool is None or target.pool.name != pool.name:
                        continue
                    deferred = wait
                    if not wait and leaving >= most:
                        deferred = f"disruption.maxUnavailable is {most}"
                    leaving += 1
                    move = _move(target, emptied)
                    moves.append(msgspec.structs.replace(move, deferred=deferred))
        return moves


_REPLACED = "takes the containers of VMs that it replaces, for it costs less"


def _move(target: Bin, emptied: Emptied) -> Move:
    number, where = emptied.carried(target)
    reason = (
        f"its {number} containers fit elsewhere under the line ({where})"
        if number
        else "it carries no containers"
    )
    rejected = (_not_shrunk(target, target.pool),) if target.pool is not None else ()
    return retirement(target, reason, rejected=rejected)


def _not_shrunk(target: Bin, pool: Pool) -> Rejected:
    """What a smaller VM would save instead."""
    least = Sizes.of(pool.spec).least
    change = cost.of_bin(target, least) - cost.of_bin(target)
    return Rejected(
        lever=Lever.SHRINK,
        subject=f"vm/{target.name}",
        reason=Reason.COSTLIER,
        message=f"at its smallest it would change the cost by {wording.money(change)} only",
        cost=change,
    )


def _least_cost(pool: Pool, targets: list[Bin]) -> int:
    """What VMs for the containers of these cost at least: one, without any gap."""
    line = pool.spec.density.load_line_percent
    cpu = sum(target.cpu_used for target in targets) * 100 // line
    memory = sum(target.memory_used for target in targets) * 100 // line
    return cost.of_size(pool.spec, cpu, memory)


def _share(target: Bin) -> float:
    return max(
        target.cpu_used / max(1, target.allocatable_cpu),
        target.memory_used / max(1, target.allocatable_memory),
    )


def _emptiest(target: Bin) -> tuple[float, int, str]:
    return _share(target), -cost.of_bin(target), target.name


def _dearest(target: Bin) -> tuple[float, float, str]:
    return -cost.of_bin(target) / (1 + len(target.pods)), _share(target), target.name


def _most_wasted(target: Bin) -> tuple[float, str]:
    return -cost.of_bin(target) * (1 - _share(target)), target.name
