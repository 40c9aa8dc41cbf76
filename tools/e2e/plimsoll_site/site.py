"""Several hosts, started and ended as one."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from plimsoll_site.errors import SiteError
from plimsoll_site.host import Host
from plimsoll_site.requirements import obstacle
from plimsoll_site.wires import Wire, free_numbers
from plimsoll_testenv.processes import Processes
from plimsoll_testenv.stopping import Stopping

MOST_HOSTS: Final = 26


class Claim:
    """A number that no other site of this machine has; given back when this process ends.

    A name of a socket that is no file is free again as soon as its holder is gone, and belongs to
    the network namespace, as addresses do.
    """

    def __init__(self) -> None:
        for number in free_numbers():
            self._socket = socket.socket(socket.AF_UNIX)
            with suppress(OSError):
                self._socket.bind(f"\0plimsoll-site-{number}")
                self.number = number
                return
            self._socket.close()
        raise SiteError("every /16 from 10.128.0.0 to 10.191.0.0 is taken on this machine")

    def release(self) -> None:
        """Let others have it."""
        self._socket.close()


class Site(Stopping):
    """Libvirt hosts on this machine. Use it as a context manager, or call `stop` in the end.

    Attributes:
        hosts: host-a, host-b and so on, all booted.
        address: this machine, as it is seen from the hosts and from their guests.
        directory: files and logs; gone after `stop`.
    """

    def __init__(
        self, processes: Processes, claim: Claim, hosts: int, pool_bytes: int, kvm: bool
    ) -> None:
        self._processes = processes
        self._claim = claim
        self.directory = processes.directory
        self.hosts = tuple(
            Host(
                f"host-{chr(ord('a') + index)}",
                Wire(claim.number, index + 1),
                processes,
                pool_bytes=pool_bytes,
                kvm=kvm,
            )
            for index in range(hosts)
        )
        self.address = Wire(claim.number, 1).here

    @classmethod
    def start(
        cls,
        hosts: int = 2,
        *,
        images: Mapping[str, Path] | None = None,
        pool_bytes: int = 0,
        kvm: bool = True,
    ) -> Self:
        """Boot so many hosts.

        Args:
            hosts: how many; 26 at most.
            images: volume name -> file of this machine, for every host's storage pool.
            pool_bytes: if given, the pools are so large, and in memory: a power-off empties them.
            kvm: whether guests may use /dev/kvm, where this machine has it.

        Raises:
            SiteError: this machine cannot (see `obstacle`), or a host does not come up.
        """
        if reason := obstacle():
            raise SiteError(reason)
        if not 1 <= hosts <= MOST_HOSTS:
            raise SiteError(f"a site has 1 to {MOST_HOSTS} hosts, not {hosts}")
        claim = Claim()
        processes = Processes("plimsoll-site-")
        try:
            site = cls(processes, claim, hosts, pool_bytes, kvm)
            for host in site.hosts:
                for name, path in (images or {}).items():
                    host.add_image(name, path)
                host.boot()
        except BaseException:
            processes.stop()
            claim.release()
            raise
        return site

    def host(self, name: str) -> Host:
        """The host of this name."""
        return next(host for host in self.hosts if host.name == name)

    def hypervisor(self, name: str, **spec: object) -> dict[str, object]:
        """A Hypervisor object for these hosts; `spec` adds to its spec."""
        hosts = [{"name": host.name, "uri": host.uri} for host in self.hosts]
        return {
            "apiVersion": "plimsoll.dev/v1alpha1",
            "kind": "Hypervisor",
            "metadata": {"name": name},
            "spec": {"provider": "libvirt", "libvirt": {"hosts": hosts}, **spec},
        }

    def stop(self) -> None:
        """Power every host off and delete its files."""
        try:
            for host in self.hosts:
                host.power_off()
        finally:
            self._processes.stop()
            self._claim.release()
