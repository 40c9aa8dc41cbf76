"""What a decision answers: moves with reasons, placements, and what found no place."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from plimsoll.world.snapshot import Frozen


class Lever(StrEnum):
    """Kinds of moves, in the order in which they are tried; the last four undo the first."""

    LOAD = "Load"
    RESIZE = "Resize"
    GROW = "Grow"
    REPLICATE = "Replicate"
    LAUNCH = "Launch"
    MOVE = "Move"
    RETIRE = "Retire"
    SHRINK = "Shrink"


class Reason(StrEnum):
    """Stable CamelCase reasons of guards and of unplaced pods; also reasons of Events."""

    HYPERVISOR_UNREADY = "HypervisorUnready"
    POOL_PROBLEM = "PoolProblem"
    POOL_DELETING = "PoolDeleting"
    POOL_AT_MAX = "PoolAtMax"
    POOL_AT_MIN = "PoolAtMin"
    REPLICAS_FIXED = "ReplicasFixed"
    LAUNCH_BACKOFF = "LaunchBackoff"
    TOO_MANY_UNREADY = "TooManyUnready"
    NO_HOST_ROOM = "NoHostRoom"
    SURVIVAL = "SurvivalPromise"
    REDUNDANCY = "Redundancy"
    BUDGET = "DisruptionBudget"
    HELD = "Held"
    NOT_QUIET = "NotQuiet"
    WINDOW_CLOSED = "DisruptionWindowClosed"
    MAX_UNAVAILABLE = "MaxUnavailable"
    LOOP_DETECTED = "LoopDetected"
    HOT_ADD_REFUSED = "HotAddRefused"
    AT_MAX_SIZE = "AtMaxSize"
    RESIZE_REFUSED = "ResizeRefused"
    STALE_METRICS = "StaleMetrics"
    STABILISING = "Stabilising"
    IN_FLIGHT = "InFlight"
    COSTLIER = "Costlier"
    NOT_CHEAPER = "NotCheaper"
    MORE_VMS = "MoreVMs"
    LOAD_LINE = "LoadLine"
    TOO_BIG = "TooBig"
    RESOURCES = "InsufficientResources"
    PODS = "TooManyPods"
    NODE_SELECTOR = "NodeSelector"
    TAINTS = "UntoleratedTaint"
    HOST_PORT = "HostPortTaken"
    AFFINITY = "PodAffinity"
    ANTI_AFFINITY = "PodAntiAffinity"
    SPREAD = "TopologySpread"
    RUNTIME_CLASS = "RuntimeClassNotOffered"
    NOT_READY = "NodeNotReady"
    UNSCHEDULABLE = "Unschedulable"
    VOLUME = "VolumeBinding"
    PREEMPTS = "Preempts"
    EXPENDABLE = "Expendable"
    NOT_MODELLED = "NotModelled"
    NO_POOL = "NoPool"
    DRIFTED = "Drifted"


class Rejected(Frozen, frozen=True, kw_only=True):
    """An alternative that was considered, and why it was not taken."""

    lever: Lever
    subject: str
    reason: Reason
    message: str
    cost: int | None = None
    """What it would have changed the cost by, in thousandths of the pool's unit, disruption
    included; None: it could not be had at any price."""

    def __str__(self) -> str:
        return f"{self.lever} {self.subject}: {self.message}"


class Size(Frozen, frozen=True, kw_only=True):
    """CPU in millicores, memory in bytes."""

    cpu: int
    memory: int


class NewVm(Frozen, frozen=True, kw_only=True):
    """A VM to be launched: all that its VMNode records."""

    name: str
    pool: str
    hypervisor: str
    host: str
    """Empty: any host."""
    zone: str
    size: Size
    berths: int
    max_pods: int
    """Pods that its kubelet is told to take at most."""


class Move(Frozen, frozen=True, kw_only=True):
    """One step of a plan. Which of the fields are set follows from ``kind``.

    ====================  ==========================================================
    Load                  subject ``vm/NAME``; berths
    Resize, Shrink (pod)  subject ``pod/NAMESPACE/NAME``; size (of the steered container)
    Grow, Shrink (VM)     subject ``vm/NAME``; size
    Replicate, Shrink     subject ``workload/NAMESPACE/NAME``; replicas
    Launch                subject ``vm/NAME``; vm
    Move                  subject ``pod/NAMESPACE/NAME``; evicted, recreated by its owner
    Retire                subject ``vm/NAME``
    ====================  ==========================================================
    """

    kind: Lever
    subject: str
    reason: str
    """One sentence for people: why."""
    source: str = ""
    """From: size, count or VM, as text."""
    target: str = ""
    """To, as text."""
    host: str = ""
    rejected: tuple[Rejected, ...] = ()
    size: Size | None = None
    berths: int | None = None
    replicas: int | None = None
    vm: NewVm | None = None
    uid: str = ""
    """UID of the subject as it was decided on; acting checks it."""
    cost: int = 0
    """Change of cost per the pool's model, in thousandths of its unit."""
    drifted: bool = False
    """A VM is retired because another one, of its pool's new template, takes its place."""
    deferred: str = ""
    """Why it waits (too many VMs in flight, budget); empty: to be carried out now."""


class Unplaced(Frozen, frozen=True, kw_only=True):
    """A pod that finds no place, and what each pool lacked."""

    pod: str
    reason: Reason
    why: dict[str, str]
    """Pool name (or ``existing VMs``) -> one sentence."""


class Refusal(Frozen, frozen=True, kw_only=True):
    """A guard that said no to a move that would otherwise have been made."""

    guard: Reason
    subject: str
    message: str


class PlannedVm(Frozen, frozen=True, kw_only=True):
    """A VM as it will be when the plan is carried out."""

    name: str
    pool: str | None
    hypervisor: str
    host: str
    zone: str
    labels: dict[str, str]
    cpu: int
    """Allocatable millicores."""
    memory: int
    """Allocatable bytes."""
    pods: int
    """Most pods."""
    new: bool


class WorkloadVerdict(Frozen, frozen=True, kw_only=True):
    """What was decided for a workload, for its status."""

    key: str
    replicas: int
    size: Size
    redundant: bool
    message: str
    """Why it is (not) redundant."""


class Cost(Frozen, frozen=True, kw_only=True):
    """Cost per the pools' models, in thousandths of their unit."""

    before: int = 0
    after: int = 0


class Plan(Frozen, frozen=True, kw_only=True):
    """An ordered list of moves, each with its reason, and what follows from them."""

    moves: tuple[Move, ...] = ()
    placements: dict[str, str] = {}
    """Pod key -> VM name, of every pod that has or gets a place."""
    vms: tuple[PlannedVm, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    workloads: tuple[WorkloadVerdict, ...] = ()
    survival: dict[str, str] = {}
    """Pool -> why its survival promise is broken; absent: kept."""
    cost: Cost = Cost()
    recheck_at: float | None = None
    """When time alone may change the answer (stabilisation, back-off, windows); None: never."""
    notes: tuple[str, ...] = ()


def encode(plan: Plan) -> bytes:
    """The plan as canonical JSON: equal plans give equal bytes."""
    return msgspec.json.encode(plan, order="sorted")
