"""What is explained from a live cluster: it is read once, nothing is changed.

What only the running operator knows (since when a node is quiet, back-off) is not known
here; the status that it writes is.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from plimsoll.events import EventReason
from plimsoll.explain.facts import Facts
from plimsoll.explain.question import NotThere
from plimsoll.kube import Kube
from plimsoll.world.assemble import assemble
from plimsoll.world.metrics import Metrics
from plimsoll.world.objects import Objects, Observations
from plimsoll.world.owners import key_of
from plimsoll.world.stores import World

READ_TIMEOUT: Final = 60.0


def from_cluster(kubeconfig: str | None, context: str | None, expendable_below: int) -> Facts:
    """Reads the cluster once.

    ``expendable_below``: no VM is kept, grown or launched for pods of a lower priority.

    Raises:
        NotThere: something is not served, not permitted, or does not come in time.
        NoCluster: no kubeconfig names one.
        ApiError: it refuses.
    """
    return asyncio.run(_ask(kubeconfig, context, expendable_below))


async def _ask(kubeconfig: str | None, context: str | None, expendable_below: int) -> Facts:
    async with Kube.from_environment(kubeconfig, context) as kube:
        world = World(kube)
        await _read(world)
        usage = Metrics(kube, world.objects)
        await usage.poll()
        objects = world.objects()
        observations = Observations(
            demands=usage.demands(),
            node_usage=usage.node_usage(),
            problems={**_conflicts(objects), **world.object_problems()},
        )
        now = time.time()
        snapshot = assemble(objects, observations, now, expendable_below=expendable_below)
        notes = (f"nothing is measured: {usage.problem}",) if usage.problem else ()
        return Facts(objects, snapshot, now, notes)


async def _read(world: World) -> None:
    """Reads everything once.

    Raises:
        NotThere: something is not served, not permitted, or does not come in time.
    """
    reading = asyncio.create_task(world.run())
    try:
        async with asyncio.timeout(READ_TIMEOUT):
            while not world.synced:
                await asyncio.sleep(0.02)
                failed = [r.problem for r in world.reflectors.values() if r.problem]
                if failed:
                    raise NotThere("; ".join(failed))
    except TimeoutError:
        unread = ", ".join(str(resource) for resource in world.unreadable())
        raise NotThere(f"not read within {READ_TIMEOUT:.0f} s: {unread}") from None
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def _conflicts(objects: Objects) -> dict[str, str]:
    """Conflicts that the operator has met, from its conditions: only trying could find them."""
    return {
        f"ContainerWorkload/{key_of(workload)}": condition.message
        for workload in objects.workloads
        for condition in (workload.status.conditions if workload.status is not None else ())
        if condition.type == "Stalled" and condition.reason == EventReason.FIELD_CONFLICT.value
    }
