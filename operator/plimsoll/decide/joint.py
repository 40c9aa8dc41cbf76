"""Replicas, their size and their spread decided together, by price.

The levers' order rules as long as it costs nothing: a replica grows before there
are more. Where a VM would have to grow or to be launched for it, or a container to
be restarted, other numbers of replicas over other numbers of domains are tried out on
the fleet too, and the cheapest that carries the load is taken: more replicas where
room is free elsewhere, or where more domains make less redundancy necessary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from plimsoll.api import labels as names
from plimsoll.decide import cost, sizing, wording
from plimsoll.decide.fleet import Bin, Fleet
from plimsoll.decide.placing import Failure, Placer
from plimsoll.decide.plan import Lever, Reason, Refusal, Rejected, Size
from plimsoll.decide.preferring import Apart
from plimsoll.decide.relocating import is_new
from plimsoll.decide.resizing import Resizing, at_least, changed, covers, grown
from plimsoll.decide.roster import Roster
from plimsoll.decide.sizing import Need
from plimsoll.decide.trial import Trial
from plimsoll.world.snapshot import Pod, Resources, Workload

_FURTHER = (0, 1, 2, 3, 4, 6, 8)
"""Replicas beyond the fewest that are tried out where they need not be spread."""


class Option(NamedTuple):
    """So many replicas of a size."""

    replicas: int
    carriers: int
    """Replicas left after the promised loss, those aside that cannot be as large."""
    domains: int
    """Domains over which they are spread evenly; 0: wherever they are."""
    size: Size
    """Of each, so that the carriers carry the load that there is now."""
    smaller: Size = Size(cpu=0, memory=0)
    """What replicas that cannot be as large offer together."""


class Offer(NamedTuple):
    """What an option comes to."""

    option: Option
    cost: int
    """Change of the VMs' cost, and the penalty for containers that are restarted."""
    grown: tuple[str, ...]
    launched: tuple[str, ...]
    restarts: int
    idle: bool
    """There is nothing to do for it."""
    unsettled: bool
    """A new replica cannot grow where it came: it is moved first."""
    short: int
    """Thousandths of the load that it does not carry after the promised loss."""
    lack: Refusal | None
    """What stands against it where it is short."""

    @property
    def free(self) -> bool:
        """Whether it carries the load and costs nothing: no option with more replicas beats it."""
        return not self.short and not self.cost

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """Least first: the load not carried, then cost, then VMs, then replicas."""
        return (self.short, self.cost, len(self.launched), self.option.replicas)

    def __str__(self) -> str:
        of = self.option
        what = f"{of.replicas} replicas of {wording.size(of.size)}"
        if self.short:
            why = f": {self.lack.message}" if self.lack is not None else ""
            return f"{what} would not carry the load{why}"
        parts = [f"growing {name}" for name in self.grown]
        parts += [f"launching {name}" for name in self.launched]
        if self.restarts:
            parts.append(f"restarting {self.restarts} containers")
        how = f" ({', '.join(parts)})" if parts else ""
        return f"{what} would cost {wording.money(self.cost)}{how}"


class Choice(NamedTuple):
    """The option taken, and what it was preferred to."""

    option: Option
    rejected: tuple[Rejected, ...] = ()
    carries: bool = True
    """Whether the load is carried, after the promised loss too."""


class Joint:
    """Chooses for one workload after the other on the placer's fleet."""

    def __init__(self, placer: Placer, roster: Roster, resizing: Resizing) -> None:
        self._placer = placer
        self._fleet = placer.fleet
        self._roster = roster
        self._resizing = resizing

    def choose(self, workload: Workload, need: Need, fixed: Size, least: int) -> Choice:
        """The cheapest option with at least so many replicas; ``fixed`` is the template's size."""
        usual = self._usual(workload, need, fixed, least)
        if self._is_as_it_is(workload, usual) or not self._may_choose(workload):
            return Choice(usual)
        known = {usual: self._price(workload, need, usual)}
        first = known[usual]
        if first.unsettled:
            return Choice(usual)
        if first.idle and not first.short:
            return Choice(first.option)
        free = first.free
        for option in self._options(workload, need, fixed, least):
            if option not in known:
                known[option] = self._price(workload, need, option)
            if option.replicas > usual.replicas and (free or known[option].free):
                break
        chosen = first if free else min(known.values(), key=lambda offer: offer.rank)
        return Choice(
            chosen.option,
            tuple(_rejected(workload, chosen, known.values())),
            carries=not chosen.short,
        )

    def apart(self, workload: Workload, option: Option) -> Apart | None:
        """Keeps one more replica out of domains that hold their share already."""
        strict = self._roster.apart(workload.key)
        if strict is not None or not option.domains:
            return strict
        promise = workload.spec.redundancy
        label = names.TOPOLOGY_KEYS[promise.across]
        counts = Counter(
            target.labels[label] for _, target in self._homes(workload) if label in target.labels
        )
        share = sizing.share(counts.total() + 1, option.domains)
        return Apart(
            label,
            frozenset(domain for domain, number in counts.items() if number >= share),
            f"{workload.key} must survive the loss of {promise.survive} {promise.across}(s), and "
            f"no other {promise.across} has room for its share of {option.replicas} replicas "
            "(out for redundancy)",
        )

    def carriers(self, workload: Workload, without: Collection[str] = ()) -> int:
        """Replicas left after the promised loss where they are, those ``without`` being gone."""
        survive = workload.spec.redundancy.survive
        label = names.TOPOLOGY_KEYS[workload.spec.redundancy.across]
        counts = Counter(
            target.labels.get(label, "")
            for key, target in self._homes(workload)
            if key not in without
        )
        if survive:
            del counts[""]
        return sum(sorted(counts.values(), reverse=True)[survive:])

    def _usual(self, workload: Workload, need: Need, fixed: Size, least: int) -> Option:
        """What the levers' order asks for, whatever it costs."""
        spec = workload.spec
        survive = spec.redundancy.survive
        pods = self._roster.pods(workload)
        if least == workload.replicas == len(pods) and all(self._runs(pod.key) for pod in pods):
            here = self.carriers(workload)
            enough = sizing.size_for(spec, need, here, fixed)
            if here and here * enough.cpu >= need.cpu and here * enough.memory >= need.memory:
                return Option(least, here, 0, enough)
        domains = self._roster.domains(workload)
        left = sizing.survivors(least, survive, domains)
        spread = (domains or least) if survive else 0
        return Option(least, left, spread, self._size(workload, need, least, left, fixed))

    def _size(self, workload: Workload, need: Need, replicas: int, left: int, fixed: Size) -> Size:
        """Size of a replica, so that those left carry the load.

        That CPU use is shared by further replicas is taken for granted, that memory is, is
        not: most applications need as much of it in each. What turns out to be too much is
        given back later.
        """
        size = sizing.size_for(workload.spec, need, left, fixed)
        running = sum(pod.node is not None for pod in self._roster.pods(workload))
        if not running or replicas <= running:
            return size
        each = Need(cpu=0, memory=-(-need.memory // running))
        same = sizing.size_for(workload.spec, each, 1, fixed)
        return Size(cpu=size.cpu, memory=max(size.memory, same.memory))

    def _options(self, workload: Workload, need: Need, fixed: Size, least: int) -> list[Option]:
        """Numbers of replicas over numbers of domains that may carry the load, fewest first."""
        spec = workload.spec
        survive = spec.redundancy.survive
        found: dict[Option, None] = {}
        for domains in self._spreads(workload):
            shape = sizing.shape_for(spec, need, domains, fixed)
            if not shape.enough:
                continue
            fewest = max(shape.replicas, least)
            for replicas in _numbers(fewest, domains):
                left = sizing.survivors(replicas, survive, domains)
                if left and replicas <= spec.scale_out.max:
                    size = self._size(workload, need, replicas, left, fixed)
                    found[Option(replicas, left, domains or 0, size)] = None
        return sorted(found, key=lambda option: option.replicas)

    def _spreads(self, workload: Workload) -> list[int | None]:
        """Numbers of domains to spread over: as many as have VMs, or so, and as few as may be."""
        survive = workload.spec.redundancy.survive
        if survive == 0:
            return [None]
        label = names.TOPOLOGY_KEYS[workload.spec.redundancy.across]
        there = len(
            {
                target.labels[label]
                for target in self._fleet.bins.values()
                if label in target.labels
                and workload.template is not None
                and self._placer.filters.static(workload.template, target) is None
            }
        )
        most = self._roster.domains(workload)
        few = (survive + 1, survive + 2, survive + 3)
        found = [there, *few, there + 1, there + 2, *([most] if most is not None else [])]
        return list(dict.fromkeys(d for d in found if d > survive and (most is None or d <= most)))

    def _may_choose(self, workload: Workload) -> bool:
        """Whether the number of replicas is free, and known where they are."""
        spec = workload.spec
        if spec.replicas is not None or workload.replicas > spec.scale_out.max:
            return False
        if workload.template is None:
            return False
        # Replicas that may come back with a lost VM: whatever were added would be too many.
        return not any(
            target.vm is not None and (target.vm.lost or target.leaving)
            for _, target in self._homes(workload)
        )

    def _is_as_it_is(self, workload: Workload, option: Option) -> bool:
        """Whether nothing has to be done for an option."""
        pods = self._roster.pods(workload)
        return option.replicas == workload.replicas == len(pods) and all(
            self._runs(pod.key)
            and (
                workload.spec.scale_up is None
                or (pod.size is not None and covers(pod.size, option.size))
            )
            for pod in pods
        )

    def _runs(self, key: str) -> bool:
        home = self._fleet.where.get(key)
        return home is not None and self._fleet.bins[home].accepts

    def _homes(self, workload: Workload) -> Iterator[tuple[str, Bin]]:
        """The workload's placed replicas, new ones included, where they are."""
        where = self._fleet.where
        own = [pod.key for pod in self._roster.pods(workload)]
        for key in (*own, *self._roster.added(workload)):
            if key in where:
                yield key, self._fleet.bins[where[key]]

    def _price(self, workload: Workload, need: Need, option: Option) -> Offer:
        """Tries an option out."""
        before = len(self._roster.added(workload))
        with Trial(self._placer) as trial:
            attempt = _Attempt(workload, need, option, self._resizing, trial)
            attempt.grow(self._fleet)
            option = attempt.option
            further = option.replicas - workload.replicas
            waiting = self._waiting(workload)
            lack = self._place(workload, option, waiting, trial) or attempt.refusal
            trial.keep_promises()
            offer = Offer(
                option=option,
                cost=trial.cost + cost.DISRUPTION_PENALTY * attempt.restarts,
                grown=trial.grown,
                launched=trial.launched,
                restarts=attempt.restarts,
                idle=not (attempt.resized or waiting or further),
                unsettled=any(
                    is_new(workload, pod, self._placer.now) for pod in attempt.stuck.values()
                ),
                short=self.short(workload, need, option.size),
                lack=lack,
            )
        del self._roster.added(workload)[before:]
        return offer

    def _waiting(self, workload: Workload) -> list[Pod]:
        """Replicas that are to be placed yet."""
        return [
            pod
            for pod in self._roster.pods(workload)
            if pod.key not in self._fleet.where and pod.node is None and pod.size is not None
        ]

    def _place(
        self, workload: Workload, option: Option, waiting: list[Pod], trial: Trial
    ) -> Refusal | None:
        """Finds places for replicas that wait and for further ones; answers what stood against."""
        prefer = self._roster.preference
        assert workload.template is not None
        for pod in waiting:
            shape = grown(workload, pod.shape, option.size, pod.size)
            found = trial.place(pod.key, shape, prefer(workload.key), self.apart(workload, option))
            if isinstance(found, Failure):
                return _no_place(workload, found)
        shape = grown(workload, workload.template, option.size)
        for number in range(workload.replicas, option.replicas):
            key = f"{workload.key}-new-{number}"
            found = trial.place(key, shape, prefer(workload.key), self.apart(workload, option))
            if isinstance(found, Failure):
                return _no_place(workload, found)
            self._roster.add(workload, key)
        return None

    def cost_of_size(self, workload: Workload, size: Size) -> int:
        """What the pools' promises cost if all running replicas are so large; VMs have the room."""
        with Trial(self._placer) as trial:
            for pod, now in self._resizing.running(workload):
                target = self._fleet.bins[self._fleet.where[pod.key]]
                to = at_least(now, size)
                trial.resize(pod.key, changed(target.requests(pod.key), now, to))
            trial.keep_promises()
            return trial.cost

    def short(self, workload: Workload, need: Need, most: Size | None = None) -> int:
        """Thousandths of the load not carried after the promised loss, where replicas are now.

        ``most`` is the size to which larger replicas would shrink.
        """
        promise = workload.spec.redundancy
        label = names.TOPOLOGY_KEYS[promise.across]
        by_domain: dict[str, list[int]] = {}
        for key, target in self._homes(workload):
            domain = target.labels.get(label, "")
            if promise.survive and not domain:
                continue
            taken = target.requests(key)
            sums = by_domain.setdefault(domain, [0, 0])
            cpu = taken.cpu - workload.overhead.cpu
            memory = taken.memory - workload.overhead.memory
            sums[0] += cpu if most is None else min(cpu, most.cpu)
            sums[1] += memory if most is None else min(memory, most.memory)
        worst = 0
        for index, wanted in enumerate((need.cpu, need.memory)):
            largest_first = sorted((sums[index] for sums in by_domain.values()), reverse=True)
            rest = largest_first[promise.survive :]
            if not rest:
                return 1000
            worst = max(worst, -(-max(0, wanted - sum(rest)) * 1000 // wanted) if wanted else 0)
        return worst


def _numbers(fewest: int, domains: int | None) -> list[int]:
    """Numbers of replicas to try out, from the fewest up.

    Spread over domains, the same number in each loses the least with one of them.
    """
    if domains is None:
        return [fewest + further for further in _FURTHER]
    even = -(-fewest // domains) * domains
    return sorted({fewest, fewest + 1, fewest + 2, even, even + domains})


class _Attempt:
    """Growing the running replicas to an option's size; the others make up for who cannot."""

    def __init__(
        self, workload: Workload, need: Need, option: Option, resizing: Resizing, trial: Trial
    ) -> None:
        self._workload = workload
        self._need = need
        self._resizing = resizing
        self._trial = trial
        self.option = self._asked = option
        self.stuck: dict[str, Pod] = {}
        self.refusal: Refusal | None = None
        self.restarts = 0
        self.resized: dict[str, Resources] = {}

    def grow(self, fleet: Fleet) -> None:
        """Ends once every replica is as large as the option then asks for, or is stuck."""
        while True:
            known = len(self.stuck)
            for pod, now in self._resizing.running(self._workload):
                if pod.key not in self.stuck:
                    self._grow_one(fleet, pod, now)
            if len(self.stuck) == known:
                return
            self._make_up()

    def _grow_one(self, fleet: Fleet, pod: Pod, now: Resources) -> None:
        now = self.resized.get(pod.key, now)
        to = at_least(now, self.option.size)
        if covers(now, to):
            return
        target = fleet.bins[fleet.where[pod.key]]
        outcome = self._resizing.room_for(pod, now, to)
        if isinstance(outcome, Refusal):
            self.refusal = self.refusal or outcome
            self.stuck[pod.key] = pod
            return
        if outcome is not None:
            self._trial.grow(target, outcome)
        self._trial.resize(pod.key, changed(target.requests(pod.key), now, to))
        if pod.restart_on_resize and pod.key not in self.resized:
            self.restarts += 1
        self.resized[pod.key] = Resources(cpu=to.cpu, memory=to.memory)

    def _make_up(self) -> None:
        """Larger replicas for those that are stuck, as far as these are left after the loss.

        Which ones will be left is not known, so the smallest of them count, and one that is
        not stuck must be left as well.
        """
        offered = [self.resized.get(key) or pod.size for key, pod in self.stuck.items()]
        asked = self._asked
        left = sorted(
            (size for size in offered if size is not None), key=lambda size: (size.cpu, size.memory)
        )[: max(0, asked.carriers - 1)]
        smaller = Size(cpu=sum(size.cpu for size in left), memory=sum(s.memory for s in left))
        carriers = max(1, asked.carriers - len(left))
        size = sizing.size_for(
            self._workload.spec, sizing.less(self._need, smaller), carriers, asked.size
        )
        self.option = asked._replace(
            carriers=carriers, size=sizing.larger(size, asked.size), smaller=smaller
        )


def _no_place(workload: Workload, failure: Failure) -> Refusal:
    first = next(iter(failure.why.values()), "no place for one more")
    return Refusal(guard=failure.reason, subject=f"workload/{workload.key}", message=first)


def _rejected(workload: Workload, chosen: Offer, offers: Iterable[Offer]) -> Iterator[Rejected]:
    """The best of the others: with as many replicas as there are, and with more."""
    subject = f"workload/{workload.key}"
    for lever in (Lever.RESIZE, Lever.REPLICATE):
        others = [
            offer
            for offer in offers
            if offer.option != chosen.option
            and (offer.option.replicas > workload.replicas) == (lever is Lever.REPLICATE)
            and offer.option.replicas != chosen.option.replicas
        ]
        if not others:
            continue
        best = min(others, key=lambda offer: offer.rank)
        if best.short:
            reason = best.lack.guard if best.lack is not None else Reason.REDUNDANCY
            price = None
        else:
            reason = Reason.COSTLIER if best.cost > chosen.cost else Reason.NOT_CHEAPER
            price = best.cost
        than = "" if best.short else f", this {wording.money(chosen.cost)}"
        yield Rejected(
            lever=lever, subject=subject, reason=reason, message=f"{best}{than}", cost=price
        )
