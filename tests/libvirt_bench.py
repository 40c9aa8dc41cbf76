"""Real libvirt hosts to test the provider on; their guests have no system and end in the BIOS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from plimsoll.api import Hypervisor
from plimsoll.api.libvirt import LibvirtTemplate
from plimsoll.hypervisors.libvirt.provider import LibvirtProvider
from plimsoll_site import Host, Site, SiteError

MIB: Final = 1024**2
IMAGE: Final = "empty.qcow2"
NAME: Final = "rack"


class LibvirtBench:
    """A site of two hosts, with a base image that holds nothing. See ``Bench`` of the contract."""

    small = (1, 128 * MIB)
    larger = (2, 256 * MIB)
    timeout = 60.0

    def __init__(self, site: Site, call_timeout: float = 20.0) -> None:
        self.site = site
        self.call_timeout = call_timeout
        self.template = LibvirtTemplate.model_validate(
            {"image": IMAGE, "diskSize": "64Mi", "acceleration": "Software"}
        )

    def set_up(self) -> None:
        """The base image is in the storage pool of every host."""
        for host in self.site.hosts:
            if IMAGE not in host.volumes():
                host.virsh("vol-create-as", "default", IMAGE, "32M", "--format", "qcow2")

    def tear_down(self) -> None:
        """No VM and no volume but the image is left, whatever the test did."""
        for host in self.site.hosts:
            for name in host.domains():
                with suppress(SiteError):
                    host.virsh("destroy", name)
                host.virsh("undefine", name, "--nvram", "--managed-save")
            for volume in self.volumes(host):
                host.virsh("vol-delete", volume, "default")

    @staticmethod
    def volumes(host: Host) -> list[str]:
        """All volumes but the image."""
        return [name for name in host.volumes() if name != IMAGE]

    def left(self) -> list[str]:
        """Everything on the hosts that was not there at the start."""
        found = [f"{h.name}: domain {name}" for h in self.site.hosts for name in h.domains()]
        return found + [f"{h.name}: {name}" for h in self.site.hosts for name in self.volumes(h)]

    def hypervisor(self, **libvirt: Any) -> Hypervisor:
        """The Hypervisor object; ``libvirt`` changes its section of that name."""
        document: Any = self.site.hypervisor(NAME, cpuOvercommitPercent=1600)
        document["spec"]["libvirt"] |= {"callTimeout": f"{self.call_timeout:g}s"} | libvirt
        return Hypervisor.model_validate(document)

    @asynccontextmanager
    async def connect(
        self,
        cluster: str = "this",
        secret: Mapping[str, bytes] | None = None,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] | None = None,
        **libvirt: Any,
    ) -> AsyncIterator[LibvirtProvider]:
        """A provider at the running hosts."""
        more = {} if clock is None else {"clock": clock}
        hypervisor = self.hypervisor(**libvirt)
        provider = LibvirtProvider(hypervisor, cluster, secret or {}, changed, **more)
        try:
            yield provider
        finally:
            await provider.close()
