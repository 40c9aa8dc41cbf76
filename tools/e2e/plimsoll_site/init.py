"""Process 1 of a host: furnishes its namespaces, then only takes leave of orphans.

A program of its own, that imports nothing of this package:

    unshare --net --mount --pid --uts --fork ... init.py SETTINGS

SETTINGS is JSON: {"name": host name, "ready": file to write when done, "hosts": file to put at
/etc/hosts, "links": [[from, to]], "images": [[file, path in the pool]], "pool": path,
"poolBytes": 0 or size, "kvm": true}.
When it is killed, the kernel kills everything else in its process namespace.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any


def furnish(settings: dict[str, Any]) -> None:
    """Give the host its name, its directories and its loopback."""
    socket.sethostname(settings["name"])
    # The network devices that are seen below /sys are those of whoever mounted it.
    mount("-t", "sysfs", "sysfs", "/sys")
    for source, target in settings["links"]:
        Path(target).mkdir(parents=True, exist_ok=True)
        mount("--bind", source, target)
    # libvirtd looks its own name up at every start of a VM, and no name server knows it.
    hosts = Path(settings["hosts"])
    hosts.write_text(f"127.0.0.1 localhost\n127.0.1.1 {settings['name']}\n")
    mount("--bind", str(hosts), "/etc/hosts")
    if settings["poolBytes"]:
        size = f"size={settings['poolBytes']}"
        mount("-t", "tmpfs", "-o", size, "plimsoll-pool", settings["pool"])
    if not settings["kvm"] and Path("/dev/kvm").exists():
        # A file that cannot be written, even by root: where libvirt finds /dev/kvm usable and
        # QEMU does not, it asks QEMU again for what it can do before every single domain.
        blind = Path(settings["ready"]).with_name("no-kvm")
        blind.touch()
        mount("--bind", str(blind), "/dev/kvm")
        mount("-o", "remount,bind,ro", "/dev/kvm")
    for source, target in settings["images"]:
        Path(target).touch()
        mount("--bind", "-o", "ro", source, target)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")


def mount(*arguments: str) -> None:
    """As the command does."""
    subprocess.run(["mount", *arguments], check=True)


def main() -> None:
    """Furnish, say so, and reap children for ever."""
    settings = json.loads(sys.argv[1])
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    furnish(settings)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    Path(settings["ready"]).touch()
    while True:
        try:
            os.wait()
        except ChildProcessError:
            signal.sigwait([signal.SIGCHLD])


if __name__ == "__main__":
    main()
