"""The libvirt hosts that the other tests here rest on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from plimsoll_site import Host, Site, SiteError, procfs

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("libvirt")]

WITHIN = 60.0
NO_SYSTEM = """\
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices><interface type='network'><source network='default'/></interface></devices>
</domain>
"""


def start_vm(host: Host, name: str, directory: Path) -> None:
    """A VM that boots nothing: QEMU runs, and that is all."""
    xml = directory / f"{host.name}-{name}.xml"
    xml.write_text(NO_SYSTEM.format(name=name))
    host.virsh("define", str(xml))
    host.virsh("start", name)


def until(what: str, done: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN
    while not done():
        assert time.monotonic() < deadline, f"awaited in vain: {what}"
        time.sleep(0.05)


def running(host: Host) -> list[str]:
    return host.virsh("list", "--name").split()


def test_hosts_are_machines_of_their_own(libvirt_site: Site, tmp_path: Path) -> None:
    a, b = libvirt_site.hosts

    start_vm(a, "same-name", tmp_path)
    start_vm(b, "same-name", tmp_path)

    assert [host.virsh("hostname").strip() for host in (a, b)] == ["host-a", "host-b"]
    assert a.vm_pid("same-name") != b.vm_pid("same-name") != 0
    for host in (a, b):
        assert host.domains() == ["same-name"]
        assert "active" in host.virsh("net-list")
        host.virsh("destroy", "same-name")
        host.virsh("undefine", "same-name")


def test_host_and_this_machine_reach_each_other(libvirt_site: Site) -> None:
    host = libvirt_site.hosts[1]
    with socket.create_server((libvirt_site.address, 0)) as server:
        port = str(server.getsockname()[1])

        # From the address that its guests have as their gateway, and so by the same way.
        talk = f"import socket as s; s.create_connection(('{libvirt_site.address}', {port}), 9)"
        host.inside(sys.executable, "-c", talk)
        with socket.create_connection((host.gateway, 53), WITHIN):
            pass

    host.unplug()
    with pytest.raises(OSError, match=r"timed out|No route"):
        socket.create_connection((host.gateway, 53), 0.5)
    host.plug()
    with socket.create_connection((host.gateway, 53), WITHIN):
        pass


def test_vms_outlive_their_daemon(libvirt_site: Site, tmp_path: Path) -> None:
    host = libvirt_site.hosts[0]
    start_vm(host, "lives-on", tmp_path)
    pid = host.vm_pid("lives-on")

    host.kill_daemon()
    with pytest.raises(SiteError, match="failed to connect"):
        host.virsh("list")
    assert host.vm_pid("lives-on") == pid

    host.start_daemon()
    assert running(host) == ["lives-on"]

    host.freeze_daemon()
    silent = subprocess.Popen(["virsh", "-c", host.uri, "list"], stdout=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        silent.wait(1.0)
    host.thaw_daemon()
    assert b"lives-on" in silent.communicate(timeout=WITHIN)[0]

    host.kill_vm("lives-on")
    until("libvirt sees the crash", lambda: running(host) == [])
    assert host.domains() == ["lives-on"]
    host.virsh("undefine", "lives-on")


def test_power_off_ends_all_and_disks_stay(
    new_libvirt_site: Callable[..., Site], tmp_path: Path
) -> None:
    base = tmp_path / "base.img"
    base.write_bytes(b"base")
    site = new_libvirt_site(hosts=1, images={"base": base})
    (host,) = site.hosts
    start_vm(host, "dies", tmp_path)
    host.virsh("vol-create-as", "default", "disk", "1M")
    pid = host.vm_pid("dies")

    host.power_off()

    assert not host.running
    assert procfs.command_line(pid) == []
    with pytest.raises(SiteError, match="failed to connect"):
        host.virsh("list")

    host.boot()
    assert host.domains() == ["dies"]
    assert running(host) == []
    assert sorted(host.volumes()) == ["base", "disk"]
    with pytest.raises(SiteError, match="cannot unlink"):
        host.virsh("vol-delete", "base", "default")
    assert base.read_bytes() == b"base"


def test_a_full_pool_says_so(new_libvirt_site: Callable[..., Site]) -> None:
    (host,) = new_libvirt_site(hosts=1, pool_bytes=1024**2, kvm=False).hosts

    with pytest.raises(SiteError, match="No space left"):
        host.virsh("vol-create-as", "default", "disk", "2M", "--allocation", "2M")
    assert "<domain>qemu</domain>" in host.virsh("domcapabilities")


def test_nothing_outlives_the_process_that_started_it(libvirt_site: Site) -> None:
    """`libvirt_site` only says that hosts can be had here."""
    program = (
        "import sys, time; from plimsoll_site import Site; s = Site.start(hosts=1);"
        "print(s.directory, s.hosts[0].pids('libvirtd')[0], flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    directory, libvirtd = owner.stdout.readline().split()

    owner.send_signal(signal.SIGKILL)
    owner.communicate()

    until("libvirtd is gone", lambda: procfs.command_line(int(libvirtd)) == [])
    until("its files are gone", lambda: not Path(directory).exists())
