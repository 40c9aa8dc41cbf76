"""Tells people what a turn of the planning loop did: statuses, Events, log lines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import BaseModel

from plimsoll.act.decisions import Concerns
from plimsoll.act.outcome import Outcome, Result
from plimsoll.act.status import Turn, pool_statuses, workload_statuses
from plimsoll.api.common import Decision
from plimsoll.apierrors import ApiError, NotFound
from plimsoll.decide.plan import Lever, Reason
from plimsoll.events import EventReason, Recorder, Subject, of
from plimsoll.kube import Kube
from plimsoll.resources import CONTAINERWORKLOADS, VMPOOLS, Resource
from plimsoll.world.owners import key_of

log = logging.getLogger(__name__)

_CONCURRENCY: Final = 8
_UNPLACED_TOLD: Final = 20
"""Pods of one turn that get an Event of their own; the metrics count all."""

EVENTS: Final[Mapping[str, EventReason]] = {
    Lever.LOAD.value: EventReason.LOADED,
    Lever.RESIZE.value: EventReason.RESIZED,
    Lever.GROW.value: EventReason.GROWN,
    Lever.REPLICATE.value: EventReason.REPLICATED,
    Lever.LAUNCH.value: EventReason.LAUNCHED,
    Lever.MOVE.value: EventReason.MOVED,
    Lever.RETIRE.value: EventReason.RETIRED,
    Lever.SHRINK.value: EventReason.SHRUNK,
}


class Reporter:
    """Writes what changed, and only that."""

    def __init__(self, kube: Kube, recorder: Recorder) -> None:
        self._kube = kube
        self._recorder = recorder
        self._limit = asyncio.Semaphore(_CONCURRENCY)

    async def report(self, turn: Turn, results: Iterable[Result]) -> None:
        """Events and log lines of what was done and not done, then all statuses."""
        subjects = _subjects(turn)
        for touched, decisions in turn.decisions.items():
            for decision in decisions:
                self._tell_decision(subjects.get(touched), touched, decision)
        concerns = Concerns(turn.snapshot)
        for result in results:
            self._tell_failure(subjects, concerns, result)
        self._tell_unplaced(turn)
        self._tell_standing_still(subjects, turn)
        await self._write_statuses(turn)

    def _tell_decision(self, about: Subject | None, touched: str, decision: Decision) -> None:
        change = f" ({decision.change})" if decision.change else ""
        text = f"{decision.kind} {decision.subject}{change}: {decision.reason}"
        log.info("%s", text, extra=of(about) if about else {"object": touched})
        if about is not None:
            self._recorder.record(about, EVENTS[decision.kind], text)

    def _tell_failure(
        self, subjects: Mapping[str, Subject], concerns: Concerns, result: Result
    ) -> None:
        if result.outcome in (Outcome.DONE, Outcome.SKIPPED):
            return
        move = result.move
        about = subjects.get(concerns.of(move.subject, move.vm.pool if move.vm else ""))
        text = f"{move.kind} {move.subject}: {result.message}"
        failed = result.outcome is Outcome.FAILED
        log.log(
            logging.WARNING if failed or result.conflict else logging.INFO,
            "%s",
            text,
            extra=of(about) if about else {"object": move.subject},
        )
        if about is None:
            return
        if result.conflict:
            self._recorder.record(about, EventReason.FIELD_CONFLICT, result.message, warning=True)
        else:
            reason = EventReason.MOVE_FAILED if failed else EventReason.MOVE_REFUSED
            self._recorder.record(about, reason, text, warning=failed)

    def _tell_unplaced(self, turn: Turn) -> None:
        for pod in turn.plan.unplaced[:_UNPLACED_TOLD]:
            known = turn.snapshot.pod(pod.pod)
            if known is None:
                continue  # a replica that is only wanted; its workload's status says so
            namespace, _, name = pod.pod.partition("/")
            why = "; ".join(f"{pool}: {text}" for pool, text in sorted(pod.why.items()))
            self._recorder.record(
                Subject("Pod", name, namespace, known.uid, "v1"),
                EventReason.UNPLACED,
                f"{pod.reason}: {why}",
                warning=True,
            )

    def _tell_standing_still(self, subjects: Mapping[str, Subject], turn: Turn) -> None:
        told = {
            Reason.LOOP_DETECTED: EventReason.LOOP_DETECTED,
            Reason.LAUNCH_BACKOFF: EventReason.LAUNCH_BACKOFF,
        }
        for refusal in turn.plan.refusals:
            about = subjects.get(refusal.subject)
            if about is not None and refusal.guard in told:
                # Without the seconds that are left, so that the same is said once.
                text = refusal.message.partition(";")[0]
                self._recorder.record(about, told[refusal.guard], text, warning=True)

        for key in turn.circling:
            self._recorder.record(
                subjects[f"workload/{key}"],
                EventReason.LOOP_DETECTED,
                "its replicas are moved again and again to no effect: they stay where they are",
                warning=True,
            )

    async def _write_statuses(self, turn: Turn) -> None:
        pools = {pool.metadata.name: pool for pool in turn.objects.pools}
        workloads = {key_of(workload): workload for workload in turn.objects.workloads}
        writes = [
            self._write(VMPOOLS, name, None, status)
            for name, status in pool_statuses(turn).items()
            if pools[name].status != status
        ]
        writes += [
            self._write(
                CONTAINERWORKLOADS,
                workloads[key].metadata.name,
                workloads[key].metadata.namespace,
                status,
            )
            for key, status in workload_statuses(turn).items()
            if workloads[key].status != status
        ]
        await asyncio.gather(*writes)

    async def _write(
        self, resource: Resource, name: str, namespace: str | None, status: BaseModel
    ) -> None:
        document = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        async with self._limit:
            try:
                await self._kube.patch_status(resource, name, document, namespace)
            except NotFound:
                return  # deleted meanwhile
            except ApiError as error:
                log.warning(
                    "status was not written: %s",
                    error,
                    extra=of(Subject(resource.kind, name, namespace or "")),
                )


def _subjects(turn: Turn) -> dict[str, Subject]:
    """By ``vmpool/NAME`` and ``workload/NAMESPACE/NAME``: the object for Events."""
    subjects = {
        f"vmpool/{pool.metadata.name}": Subject("VMPool", pool.metadata.name, uid=pool.metadata.uid)
        for pool in turn.objects.pools
    }
    for workload in turn.objects.workloads:
        meta = workload.metadata
        subjects[f"workload/{key_of(workload)}"] = Subject(
            "ContainerWorkload", meta.name, meta.namespace or "", meta.uid
        )
    return subjects
