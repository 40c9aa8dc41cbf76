"""Safety guards: each a named check that may refuse a kind of move.

A guard answers with a ``Refusal`` or with None; whoever wants to move asks all
that apply and takes the first no. Acting asks the same again just before it
disrupts anything, against live objects.
"""

from __future__ import annotations

from collections.abc import Iterable

from plimsoll.api.vmnode import Phase
from plimsoll.decide.fleet import IN_FLIGHT, Bin, Fleet
from plimsoll.decide.plan import Reason, Refusal
from plimsoll.decide.windows import is_open
from plimsoll.world.selectors import selector_matches
from plimsoll.world.snapshot import Budget, Hypervisor, Pod, Pool

UNREADY_PERCENT = 45
UNREADY_COUNT = 3
"""More unready VMs than both mean that something bigger is wrong: stand still.

The numbers are Cluster Autoscaler's defaults (max-total-unready-percentage,
ok-total-unready-count).
"""


def pool_stands_still(fleet: Fleet, pool: Pool) -> Refusal | None:
    """Reasons for which a pool is neither grown nor thinned out.

    They lie in the snapshot, not in the plan, so each pool is looked at once.
    """
    if pool.name not in fleet.standing:
        fleet.standing[pool.name] = _stands_still(fleet, pool)
    return fleet.standing[pool.name]


def _stands_still(fleet: Fleet, pool: Pool) -> Refusal | None:
    subject = f"vmpool/{pool.name}"
    if pool.problem:
        return Refusal(guard=Reason.POOL_PROBLEM, subject=subject, message=pool.problem)
    hypervisor = fleet.hypervisors.get(pool.spec.hypervisor)
    if hypervisor is None:
        return Refusal(
            guard=Reason.POOL_PROBLEM,
            subject=subject,
            message=f"Hypervisor {pool.spec.hypervisor} does not exist",
        )
    if not hypervisor.ready:
        return Refusal(
            guard=Reason.HYPERVISOR_UNREADY,
            subject=subject,
            message=f"Hypervisor {hypervisor.name} cannot be reached: unknown is not gone",
        )
    restarting = _restarting(fleet, hypervisor)
    if restarting:
        return Refusal(
            guard=Reason.IN_FLIGHT,
            subject=subject,
            message=f"high availability is restarting {restarting}: its room is left free",
        )
    if pool.loop_detected:
        return Refusal(
            guard=Reason.LOOP_DETECTED,
            subject=subject,
            message="the same capacity was launched and retired twice: standing still",
        )
    vms = [b.vm for b in fleet.of_pool(pool.name) if b.vm is not None]
    unready = sum(1 for vm in vms if vm.phase not in IN_FLIGHT and not vm.ready)
    if unready > UNREADY_COUNT and unready * 100 > len(vms) * UNREADY_PERCENT:
        return Refusal(
            guard=Reason.TOO_MANY_UNREADY,
            subject=subject,
            message=f"{unready} of {len(vms)} VMs are not ready: standing still",
        )
    return None


def _restarting(fleet: Fleet, hypervisor: Hypervisor) -> str:
    """VMs of dead hosts that the hypervisor starts again elsewhere; empty: none.

    Those that it does not start within its window are replaced by the life cycle.
    """
    if not hypervisor.capabilities.high_availability:
        return ""
    dead = {host.name for host in hypervisor.hosts or () if host.state == "Down"}
    if not dead:
        return ""
    return ", ".join(
        name
        for name, target in sorted(fleet.bins.items())
        if target.hypervisor == hypervisor.name
        and target.host in dead
        and target.vm is not None
        and target.vm.lost
    )


def launch(fleet: Fleet, pool: Pool, now: float) -> Refusal | None:
    """Whether the pool may get one more VM."""
    subject = f"vmpool/{pool.name}"
    if pool.deleting:
        return Refusal(
            guard=Reason.POOL_DELETING, subject=subject, message="the pool is being deleted"
        )
    standing = pool_stands_still(fleet, pool)
    if standing is not None:
        return standing
    if pool.launch_blocked_until > now:
        return Refusal(
            guard=Reason.LAUNCH_BACKOFF,
            subject=subject,
            message=f"launches failed; the next try is in {pool.launch_blocked_until - now:.0f} s",
        )
    count = fleet.census[pool.name].total
    if pool.spec.replicas is not None and count >= pool.spec.replicas:
        return Refusal(
            guard=Reason.REPLICAS_FIXED,
            subject=subject,
            message=f"the number of VMs is fixed at {pool.spec.replicas} by spec.replicas",
        )
    if count >= pool.spec.nodes.max:
        return Refusal(
            guard=Reason.POOL_AT_MAX,
            subject=subject,
            message=f"the pool has {count} VMs and nodes.max is {pool.spec.nodes.max}",
        )
    return None


def grow(fleet: Fleet, target: Bin, cpu: bool, memory: bool) -> Refusal | None:
    """Whether this VM may be made larger. A VM not yet launched may."""
    vm, pool = target.vm, target.pool
    if pool is None:
        return Refusal(guard=Reason.NO_POOL, subject=f"node/{target.name}", message="not our VM")
    if vm is None:
        return None
    subject = f"vm/{target.name}"
    standing = pool_stands_still(fleet, pool)
    if standing is not None:
        return standing
    if vm.phase is not Phase.READY or not vm.resized or not vm.ready or vm.lost:
        return Refusal(
            guard=Reason.IN_FLIGHT, subject=subject, message=f"the VM is {vm.phase}, not settled"
        )
    if vm.retiring or not vm.schedulable:
        return Refusal(guard=Reason.UNSCHEDULABLE, subject=subject, message="the VM is cordoned")
    if vm.hot_add_refused:
        return Refusal(guard=Reason.HOT_ADD_REFUSED, subject=subject, message=vm.hot_add_refused)
    capabilities = fleet.hypervisors[pool.spec.hypervisor].capabilities
    lacking = [
        what
        for what, wanted, able in (
            ("CPUs", cpu, capabilities.hot_add_cpu),
            ("memory", memory, capabilities.hot_add_memory),
        )
        if wanted and not able
    ]
    if lacking:
        return Refusal(
            guard=Reason.HOT_ADD_REFUSED,
            subject=subject,
            message=f"the hypervisor cannot add {' or '.join(lacking)} to a running VM",
        )
    return None


def evict(pod: Pod, budgets: tuple[Budget, ...]) -> Refusal | None:
    """Whether a pod may be evicted."""
    subject = f"pod/{pod.key}"
    if pod.held:
        return Refusal(guard=Reason.HELD, subject=subject, message=f"{pod.key}: {pod.held}")
    for budget in budgets:
        if (
            budget.namespace == pod.namespace
            and budget.allowed < 1
            and selector_matches(budget.selector, pod.shape.labels)
        ):
            return Refusal(
                guard=Reason.BUDGET,
                subject=subject,
                message=f"{pod.key}: budget {budget.name} allows 0 disruptions",
            )
    return None


def retire(
    fleet: Fleet, target: Bin, pods: Iterable[Pod], budgets: tuple[Budget, ...], now: float
) -> Refusal | None:
    """Whether this VM may be emptied and deleted, wherever its pods would go.

    A pool above its fixed or greatest count need not wait for quiet.
    """
    refusal = _settled(fleet, target)
    vm, pool = target.vm, target.pool
    if refusal is not None or vm is None or pool is None:
        return refusal
    spec, subject = pool.spec, f"vm/{target.name}"
    count = fleet.census[pool.name].total
    most = spec.nodes.max if spec.replicas is None else spec.replicas
    least = spec.nodes.min if spec.replicas is None else spec.replicas
    if count <= least:
        return Refusal(
            guard=Reason.POOL_AT_MIN,
            subject=subject,
            message=f"the pool has {count} VMs and may not have fewer than {least}",
        )
    refusal = _disruptible(target, pool, now)
    if refusal is not None:
        return refusal
    quiet_for = now - vm.quiet_since
    if count <= most and quiet_for < spec.disruption.consolidate_after:
        return Refusal(
            guard=Reason.NOT_QUIET,
            subject=subject,
            message=f"its pods changed {quiet_for:.0f} s ago; consolidateAfter is "
            f"{spec.disruption.consolidate_after:.0f} s",
        )
    return _evictable(target, pods, budgets)


def replace(
    fleet: Fleet, target: Bin, pods: Iterable[Pod], budgets: tuple[Budget, ...], now: float
) -> Refusal | None:
    """Whether this VM may give way to another one: as ``retire``, but that a person wants it.

    It need not be quiet, and the pool stays as large as it is.
    """
    refusal = _settled(fleet, target)
    if refusal is None and target.pool is not None:
        refusal = _disruptible(target, target.pool, now)
    return refusal or _evictable(target, pods, budgets)


def _settled(fleet: Fleet, target: Bin) -> Refusal | None:
    vm, pool = target.vm, target.pool
    subject = f"vm/{target.name}"
    if vm is None or pool is None:
        return Refusal(guard=Reason.NO_POOL, subject=subject, message="not our VM")
    standing = pool_stands_still(fleet, pool)
    if standing is not None:
        return standing
    if vm.phase is not Phase.READY or not vm.ready or vm.lost:
        return Refusal(
            guard=Reason.IN_FLIGHT, subject=subject, message=f"the VM is {vm.phase}, not settled"
        )
    if vm.held:
        return Refusal(guard=Reason.HELD, subject=subject, message=vm.held)
    return None


def _disruptible(target: Bin, pool: Pool, now: float) -> Refusal | None:
    disruption, subject = pool.spec.disruption, f"vm/{target.name}"
    if disruption.max_unavailable == 0:
        return Refusal(
            guard=Reason.MAX_UNAVAILABLE,
            subject=subject,
            message="disruption.maxUnavailable is 0",
        )
    if not is_open(disruption.windows, now):
        return Refusal(
            guard=Reason.WINDOW_CLOSED, subject=subject, message="no disruption window is open"
        )
    return None


def _evictable(target: Bin, pods: Iterable[Pod], budgets: tuple[Budget, ...]) -> Refusal | None:
    tight = tuple(budget for budget in budgets if budget.allowed < 1)
    for pod in pods:
        refusal = evict(pod, tight) if pod.held or tight else None
        if refusal is not None:
            return Refusal(
                guard=refusal.guard, subject=f"vm/{target.name}", message=refusal.message
            )
    return None
