"""What is seen of the cluster at one moment, in the words of the story.

Units: CPU in millicores, memory in bytes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from plimsoll.api import labels
from plimsoll.api.common import Decision
from plimsoll.api.hypervisor import SimulatedHost
from plimsoll.api.vmnode import Phase
from plimsoll.api.vmpool import VMPoolSpec
from plimsoll.world.assemble import assemble
from plimsoll.world.objects import Objects, Observations
from plimsoll.world.snapshot import Pod, Snapshot, Vm


@dataclass(frozen=True)
class VmRow:
    """One VM."""

    name: str
    state: str
    """Its phase; or `Lost`, or `NotReady` for a Ready VM whose node is not."""
    host: str
    node_host: str
    """The host that its node's label names; empty while there is no node."""
    cpu: int
    memory: int
    cpu_requested: int
    cpu_line: int
    """What may be requested under the load line."""
    memory_requested: int
    memory_line: int
    containers: int
    berths: int

    @property
    def ready(self) -> bool:
        """Whether it is settled: Ready and of the size wanted."""
        return self.state == Phase.READY


@dataclass(frozen=True)
class Replica:
    """One placed container of a workload: what it requests, and whether it serves."""

    host: str
    cpu: int
    memory: int
    ready: bool


@dataclass(frozen=True)
class WorkloadRow:
    """One ContainerWorkload."""

    name: str
    wanted: int = 0
    """Replicas decided."""
    replicas: tuple[Replica, ...] = ()
    cpu: int = 0
    """Size decided of one replica."""
    memory: int = 0
    load_cpu: int = 0
    """Use of all replicas, as measured; 0: not known."""
    load_memory: int = 0
    redundant: str = ""
    """Status of the condition Redundant."""
    message: str = ""
    target_percent: int = 100

    @property
    def ready(self) -> tuple[Replica, ...]:
        """The replicas that serve."""
        return tuple(replica for replica in self.replicas if replica.ready)

    @property
    def ready_by_host(self) -> Counter[str]:
        """How many replicas serve on each host."""
        return Counter(replica.host for replica in self.ready)

    @property
    def capacity(self) -> int:
        """CPU requested by the replicas that serve."""
        return sum(replica.cpu for replica in self.ready)


@dataclass(frozen=True)
class Scene:
    """Everything that the story looks at."""

    vms: tuple[VmRow, ...] = ()
    workloads: tuple[WorkloadRow, ...] = ()
    hosts: tuple[SimulatedHost, ...] = ()
    """As they are."""
    inventory: dict[str, str] = field(default_factory=dict)
    """State of each host as the operator last saw it."""
    pool: VMPoolSpec | None = None
    pool_redundant: str = ""
    decisions: tuple[Decision, ...] = ()
    """As the statuses hold them, oldest first."""

    def workload(self, name: str) -> WorkloadRow | None:
        """The workload of this name."""
        return next((row for row in self.workloads if row.name == name), None)

    @property
    def vm_hosts(self) -> set[str]:
        """Hosts that run VMs."""
        return {vm.host for vm in self.vms if vm.host}


def scene_of(objects: Objects, now: float) -> Scene:
    """The scene that these objects make, `now` in seconds since the epoch."""
    snapshot = assemble(objects, Observations(), now)
    pool = next(iter(objects.pools), None)
    hypervisor = next(iter(objects.hypervisors), None)
    simulated = hypervisor.spec.simulated if hypervisor is not None else None
    return Scene(
        vms=_vms(objects, snapshot),
        workloads=_workloads(objects, snapshot),
        hosts=simulated.hosts if simulated is not None else (),
        inventory={host.name: host.state for h in snapshot.hypervisors for host in h.hosts or ()},
        pool=pool.spec if pool is not None else None,
        pool_redundant=_condition(pool, "Redundant")[0],
        decisions=_decisions(objects),
    )


def _vms(objects: Objects, snapshot: Snapshot) -> tuple[VmRow, ...]:
    nodes = {node.metadata.name: node for node in objects.nodes}
    lines = {pool.name: pool.spec.density.load_line_percent for pool in snapshot.pools}
    rows = []
    for vm in snapshot.vms:
        if vm.pool is None:
            continue
        pods = [pod for pod in snapshot.pods if pod.node == vm.name and not pod.terminating]
        line = lines.get(vm.pool, 100)
        node = nodes.get(vm.name)
        rows.append(
            VmRow(
                name=vm.name,
                state=_state(vm),
                host=vm.host,
                node_host=node.metadata.labels.get(labels.HOST, "") if node else "",
                cpu=vm.cpu,
                memory=vm.memory,
                cpu_requested=sum(pod.shape.requests.cpu for pod in pods),
                cpu_line=vm.allocatable.cpu * line // 100,
                memory_requested=sum(pod.shape.requests.memory for pod in pods),
                memory_line=vm.allocatable.memory * line // 100,
                containers=sum(not pod.daemon for pod in pods),
                berths=vm.berths or 0,
            )
        )
    return tuple(rows)


def _state(vm: Vm) -> str:
    if vm.lost:
        return "Lost"
    if vm.phase is Phase.READY and not vm.ready:
        return "NotReady"
    return str(vm.phase)


def _workloads(objects: Objects, snapshot: Snapshot) -> tuple[WorkloadRow, ...]:
    hosts = {vm.name: vm.host for vm in snapshot.vms}
    rows = []
    for workload in sorted(objects.workloads, key=lambda w: w.metadata.name):
        key = f"{workload.metadata.namespace}/{workload.metadata.name}"
        pods = [pod for pod in snapshot.pods if pod.workload == key and not pod.terminating]
        status = workload.status
        redundant, message = _condition(workload, "Redundant")
        rows.append(
            WorkloadRow(
                name=workload.metadata.name,
                wanted=status.desired_replicas if status is not None else 0,
                replicas=tuple(_replica(pod, hosts) for pod in pods if pod.node is not None),
                cpu=status.cpu if status is not None else 0,
                memory=status.memory if status is not None else 0,
                load_cpu=status.demand_cpu if status is not None else 0,
                load_memory=status.demand_memory if status is not None else 0,
                redundant=redundant,
                message=message,
                target_percent=workload.spec.target_utilization.cpu_percent,
            )
        )
    return tuple(rows)


def _replica(pod: Pod, hosts: dict[str, str]) -> Replica:
    requests = pod.shape.requests
    return Replica(
        host=hosts.get(pod.node or "", ""),
        cpu=requests.cpu,
        memory=requests.memory,
        ready=pod.ready,
    )


def _condition(obj: object, kind: str) -> tuple[str, str]:
    """Status and message of a condition; empty: it has none."""
    status = getattr(obj, "status", None)
    for condition in status.conditions if status is not None else ():
        if condition.type == kind:
            return condition.status, condition.message
    return "", ""


def _decisions(objects: Objects) -> tuple[Decision, ...]:
    statuses = [
        *(pool.status for pool in objects.pools),
        *(workload.status for workload in objects.workloads),
    ]
    found = [
        decision
        for status in statuses
        if status is not None
        for decision in reversed(status.decisions)
    ]
    return tuple(sorted(found, key=lambda decision: decision.time))
