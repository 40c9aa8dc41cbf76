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
from plimsoll.decide.selectors import term_matches
from plimsoll.world.storage import Storage, reached_from
from plimsoll.world.wire import Node, NodeSelectorTerm, PersistentVolume

LOCAL: Final = "free-volumes.plimsoll.dev/"
"""Prefix of the resources that count free local volumes."""

Group = frozenset[str]
"""Names of volumes of which a claim may have any."""


class LocalVolumes:
    """The sets of local volumes that claims wait for."""

    def __init__(self, storage: Storage) -> None:
        self._volumes = storage.volumes
        self._groups: dict[Group, str] = {}

    def __bool__(self) -> bool:
        """Whether any claim waits for such a volume."""
        return bool(self._groups)

    def note(self, group: Group) -> None:
        """Notes that a claim waits for any of these volumes."""
        if group not in self._groups:
            digest = hashlib.blake2b("/".join(sorted(group)).encode(), digest_size=6)
            self._groups[group] = LOCAL + digest.hexdigest()

    def taken_by(self, group: Group) -> list[str]:
        """Resources of which a claim for any volume of the group takes one each."""
        return [name for other, name in self._groups.items() if group <= other]

    def on(self, nodes: Iterable[Node]) -> dict[str, dict[str, int]]:
        """By node name: how many volumes of each group it reaches."""
        by_host: defaultdict[str, list[tuple[str, NodeSelectorTerm]]] = defaultdict(list)
        for name in sorted({name for group in self._groups for name in group}):
            for term in reached_from(self._volumes[name]) or ():
                for host in _hosts(term):
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


def group_of(volumes: Iterable[PersistentVolume]) -> Group | None:
    """The group of a claim that may have any of these volumes; None: not all of them are local."""
    some = tuple(volumes)
    if not some or not all(map(_is_local, some)):
        return None
    return frozenset(volume.metadata.name for volume in some)


def _is_local(volume: PersistentVolume) -> bool:
    terms = reached_from(volume)
    return terms is not None and all(_hosts(term) for term in terms)


def _hosts(term: NodeSelectorTerm) -> list[str]:
    """Host names to which a term confines; none: to no particular ones."""
    for requirement in term.match_expressions:
        if requirement.key == HOSTNAME and requirement.operator == "In":
            return requirement.values
    return []
