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

FIELD_MANAGER: Final = "plimsoll"

TOPOLOGY_KEYS: Final = {"host": HOST, "vm": HOSTNAME, "zone": ZONE}
"""Node label of each domain that ``redundancy.across`` may name."""
