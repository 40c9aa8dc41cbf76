"""Kubernetes Events: every reason that Plimsoll uses, and the recorder that posts them.

Posting never delays or fails what it tells of: events are queued, posted in the
background, and dropped with a log line when the API server does not take them.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, NamedTuple

from plimsoll.api.common import API_VERSION
from plimsoll.apierrors import ApiError
from plimsoll.kube import Kube

log = logging.getLogger(__name__)

COMPONENT: Final = "plimsoll"
SUPPRESS_SECONDS: Final = 600.0
"""The same text about the same object is posted once in this time."""
_MESSAGE_MAX: Final = 1000
_QUEUE_MAX: Final = 500
_REMEMBERED_MAX: Final = 5000


class EventReason(StrEnum):
    """Stable CamelCase reasons. People filter and alert by them: never rename one."""

    # A move of a plan was carried out.
    LOADED = "Loaded"
    RESIZED = "Resized"
    GROWN = "Grown"
    REPLICATED = "Replicated"
    LAUNCHED = "Launched"
    MOVED = "Moved"
    RETIRED = "Retired"
    SHRUNK = "Shrunk"
    # A move could not be carried out, or was refused by the last look before it.
    MOVE_FAILED = "MoveFailed"
    MOVE_REFUSED = "MoveRefused"
    # Deciding.
    UNPLACED = "Unplaced"
    LOOP_DETECTED = "LoopDetected"
    LAUNCH_BACKOFF = "LaunchBackoff"
    # ContainerWorkloads.
    WORKLOAD_CREATED = "WorkloadCreated"
    WORKLOAD_UPDATED = "WorkloadUpdated"
    BUDGET_CREATED = "BudgetCreated"
    BUDGET_UPDATED = "BudgetUpdated"
    BUDGET_DELETED = "BudgetDeleted"
    FIELD_CONFLICT = "FieldConflict"
    TEMPLATE_INVALID = "TemplateInvalid"
    NAME_TAKEN = "NameTaken"
    TARGET_PROBLEM = "TargetProblem"
    # Deletion.
    DELETION_BLOCKED = "DeletionBlocked"
    DRAINING_POOL = "DrainingPool"
    # Life of one VM.
    VM_CREATED = "VMCreated"
    VM_READY = "VMReady"
    VM_RESIZED = "VMResized"
    RESIZE_REFUSED = "ResizeRefused"
    VM_LOST = "VMLost"
    NODE_NOT_READY = "NodeNotReady"
    LAUNCH_GIVEN_UP = "LaunchGivenUp"
    VM_STARTED = "VMStarted"
    SEAL_FAILED = "SealFailed"
    VM_RECOVERED = "VMRecovered"
    VM_DELETED = "VMDeleted"
    VM_FAILED = "VMFailed"
    DRAIN_STARTED = "DrainStarted"
    DRAIN_BLOCKED = "DrainBlocked"
    DRAIN_TIMED_OUT = "DrainTimedOut"
    DRAIN_FORCED = "DrainForced"
    IDENTITY_MISMATCH = "IdentityMismatch"
    BOOTSTRAP_REFUSED = "BootstrapRefused"
    # Hypervisors.
    HYPERVISOR_UNREACHABLE = "HypervisorUnreachable"
    HYPERVISOR_REACHABLE = "HypervisorReachable"
    HOST_STATE_CHANGED = "HostStateChanged"
    ORPHAN_FOUND = "OrphanFound"
    ORPHAN_REMOVED = "OrphanRemoved"
    LEFTOVER_REMOVED = "LeftoverRemoved"


class Subject(NamedTuple):
    """The object that an event is about."""

    kind: str
    name: str
    namespace: str = ""
    uid: str = ""
    api_version: str = API_VERSION

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace + '/' if self.namespace else ''}{self.name}"


class Recorder:
    """Posts Events in the background. ``record`` may be called from anywhere in the loop."""

    def __init__(self, kube: Kube, clock: Callable[[], float] = time.time) -> None:
        self._kube = kube
        self._clock = clock
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_QUEUE_MAX)
        self._posted: OrderedDict[tuple[Subject, str, str], float] = OrderedDict()
        self._serial = itertools.count()

    def record(
        self, about: Subject, reason: EventReason, message: str, *, warning: bool = False
    ) -> None:
        """Queues one Event, unless the same was said of the same object a short while ago."""
        now = self._clock()
        key = (about, reason.value, message)
        if now - self._posted.get(key, float("-inf")) < SUPPRESS_SECONDS:
            return
        self._posted[key] = now
        self._posted.move_to_end(key)
        while len(self._posted) > _REMEMBERED_MAX:
            self._posted.popitem(last=False)
        try:
            self._queue.put_nowait(self._event(about, reason, message, warning, now))
        except asyncio.QueueFull:
            log.warning("too many events: dropped %s: %s", reason, message, extra=of(about))

    async def run(self) -> None:
        """Posts what is queued, for ever."""
        while True:
            event = await self._queue.get()
            try:
                await self._kube.create(event)
            except ApiError as error:
                log.warning(
                    "event %s was not posted: %s",
                    event["reason"],
                    error,
                    extra={"object": event["metadata"]["name"]},
                )
            finally:
                self._queue.task_done()

    async def drain(self, timeout: float) -> None:
        """Waits until the queue is posted, at most ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._queue.join()
        except TimeoutError:
            log.warning("%d events were not posted in time", self._queue.qsize())

    def _event(
        self, about: Subject, reason: EventReason, message: str, warning: bool, now: float
    ) -> dict[str, Any]:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        reference = {"apiVersion": about.api_version, "kind": about.kind, "name": about.name}
        if about.namespace:
            reference["namespace"] = about.namespace
        if about.uid:
            reference["uid"] = about.uid
        # The name must be unique: the time in microseconds and a serial number make it so,
        # also across a restart of the operator.
        suffix = f"{int(now * 1e6):x}{next(self._serial):x}"
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{about.name[:200]}.{suffix}",
                # Events about cluster-scoped objects live in `default`; the API server insists.
                "namespace": about.namespace or "default",
            },
            "involvedObject": reference,
            "type": "Warning" if warning else "Normal",
            "reason": reason.value,
            "message": message[:_MESSAGE_MAX],
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }


def of(about: Subject) -> dict[str, str]:
    """``extra`` of a log line about this object."""
    return {"object": str(about)}
