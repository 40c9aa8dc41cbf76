"""Addresses of a site, and the wires between its hosts and this machine.

A site has a /16 of its own, 10.N.0.0/16. Host number i has the address 10.N.0.(i+1) on its wire and
the guests 10.N.i.0/24; this machine is 10.N.0.1 on every wire, and so to every guest of every host.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from plimsoll_site.errors import SiteError
from plimsoll_site.requirements import program

_FIRST, _LAST = 128, 191
_INSIDE: Final = "uplink"


@dataclass(frozen=True)
class Wire:
    """One host's connection to this machine."""

    site: int
    number: int
    """Of the host, from 1."""

    @property
    def device(self) -> str:
        """This machine's end."""
        return f"plim{self.site}h{self.number}"

    @property
    def here(self) -> str:
        """This machine."""
        return f"10.{self.site}.0.1"

    @property
    def there(self) -> str:
        """The host."""
        return f"10.{self.site}.0.{self.number + 1}"

    @property
    def guests(self) -> str:
        """Addresses of the host's guests, less the last number."""
        return f"10.{self.site}.{self.number}"

    def lay(self, pid: int) -> None:
        """Connect the network namespace of a process, as soon as it is made.

        The device is that namespace's: it goes when that goes.
        """
        ip("link", "add", self.device, "type", "veth", "peer", "name", _INSIDE, "netns", str(pid))
        ip("address", "add", self.here, "peer", self.there, "dev", self.device)
        ip("link", "set", self.device, "up")
        ip("route", "add", f"{self.guests}.0/24", "via", self.there, "dev", self.device)
        _inside(pid, "address", "add", self.there, "peer", self.here, "dev", _INSIDE)
        self.plug(pid)

    def plug(self, pid: int) -> None:
        """Let traffic through to the network namespace of a process."""
        _inside(pid, "link", "set", _INSIDE, "up")
        # A link that goes down takes its routes along.
        _inside(pid, "route", "replace", "default", "via", self.here)

    def unplug(self, pid: int) -> None:
        """Let nothing through.

        It is the host's end that goes down: without ours, this machine would look for the guests
        by its own default route.
        """
        _inside(pid, "link", "set", _INSIDE, "down")

    def cut(self) -> None:
        """Remove what is left of it, if the kernel has not done so yet."""
        with suppress(SiteError):
            ip("link", "delete", self.device)


def free_numbers() -> list[int]:
    """Numbers of sites whose addresses no route of this machine concerns."""
    listed = subprocess.run(
        [program("ip"), "-json", "route", "show", "table", "all"],
        capture_output=True,
        text=True,
        check=True,
    )
    taken = []
    for route in json.loads(listed.stdout):
        with suppress(ValueError):
            network = ipaddress.ip_network(route["dst"])
            if network.version == 4:
                taken.append(network)
    return [
        number
        for number in range(_FIRST, _LAST + 1)
        if not any(ipaddress.ip_network(f"10.{number}.0.0/16").overlaps(one) for one in taken)
    ]


def _inside(pid: int, *arguments: str) -> None:
    run([program("nsenter"), "-t", str(pid), "-n", program("ip"), *arguments])


def ip(*arguments: str) -> None:
    """As the command does, on this machine."""
    run([program("ip"), *arguments])


def run(command: list[str]) -> str:
    """Run a command and return its output.

    Raises:
        SiteError: it failed; with what it wrote to standard error.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SiteError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
