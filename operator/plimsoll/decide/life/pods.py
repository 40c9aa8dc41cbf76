"""The pods that a drain has to move, and those that it must not."""

from __future__ import annotations

from collections.abc import Iterable

from plimsoll.api import labels as names
from plimsoll.api.quantity import QuantityError
from plimsoll.world import wire
from plimsoll.world.pods import FINISHED, held, is_daemon
from plimsoll.world.requests import effective_requests
from plimsoll.world.snapshot import Frozen

DEFAULT_GRACE = 30.0
"""Termination grace period of a pod that names none, in seconds."""


class PodRef(Frozen, frozen=True, kw_only=True):
    """One pod, by identity."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class PodsOnNode(Frozen, frozen=True, kw_only=True):
    """Pods bound to the node. Those that go with it (DaemonSet, mirror, finished) are left out."""

    evictable: tuple[PodRef, ...] = ()
    blocked: tuple[tuple[PodRef, str], ...] = ()
    """Pods that must not be evicted, each with the reason."""
    terminating: tuple[PodRef, ...] = ()
    berths: int = 0
    """Berths in use."""
    grace: float = DEFAULT_GRACE
    """Longest termination grace period among them, in seconds."""

    @property
    def all(self) -> tuple[PodRef, ...]:
        return (*self.evictable, *(pod for pod, _ in self.blocked), *self.terminating)


def pods_on_node(pods: Iterable[wire.Pod], node_held: str = "") -> PodsOnNode:
    """Sorts the pods of one node; ``node_held`` is why nothing on it may be moved."""
    evictable, blocked, terminating = [], [], []
    berths, grace = 0, DEFAULT_GRACE
    for pod in sorted(pods, key=lambda p: (p.metadata.namespace, p.metadata.name)):
        if pod.status.phase in FINISHED:
            continue
        berths += _berths(pod)
        if is_daemon(pod):
            continue
        meta = pod.metadata
        ref = PodRef(namespace=meta.namespace, name=meta.name, uid=meta.uid)
        grace = max(grace, float(pod.spec.termination_grace_period_seconds or 0))
        why = node_held or held(pod)
        if meta.deletion_timestamp is not None:
            terminating.append(ref)
        elif why:
            blocked.append((ref, why))
        else:
            evictable.append(ref)
    return PodsOnNode(
        evictable=tuple(evictable),
        blocked=tuple(blocked),
        terminating=tuple(terminating),
        berths=berths,
        grace=grace,
    )


def _berths(pod: wire.Pod) -> int:
    try:
        return effective_requests(pod.spec, pod.status).get(names.BERTHS, 0)
    except QuantityError:  # no API server admits it; a berth at least is certain
        return 1
