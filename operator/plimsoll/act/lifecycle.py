"""Carries out the life of each VMNode, one step at a time.

A step is decided on what is kept in memory; only if there is something to do is
everything looked at again, live, and the decision made anew on that. So a quiet
VM costs no request, and nothing is ever done on a stale view. Then comes at most
one action, then the status, then Events: the operator may be killed in between.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Any, Final

import msgspec

from plimsoll.act import conditions, drain, node
from plimsoll.act.look import Looker
from plimsoll.act.providers import NotConfigured, Providers
from plimsoll.api import labels as names
from plimsoll.api.vmnode import Size, VMNodeStatus
from plimsoll.api.vmpool import Template
from plimsoll.apierrors import ApiError, Conflict, NotFound
from plimsoll.bootstrap.service import Bootstrapper
from plimsoll.decide.life import leave
from plimsoll.decide.life.existence import Exists, Unknown
from plimsoll.decide.life.failures import failed
from plimsoll.decide.life.pods import PodsOnNode
from plimsoll.decide.life.situation import Situation
from plimsoll.decide.life.steps import (
    AdoptNode,
    ClearOutOfService,
    Cordon,
    DeleteNode,
    DeletePods,
    DeleteRecord,
    DeleteToken,
    DeleteVm,
    EnsureVm,
    Evict,
    MarkOutOfService,
    Nothing,
    ReadConsole,
    ResizeVm,
    SealVm,
    SetBerths,
    StartVm,
    Step,
    TakeBackRetirement,
    TakeBackSize,
    TakeTemplate,
    Uncordon,
)
from plimsoll.decide.lifecycle import next_step
from plimsoll.events import EventReason, Recorder, Subject, of
from plimsoll.hypervisors.contract import HypervisorError, Intent, Provider, RateLimited, Retryable
from plimsoll.kube import Json, Kube
from plimsoll.resources import VMNODES
from plimsoll.world.stores import World

log = logging.getLogger(__name__)

SOON: Final = 0.2
"""Seconds until the next look after the world changed under a step."""
BACKOFF_FIRST: Final = 1.0
BACKOFF_MAX: Final = 60.0
SLOW_DOWN: Final = 5.0
"""How many times longer a hypervisor is left alone that complained about too many calls."""


class Done(Enum):
    """Type of ``DONE``."""

    DONE = "Done"


DONE: Final = Done.DONE
"""Nothing is left of the VM and its node: let the VMNode go."""


class Lifecycle:
    """The life cycle of all VMNodes; ``step`` is called for each whenever something changed."""

    def __init__(
        self,
        kube: Kube,
        world: World,
        providers: Providers,
        recorder: Recorder,
        bootstrapper: Bootstrapper,
        *,
        started_at: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._kube = kube
        self._providers = providers
        self._recorder = recorder
        self._bootstrapper = bootstrapper
        self._look = Looker(kube, world, providers, started_at, clock)
        self._world = world
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._failures: defaultdict[str, int] = defaultdict(int)

    async def step(self, name: str) -> float | Done | None:
        """Takes the next step of this VMNode.

        Returns the seconds after which it must be called again if nothing
        changed before (None: no need to), or ``DONE`` when the VMNode may go.
        Raises nothing but cancellation: a step that failed is tried again.
        """
        async with self._locks[name]:
            try:
                answer = await self._step(name)
            except (Conflict, NotFound) as error:
                log.info("changed under a step, looking again: %s", error, extra=_log(name))
                answer = SOON
            except ApiError as error:
                log.warning("step failed: %s", error, extra=_log(name))
                answer = self._back_off(name)
            except Exception:
                log.exception("step failed", extra=_log(name))
                answer = self._back_off(name)
        if answer is DONE:
            self._locks.pop(name, None)
            self._failures.pop(name, None)
        return answer

    async def _step(self, name: str) -> float | Done | None:
        known = self._look.cached(name)
        if known is not None:
            quiet = next_step(known)
            if not quiet.done and quiet.action == Nothing() and not _news(known, quiet):
                return quiet.recheck_after
        s = await self._look.live(name)
        if s is None:
            return DONE
        return await self._carry_out(s, next_step(s))

    async def _carry_out(self, s: Situation, step: Step) -> float | Done | None:
        name = s.record.metadata.name
        slower = _patience(s.existence.reason) if isinstance(s.existence, Unknown) else 0.0
        try:
            after = await self._act(s, step)
        except (HypervisorError, NotConfigured) as error:
            kind = type(error).__name__ if isinstance(error, HypervisorError) else error.reason
            log.warning("%s failed: %s: %s", _verb(step), kind, error, extra=_log(name))
            step = failed(s, step, kind, str(error))
            slower = _patience(kind) if isinstance(error, Retryable) else 0.0
            after = await self._act(s, step)
        if isinstance(after, Situation):
            return await self._carry_out(after, next_step(after))
        step, version = after
        if not step.done and not isinstance(step.action, DeleteRecord):
            await self._write_status(s, step, version)
        self._tell(s, step)
        if step.done:
            return DONE
        if slower:
            return self._back_off(name, slower)
        self._failures.pop(name, None)
        return step.recheck_after

    async def _act(self, s: Situation, step: Step) -> Situation | tuple[Step, str]:
        """Carries out the action.

        Returns the step whose status is to be written, with the resourceVersion
        of the VMNode on which to write it; or, where the action brought news that
        must be decided on first, the situation with these.
        """
        kube, meta = self._kube, s.record.metadata
        name, version = meta.name, meta.resource_version
        match step.action:
            case EnsureVm():
                provider = await self._provider(s)
                intent = _intent(s)
                if s.hypervisor.capabilities.bootstrap:
                    prepared = await self._bootstrapper.prepare(
                        s.record, intent.labels, s.launch_timeout
                    )
                    if prepared.record.metadata.resource_version != version:
                        # The token's id was recorded: whatever follows rests on that.
                        return replace(s, record=prepared.record)
                    intent = msgspec.structs.replace(intent, user_data=prepared.user_data)
                return replace(s, existence=Exists(vm=await provider.ensure(intent)))
            case ReadConsole(uuid=uuid):
                return replace(s, console=await self._console(s, uuid))
            case StartVm(uuid=uuid):
                await (await self._provider(s)).start(uuid, meta.uid)
            case SealVm(uuid=uuid):
                await self._bootstrapper.forget(s.record)
                await (await self._provider(s)).seal(uuid, meta.uid)
            case DeleteToken():
                await self._bootstrapper.forget(s.record)
            case ResizeVm(uuid=uuid, cpu=cpu, memory=memory):
                await (await self._provider(s)).resize(uuid, cpu, memory)
            case DeleteVm(uuid=uuid):
                await (await self._provider(s)).delete(uuid, meta.uid)
            case TakeBackSize(cpu=cpu, memory=memory):
                size = Size(cpu=cpu, memory=memory).model_dump(mode="json", by_alias=True)
                version = await self._patch_spec(s, {"size": size})
            case TakeBackRetirement():
                version = await self._patch_spec(s, {"retire": None})
            case DeleteRecord():
                await kube.delete(VMNODES, name, uid=meta.uid, resource_version=version)
            case AdoptNode(uid=uid, change=change):
                await node.adopt(kube, name, uid, change)
            case TakeTemplate(template=template, uid=uid, change=change):
                if uid:
                    await node.adopt(kube, name, uid, change)
                new = _template_patch(s.record.spec.template, template)
                version = await self._patch_spec(s, {"template": new})
            case SetBerths(uid=uid, berths=berths):
                await node.set_berths(kube, name, uid, berths)
            case Cordon(uid=uid):
                seen = s.node.metadata.resource_version if s.node else ""
                await node.cordon(kube, name, uid, seen)
            case Uncordon(uid=uid):
                await node.uncordon(kube, name, uid)
            case MarkOutOfService(uid=uid):
                await node.mark_out_of_service(kube, name, uid)
            case ClearOutOfService(uid=uid):
                await node.clear_out_of_service(kube, name, uid)
            case DeleteNode(uid=uid):
                await node.delete(kube, name, uid)
            case DeletePods(pods=pods):
                await drain.delete(kube, pods)
            case Evict(pods=pods):
                refused = await drain.evict(kube, pods)
                return leave.await_pods(_evicted(s, refused)), version
            case Nothing():
                pass
        return step, version

    async def _console(self, s: Situation, uuid: str) -> str:
        """What the VM said; empty also if nobody can tell, for it is only to be told of."""
        try:
            return await (await self._provider(s)).console(uuid)
        except HypervisorError as error:
            log.info("console was not read: %s", error, extra=_log(s.record.metadata.name))
            return ""

    async def _provider(self, s: Situation) -> Provider:
        hypervisor = self._world.hypervisors.store.get("", s.record.spec.hypervisor)
        if hypervisor is None:
            name = s.record.spec.hypervisor
            raise NotConfigured("HypervisorNotFound", f"there is no Hypervisor {name!r}")
        return await self._providers.of(hypervisor)

    async def _patch_spec(self, s: Situation, spec: Json) -> str:
        meta = s.record.metadata
        seen = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        answer = await self._kube.merge_patch(VMNODES, meta.name, {"metadata": seen, "spec": spec})
        return str(answer["metadata"]["resourceVersion"])

    async def _write_status(self, s: Situation, step: Step, version: str) -> None:
        status = _news(s, step)
        if status is None:
            return
        meta = s.record.metadata
        document = status.model_dump(mode="json", by_alias=True)
        patch = {
            "metadata": {"uid": meta.uid, "resourceVersion": version},
            "status": {key: None if value == "" else value for key, value in document.items()},
        }
        await self._kube.patch_subresource(VMNODES, meta.name, "status", patch, kind="merge")
        if status.phase is not s.phase:
            log.info("%s -> %s: %s", s.phase, status.phase, status.message, extra=_log(meta.name))

    def _tell(self, s: Situation, step: Step) -> None:
        meta = s.record.metadata
        about = Subject("VMNode", meta.name, uid=meta.uid)
        for event in step.events:
            reason = EventReason(event.reason)
            self._recorder.record(about, reason, event.message, warning=event.warning)

    def _back_off(self, name: str, factor: float = 1.0) -> float:
        tries = self._failures[name]
        self._failures[name] = min(tries + 1, 16)
        return min(BACKOFF_MAX, BACKOFF_FIRST * 2.0**tries) * factor


def _news(s: Situation, step: Step) -> VMNodeStatus | None:
    """The status to be written; None: it is there already."""
    facts = [conditions.Fact(*fact) for fact in step.facts]
    generation = s.record.metadata.generation
    merged = conditions.merge(s.status.conditions, facts, generation, s.now)
    status = step.status.model_copy(update={"conditions": merged})
    return None if s.record.status == status else status


def _template_patch(old: Template, new: Template) -> Json:
    """Merge patch from one template to another: what it does not name must be taken out."""
    patch: Json = new.model_dump(mode="json", by_alias=True)
    for field in ("labels", "annotations"):
        patch[field] = {**dict.fromkeys(getattr(old, field)), **patch[field]}
    return patch


def _evicted(s: Situation, refused: dict[Any, str]) -> Situation:
    """The situation after an eviction, as far as its answers tell."""
    leaving = tuple(pod for pod in s.pods.evictable if pod not in refused)
    pods = PodsOnNode(
        blocked=(*s.pods.blocked, *refused.items()),
        terminating=(*s.pods.terminating, *leaving),
        berths=s.pods.berths,
        grace=s.pods.grace,
    )
    return replace(s, pods=pods)


def _intent(s: Situation) -> Intent:
    """The VM as the VMNode records it."""
    meta, spec = s.record.metadata, s.record.spec
    template = spec.template
    zone = s.hypervisor.hosts.get(spec.host, ("Unknown", ""))[1] or spec.zone
    return Intent(
        uid=meta.uid,
        name=meta.name,
        pool=spec.pool,
        host=spec.host,
        cpu=spec.size.cpu,
        memory=spec.size.memory,
        allocatable_cpu=max(0, spec.size.cpu * 1000 - spec.reserved_cpu),
        allocatable_memory=max(0, spec.size.memory - spec.reserved_memory),
        max_pods=spec.max_pods,
        labels=names.node_labels(
            meta.name, template.labels, spec.pool, spec.hypervisor, spec.host, zone
        ),
        annotations=dict(template.annotations),
        taints=tuple((t.key, t.value, t.effect) for t in template.taints),
        max_cpu=spec.max_size.cpu if spec.max_size else 0,
        max_memory=spec.max_size.memory if spec.max_size else 0,
        libvirt=template.libvirt,
    )


def _patience(reason: str) -> float:
    """By how much longer than usual a hypervisor is left alone that gave this answer."""
    return SLOW_DOWN if reason == RateLimited.__name__ else 1.0


def _verb(step: Step) -> str:
    return type(step.action).__name__


def _log(name: str) -> dict[str, str]:
    return of(Subject("VMNode", name))
