"""Since when nodes have been quiet, those included that no pod has come to yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Newcomers:
    """A node that was first seen a moment ago is not quiet: its pods are on their way."""

    def __init__(self) -> None:
        self._first_seen: dict[str, float] = {}

    def quiet_since(
        self, nodes: Iterable[str], pods_changed: Mapping[str, float], now: float
    ) -> dict[str, float]:
        """By node name: the last coming or going of a pod, or of the node itself."""
        self._first_seen = {node: self._first_seen.get(node, now) for node in nodes}
        return {
            node: max(seen, pods_changed.get(node, 0.0)) for node, seen in self._first_seen.items()
        }
