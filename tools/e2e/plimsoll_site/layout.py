"""Files of one host: what Debian's packages would configure, below a directory of its own."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

POOL: Final = "default"
NETWORK: Final = "default"
BRIDGE: Final = "virbr0"
PLACES: Final = {
    "etc": "/etc/libvirt",
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
}
"""Directory of a host -> where its daemons see it."""
IMAGES: Final = "images"
"""Below `lib`: the storage pool `default`."""

_QEMU: Final = """\
user = "root"
group = "root"
# A sandbox in a sandbox: the host is a set of namespaces already, and has no cgroups of its own.
security_driver = "none"
cgroup_controllers = []
namespaces = []
remember_owner = 0
"""
_LIBVIRTD: Final = """\
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
host_uuid = "{uuid}"
"""
# `open`: addresses and routes, and no rules of a firewall, which not every kernel has.
_NETWORK: Final = """\
<network>
  <name>{name}</name>
  <forward mode='open'/>
  <bridge name='{bridge}' stp='off' delay='0'/>
  <ip address='{gateway}' prefix='24'>
    <dhcp><range start='{first}' end='{last}'/></dhcp>
  </ip>
</network>
"""
_POOL: Final = """\
<pool type='dir'>
  <name>{name}</name>
  <target><path>/var/lib/libvirt/{images}</path></target>
</pool>
"""


@dataclass(frozen=True)
class Layout:
    """Where the files of one host are, as this machine sees them."""

    directory: Path

    @property
    def socket(self) -> Path:
        """Where libvirtd listens."""
        return self.directory / "run" / "libvirt-sock"

    @property
    def images(self) -> Path:
        """The storage pool. Empty to this machine if it is a file system of its own."""
        return self.directory / "lib" / IMAGES

    @property
    def ready(self) -> Path:
        """A file that says that the namespaces are furnished."""
        return self.directory / "furnished"

    def write(self, guests: str) -> None:
        """Write everything that outlives a reboot. `guests` is a /24 less its last number."""
        for name in PLACES:
            (self.directory / name).mkdir(parents=True)
        self.images.mkdir()
        etc = self.directory / "etc"
        (etc / "qemu.conf").write_text(_QEMU)
        (etc / "libvirtd.conf").write_text(_LIBVIRTD.format(uuid=uuid.uuid4()))
        network = _NETWORK.format(
            name=NETWORK,
            bridge=BRIDGE,
            gateway=f"{guests}.1",
            first=f"{guests}.10",
            last=f"{guests}.250",
        )
        _autostarted(etc / "qemu" / "networks", NETWORK, network)
        _autostarted(etc / "storage", POOL, _POOL.format(name=POOL, images=IMAGES))


def _autostarted(folder: Path, name: str, xml: str) -> None:
    (folder / "autostart").mkdir(parents=True)
    (folder / f"{name}.xml").write_text(xml)
    (folder / "autostart" / f"{name}.xml").symlink_to(f"../{name}.xml")
