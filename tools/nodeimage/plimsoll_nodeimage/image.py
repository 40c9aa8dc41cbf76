"""The node image: looked for in the cache, else built, once, by one builder at a time."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from plimsoll_nodeimage import disk, host, pause, rootfs
from plimsoll_nodeimage.commands import Commands
from plimsoll_testenv import binaries

Say = Callable[[str], None]

TOOL = Path(__file__).resolve().parents[1]
FILES = TOOL / "files"
NAME = "node.qcow2"
PACKAGES_NAME = "packages.txt"
# 2026-01-01: what is made here is no younger, whenever it is made.
EPOCH = 1767225600


def image_path() -> Path:
    """Where the image of these very inputs is, or will be once it is built."""
    return _cache() / _digest() / NAME


def build(say: Say, again: bool = False) -> Path:
    """Build the image unless the cache has it, and return its path.

    Safe to interrupt, to repeat and to run twice at once.

    Args:
        say: told what goes on.
        again: build even if there is one, with the packages of today.

    Raises:
        NodeImageError: this machine lacks packages or sources, or a step failed.
        TestEnvError: kubelet could not be built.
    """
    path = image_path()
    if path.exists() and not again:
        return path
    host.require()
    kubelet = binaries.build_kubelet(say)
    _cache().mkdir(parents=True, exist_ok=True)
    with binaries.locked(_cache() / ".lock", say):
        if path.exists() and not again:
            return path
        for leftover in _cache().glob(".partial-*"):
            shutil.rmtree(leftover)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=_cache()))
        try:
            _build_in(partial, kubelet, say)
            finished = Path(tempfile.mkdtemp(prefix=".partial-", dir=_cache()))
            for name in (NAME, PACKAGES_NAME):
                (partial / name).rename(finished / name)
            finished.chmod(0o755)
            if path.parent.exists():
                shutil.rmtree(path.parent)
            finished.rename(path.parent)
        finally:
            shutil.rmtree(partial)
    return path


def _build_in(folder: Path, kubelet: Path, say: Say) -> None:
    commands = Commands(host.environment(EPOCH), say)
    root_tar = folder / "root.tar"
    pause_tar = folder / "pause.tar"
    pause.make(pause_tar, EPOCH)
    added = {
        **{str(path.relative_to(FILES)): path for path in _files_below(FILES)},
        "usr/bin/kubelet": kubelet,
        "usr/lib/plimsoll/images/pause.tar": pause_tar,
    }
    rootfs.make(root_tar, added, TOOL / "customize.sh", commands, EPOCH)
    with tarfile.open(root_tar) as tar:
        listed = tar.extractfile("./usr/share/plimsoll-packages.txt")
        assert listed is not None
        (folder / PACKAGES_NAME).write_bytes(listed.read())
    disk.make(folder / NAME, root_tar, commands, EPOCH)


def _digest() -> str:
    """Of all that we put in: what the tool is made of, and kubelet's pins and flags.

    The versions of Debian's packages are not in it: those are of the day of the build.
    """
    key = hashlib.sha256(binaries.cache_directory([binaries.KUBELET]).name.encode())
    for path in _files_below(TOOL):
        key.update(f"{path.relative_to(TOOL)} {path.stat().st_mode & 0o100}\n".encode())
        key.update(path.read_bytes())
    return key.hexdigest()[:16]


def _files_below(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "plimsoll" / "nodeimage"
