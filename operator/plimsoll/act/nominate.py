"""Tells the scheduler where the plan expects pending pods: it nominates nodes for them.

kube-scheduler tries ``status.nominatedNodeName`` of a pod before any other node, and keeps the
room of nominated pods free from pods of no higher priority. So a tight plan comes true as it
was made, instead of being scattered by the scheduler's own scores. A nomination is advice and
no more: the node must pass every filter; if it does not, the scheduler looks at all the others,
and drops the nomination if none will do. (A pod of ``preemptionPolicy: Never`` keeps it: such
a one is taken back here, as soon as the plan thinks otherwise.)

Only pods that the scheduler has given up for now are nominated: the others are placed before
anybody could say where. Of pods that would wait for each other some come first (``crowds``).
Only nodes that exist are named: the scheduler drops a name that it does not know at its next
try. And nominations of others stand: they mean a preemption under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from plimsoll.act.crowds import Crowds
from plimsoll.apierrors import ApiError, Conflict, Invalid, NotFound
from plimsoll.decide.plan import Plan
from plimsoll.kube import Json, Kube
from plimsoll.resources import PODS
from plimsoll.world import wire
from plimsoll.world.objects import Objects
from plimsoll.world.snapshot import Pod, Snapshot

log = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 500
"""Nominations written for one plan; the next plan brings the rest."""
MOST_TELLINGS: Final = 3
"""How often a pod is nominated for one node: each try at which the scheduler drops it may make
it try other pods again, and so on in a circle."""
CONCURRENCY: Final = 8


class Nomination(NamedTuple):
    """A node to be named in a pod's status; None takes the name out."""

    pod: wire.Pod
    node: str | None


class _Told(NamedTuple):
    node: str | None
    times: int


class Nominations:
    """What the operator has nominated. Forgotten by a restart: what is found then stands."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}
        self._freed: dict[str, tuple[Pod, Pod]] = {}
        """By UID: pods of the last snapshot, and the same without our nomination."""
        self._unbound: tuple[tuple[wire.Pod, ...], list[wire.Pod]] = ((), [])
        """All pods as they were last given, and those without a node: few of many."""

    def without_own(self, snapshot: Snapshot, objects: Objects) -> Snapshot:
        """The snapshot to decide on: own nominations are wishes, not facts, and bind no plan."""
        before, self._freed = self._freed, {}
        for pod in self._pending(objects.pods):
            if self._is_own(pod):
                uid = pod.metadata.uid
                seen = snapshot.pod(f"{pod.metadata.namespace}/{pod.metadata.name}")
                known = before.get(uid)
                # The same object as long as nothing changes: plans are made anew by what did.
                if known is not None and known[0] is seen:
                    self._freed[uid] = known
                elif seen is not None:
                    self._freed[uid] = seen, msgspec.structs.replace(seen, nominated=None)
        if not self._freed:
            return snapshot
        freed = {id(seen): free for seen, free in self._freed.values()}
        pods = tuple(freed.get(id(pod), pod) for pod in snapshot.pods)
        return msgspec.structs.replace(snapshot, pods=pods)

    async def tell(self, kube: Kube, plan: Plan, objects: Objects) -> list[Json]:
        """Writes what the plan changes about nominations; returns the pods as stored.

        A failure is logged and no more: the scheduler then places the pod as it likes.
        """
        due = self.due(plan, objects)
        limit = asyncio.Semaphore(CONCURRENCY)

        async def write(nomination: Nomination) -> Json | None:
            async with limit:
                return await self._write(kube, nomination)

        written = await asyncio.gather(*(write(nomination) for nomination in due))
        return [pod for pod in written if pod is not None]

    def due(self, plan: Plan, objects: Objects) -> list[Nomination]:
        """The nominations that the plan changes, at most ``MOST_AT_ONCE``."""
        pending = self._pending(objects.pods)
        self._forget_all_but(pod.metadata.uid for pod in pending)
        nodes = {node.metadata.name for node in objects.nodes} if pending else set()
        crowds = Crowds()
        due = []
        # Those that are told already first: they stay.
        for pod in sorted(pending, key=lambda pod: not pod.status.nominated_node_name):
            place = plan.placements.get(f"{pod.metadata.namespace}/{pod.metadata.name}")
            may_be = place in nodes and _is_given_up(pod)
            wanted = place if place and may_be and crowds.join(pod, place) else None
            if self._may_change(pod, wanted):
                due.append(Nomination(pod, wanted))
                if len(due) == MOST_AT_ONCE:
                    break
        return due

    def _pending(self, pods: tuple[wire.Pod, ...]) -> list[wire.Pod]:
        if self._unbound[0] is not pods:
            self._unbound = (pods, [pod for pod in pods if not pod.spec.node_name])
        return self._unbound[1]

    def _may_change(self, pod: wire.Pod, wanted: str | None) -> bool:
        now = pod.status.nominated_node_name or None
        if now == wanted or (now is not None and not self._is_own(pod)):
            return False
        told = self._told.get(pod.metadata.uid)
        return told is None or told.node != wanted or told.times < MOST_TELLINGS

    def _is_own(self, pod: wire.Pod) -> bool:
        if pod.spec.node_name or not pod.status.nominated_node_name:
            return False
        told = self._told.get(pod.metadata.uid)
        if told is not None and told.node == pod.status.nominated_node_name:
            return True
        # A pod that never preempts was not nominated by a preemption: this is a leftover.
        return pod.spec.preemption_policy == "Never"

    def _forget_all_but(self, pending: Iterable[str]) -> None:
        self._told = {uid: self._told[uid] for uid in pending if uid in self._told}

    async def _write(self, kube: Kube, nomination: Nomination) -> Json | None:
        meta = nomination.pod.metadata
        body = {"metadata": {"uid": meta.uid}, "status": {"nominatedNodeName": nomination.node}}
        try:
            stored = await kube.patch_subresource(
                PODS, meta.name, "status", body, meta.namespace, kind="merge"
            )
        except (NotFound, Conflict, Invalid):
            return None  # gone, another one, or bound in the meantime
        except ApiError as error:
            log.warning("cannot nominate a node: %s", error, extra={"object": f"pod/{meta.name}"})
            return None
        told = self._told.get(meta.uid)
        times = told.times if told is not None and told.node == nomination.node else 0
        self._told[meta.uid] = _Told(nomination.node, times + 1)
        return stored


def _is_given_up(pod: wire.Pod) -> bool:
    """Whether the scheduler has looked for a place, and waits for something to change."""
    return pod.metadata.deletion_timestamp is None and any(
        c.type == "PodScheduled" and c.status == "False" and c.reason == "Unschedulable"
        for c in pod.status.conditions
    )
