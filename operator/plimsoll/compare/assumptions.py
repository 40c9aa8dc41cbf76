"""What a comparison takes for granted: every figure stated, with where it comes from.

Units: CPU in millicores, memory in bytes, prices in thousandths of the pool's unit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final, NamedTuple

from plimsoll.api.quantity import format_bytes, format_milli, parse_bytes, parse_milli

GIB: Final = 1024**3
MIB: Final = 1024**2


class Origin(StrEnum):
    """Where a figure comes from."""

    MEASURED = "measured"
    """It stands in the dump."""
    GIVEN = "given"
    """By an option."""
    ASSUMED = "assumed"
    """Neither; an option changes it."""


class Fact(NamedTuple):
    """One line of what a comparison rests on."""

    what: str
    value: str
    origin: Origin
    options: str = ""
    """Options that change it."""


class OptionError(ValueError):
    """An option that cannot be used: which one, why, and what to do."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(f"{option}: {message}")


class Range(NamedTuple):
    """From the smallest to the largest."""

    low: int
    high: int


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be said on the command line. None: measured if it can be, else assumed."""

    guest_cpu: int = 100
    """Taken by the operating system of each VM, and of each bare-metal host."""
    guest_memory: int = 512 * MIB
    container_cpu: int = 0
    """Taken by the runtime for each container, besides what the container requests."""
    container_memory: int = 16 * MIB
    hypervisor_cpu: int = 1000
    """Taken by the hypervisor of each host whose size is assumed."""
    hypervisor_memory: int = 4 * GIB
    host_cpu: int | None = None
    host_memory: int | None = None
    host_pods: int = 250
    """Pods that a bare-metal host takes at most."""
    cpu_overcommit: int | None = None
    """Virtual CPUs given out for 100 physical ones."""
    survive_hosts: int | None = None
    vm_cpu: Range | None = None
    vm_memory: Range | None = None
    vm_pods: int | None = None
    load_line: int | None = None
    cost_per_vm: int | None = None
    cost_per_cpu: int | None = None
    cost_per_gib: int | None = None
    vm_host_licence: int = 0
    """Per host that runs VMs."""
    bare_host_licence: int = 0
    """Per host that runs containers itself."""

    @classmethod
    def parse(cls, texts: dict[str, str | None]) -> Options:
        """Options from their texts by field name; None or absent: not given.

        Raises:
            OptionError: a text is not what its option takes.
        """
        values: dict[str, Any] = {}
        for name, text in texts.items():
            if text is None:
                continue
            try:
                values[name] = _READERS[name](text)
            except ValueError as error:
                raise OptionError(flag(name), str(error)) from None
        return cls(**values)

    def given(self, *names: str) -> Origin:
        """Whether one of these differs from its default."""
        defaults = {field.name: field.default for field in fields(self)}
        changed = any(getattr(self, name) != defaults[name] for name in names)
        return Origin.GIVEN if changed else Origin.ASSUMED


def flag(name: str) -> str:
    """The option that sets a field."""
    return f"--{name.replace('_', '-')}"


def flags(*names: str) -> str:
    """The options that set some fields, as they are named to readers."""
    return ", ".join(map(flag, names))


def cpu_and_memory(cpu: int, memory: int) -> str:
    """An amount for readers: ``100m CPU, 512Mi``."""
    return f"{format_milli(cpu)} CPU, {format_bytes(memory)}"


def _positive_bytes(text: str) -> int:
    value = parse_bytes(text)
    if not value:
        raise ValueError("must be more than 0: give memory such as 64Gi")
    return value


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"{text!r} is no whole number from {low} to {high}")
        return int(text)

    return read


def _range(end: Callable[[str], int], example: str) -> Callable[[str], Range]:
    def read(text: str) -> Range:
        low, dash, high = text.partition("-")
        try:
            found = Range(end(low), end(high if dash else low))
        except ValueError as error:
            raise ValueError(f"{error} (write a range like {example})") from None
        if found.low > found.high:
            raise ValueError(f"{text!r} ends below where it begins: write it like {example}")
        return found

    return read


_READERS: Final[dict[str, Callable[[str], object]]] = {
    "guest_cpu": parse_milli,
    "guest_memory": parse_bytes,
    "container_cpu": parse_milli,
    "container_memory": parse_bytes,
    "hypervisor_cpu": parse_milli,
    "hypervisor_memory": parse_bytes,
    "host_cpu": _whole(1, 4096),
    "host_memory": _positive_bytes,
    "host_pods": _whole(1, 1000),
    "cpu_overcommit": _whole(100, 1600),
    "survive_hosts": _whole(0, 64),
    "vm_cpu": _range(_whole(1, 4096), "2-16"),
    "vm_memory": _range(_positive_bytes, "4Gi-64Gi"),
    "vm_pods": _whole(1, 1000),
    "load_line": _whole(1, 100),
    "cost_per_vm": parse_milli,
    "cost_per_cpu": parse_milli,
    "cost_per_gib": parse_milli,
    "vm_host_licence": parse_milli,
    "bare_host_licence": parse_milli,
}
