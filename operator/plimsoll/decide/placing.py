"""Finding places for pods: on a VM as it is, on a VM made larger, on a new VM.

The order is the design's order of levers (Load, Grow, Launch). New VMs start as
small as their first pod allows and grow with what is put in, so that each is
sized to its contents. Pods of one class are placed together where nothing but
their size matters; where their own rules spread them, one after the other.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from plimsoll.decide import cost, fitting, growing, guards, launching, ranking, wording
from plimsoll.decide.classes import PodClass, Rules
from plimsoll.decide.columns import ABSENT, Bools
from plimsoll.decide.filters import Filters
from plimsoll.decide.fitting import Fit
from plimsoll.decide.fleet import IN_FLIGHT, Bin, Fleet
from plimsoll.decide.growing import Growing, Growth
from plimsoll.decide.mixing import Mix, Waiting
from plimsoll.decide.plan import Lever, Reason, Refusal, Rejected, Size
from plimsoll.decide.preempting import Preempting
from plimsoll.decide.preferring import Apart, Preference, Wishes, wishes_of
from plimsoll.world.snapshot import PodShape, Resources

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
    spare: bool = False
    """It is there although it carries nothing: for a promise, or a smallest count."""
    others: int = 0
    """Further pods for which it grew once more."""


@dataclass
class _Search:
    """One search for places, for pods of one class."""

    kind: PodClass
    prefer: Preference | None
    apart: Apart | None
    wishes: Wishes | None
    alone: bool
    """A place for one changes the places for the next."""
    by_score: bool
    """Nothing but other pods and the score decides."""
    within: Bools | None = None
    """Where it may go, by slot; VMs opened since may take it."""
    may_launch: bool = True
    why: str = ""
    """Why VMs grow or are launched, if not for the pod's own sake."""
    rejected: tuple[Rejected, ...] | None = None
    """Why no VM takes them as it is; worked out once."""

    @cached_property
    def amount(self) -> str:
        """What each of them asks for, in words."""
        return wording.amount(self.kind.shape.requests)


class _Ground:
    """Where a pod may be, by slot, as far as other pods and the search's own bounds go.

    Worked out when asked for: most pods find their place among the best few VMs.
    """

    def __init__(self, fleet: Fleet, filters: Filters, search: _Search) -> None:
        self._fleet = fleet
        self._filters = filters
        self._search = search

    @cached_property
    def allowed(self) -> Bools | None:
        """None: on every VM."""
        columns, search = self._fleet.columns, self._search
        allowed = self._filters.others(search.kind.rules)
        if search.apart is not None:
            helps = search.apart.over(columns)
            allowed = helps if allowed is None else allowed & helps
        if search.within is not None:
            within = np.ones(columns.count, np.bool_)
            within[: len(search.within)] = search.within
            allowed = within if allowed is None else allowed & within
        return allowed

    @cached_property
    def steps(self) -> tuple[Bools | None, ...]:
        """To be tried one after the other: first only where no other pod is made uneven by it.

        Empty: it may be nowhere.
        """
        allowed = self.allowed
        if allowed is not None and not np.count_nonzero(allowed):
            return ()
        breaks = self._filters.breaks(self._search.kind.rules)
        if breaks is None or not np.count_nonzero(breaks):
            return (allowed,)
        return (~breaks if allowed is None else allowed & ~breaks, allowed)


class Placer:
    """Puts pods into a fleet, lever by lever, and remembers why."""

    def __init__(self, fleet: Fleet, filters: Filters, now: float) -> None:
        self.fleet = fleet
        self.filters = filters
        self.now = now
        self.growing = Growing(fleet)
        self.preempting = Preempting(fleet, filters)
        self.grown: dict[str, Story] = {}
        self.launched: dict[str, Story] = {}
        self.refusals: dict[tuple[Reason, str], Refusal] = {}
        self._fits: dict[Hashable, Fit] = {}
        self._growths: dict[Hashable, Growth] = {}
        self._wishes: dict[int, tuple[Rules, Wishes | None]] = {}
        self._hopeless: dict[str, tuple[int | None, Failure]] = {}
        """Shapes for which no VM can be grown or launched. While pods are placed, hosts and
        pools only fill up, so what was hopeless once is hopeless for the next pod alike;
        where other pods matter, only until anything changes (the fleet's version)."""
        for target in list(fleet.bins.values()):
            self._expect_daemons(target)

    def place(
        self,
        key: str,
        shape: PodShape,
        prefer: Preference | None = None,
        apart: Apart | None = None,
    ) -> Bin | Failure:
        """Finds a place for one pod, making one if need be; apart from others if that can be had.

        Pods that are expendable get no place that is not there.
        """
        return self.place_all((key,), shape, prefer, apart)[0]

    def place_all(
        self,
        keys: Sequence[str],
        shape: PodShape,
        prefer: Preference | None = None,
        apart: Apart | None = None,
    ) -> list[Bin | Failure]:
        """As ``place``, for pods of one shape; answers in their order."""
        kind = self.fleet.classes.of(shape)
        found: list[Bin | Failure] = []
        if apart is not None:
            search = self._search(kind, prefer, apart)
            found = [f for f in self._find_all(keys, search) if isinstance(f, Bin)]
        if len(found) < len(keys):
            found += self._find_all(keys[len(found) :], self._search(kind, prefer, None))
        return found

    def mixes(self, shape: PodShape) -> bool:
        """Whether nothing but their size and the node as such matters of such pods now."""
        kind = self.fleet.classes.of(shape)
        return kind.rules.free and not kind.extended and not self._search(kind, None, None).alone

    def place_mixed(self, groups: Sequence[tuple[PodShape, list[str]]]) -> list[Bin | Failure]:
        """As ``place_all``, for pods of several shapes that mix; answers in their order."""
        waiting = [Waiting(self.fleet.classes.of(shape), keys) for shape, keys in groups]
        searches = [self._search(w.kind, None, None) for w in waiting]
        for one, search in zip(waiting, searches, strict=True):
            loaded = self._load(one.keys, search)
            one.homes += [target for target in loaded if isinstance(target, Bin)]
        mix = Mix(self.fleet, waiting)
        failures: dict[int, Failure] = {}
        for number, (one, search) in enumerate(zip(waiting, searches, strict=True)):
            while not one.done:
                placed = self._find(one.first(1), search)
                if isinstance(placed, Failure):
                    failures[number] = placed
                    break
                (target,) = placed
                assert isinstance(target, Bin)
                mix.placed(number, [target])
                # One that drives others out may do so on a node of no pool.
                if target.pool is not None:
                    self._fill_mixed(target, mix, waiting, searches)
        found: list[Bin | Failure] = []
        for number, one in enumerate(waiting):
            found += one.homes
            if not one.done:
                found += [failures[number]] * (len(one.keys) - len(one.homes))
        return found

    def _fill_mixed(
        self, target: Bin, mix: Mix, waiting: list[Waiting], searches: list[_Search]
    ) -> None:
        """Fills a VM until it is as large as it may be and nothing that waits fits."""
        refused = mix.nothing()
        slot = np.array([target.slot])
        while (chosen := mix.next(target, refused)) is not None:
            number, most = chosen
            one = waiting[number]
            kept_off = one.kind.rules.pods.avoiders and self.filters.dynamic(one.kind.shape, target)
            if kept_off or not one.kind.rules.nodes.admitted()[target.slot]:
                refused[number] = True
                continue
            keys = one.first(most)
            as_is = int(fitting.number_for(self.fleet, one.kind, slot)[0])
            if as_is > 0:
                keys = keys[:as_is]
                self.fleet.put_all(keys, one.kind, target)
                mix.placed(number, [target] * len(keys))
                continue
            size = self.grow_for(target, one.kind.shape.requests, extra_pod=True)
            if not isinstance(size, Size):
                refused[number] = True
                continue
            grown = self._grow_for(keys, searches[number], target, size)
            mix.placed(number, [target] * len(grown))

    def move_all(
        self,
        keys: Sequence[str],
        shape: PodShape,
        prefer: Preference | None,
        within: Bools | None,
        why: str,
        *,
        may_launch: bool,
    ) -> bool:
        """As ``place_all``, for pods that are moved; False: not all of them find a place.

        The caller takes back what was done then.
        """
        search = self._search(self.fleet.classes.of(shape), prefer, None)
        search.within, search.may_launch, search.why = within, may_launch, why
        if within is not None:
            search.alone, search.by_score = True, False
        start = 0
        while start < len(keys):
            end = start + _AT_ONCE if search.alone else len(keys)
            placed = self._find(keys[start:end], search)
            if isinstance(placed, Failure):
                return False
            start += len(placed)
        return True

    def takes(self, kind: PodClass, besides: Bin) -> bool:
        """Whether some other VM takes one more such pod, as it is or grown."""
        search = self._search(kind, None, None)
        ground = self._ground(search)
        able = self._fit(kind).scores() > ranking.NO
        able |= self._growth(kind).scores() > ranking.NO
        if ground.allowed is not None:
            able &= ground.allowed
        able[besides.slot] = False
        return bool(able.any())

    def on_existing(
        self, shape: PodShape, prefer: Preference | None = None, apart: Apart | None = None
    ) -> Bin | None:
        """The best VM that takes the pod as it is: preferred, then wished, then best fitting."""
        search = self._search(self.fleet.classes.of(shape), prefer, apart)
        return self._as_is(search)

    def grow_for(self, target: Bin, more: Resources, extra_pod: bool) -> Refusal | Size:
        """The size at which a VM takes so much more, if all guards agree; nothing is changed."""
        size = self.growing.size_for(target, more, int(extra_pod))
        return self.growing.survivable(target, size) if isinstance(size, Size) else size

    def grow(self, target: Bin, to: Size, story: Story) -> None:
        """Makes a VM larger."""
        if not target.new and target.name not in self.grown:
            self.grown[target.name] = replace(story, before=target.size)
            self.fleet.on_rollback(self.grown.pop, target.name)
        self.fleet.resize_bin(target, to)

    def launch_empty(self, pool: str, reason: str) -> Bin | Refusal:
        """One more VM of the pool, of the smallest size."""
        refusal = guards.launch(self.fleet, self.fleet.pools[pool], self.now)
        if refusal is not None:
            self.refuse(refusal)
            return refusal
        outcome = self._launch(pool, None)
        if isinstance(outcome, Bin):
            self._tell_launch(outcome, Story(reason=reason, rejected=(), spare=True))
            return outcome
        return Refusal(guard=outcome[0], subject=f"vmpool/{pool}", message=outcome[1])

    def launch_apart(self, key: str, shape: PodShape, apart: Apart) -> Bin | None:
        """A new VM for a pod that runs where it must not stay; the pod is not put there yet."""
        search = self._search(self.fleet.classes.of(shape), None, apart)
        launched = self._by_launch(key, search)
        if not isinstance(launched, Bin):
            return None
        self.fleet.take(key)
        return launched

    def cancel_launch(self, target: Bin) -> None:
        """Takes back a launch that carries nothing but DaemonSet pods."""
        for key in list(target.pods):
            self.fleet.take(key)
        self.fleet.close(target.name)
        story = self.launched.pop(target.name)
        self.fleet.on_rollback(self.launched.__setitem__, target.name, story)

    def step(self, target: Bin, cpu: int, memory: int) -> bool:
        """Changes a VM's size by so many steps; False if its pool or its host does not allow."""
        assert target.pool is not None
        sizes = self.fleet.sizes[target.pool.name]
        more = cpu * sizes.cpu_step
        size = Size(cpu=target.cpu + more, memory=target.memory + memory * sizes.memory_step)
        if sizes.memory_per_cpu is not None:
            size = Size(cpu=size.cpu, memory=target.memory + more // 1000 * sizes.memory_per_cpu)
        room = self.fleet.room(target.hypervisor, target.host)
        if (
            size == target.size
            or not sizes.offers(size)
            or not room.has(size.cpu - target.cpu, size.memory - target.memory)
        ):
            return False
        self.fleet.resize_bin(target, size)
        return True

    def refuse(self, refusal: Refusal) -> None:
        """Notes that a guard kept something from happening."""
        self.refusals.setdefault((refusal.guard, refusal.subject), refusal)

    # ----- many pods

    def _search(self, kind: PodClass, prefer: Preference | None, apart: Apart | None) -> _Search:
        rules = kind.rules
        known = self._wishes.get(id(rules))
        if known is None:
            known = self._wishes[id(rules)] = (rules, wishes_of(self.fleet, rules))
        by_score = prefer is None and apart is None and known[1] is None
        alone = (
            not by_score
            or not rules.free
            or any(spread.carriers.total for spread in rules.pods.spreads)
        )
        return _Search(kind, prefer, apart, known[1], alone, by_score)

    def _find_all(self, keys: Sequence[str], search: _Search) -> list[Bin | Failure]:
        found: list[Bin | Failure] = []
        while len(found) < len(keys):
            start = len(found)
            end = start + _AT_ONCE if search.alone else len(keys)
            placed = self._find(keys[start:end], search)
            if isinstance(placed, Failure):
                # What the first lacks, the others lack too: nothing has changed.
                found += [placed] * (len(keys) - start)
                break
            found += placed
        return found

    def _find(self, keys: Sequence[str], search: _Search) -> list[Bin | Failure] | Failure:
        """Places the first pods, at least one of them; a failure: not even the first."""
        kind = search.kind
        loaded = self._load(keys, search)
        if loaded:
            return loaded
        if search.within is not None or search.why:
            return self._find_for_move(keys, search)
        known = self._hopeless.get(kind.shape.key) if search.apart is None else None
        if known is not None and known[0] in (None, self.fleet.version):
            return known[1]
        if search.apart is None:
            taken = self.preempting.preempt(keys[0], kind)
            if taken is not None:
                return [taken]
        if kind.shape.priority < self.fleet.snapshot.expendable_below:
            return self._expendable(kind)
        grown = self._by_growth(keys[:1] if search.alone else keys, search)
        if grown:
            return grown
        launched = self._launch_all(keys, search)
        if isinstance(launched, list):
            return launched
        failure = self._failure(search, launched)
        if search.apart is None:
            lasting = kind.rules.free and search.prefer is None
            version = None if lasting else self.fleet.version
            self._hopeless[kind.shape.key] = (version, failure)
        return failure

    def _find_for_move(self, keys: Sequence[str], search: _Search) -> list[Bin | Failure] | Failure:
        """As ``_find``, once no VM takes it as it is; nothing is told of a failure."""
        grown = self._by_growth(keys[:1] if search.alone else keys, search)
        if grown:
            return grown
        if search.may_launch:
            launched = self._launch_all(keys, search)
            if isinstance(launched, list):
                return launched
        return Failure(Reason.RESOURCES, {})

    def _ground(self, search: _Search) -> _Ground:
        return _Ground(self.fleet, self.filters, search)

    # ----- lever Load

    def _load(self, keys: Sequence[str], search: _Search) -> list[Bin | Failure]:
        kind = search.kind
        if search.alone or len(keys) == 1:
            found: list[Bin | Failure] = []
            for key in keys:
                best = self._as_is(search)
                if best is None:
                    break
                self.fleet.put_all((key,), kind, best)
                found.append(best)
            return found
        allowed = self._ground(search).allowed
        scores = self._fit(kind).scores()
        good = scores > ranking.NO
        slots = np.flatnonzero(good if allowed is None else good & allowed)
        if not len(slots):
            return []
        slots = slots[np.argsort(-scores[slots], kind="stable")]
        numbers = fitting.number_for(self.fleet, kind, slots)
        found = []
        for slot, number in zip(slots.tolist(), numbers.tolist(), strict=True):
            target = self.fleet.by_slot[slot]
            some = keys[len(found) : len(found) + number]
            self.fleet.put_all(some, kind, target)
            found += [target] * len(some)
            if len(found) == len(keys):
                break
        return found

    def _as_is(self, search: _Search) -> Bin | None:
        """The best VM that takes one pod as it is.

        One that runs takes it even if others are uneven then: the scheduler would put it
        there, and room that is there costs nothing.
        """
        fit = self._fit(search.kind)
        first = self._first(search, fit)
        if first != _UNKNOWN:
            return self.fleet.by_slot[first] if first is not None else None
        for number, step in enumerate(self._ground(search).steps):
            allowed = step
            if number:
                there = ~self.fleet.columns.is_new
                allowed = there if step is None else step & there
            best = self._best(search, fit, allowed)
            if best is not None:
                return self.fleet.by_slot[best]
        return None

    def _first(self, search: _Search, ranked: Fit | Growth) -> int | None:
        """As ``_best`` in all steps of the ground, looking at the best few VMs by the score only.

        A slot; None: there is none among all VMs; ``_UNKNOWN``: all of them must be looked at.
        """
        if not search.by_score:
            return _UNKNOWN
        rules, filters = search.kind.rules, self.filters
        short, are_all = ranked.short_list()
        uneven = None
        for _, slot in short if len(short) <= _FEW else short[:_FEW]:
            if filters.lets(rules, slot):
                if not filters.breaks_there(rules, slot):
                    return slot
                if uneven is None and (ranked.grows or not self.fleet.by_slot[slot].new):
                    uneven = slot
        return uneven if are_all and len(short) <= _FEW else _UNKNOWN

    def _best(self, search: _Search, ranked: Fit | Growth, allowed: Bools | None) -> int | None:
        """Preferred, then cheapest to grow, then wished most, then by the score; a slot."""
        if search.prefer is None and search.wishes is None:
            return ranked.best(allowed)
        mask = ranked.scores() > ranking.NO
        if allowed is not None:
            mask &= allowed
        ranks = [search.prefer.over(self.fleet.columns)] if search.prefer is not None else []
        if search.wishes is not None:
            ranks += [ranked.prices()] if isinstance(ranked, Growth) else []
            ranks.append(-search.wishes.over())
        for rank in ranks if mask.any() else ():
            mask &= rank == rank[mask].min()
        return ranked.best(mask)

    def _fit(self, kind: PodClass) -> Fit:
        fit = self._fits.get(kind.size_key)
        if fit is None:
            fit = self._fits[kind.size_key] = Fit(self.fleet, self.filters, kind)
        return fit

    # ----- lever Grow

    def _by_growth(self, keys: Sequence[str], search: _Search) -> list[Bin | Failure]:
        refused: list[Refusal] = []
        ground = self._ground(search)
        first = self._first(search, self._growth(search.kind))
        if first is not None and first != _UNKNOWN:
            grown = self._grow_if_survivable(keys, search, first)
            if grown:
                return grown
        for step in ground.steps if first is not None else ():
            growth, allowed = self._growth(search.kind), step
            while (best := self._best(search, growth, allowed)) is not None:
                target, size = self.fleet.by_slot[best], growth.size(best)
                if not self.growing.has_host_room(target, size):
                    allowed = self.growing.with_host_room(growth, allowed)
                    continue
                checked = self.growing.survivable(target, size)
                if isinstance(checked, Size):
                    return self._grow_for(keys, search, target, checked)
                refused.append(checked)
                others = np.ones(self.fleet.columns.count, np.bool_)
                others[best] = False
                allowed = others if allowed is None else allowed & others
        if search.rejected is None:
            search.rejected = () if search.why else self._not_grown(search, ground.allowed, refused)
        return []

    def _grow_if_survivable(
        self, keys: Sequence[str], search: _Search, slot: int
    ) -> list[Bin | Failure]:
        target, size = self.fleet.by_slot[slot], self._growth(search.kind).size(slot)
        if not self.growing.has_host_room(target, size):
            return []
        checked = self.growing.survivable(target, size)
        return self._grow_for(keys, search, target, checked) if isinstance(checked, Size) else []

    def _growth(self, kind: PodClass) -> Growth:
        growth = self._growths.get(kind.size_key)
        if growth is None:
            fit = self._fit(kind)
            growth = self._growths[kind.size_key] = Growth(self.fleet, self.growing, kind, fit)
        return growth

    def _not_grown(
        self, search: _Search, allowed: Bools | None, refused: list[Refusal]
    ) -> tuple[Rejected, ...]:
        """Why no VM takes such a pod as it is or grows for it."""
        if not refused:
            mask = search.kind.rules.nodes.admitted() & (self.fleet.pool_of.codes != ABSENT)
            refused = self.growing.refusals(
                search.kind, mask if allowed is None else mask & allowed
            )
        for refusal in refused:
            self.refuse(refusal)
        return (
            *self._not_loaded(search),
            *(
                Rejected(lever=Lever.GROW, subject=r.subject, reason=r.guard, message=r.message)
                for r in refused[: growing.TOLD]
            ),
        )

    def _grow_for(
        self, keys: Sequence[str], search: _Search, target: Bin, size: Size
    ) -> list[Bin | Failure]:
        """Grows a VM for the first pod, and for as many more as it can hold."""
        kind = search.kind
        number = 1
        if len(keys) > 1:
            number, size = self.growing.most(kind, target, len(keys), size)
        stories = self.launched if target.new else self.grown
        story = stories.get(target.name)
        if story is not None:
            self.fleet.on_rollback(setattr, story, "others", story.others)
            story.others += number
        else:
            reason = f"{keys[0]} ({search.amount}) does not go onto any VM under its line"
            story = Story(
                reason=search.why or reason,
                rejected=() if search.why else self._not_loaded(search),
                others=0 if search.why else number - 1,
            )
        self.grow(target, size, story)
        self.fleet.put_all(keys[:number], kind, target)
        return [target] * number

    # ----- lever Launch

    def _launch_all(
        self, keys: Sequence[str], search: _Search
    ) -> list[Bin | Failure] | dict[str, tuple[Reason, str]]:
        """Launches VM after VM and fills each; what the pools lack, if there is not even one.

        Nothing but the new VMs changes meanwhile, so no other is looked at again.
        """
        found: list[Bin | Failure] = []
        while len(found) < len(keys):
            launched = self._by_launch(keys[len(found)], search)
            if not isinstance(launched, Bin):
                return found or launched
            found.append(launched)
            if search.alone:
                if self._opens_more(search.kind, launched):
                    break
                continue
            most = self.fleet.sizes[launched.pool.name].pods_max if launched.pool else 0
            found += self._fill(launched, keys[len(found) : len(found) + most], search)
        return found

    def _opens_more(self, kind: PodClass, launched: Bin) -> bool:
        """Whether there may be a place on a VM for the next such pod, now that one was launched.

        Not if such pods only keep others away: the new VM has its own, and on the other
        VMs nothing has changed. A promise to survive may allow more than before.
        """
        return bool(
            kind.rules.even or kind.rules.near or self.fleet.promising
        ) or self.filters.lets(kind.rules, launched.slot)

    def _fill(self, target: Bin, keys: Sequence[str], search: _Search) -> list[Bin | Failure]:
        """Puts pods of a class into a new VM until it is full and as large as it may be."""
        if not keys:
            return []
        kind = search.kind
        number = int(fitting.number_for(self.fleet, kind, np.array([target.slot]))[0])
        some = keys[:number]
        self.fleet.put_all(some, kind, target)
        found: list[Bin | Failure] = [target] * len(some)
        if len(some) < len(keys):
            size = self.grow_for(target, kind.shape.requests, extra_pod=True)
            if isinstance(size, Size):
                found += self._grow_for(keys[len(some) :], search, target, size)
        return found

    def _by_launch(self, key: str, search: _Search) -> Bin | dict[str, tuple[Reason, str]]:
        kind = search.kind
        options: list[str] = []
        lacks: dict[str, tuple[Reason, str]] = {}
        for name, pool in sorted(self.fleet.pools.items()):
            refusal = guards.launch(self.fleet, pool, self.now)
            if refusal is not None:
                lacks[name] = (refusal.guard, refusal.message)
                self.refuse(refusal)
                continue
            options.append(name)
        if len(options) > 1:
            options.sort(key=lambda name: self._price(name, kind))
        for name in options:
            outcome = self._launch(name, search)
            if isinstance(outcome, Bin):
                reason = (
                    search.apart.why
                    if search.apart is not None
                    else search.why or f"{key} ({search.amount}) finds no place on any VM"
                )
                if search.rejected is None:
                    search.rejected = self._not_loaded(search)
                self.fleet.put_all((key,), kind, outcome)
                self._tell_launch(outcome, Story(reason=reason, rejected=search.rejected))
                return outcome
            lacks[name] = outcome
        return lacks

    def _price(self, pool: str, kind: PodClass) -> int:
        size = self.fleet.sizes[pool].smallest(kind.cpu, kind.memory, 1)
        if size is None:
            return 1 << 62
        return cost.of_size(self.fleet.pools[pool].spec, size.cpu, size.memory)

    def _launch(self, pool: str, search: _Search | None) -> Bin | tuple[Reason, str]:
        """A VM of a pool whose guards allow one more, or what it lacks."""
        target_pool = self.fleet.pools[pool]
        kind = search.kind if search is not None else None
        ready: list[tuple[tuple[int, ...], Bin, list[PodShape]]] = []
        lacks: list[launching.NoSite] = []
        for order, site in enumerate(launching.sites(self.fleet, target_pool, self.now)):
            try:
                target, daemons = launching.prepare(
                    self.fleet, self.filters, target_pool, kind, site
                )
            except launching.NoSite as lack:
                lacks.append(lack)
                continue
            rank: tuple[int, ...] = (order,)
            if search is not None:
                if search.apart is not None and not search.apart.allows(target.labels):
                    continue
                rank = self._rank_of_site(search, target, order)
            ready.append((rank, target, daemons))
            if search is None or not any(rank[:-1]):
                # No other site can be better.
                break
        for _, target, daemons in sorted(ready, key=lambda item: item[0]):
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

    def _rank_of_site(self, search: _Search, target: Bin, order: int) -> tuple[int, ...]:
        """Smaller is better; all zeros but the last: nothing speaks against the site."""
        return (
            search.prefer.of(target.labels) if search.prefer is not None else 0,
            int(self.filters.breaks_at(search.kind.rules, target)),
            _WISHED - search.wishes.of(target.name, target.labels) if search.wishes else 0,
            order,
        )

    def _tell_launch(self, target: Bin, story: Story) -> None:
        self.launched[target.name] = story
        self.fleet.on_rollback(self.launched.pop, target.name)

    # ----- telling why

    def _failure(self, search: _Search, launched: dict[str, tuple[Reason, str]]) -> Failure:
        why = {pool: message for pool, (_, message) in launched.items()}
        reasons = self._tally(search)
        if self.fleet.bins:
            why[EXISTING] = wording.tally(reasons)
        return Failure(reason=_main_reason(search.kind.shape, launched, reasons), why=why)

    def _expendable(self, kind: PodClass) -> Failure:
        cutoff = self.fleet.snapshot.expendable_below
        why = dict.fromkeys(
            self.fleet.pools, f"nothing is launched for pods of a priority below {cutoff}"
        )
        why[EXISTING] = wording.tally(self.filters.tally(kind))
        return Failure(Reason.EXPENDABLE, why)

    def _tally(self, search: _Search) -> Tally[Reason]:
        apart = search.apart.over(self.fleet.columns) if search.apart is not None else None
        return self.filters.tally(search.kind, apart)

    def _not_loaded(self, search: _Search) -> tuple[Rejected, ...]:
        reasons = self._tally(search)
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


_AT_ONCE = 64
"""Pods, at most, that are handed on together where a place for one changes the next one's."""

_FEW = 16
"""VMs that are looked at one by one, best first, before all of them are at once."""

_UNKNOWN = -1
"""No slot: the best few VMs do not tell."""

_WISHED = 1 << 40
"""More than any score."""

_NEVER = frozenset({Reason.TAINTS, Reason.NODE_SELECTOR, Reason.RUNTIME_CLASS})
"""Reasons for which a pool is not meant for a pod, so that another pool's lack says more."""


def _main_reason(
    shape: PodShape, launched: dict[str, tuple[Reason, str]], reasons: Tally[Reason]
) -> Reason:
    """The one reason to show first: what a new VM lacked, else what most VMs lacked."""
    if shape.not_modelled:
        return Reason.NOT_MODELLED
    lacks = [reason for reason, _ in launched.values()]
    telling = [reason for reason in lacks if reason not in _NEVER] or lacks
    if telling:
        return Tally(telling).most_common(1)[0][0]
    return reasons.most_common(1)[0][0] if reasons else Reason.NO_POOL
