"""From objects to the snapshot that a decision rests on. Reads only what it is given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import msgspec

from plimsoll.api import VMPool
from plimsoll.world import snapshot, wire
from plimsoll.world.assemble_hosts import hypervisors_of
from plimsoll.world.assemble_pods import Pods
from plimsoll.world.assemble_vms import Vms
from plimsoll.world.assemble_workloads import Workloads
from plimsoll.world.attachments import AttachLimits, attach_limits
from plimsoll.world.objects import Objects, Observations
from plimsoll.world.owners import Index, key_of
from plimsoll.world.shapes import Shapes
from plimsoll.world.snapshot import EXPENDABLE_BELOW
from plimsoll.world.tracking import Tracked, same
from plimsoll.world.volumes import Volumes

_T = TypeVar("_T", snapshot.Hypervisor, snapshot.Pool, snapshot.Budget)
_Changed = Callable[..., bool]
"""Called with names of parts of ``Objects``: whether any of them changed."""

_STORAGE: Final = (
    "claims",
    "claims_to_come",
    "volumes",
    "storage_classes",
    "csi_drivers",
    "storage_capacities",
    "absent",
)
"""What the rules of volumes are made from."""
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
    return Assembler(expendable_below=expendable_below).assemble(objects, observations, now)


class Assembler:
    """Assembles one snapshot after the other of a world that changes little in between.

    Each is what ``assemble`` makes of the same objects, but what did not change is not made
    anew: it is the same object as in the snapshot before. Whether an object changed is told by
    its identity: a changed one is another object, never the same with other content.
    """

    def __init__(self, *, expendable_below: int = EXPENDABLE_BELOW) -> None:
        self._expendable_below = expendable_below
        self._forget()

    def _forget(self) -> None:
        """Begins anew."""
        self._last = Objects()
        self._volumes = Volumes(self._last)
        self._shapes = Shapes(volumes=self._volumes)
        self._index = Index(self._last)
        self._steered: dict[str, str] = {}
        self._pods = Pods(self._index, self._shapes)
        self._vms = Vms()
        self._workloads = Workloads()
        self._limits = AttachLimits()
        self._daemons: tuple[snapshot.PodShape, ...] = ()
        self._snapshot = snapshot.Snapshot()
        self._blocked: dict[str, float] = {}
        self._inhabited: set[str] = set()
        self._wire_pods: Tracked[wire.Pod] = Tracked()
        self._replicasets: Tracked[wire.Controller] = Tracked()

    def assemble(
        self, objects: Objects, observations: Observations, now: float
    ) -> snapshot.Snapshot:
        """The world in the decision's own terms, as ``assemble`` gives it."""
        try:
            return self._assembled(objects, observations, now)
        except BaseException:
            # Some of the changes have been taken in, and others have not.
            self._forget()
            raise

    def _assembled(
        self, objects: Objects, observations: Observations, now: float
    ) -> snapshot.Snapshot:
        last, self._last = self._last, objects

        def changed(*names: str) -> bool:
            return any(not _unchanged(getattr(last, n), getattr(objects, n)) for n in names)

        pods = self._wire_pods.see(objects.pods)
        volumes_changed = self._see_volumes(objects, changed, bool(pods))
        shapes_changed = changed("runtime_classes", "priority_classes")
        if shapes_changed:
            self._shapes = Shapes(
                objects.runtime_classes, objects.priority_classes, self._volumes, self._shapes
            )
        self._pods.change(pods)
        self._see_owners(objects, changed("workloads"))
        if shapes_changed:
            self._pods.shapes_changed(self._shapes)
        elif volumes_changed:
            self._pods.volumes_changed()
        self._pods.make()
        if shapes_changed or volumes_changed or changed("daemonsets"):
            self._daemons = _daemons(objects.daemonsets, self._shapes)
        if self._vms.see(objects) or volumes_changed or changed("csi_nodes", "csi_drivers"):
            self._limits = attach_limits(objects, self._volumes.free_on)
        self._snapshot = self._made(objects, observations, now, changed)
        if self._shapes.crowded:
            self._tidy()
        return self._snapshot

    def _tidy(self) -> None:
        """Forgets the shapes of pods that are gone."""
        used = [pod.shape for pod in self._snapshot.pods]
        used += [w.template for w in self._snapshot.workloads if w.template is not None]
        self._shapes.tidy((*used, *self._daemons))
        self._pods.forget_likenesses()

    def _see_volumes(self, objects: Objects, changed: _Changed, pods_changed: bool) -> bool:
        """Takes in claims and volumes; whether they may mean something else for pods."""
        follows_nodes = self._volumes.follows_nodes and changed("nodes")
        follows_pods = self._volumes.follows_pods and pods_changed
        if not (changed(*_STORAGE) or follows_nodes or follows_pods):
            return False
        self._volumes = self._shapes.volumes = Volumes(objects)
        return True

    def _see_owners(self, objects: Objects, workloads_changed: bool) -> None:
        """Takes in workloads and ReplicaSets."""
        replicasets = self._replicasets.see(objects.replicasets)
        moved = bool(replicasets) and self._index.change_replicasets(*replicasets)
        if workloads_changed:
            steered = {
                key_of(w): w.spec.scale_up.container
                for w in objects.workloads
                if w.spec.scale_up is not None
            }
            moved |= self._index.set_workloads(objects.workloads) or steered != self._steered
            self._steered = steered
        if moved:
            self._pods.owners_changed(self._steered)

    def _made(
        self, objects: Objects, observations: Observations, now: float, changed: _Changed
    ) -> snapshot.Snapshot:
        before = self._snapshot
        hypervisors = before.hypervisors
        blocked = observations.launch_blocked_until
        if blocked != self._blocked or changed(
            "hypervisors", "hypervisors_known", "pools", "vmnodes"
        ):
            hypervisors = _kept(before.hypervisors, hypervisors_of(objects, observations))
            self._blocked = dict(blocked)
        self._vms.make(observations, hypervisors, self._pods.newest, self._limits, now)
        workloads = self._workloads.of(
            objects, observations, self._shapes, self._volumes, self._index, now
        )
        pools = _pools(objects, observations, self._daemons, self._limits)
        budgets = before.budgets
        if changed("budgets"):
            budgets = _kept(before.budgets, _budgets(objects.budgets))
        return snapshot.Snapshot(
            hypervisors=hypervisors,
            pools=_kept(before.pools, pools),
            vms=self._vms.all,
            pods=self._pods.all,
            workloads=before.workloads if same(before.workloads, workloads) else workloads,
            budgets=budgets,
            namespaces=self._namespaces(objects.namespaces, changed("namespaces")),
            expendable_below=self._expendable_below,
        )

    def _namespaces(
        self, namespaces: Iterable[wire.Namespace], changed: bool
    ) -> dict[str, dict[str, str]]:
        before = self._snapshot.namespaces
        inhabited = {name for name, pods in self._pods.namespaces.items() if pods}
        if not changed and inhabited == self._inhabited:
            return before
        self._inhabited = inhabited
        now = _namespaces(namespaces, inhabited)
        return before if now == before else now


def _unchanged(before: object, now: object) -> bool:
    if isinstance(before, tuple) and isinstance(now, tuple):
        return same(before, now)
    return before == now


def _kept(before: tuple[_T, ...], now: tuple[_T, ...]) -> tuple[_T, ...]:
    """What there is now, with the objects of before in place of those that are equal."""
    known = {_identity(part): part for part in before}
    result = tuple(
        old if (old := known.get(_identity(part))) is not None and old == part else part
        for part in now
    )
    return before if same(before, result) else result


def _identity(part: snapshot.Hypervisor | snapshot.Pool | snapshot.Budget) -> tuple[str, str]:
    return getattr(part, "namespace", ""), part.name


def _daemons(
    daemonsets: Iterable[wire.Controller], shapes: Shapes
) -> tuple[snapshot.PodShape, ...]:
    made = (
        shapes.of_template(daemon_template(d.spec.template), d.metadata.namespace)
        for d in daemonsets
        if d.metadata.deletion_timestamp is None
    )
    return tuple(sorted(made, key=lambda shape: shape.key))


def _pools(
    objects: Objects,
    observations: Observations,
    daemons: tuple[snapshot.PodShape, ...],
    limits: AttachLimits,
) -> tuple[snapshot.Pool, ...]:
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
    namespaces: Iterable[wire.Namespace], inhabited: Iterable[str]
) -> dict[str, dict[str, str]]:
    labels: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for namespace in namespaces:
        labels[namespace.metadata.name] = namespace.metadata.labels
    names = sorted({*labels, *inhabited})
    # The API server puts this label on every namespace.
    return {name: {**labels[name], "kubernetes.io/metadata.name": name} for name in names}
