"""The rows of the comparison in words and rounded figures, for the table and the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from plimsoll.compare.assumptions import GIB
from plimsoll.compare.blast import Blast
from plimsoll.compare.comparison import Comparison
from plimsoll.compare.figures import Density, Figures
from plimsoll.compare.layout import Way

HEADINGS: Final = {
    Way.ONE_APP_PER_VM: "one app per VM",
    Way.BARE_METAL: "bare metal",
    Way.AS_IS: "VMs as they are",
    Way.PLIMSOLL: "VMs, Plimsoll",
}
"""Of columns: shorter than the titles."""
NONE: Final = "-"
"""Where a way has no such figure."""


class Row(NamedTuple):
    """One figure of every way."""

    section: str
    label: str
    cells: tuple[str, ...]


class _Kind(NamedTuple):
    section: str
    label: str
    cell: Callable[[Figures], str]
    needed: Callable[[Figures], object] = lambda _: True
    """A row is left out unless some way needs it."""


def number(value: float) -> str:
    """A figure as exact as a reader needs: whole from 100 on, else with one decimal."""
    if value == int(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:,.1f}"


def cpus(milli: int) -> str:
    return number(milli / 1000)


def gib(size: int) -> str:
    return number(size / GIB)


def price(milli: int) -> str:
    return number(milli / 1000)


def percent(share: float) -> str:
    """A share; what is small but not nothing keeps a digit."""
    value = share * 100
    if value == 0 or value >= 10:
        return f"{value:.0f}%"
    return f"{value:.1f}%" if value >= 0.1 else f"{value:.2g}%"


def _density(of: Density | None) -> str:
    return NONE if of is None else f"{number(of.mean)} / {of.most}"


def _lost(of: Blast | None) -> str:
    return NONE if of is None else f"{percent(of.worst_share)} / {percent(of.mean_share)}"


def _all_lost(of: Blast | None) -> str:
    return NONE if of is None else str(of.worst_lost)


def _exposed(of: Blast | None) -> str:
    return NONE if of is None else str(of.exposed)


def hosts(of: Figures) -> str:
    return f"{of.hosts:,} + {of.spare_hosts:,}" if of.spare_hosts else f"{of.hosts:,}"


def _amount(cpu: int, memory: int) -> str:
    return f"{cpus(cpu)} / {gib(memory)}"


_HOST: Final = "When one host dies"
_VM: Final = "When one VM dies"
_KINDS: Final = (
    _Kind("Machines", "VMs", lambda f: f"{f.vms:,}" if f.vm_blast else NONE),
    _Kind("Machines", "hosts (+ spare)", hosts),
    _Kind("Machines", "containers placed", lambda f: f"{f.placed:,}"),
    _Kind(
        "Machines", "containers without a place", lambda f: f"{f.unplaced:,}", lambda f: f.unplaced
    ),
    _Kind("Density", "containers per VM, mean / most", lambda f: _density(f.per_vm)),
    _Kind("Density", "containers per host, mean / most", lambda f: _density(f.per_host)),
    _Kind("Capacity", "CPUs provisioned", lambda f: cpus(f.cpu)),
    _Kind("Capacity", "CPUs requested", lambda f: cpus(f.cpu_requested)),
    _Kind("Capacity", "CPU requested of provisioned", lambda f: percent(f.cpu_used)),
    _Kind("Capacity", "GiB provisioned", lambda f: gib(f.memory)),
    _Kind("Capacity", "GiB requested", lambda f: gib(f.memory_requested)),
    _Kind("Capacity", "memory requested of provisioned", lambda f: percent(f.memory_used)),
    _Kind("Overhead, CPUs / GiB", "operating systems", lambda f: f"{f.guests:,}"),
    _Kind("Overhead, CPUs / GiB", "taken by them", lambda f: _amount(f.guest_cpu, f.guest_memory)),
    _Kind(
        "Overhead, CPUs / GiB",
        "container runtime",
        lambda f: _amount(f.runtime_cpu, f.runtime_memory),
        lambda f: f.runtime_cpu or f.runtime_memory,
    ),
    _Kind(
        "Overhead, CPUs / GiB",
        "hypervisors",
        lambda f: _amount(f.hypervisor_cpu, f.hypervisor_memory),
        lambda f: f.hypervisor_cpu or f.hypervisor_memory,
    ),
    _Kind(
        "Overhead, CPUs / GiB",
        "DaemonSet and static pods",
        lambda f: _amount(f.daemon_cpu, f.daemon_memory),
        lambda f: f.daemon_cpu or f.daemon_memory,
    ),
    _Kind("Cost", "machines at the pool's prices", lambda f: price(f.cost_machines)),
    _Kind("Cost", "licences of hosts", lambda f: price(f.licences), lambda f: f.licences),
    _Kind("Cost", "both together", lambda f: price(f.cost), lambda f: f.licences),
    _Kind("Cost", "if hosts are paid whole", lambda f: price(f.cost_whole)),
    _Kind(_VM, "containers lost, worst / mean", lambda f: _lost(f.vm_blast)),
    _Kind(_VM, "workloads wholly lost, worst", lambda f: _all_lost(f.vm_blast)),
    _Kind(_VM, "replicated workloads at stake", lambda f: _exposed(f.vm_blast)),
    _Kind(_HOST, "containers lost, worst / mean", lambda f: _lost(f.host_blast)),
    _Kind(_HOST, "workloads wholly lost, worst", lambda f: _all_lost(f.host_blast)),
    _Kind(_HOST, "replicated workloads at stake", lambda f: _exposed(f.host_blast)),
)


def rows(comparison: Comparison) -> Iterator[Row]:
    """The figures of all known ways, in the order of ``comparison.figures``."""
    ways = tuple(comparison.figures.values())
    for kind in _KINDS:
        if any(kind.needed(figures) for figures in ways):
            yield Row(kind.section, kind.label, tuple(map(kind.cell, ways)))


def headings(comparison: Comparison) -> tuple[str, ...]:
    return tuple(HEADINGS[way] for way in comparison.figures)
