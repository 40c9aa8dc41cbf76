"""The root file system: Debian packages, our files and kubelet, as one tar."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path

from plimsoll_nodeimage import sources
from plimsoll_nodeimage.commands import Commands

PACKAGES = (
    # Boots, has the drivers of virtual hardware only, and takes CPU and memory while it runs.
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "systemd-sysv",
    "systemd-resolved",
    "systemd-timesyncd",
    "udev",
    "dbus",
    "kmod",
    # Reads the seed; gets the VM's address and state to its hypervisor.
    "cloud-init",
    "qemu-guest-agent",
    # Runs containers.
    "containerd",
    "runc",
    "containernetworking-plugins",
    # What kubelet calls, and kube-proxy and network plug-ins after it.
    "ca-certificates",
    "conntrack",
    "e2fsprogs",
    "ethtool",
    "iproute2",
    "iptables",
    "nftables",
    "procps",
    "socat",
)
LEFT_OUT = (
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/i18n/*",
    "/usr/share/doc/*",
)
KEPT_OF_IT = ("/usr/share/doc/*/copyright", "/usr/share/locale/locale.alias")


def make(
    target: Path, added: Mapping[str, Path], customize: Path, commands: Commands, epoch: int
) -> None:
    """Write the root file system to the tar `target`.

    Args:
        target: the tar to write, in a folder of this build's own.
        added: each path in the image, without the leading slash, and the file to put there.
        customize: a shell script to run in the file system when all is there.
        commands: runs mmdebstrap.
        epoch: seconds since 1970; no file is younger.
    """
    overlay = target.with_name("overlay.tar")
    script = "var/lib/plimsoll-customize.sh"
    pack(overlay, {**added, script: customize}, epoch)
    apt = target.with_name("apt.conf")
    apt.write_text(sources.fetching_options())
    keep = [f"--dpkgopt=path-include={path}" for path in KEPT_OF_IT]
    commands.run(
        "installing Debian packages, usually 2-4 min",
        [
            "mmdebstrap",
            "--variant=minbase",
            "--architectures=amd64",
            f"--aptopt={apt}",
            f"--include={','.join(PACKAGES)}",
            *(f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT),
            *keep,
            f"--customize-hook=tar-in {overlay} /",
            f'--customize-hook=chroot "$1" sh /{script}',
            sources.SUITE,
            str(target),
            *sources.lines(),
        ],
    )


def pack(target: Path, files: Mapping[str, Path], epoch: int) -> None:
    """Write files to a tar as root's, in order and of one time; scripts stay executable."""
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted(files):
            source = files[name]
            member = tarfile.TarInfo(name)
            member.size = source.stat().st_size
            member.mode = 0o755 if source.stat().st_mode & 0o100 else 0o644
            member.mtime = epoch
            member.uname = member.gname = "root"
            with source.open("rb") as content:
                tar.addfile(member, content)
