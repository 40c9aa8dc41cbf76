"""Carries a plan out, move by move.

Every move is safe to repeat, looks at the live object once more before it
changes it, and fails alone: a failure is reported and stops only the moves
that name the same subject. Moves of one kind run side by side, the kinds in
the order of the plan.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import groupby
from typing import Final, TypeVar, assert_never

from plimsoll.act import pods, vmnodes
from plimsoll.act.ledger import Ledger
from plimsoll.act.outcome import FieldConflict, Outcome, Refused, Result
from plimsoll.act.scale import Autoscalers, scale
from plimsoll.apierrors import ApiError
from plimsoll.decide.plan import Lever, Move, Plan, Reason
from plimsoll.kube import Json, Kube
from plimsoll.world import wire
from plimsoll.world.objects import Objects
from plimsoll.world.snapshot import Snapshot

T = TypeVar("T")

log = logging.getLogger(__name__)

CONCURRENCY: Final = 8
"""Requests of one plan at the API server at once."""


class CarryOut:
    """One plan being carried out, against the objects that it was decided on."""

    def __init__(self, kube: Kube, objects: Objects, snapshot: Snapshot) -> None:
        self._kube = kube
        self._ledger = Ledger(kube)
        self._autoscalers = Autoscalers(kube)
        self._objects = objects
        self._snapshot = snapshot
        self._workloads = {workload.key: workload for workload in snapshot.workloads}
        self._targets = {
            (kind, controller.metadata.namespace, controller.metadata.name): controller
            for kind, controllers in (
                ("Deployment", objects.deployments),
                ("StatefulSet", objects.statefulsets),
            )
            for controller in controllers
        }
        self._failed: set[str] = set()

    @cached_property
    def _pods(self) -> dict[str, wire.Pod]:
        # Many, and most plans move none of them.
        return {f"{p.metadata.namespace}/{p.metadata.name}": p for p in self._objects.pods}

    async def run(self, plan: Plan) -> list[Result]:
        """Makes every move that the plan does not defer; the results are in plan order."""
        results: list[Result] = []
        for batch in _batches([move for move in plan.moves if not move.deferred]):
            limit = asyncio.Semaphore(CONCURRENCY)
            results += await asyncio.gather(*(self._guarded(move, limit) for move in batch))
        return results

    async def _guarded(self, move: Move, limit: asyncio.Semaphore) -> Result:
        if move.subject in self._failed:
            return Result(move, Outcome.SKIPPED, "an earlier move of the same subject failed")
        async with limit:
            try:
                return Result(move, Outcome.DONE, written=await self._make(move))
            except Refused as refused:
                result = Result(move, Outcome.REFUSED, str(refused), refused.guard)
            except FieldConflict as conflict:
                result = Result(move, Outcome.REFUSED, str(conflict), conflict=True)
            except ApiError as error:
                result = Result(move, Outcome.FAILED, str(error))
            except Exception as error:
                # A mistake of ours in one move must not keep the others from being made.
                log.exception("move failed", extra={"object": move.subject})
                result = Result(move, Outcome.FAILED, f"{type(error).__name__}: {error}")
        self._failed.add(move.subject)
        return result

    async def _make(self, move: Move) -> Json | None:
        kind, _, key = move.subject.partition("/")
        match move.kind:
            case Lever.LOAD:
                return await vmnodes.load(self._kube, move, key, _given(move.berths))
            case Lever.RESIZE:
                return await self._resize_pod(move, key)
            case Lever.GROW:
                return await vmnodes.resize(self._kube, move, key, _given(move.size))
            case Lever.REPLICATE:
                return await self._scale(move, key)
            case Lever.LAUNCH:
                return await vmnodes.launch(self._kube, self._ledger, _given(move.vm))
            case Lever.MOVE:
                return await self._evict(move, key)
            case Lever.RETIRE:
                return await vmnodes.retire(self._kube, self._ledger, move, key, self._pods_on(key))
            case Lever.SHRINK if kind == "pod":
                return await self._resize_pod(move, key)
            case Lever.SHRINK if kind == "vm":
                return await vmnodes.resize(self._kube, move, key, _given(move.size))
            case Lever.SHRINK:
                return await self._scale(move, key)
        assert_never(move.kind)

    async def _resize_pod(self, move: Move, key: str) -> Json | None:
        known = self._snapshot.pod(key)
        assert known is not None
        workload = self._workloads.get(known.workload or "")
        scale_up = workload.spec.scale_up if workload is not None else None
        return await pods.resize(
            self._kube,
            self._pod(move, key),
            scale_up.container if scale_up is not None else "",
            _given(move.size),
            may_restart=known.restart_on_resize,
        )

    async def _evict(self, move: Move, key: str) -> Json | None:
        pod = self._pod(move, key)
        return await pods.evict(self._kube, pod, pod.spec.node_name)

    async def _scale(self, move: Move, key: str) -> Json:
        workload = self._workloads[key]
        kind, _, name = workload.target.partition("/")
        target = self._targets.get((kind, workload.namespace, name))
        if target is None:
            raise Refused(Reason.IN_FLIGHT, f"{workload.target} does not exist any more")
        return await scale(self._kube, self._autoscalers, kind, target, _given(move.replicas))

    def _pod(self, move: Move, key: str) -> wire.Pod:
        pod = self._pods[key]
        if move.uid and pod.metadata.uid != move.uid:
            raise Refused(Reason.IN_FLIGHT, f"{key} is another pod than the one decided on")
        return pod

    def _pods_on(self, node: str) -> set[str]:
        return {pod.uid for pod in self._snapshot.pods if pod.node == node}


def _given(value: T | None) -> T:
    """A field that moves of this kind always carry."""
    assert value is not None
    return value


def _batches(moves: Sequence[Move]) -> Iterator[list[Move]]:
    for _, batch in groupby(moves, key=lambda move: (move.kind, move.subject.partition("/")[0])):
        yield list(batch)
