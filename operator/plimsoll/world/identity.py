"""Telling at once that two pods are alike: they consist of the same parts in memory.

Pods of equal identity are equal in those parts as long as one of them is kept alive. The
contrary does not hold: equal parts may be different objects (``podreader`` makes them the
same).
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Final

import msgspec

from plimsoll.world.wire import Pod, PodSpec

Identity = tuple[int, ...]

_of_spec: Final[Any] = attrgetter(
    *(f.name for f in msgspec.structs.fields(PodSpec) if f.name not in ("node_name", "volumes"))
)
_of_pod: Final[Any] = attrgetter(
    "metadata.labels",
    "metadata.annotations",
    "metadata.owner_references",
    "spec.volumes",
    "status.conditions",
    "status.container_statuses",
    "status.init_container_statuses",
    "status.resources",
    "status.allocated_resources",
)


def spec_identity(spec: PodSpec) -> Identity:
    """Identities of all parts of a spec but its node and its volumes."""
    return tuple(map(id, _of_spec(spec)))


def pod_identity(pod: Pod) -> Identity:
    """Identities of all parts of a pod but its names, times, phase and node."""
    return tuple(map(id, (*_of_pod(pod), *_of_spec(pod.spec))))
