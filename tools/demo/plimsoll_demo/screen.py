"""The terminal: a live table below the story, or plain lines where there is no terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from plimsoll.api.common import Decision
from plimsoll.decide.wording import memory
from plimsoll_demo.scene import Scene, VmRow, WorkloadRow

_BAR: Final = 10
_PLAIN_WIDTH: Final = 120
"""Columns of tables where there is no terminal; sentences are not broken there."""
_COLOURS: Final = {
    "Load": "green",
    "Resize": "green",
    "Grow": "cyan",
    "Replicate": "yellow",
    "Launch": "yellow",
    "Move": "magenta",
    "Retire": "blue",
    "Shrink": "blue",
}


class Screen:
    """Shows the story as it goes on. Use it as a context manager."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = _PLAIN_WIDTH
        self._live: Live | None = None
        self._scene = Scene()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def heading(self, text: str) -> None:
        """A new chapter."""
        self.console.print()
        self._print(Text(text, style="bold"))

    def command(self, text: str) -> None:
        """What a user types."""
        self._print(Text(f"  $ {text}", style="bold cyan"))

    def note(self, text: str) -> None:
        """What came of it."""
        self._print(Text(f"  {text}", style="bold green"))

    def decision(self, decision: Decision) -> None:
        """One decision with its reason, in one line."""
        change = f" ({decision.change})" if decision.change else ""
        line = Text("    ")
        line.append(f"{decision.kind:<9} ", style=_COLOURS.get(decision.kind, ""))
        line.append(f"{decision.subject}{change}: {decision.reason}")
        if self._live is not None:
            self.console.print(line, no_wrap=True, overflow="ellipsis")
        else:
            self._print(line)

    def _print(self, line: Text) -> None:
        self.console.print(line, soft_wrap=self._live is None)

    def show(self, scene: Scene, awaited: str) -> None:
        """Draws the table anew; without a terminal it is drawn by `print_tables` only."""
        self._scene = scene
        if self._live is not None:
            waiting = Text(f"waiting for {awaited}", style="dim italic", overflow="ellipsis")
            self._live.update(Group("", tables(scene), "", waiting))

    def end_of_chapter(self) -> None:
        """Without a terminal, the table as it is now."""
        if self._live is None:
            self.print_tables()

    def print_tables(self) -> None:
        """Leaves the table as it is now in the text."""
        self.console.print()
        self.console.print(tables(self._scene))


def tables(scene: Scene) -> Group:
    """VMs and workloads."""
    return Group(_vms(scene), "", _workloads(scene))


def _vms(scene: Scene) -> Table:
    table = _table("VM", "Phase", "Host", "Size", "Requested of its line", "Containers", "Berths")
    down = {host.name for host in scene.hosts if host.state != "Up"}
    for vm in scene.vms:
        style = "red" if vm.state in ("Lost", "NotReady") or vm.host in down else ""
        size = f"{vm.cpu // 1000} CPU {memory(vm.memory)}"
        columns = (vm.name, vm.state, vm.host, size, _load(vm), str(vm.containers), str(vm.berths))
        table.add_row(*columns, style=style)
    return table


def _load(vm: VmRow) -> str:
    """CPU or memory, whichever is nearer to its line."""
    cpu = vm.cpu_requested / vm.cpu_line if vm.cpu_line else 0.0
    room = vm.memory_requested / vm.memory_line if vm.memory_line else 0.0
    share = max(cpu, room)
    filled = min(_BAR, round(share * _BAR))
    bar = "█" * filled + "░" * (_BAR - filled)
    if cpu >= room:
        return f"{bar} {vm.cpu_requested / 1000:.1f}/{vm.cpu_line / 1000:.1f} CPU"
    return f"{bar} {_mib(vm.memory_requested)}/{_mib(vm.memory_line)}"


def _workloads(scene: Scene) -> Table:
    table = _table("Workload", "Replicas", "Hosts", "Size of one", "Load measured", "Redundant")
    for row in scene.workloads:
        style = "" if row.redundant == "True" else "yellow"
        table.add_row(
            row.name,
            f"{len(row.ready)}/{row.wanted}",
            _hosts(row),
            f"{row.cpu / 1000:g} CPU {_mib(row.memory)}",
            f"{row.load_cpu / 1000:.1f} CPU {_mib(row.load_memory)}" if row.load_cpu else "unknown",
            row.redundant,
            style=style,
        )
    return table


def _mib(number: int) -> str:
    return f"{number / 1024**2:.0f}Mi"


def _hosts(row: WorkloadRow) -> str:
    return " ".join(f"{host}:{count}" for host, count in sorted(row.ready_by_host.items()))


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold dim")
    for name in names:
        table.add_column(name, no_wrap=True)
    return table
