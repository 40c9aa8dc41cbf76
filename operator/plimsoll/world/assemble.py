"""From objects to the snapshot that a decision rests on. Reads only what it is given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from plimsoll.api import VMPool
from plimsoll.world import snapshot, wire
from plimsoll.world.assemble_hosts import hypervisors_of
from plimsoll.world.assemble_vms import vms_of
from plimsoll.world.assemble_workloads import workloads_of
from plimsoll.world.attachments import AttachLimits, attach_limits
from plimsoll.world.objects import Objects, Observations
from plimsoll.world.owners import Index, key_of, workload_of
from plimsoll.world.pods import FINISHED, pod_of
from plimsoll.world.shapes import Shapes
from plimsoll.world.snapshot import EXPENDABLE_BELOW
from plimsoll.world.volumes import Volumes

_DAEMON_TOLERATIONS = tuple(
    wire.Toleration(key=f"node.kubernetes.io/{name}", operator="Exists", effect=effect)
    for name, effect in (
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    )
)
_HOST_NETWORK_TOLERATION = wire.Toleration(
    key="node.kubernetes.io/network-unavailable", operator="Exists", effect="NoSchedule"
)


def assemble(
    objects: Objects,
    observations: Observations,
    now: float,
    *,
    expendable_below: int = EXPENDABLE_BELOW,
) -> snapshot.Snapshot:
    """The world in the decision's own terms.

    Equal objects give equal snapshots, whatever their order. ``now`` (seconds since
    the epoch) is the moment of which the snapshot speaks: what was measured or refused
    too long before it does not count. Pods of a priority less than ``expendable_below``
    are filling.
    """
    volumes = Volumes(objects)
    limits = attach_limits(objects, volumes.free_on)
    shapes = Shapes(objects.runtime_classes, objects.priority_classes, volumes)
    index = Index(objects)
    steered = {
        key_of(w): w.spec.scale_up.container
        for w in objects.workloads
        if w.spec.scale_up is not None
    }
    pods = []
    for pod in objects.pods:
        if pod.status.phase not in FINISHED:
            workload = workload_of(pod, index)
            pods.append(pod_of(pod, shapes, workload, steered.get(workload or "", "")))
    pods.sort(key=lambda pod: pod.key)
    hypervisors = hypervisors_of(objects, observations)
    return snapshot.Snapshot(
        hypervisors=hypervisors,
        pools=_pools(objects, observations, shapes, limits),
        vms=vms_of(objects, observations, hypervisors, pods, limits, now),
        pods=tuple(pods),
        workloads=workloads_of(objects, observations, shapes, index, now),
        budgets=_budgets(objects.budgets),
        namespaces=_namespaces(objects.namespaces, pods),
        expendable_below=expendable_below,
    )


def _pools(
    objects: Objects,
    observations: Observations,
    shapes: Shapes,
    limits: AttachLimits,
) -> tuple[snapshot.Pool, ...]:
    daemons = tuple(
        sorted(
            (
                shapes.of_template(daemon_template(d.spec.template), d.metadata.namespace)
                for d in objects.daemonsets
                if d.metadata.deletion_timestamp is None
            ),
            key=lambda shape: shape.key,
        )
    )
    return tuple(
        snapshot.Pool(
            name=pool.metadata.name,
            spec=pool.spec,
            generation=pool.metadata.generation,
            deleting=pool.metadata.deletion_timestamp is not None,
            problem=_pool_problem(pool, objects, observations),
            launch_blocked_until=observations.launch_blocked_until.get(pool.metadata.name, 0.0),
            loop_detected=pool.metadata.name in observations.loop_detected,
            daemons=daemons,
            attach_limits=limits.by_pool.get(pool.metadata.name, {}),
        )
        for pool in sorted(objects.pools, key=lambda p: p.metadata.name)
    )


def _pool_problem(pool: VMPool, objects: Objects, observations: Observations) -> str:
    told = observations.problems.get(f"VMPool/{pool.metadata.name}")
    if told:
        return told
    name = pool.spec.hypervisor
    for hypervisor in objects.hypervisors:
        if hypervisor.metadata.name == name:
            if hypervisor.metadata.deletion_timestamp is not None:
                return f"Hypervisor {name} is being deleted"
            return observations.problems.get(f"Hypervisor/{name}", "")
    if not objects.hypervisors_known:
        return ""
    return f"there is no Hypervisor {name}: create it, or correct spec.hypervisor"


def daemon_template(template: wire.PodTemplate) -> wire.PodTemplate:
    """A DaemonSet's pod template with the tolerations that its controller adds."""
    spec = template.spec
    added = [t for t in _DAEMON_TOLERATIONS if t not in spec.tolerations]
    if spec.host_network:
        added.append(_HOST_NETWORK_TOLERATION)
    return msgspec.structs.replace(
        template,
        spec=msgspec.structs.replace(spec, tolerations=[*spec.tolerations, *added]),
    )


def _budgets(budgets: Iterable[wire.PodDisruptionBudget]) -> tuple[snapshot.Budget, ...]:
    return tuple(
        snapshot.Budget(
            namespace=budget.metadata.namespace,
            name=budget.metadata.name,
            selector=budget.spec.selector,
            allowed=_allowed(budget),
        )
        for budget in sorted(budgets, key=lambda b: (b.metadata.namespace, b.metadata.name))
    )


def _allowed(budget: wire.PodDisruptionBudget) -> int:
    status = budget.status
    # As the Eviction API does: a status of an older spec allows nothing.
    if status is None or status.observed_generation < budget.metadata.generation:
        return 0
    return max(0, status.disruptions_allowed)


def _namespaces(
    namespaces: Iterable[wire.Namespace], pods: Iterable[snapshot.Pod]
) -> dict[str, dict[str, str]]:
    labels: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for namespace in namespaces:
        labels[namespace.metadata.name] = namespace.metadata.labels
    names = sorted({*labels, *(pod.namespace for pod in pods)})
    # The API server puts this label on every namespace.
    return {name: {**labels[name], "kubernetes.io/metadata.name": name} for name in names}
