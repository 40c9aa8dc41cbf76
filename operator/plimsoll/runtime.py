"""The running operator: what it consists of, started and stopped as one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, Final

from plimsoll.act.deletion import LOOK_AGAIN, Deletion
from plimsoll.act.inventory import Inventory
from plimsoll.act.lifecycle import DONE, Lifecycle
from plimsoll.act.providers import Providers
from plimsoll.bells import Bells, Stopper
from plimsoll.bootstrap.approver import Approver
from plimsoll.bootstrap.service import Bootstrapper
from plimsoll.events import Recorder
from plimsoll.health import Health
from plimsoll.kube import Kube
from plimsoll.loop import PlanningLoop
from plimsoll.resources import HYPERVISORS, NAMESPACES, VMNODES, VMPOOLS
from plimsoll.server import HttpServer
from plimsoll.settings import Settings
from plimsoll.telemetry import Telemetry
from plimsoll.world.metrics import Metrics
from plimsoll.world.stores import World

log = logging.getLogger(__name__)

_EVENTS_DRAIN: Final = 2.0


class Operator:
    """Everything that runs in the operator's event loop besides kopf."""

    def __init__(self, settings: Settings, on_failure: Callable[[], None] = lambda: None) -> None:
        self.settings = settings
        self.stopping = asyncio.Event()
        self.port = 0
        """Where health and metrics are served."""
        self._on_failure = on_failure
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Connects and starts all tasks; answers before anything has been read.

        Raises:
            NoCluster: the environment names no cluster.
            ApiError: the API server cannot be asked who the cluster is.
            OSError: the address for health and metrics is taken.
        """
        settings = self.settings
        kube = await self._stack.enter_async_context(
            Kube.from_environment(settings.kubeconfig, settings.context)
        )
        cluster = (await kube.get(NAMESPACES, "kube-system"))["metadata"]["uid"]
        telemetry = Telemetry()
        recorder = Recorder(kube)
        self._world = world = World(kube)
        for resource, reflector in world.reflectors.items():
            telemetry.watch(str(resource), reflector.age)
        self._bells = Bells(world)
        usage = Metrics(kube, world.objects, interval=settings.metrics_interval)
        providers = Providers(
            kube,
            cluster,
            settings.namespace,
            changed=lambda name: self._bells.ring(HYPERVISORS, name),
        )
        self._stack.push_async_callback(providers.close)
        bootstrapper = Bootstrapper(kube, cluster, settings.namespace)
        self._lifecycle = Lifecycle(
            kube, world, providers, recorder, bootstrapper, started_at=time.time()
        )
        self._inventory = Inventory(
            kube,
            world,
            providers,
            recorder,
            wake=lambda name: self._bells.ring(VMNODES, name),
            orphan_grace=settings.orphan_grace,
        )
        self._deletion = Deletion(kube, recorder)
        approver = Approver(kube, world, providers, recorder)
        telemetry.watch(str(approver.requests.resource), approver.requests.age)
        self._loop = PlanningLoop(kube, world, usage, recorder, telemetry, settings)
        self._health = Health(self._loop, world)
        server = HttpServer(self._health.unwell, self._health.unready, telemetry.registry)
        self.port = await server.start(settings.http_host, settings.http_port)
        self._stack.push_async_callback(server.close)
        self._recorder = recorder
        self._spawn("events", recorder.run())
        self._spawn("world", world.run())
        self._spawn("usage", usage.run())
        self._spawn("approver", approver.run())
        self._spawn("planning loop", self._loop.run())

    async def stop(self) -> None:
        """Ends all tasks; what is half done is taken up again by the next start."""
        self.stopping.set()
        if self._tasks:
            await self._recorder.drain(_EVENTS_DRAIN)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    # Keeping single objects: one caller each, which kopf provides.

    async def keep_vmnode(self, name: str, stopped: Stopper) -> None:
        """Leads a VM through its life until told to stop."""
        await self._world.wait_synced()
        with self._health.keeping(name):
            while not stopped:
                answer = await self._lifecycle.step(name)
                # What is done is still kept: kopf never starts a daemon that returned again.
                seconds = None if answer is DONE else answer
                await self._bells.rest(VMNODES, name, seconds, stopped)

    async def release_vmnode(self, name: str) -> None:
        """Returns when the VM of a deleted VMNode is proven gone and its node deleted."""
        await self._world.wait_synced()
        with self._health.keeping(name):
            while (answer := await self._lifecycle.step(name)) is not DONE:
                await self._bells.rest(VMNODES, name, answer)
        self._bells.forget(VMNODES, name)

    async def keep_hypervisor(self, name: str, stopped: Stopper) -> None:
        """Takes the inventory of a Hypervisor again and again until told to stop."""
        await self._world.wait_synced()
        while not stopped:
            seconds = await self._inventory.look(name)
            await self._bells.rest(HYPERVISORS, name, seconds, stopped)

    async def release_hypervisor(self, name: str, uid: str) -> None:
        """Returns when nothing uses the Hypervisor; until then its inventory goes on."""
        await self._world.wait_synced()
        while not await self._deletion.hypervisor(name, uid):
            seconds = await self._inventory.look(name)
            await self._bells.rest(HYPERVISORS, name, min(seconds or LOOK_AGAIN, LOOK_AGAIN))
        self._bells.forget(HYPERVISORS, name)

    async def release_vmpool(self, name: str) -> None:
        """Returns when the last VM of the pool has been drained and deleted."""
        await self._world.wait_synced()
        while not await self._deletion.pool(name):
            await self._bells.rest(VMPOOLS, name, LOOK_AGAIN)
        self._bells.forget(VMPOOLS, name)

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self.stopping.is_set():
            return
        error = None if task.cancelled() else task.exception()
        log.critical("the task %r ended", task.get_name(), exc_info=error)
        self._health.failed(f"the task {task.get_name()!r} ended: {error or 'cancelled'}")
        self._on_failure()
