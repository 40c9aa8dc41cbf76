"""Polls the resource metrics API (``metrics.k8s.io``), which cannot be watched."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Final, TypeVar

import msgspec

from plimsoll.api import ContainerWorkload
from plimsoll.api.quantity import parse_bytes, parse_milli
from plimsoll.api.timestamp import parse_rfc3339
from plimsoll.kube import ApiError, Kube, NotFound, decode
from plimsoll.resources import NODE_METRICS, POD_METRICS
from plimsoll.world import wire
from plimsoll.world.objects import Objects
from plimsoll.world.owners import Index, Kin, key_of, kin_of, workload_of_kin
from plimsoll.world.pods import steered_container
from plimsoll.world.snapshot import Demand, Resources
from plimsoll.world.usage import SETTLING, STALE_AFTER, Measured, Replica, Running, Usage

log = logging.getLogger(__name__)

K = TypeVar("K")

INTERVAL: Final = 10.0


class Metrics:
    """What workloads and nodes use, as last measured. ``run`` keeps it up to date."""

    def __init__(
        self,
        kube: Kube,
        objects: Callable[[], Objects],
        *,
        interval: float = INTERVAL,
        settling: float = SETTLING,
        stale_after: float = STALE_AFTER,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.problem = "not read yet"
        """Why nothing is measured; empty: it is. Without it workloads are not scaled by load."""
        self._kube = kube
        self._objects = objects
        self._interval = interval
        self._stale_after = stale_after
        self._clock = clock
        self._sleep = sleep
        self._usage = Usage(settling, stale_after)
        self._nodes: dict[str, Measured] = {}
        self._listeners: list[Callable[[], None]] = []

    def on_measured(self, listener: Callable[[], None]) -> None:
        """Calls ``listener`` after every successful poll."""
        self._listeners.append(listener)

    def demands(self) -> dict[str, Demand]:
        """By workload key: the demands that are known and not stale."""
        return self._usage.demands(self._clock())

    def node_usage(self) -> dict[str, Resources]:
        """By node name: use that was measured and is not stale."""
        now = self._clock()
        return {
            name: Resources(cpu=use.cpu, memory=use.memory)
            for name, use in self._nodes.items()
            if now - use.at <= self._stale_after
        }

    async def run(self) -> None:
        """Polls until cancelled."""
        while True:
            await self.poll()
            await self._sleep(self._interval)

    async def poll(self) -> None:
        """Reads the metrics once. A failure is kept in ``problem``; what is known grows old."""
        try:
            pods = await self._kube.list_all(POD_METRICS, type=msgspec.Raw)
            nodes = await self._kube.list_all(NODE_METRICS, type=msgspec.Raw)
        except ApiError as error:
            problem = (
                "the API server does not serve metrics.k8s.io: install a metrics server"
                if isinstance(error, NotFound)
                else str(error)
            )
            if problem != self.problem:
                log.warning("nothing is measured: %s", problem)
            self.problem = problem
            return
        self.problem = ""
        self._nodes = dict(_readable(nodes, _of_node))
        containers = dict(_readable(pods, _of_containers))
        self._usage.observe(self._clock(), running(self._objects()), containers)
        for listener in self._listeners:
            listener()


def running(objects: Objects) -> dict[str, Running]:
    """By workload key: its running pods, those on their way out aside."""
    index = Index(objects)
    workloads = {key_of(workload): workload for workload in objects.workloads}
    replicas: dict[str, list[Replica]] = {key: [] for key in workloads}
    owners: dict[Kin, str | None] = {}
    for pod in objects.pods if workloads else ():
        if pod.status.phase == "Running" and not pod.metadata.deletion_timestamp:
            kin = kin_of(pod)
            if kin not in owners:
                owners[kin] = workload_of_kin(kin, index)
            key = owners[kin]
            if key is not None:
                replicas[key].append(_replica(pod, workloads[key]))
    return {
        key: Running(workload.spec.scale_down_after, tuple(replicas[key]))
        for key, workload in workloads.items()
    }


def _replica(pod: wire.Pod, workload: ContainerWorkload) -> Replica:
    scale_up = workload.spec.scale_up
    container = steered_container(pod.spec, scale_up.container if scale_up else "")
    # The start is unknown only for the moment before the kubelet reports it.
    started = parse_rfc3339(pod.status.start_time) if pod.status.start_time else math.inf
    return Replica(
        pod=f"{pod.metadata.namespace}/{pod.metadata.name}",
        container=container.name if container else "",
        started=started,
    )


def _readable(
    items: Iterable[msgspec.Raw], read: Callable[[msgspec.Raw], Iterator[tuple[K, Measured]]]
) -> Iterator[tuple[K, Measured]]:
    """What can be read of the items; what cannot counts as not measured."""
    for item in items:
        try:
            yield from tuple(read(item))
        except (ValueError, KeyError) as error:
            log.warning("measurement skipped: %s: %s", type(error).__name__, error)


def _of_containers(item: msgspec.Raw) -> Iterator[tuple[tuple[str, str], Measured]]:
    pod = decode(item, wire.PodMetrics)
    at = parse_rfc3339(pod.timestamp)
    key = f"{pod.metadata.namespace}/{pod.metadata.name}"
    for container in pod.containers:
        yield (key, container.name), _measured(container.usage, at)


def _of_node(item: msgspec.Raw) -> Iterator[tuple[str, Measured]]:
    node = decode(item, wire.NodeMetrics)
    yield node.metadata.name, _measured(node.usage, parse_rfc3339(node.timestamp))


def _measured(usage: Mapping[str, wire.Quantity], at: float) -> Measured:
    return Measured(parse_milli(usage["cpu"]), parse_bytes(usage["memory"]), at)
