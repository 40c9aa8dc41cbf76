"""Which provider module speaks to a Hypervisor."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from plimsoll.api import Hypervisor
from plimsoll.hypervisors.contract import Provider
from plimsoll.hypervisors.libvirt.provider import LibvirtProvider
from plimsoll.hypervisors.simulated import Simulated
from plimsoll.hypervisors.static import Static
from plimsoll.kube import Kube


def provider_for(
    hypervisor: Hypervisor,
    kube: Kube,
    cluster_id: str,
    namespace: str,
    secret: Mapping[str, bytes] | None = None,
    changed: Callable[[], None] = lambda: None,
) -> Provider:
    """The provider that ``spec.provider`` names, on behalf of the cluster with this id.

    ``namespace`` is the operator's own: simulated VMs lie there. ``secret`` is the
    data of the Secret with the credentials, if one is named. ``changed`` is called
    when the hypervisor tells by itself that something happened. Make the provider
    anew when the spec or the Secret changes.

    Raises:
        Invalid: the Secret lacks what the provider needs.
        NotSupported: a library that it needs is not installed.
    """
    match hypervisor.spec.provider:
        case "simulated":
            return Simulated(kube, hypervisor, cluster_id, namespace)
        case "static":
            return Static(kube, hypervisor, cluster_id)
        case "libvirt":
            return LibvirtProvider(hypervisor, cluster_id, secret or {}, changed)
