"""What a snapshot is assembled from: objects of a cluster or of files, and what time added.

The reflector fills ``Objects`` from its stores, ``plimsoll plan -f`` from files;
from here on there is no difference between the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from plimsoll.api import ContainerWorkload, Hypervisor, VMNode, VMPool
from plimsoll.world import wire
from plimsoll.world.snapshot import Demand, Resources


@dataclass(frozen=True)
class Objects:
    """All objects that the decision reads. The order within a tuple does not matter."""

    hypervisors: tuple[Hypervisor, ...] = ()
    hypervisors_known: bool = True
    """False: these are files that hold no Hypervisor at all; hosts then count as unbounded."""
    pools: tuple[VMPool, ...] = ()
    vmnodes: tuple[VMNode, ...] = ()
    workloads: tuple[ContainerWorkload, ...] = ()
    nodes: tuple[wire.Node, ...] = ()
    pods: tuple[wire.Pod, ...] = ()
    deployments: tuple[wire.Controller, ...] = ()
    statefulsets: tuple[wire.Controller, ...] = ()
    replicasets: tuple[wire.Controller, ...] = ()
    daemonsets: tuple[wire.Controller, ...] = ()
    budgets: tuple[wire.PodDisruptionBudget, ...] = ()
    runtime_classes: tuple[wire.RuntimeClass, ...] = ()
    priority_classes: tuple[wire.PriorityClass, ...] = ()
    namespaces: tuple[wire.Namespace, ...] = ()
    claims: tuple[wire.PersistentVolumeClaim, ...] = ()
    claims_to_come: tuple[wire.PersistentVolumeClaim, ...] = ()
    """Those that controllers will make for pods that files leave to them; none in a cluster."""
    volumes: tuple[wire.PersistentVolume, ...] = ()
    storage_classes: tuple[wire.StorageClass, ...] = ()
    csi_nodes: tuple[wire.CSINode, ...] = ()
    csi_drivers: tuple[wire.CSIDriver, ...] = ()
    storage_capacities: tuple[wire.CSIStorageCapacity, ...] = ()
    absent: frozenset[str] = frozenset()
    """Kinds of storage that files hold none of: nothing is known of them. Empty for a cluster."""


@dataclass(frozen=True)
class Observations:
    """What only a running operator knows, because it watched over time. Empty for files."""

    demands: dict[str, Demand] = field(default_factory=dict)
    """By workload key."""
    node_usage: dict[str, Resources] = field(default_factory=dict)
    """By node name, only measurements that are not stale."""
    quiet_since: dict[str, float] = field(default_factory=dict)
    """By node name: when a pod was last bound to or left it."""
    launch_blocked_until: dict[str, float] = field(default_factory=dict)
    """By pool name, or ``hypervisor/host``: back-off after failed launches."""
    loop_detected: frozenset[str] = frozenset()
    """Pools whose launches and retirements went in a circle."""
    problems: dict[str, str] = field(default_factory=dict)
    """By ``Kind/key``: why the object cannot be served (missing Secret, conflict ...)."""
