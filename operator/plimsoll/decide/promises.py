"""VMs that survival promises need (levers Grow and Launch).

Where the hypervisor does not restart lost VMs, the containers of a lost host
must find room on the VMs that are left: these are made larger, or one is added.
"""

from __future__ import annotations

from plimsoll.decide import guards, survival
from plimsoll.decide.fleet import Bin
from plimsoll.decide.placing import Placer, Story
from plimsoll.decide.plan import Lever, Reason, Refusal, Rejected, Size

_MEMORY = (0, 1)
_CPU = (1, 0)


class Promises:
    """Keeps the pools' survival promises on the placer's fleet."""

    def __init__(self, placer: Placer) -> None:
        self._placer = placer
        self._fleet = placer.fleet

    def keep(self) -> None:
        """Heals what can be healed, pool by pool; what cannot is left as it is."""
        for name, pool in sorted(self._fleet.pools.items()):
            hypervisor = self._fleet.hypervisors.get(pool.spec.hypervisor)
            if hypervisor is None or hypervisor.capabilities.high_availability:
                continue
            spares: list[Bin] = []
            while broken := survival.broken(self._fleet, name):
                reason = f"survive.hosts: {broken}"
                if self._grow(name, reason):
                    break
                spare = self._placer.launch_empty(name, reason)
                if isinstance(spare, Refusal):
                    # Part of a remedy that does not heal is only cost.
                    for spare in reversed(spares):
                        self._placer.cancel_launch(spare)
                    break
                self._placer.launched[spare.name].rejected = (_not_grown(name),)
                spares.append(spare)

    def _grow(self, name: str, reason: str) -> bool:
        """Whether the pool's VMs made larger would do; they are then made no larger than needed."""
        targets = [
            b
            for b in self._fleet.of_pool(name)
            if guards.grow(self._fleet, b, cpu=True, memory=True) is None
        ]
        before = {b.name: Size(cpu=b.cpu, memory=b.memory) for b in targets}
        if not self._enlarge(name, targets, before):
            return False
        for target in targets:
            self._trim(name, target, before[target.name])
        for target in targets:
            after = Size(cpu=target.cpu, memory=target.memory)
            if after != before[target.name]:
                self._fleet.resize_bin(target, before[target.name])
                self._placer.grow(target, after, Story(reason=reason, rejected=()))
        return True

    def _enlarge(self, name: str, targets: list[Bin], before: dict[str, Size]) -> bool:
        """Adds memory alone, then CPUs alone, then both, step by step, until it is enough."""
        for steps in ((_MEMORY,), (_CPU,), (_MEMORY, _CPU)):
            while survival.broken(self._fleet, name):
                if sum(self._placer.step(b, *step) for b in targets for step in steps) == 0:
                    break
            if not survival.broken(self._fleet, name):
                return True
            for target in targets:
                self._fleet.resize_bin(target, before[target.name])
        return False

    def _trim(self, name: str, target: Bin, before: Size) -> None:
        """Takes back the steps that one VM does not need, but none that it had before."""
        for cpu, memory in ((-1, 0), (0, -1)):
            while (cpu and target.cpu > before.cpu) or (memory and target.memory > before.memory):
                at = Size(cpu=target.cpu, memory=target.memory)
                if not self._placer.step(target, cpu, memory):
                    break
                if survival.broken(self._fleet, name):
                    self._fleet.resize_bin(target, at)
                    break


def _not_grown(pool: str) -> Rejected:
    return Rejected(
        lever=Lever.GROW,
        subject=f"vmpool/{pool}",
        reason=Reason.SURVIVAL,
        message="its VMs on the hosts that are left cannot grow enough to take what would be lost",
    )
