"""What the page shows as bars: one small chart a question, the ways always in one order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from plimsoll.compare.comparison import Comparison
from plimsoll.compare.figures import Figures
from plimsoll.compare.layout import Way
from plimsoll.compare.rows import HEADINGS, NONE, cpus, gib, hosts, number, percent, price


class Bar(NamedTuple):
    """One way in one chart."""

    way: Way
    name: str
    parts: tuple[float, ...]
    """Lengths of its parts, each paler than the one before."""
    label: str
    mark: float | None = None
    """A second value on the same scale, drawn as a line across the bar."""


class Chart(NamedTuple):
    """One question, answered by bars from zero."""

    title: str
    subtitle: str
    """What the bars, their parts and marks are."""
    bars: tuple[Bar, ...]

    @property
    def largest(self) -> float:
        return max(max(sum(bar.parts), bar.mark or 0.0) for bar in self.bars)

    @property
    def description(self) -> str:
        """The same in words."""
        return "; ".join(f"{bar.name}: {bar.label}" for bar in self.bars) + "."


class _One(NamedTuple):
    parts: tuple[float, ...]
    label: str
    mark: float | None = None


def charts(comparison: Comparison) -> Iterator[Chart]:
    """All charts, in the order in which they are read."""

    def chart(title: str, subtitle: str, one: Callable[[Figures], _One]) -> Chart:
        bars = (
            Bar(way, HEADINGS[way], *one(figures)) for way, figures in comparison.figures.items()
        )
        return Chart(title, subtitle, tuple(bars))

    ways = comparison.figures.values()
    yield chart("VMs", "number of VMs", _vms)
    spare = any(f.spare_hosts for f in ways)
    yield chart("Hosts", "in use, and spare" if spare else "physical machines in use", _hosts)
    yield chart(
        "Operating systems",
        "GiB of memory that they take, in so many",
        lambda f: _One((float(f.guest_memory),), f"{gib(f.guest_memory)} in {f.guests:,}"),
    )
    yield chart("CPUs", "requested, taken by overhead, unused", _cpu)
    yield chart("Memory, GiB", "requested, taken by overhead, unused", _memory)
    yield chart(
        "Density",
        "containers per machine: mean; line: most",
        _density,
    )
    licences = any(f.licences for f in ways)
    yield chart(
        "Cost at the pool's prices",
        "machines, licences of hosts" if licences else "of VMs; of whole hosts on bare metal",
        lambda f: _One((float(f.cost_machines), float(f.licences)), price(f.cost)),
    )
    yield chart(
        "Cost if hosts are paid whole",
        "spare hosts and VM licences included",
        lambda f: _One((float(f.cost_whole),), price(f.cost_whole)),
    )
    yield chart(
        "One machine dies",
        "containers lost, worst case; line: mean",
        lambda f: _share(f.machine_blast.worst_share, f.machine_blast.mean_share),
    )
    yield chart(
        "One host dies",
        "containers lost, worst case; line: mean",
        lambda f: _share(f.host_blast.worst_share, f.host_blast.mean_share),
    )
    yield chart(
        "All replicas in one machine",
        "workloads of several replicas so placed",
        lambda f: _One((float(f.machine_blast.exposed),), str(f.machine_blast.exposed)),
    )
    yield chart(
        "All replicas on one host",
        "workloads of several replicas so placed",
        lambda f: _One((float(f.host_blast.exposed),), str(f.host_blast.exposed)),
    )


def _vms(f: Figures) -> _One:
    return _One((float(f.vms),), f"{f.vms:,}" if f.vm_blast else NONE)


def _hosts(f: Figures) -> _One:
    return _One((float(f.hosts), float(f.spare_hosts)), hosts(f))


def _density(f: Figures) -> _One:
    of = f.per_vm or f.per_host
    return _One((of.mean,), f"{number(of.mean)}, most {of.most}", float(of.most))


def _cpu(f: Figures) -> _One:
    # A hypervisor's share is outside the VMs, whose sizes are what is provisioned.
    taken = f.overhead_cpu - f.hypervisor_cpu
    return _One(_parts(f.cpu, f.cpu_requested, taken), f"{percent(f.cpu_used)} of {cpus(f.cpu)}")


def _memory(f: Figures) -> _One:
    taken = f.overhead_memory - f.hypervisor_memory
    label = f"{percent(f.memory_used)} of {gib(f.memory)}"
    return _One(_parts(f.memory, f.memory_requested, taken), label)


def _parts(whole: int, requested: int, taken: int) -> tuple[float, ...]:
    taken = max(0, min(taken, whole - requested))
    return float(requested), float(taken), float(max(0, whole - requested - taken))


def _share(worst: float, mean: float) -> _One:
    return _One((worst,), f"{percent(worst)}, mean {percent(mean)}", mean)
