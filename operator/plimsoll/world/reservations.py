"""Which free volume each waiting claim shall have, where claims compete for too few of them.

kube-scheduler reserves a volume for each pod that it places, one pod after the other, the
smallest that fits first (VolumeBinding's ``findMatchingVolumes`` and ``Reserve``). Volumes that
several nodes reach cannot be counted on one node, so where claims compete for them each claim
is given one beforehand, in the order in which the scheduler looks at pods.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from plimsoll.world.selectors import node_selector_matches, term_matches
from plimsoll.world.storage import FreeVolumes, reached_from, size_of
from plimsoll.world.wire import Node, PersistentVolume, PodSpec

Claim = tuple[str, str]
"""Namespace and name."""

_ANYWHERE: Final = b"null"
"""The place of a volume that every node reaches."""


@dataclass
class Waiting:
    """Claims of one pod that wait for volumes which nobody provisions."""

    spec: PodSpec
    claims: dict[Claim, FreeVolumes] = field(default_factory=dict)


def are_contested(claims: Mapping[Claim, FreeVolumes]) -> bool:
    """Whether a claim may come to lack a volume where its pod is placed."""
    alike = Counter(map(id, claims.values()))
    names = {id(free): {v.metadata.name for v in free.volumes} for free in claims.values()}
    for free in {id(free): free for free in claims.values()}.values():
        rivals = sum(n for other, n in alike.items() if names[other] & names[id(free)])
        if min(len(some) for some in _by_place(free.volumes).values()) < rivals:
            return True
    return False


def reserve(pods: Iterable[Waiting], nodes: Iterable[Node]) -> dict[Claim, PersistentVolume | None]:
    """A volume for each claim of pods, which come in the scheduler's order; None: none is left."""
    result: dict[Claim, PersistentVolume | None] = {}
    taken: set[str] = set()
    nodes = tuple(nodes)
    places: dict[int, dict[bytes, list[PersistentVolume]]] = {}
    for pod in pods:
        wanted = {claim: free for claim, free in pod.claims.items() if claim not in result}
        for free in wanted.values():
            if id(free) not in places:
                places[id(free)] = _by_place(free.volumes)
        chosen = _together(
            pod.spec, {claim: places[id(free)] for claim, free in wanted.items()}, nodes, taken
        )
        taken.update(volume.metadata.name for volume in chosen.values())
        result.update((claim, chosen.get(claim)) for claim in wanted)
    return result


def _by_place(volumes: Iterable[PersistentVolume]) -> dict[bytes, list[PersistentVolume]]:
    """Volumes by the nodes that reach them, the smallest first."""
    result: defaultdict[bytes, list[PersistentVolume]] = defaultdict(list)
    for volume in sorted(volumes, key=_smallest):
        result[msgspec.json.encode(reached_from(volume))].append(volume)
    return dict(sorted(result.items()))


def _together(
    spec: PodSpec,
    claims: Mapping[Claim, Mapping[bytes, list[PersistentVolume]]],
    nodes: tuple[Node, ...],
    taken: set[str],
) -> dict[Claim, PersistentVolume]:
    """Volumes for the claims of one pod, all of them reached from the same nodes.

    Rather where a node of today takes the pod, then the smallest; nothing if there are none.
    """
    best: tuple[tuple[bool, int, list[str]], dict[Claim, PersistentVolume]] | None = None
    for place in sorted({place for some in claims.values() for place in some}):
        chosen: dict[Claim, PersistentVolume] = {}
        used: set[str] = set()
        for claim, some in claims.items():
            first = (_first(some.get(p, ()), taken, used) for p in (place, _ANYWHERE))
            volume = min(filter(None, first), key=_smallest, default=None)
            if volume is None:
                break
            chosen[claim] = volume
            used.add(volume.metadata.name)
        else:
            names = [volume.metadata.name for volume in chosen.values()]
            size = sum(size_of(volume) for volume in chosen.values())
            good = all(_is_good(volume, spec, nodes) for volume in chosen.values())
            if best is None or (not good, size, names) < best[0]:
                best = (not good, size, names), chosen
    return best[1] if best is not None else {}


def _first(volumes: Iterable[PersistentVolume], *taken: set[str]) -> PersistentVolume | None:
    names = ((volume.metadata.name, volume) for volume in volumes)
    return next((v for name, v in names if not any(name in some for some in taken)), None)


def _smallest(volume: PersistentVolume) -> tuple[int, str]:
    return size_of(volume), volume.metadata.name


def _is_good(volume: PersistentVolume, spec: PodSpec, nodes: tuple[Node, ...]) -> bool:
    """Whether a node that reaches the volume passes the pod's own node rules."""
    affinity = spec.affinity.node_affinity if spec.affinity is not None else None
    required = affinity.required if affinity is not None else None
    if not spec.node_selector and required is None:
        return True
    terms = reached_from(volume)
    return any(
        all(n.metadata.labels.get(k) == v for k, v in spec.node_selector.items())
        and node_selector_matches(required, n.metadata.labels, n.metadata.name)
        and (
            terms is None or any(term_matches(t, n.metadata.labels, n.metadata.name) for t in terms)
        )
        for n in nodes
    )
