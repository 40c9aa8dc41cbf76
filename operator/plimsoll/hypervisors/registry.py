"""Which provider module speaks to a Hypervisor."""

from __future__ import annotations

from plimsoll.api import Hypervisor
from plimsoll.hypervisors.contract import NotSupported, Provider
from plimsoll.hypervisors.simulated import Simulated
from plimsoll.kube import Kube


def provider_for(hypervisor: Hypervisor, kube: Kube, cluster_id: str, namespace: str) -> Provider:
    """The provider that ``spec.provider`` names, on behalf of the cluster with this id.

    ``namespace`` is the operator's own: credentials, and simulated VMs, lie there.
    Make it anew when the spec changes: capabilities are those of this spec.
    """
    match hypervisor.spec.provider:
        case "simulated":
            return Simulated(kube, hypervisor, cluster_id, namespace)
        case "libvirt":
            raise NotSupported("the provider libvirt is not part of this build")
