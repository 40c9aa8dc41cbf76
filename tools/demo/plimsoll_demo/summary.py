"""The summary at the end, as a table and as data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from plimsoll_demo.comparison import Arrangement, Moment

LACKS: Final = (
    "One app per VM isolates and restarts as well, but every container pays for a VM and its "
    "reservation of its own, and nothing can be packed closer when load is low.",
    "Containers on bare metal pack as densely, but share one kernel a machine with no VM between "
    "tenants, restart nothing elsewhere, and take whole machines, whatever is used of them.",
)


def print_summary(console: Console, moments: list[Moment]) -> None:
    """The table, and what each alternative lacks."""
    table = Table(title="The same containers in three ways", title_justify="left", box=None)
    for name in ("When", "Containers", "Arrangement"):
        table.add_column(name)
    for name in ("Machines", "CPUs", "Memory", "Cost"):
        table.add_column(name, justify="right")
    for moment in moments:
        ways = _ways(moment)
        for number, (name, way) in enumerate(ways.items()):
            when = (moment.name, str(moment.containers)) if number == 0 else ("", "")
            style = "bold" if number == 0 else ""
            table.add_row(*when, name, *_numbers(way), style=style, end_section=number == 2)
    console.print()
    console.print(table)
    console.print()
    for sentence in LACKS:
        console.print(sentence)


def as_data(moments: list[Moment]) -> list[dict[str, Any]]:
    """For machines."""
    return [asdict(moment) for moment in moments]


def _ways(moment: Moment) -> dict[str, Arrangement]:
    return {
        "containers in VMs (Plimsoll)": moment.plimsoll,
        "one app per VM": moment.one_app_per_vm,
        "containers on bare metal": moment.bare_metal,
    }


def _numbers(way: Arrangement) -> tuple[str, ...]:
    return str(way.machines), str(way.cpu), f"{way.memory} GiB", f"{way.cost:g}"
