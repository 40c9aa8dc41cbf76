"""Finding a place for a pod: on a VM as it is, on a VM made larger, on a new VM.

The order is the design's order of levers (Load, Grow, Launch). New VMs start as
small as their first pod allows and grow with what is put in, so that each is
sized to its contents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from plimsoll.decide import cost, guards, launching, survival, wording
from plimsoll.decide.filters import Filters, growth_needed, resources_reason
from plimsoll.decide.fleet import IN_FLIGHT, Bin, Fleet, smallest_size
from plimsoll.decide.plan import Lever, Reason, Refusal, Rejected, Size
from plimsoll.world.snapshot import PodShape, Resources

Preference = Callable[[Bin], tuple[int, ...]]
"""Orders bins before fullness does; smaller is better."""


class Apart(NamedTuple):
    """Where a replica must go if it can, because all others may be lost together."""

    allows: Callable[[Bin], bool]
    why: str


EXISTING = "existing VMs"


@dataclass
class Failure:
    """Why a pod found no place: by pool, and by existing VM."""

    reason: Reason
    why: dict[str, str]


@dataclass
class Story:
    """What happened to one VM during placing, for the move's explanation."""

    reason: str
    rejected: tuple[Rejected, ...]
    before: Size | None = None
    others: int = 0
    """Further pods for which it grew once more."""


class Placer:
    """Puts pods into a fleet, lever by lever, and remembers why."""

    def __init__(self, fleet: Fleet, filters: Filters, now: float) -> None:
        self.fleet = fleet
        self.filters = filters
        self.now = now
        self.grown: dict[str, Story] = {}
        self.launched: dict[str, Story] = {}
        self.refusals: dict[tuple[Reason, str], Refusal] = {}
        self._full: dict[str, dict[str, tuple[int, Reason]]] = {}
        """By pod shape and bin: why it was full, and its ``freed`` then."""
        self._hopeless: dict[str, Failure] = {}
        """Shapes for which no VM can be grown or launched. While pods are placed, hosts and
        pools only fill up, so what was hopeless once is hopeless for the next pod alike."""
        for target in list(fleet.bins.values()):
            self._expect_daemons(target)

    def place(
        self,
        key: str,
        shape: PodShape,
        prefer: Preference | None = None,
        apart: Apart | None = None,
    ) -> Bin | Failure:
        """Finds a place, making one if need be; apart from others if that can be had."""
        if apart is not None:
            found = self._find(key, shape, prefer, apart)
            if isinstance(found, Bin):
                return found
        return self._find(key, shape, prefer, None)

    def _find(
        self, key: str, shape: PodShape, prefer: Preference | None, apart: Apart | None
    ) -> Bin | Failure:
        reasons: Counter[Reason] = Counter()
        found = self.on_existing(shape, prefer, reasons, apart)
        if found is not None:
            self.fleet.put(key, shape, found)
            return found
        known = self._hopeless.get(shape.key)
        if known is not None:
            return known
        rejected = self._not_loaded(reasons)
        grown = self._by_growth(key, shape, prefer, rejected, apart)
        if isinstance(grown, Bin):
            return grown
        rejected = (*rejected, *grown)
        launched = self._by_launch(key, shape, prefer, rejected, apart)
        if isinstance(launched, Bin):
            return launched
        why = {pool: message for pool, (_, message) in launched.items()}
        if self.fleet.bins:
            why[EXISTING] = wording.tally(reasons)
        failure = Failure(reason=_main_reason(shape, launched, reasons), why=why)
        if apart is None and not (shape.spread or shape.affinity or shape.anti_affinity):
            self._hopeless[shape.key] = failure
        return failure

    def on_existing(
        self,
        shape: PodShape,
        prefer: Preference | None,
        reasons: Counter[Reason],
        apart: Apart | None = None,
    ) -> Bin | None:
        """The best VM that takes the pod as it is: preferred, then fullest, then by name."""
        best: tuple[tuple[int, ...], float, str] | None = None
        chosen: Bin | None = None
        full = self._full.setdefault(shape.key, {})
        for target in self.fleet.bins.values():
            if apart is not None and not apart.allows(target):
                reasons[Reason.REDUNDANCY] += 1
                continue
            known = full.get(target.name)
            if known is not None and known[0] == target.freed:
                reasons[known[1]] += 1
                continue
            reason = self.filters.static(shape, target)
            if reason is None:
                reason = resources_reason(target, shape.requests)
                if reason is not None:
                    full[target.name] = (target.freed, reason)
                else:
                    reason = self.filters.dynamic(shape, target)
            if reason is not None:
                reasons[reason] += 1
                continue
            rank = (prefer(target) if prefer else (), -_fullness(target), target.name)
            if best is None or rank < best:
                best, chosen = rank, target
        return chosen

    def grow_for(self, target: Bin, more: Resources, extra_pod: bool) -> Refusal | Size:
        """The size at which a VM takes so much more, if all guards agree; nothing is changed."""
        size = self._growth(target, more, extra_pod)
        return self._survivable(target, size) if isinstance(size, Size) else size

    def _growth(self, target: Bin, more: Resources, extra_pod: bool) -> Refusal | Size:
        """As ``grow_for``, but the survival promise is not looked at."""
        subject = f"vm/{target.name}"
        needed = growth_needed(target, more, extra_pod)
        if needed is None:
            return Refusal(
                guard=Reason.AT_MAX_SIZE,
                subject=subject,
                message="even at its largest size it would be above its load line",
            )
        refusal = guards.grow(
            self.fleet, target, needed.cpu > target.cpu, needed.memory > target.memory
        )
        if refusal is not None:
            return refusal
        room = self.fleet.room(target.hypervisor, target.host)
        if not room.has(needed.cpu - target.cpu, needed.memory - target.memory):
            return Refusal(
                guard=Reason.NO_HOST_ROOM,
                subject=subject,
                message=f"host {target.host} has no room for {wording.size(needed)}",
            )
        return needed

    def grow(self, target: Bin, to: Size, story: Story) -> None:
        """Makes a VM larger."""
        if not target.new:
            known = self.grown.setdefault(target.name, story)
            if known.before is None:
                known.before = Size(cpu=target.cpu, memory=target.memory)
        self.fleet.resize_bin(target, to)

    def launch_empty(self, pool: str, reason: str) -> Bin | Refusal:
        """One more VM of the pool, of the smallest size."""
        outcome = self._launch(pool, None, None)
        if isinstance(outcome, Bin):
            self.launched[outcome.name] = Story(reason=reason, rejected=())
            return outcome
        return Refusal(guard=outcome[0], subject=f"vmpool/{pool}", message=outcome[1])

    def step(self, target: Bin, cpu: int, memory: int) -> bool:
        """Changes a VM's size by so many steps; False if its pool or its host does not allow."""
        assert target.pool is not None
        cpus, bytes_ = target.pool.spec.size.cpu, target.pool.spec.size.memory
        size = Size(
            cpu=target.cpu + cpu * cpus.step * 1000, memory=target.memory + memory * bytes_.step
        )
        offered = (
            cpus.min * 1000 <= size.cpu <= cpus.max * 1000
            and bytes_.min <= size.memory <= bytes_.max
        )
        room = self.fleet.room(target.hypervisor, target.host)
        if not offered or not room.has(size.cpu - target.cpu, size.memory - target.memory):
            return False
        self.fleet.resize_bin(target, size)
        return True

    def launch_apart(self, key: str, shape: PodShape, apart: Apart) -> Bin | None:
        """A new VM for a pod that runs where it must not stay; the pod is not put there yet."""
        launched = self._by_launch(key, shape, None, (), apart)
        if not isinstance(launched, Bin):
            return None
        self.fleet.take(key)
        return launched

    def cancel_launch(self, target: Bin) -> None:
        """Takes back a launch that carries nothing but DaemonSet pods."""
        for key in list(target.pods):
            self.fleet.take(key)
        self.fleet.close(target.name)
        del self.launched[target.name]

    def refuse(self, refusal: Refusal) -> None:
        """Notes that a guard kept something from happening."""
        self.refusals.setdefault((refusal.guard, refusal.subject), refusal)

    def _survivable(self, target: Bin, needed: Size) -> Refusal | Size:
        kept = survival.kept(self.fleet)
        if not kept:
            return needed
        before = Size(cpu=target.cpu, memory=target.memory)
        self.fleet.resize_bin(target, needed)
        broken = survival.first_broken(self.fleet, kept)
        self.fleet.resize_bin(target, before)
        if broken:
            return Refusal(guard=Reason.SURVIVAL, subject=f"vm/{target.name}", message=broken)
        return needed

    def _by_growth(
        self,
        key: str,
        shape: PodShape,
        prefer: Preference | None,
        rejected: tuple[Rejected, ...],
        apart: Apart | None,
    ) -> Bin | tuple[Rejected, ...]:
        options: list[tuple[tuple[int, ...], int, bool, float, str, Bin, Size]] = []
        refused: list[Refusal] = []
        for target in self.fleet.bins.values():
            if target.pool is None or self.filters.static(shape, target) is not None:
                continue
            if apart is not None and not apart.allows(target):
                continue
            size = self._growth(target, shape.requests, extra_pod=True)
            if isinstance(size, Refusal):
                refused.append(size)
                continue
            if self.filters.dynamic(shape, target) is not None:
                continue
            price = cost.of_size(target.pool.spec, size.cpu, size.memory) - cost.of_size(
                target.pool.spec, target.cpu, target.memory
            )
            rank = prefer(target) if prefer else ()
            options.append(
                (rank, price, not target.new, -_fullness(target), target.name, target, size)
            )
        choice: tuple[Bin, Size] | None = None
        # Survival is dear to check, so only what would be chosen is checked.
        for *_, target, size in sorted(options, key=lambda option: option[:5]):
            checked = self._survivable(target, size)
            if isinstance(checked, Size):
                choice = (target, checked)
                break
            refused.append(checked)
        if choice is None:
            for refusal in refused:
                self.refuse(refusal)
            return tuple(
                Rejected(lever=Lever.GROW, subject=r.subject, reason=r.guard, message=r.message)
                for r in refused[:4]
            )
        target, size = choice
        reason = f"{key} ({wording.amount(shape.requests)}) does not go onto any VM under its line"
        known = self.grown.get(target.name) or self.launched.get(target.name)
        if known is not None:
            known.others += 1
        self.grow(target, size, Story(reason=reason, rejected=rejected))
        self.fleet.put(key, shape, target)
        return target

    def _by_launch(
        self,
        key: str,
        shape: PodShape,
        prefer: Preference | None,
        rejected: tuple[Rejected, ...],
        apart: Apart | None,
    ) -> Bin | dict[str, tuple[Reason, str]]:
        options: list[tuple[int, str]] = []
        lacks: dict[str, tuple[Reason, str]] = {}
        for name, pool in sorted(self.fleet.pools.items()):
            refusal = guards.launch(self.fleet, pool, self.now)
            if refusal is not None:
                lacks[name] = (refusal.guard, refusal.message)
                self.refuse(refusal)
                continue
            options.append((self._price(pool.name, shape), name))
        for _, name in sorted(options):
            outcome = self._launch(name, shape, prefer, apart)
            if isinstance(outcome, Bin):
                self.fleet.put(key, shape, outcome)
                self.launched[outcome.name] = Story(
                    reason=apart.why
                    if apart is not None
                    else f"{key} ({wording.amount(shape.requests)}) finds no place on any VM",
                    rejected=rejected,
                )
                return outcome
            lacks[name] = outcome
        return lacks

    def _price(self, pool: str, shape: PodShape) -> int:
        spec = self.fleet.pools[pool].spec
        size = smallest_size(spec, shape.requests.cpu, shape.requests.memory)
        if size is None:
            return 1 << 62
        return cost.of_size(spec, size.cpu, size.memory)

    def _launch(
        self,
        pool: str,
        shape: PodShape | None,
        prefer: Preference | None,
        apart: Apart | None = None,
    ) -> Bin | tuple[Reason, str]:
        target_pool = self.fleet.pools[pool]
        refusal = guards.launch(self.fleet, target_pool, self.now)
        if refusal is not None:
            self.refuse(refusal)
            return refusal.guard, refusal.message
        ready: list[tuple[tuple[int, ...], int, Bin, list[PodShape]]] = []
        lacks: list[launching.NoSite] = []
        for order, site in enumerate(launching.sites(self.fleet, target_pool, self.now)):
            try:
                target, daemons = launching.prepare(
                    self.fleet, self.filters, target_pool, shape, site
                )
            except launching.NoSite as lack:
                lacks.append(lack)
                continue
            if apart is None or apart.allows(target):
                ready.append((prefer(target) if prefer else (), order, target, daemons))
        for _, _, target, daemons in sorted(ready, key=lambda item: item[:2]):
            try:
                launching.open_if_survivable(self.fleet, target, daemons)
            except launching.NoSite as lack:
                lacks.append(lack)
                continue
            return target
        if not lacks:
            return Reason.NO_HOST_ROOM, "no host is up and open for launches"
        distinct = list(dict.fromkeys(str(lack) for lack in lacks))
        return lacks[0].reason, "; ".join(distinct[:4])

    def _not_loaded(self, reasons: Counter[Reason]) -> tuple[Rejected, ...]:
        if not reasons:
            return ()
        return (
            Rejected(
                lever=Lever.LOAD,
                subject=EXISTING,
                reason=reasons.most_common(1)[0][0],
                message=f"none takes it: {wording.tally(reasons)}",
            ),
        )

    def _expect_daemons(self, target: Bin) -> None:
        """A VM that is on its way has no DaemonSet pods yet, but will."""
        vm = target.vm
        if vm is None or target.pool is None or vm.phase not in IN_FLIGHT:
            return
        for number, shape in enumerate(launching.daemons_of(target.pool, target, self.filters)):
            self.fleet.put(f"daemon-{number}@{target.name}", shape, target)


def _fullness(target: Bin) -> float:
    return max(
        target.cpu_used / target.line_cpu if target.line_cpu else 1.0,
        target.memory_used / target.line_memory if target.line_memory else 1.0,
    )


_NEVER = frozenset({Reason.TAINTS, Reason.NODE_SELECTOR, Reason.RUNTIME_CLASS})
"""Reasons for which a pool is not meant for a pod, so that another pool's lack says more."""


def _main_reason(
    shape: PodShape, launched: dict[str, tuple[Reason, str]], reasons: Counter[Reason]
) -> Reason:
    """The one reason to show first: what a new VM lacked, else what most VMs lacked."""
    if shape.not_modelled:
        return Reason.NOT_MODELLED
    lacks = [reason for reason, _ in launched.values()]
    telling = [reason for reason in lacks if reason not in _NEVER] or lacks
    if telling:
        return Counter(telling).most_common(1)[0][0]
    return reasons.most_common(1)[0][0] if reasons else Reason.NO_POOL
