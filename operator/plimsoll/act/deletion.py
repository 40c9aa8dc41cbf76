"""What must happen before a VMPool or a Hypervisor may go.

Both are kept by a finalizer. A pool goes when its last VM has been drained and
deleted, a Hypervisor when no pool and no VM uses it. Neither waits in silence:
Events, and the pool's condition, name what is awaited.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Final

from plimsoll.act import conditions, vmnodes
from plimsoll.act.ledger import is_leaving
from plimsoll.act.outcome import Refused
from plimsoll.api import VMPool, labels
from plimsoll.api.timestamp import rfc3339
from plimsoll.api.vmpool import VMPoolStatus
from plimsoll.apierrors import ApiError, NotFound
from plimsoll.events import EventReason, Recorder, Subject, of
from plimsoll.kube import Json, Kube
from plimsoll.resources import VMNODES, VMPOOLS

log = logging.getLogger(__name__)

LOOK_AGAIN: Final = 10.0
"""Seconds until the next look, where no change wakes it."""


class Deletion:
    """Steps towards letting an object go. Each may be repeated, and cut off anywhere."""

    def __init__(self, kube: Kube, recorder: Recorder) -> None:
        self._kube = kube
        self._recorder = recorder
        self._said: dict[Subject, str] = {}

    async def pool(self, name: str) -> bool:
        """Retires the pool's VMs, as many at once as its disruption policy allows.

        Budgets are respected by the drains. Answers whether the pool may go: no
        VMNode of it exists, by a live listing.
        """
        try:
            pool = VMPool.model_validate(await self._kube.get(VMPOOLS, name))
        except NotFound:
            return True
        vms = await self._kube.list_all(VMNODES, label_selector=f"{labels.POOL}={name}")
        if not vms:
            self._said.pop(_subject(pool), None)
            return True
        leaving = sum(map(is_leaving, vms))
        # Deleting the pool is the wish to disrupt: a policy of 0 means one at a time here.
        free = max(1, pool.spec.disruption.max_unavailable) - leaving
        for vm in [vm for vm in vms if not is_leaving(vm)][: max(0, free)]:
            await self._retire(name, vm)
        await self._tell_pool(pool, vms)
        return False

    async def hypervisor(self, name: str, uid: str) -> bool:
        """Whether the Hypervisor may go: nothing uses it, by a live listing."""
        pools = [
            pool["metadata"]["name"]
            for pool in await self._kube.list_all(VMPOOLS)
            if pool["spec"]["hypervisor"] == name
        ]
        vms = [
            vm["metadata"]["name"]
            for vm in await self._kube.list_all(VMNODES)
            if vm["spec"]["hypervisor"] == name
        ]
        users = [f"VMPool {pool}" for pool in pools] or [f"VMNode {vm}" for vm in vms]
        about = Subject("Hypervisor", name, uid=uid)
        if not users:
            self._said.pop(about, None)
            return True
        text = f"cannot be deleted while it is used by {_listed(users)}: delete them first"
        self._say(about, text)
        self._recorder.record(about, EventReason.DELETION_BLOCKED, text, warning=True)
        return False

    def _say(self, about: Subject, text: str) -> None:
        """Logs what is awaited, once as long as it stays the same."""
        if self._said.get(about) != text:
            self._said[about] = text
            log.info("%s", text, extra=of(about))

    async def _retire(self, pool: str, vm: Json) -> None:
        wish = {"reason": f"VMPool {pool} is being deleted", "since": rfc3339(time.time())}
        try:
            await vmnodes.set_field(self._kube, vm, "retire", wish)
        except Refused:
            return  # it changed under our hands: the next look sees how

    async def _tell_pool(self, pool: VMPool, vms: Sequence[Json]) -> None:
        about = _subject(pool)
        text = f"waits for {len(vms)} VMs to be drained and deleted: " + _listed(
            [_describe(vm) for vm in vms]
        )
        self._recorder.record(about, EventReason.DRAINING_POOL, text)
        old = pool.status or VMPoolStatus()
        told = conditions.merge(
            old.conditions,
            conditions.reconciling("Deleting", text),
            pool.metadata.generation,
            time.time(),
        )
        if told == old.conditions:
            return
        self._say(about, text)
        status: dict[str, Any] = {
            "conditions": [c.model_dump(mode="json", by_alias=True) for c in told],
            "replicas": len(vms),
            "observedGeneration": pool.metadata.generation,
        }
        try:
            await self._kube.patch_status(VMPOOLS, pool.metadata.name, status)
        except ApiError as error:
            log.warning("status was not written: %s", error, extra=of(about))


def _subject(pool: VMPool) -> Subject:
    return Subject("VMPool", pool.metadata.name, uid=pool.metadata.uid)


def _describe(vm: Json) -> str:
    status = vm.get("status") or {}
    message = f": {status['message']}" if status.get("message") else ""
    return f"{vm['metadata']['name']} ({status.get('phase', 'Requested')}{message})"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
