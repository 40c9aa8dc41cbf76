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
_BOTH = (_MEMORY, _CPU)


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
            self._heal(name)

    def _heal(self, name: str) -> None:
        """Makes VMs larger, or adds some: twice as many each time, less what is not needed."""
        spares: list[Bin] = []
        more = 1
        while broken := survival.broken(self._fleet, name):
            reason = f"survive.hosts: {broken}"
            if self._grow(name, reason):
                break
            if not more:
                # Part of a remedy that does not heal is only cost.
                for spare in reversed(spares):
                    self._placer.cancel_launch(spare)
                return
            added = self._launch(name, reason, more)
            spares += added
            more = 2 * more if len(added) == more else 0
        while len(spares) > 1 and self._is_needless(name, spares[-1]):
            spares.pop()

    def _launch(self, name: str, reason: str, number: int) -> list[Bin]:
        """Adds so many VMs, fewer if no more can be had."""
        added: list[Bin] = []
        while len(added) < number:
            spare = self._placer.launch_empty(name, reason)
            if isinstance(spare, Refusal):
                break
            self._placer.launched[spare.name].rejected = (_not_grown(name),)
            added.append(spare)
        return added

    def _is_needless(self, name: str, spare: Bin) -> bool:
        """Whether the promise is kept without this VM, which is then there no more."""
        mark = self._fleet.mark()
        self._placer.cancel_launch(spare)
        if survival.holds(self._fleet, name):
            self._fleet.commit()
            return True
        self._fleet.rollback(mark)
        return False

    def _grow(self, name: str, reason: str) -> bool:
        """Whether the pool's VMs made larger would do; they are then made no larger than needed."""
        targets = [
            b
            for b in self._fleet.of_pool(name)
            if guards.grow(self._fleet, b, cpu=True, memory=True) is None
        ]
        before = {b.name: b.size for b in targets}
        if not self._enlarge(name, targets, before):
            return False
        self._trim(name, targets, before)
        for target in targets:
            after = target.size
            if after != before[target.name]:
                self._fleet.resize_bin(target, before[target.name])
                self._placer.grow(target, after, Story(reason=reason, rejected=()))
        return True

    def _enlarge(self, name: str, targets: list[Bin], before: dict[str, Size]) -> bool:
        """Adds memory alone, then CPUs alone, then both, step by step, until it is enough."""
        if not self._enough(name, targets, before, _BOTH):
            return False
        for steps in ((_MEMORY,), (_CPU,)):
            self._restore(targets, before)
            if self._enough(name, targets, before, steps):
                return True
        return self._enough(name, targets, before, _BOTH)

    def _enough(
        self,
        name: str,
        targets: list[Bin],
        before: dict[str, Size],
        steps: tuple[tuple[int, int], ...],
    ) -> bool:
        """Adds such steps to all until it is enough; if it never is, all is as before."""
        while not survival.holds(self._fleet, name):
            if sum(self._placer.step(b, *step) for b in targets for step in steps) == 0:
                self._restore(targets, before)
                return False
        return True

    def _restore(self, targets: list[Bin], sizes: dict[str, Size]) -> None:
        for target in targets:
            if target.size != sizes[target.name]:
                self._fleet.resize_bin(target, sizes[target.name])

    def _trim(self, name: str, targets: list[Bin], before: dict[str, Size]) -> None:
        """Takes back what is not needed, of the first VMs first; of many at once where it may."""
        larger = {target.name: target.size for target in targets}
        self._restore(targets, before)
        if survival.holds(self._fleet, name):
            return
        self._restore(targets, larger)
        if len(targets) == 1:
            self._trim_one(name, targets[0], before[targets[0].name])
            return
        middle = len(targets) // 2
        self._trim(name, targets[:middle], before)
        self._trim(name, targets[middle:], before)

    def _trim_one(self, name: str, target: Bin, before: Size) -> None:
        """Takes back the steps that one VM does not need, but none that it had before."""
        for cpu, memory in ((-1, 0), (0, -1)):
            while (cpu and target.cpu > before.cpu) or (memory and target.memory > before.memory):
                at = target.size
                if not self._placer.step(target, cpu, memory):
                    break
                if not survival.holds(self._fleet, name):
                    self._fleet.resize_bin(target, at)
                    break


def _not_grown(pool: str) -> Rejected:
    return Rejected(
        lever=Lever.GROW,
        subject=f"vmpool/{pool}",
        reason=Reason.SURVIVAL,
        message="its VMs on the hosts that are left cannot grow enough to take what would be lost",
    )
