"""VMs made smaller where the hypervisor guarantees that this is safe (lever Shrink)."""

from __future__ import annotations

from plimsoll.decide import cost, guards, survival, wording
from plimsoll.decide.placing import Placer
from plimsoll.decide.plan import Lever, Move, Reason, Refusal, Size
from plimsoll.decide.waiting import Waiting
from plimsoll.world.snapshot import Pool


class Shrinking:
    """Shrinks VMs on the placer's fleet."""

    def __init__(self, placer: Placer, waiting: Waiting) -> None:
        self._placer = placer
        self._fleet = placer.fleet
        self._waiting = waiting

    def moves(self, pool: Pool) -> list[Move]:
        """Makes VMs smaller where the hypervisor guarantees that this is safe."""
        hypervisor = self._fleet.hypervisors.get(pool.spec.hypervisor)
        if hypervisor is None or not hypervisor.capabilities.hot_remove:
            return []
        moves = []
        for target in self._fleet.of_pool(pool.name):
            size = self._fleet.sizes[pool.name].smallest(target.cpu_used, target.memory_used)
            if size is None or target.vm is None:
                continue
            size = Size(cpu=min(size.cpu, target.cpu), memory=min(size.memory, target.memory))
            if (size.cpu, size.memory) == (target.cpu, target.memory):
                continue
            refusal = guards.grow(self._fleet, target, cpu=False, memory=False)
            quiet_for = self._placer.now - target.vm.quiet_since
            if refusal is None and quiet_for < pool.spec.disruption.consolidate_after:
                refusal = Refusal(
                    guard=Reason.NOT_QUIET,
                    subject=f"vm/{target.name}",
                    message=f"its pods changed {quiet_for:.0f} s ago",
                )
                self._waiting.note(pool, target, refusal)
            if refusal is not None:
                self._placer.refuse(refusal)
                continue
            before = target.size
            kept = survival.kept(self._fleet)
            self._fleet.resize_bin(target, size)
            if survival.first_broken(self._fleet, kept):
                self._fleet.resize_bin(target, before)
                continue
            if target.name in self._placer.grown:
                # It grows in one resource and shrinks in the other: one move says both.
                continue
            moves.append(
                Move(
                    kind=Lever.SHRINK,
                    subject=f"vm/{target.name}",
                    uid=target.vm.uid,
                    source=wording.size(before),
                    target=wording.size(size),
                    host=target.host,
                    size=size,
                    cost=cost.of_bin(target) - cost.of_bin(target, before),
                    reason="its containers fit under the line of a smaller VM",
                    deferred=self._waiting.under_way(pool),
                )
            )
        return moves
