"""Names that Plimsoll puts on objects: labels, annotations, finalizers, resources."""

from __future__ import annotations

from typing import Final

POOL: Final = "plimsoll.dev/pool"
HOST: Final = "plimsoll.dev/host"
HYPERVISOR: Final = "plimsoll.dev/hypervisor"
WORKLOAD: Final = "plimsoll.dev/workload"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
ZONE: Final = "topology.kubernetes.io/zone"
HOSTNAME: Final = "kubernetes.io/hostname"

BERTHS: Final = "plimsoll.dev/berths"
"""Extended resource: one unit lets one managed pod onto the VM."""

DO_NOT_DISRUPT: Final = "plimsoll.dev/do-not-disrupt"
DO_NOT_DISRUPT_PEERS: Final = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
"""Annotations of other autoscalers that mean the same to their users."""

CORDONED: Final = "plimsoll.dev/cordoned"
"""Annotation of a node that Plimsoll cordoned; where it is missing, a person did."""

UNCLAIMED: Final = "plimsoll.dev/unclaimed"
"""Taint with which a machine of the provider static may register; it goes when it is claimed."""

OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"
"""Taint of a node whose machine is confirmed off: its pods and volumes are let go."""

VMNODE: Final = "plimsoll.dev/vmnode"
"""Label of a bootstrap token: the VMNode for which it was made."""

VMNODE_UID: Final = "plimsoll.dev/vmnode-uid"
CLUSTER: Final = "plimsoll.dev/cluster"
"""Annotations of a bootstrap token: the VMNode's UID, and our mark on VMs."""

VM_FINALIZER: Final = "plimsoll.dev/vm"
"""Finalizer of a VMNode from its creation until its VM is proven gone and its node deleted."""

FIELD_MANAGER: Final = "plimsoll"

TOPOLOGY_KEYS: Final = {"host": HOST, "vm": HOSTNAME, "zone": ZONE}
"""Node label of each domain that ``redundancy.across`` may name."""


def node_labels(
    name: str, template: dict[str, str], pool: str, hypervisor: str, host: str, zone: str
) -> dict[str, str]:
    """Labels that the node of a VM carries from its first day.

    Architecture and system are those of the images we support; a template may say otherwise.
    """
    labels = {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", **template}
    labels |= {HOSTNAME: name, POOL: pool, HYPERVISOR: hypervisor}
    if host:
        labels[HOST] = host
    if zone:
        labels[ZONE] = zone
    return labels
