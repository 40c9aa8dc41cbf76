"""Emptying VMs: do their containers have other places, and is it worth it?

Tried out on the fleet itself; whoever tries takes it back or keeps it.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from plimsoll.decide import cost, survival, wording
from plimsoll.decide.classes import PodClass, Rules
from plimsoll.decide.columns import Bools
from plimsoll.decide.crowding import Crowding
from plimsoll.decide.fleet import Bin
from plimsoll.decide.placing import Placer
from plimsoll.decide.plan import Lever, Move, Reason, Refusal, Rejected
from plimsoll.decide.roster import Roster
from plimsoll.world.snapshot import Workload


@dataclass
class Emptied:
    """VMs that were emptied and closed on the fleet."""

    targets: tuple[Bin, ...]
    saved: int
    """Thousandths of the pools' unit: what they cost, less what others cost more for it."""
    moved: int
    """Containers that are disrupted."""
    homes: dict[str, Tally[str]] = field(default_factory=dict)
    """By VM emptied: where its containers went."""

    @property
    def worth(self) -> int:
        """What is saved, less the penalty on disruption."""
        return self.saved - cost.DISRUPTION_PENALTY * self.moved

    def carried(self, target: Bin) -> tuple[int, str]:
        """How many containers a VM carried, and where they went: ``2 to web-4, 1 to web-6``."""
        homes = self.homes[target.name]
        where = ", ".join(f"{count} to {name}" for name, count in sorted(homes.items()))
        return sum(homes.values()), where


def retirement(
    target: Bin, reason: str, *, rejected: tuple[Rejected, ...] = (), drifted: bool = False
) -> Move:
    """The move that drains and deletes a VM of ours."""
    assert target.vm is not None
    return Move(
        kind=Lever.RETIRE,
        subject=f"vm/{target.name}",
        uid=target.vm.uid,
        source=wording.size(target.size),
        host=target.host,
        cost=-cost.of_bin(target),
        reason=reason,
        rejected=rejected,
        drifted=drifted,
    )


class Group(NamedTuple):
    """Containers of one class and workload on one VM."""

    source: Bin
    kind: PodClass
    workload: str | None
    keys: list[str]


class Emptying:
    """Empties sets of VMs on the placer's fleet."""

    def __init__(self, placer: Placer, roster: Roster) -> None:
        self._placer = placer
        self._fleet = placer.fleet
        self._roster = roster
        self._crowding = Crowding(self._fleet)
        self._survived = survival.kept(self._fleet)
        """Pools whose promise held when the search began."""
        self._redundant: dict[str, bool] = {}
        """Whether a workload's promise held then."""
        self._unsettled: dict[Rules, set[int]] = {}
        """VMs with pods that were not as their rules ask before anything was tried."""

    def movable(self, target: Bin) -> list[Group]:
        """The containers that must go elsewhere, by class and workload.

        DaemonSet pods go with the VM, pods on their way out go anyway, and expendable ones
        are nobody's loss.
        """
        fleet = self._fleet
        found: dict[tuple[str, str | None], list[str]] = {}
        cutoff, pods, resized = fleet.snapshot.expendable_below, fleet.pods, target.resized
        kinds: dict[str, PodClass] = {}
        for key, shape in target.pods.items():
            pod = pods.get(key)
            if pod is None or pod.daemon or pod.terminating or shape.priority < cutoff:
                continue
            if key in resized:
                shape = target.shape(key)
            group = (shape.key, pod.workload)
            keys = found.get(group)
            if keys is None:
                kinds[shape.key] = fleet.classes.of(shape)
                found[group] = [key]
            else:
                keys.append(key)
        return [
            Group(target, kinds[shape], workload, keys) for (shape, workload), keys in found.items()
        ]

    def stuck(self, groups: Sequence[Group]) -> bool:
        """Whether some containers of a VM find no place anywhere else; a quick look.

        Room is looked for for all of them, a place by all rules for the hardest.
        """
        if not groups:
            return False
        cpu, memory = Tally[int](), Tally[int]()
        for group in groups:
            cpu[group.kind.cpu] += len(group.keys)
            memory[group.kind.memory] += len(group.keys)
        if self._crowding.lacks_room(cpu, memory, groups[0].source):
            return True
        hardest = min(groups, key=lambda group: group.kind.order)
        return not self._placer.takes(hardest.kind, besides=hardest.source)

    def run(
        self, targets: Sequence[Bin], groups: Sequence[Group], why: str, *, may_launch: bool
    ) -> Emptied | None:
        """Empties the VMs and closes them; None: their containers have no other places.

        In between nothing is taken back: the caller rolls back.
        """
        fleet = self._fleet
        before = self._cost()
        for target in targets:
            fleet.set_accepts(target, False)
        groups = sorted(groups, key=lambda group: (group.kind.order, group.source.slot))
        for group in groups:
            if group.source.resized:
                for key in group.keys:
                    fleet.take(key)
            else:
                fleet.take_all(group.keys, group.kind, group.source)
        for group in groups:
            within = self._beside(group.kind.rules, group.source)
            found = self._placer.move_all(
                group.keys,
                group.kind.shape,
                self._roster.preference(group.workload),
                within,
                why,
                may_launch=may_launch and within is None,
            )
            if not found:
                return None
        homes: dict[str, Tally[str]] = {target.name: Tally() for target in targets}
        for group in groups:
            homes[group.source.name].update([fleet.where[key] for key in group.keys])
        for target in targets:
            for key in list(target.pods):
                fleet.take(key)
            fleet.close(target.name)
        moved = sum(len(group.keys) for group in groups)
        return Emptied(tuple(targets), before - self._cost(), moved, homes)

    def broken(self, emptied: Emptied, groups: Sequence[Group]) -> Refusal | None:
        """Which promise or rule that held is broken now that the VMs are gone."""
        subject = f"vm/{emptied.targets[0].name}"
        broken = survival.first_broken(self._fleet, self._survived)
        if broken:
            return Refusal(guard=Reason.SURVIVAL, subject=subject, message=broken)
        for key in sorted({g.workload for g in groups if g.workload is not None}):
            workload = self._roster.workloads.get(key)
            if workload is None or not self._redundant.get(key, False):
                continue
            kept, message = self._roster.redundancy(workload)
            if not kept:
                return Refusal(
                    guard=Reason.REDUNDANCY, subject=subject, message=f"{key}: {message}"
                )
        for rules in self._touched(group.kind.rules for group in groups):
            if not self._unsettled[rules].issuperset(self._slots(rules)):
                return Refusal(
                    guard=Reason.SPREAD,
                    subject=subject,
                    message="elsewhere its containers would be spread unevenly, or others left "
                    "without what they must be near",
                )
        return None

    def look(self, groups: Sequence[Group]) -> None:
        """Notes which workloads' promises hold, before anything is tried with their pods."""
        for group in groups:
            workload = self._roster.workloads.get(group.workload or "")
            if workload is not None and workload.key not in self._redundant:
                self._redundant[workload.key] = self._holds(workload)
        for rules in self._touched(group.kind.rules for group in groups):
            if rules not in self._unsettled:
                self._unsettled[rules] = self._slots(rules)

    def _holds(self, workload: Workload) -> bool:
        return workload.spec.redundancy.survive > 0 and self._roster.redundancy(workload)[0]

    def _slots(self, rules: Rules) -> set[int]:
        slots = self._placer.filters.unsettled_of(rules)
        return set(slots.tolist()) if slots is not None else set()

    def _touched(self, moved: Iterable[Rules]) -> list[Rules]:
        """Rules that count, or are, the pods moved."""
        found: dict[Rules, None] = {}
        for rules in moved:
            for other in (rules, *rules.pods.counted_by()):
                found.setdefault(other)
        return list(found)

    def _beside(self, rules: Rules, source: Bin) -> Bools | None:
        """VMs in the same domains, where others must be near such pods; None: it matters not."""
        mask: Bools | None = None
        columns = self._fleet.columns
        for key in rules.wanted_near():
            column = columns.label(key)
            same = column.codes == column.codes[source.slot]
            mask = same if mask is None else mask & same
        return mask

    def _cost(self) -> int:
        """Cost of all VMs of pools, to the MiB."""
        columns, total = self._fleet.columns, 0
        for name, pool in self._fleet.pools.items():
            code = self._fleet.pool_of.known(name)
            if not code:
                continue
            mine = columns.is_open & (self._fleet.pool_of.codes == code)
            total += int(np.sum(cost.of_sizes(pool.spec, columns.cpu[mine], columns.memory[mine])))
        return total
