"""Emptying VMs: do their containers have other places, and is it worth it?

Tried out on the fleet itself; whoever tries takes it back or keeps it.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from plimsoll.decide import cost, survival
from plimsoll.decide.classes import PodClass, Rules
from plimsoll.decide.columns import Bools
from plimsoll.decide.fleet import Bin
from plimsoll.decide.placing import Placer
from plimsoll.decide.plan import Reason, Refusal
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


class Emptying:
    """Empties sets of VMs on the placer's fleet."""

    def __init__(self, placer: Placer, roster: Roster) -> None:
        self._placer = placer
        self._fleet = placer.fleet
        self._roster = roster
        self._survived = survival.kept(self._fleet)
        """Pools whose promise held when the search began."""
        self._redundant: dict[str, bool] = {}
        """Whether a workload's promise held then."""
        self._unsettled = {
            rules: set(slots.tolist()) for rules, slots in placer.filters.unsettled_slots()
        }

    def movable(self, target: Bin) -> dict[tuple[PodClass, str | None], list[str]]:
        """Keys of the containers that must go elsewhere, by class and workload.

        DaemonSet pods go with the VM, pods on their way out go anyway, and expendable ones
        are nobody's loss.
        """
        fleet, found = self._fleet, {}  # type: ignore[var-annotated]
        cutoff = fleet.snapshot.expendable_below
        for key in target.pods:
            pod = fleet.pods.get(key)
            if pod is None or pod.daemon or pod.terminating or pod.shape.priority < cutoff:
                continue
            kind = fleet.classes.of(target.shape(key))
            found.setdefault((kind, pod.workload), []).append(key)
        return found

    def stuck(self, target: Bin) -> bool:
        """Whether its hardest container finds no place anywhere else; a quick look."""
        movable = self.movable(target)
        if not movable:
            return False
        kind, _ = min(movable, key=lambda group: group[0].order)
        return not self._placer.takes(kind, besides=target)

    def run(self, targets: Sequence[Bin], why: str, *, may_launch: bool) -> Emptied | None:
        """Empties the VMs and closes them; None: their containers have no other places.

        In between nothing is taken back: the caller rolls back.
        """
        fleet = self._fleet
        before = self._cost()
        groups = [(target, self.movable(target)) for target in targets]
        for target in targets:
            fleet.set_accepts(target, False)
        waiting = [
            (kind.order, kind, workload, target, keys)
            for target, movable in groups
            for (kind, workload), keys in movable.items()
        ]
        waiting.sort(key=lambda item: (item[0], item[3].slot))
        for *_, keys in waiting:
            for key in keys:
                fleet.take(key)
        for _, kind, workload, target, keys in waiting:
            within = self._beside(kind.rules, target)
            found = self._placer.move_all(
                keys,
                kind.shape,
                self._roster.preference(workload),
                within,
                why,
                may_launch=may_launch and within is None,
            )
            if not found:
                return None
        homes: dict[str, Tally[str]] = {target.name: Tally() for target in targets}
        moved = 0
        for *_, target, keys in waiting:
            homes[target.name].update(fleet.where[key] for key in keys)
            moved += len(keys)
        for target in targets:
            for key in list(target.pods):
                fleet.take(key)
            fleet.close(target.name)
        return Emptied(tuple(targets), before - self._cost(), moved, homes)

    def broken(
        self, emptied: Emptied, moved: Iterable[tuple[PodClass, str | None]]
    ) -> Refusal | None:
        """Which promise or rule that held is broken now that the VMs are gone."""
        subject = f"vm/{emptied.targets[0].name}"
        broken = survival.first_broken(self._fleet, self._survived)
        if broken:
            return Refusal(guard=Reason.SURVIVAL, subject=subject, message=broken)
        moved = list(moved)
        for key in sorted({key for _, key in moved if key is not None}):
            workload = self._roster.workloads.get(key)
            if workload is None or not self._redundant.get(key, False):
                continue
            kept, message = self._roster.redundancy(workload)
            if not kept:
                return Refusal(
                    guard=Reason.REDUNDANCY, subject=subject, message=f"{key}: {message}"
                )
        touched = self._touched(kind.rules for kind, _ in moved)
        for rules in touched:
            if not self._unsettled.get(rules, set()).issuperset(self._slots(rules)):
                return Refusal(
                    guard=Reason.SPREAD,
                    subject=subject,
                    message="elsewhere its containers would be spread unevenly, or others left "
                    "without what they must be near",
                )
        return None

    def look(self, keys: Iterable[str | None]) -> None:
        """Notes which of these workloads' promises hold, before anything is tried with them."""
        for key in keys:
            workload = self._roster.workloads.get(key or "")
            if workload is not None and workload.key not in self._redundant:
                self._redundant[workload.key] = self._holds(workload)

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
        for key in sorted(rules.pods.wanted):
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
