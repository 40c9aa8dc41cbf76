"""Status of VMPools and ContainerWorkloads: what is seen, decided and promised. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from plimsoll.act import conditions
from plimsoll.act.conditions import REDUNDANT, Fact
from plimsoll.act.decisions import with_newest
from plimsoll.api import ContainerWorkload, VMPool, labels
from plimsoll.api.common import Decision
from plimsoll.api.containerworkload import ContainerWorkloadStatus
from plimsoll.api.quantity import format_milli
from plimsoll.api.vmnode import Phase
from plimsoll.api.vmpool import VMPoolStatus
from plimsoll.decide.plan import Plan, Reason, Unplaced, WorkloadVerdict
from plimsoll.events import EventReason
from plimsoll.world import wire
from plimsoll.world.objects import Objects
from plimsoll.world.owners import key_of, target_of
from plimsoll.world.snapshot import Pod, Pool, Snapshot, Vm, Workload

_STANDING_STILL: Final = (Reason.LOOP_DETECTED, Reason.TOO_MANY_UNREADY, Reason.HYPERVISOR_UNREADY)
_LISTED: Final = 5
"""Names in one message; more are counted."""


@dataclass(frozen=True)
class Turn:
    """One turn of the planning loop, as far as a status tells of it."""

    objects: Objects
    snapshot: Snapshot
    plan: Plan
    now: float
    decisions: Mapping[str, list[Decision]] = field(default_factory=dict)
    """By ``vmpool/NAME`` and ``workload/NAMESPACE/NAME``, oldest first."""
    problems: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By workload key: CamelCase reason and text of what acting has met since."""
    circling: Sequence[str] = ()
    """Keys of workloads whose replicas are not moved any more: it went in a circle."""


def pool_statuses(turn: Turn) -> dict[str, VMPoolStatus]:
    """By name: the status of every VMPool that is not being deleted."""
    pools = {pool.metadata.name: pool for pool in turn.objects.pools}
    vms: defaultdict[str, list[Vm]] = defaultdict(list)
    for vm in turn.snapshot.vms:
        if vm.pool is not None:
            vms[vm.pool].append(vm)
    return {
        pool.name: _pool(turn, pools[pool.name], pool, vms[pool.name])
        for pool in turn.snapshot.pools
        if not pool.deleting
    }


def workload_statuses(turn: Turn) -> dict[str, ContainerWorkloadStatus]:
    """By key: the status of every ContainerWorkload that is not being deleted."""
    if not turn.objects.workloads:
        return {}
    verdicts = {verdict.key: verdict for verdict in turn.plan.workloads}
    known = {workload.key: workload for workload in turn.snapshot.workloads}
    pods: defaultdict[str, list[Pod]] = defaultdict(list)
    for pod in turn.snapshot.pods:
        if pod.workload is not None and not pod.terminating:
            pods[pod.workload].append(pod)
    targets = {
        (d.metadata.namespace, kind, d.metadata.name): d
        for kind, some in (
            ("Deployment", turn.objects.deployments),
            ("StatefulSet", turn.objects.statefulsets),
        )
        for d in some
    }
    unplaced: defaultdict[str, list[Unplaced]] = defaultdict(list)
    for missing in turn.plan.unplaced:
        found = turn.snapshot.pod(missing.pod)
        if found is not None and found.workload is not None:
            unplaced[found.workload].append(missing)
    return {
        key: _workload(
            turn,
            workload,
            known[key],
            verdicts.get(key),
            pods[key],
            targets.get(target_of(workload)),
            unplaced[key],
        )
        for workload in turn.objects.workloads
        if (key := key_of(workload)) in known and not workload.metadata.deletion_timestamp
    }


def _pool(turn: Turn, pool: VMPool, seen: Pool, vms: Sequence[Vm]) -> VMPoolStatus:
    old = pool.status or VMPoolStatus()
    facts = _pool_facts(turn, seen, vms)
    if pool.spec.survive.hosts:
        broken = turn.plan.survival.get(seen.name, "")
        facts.append(_promise(not broken, broken or f"{pool.spec.survive.hosts} host(s) may fail"))
    return VMPoolStatus(
        observed_generation=seen.generation,
        conditions=conditions.merge(old.conditions, facts, seen.generation, turn.now),
        replicas=len(vms),
        ready_replicas=sum(vm.ready for vm in vms),
        selector=f"{labels.POOL}={seen.name}",
        cpu=_quantity(sum(vm.cpu for vm in vms)),
        memory=sum(vm.memory for vm in vms),
        decisions=with_newest(old.decisions, turn.decisions.get(f"vmpool/{seen.name}", [])),
    )


def _pool_facts(turn: Turn, pool: Pool, vms: Sequence[Vm]) -> list[Fact]:
    if pool.problem:
        return conditions.stalled(Reason.POOL_PROBLEM.value, pool.problem)
    for refusal in turn.plan.refusals:
        if refusal.subject == f"vmpool/{pool.name}" and refusal.guard in _STANDING_STILL:
            return conditions.stalled(refusal.guard.value, refusal.message)
    waiting = [vm for vm in vms if vm.phase is not Phase.READY or not vm.ready or vm.lost]
    if waiting:
        what = _listed([f"{vm.name} ({'lost' if vm.lost else vm.phase.value})" for vm in waiting])
        if pool.launch_blocked_until > turn.now:
            return conditions.reconciling(
                Reason.LAUNCH_BACKOFF.value, f"launches fail and are retried; not ready: {what}"
            )
        return conditions.reconciling("VMsNotReady", f"not ready: {what}")
    if len(vms) < pool.spec.nodes.min:
        return conditions.reconciling(
            "TooFewVMs", f"{len(vms)} VMs, and nodes.min is {pool.spec.nodes.min}"
        )
    return conditions.ready("VMsReady", f"{len(vms)} VMs are ready")


def _workload(
    turn: Turn,
    workload: ContainerWorkload,
    seen: Workload,
    verdict: WorkloadVerdict | None,
    pods: Sequence[Pod],
    target: wire.Controller | None,
    unplaced: Sequence[Unplaced],
) -> ContainerWorkloadStatus:
    old = workload.status or ContainerWorkloadStatus()
    generation = workload.metadata.generation
    ready = sum(pod.ready for pod in pods)
    desired = verdict.replicas if verdict is not None else seen.replicas
    facts = _workload_facts(turn, seen, ready, desired, unplaced)
    if workload.spec.redundancy.survive and verdict is not None:
        facts.append(_promise(verdict.redundant, verdict.message))
    demand = seen.demand
    size = verdict.size if verdict is not None else seen.template_size
    return ContainerWorkloadStatus(
        observed_generation=generation,
        conditions=conditions.merge(old.conditions, facts, generation, turn.now),
        replicas=len(pods),
        ready_replicas=ready,
        desired_replicas=desired,
        selector=_selector(target.spec.selector) if target is not None else "",
        cpu=_quantity(size.cpu),
        memory=size.memory,
        demand_cpu=_quantity(demand.cpu if demand is not None else 0),
        demand_memory=demand.memory if demand is not None else 0,
        decisions=with_newest(old.decisions, turn.decisions.get(f"workload/{seen.key}", [])),
    )


def _workload_facts(
    turn: Turn, workload: Workload, ready: int, desired: int, unplaced: Sequence[Unplaced]
) -> list[Fact]:
    if workload.key in turn.problems:
        return conditions.stalled(*turn.problems[workload.key])
    if workload.problem:
        return conditions.stalled(EventReason.TARGET_PROBLEM.value, workload.problem)
    if unplaced:
        first = unplaced[0]
        why = "; ".join(f"{pool}: {text}" for pool, text in sorted(first.why.items()))
        return conditions.stalled(
            first.reason.value, f"{len(unplaced)} of its pods find no place; {first.pod}: {why}"
        )
    if ready < desired:
        return conditions.reconciling("ReplicasNotReady", f"{ready} of {desired} replicas ready")
    return conditions.ready("ReplicasReady", f"{ready} replicas are ready")


def _quantity(milli: int) -> Any:
    """Millicores for a model, which reads quantities: a bare number would mean whole CPUs."""
    return format_milli(milli)


def _promise(kept: bool, message: str) -> Fact:
    if kept:
        return Fact(REDUNDANT, "True", "PromiseKept", message)
    return Fact(REDUNDANT, "False", "PromiseBroken", message)


def _selector(selector: wire.LabelSelector | None) -> str:
    """A label selector as text, as the ``scale`` subresource wants it."""
    if selector is None:
        return ""
    parts = [f"{key}={value}" for key, value in sorted(selector.match_labels.items())]
    for term in selector.match_expressions:
        values = ",".join(sorted(term.values))
        parts.append(
            {
                "In": f"{term.key} in ({values})",
                "NotIn": f"{term.key} notin ({values})",
                "Exists": term.key,
                "DoesNotExist": f"!{term.key}",
            }[term.operator]
        )
    return ",".join(parts)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"
