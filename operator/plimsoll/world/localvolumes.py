"""Free volumes that one node alone reaches: so many pods that wait for one can go there.

kube-scheduler reserves a volume for each pod as it places it (VolumeBinding's ``Reserve``), so
the next pod finds one fewer. Here such volumes count as a resource of their node, and a claim
takes one. A claim that may have any of many volumes also competes with those that may have only
some of them, so it takes part in the count of every set of volumes that holds all of its own.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from plimsoll.api.labels import HOSTNAME
from plimsoll.world.selectors import term_matches
from plimsoll.world.storage import Storage, hosts_of, reached_from
from plimsoll.world.wire import Node, NodeSelectorTerm

LOCAL: Final = "free-volumes.plimsoll.dev/"
"""Prefix of the resources that count free local volumes."""

Group = frozenset[str]
"""Names of volumes of which a claim may have any."""


class LocalVolumes:
    """The sets of local volumes that claims wait for."""

    def __init__(self, storage: Storage) -> None:
        self._volumes = storage.volumes
        self._groups: dict[Group, str] = {}
        self._taken: dict[Group, tuple[str, ...]] = {}

    def __bool__(self) -> bool:
        """Whether any claim waits for such a volume."""
        return bool(self._groups)

    def note(self, group: Group) -> None:
        """Notes that a claim waits for any of these volumes."""
        if group not in self._groups:
            digest = hashlib.blake2b("/".join(sorted(group)).encode(), digest_size=6)
            self._groups[group] = LOCAL + digest.hexdigest()

    def taken_by(self, group: Group) -> tuple[str, ...]:
        """Resources of which a claim for any volume of the group takes one each.

        To be asked when all groups are noted.
        """
        if group not in self._taken:
            some = (name for other, name in self._groups.items() if group <= other)
            self._taken[group] = tuple(some)
        return self._taken[group]

    def on(self, nodes: Iterable[Node]) -> dict[str, dict[str, int]]:
        """By node name: how many volumes of each group it reaches."""
        by_host: defaultdict[str, list[tuple[str, NodeSelectorTerm]]] = defaultdict(list)
        for name in sorted({name for group in self._groups for name in group}):
            for term in reached_from(self._volumes[name]) or ():
                for host in hosts_of(term):
                    by_host[host].append((name, term))
        result: dict[str, dict[str, int]] = {}
        for node in nodes if by_host else ():
            meta = node.metadata
            here = {
                name
                for name, term in by_host.get(meta.labels.get(HOSTNAME, ""), ())
                if term_matches(term, meta.labels, meta.name)
            }
            if here:
                counts = {name: len(here & group) for group, name in self._groups.items()}
                result[meta.name] = {name: count for name, count in counts.items() if count}
        return result
