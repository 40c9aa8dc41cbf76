"""What the machine that builds an image must have: programs, and the packages that bring them."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from plimsoll_nodeimage.errors import NodeImageError

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
GPT_BOOT_CODE = Path("/usr/lib/syslinux/mbr/gptmbr.bin")
PACKAGES = {
    "apt-get": "apt",
    "mmdebstrap": "mmdebstrap",
    "mkfs.ext4": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "syslinux": "syslinux",
    "sfdisk": "fdisk",
    "qemu-img": "qemu-utils",
    "tar": "tar",
}
"""Debian's package of each program that a build calls."""


def missing_packages(path: str | None = None) -> list[str]:
    """The Debian packages to install before an image can be built, in alphabetical order."""
    where = f"{path or os.environ.get('PATH', '')}:{SYSTEM_PATH}" if path is None else path
    lacking = {
        package for program, package in PACKAGES.items() if not shutil.which(program, path=where)
    }
    if not GPT_BOOT_CODE.exists():
        lacking.add("syslinux-common")
    return sorted(lacking)


def require(path: str | None = None) -> None:
    """Raise if this machine cannot build an image.

    Raises:
        NodeImageError: it is no Linux on x86-64, or packages are missing; they are named.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise NodeImageError(
            f"the node image is built on Linux on x86-64, not on {sys.platform} on "
            f"{platform.machine()}: build it there and copy it, or bring a cloud image of your own"
        )
    if lacking := missing_packages(path):
        raise NodeImageError(
            f"packages are missing on this machine: apt-get install {' '.join(lacking)}"
        )


def environment(epoch: int) -> Mapping[str, str]:
    """The environment of every program of a build: one language, one time zone, one clock."""
    return {
        "PATH": SYSTEM_PATH,
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": str(epoch),
        # What e2fsprogs before 1.47.1 reads instead.
        "E2FSPROGS_FAKE_TIME": str(epoch),
    }
