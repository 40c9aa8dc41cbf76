"""Whether this machine can be a site at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

PACKAGES: Final = {
    "libvirtd": "libvirt-daemon-system",
    "virtlogd": "libvirt-daemon-system",
    "virsh": "libvirt-clients",
    "dnsmasq": "dnsmasq-base",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
"""Program -> Debian's package of it."""
_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"
_TRIAL_SECONDS: Final = 30


def program(name: str) -> str:
    """Path of a program, also of one that only root's PATH has; its name if there is none."""
    return find(name) or name


def find(name: str) -> str | None:
    """Path of a program, or None."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SBIN}")


def obstacle() -> str:
    """Why libvirt hosts cannot be had here, and what to do; empty: they can."""
    if sys.platform != "linux":
        return f"libvirt hosts take Linux, and this is {sys.platform}"
    if os.geteuid() != 0:
        return "libvirt hosts on one machine take root: each is a set of namespaces"
    lacking = [name for name in PACKAGES if find(name) is None]
    if lacking:
        packages = " ".join(sorted({PACKAGES[name] for name in lacking}))
        return f"there is no {', '.join(lacking)}; on Debian: apt-get install {packages}"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun, which guests' network cards take"
    namespaces = [program("unshare"), "--net", "--mount", "--pid", "--uts", "--fork", "true"]
    tried = subprocess.run(
        namespaces, capture_output=True, text=True, check=False, timeout=_TRIAL_SECONDS
    )
    if tried.returncode != 0:
        return f"namespaces cannot be made here: {tried.stderr.strip()}"
    return ""


def kvm_obstacle() -> str:
    """Why guests cannot have hardware virtualization here; empty: they can.

    A /dev/kvm that is there may still not serve: inside some virtual machines QEMU ends as soon as
    it sets up a CPU.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "there is no /dev/kvm"
    machine = ["-machine", "q35", "-cpu", "host", "-m", "64", "-nodefaults", "-display", "none"]
    try:
        tried = subprocess.run(
            [program("qemu-system-x86_64"), "-accel", "kvm", *machine, "-S", "-monitor", "stdio"],
            input="quit\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=_TRIAL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"QEMU with KVM did nothing for {_TRIAL_SECONDS} s"
    if tried.returncode != 0:
        lines = tried.stderr.strip().splitlines() or [f"code {tried.returncode}"]
        return f"QEMU with KVM ends at once: {lines[0]}"
    return ""
