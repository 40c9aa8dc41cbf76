"""The resource metrics API (``metrics.k8s.io/v1beta1``) of simulated containers.

This is what it answers; ``metrics_server`` is how it is reached. As with the
real one, there is nothing to be had of nodes that are not heard, nor of the pods
on them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from plimsoll.api.timestamp import rfc3339
from plimsoll.kube import Json, Kube, decode
from plimsoll.resources import (
    CONTAINERWORKLOADS,
    DEPLOYMENTS,
    NODES,
    PODS,
    REPLICASETS,
    STATEFULSETS,
)
from plimsoll.simulator import nodes
from plimsoll.simulator.load import (
    SYSTEM,
    Amount,
    PodUsage,
    Workload,
    deployments_of,
    loads_on,
    usage_of_pods,
)
from plimsoll.simulator.selector import Test
from plimsoll.world import wire
from plimsoll.world.reflector import Reflector

log = logging.getLogger(__name__)

API_VERSION: Final = "metrics.k8s.io/v1beta1"
WINDOW: Final = "10s"
"""What a measurement is said to be the average of."""


class Filter(NamedTuple):
    """Which objects are asked for; an empty namespace means all."""

    namespace: str
    labels: Test
    fields: Mapping[str, str]
    """``metadata.name`` and ``metadata.namespace``, where given."""

    def passes(self, meta: wire.Meta) -> bool:
        """Whether an object with this metadata is asked for."""
        return (
            self.namespace in ("", meta.namespace)
            and self.fields.get("metadata.name", meta.name) == meta.name
            and self.fields.get("metadata.namespace", meta.namespace) == meta.namespace
            and self.labels(meta.labels)
        )


class Metrics:
    """Measures the containers of a cluster, from what the API server says of them."""

    def __init__(self, kube: Kube, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        controller = partial(decode, type=wire.Controller)
        self._pods = Reflector(kube, PODS, partial(decode, type=wire.Pod))
        self._nodes = Reflector(kube, NODES, partial(decode, type=wire.Node))
        self._workloads = Reflector(kube, CONTAINERWORKLOADS, partial(decode, type=Workload))
        self._deployments = Reflector(kube, DEPLOYMENTS, controller)
        self._statefulsets = Reflector(kube, STATEFULSETS, controller)
        self._replicasets = Reflector(kube, REPLICASETS, controller)
        self._reflectors: tuple[Reflector[Any], ...] = (
            self._pods,
            self._nodes,
            self._workloads,
            self._deployments,
            self._statefulsets,
            self._replicasets,
        )
        self._told: set[str] = set()

    async def run(self) -> None:
        """Keeps itself informed until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for reflector in self._reflectors:
                tasks.create_task(reflector.run(), name=f"reflect {reflector.resource}")

    async def wait_ready(self) -> None:
        """Returns when everything that a measurement needs has been read."""
        for reflector in self._reflectors:
            await reflector.wait_synced()

    @property
    def ready(self) -> bool:
        """Whether everything that a measurement needs is known, and may still be read."""
        return all(reflector.synced for reflector in self._reflectors)

    def pod_metrics(self, wanted: Filter) -> list[Json]:
        """``PodMetrics`` of all pods asked for."""
        now = self._clock()
        return [
            _pod_metrics(usage, now)
            for usage in self._usages()
            if wanted.passes(usage.pod.metadata)
        ]

    def node_metrics(self, wanted: Filter) -> list[Json]:
        """``NodeMetrics`` of all nodes asked for."""
        now = self._clock()
        totals = {node.metadata.name: SYSTEM for node in self._heard()}
        for usage in self._usages():
            name = usage.pod.spec.node_name
            for amount in usage.containers.values():
                totals[name] = totals[name].plus(amount)
        return [
            _node_metrics(node, totals[node.metadata.name], now)
            for node in self._heard()
            if wanted.passes(node.metadata)
        ]

    def _heard(self) -> list[wire.Node]:
        return [node for node in self._nodes.store.values() if nodes.ready(node) == "True"]

    def _usages(self) -> list[PodUsage]:
        heard = {node.metadata.name for node in self._heard()}
        loads = loads_on(
            self._workloads.store.values(),
            {
                "Deployment": self._deployments.store.values(),
                "StatefulSet": self._statefulsets.store.values(),
            },
        )
        usages = usage_of_pods(
            self._pods.store.values(), loads, deployments_of(self._replicasets.store.values())
        )
        for problem in {usage.problem for usage in usages if usage.problem} - self._told:
            log.error("nothing is measured of it: %s", problem)
            self._told.add(problem)
        return [u for u in usages if not u.problem and u.pod.spec.node_name in heard]


def _pod_metrics(usage: PodUsage, now: float) -> Json:
    meta = usage.pod.metadata
    return {
        "kind": "PodMetrics",
        "apiVersion": API_VERSION,
        "metadata": _metadata(meta, now),
        "timestamp": rfc3339(now),
        "window": WINDOW,
        "containers": [
            {"name": name, "usage": _quantities(amount)}
            for name, amount in usage.containers.items()
        ],
    }


def _node_metrics(node: wire.Node, amount: Amount, now: float) -> Json:
    return {
        "kind": "NodeMetrics",
        "apiVersion": API_VERSION,
        "metadata": _metadata(node.metadata, now),
        "timestamp": rfc3339(now),
        "window": WINDOW,
        "usage": _quantities(amount),
    }


def _metadata(meta: wire.Meta, now: float) -> Json:
    metadata: Json = {"name": meta.name, "creationTimestamp": rfc3339(now)}
    if meta.namespace:
        metadata["namespace"] = meta.namespace
    if meta.labels:
        metadata["labels"] = meta.labels
    return metadata


def _quantities(amount: Amount) -> dict[str, str]:
    return {"cpu": f"{amount.cpu}m", "memory": f"{amount.memory // 1024}Ki"}
