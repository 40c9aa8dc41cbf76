"""Which pods are on which node, and since when a node has been quiet.

Kept up to date by the changes of the pod store, so that looking at one node
never means walking over all pods.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from plimsoll.world import wire
from plimsoll.world.pods import is_daemon
from plimsoll.world.store import Key


class Occupancy:
    """Pods by node. ``see`` listens to the pod store."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._pods: dict[str, dict[Key, wire.Pod]] = {}
        self._given: dict[str, tuple[wire.Pod, ...]] = {}
        self._quiet_since: dict[str, float] = {}

    def see(self, key: Key, old: wire.Pod | None, new: wire.Pod | None) -> None:
        """Takes in one change of a pod."""
        before = old.spec.node_name if old else ""
        after = new.spec.node_name if new else ""
        if before != after and not is_daemon(new or old):  # type: ignore[arg-type]
            now = self._clock()
            self._quiet_since.update({node: now for node in (before, after) if node})
        self._given.pop(before, None)
        self._given.pop(after, None)
        if before:
            self._pods[before].pop(key, None)
            if not self._pods[before]:
                del self._pods[before]
        if after and new:
            self._pods.setdefault(after, {})[key] = new

    def forget(self, node: str) -> None:
        """Drops the memory of a node that is gone."""
        self._quiet_since.pop(node, None)

    def pods_on(self, node: str) -> tuple[wire.Pod, ...]:
        """Unfinished pods that are bound to the node, those of DaemonSets included.

        The same tuple as long as none of them changes.
        """
        if node not in self._pods:
            return ()
        given = self._given.get(node)
        if given is None:
            given = self._given[node] = tuple(self._pods[node].values())
        return given

    def quiet_since(self) -> dict[str, float]:
        """By node: when a pod last came or went, DaemonSets' pods aside.

        Counts from the operator's own start where that is later, because what
        happened while it was down is not known.
        """
        return dict(self._quiet_since)
