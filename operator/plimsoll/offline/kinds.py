"""Which kinds of objects files may hold, and what is done with each."""

from __future__ import annotations

import difflib
from typing import Final, NamedTuple

from plimsoll.api import KINDS
from plimsoll.api.base import API_VERSION, GROUP
from plimsoll.world import wire


class Wanted(NamedTuple):
    """A kind that the decision reads."""

    struct: type[wire.Object]
    namespaced: bool = True


WANTED: Final[dict[tuple[str, str], Wanted]] = {
    ("", "Pod"): Wanted(wire.Pod),
    ("", "Node"): Wanted(wire.Node, namespaced=False),
    ("", "Namespace"): Wanted(wire.Namespace, namespaced=False),
    ("apps", "Deployment"): Wanted(wire.Controller),
    ("apps", "StatefulSet"): Wanted(wire.Controller),
    ("apps", "ReplicaSet"): Wanted(wire.Controller),
    ("apps", "DaemonSet"): Wanted(wire.Controller),
    ("batch", "Job"): Wanted(wire.Controller),
    ("policy", "PodDisruptionBudget"): Wanted(wire.PodDisruptionBudget),
    ("node.k8s.io", "RuntimeClass"): Wanted(wire.RuntimeClass, namespaced=False),
    ("scheduling.k8s.io", "PriorityClass"): Wanted(wire.PriorityClass, namespaced=False),
    ("", "PersistentVolume"): Wanted(wire.PersistentVolume, namespaced=False),
    ("", "PersistentVolumeClaim"): Wanted(wire.PersistentVolumeClaim),
    ("storage.k8s.io", "StorageClass"): Wanted(wire.StorageClass, namespaced=False),
    ("storage.k8s.io", "CSINode"): Wanted(wire.CSINode, namespaced=False),
    ("storage.k8s.io", "CSIDriver"): Wanted(wire.CSIDriver, namespaced=False),
    ("storage.k8s.io", "CSIStorageCapacity"): Wanted(wire.CSIStorageCapacity),
    ("metrics.k8s.io", "PodMetrics"): Wanted(wire.PodMetrics),
    ("metrics.k8s.io", "NodeMetrics"): Wanted(wire.NodeMetrics, namespaced=False),
}
"""By API group and kind. The version within the group does not matter: the fields are the same."""

_OTHERS: Final[dict[str, tuple[str, ...]]] = {
    "": (
        "Binding",
        "ComponentStatus",
        "ConfigMap",
        "Endpoints",
        "Event",
        "LimitRange",
        "PodTemplate",
        "ReplicationController",
        "ResourceQuota",
        "Secret",
        "Service",
        "ServiceAccount",
    ),
    "apps": ("ControllerRevision",),
    "batch": ("CronJob",),
    "policy": ("Eviction", "PodSecurityPolicy"),
    "node.k8s.io": (),
    "storage.k8s.io": ("VolumeAttachment", "VolumeAttributesClass"),
    GROUP: (),
}
"""The other kinds of groups that are known in full: there, any further kind is a mistake."""

_OWN: Final = frozenset(kind.__name__ for kind in KINDS)
_FORMER_GROUPS: Final = {"extensions": "apps"}
_SIMILAR: Final = 0.7
"""From this likeness on (0 to 1), a name is taken for a misspelling of another."""


def group_of(api_version: str, kind: str) -> str:
    """The API group of an ``apiVersion``, for kinds that have moved the one they moved to."""
    group, slash, _ = api_version.rpartition("/")
    former = _FORMER_GROUPS.get(group) if slash else None
    return former if former is not None and (former, kind) in WANTED else group


def is_own(group: str, kind: str) -> bool:
    """Whether the kind is one of Plimsoll's."""
    return group == GROUP and kind in _OWN


def unknown(group: str, kind: str) -> str | None:
    """What to do about a kind that is not wanted, if that is a mistake; None: it may be.

    A kind of a group that is not known in full exists as likely as not.
    """
    if group not in _OTHERS:
        near = difflib.SequenceMatcher(None, group, GROUP).ratio() >= _SIMILAR
        return f"write apiVersion: {API_VERSION}" if near and kind in _OWN else None
    if kind in _OTHERS[group]:
        return None
    if kind in _OWN:
        return f"write apiVersion: {API_VERSION}"
    for other, known in WANTED:
        if known == kind:
            return f"write apiVersion: {other}/v1" if other else "write apiVersion: v1"
    kinds = {*_OTHERS[group], *(k for g, k in WANTED if g == group)}
    if group == GROUP:
        kinds |= _OWN
    nearest = difflib.get_close_matches(kind, sorted(kinds), n=1, cutoff=_SIMILAR)
    return f"did you mean {nearest[0]}?" if nearest else f"choose one of {', '.join(sorted(kinds))}"
