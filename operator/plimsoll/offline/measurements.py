"""Measurements among the files, which serve as the demand of the moment when they were taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from plimsoll.api.timestamp import parse_rfc3339
from plimsoll.world import wire
from plimsoll.world.objects import Objects, Observations
from plimsoll.world.requests import amounts
from plimsoll.world.snapshot import Resources
from plimsoll.world.usage import Measured, Usage


def observe(
    objects: Objects, pods: Iterable[wire.PodMetrics], nodes: Iterable[wire.NodeMetrics]
) -> tuple[Observations, float | None]:
    """What was measured, and when the newest measurement was taken; None: nothing was.

    One moment is no history: no window is ever full, so nothing is made smaller on it.
    """
    containers = {
        (f"{m.metadata.namespace}/{m.metadata.name}", container.name): _measured(
            container.usage, m.timestamp
        )
        for m in pods
        for container in m.containers
        if m.timestamp
    }
    of_nodes = {m.metadata.name: _measured(m.usage, m.timestamp) for m in nodes if m.timestamp}
    moments = [measured.at for measured in (*containers.values(), *of_nodes.values())]
    if not moments:
        return Observations(), None
    # Brings the API client with it, which a plan without measurements can do without.
    from plimsoll.world.metrics import running

    moment = max(moments)
    usage = Usage()
    usage.observe(moment, running(objects), containers)
    node_usage = {name: Resources(cpu=m.cpu, memory=m.memory) for name, m in of_nodes.items()}
    return Observations(demands=usage.demands(moment), node_usage=node_usage), moment


def _measured(usage: Mapping[str, wire.Quantity], timestamp: str) -> Measured:
    found = amounts(usage)
    return Measured(found.get("cpu", 0), found.get("memory", 0), parse_rfc3339(timestamp))
