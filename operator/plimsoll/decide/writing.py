"""Writing a plan down: what became of the fleet, as moves, placements and notes."""

from __future__ import annotations

from plimsoll.decide import cost, wording
from plimsoll.decide.fleet import IN_FLIGHT, Bin, Fleet
from plimsoll.decide.loading import Loading
from plimsoll.decide.placing import Placer, Story
from plimsoll.decide.plan import Lever, Move, NewVm, PlannedVm, Reason, Rejected, Size
from plimsoll.decide.roster import Roster
from plimsoll.decide.sizes import Sizes
from plimsoll.world.snapshot import Snapshot


def grow_moves(placer: Placer) -> list[Move]:
    """One move for each running VM that ends larger than it was."""
    moves = []
    for name, story in sorted(placer.grown.items()):
        target = placer.fleet.bins.get(name)
        before = story.before
        if target is None or target.vm is None or target.pool is None or before is None:
            continue
        after = Size(cpu=target.cpu, memory=target.memory)
        if after == before:
            continue
        spec = target.pool.spec
        extra = cost.of_size(spec, after.cpu, after.memory) - cost.of_size(
            spec, before.cpu, before.memory
        )
        moves.append(
            Move(
                kind=Lever.GROW,
                subject=f"vm/{name}",
                uid=target.vm.uid,
                source=wording.size(before),
                target=wording.size(after),
                host=target.host,
                size=after,
                cost=extra,
                reason=_with_others(story),
                rejected=(*story.rejected, _not_launched(target, before, after, extra)),
            )
        )
    return moves


def launch_moves(placer: Placer, loading: Loading) -> list[Move]:
    """One move for each new VM; those beyond what may be under way at once wait."""
    fleet = placer.fleet
    moves = []
    in_flight = {
        name: sum(1 for b in fleet.of_pool(name) if b.vm is not None and b.vm.phase in IN_FLIGHT)
        for name in fleet.pools
    }
    for name, story in placer.launched.items():
        target = fleet.bins.get(name)
        if target is None or target.pool is None:
            continue
        spec = target.pool.spec
        in_flight[target.pool.name] += 1
        waits = in_flight[target.pool.name] > spec.max_launching
        size = Size(cpu=target.cpu, memory=target.memory)
        assumed = not fleet.hosts_known(fleet.hypervisors[spec.hypervisor])
        moves.append(
            Move(
                kind=Lever.LAUNCH,
                subject=f"vm/{name}",
                target=wording.size(size),
                host=target.host,
                cost=cost.of_size(spec, target.cpu, target.memory),
                reason=_with_others(story),
                rejected=story.rejected,
                deferred=f"maxLaunching is {spec.max_launching}" if waits else "",
                vm=NewVm(
                    name=name,
                    pool=target.pool.name,
                    hypervisor=target.hypervisor,
                    host="" if assumed else target.host,
                    zone=target.zone,
                    size=size,
                    berths=loading.berths(target),
                    max_pods=target.max_pods,
                ),
            )
        )
    return moves


def placements(fleet: Fleet, roster: Roster) -> dict[str, str]:
    """Pod key -> VM name, of every pod that has or gets a place, new replicas included."""
    found = fleet.where.copy()
    for target in fleet.bins.values():
        # Pods that DaemonSets will put on VMs on their way are no pods of the snapshot.
        if target.vm is None or target.vm.phase in IN_FLIGHT:
            for key in target.pods:
                if "/" not in key:
                    del found[key]
    return found


def planned_vms(fleet: Fleet) -> tuple[PlannedVm, ...]:
    """All VMs as they will be, by name."""
    return tuple(
        PlannedVm(
            name=target.name,
            pool=target.pool.name if target.pool is not None else None,
            hypervisor=target.hypervisor,
            host=target.host,
            zone=target.zone,
            labels=target.labels,
            cpu=target.allocatable_cpu,
            memory=target.allocatable_memory,
            pods=target.max_pods,
            new=target.new,
        )
        for _, target in sorted(fleet.bins.items())
    )


def notes(snapshot: Snapshot) -> tuple[str, ...]:
    """What a reader must know about what the plan rests on."""
    return tuple(
        f"No host inventory is known of Hypervisor {h.name}: its hosts count as unbounded, "
        f"each new VM on one of its own"
        for h in snapshot.hypervisors
        if h.hosts is None
    )


def _not_launched(target: Bin, before: Size, after: Size, extra: int) -> Rejected:
    """Why there is no further VM instead, as large as what the growth adds."""
    assert target.pool is not None
    spec = target.pool.spec
    subject, line = f"vmpool/{target.pool.name}", spec.density.load_line_percent
    wanted = Sizes.of(spec).smallest(
        max(0, after.cpu - before.cpu) * line // 100,
        max(0, after.memory - before.memory) * line // 100,
    )
    if wanted is None:
        return Rejected(
            lever=Lever.LAUNCH,
            subject=subject,
            reason=Reason.TOO_BIG,
            message="no single VM is as large as what it grows by",
        )
    price = cost.of_size(spec, wanted.cpu, wanted.memory)
    costlier = price > extra
    return Rejected(
        lever=Lever.LAUNCH,
        subject=subject,
        reason=Reason.COSTLIER if costlier else Reason.MORE_VMS,
        message=f"another VM would cost {wording.money(price)}, growing this one costs "
        f"{wording.money(extra)}"
        if costlier
        else f"another VM would cost {wording.money(price)}, and be one VM more",
        cost=price,
    )


def _with_others(story: Story) -> str:
    if not story.others:
        return story.reason
    pods = "pod" if story.others == 1 else "pods"
    return f"{story.reason}; it also takes {story.others} further {pods}"
