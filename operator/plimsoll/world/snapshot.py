"""The immutable snapshot: the world in the decision's own terms.

Units everywhere: CPU in millicores, memory in bytes, times in seconds since the
epoch (UTC). ``assemble.py`` makes it from wire objects, ``plan -f`` from files;
``decide`` reads nothing else.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter
from typing import Final, Literal

import msgspec

from plimsoll.api.containerworkload import ContainerWorkloadSpec
from plimsoll.api.hypervisor import Capabilities
from plimsoll.api.vmnode import Phase
from plimsoll.api.vmpool import Template, VMPoolSpec
from plimsoll.world.wire import (
    LabelSelector,
    NodeSelector,
    PodAffinityTerm,
    PreferredNodes,
    Taint,
    Toleration,
    TopologySpreadConstraint,
    WeightedPodAffinityTerm,
)

EXPENDABLE_BELOW: Final = -10
"""The usual priority below which pods are filling, as Cluster Autoscaler has it."""


class Frozen(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all snapshot parts: compared by value, never changed.

    What never changes can form no cycle: the garbage collector need not walk through it.
    """


class Resources(Frozen, frozen=True, kw_only=True):
    """An amount of each resource. ``extended`` holds whatever is not CPU or memory.

    The number of pods is not among them: every pod takes exactly one place, so
    it is counted, not added up. Keys of ``extended`` are resource names
    (``ephemeral-storage``, ``plimsoll.dev/berths``, ``hugepages-2Mi`` ...). Volumes that are
    attached count as ``attachable-volumes-csi-DRIVER``; a node that does not name that
    resource has no limit of it, unlike of any other.
    """

    cpu: int = 0
    memory: int = 0
    extended: dict[str, int] = {}


class PodShape(Frozen, frozen=True, kw_only=True):
    """Everything of a pod that the scheduler looks at; identical pods share one.

    ``key`` is a stable digest of the rest: equal shapes have equal keys, also
    across processes, so that plans are deterministic.
    """

    key: str
    namespace: str
    labels: dict[str, str]
    requests: Resources
    """Effective requests: containers, init containers, sidecars, overhead."""
    node_selector: dict[str, str] = {}
    node_affinity: NodeSelector | None = None
    tolerations: tuple[Toleration, ...] = ()
    affinity: tuple[PodAffinityTerm, ...] = ()
    anti_affinity: tuple[PodAffinityTerm, ...] = ()
    spread: tuple[TopologySpreadConstraint, ...] = ()
    """Only constraints with ``whenUnsatisfiable: DoNotSchedule``."""
    preferred_nodes: tuple[PreferredNodes, ...] = ()
    """Preferred node affinity: wishes decide among places that cost the same."""
    preferred_affinity: tuple[WeightedPodAffinityTerm, ...] = ()
    preferred_anti_affinity: tuple[WeightedPodAffinityTerm, ...] = ()
    preferred_spread: tuple[TopologySpreadConstraint, ...] = ()
    """Constraints with ``whenUnsatisfiable: ScheduleAnyway``."""
    volume_nodes: tuple[NodeSelector, ...] = ()
    """Nodes from which its volumes can be reached; every one of them must match.

    Node affinity of bound PersistentVolumes, allowed topologies of StorageClasses that
    wait for the first consumer.
    """
    host_ports: tuple[tuple[str, str, int], ...] = ()
    """(host IP or ``0.0.0.0``, protocol, port)."""
    runtime_class: str = ""
    priority: int = 0
    preempts: bool = True
    """False: ``preemptionPolicy: Never``."""
    blocked: str = ""
    """Why no node of any kind would help now (claim not bound, volume in use elsewhere);
    empty: one might."""
    not_modelled: tuple[str, ...] = ()
    """Rules of this pod that the planner does not know; such a pod is never placed by guess."""


class Pod(Frozen, frozen=True, kw_only=True):
    """One pod that is neither finished nor gone."""

    namespace: str
    name: str
    uid: str
    shape: PodShape
    node: str | None
    """Node that it is bound to; None while pending."""
    nominated: str | None = None
    """Node on which the scheduler makes room for it by preemption."""
    ready: bool = False
    terminating: bool = False
    created: float = 0.0
    workload: str | None = None
    """Key ``namespace/name`` of the ContainerWorkload that owns it."""
    gated: bool = False
    """Has scheduling gates: not to be planned for until they are lifted."""
    daemon: bool = False
    """Owned by a DaemonSet, or a mirror pod: goes with its node, is never moved."""
    held: str = ""
    """Why it must not be evicted (annotation, bare pod, local storage ...); empty: it may."""
    size: Resources | None = None
    """Requests of the steered container in the pod's spec; None: no workload steers it."""
    resize_refused: str = ""
    """Why the kubelet refused the last in-place resize (PodResizePending, Infeasible)."""
    restart_on_resize: bool = False
    """A resize of CPU or memory would restart the container."""
    key: str = ""
    """``namespace/name``; follows from the two, whatever is given."""

    def __post_init__(self) -> None:
        # Asked for very often: it is put together once.
        msgspec.structs.force_setattr(self, "key", f"{self.namespace}/{self.name}")


class Demand(Frozen, frozen=True, kw_only=True):
    """What a workload uses, summed over its replicas, from the metrics API."""

    cpu: int
    memory: int
    at: float
    """When it was measured."""
    peak_cpu: int
    peak_memory: int
    """Largest sums within the workload's ``scaleDownAfter``."""
    window_full: bool = False
    """Whether the whole of ``scaleDownAfter`` has been watched; if not, never scale down."""


class Workload(Frozen, frozen=True, kw_only=True):
    """A ContainerWorkload with the object that it steers."""

    namespace: str
    name: str
    spec: ContainerWorkloadSpec
    generation: int = 0
    target: str = ""
    """``Deployment/name`` or ``StatefulSet/name``; empty while there is none."""
    replicas: int = 0
    """``spec.replicas`` of the target now."""
    template: PodShape | None = None
    """Shape of a new replica, from the target's pod template."""
    template_size: Resources = Resources()
    """CPU and memory requests of the steered container in the template."""
    overhead: Resources = Resources()
    """Requests of a replica besides the steered container."""
    demand: Demand | None = None
    """None: nothing measured, or measured too long ago."""
    problem: str = ""
    """Why it cannot be steered now (conflict, no target ...); empty: it can."""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


class Host(Frozen, frozen=True, kw_only=True):
    """A physical machine: a failure domain and a capacity."""

    name: str
    hypervisor: str
    zone: str = ""
    cpu: int = 0
    """Millicores that may be given to VMs, overcommitment included."""
    memory: int = 0
    cpu_other: int = 0
    """Millicores taken by VMs that are not in this snapshot."""
    memory_other: int = 0
    state: Literal["Up", "Down", "Isolated", "Maintenance", "Unknown"] = "Up"
    state_since: float = 0.0
    launch_blocked_until: float = 0.0
    """Back-off after failed launches on this host."""
    free_nodes: tuple[str, ...] | None = None
    """Names that VMs launched here may have, for they are machines that run; None: any."""


class Hypervisor(Frozen, frozen=True, kw_only=True):
    """Where VMs live. ``hosts`` None: no inventory known, hosts count as unbounded."""

    name: str
    ready: bool = True
    """False: unreachable; nothing is created, deleted or replaced there."""
    capabilities: Capabilities = Capabilities()
    hosts: tuple[Host, ...] | None = None


class Pool(Frozen, frozen=True, kw_only=True):
    """A VMPool."""

    name: str
    spec: VMPoolSpec
    generation: int = 0
    deleting: bool = False
    problem: str = ""
    """Why it cannot be served now (no such Hypervisor ...); empty: it can."""
    launch_blocked_until: float = 0.0
    """Back-off after failed launches."""
    loop_detected: bool = False
    """The same capacity was launched and retired twice within the window: stand still."""
    daemons: tuple[PodShape, ...] = ()
    """DaemonSet pods that a new VM of the pool will run."""
    attach_limits: dict[str, int] = {}
    """Volumes that a new VM can attach, by resource ``attachable-volumes-csi-DRIVER``: the
    least of what its VMs report; absent: no limit is known."""


class Vm(Frozen, frozen=True, kw_only=True):
    """A VM with its node, or a node of somebody else's (``pool`` None)."""

    name: str
    """Name of the VMNode and of its node."""
    uid: str = ""
    pool: str | None = None
    hypervisor: str = ""
    host: str = ""
    zone: str = ""
    phase: Phase = Phase.READY
    cpu: int = 0
    """Millicores wanted (VMNode spec)."""
    memory: int = 0
    """Bytes wanted (VMNode spec)."""
    max_cpu: int | None = None
    """Millicores to which it can grow, fixed when it was made; None: as far as its pool goes."""
    max_memory: int | None = None
    resized: bool = True
    """The node's capacity shows the wanted size."""
    allocatable: Resources = Resources()
    """What pods may request, at the wanted size. Without berths: see ``berths``."""
    max_pods: int = 110
    berths: int | None = None
    """Berths advertised; None: the node advertises none."""
    labels: dict[str, str] = {}
    taints: tuple[Taint, ...] = ()
    ready: bool = True
    schedulable: bool = True
    """False: cordoned."""
    retiring: bool = False
    lost: bool = False
    """Its host or itself failed; whether it comes back is not known yet."""
    created: float = 0.0
    quiet_since: float = 0.0
    """Since when no pod was bound to or left it."""
    usage: Resources | None = None
    """Measured use, from the metrics API; None: not known."""
    held: str = ""
    """Why it must not be retired (annotation on node or VMNode ...)."""
    template: Template | None = None
    """What it was made from; None: not known, or not our VM."""
    hot_add_refused: str = ""
    """Why it cannot grow while running (static CPU manager ...); empty: it can."""


class Budget(Frozen, frozen=True, kw_only=True):
    """A PodDisruptionBudget."""

    namespace: str
    name: str
    selector: LabelSelector | None
    allowed: int
    """Evictions allowed now."""


class Snapshot(Frozen, frozen=True, kw_only=True):
    """All that a decision rests on. Tuples are sorted by key, so equal worlds plan equally."""

    hypervisors: tuple[Hypervisor, ...] = ()
    pools: tuple[Pool, ...] = ()
    vms: tuple[Vm, ...] = ()
    pods: tuple[Pod, ...] = ()
    workloads: tuple[Workload, ...] = ()
    budgets: tuple[Budget, ...] = ()
    namespaces: dict[str, dict[str, str]] = {}
    """Labels of each namespace, for ``namespaceSelector``."""
    expendable_below: int = EXPENDABLE_BELOW
    """Pods of a lower priority are filling: no VM is kept, grown or launched for them."""

    def pod(self, key: str) -> Pod | None:
        """The pod of that key, or None."""
        at = bisect_left(self.pods, key, key=attrgetter("key"))
        found = self.pods[at] if at < len(self.pods) else None
        return found if found is not None and found.key == key else None
