"""PodDisruptionBudgets from files: how many evictions they allow, where no status says it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from plimsoll.world import wire
from plimsoll.world.objects import Objects
from plimsoll.world.owners import Index, Target, controller_of, scaled_by
from plimsoll.world.pods import FINISHED, is_ready
from plimsoll.world.selectors import selector_matches


def with_status(
    budgets: Iterable[wire.PodDisruptionBudget], cluster: Objects
) -> tuple[wire.PodDisruptionBudget, ...]:
    """The budgets with the status that the disruption controller would give them.

    A status that is there is kept. Percentages are of the pods that the controllers of the
    selected pods want, and round up, as in Kubernetes.
    """
    index = Index(cluster)
    wanted: dict[Target, int] = {
        (c.metadata.namespace, c.kind, c.metadata.name): 1
        if c.spec.replicas is None
        else c.spec.replicas
        for c in (*cluster.deployments, *cluster.statefulsets, *cluster.replicasets)
    }
    return tuple(
        budget
        if budget.status is not None
        else msgspec.structs.replace(budget, status=_status(budget, cluster, index, wanted))
        for budget in budgets
    )


def _status(
    budget: wire.PodDisruptionBudget, cluster: Objects, index: Index, wanted: dict[Target, int]
) -> wire.PodDisruptionBudgetStatus:
    spec = budget.spec
    selected = [
        pod
        for pod in cluster.pods
        if pod.metadata.namespace == budget.metadata.namespace
        and pod.status.phase not in FINISHED
        and selector_matches(spec.selector, pod.metadata.labels)
    ]
    expected = _expected(selected, index, wanted)
    if spec.min_available is not None:
        if isinstance(spec.min_available, int):
            expected = len(selected)
        desired = _scaled(spec.min_available, expected)
    elif spec.max_unavailable is not None:
        desired = max(0, expected - _scaled(spec.max_unavailable, expected))
    else:
        desired = expected
    healthy = sum(
        1 for pod in selected if is_ready(pod) and pod.metadata.deletion_timestamp is None
    )
    return wire.PodDisruptionBudgetStatus(
        disruptions_allowed=max(0, healthy - desired) if expected else 0,
        observed_generation=budget.metadata.generation,
        current_healthy=healthy,
        desired_healthy=desired,
        expected_pods=expected,
    )


def _expected(pods: Iterable[wire.Pod], index: Index, wanted: dict[Target, int]) -> int:
    """Pods that the controllers of these want; a pod of any other controller counts itself."""
    owners: set[Target] = set()
    alone = 0
    for pod in pods:
        owner = scaled_by(pod, index)
        controller = controller_of(pod.metadata.owner_references)
        if owner is None and controller is not None:
            owner = pod.metadata.namespace, controller.kind, controller.name
        if owner is not None and owner in wanted:
            owners.add(owner)
        else:
            alone += 1
    return alone + sum(wanted[owner] for owner in owners)


def _scaled(value: int | str, whole: int) -> int:
    """A count, or a percentage of a whole, rounded up."""
    if isinstance(value, str) and value.endswith("%"):
        return -(-int(value[:-1]) * whole // 100)
    return int(value)
