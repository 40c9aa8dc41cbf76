"""VMs that were made from another template than their pool has now (lever Retire, drifted).

One after the other they give way to VMs of the new template: what they carry must have
places first, so a new VM is launched before an old one is drained, where the pool may have
one more. Where it may not, only a VM whose containers fit elsewhere goes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from plimsoll.api.bootstrap import Bootstrap
from plimsoll.decide import guards
from plimsoll.decide.emptying import Emptied, Emptying, retirement
from plimsoll.decide.fleet import Bin, is_leaving
from plimsoll.decide.placing import Placer
from plimsoll.decide.plan import Move, Reason, Refusal
from plimsoll.decide.roster import Roster
from plimsoll.decide.waiting import Waiting
from plimsoll.world.snapshot import Pool, Vm


def drift(vm: Vm, pool: Pool) -> str:
    """In what a VM differs from its pool's template such that only another can follow.

    Paths of fields, separated by commas; empty: in nothing.
    """
    made, wanted = vm.template, pool.spec.template
    if made is None:
        return ""
    # An absent bootstrap means the usual one.
    parts = [
        *_differing(made.libvirt, wanted.libvirt, "template.libvirt"),
        *_differing(
            made.bootstrap or Bootstrap(), wanted.bootstrap or Bootstrap(), "template.bootstrap"
        ),
    ]
    return ", ".join(parts)


def _differing(made: Any, wanted: Any, path: str) -> list[str]:
    if made == wanted:
        return []
    if made is None or wanted is None:
        return [path]
    fields = type(wanted).model_fields
    return [
        f"{path}.{field.alias or name}"
        for name, field in fields.items()
        if getattr(made, name) != getattr(wanted, name)
    ]


class Drifting:
    """Replaces VMs on the placer's fleet."""

    def __init__(self, placer: Placer, roster: Roster, waiting: Waiting) -> None:
        self._placer = placer
        self._fleet = placer.fleet
        self._waiting = waiting
        self._emptying = Emptying(placer, roster)

    def moves(self, pools: Iterable[Pool]) -> list[Move]:
        """VMs to be retired because they drifted, those that must wait among them."""
        found: list[Move] = []
        for pool in pools:
            found += self._of_pool(pool)
        return found

    def _of_pool(self, pool: Pool) -> list[Move]:
        drifted = [
            (target, parts)
            for target in self._fleet.of_pool(pool.name)
            if target.vm is not None and not target.leaving and (parts := drift(target.vm, pool))
        ]
        if not drifted:
            return []
        if pool.spec.update_strategy == "OnDelete":
            self._tell_on_delete(drifted)
            return []
        leaving = sum(vm.pool == pool.name and is_leaving(vm) for vm in self._fleet.snapshot.vms)
        found: list[Move] = []
        # Emptiest first, so that few containers move before it shows whether the template is good.
        for target, parts in sorted(drifted, key=lambda item: (len(item[0].pods), item[0].name)):
            if leaving + len(found) >= pool.spec.disruption.max_unavailable:
                break
            others = [other for other, _ in drifted if other is not target]
            emptied = self._replaced(pool, target, parts, others)
            if emptied is not None:
                found.append(_move(target, emptied, parts))
        wait = self._waiting.under_way(pool)
        return [msgspec.structs.replace(move, deferred=wait) for move in found]

    def _replaced(self, pool: Pool, target: Bin, parts: str, others: list[Bin]) -> Emptied | None:
        """The VM emptied on the fleet; None: it stays for now, and it is told why.

        ``others`` drifted, too.
        """
        fleet = self._fleet
        pods = [p for p in fleet.pods_of(target) if not p.daemon and not p.terminating]
        refusal = guards.replace(fleet, target, pods, fleet.snapshot.budgets, self._placer.now)
        if refusal is not None:
            self._placer.refuse(refusal)
            self._waiting.note(pool, target, refusal)
            return None
        spec = pool.spec
        most = spec.nodes.max if spec.replicas is None else spec.replicas
        may_launch = fleet.census[pool.name].total < most
        # Onto VMs that are to go as well only if need be: else containers move twice.
        for shunned in (others, []) if may_launch and others else ([],):
            mark = fleet.mark()
            outcome = self._emptied(pool, target, parts, shunned, may_launch)
            if isinstance(outcome, Emptied):
                fleet.commit()
                return outcome
            fleet.rollback(mark)
            refusal = outcome
        if refusal is not None:
            self._placer.refuse(refusal)
        return None

    def _emptied(
        self, pool: Pool, target: Bin, parts: str, shunned: list[Bin], may_launch: bool
    ) -> Emptied | Refusal:
        """Empties the VM, with another one launched for it where that is needed."""
        fleet, census, spec = self._fleet, self._fleet.census[pool.name], pool.spec
        why = f"takes the place of {target.name}, which drifted from its pool's template"
        groups = self._emptying.movable(target)
        self._emptying.look(groups)
        accepting = [other for other in shunned if other.accepts]
        for other in accepting:
            fleet.set_accepts(other, False)
        emptied = self._emptying.run([target], groups, why, may_launch=may_launch)
        if emptied is None:
            return _no_place(target, parts, may_launch)
        least = spec.nodes.min if spec.replicas is None else spec.replicas
        if may_launch and census.total < least:
            spare = self._placer.launch_empty(pool.name, why)
            if isinstance(spare, Refusal):
                return spare
        for other in accepting:
            fleet.set_accepts(other, True)
        return self._emptying.broken(emptied, groups) or emptied

    def _tell_on_delete(self, drifted: list[tuple[Bin, str]]) -> None:
        for target, parts in drifted:
            self._placer.refuse(
                Refusal(
                    guard=Reason.DRIFTED,
                    subject=f"vm/{target.name}",
                    message=f"it differs from its pool in {parts}, and updateStrategy is OnDelete: "
                    "delete its VMNode to have it replaced",
                )
            )


def _no_place(target: Bin, parts: str, may_launch: bool) -> Refusal:
    lacks = (
        "not even with one more VM"
        if may_launch
        else "and the pool may not have one more VM (raise nodes.max or replicas by one)"
    )
    return Refusal(
        guard=Reason.DRIFTED,
        subject=f"vm/{target.name}",
        message=f"it differs from its pool in {parts}, and its containers fit nowhere else, "
        f"{lacks}",
    )


def _move(target: Bin, emptied: Emptied, parts: str) -> Move:
    number, where = emptied.carried(target)
    carried = f"; its {number} containers move ({where})" if number else ""
    reason = f"{Reason.DRIFTED}: it differs from its pool in {parts}{carried}"
    return retirement(target, reason, drifted=True)
