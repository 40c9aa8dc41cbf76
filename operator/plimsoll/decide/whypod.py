"""One pod explained: where it is, where it would go, and why not on each VM and in each pool.

A VM is looked at twice: as it is now, with what runs there; and as it will be when the
plan is carried out, which tells whether room that is there goes to other pods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from plimsoll.decide import cost, guards, launching, wording
from plimsoll.decide import why as telling
from plimsoll.decide.alternatives import Caps, cheapest
from plimsoll.decide.effort import Effort
from plimsoll.decide.filters import Filters
from plimsoll.decide.fleet import Bin, Fleet
from plimsoll.decide.growing import Growing
from plimsoll.decide.plan import Lever, Move, Plan, Reason, Refusal, Unplaced
from plimsoll.decide.planner import EFFORT, Planner
from plimsoll.decide.why import Obstacle
from plimsoll.world.snapshot import Pod, PodShape, Pool, Snapshot


@dataclass
class VmAnswer:
    """Why the pod does not go onto one VM."""

    name: str
    pool: str
    new: bool
    """The plan launches it."""
    now: list[Obstacle]
    """What keeps it off now; of a new VM: when the plan is carried out."""
    then: list[Obstacle]
    """What keeps it off when the plan is carried out; empty if the plan retires the VM."""
    retired: bool = False
    victims: int = 0
    """So many pods of a lower priority, at most, would have to go for it now."""
    growth: str = ""
    """If only a larger VM is lacking: why it does not grow for the pod, or that it could."""


@dataclass
class PoolAnswer:
    """Why no VM of a pool is launched for the pod."""

    name: str
    vms: int
    """VMs that the pool has when the plan is carried out."""
    could: str = ""
    """The VM that could be launched for it; empty: none."""
    lacks: Counter[str] = field(default_factory=Counter)
    """Why not, with the number of hosts or zones that lack it."""


@dataclass
class PodAnswer:
    """All about one pod."""

    pod: Pod
    plan: Plan
    place: str
    """VM where it is when the plan is carried out; empty: nowhere."""
    moves: list[Move]
    """Those that bring it there, and those of its own."""
    refusals: list[Refusal]
    unplaced: Unplaced | None
    vms: list[VmAnswer]
    pools: list[PoolAnswer]
    scheduler: str
    """What kube-scheduler would say now; empty: it would take the pod, or has no say."""


def explain(snapshot: Snapshot, key: str, now: float) -> PodAnswer:
    """Explains a pod of the snapshot (``key``: ``namespace/name``), as of a moment.

    Raises:
        KeyError: the snapshot has no such pod.
    """
    pod = snapshot.pod(key)
    if pod is None:
        raise KeyError(key)
    present = _present(snapshot, pod)
    plan, future = _planned(snapshot, now)
    place = plan.placements.get(key, "")
    shape = pod.shape
    if place:
        # As large as it will be: a replica may be resized on its way.
        shape = future.bins[place].shape(key)
        future.take(key)
    vms = list(_vms(present, future, pod, shape))
    told = [(present.bins[vm.name], vm.now) for vm in vms if not vm.new]
    silent = pod.gated or shape.blocked or shape.not_modelled or pod.node is not None
    return PodAnswer(
        pod=pod,
        plan=plan,
        place=place,
        moves=list(_moves(plan, pod, place)),
        refusals=[r for r in plan.refusals if _concerns(r, key)],
        unplaced=next((u for u in plan.unplaced if u.pod == key), None),
        vms=vms,
        pools=[_pool(future, pool, shape, now) for _, pool in sorted(future.pools.items())],
        scheduler="" if silent else telling.scheduler_says(told),
    )


def _planned(snapshot: Snapshot, now: float) -> tuple[Plan, Fleet]:
    """The plan, as ``plan`` makes it, and the fleet as it is when the plan is carried out."""
    made: list[tuple[Plan, Fleet]] = []

    def work_out(caps: Caps) -> Plan:
        fleet = Fleet(snapshot)
        sizes = dict(fleet.sizes)
        for pool, cpu in caps.items():
            fleet.sizes[pool] = sizes[pool].capped(cpu)
        plan = Planner(fleet, now, Effort(EFFORT, None)).plan()
        # What may be grown or launched is asked without the caps.
        fleet.sizes = sizes
        made.append((plan, fleet))
        return plan

    best = cheapest(snapshot, work_out({}), work_out)
    # Its moves may be told anew; what it is about is the same object.
    return best, next(fleet for plan, fleet in made if plan.placements is best.placements)


def _present(snapshot: Snapshot, pod: Pod) -> Fleet:
    """The VMs as they are now, without the pod.

    Pods for which the scheduler is making room on a VM count there, as it does itself for
    those that are no less important.
    """
    fleet = Fleet(snapshot)
    if pod.key in fleet.where:
        fleet.take(pod.key)
    for other in snapshot.pods:
        target = fleet.bins.get(other.nominated or "")
        if (
            target is not None
            and other.node is None
            and other.key != pod.key
            and other.shape.priority >= pod.shape.priority
        ):
            fleet.put(other.key, other.shape, target)
    return fleet


# ----- where it goes


def _moves(plan: Plan, pod: Pod, place: str) -> Iterator[Move]:
    comes = bool(place) and place != pod.node
    for move in plan.moves:
        if (
            move.subject == f"pod/{pod.key}"
            or (comes and move.subject == f"vm/{place}")
            or (move.kind is Lever.RETIRE and move.subject == f"vm/{pod.node}")
        ):
            yield move


def _concerns(refusal: Refusal, key: str) -> bool:
    """Whether it is the pod's own, or of the pod that drives it out."""
    driven = refusal.guard is Reason.PREEMPTS and refusal.message.startswith(f"it drives {key} out")
    return driven or refusal.subject == f"pod/{key}"


# ----- each VM


def _vms(present: Fleet, future: Fleet, pod: Pod, shape: PodShape) -> Iterator[VmAnswer]:
    growing = Growing(future)
    for name, target in sorted(present.bins.items()):
        after = future.bins.get(name)
        found = VmAnswer(
            name=name,
            pool=target.pool.name if target.pool is not None else "",
            new=False,
            now=telling.obstacles(present, pod.shape, target),
            then=telling.obstacles(future, shape, after) if after is not None else [],
            retired=after is None,
        )
        if not telling.takes(found.now):
            found.victims = telling.victims(present, pod.shape, target)
        if after is not None:
            found.growth = _growth(growing, shape, after, found.then)
        yield found
    for name, target in sorted(future.bins.items()):
        if name not in present.bins and target.pool is not None:
            against = telling.obstacles(future, shape, target)
            growth = _growth(growing, shape, target, against)
            yield VmAnswer(name, target.pool.name, True, against, against, growth=growth)


def _growth(growing: Growing, shape: PodShape, target: Bin, found: list[Obstacle]) -> str:
    if telling.takes(found) or not telling.may_grow(found):
        return ""
    if target.pool is None:
        return "it is not Plimsoll's to grow"
    size = growing.size_for(target, shape.requests, 1)
    if not isinstance(size, Refusal):
        size = growing.survivable(target, size)
    if isinstance(size, Refusal):
        return f"{size.message} ({size.guard})"
    spec = target.pool.spec
    extra = cost.of_size(spec, size.cpu, size.memory) - cost.of_size(
        spec, target.cpu, target.memory
    )
    return f"could grow to {wording.size(size)} (cost +{wording.money(extra)})"


# ----- each pool


def _pool(fleet: Fleet, pool: Pool, shape: PodShape, now: float) -> PoolAnswer:
    answer = PoolAnswer(pool.name, fleet.census[pool.name].total)
    cutoff = fleet.snapshot.expendable_below
    refusal = guards.launch(fleet, pool, now)
    if shape.priority < cutoff:
        answer.lacks[f"nothing is launched for pods of a priority below {cutoff}"] = 1
    elif refusal is not None:
        answer.lacks[f"{refusal.message} ({refusal.guard})"] = 1
    else:
        _try_sites(fleet, pool, shape, now, answer)
    return answer


def _try_sites(fleet: Fleet, pool: Pool, shape: PodShape, now: float, answer: PoolAnswer) -> None:
    filters, kind = Filters(fleet), fleet.classes.of(shape)
    for site in launching.sites(fleet, pool, now):
        against = [
            obstacle
            for obstacle in telling.obstacles(fleet, shape, launching.blank(fleet, pool, site))
            if not (obstacle.room or obstacle.berths)
        ]
        if against:
            answer.lacks[_of_new(against)] += 1
            continue
        mark = fleet.mark()
        try:
            target, daemons = launching.prepare(fleet, filters, pool, kind, site)
            launching.open_if_survivable(fleet, target, daemons)
        except launching.NoSite as lack:
            answer.lacks[f"{lack} ({lack.reason})"] += 1
            continue
        finally:
            fleet.rollback(mark)
        price = cost.of_size(pool.spec, target.cpu, target.memory)
        where = "" if site.assumed else f" on {site.host}"
        answer.could = f"{wording.size(target.size)}{where} (cost {wording.money(price)})"
        return
    if not answer.lacks:
        answer.lacks["no host is up and open for launches (NoHostRoom)"] = 1


def _of_new(against: list[Obstacle]) -> str:
    return "a new VM: " + "; ".join(
        f"{o.words} ({o.numbers})" if o.numbers else o.words for o in against
    )
