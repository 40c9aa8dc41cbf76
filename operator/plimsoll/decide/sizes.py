"""Sizes of VMs: which are offered, and the smallest that holds so much.

A pool offers the sizes between ``size.min`` and ``size.max`` in steps; with
``size.memoryPerCPU`` memory follows from the CPUs. Need is what the load line must
hold: requests of everything on the VM (millicores, bytes) and its number of pods.

    line * (size - reserved) / 100 >= need
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from plimsoll.api.vmpool import VMPoolSpec
from plimsoll.decide.columns import Ints
from plimsoll.decide.plan import Size

_NONE = -1
"""No size offered is large enough."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of one pool, in millicores and bytes."""

    line: int
    reserved_cpu: int
    reserved_memory: int
    cpu_min: int
    cpu_max: int
    cpu_step: int
    memory_min: int
    memory_max: int
    memory_step: int
    memory_per_cpu: int | None
    """Bytes for each whole CPU."""
    pods_max: int
    pods_per_cpu: int | None

    @classmethod
    def of(cls, spec: VMPoolSpec) -> Sizes:
        cpu, memory, density = spec.size.cpu, spec.size.memory, spec.density
        step, low, high = cpu.step * 1000, cpu.min * 1000, cpu.max * 1000
        ratio = spec.size.memory_per_cpu
        if ratio is not None:
            # Only CPUs whose memory is within its range are offered.
            low += max(0, -(-(_cpus(memory.min, ratio, up=True) * 1000 - low) // step)) * step
            high -= max(0, -(-(high - _cpus(memory.max, ratio) * 1000) // step)) * step
        return cls(
            line=density.load_line_percent,
            reserved_cpu=density.reserved.cpu,
            reserved_memory=density.reserved.memory,
            cpu_min=low,
            cpu_max=high,
            cpu_step=step,
            memory_min=memory.min,
            memory_max=memory.max,
            memory_step=memory.step,
            memory_per_cpu=ratio,
            pods_max=density.pods.max,
            pods_per_cpu=density.pods.per_cpu,
        )

    def capped(self, cpu: int) -> Sizes:
        """The same sizes up to so many millicores."""
        return replace(self, cpu_max=min(self.cpu_max, cpu))

    def smallest(self, need_cpu: int, need_memory: int, pods: int = 0) -> Size | None:
        """The smallest size offered that holds so much; None: even the largest does not."""
        cpu_wanted = -(-need_cpu * 100 // self.line) + self.reserved_cpu
        memory_wanted = -(-need_memory * 100 // self.line) + self.reserved_memory
        if pods > self.pods_max:
            return None
        if self.pods_per_cpu is not None:
            cpu_wanted = max(cpu_wanted, -(-pods // self.pods_per_cpu) * 1000)
        if self.memory_per_cpu is not None:
            cpu_wanted = max(cpu_wanted, _cpus(memory_wanted, self.memory_per_cpu, up=True) * 1000)
        cpu = _on_step(cpu_wanted, self.cpu_min, self.cpu_step)
        if cpu > self.cpu_max:
            return None
        if self.memory_per_cpu is not None:
            return Size(cpu=cpu, memory=cpu // 1000 * self.memory_per_cpu)
        memory = _on_step(memory_wanted, self.memory_min, self.memory_step)
        return Size(cpu=cpu, memory=memory) if memory <= self.memory_max else None

    def smallest_all(self, need_cpu: Ints, need_memory: Ints, pods: Ints) -> tuple[Ints, Ints]:
        """As ``smallest`` for many VMs at once: CPU and memory of each, -1 where none is enough."""
        cpu: Any = -(-need_cpu * 100 // self.line) + self.reserved_cpu
        memory: Any = -(-need_memory * 100 // self.line) + self.reserved_memory
        if self.pods_per_cpu is not None:
            cpu = np.maximum(cpu, -(-pods // self.pods_per_cpu) * 1000)
        if self.memory_per_cpu is not None:
            cpu = np.maximum(cpu, -(-memory // self.memory_per_cpu) * 1000)
        cpu = _all_on_step(cpu, self.cpu_min, self.cpu_step)
        bad = (cpu > self.cpu_max) | (pods > self.pods_max)
        if self.memory_per_cpu is not None:
            memory = cpu // 1000 * self.memory_per_cpu
        else:
            memory = _all_on_step(memory, self.memory_min, self.memory_step)
            bad |= memory > self.memory_max
        cpu[bad] = memory[bad] = _NONE
        return cpu, memory

    def offers(self, size: Size) -> bool:
        """Whether a size is within the range; that it is on a step is the caller's care."""
        if not self.cpu_min <= size.cpu <= self.cpu_max:
            return False
        if self.memory_per_cpu is not None:
            return size.memory == size.cpu // 1000 * self.memory_per_cpu
        return self.memory_min <= size.memory <= self.memory_max

    @property
    def least(self) -> Size:
        """The smallest size offered."""
        if self.memory_per_cpu is not None:
            return Size(cpu=self.cpu_min, memory=self.cpu_min // 1000 * self.memory_per_cpu)
        return Size(cpu=self.cpu_min, memory=self.memory_min)

    @property
    def most(self) -> Size:
        """The largest size offered."""
        if self.memory_per_cpu is not None:
            return Size(cpu=self.cpu_max, memory=self.cpu_max // 1000 * self.memory_per_cpu)
        return Size(cpu=self.cpu_max, memory=self.memory_max)

    @property
    def largest_line(self) -> tuple[int, int]:
        """Requests (millicores, bytes) that the load line of the largest VM holds."""
        most = self.most
        return (
            max(0, most.cpu - self.reserved_cpu) * self.line // 100,
            max(0, most.memory - self.reserved_memory) * self.line // 100,
        )

    @property
    def fixed(self) -> bool:
        """Whether there is but one size."""
        return self.cpu_min >= self.cpu_max and (
            self.memory_per_cpu is not None or self.memory_min >= self.memory_max
        )

    def pods(self, cpu: int) -> int:
        """Pods that a VM of so many millicores is launched to take."""
        if self.pods_per_cpu is None:
            return self.pods_max
        return min(self.pods_max, cpu // 1000 * self.pods_per_cpu)


def _cpus(memory: int, ratio: int, *, up: bool = False) -> int:
    return -(-memory // ratio) if up else memory // ratio


def _on_step(wanted: int, low: int, step: int) -> int:
    return low if wanted <= low else low + -(-(wanted - low) // step) * step


def _all_on_step(wanted: Ints, low: int, step: int) -> Ints:
    result: Ints = np.maximum(wanted, low) - low
    if step != 1:
        result = -(-result // step) * step
    return result + low
