"""Prometheus metrics. docs/reference/metrics.md describes each of them.

Labels take their values from closed sets (levers, reasons, phases) or are names of
pools, so the number of series is bounded by the number of pools.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from plimsoll.act.outcome import Outcome, Result
from plimsoll.decide.plan import Plan
from plimsoll.world.snapshot import Snapshot


class Stage(StrEnum):
    """Stages of a turn of the planning loop, in their order; the first is the wait before it."""

    GATHER = "Gather"
    UPKEEP = "Upkeep"
    DECIDE = "Decide"
    ACT = "Act"
    NOMINATE = "Nominate"
    REPORT = "Report"
    SEE = "See"


class Telemetry:
    """All metrics of one operator, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.plan_seconds = Histogram(
            "plimsoll_plan_seconds",
            "Time to assemble the snapshot and decide.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "plimsoll_turn_stage_seconds",
            "Time that the stages of a turn of the planning loop take.",
            ["stage"],
            buckets=(0.005, 0.025, 0.1, 0.25, 1, 5),
            registry=self.registry,
        )
        self.moves = Counter(
            "plimsoll_moves",
            "Moves by kind and by what became of them.",
            ["kind", "outcome"],
            registry=self.registry,
        )
        self.vms = Gauge(
            "plimsoll_vms", "VMs by pool and phase.", ["pool", "phase"], registry=self.registry
        )
        self.unplaced = Gauge(
            "plimsoll_unplaced_pods",
            "Pods that found no place in the last plan, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.refusals = Counter(
            "plimsoll_guard_refusals",
            "Moves that a safety guard refused, when deciding or just before acting.",
            ["guard"],
            registry=self.registry,
        )
        self.watch_silence = Gauge(
            "plimsoll_watch_silence_seconds",
            "Seconds since the API server last sent anything on a watch.",
            ["resource"],
            registry=self.registry,
        )
        self.loop_errors = Counter(
            "plimsoll_loop_errors",
            "Turns of the planning loop that ended in an error.",
            registry=self.registry,
        )

    def watch(self, resource: str, silence: Callable[[], float]) -> None:
        """Shows for how long a watch has brought nothing; asked for when metrics are read."""
        self.watch_silence.labels(resource).set_function(silence)

    def stage(self, stage: Stage) -> AbstractContextManager[object]:
        """Measures what is done within."""
        return self.stage_seconds.labels(stage.value).time()

    def planned(self, snapshot: Snapshot, plan: Plan, seconds: float) -> None:
        """Counts one decision."""
        self.plan_seconds.observe(seconds)
        self.vms.clear()
        for (pool, phase), count in Tally((vm.pool, vm.phase) for vm in snapshot.vms).items():
            if pool is not None:
                self.vms.labels(pool, phase.value).set(count)
        self.unplaced.clear()
        for reason, count in Tally(pod.reason for pod in plan.unplaced).items():
            self.unplaced.labels(reason.value).set(count)
        for refusal in plan.refusals:
            self.refusals.labels(refusal.guard.value).inc()

    def carried_out(self, results: Iterable[Result]) -> None:
        """Counts what became of a plan's moves."""
        for result in results:
            self.moves.labels(result.move.kind.value, result.outcome.value).inc()
            if result.outcome is Outcome.REFUSED and result.guard is not None:
                self.refusals.labels(result.guard.value).inc()
