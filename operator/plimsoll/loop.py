"""The planning loop: gather, decide, act; one at a time, woken by changes.

A turn starts only when everything has been read and every own write of the
turns before has been seen, so a decision never rests on a world older than the
last decision. Errors end a turn, never the loop.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from plimsoll.act.carry_out import CarryOut
from plimsoll.act.decisions import by_object
from plimsoll.act.nominate import Nominations
from plimsoll.act.outcome import Outcome, Result
from plimsoll.act.report import Reporter
from plimsoll.act.status import Turn
from plimsoll.act.workloads import Upkeep
from plimsoll.batching import Batch, concerns_plan
from plimsoll.decide.plan import Lever, Plan
from plimsoll.decide.replan import Replanner
from plimsoll.events import EventReason, Recorder
from plimsoll.health import STUCK_AFTER
from plimsoll.kube import Json, Kube
from plimsoll.observe.backoff import LaunchBackoff
from plimsoll.observe.circles import Circles
from plimsoll.observe.conflicts import Conflicts
from plimsoll.observe.evictions import Evictions
from plimsoll.observe.newcomers import Newcomers
from plimsoll.resources import Resource
from plimsoll.settings import Settings
from plimsoll.telemetry import Stage, Telemetry
from plimsoll.world.assemble import Assembler
from plimsoll.world.metrics import Metrics
from plimsoll.world.objects import Objects, Observations
from plimsoll.world.snapshot import Snapshot
from plimsoll.world.store import Key
from plimsoll.world.stores import World

log = logging.getLogger(__name__)

HEARTBEAT: Final = 30.0
"""A turn is made at least this often, in seconds: what no event tells is found then."""
PLANNING_MOST: Final = 5.0
"""Seconds after which the search for VMs to retire ends with what it found."""
_RETRY_FIRST: Final = 1.0
_RETRY_MOST: Final = 30.0


class PlanningLoop:
    """Runs turns until cancelled. ``wake`` asks for one."""

    def __init__(
        self,
        kube: Kube,
        world: World,
        usage: Metrics,
        recorder: Recorder,
        telemetry: Telemetry,
        settings: Settings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._kube = kube
        self._world = world
        self._usage = usage
        self._telemetry = telemetry
        self._settings = settings
        self._clock = clock
        self._upkeep = Upkeep(kube, recorder, settings.conflict_retry)
        self._reporter = Reporter(kube, recorder)
        self._replanner = Replanner()
        self._assembler = Assembler(expendable_below=settings.expendable_below)
        self._backoff = LaunchBackoff()
        self._circles = Circles()
        self._evictions = Evictions()
        self._conflicts = Conflicts(settings.conflict_retry)
        self._newcomers = Newcomers()
        self._nominations = Nominations()
        self._woken = asyncio.Event()
        self._unseen: list[Json] = []
        self._retry = 0.0
        self.turns = 0
        """Turns completed without an error."""
        self._turn_since: float | None = None
        world.on_change(self._changed)
        usage.on_measured(self.wake)

    def wake(self) -> None:
        """Asks for a turn soon."""
        self._woken.set()

    def busy_for(self) -> float:
        """Seconds since the turn under way began; 0 between turns."""
        return 0.0 if self._turn_since is None else time.monotonic() - self._turn_since

    async def run(self) -> None:
        """Turns for ever."""
        await self._world.wait_synced()
        # Most of what was read stays for long: looking for garbage among it would be time lost.
        gc.freeze()
        while True:
            self._woken.clear()
            begin = self._turn_since = time.monotonic()
            try:
                again_in = await self.turn()
                self.turns += 1
            except Exception:
                log.exception("a turn of the planning loop failed", extra={"object": "loop"})
                self._telemetry.loop_errors.inc()
                again_in = self._next_retry()
            finally:
                self._turn_since = None
            await self._rest(again_in, time.monotonic() - begin)

    async def turn(self) -> float:
        """One turn; answers in how many seconds the next one is due at the latest."""
        if not self._may_decide():
            return _RETRY_FIRST
        await self._see(())
        now = self._clock()
        stage = self._telemetry.stage
        with stage(Stage.UPKEEP):
            objects = self._world.objects()
            kept_up = await self._upkeep.run(objects, now)
            if kept_up:
                await self._see(kept_up)
                objects = self._world.objects()
            observations = self._observe(objects, now)
        begin = time.perf_counter()
        with stage(Stage.DECIDE):
            # Pure and possibly long: in a thread of its own, so that the rest keeps answering.
            snapshot, decided = await asyncio.to_thread(
                _decide,
                self._assembler,
                self._replanner,
                objects,
                observations,
                self._nominations,
                now,
            )
        self._telemetry.planned(snapshot, decided, time.perf_counter() - begin)
        decided, circling = self._evictions.hold(decided, snapshot, now)
        with stage(Stage.ACT):
            results = await CarryOut(self._kube, objects, snapshot).run(decided)
        with stage(Stage.NOMINATE):
            nominated = await self._nominations.tell(self._kube, decided, objects)
        self._learn(results, objects, now)
        done = [result.move for result in results if result.outcome is Outcome.DONE]
        self._evictions.made(done, snapshot, now)
        self._telemetry.carried_out(results)
        with stage(Stage.REPORT):
            await self._reporter.report(
                Turn(
                    objects=objects,
                    snapshot=snapshot,
                    plan=decided,
                    now=now,
                    decisions=by_object(results, snapshot, now),
                    problems=self._problems(now),
                    circling=circling,
                ),
                results,
            )
        written = [result.written for result in results if result.written is not None]
        with stage(Stage.SEE):
            await self._see([*written, *nominated])
        return self._due(decided, results)

    def _may_decide(self) -> bool:
        """Whether the world is known: unknown pauses everything, above all what destroys."""
        unread = self._world.unsynced()
        stuck = self._world.stuck(STUCK_AFTER)
        for resource, why in unread.items():
            log.warning("not deciding: %s", why, extra={"object": str(resource)})
        for resource, age in stuck.items():
            log.warning("not deciding: silent for %.0f s", age, extra={"object": str(resource)})
        return not unread and not stuck

    async def _see(self, written: Iterable[Json]) -> None:
        """The own-writes barrier. What is not seen in time is waited for by the next turn."""
        self._unseen += written
        while self._unseen:
            await self._world.wait_for(self._unseen[0])
            self._unseen.pop(0)

    def _observe(self, objects: Objects, now: float) -> Observations:
        windows = _windows(objects)
        problems = {
            **{f"ContainerWorkload/{key}": text for key, (_, text) in self._problems(now).items()},
            **self._world.object_problems(),
        }
        return Observations(
            demands=self._usage.demands(),
            node_usage=self._usage.node_usage(),
            quiet_since=self._newcomers.quiet_since(
                [node.metadata.name for node in objects.nodes],
                self._world.occupancy.quiet_since(),
                now,
            ),
            launch_blocked_until=self._backoff.observe(objects.vmnodes, now),
            loop_detected=self._circles.observe((), windows, now),
            problems=problems,
        )

    def _problems(self, now: float) -> dict[str, tuple[str, str]]:
        """By workload key: why it cannot be served, as acting knows it by now."""
        conflicts = self._conflicts.texts(now)
        return {
            **{key: (EventReason.FIELD_CONFLICT.value, text) for key, text in conflicts.items()},
            **{key: (why.reason.value, str(why)) for key, why in self._upkeep.problems.items()},
        }

    def _learn(self, results: list[Result], objects: Objects, now: float) -> None:
        """Keeps what the next turn must know of this one."""
        turned = []
        for result in results:
            move = result.move
            if result.conflict:
                self._conflicts.found(move.subject.removeprefix("workload/"), result.message, now)
            elif move.drifted:
                continue  # a person wants it: no circle
            elif result.outcome is Outcome.DONE and move.kind in (Lever.LAUNCH, Lever.RETIRE):
                pool = move.vm.pool if move.vm is not None else _pool_of(objects, move.subject)
                turned.append((pool, move.kind))
        self._circles.observe(turned, _windows(objects), now)

    def _due(self, decided: Plan, results: list[Result]) -> float:
        if any(result.outcome in (Outcome.FAILED, Outcome.REFUSED) for result in results):
            return self._next_retry()
        self._retry = 0.0
        now = self._clock()
        times = [*self._conflicts.times(), *self._circles.times(), *self._upkeep.times()]
        if decided.recheck_at is not None:
            times.append(decided.recheck_at)
        return max(0.0, min(now + HEARTBEAT, *times) - now) if times else HEARTBEAT

    def _next_retry(self) -> float:
        self._retry = min(_RETRY_MOST, max(_RETRY_FIRST, self._retry * 2))
        return self._retry

    async def _rest(self, seconds: float, turn_took: float) -> None:
        """Returns when the next turn is due: after so many seconds, or for what has changed."""
        batch = Batch(self._settings.debounce, time.monotonic(), turn_took)
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return
        with self._telemetry.stage(Stage.GATHER):
            batch.add(time.monotonic())
            while (left := batch.due() - time.monotonic()) > 0:
                self._woken.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._woken.wait()
                    batch.add(time.monotonic())

    def _changed(self, resource: Resource, key: Key, old: Any, new: Any) -> None:
        if concerns_plan(resource, old, new):
            self.wake()


def _decide(
    assembler: Assembler,
    replanner: Replanner,
    objects: Objects,
    observations: Observations,
    nominations: Nominations,
    now: float,
) -> tuple[Snapshot, Plan]:
    seen = assembler.assemble(objects, observations, now)
    snapshot = nominations.without_own(seen, objects)
    return snapshot, replanner.plan(snapshot, now, _out_of_time(PLANNING_MOST))


def _out_of_time(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def _windows(objects: Objects) -> dict[str, float]:
    return {p.metadata.name: p.spec.disruption.consolidate_after for p in objects.pools}


def _pool_of(objects: Objects, subject: str) -> str:
    name = subject.removeprefix("vm/")
    return next((v.spec.pool for v in objects.vmnodes if v.metadata.name == name), "")
