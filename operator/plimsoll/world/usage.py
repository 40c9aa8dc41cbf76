"""What workloads use: measurements of replicas, added up and remembered.

Pure: measurements go in with the time, ``Demand`` comes out. The rule behind it:
what was not measured is not zero. If a single replica that should have been
measured was not, the sum of the others is the least that is used: enough to scale up
for, but such a round never counts as watched, so nothing is scaled down on it.

Units: CPU in millicores, memory in bytes, times in seconds since the epoch.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from plimsoll.world.snapshot import Demand

STALE_AFTER: Final = 90.0
"""Older measurements count as missing. Metrics servers measure once or twice a minute."""
SETTLING: Final = 30.0
"""A replica that started less than this ago need not have been measured yet."""


class Measured(NamedTuple):
    """Use of one container at a time."""

    cpu: int
    memory: int
    at: float


class Replica(NamedTuple):
    """A running pod of a workload."""

    pod: str
    """Key ``namespace/name``."""
    container: str
    """The steered container: the one whose size is decided."""
    started: float


@dataclass(frozen=True)
class Running:
    """What runs of one workload."""

    window: float
    """The workload's ``scaleDownAfter``."""
    replicas: tuple[Replica, ...]


class _Sample(NamedTuple):
    at: float
    cpu: int
    memory: int


@dataclass
class _History:
    samples: deque[_Sample] = field(default_factory=deque)
    complete_since: float = math.inf
    """Since when all was measured without a gap and no sample has been dropped."""

    def add(self, sample: _Sample, complete: bool, window: float, gap: float) -> bool:
        """Takes in a sample, drops what left the window; whether the window is full."""
        gapped = not self.samples or sample.at - self.samples[-1].at > gap
        if not complete:
            self.complete_since = math.inf
        elif gapped or self.complete_since == math.inf:
            self.complete_since = sample.at
        self.samples.append(sample)
        begin = sample.at - window
        while self.samples[0].at < begin:
            self.samples.popleft()
        full = self.complete_since <= begin
        # A window that is lengthened later has not been watched in whole.
        self.complete_since = max(self.complete_since, begin)
        return full


class Usage:
    """Demand of each workload, and the history behind its peak."""

    def __init__(self, settling: float = SETTLING, stale_after: float = STALE_AFTER) -> None:
        self._settling = settling
        self._stale_after = stale_after
        self._histories: dict[str, _History] = {}
        self._demands: dict[str, Demand] = {}

    def observe(
        self,
        now: float,
        running: Mapping[str, Running],
        measured: Mapping[tuple[str, str], Measured],
    ) -> None:
        """Takes in one round of measurements.

        Args:
            now: the time of the round; never earlier than that of the last one.
            running: by workload key; workloads that are not in it are forgotten.
            measured: by pod key and container name.
        """
        self._histories = {key: self._histories.get(key) or _History() for key in sorted(running)}
        self._demands = {}
        for key, workload in running.items():
            parts, complete = self._parts(now, workload.replicas, measured)
            if not parts:
                continue
            total = Measured(
                cpu=sum(part.cpu for part in parts),
                memory=sum(part.memory for part in parts),
                at=min(part.at for part in parts),
            )
            history = self._histories[key]
            sample = _Sample(now, total.cpu, total.memory)
            full = history.add(sample, complete, workload.window, self._stale_after)
            self._demands[key] = Demand(
                cpu=total.cpu,
                memory=total.memory,
                at=total.at,
                peak_cpu=max(s.cpu for s in history.samples),
                peak_memory=max(s.memory for s in history.samples),
                window_full=full,
            )

    def demands(self, now: float) -> dict[str, Demand]:
        """By workload key: the demands that are known and not stale."""
        return {
            key: demand
            for key, demand in self._demands.items()
            if now - demand.at <= self._stale_after
        }

    def _parts(
        self,
        now: float,
        replicas: tuple[Replica, ...],
        measured: Mapping[tuple[str, str], Measured],
    ) -> tuple[list[Measured], bool]:
        """What was measured of the replicas, and whether that is all there is to measure."""
        parts, complete = [], True
        for replica in replicas:
            part = measured.get((replica.pod, replica.container))
            # Older than the pod: measured of a pod that had the same name before.
            if part and part.at >= replica.started and now - part.at <= self._stale_after:
                parts.append(part)
            elif now - replica.started > self._settling:
                complete = False
        return parts, complete
