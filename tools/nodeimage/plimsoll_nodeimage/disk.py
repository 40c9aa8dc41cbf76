"""A bootable disk from a root file system's tar, without mounting anything.

The disk is GPT for BIOS: a small FAT partition with syslinux, kernel and initial RAM disk, and an
ext4 root partition, the last, so that it can grow to whatever size the VM's disk has.
"""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

from plimsoll_nodeimage.commands import Commands
from plimsoll_nodeimage.errors import NodeImageError
from plimsoll_nodeimage.host import GPT_BOOT_CODE

MIB = 1 << 20
SECTOR = 512
BOOT_MIB = 64
SLACK_MIB = 96
ROOT_LABEL = "plimsoll-root"
# Any would do, if only they are the same in every build. A root file system that is found by a
# label needs no unique one, and machine-id, which does, is made at the first boot.
ROOT_UUID = "6f5f7f3c-3f0b-4d0e-9a5e-0b5f1c1f6a01"
DISK_UUID = "6f5f7f3c-3f0b-4d0e-9a5e-0b5f1c1f6a02"
BOOT_PART_UUID = "6f5f7f3c-3f0b-4d0e-9a5e-0b5f1c1f6a03"
ROOT_PART_UUID = "6f5f7f3c-3f0b-4d0e-9a5e-0b5f1c1f6a04"
FAT_ID = "6f5f7f3c"
# The type by which systemd-repart knows the partition to grow.
ROOT_PART_TYPE = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
BOOT_PART_TYPE = "bc13c2ff-59e6-4262-a352-b275fd6f7172"
SYSLINUX = f"""\
DEFAULT node
PROMPT 0
LABEL node
  LINUX vmlinuz
  INITRD initrd.img
  APPEND root=LABEL={ROOT_LABEL} rw console=tty0 console=ttyS0,115200n8 quiet
"""


@dataclass(frozen=True)
class Partition:
    """A partition's content and where on the disk it lies, in MiB."""

    content: Path
    start: int
    size: int


def make(target: Path, root_tar: Path, commands: Commands, epoch: int) -> None:
    """Write the qcow2 disk image `target`; its folder takes the intermediate files.

    Raises:
        NodeImageError: there is not exactly one kernel in the tar, or a program failed.
    """
    work = target.parent
    boot = Partition(work / "boot.fat", 1, BOOT_MIB)
    root = Partition(work / "root.ext4", 1 + BOOT_MIB, _root_mib(root_tar))
    _make_boot(boot, root_tar, commands, epoch)
    _make_root(root, root_tar, commands, epoch)
    disk = work / "disk.raw"
    _assemble(disk, boot, root, commands)
    commands.run(
        "compressing the disk, usually under 1 min",
        ["qemu-img", "convert", "-O", "qcow2", "-c", str(disk), str(target)],
    )


def _root_mib(root_tar: Path) -> int:
    with tarfile.open(root_tar) as tar:
        blocks = sum(1 + -(-member.size // 4096) for member in tar)
    # A tenth for ext4's own, and room for a first boot on a disk that is not larger.
    return int(blocks * 4096 * 1.1) // MIB + SLACK_MIB


def _make_boot(boot: Partition, root_tar: Path, commands: Commands, epoch: int) -> None:
    folder = boot.content.with_name("boot")
    folder.mkdir()
    with tarfile.open(root_tar) as tar:
        for member in tar:
            name = Path(member.name).name
            for prefix, short in (("vmlinuz-", "vmlinuz"), ("initrd.img-", "initrd.img")):
                if Path(member.name).parent == Path("boot") and name.startswith(prefix):
                    _extract(tar, member, folder / short)
    (folder / "syslinux.cfg").write_text(SYSLINUX)
    files = sorted(folder.iterdir())
    if len(files) != 3:
        raise NodeImageError("the root file system has no kernel and initial RAM disk in /boot")
    for path in files:
        os.utime(path, (epoch, epoch))
    fat = str(boot.content)
    with boot.content.open("wb") as empty:
        empty.truncate(boot.size * MIB)
    commands.run(
        "making the boot partition",
        [
            "mkfs.vfat",
            "--invariant",
            *("-F", "32", "-n", "BOOT", "-i", FAT_ID, "-h", str(boot.start * MIB // SECTOR)),
            fat,
        ],
        ["mcopy", "-m", "-i", fat, *map(str, files), "::"],
        ["syslinux", "--install", fat],
    )


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    if target.exists():
        raise NodeImageError("the root file system has a second {target.name} in /boot")
    content = tar.extractfile(member)
    assert content is not None
    target.write_bytes(content.read())


def _make_root(root: Partition, root_tar: Path, commands: Commands, epoch: int) -> None:
    tree = root.content.with_name("root")
    tree.mkdir()
    # /dev is the kernel's; /boot is the other partition's.
    untar = f"tar --extract --file={root_tar} --directory={tree} --numeric-owner --xattrs"
    untar += " --xattrs-include='*' --exclude='./dev/*' --exclude='./boot/*'"
    extended = f"hash_seed={ROOT_UUID},lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    mkfs = f"mkfs.ext4 -q -m 1 -L {ROOT_LABEL} -U {ROOT_UUID} -E {extended} -d {tree}"
    mkfs += f" {root.content} {root.size}M"
    commands.run("making the root partition", ["sh", "-euc", f"{untar}\n{mkfs}"])


def _assemble(disk: Path, boot: Partition, root: Partition, commands: Commands) -> None:
    with disk.open("wb") as raw:
        # One more at the end for the second copy of the table.
        raw.truncate((root.start + root.size + 1) * MIB)
    table = (
        f"label: gpt\nlabel-id: {DISK_UUID}\n"
        f"start={boot.start}MiB, size={boot.size}MiB, type={BOOT_PART_TYPE}, "
        f"uuid={BOOT_PART_UUID}, name=boot, attrs=LegacyBIOSBootable\n"
        f"start={root.start}MiB, size={root.size}MiB, type={ROOT_PART_TYPE}, "
        f"uuid={ROOT_PART_UUID}, name=root\n"
    )
    script = disk.with_name("table")
    script.write_text(table)
    commands.run(
        "putting the disk together",
        ["sh", "-euc", f"sfdisk --quiet {disk} <{script}"],
        *(_copy(part.content, disk, part.start * MIB) for part in (boot, root)),
        # Code only: the rest of the first sector is the table's.
        _copy(GPT_BOOT_CODE, disk, 0),
    )


def _copy(source: Path, disk: Path, offset: int) -> list[str]:
    flags = "conv=notrunc,sparse oflag=seek_bytes"
    return [
        "dd",
        "status=none",
        "bs=1M",
        f"if={source}",
        f"of={disk}",
        f"seek={offset}",
        *flags.split(),
    ]
