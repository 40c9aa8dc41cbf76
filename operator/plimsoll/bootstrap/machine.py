"""What kubelet on a VM is told: labels, taints, how many pods, and what they leave alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from plimsoll.api.common import Taint
from plimsoll.api.quantity import format_bytes, format_milli
from plimsoll.api.vmnode import VMNode

_MIB: Final = 1024**2
KERNEL_PERMILLE: Final = 17
"""Of a VM's memory: page structures (64 bytes for 4 KiB, 15.6 permille) and a little more."""
KERNEL_FIXED: Final = 128 * _MIB
"""Kernel image, firmware and, beyond 4 GiB, the bounce buffer of 64 MiB."""
EVICTION: Final = 100 * _MIB
"""Free memory below which kubelet evicts pods: its own default."""
EVICTION_LEAST: Final = 50 * _MIB
"""Less would leave it to the kernel whom to kill."""

_KUBELET_KEYS: Final = frozenset(
    {
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "node.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "beta.kubernetes.io/instance-type",
    }
)
_KUBELET_DOMAINS: Final = ("kubelet.kubernetes.io", "node.kubernetes.io")
_RESERVED_DOMAINS: Final = ("kubernetes.io", "k8s.io")


class Machine(NamedTuple):
    """One VM as its kubelet sees itself. CPU in millicores, memory in bytes."""

    name: str
    labels: dict[str, str]
    taints: tuple[Taint, ...]
    max_pods: int
    provider_id: str
    system_cpu: int
    """For ``systemReserved``."""
    system_memory: int
    """For ``systemReserved``: less than the pool reserves, see ``of``."""
    eviction: int
    """For ``evictionHard``: free memory below which pods are evicted."""

    @property
    def node_labels(self) -> str:
        """Labels as kubelet's flag takes them."""
        return ",".join(f"{key}={value}" for key, value in self.labels.items())

    @property
    def node_taints(self) -> list[str]:
        """Taints as kubelet's flag takes them, one an item."""
        return [f"{t.key}={t.value}:{t.effect}" for t in self.taints]

    @property
    def reserved(self) -> dict[str, str]:
        """``systemReserved``, as quantities."""
        return {"cpu": format_milli(self.system_cpu), "memory": format_bytes(self.system_memory)}

    @property
    def eviction_hard(self) -> dict[str, str]:
        """``evictionHard``; what is left out there would be off, so all of it."""
        return {
            "memory.available": format_bytes(self.eviction),
            "nodefs.available": "10%",
            "nodefs.inodesFree": "5%",
            "imagefs.available": "15%",
            "imagefs.inodesFree": "5%",
        }


def of(record: VMNode, labels: Mapping[str, str], provider_id: str) -> Machine:
    """The VM of this VMNode.

    The planner counts on the VM's memory less what the pool reserves. Kubelet counts on
    what the kernel shows it, less ``systemReserved``, less ``evictionHard``. So the
    kernel's share and the eviction threshold come out of the pool's reserve: a node never
    takes less than was planned for, as long as the reserve covers the kernel's share.
    Memory that is added later is shown in full.
    """
    spec = record.spec
    kernel = spec.size.memory * KERNEL_PERMILLE // 1000 + KERNEL_FIXED
    left = (spec.reserved_memory - kernel) // _MIB * _MIB
    eviction = min(EVICTION, max(EVICTION_LEAST, left))
    return Machine(
        name=record.metadata.name,
        labels={key: value for key, value in sorted(labels.items()) if may_set(key)},
        taints=spec.template.taints,
        max_pods=spec.max_pods,
        provider_id=provider_id,
        system_cpu=spec.reserved_cpu,
        system_memory=max(0, left - eviction),
        eviction=eviction,
    )


def may_set(key: str) -> bool:
    """Whether a kubelet may give itself this label, and does not know better.

    The admission plug-in NodeRestriction and kubelet itself refuse others of Kubernetes'
    own domains; those are added by the operator when it adopts the node. The host name,
    operating system and architecture kubelet finds out by itself.
    """
    domain = key.partition("/")[0] if "/" in key else ""
    if key in _KUBELET_KEYS or _within(domain, _KUBELET_DOMAINS):
        return True
    return not _within(domain, _RESERVED_DOMAINS)


def _within(domain: str, domains: tuple[str, ...]) -> bool:
    return any(domain == other or domain.endswith(f".{other}") for other in domains)
