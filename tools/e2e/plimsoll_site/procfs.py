"""Processes of a host, looked up in /proc by the process namespace that they are in."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


def namespace(pid: int) -> str:
    """The process namespace that a process is in; empty: there is no such process."""
    with suppress(OSError):
        return str((_PROC / str(pid) / "ns" / "pid").readlink())
    return ""


def children(pid: int) -> list[int]:
    """Processes whose parent this is."""
    return [other for other in _pids() if _parent(other) == pid]


def members(wanted: str) -> list[int]:
    """Every process in this process namespace that has not ended.

    What has ended but was not waited for has no command line any more.
    """
    return [pid for pid in _pids() if namespace(pid) == wanted and command_line(pid)]


def command_line(pid: int) -> list[str]:
    """Arguments of a process; empty: it has ended."""
    with suppress(OSError):
        return (_PROC / str(pid) / "cmdline").read_text(errors="replace").split("\0")[:-1]
    return []


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _parent(pid: int) -> int:
    with suppress(OSError):
        # The second field is a name in brackets, which may itself hold brackets and blanks.
        return int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    return 0
