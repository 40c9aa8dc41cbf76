"""Keeps what ContainerWorkloads own: their Deployments and disruption budgets.

Applied server-side under a field manager of its own, never by force, and only
when what is wanted differs from what was applied last: a field that a person
has taken over on the Deployment is a conflict to be told of. ``spec.replicas``
is not among the fields; it belongs to the decision (``scale.py``).
"""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from plimsoll.act import owned
from plimsoll.act.scale import managers
from plimsoll.api import ContainerWorkload, labels
from plimsoll.apierrors import ApiError, Conflict, Invalid, NotFound
from plimsoll.events import EventReason, Recorder, Subject, of
from plimsoll.kube import Json, Kube
from plimsoll.resources import PODDISRUPTIONBUDGETS, resource_of
from plimsoll.world import wire
from plimsoll.world.objects import Objects
from plimsoll.world.owners import Index, key_of, target_of

log = logging.getLogger(__name__)

UPKEEP_MANAGER: Final = f"{labels.FIELD_MANAGER}-upkeep"


class NotServed(Exception):
    """A workload cannot be served; the text is for people, the reason for machines."""

    def __init__(self, reason: EventReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Attempt(NamedTuple):
    """A refused write: not repeated before ``again_at``, unless something else is wanted."""

    digest: str
    again_at: float
    refusal: NotServed


def subject_of(workload: ContainerWorkload) -> Subject:
    """The workload as the object of an Event."""
    meta = workload.metadata
    return Subject("ContainerWorkload", meta.name, meta.namespace or "", meta.uid)


class Upkeep:
    """Brings the owned objects to what their workloads ask for."""

    def __init__(self, kube: Kube, recorder: Recorder, retry: float) -> None:
        self._kube = kube
        self._recorder = recorder
        self._retry = retry
        self._attempts: dict[tuple[str, str], _Attempt] = {}
        self.problems: dict[str, NotServed] = {}
        """By workload key, as of the last run."""

    async def run(self, objects: Objects, now: float) -> list[Json]:
        """One pass over all workloads; answers what was written. Each workload fails alone."""
        self.problems = {}
        index = Index(objects)
        deployments = {_key(d): d for d in objects.deployments}
        statefulsets = {_key(s): s for s in objects.statefulsets}
        budgets = {_key(b): b for b in objects.budgets}
        written: list[Json] = []
        for workload in objects.workloads:
            key = key_of(workload)
            if workload.metadata.deletion_timestamp or key in index.problems:
                continue
            kinds = {"Deployment": deployments, "StatefulSet": statefulsets}
            try:
                if workload.spec.template is not None:
                    written += await self._deployment(workload, deployments.get(key), now)
                namespace, kind, name = target_of(workload)
                selector = _selector(workload, kinds[kind].get(f"{namespace}/{name}"))
                written += await self._budget(workload, selector, budgets.get(key), now)
            except NotServed as refusal:
                self.problems[key] = refusal
                self._recorder.record(
                    subject_of(workload), refusal.reason, str(refusal), warning=True
                )
            except ApiError as error:
                log.warning("upkeep failed: %s", error, extra=of(subject_of(workload)))
        return written

    def times(self) -> list[float]:
        """When refused writes are to be tried again, in seconds since the epoch."""
        return [attempt.again_at for attempt in self._attempts.values()]

    async def _deployment(
        self, workload: ContainerWorkload, existing: wire.Controller | None, now: float
    ) -> list[Json]:
        ours = existing if existing is not None and owned.is_owned(existing, workload) else None
        try:
            document = owned.deployment(workload, ours)
        except owned.TemplateInvalid as error:
            raise NotServed(EventReason.TEMPLATE_INVALID, str(error)) from None
        return await self._apply(workload, document, existing, now)

    async def _budget(
        self,
        workload: ContainerWorkload,
        selector: wire.LabelSelector | None,
        existing: wire.PodDisruptionBudget | None,
        now: float,
    ) -> list[Json]:
        if workload.spec.disruption_budget is None:
            if existing is not None and owned.is_owned(existing, workload):
                await self._delete_budget(workload, existing)
            return []
        document = owned.budget(workload, selector) if selector is not None else None
        return await self._apply(workload, document, existing, now) if document else []

    async def _delete_budget(
        self, workload: ContainerWorkload, existing: wire.PodDisruptionBudget
    ) -> None:
        meta = existing.metadata
        try:
            await self._kube.delete(PODDISRUPTIONBUDGETS, meta.name, meta.namespace, uid=meta.uid)
        except NotFound:
            return
        self._recorder.record(
            subject_of(workload),
            EventReason.BUDGET_DELETED,
            f"deleted PodDisruptionBudget {meta.name}: spec.disruptionBudget is not set",
        )

    async def _apply(
        self,
        workload: ContainerWorkload,
        document: Json,
        existing: wire.Object | None,
        now: float,
    ) -> list[Json]:
        kind, name = document["kind"], document["metadata"]["name"]
        key = (key_of(workload), kind)
        if existing is not None:
            self._must_be_ours(workload, kind, existing)
            if owned.is_current(existing, document):
                self._attempts.pop(key, None)
                return []
        digest = document["metadata"]["annotations"][owned.APPLIED]
        tried = self._attempts.get(key)
        if tried is not None and tried.digest == digest and now < tried.again_at:
            raise tried.refusal.with_traceback(None)
        if existing is None:
            await self._must_be_free(workload, document)
        try:
            answer = await self._kube.apply(document, UPKEEP_MANAGER)
        except Conflict as error:
            owners = managers(error)
            if not owners:
                raise
            fields = ", ".join(sorted({field for _, field, _ in error.causes}))
            refusal = NotServed(
                EventReason.FIELD_CONFLICT,
                f"{fields} of {kind} {name} belongs to {owners}: take the change back there, and "
                "make it in the ContainerWorkload",
            )
        except Invalid as error:
            refusal = NotServed(EventReason.TEMPLATE_INVALID, error.message)
        else:
            self._attempts.pop(key, None)
            self._tell(workload, kind, created=existing is None)
            return [answer]
        self._attempts[key] = _Attempt(digest, now + self._retry, refusal)
        raise refusal

    def _must_be_ours(self, workload: ContainerWorkload, kind: str, existing: wire.Object) -> None:
        if not owned.is_owned(existing, workload):
            raise NotServed(
                EventReason.NAME_TAKEN,
                f"{kind} {existing.metadata.name} exists and is not this workload's: delete it, "
                "name the workload otherwise, or steer it by targetRef",
            )

    async def _must_be_free(self, workload: ContainerWorkload, document: Json) -> None:
        """A last look: what the stores do not show yet must not be taken over."""
        meta = document["metadata"]
        try:
            live = await self._kube.get(
                resource_of(document), meta["name"], meta["namespace"], type=wire.Object
            )
        except NotFound:
            return
        self._must_be_ours(workload, document["kind"], live)

    def _tell(self, workload: ContainerWorkload, kind: str, created: bool) -> None:
        name, generation = workload.metadata.name, workload.metadata.generation
        message = (
            f"created {kind} {name}"
            if created
            else f"applied generation {generation} to {kind} {name}"
        )
        self._recorder.record(subject_of(workload), _EVENTS[kind, created], message)


_EVENTS: Final = {
    ("Deployment", True): EventReason.WORKLOAD_CREATED,
    ("Deployment", False): EventReason.WORKLOAD_UPDATED,
    ("PodDisruptionBudget", True): EventReason.BUDGET_CREATED,
    ("PodDisruptionBudget", False): EventReason.BUDGET_UPDATED,
}


def _selector(
    workload: ContainerWorkload, target: wire.Controller | None
) -> wire.LabelSelector | None:
    """What selects the workload's pods; None while its target does not exist."""
    if workload.spec.template is not None:
        return wire.LabelSelector(match_labels={labels.WORKLOAD: workload.metadata.name})
    return target.spec.selector if target is not None else None


def _key(obj: wire.Object) -> str:
    return f"{obj.metadata.namespace}/{obj.metadata.name}"
