"""How many volumes nodes can attach, by the CSI driver that attaches them.

Follows kube-scheduler's NodeVolumeLimits: only CSINode objects tell limits (what a node's own
status says of them is not read), and where they tell none there is none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from plimsoll.world.objects import Objects
from plimsoll.world.volumes import ATTACHABLE

Limits = dict[str, int]
"""By resource name, ``attachable-volumes-csi-DRIVER`` above all."""


@dataclass(frozen=True)
class AttachLimits:
    """How many volumes can be attached; where nothing is said there is no limit."""

    by_node: dict[str, Limits] = field(default_factory=dict)
    by_pool: dict[str, Limits] = field(default_factory=dict)
    """What a VM of the pool that has no node yet is expected to attach: the least of the others."""


def attach_limits(objects: Objects, free: Mapping[str, Limits] | None = None) -> AttachLimits:
    """The limits that CSINode objects tell.

    A driver that wants it so (``preventPodSchedulingIfMissing``) attaches nothing to a node
    where it does not run. ``free`` are the local volumes that are free, by node and resource.
    """
    nodes: defaultdict[str, Limits] = defaultdict(dict)
    for csi_node in objects.csi_nodes:
        for driver in csi_node.spec.drivers or ():
            if driver.allocatable is not None and driver.allocatable.count is not None:
                nodes[csi_node.metadata.name][ATTACHABLE + driver.name] = driver.allocatable.count
    pools: defaultdict[str, Limits] = defaultdict(dict)
    for vmnode in objects.vmnodes:
        least = pools[vmnode.spec.pool]
        for resource, count in nodes.get(vmnode.metadata.name, {}).items():
            least[resource] = min(count, least.get(resource, count))
    needed = {
        driver.metadata.name
        for driver in objects.csi_drivers
        if driver.spec.prevent_pod_scheduling_if_missing
    }
    if needed:
        running = {
            node.metadata.name: {driver.name for driver in node.spec.drivers or ()}
            for node in objects.csi_nodes
        }
        for node in objects.nodes:
            for driver_name in needed - running.get(node.metadata.name, set()):
                nodes[node.metadata.name][ATTACHABLE + driver_name] = 0
    for name, volumes in (free or {}).items():
        nodes[name].update(volumes)
    return AttachLimits(dict(nodes), dict(pools))
