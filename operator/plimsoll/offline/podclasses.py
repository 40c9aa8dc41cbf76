"""Classes of pods for readers: whose they are, how large, where they are and where they go."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from plimsoll.decide import wording
from plimsoll.decide.plan import Plan, Unplaced
from plimsoll.world import wire
from plimsoll.world.owners import controller_of
from plimsoll.world.snapshot import Pod, PodShape, Resources, Snapshot

_HASH: Final = "pod-template-hash"


_MANY: Final = 20
"""So many sizes of pods that nobody owns are told apart; more are told by their rules alone."""


class Owner(NamedTuple):
    """To whom pods belong, for people."""

    namespace: str
    kind: str
    """Empty: to nobody; such pods are told apart by their rules, and by size if that is few."""
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" + (f" ({self.kind})" if self.kind else "")


def owners(pods: Iterable[wire.Pod]) -> dict[str, Owner]:
    """By pod key: its owner. ReplicaSets are told as the Deployments that name them."""
    found = {}
    for pod in pods:
        meta = pod.metadata
        controller = controller_of(meta.owner_references)
        if controller is None:
            continue
        kind, name = controller.kind, controller.name
        suffix = f"-{meta.labels.get(_HASH, '')}"
        if kind == "ReplicaSet" and len(suffix) > 1 and name.endswith(suffix):
            kind, name = "Deployment", name.removesuffix(suffix)
        found[f"{meta.namespace}/{meta.name}"] = Owner(meta.namespace, kind, name)
    return found


@dataclass
class PodClass:
    """Pods that a reader takes for the same."""

    owner: Owner
    least: Resources
    """Requests of the smallest and the largest, CPU and memory each by itself."""
    most: Resources
    pods: int = 0
    stay: Counter[str] = field(default_factory=Counter)
    """Pods that run and stay, by VM."""
    come: Counter[str] = field(default_factory=Counter)
    """Pods that get a place, by VM."""
    unplaced: Counter[str] = field(default_factory=Counter)
    """Pods without a place, by reason."""
    aside: Counter[str] = field(default_factory=Counter)
    """Pods that are not planned for, by why."""

    def size(self) -> str:
        """``250m CPU, 512Mi``, or from the smallest to the largest."""
        least, most = wording.amount(self.least), wording.amount(self.most)
        return least if least == most else f"{least} to {most}"


def classes(snapshot: Snapshot, plan: Plan, owner_of: Mapping[str, Owner]) -> list[PodClass]:
    """All pods by class: first those with most pods without a place, then with most to come."""
    grouped: defaultdict[tuple[Owner | None, str], list[Pod]] = defaultdict(list)
    shapes: dict[str, PodShape] = {}
    for pod in snapshot.pods:
        shape = pod.shape
        shapes[shape.key] = shape
        grouped[owner_of.get(pod.key), shape.key].append(pod)
    unplaced = {one.pod: one for one in plan.unplaced}
    bare = {wording.amount(shapes[key].requests) for owner, key in grouped if owner is None}
    found: dict[tuple[Owner, str], PodClass] = {}
    for (owner, key), pods in grouped.items():
        shape = shapes[key]
        size = ""
        if owner is None:
            rules = ", ".join(rules_of(shape))
            owner = Owner(shape.namespace, "", f"pods {rules}" if rules else "pods of no owner")
            size = wording.amount(shape.requests) if len(bare) <= _MANY else ""
        known = found.get((owner, size))
        if known is None:
            known = found[owner, size] = PodClass(owner, shape.requests, shape.requests)
        _add(known, shape.requests, pods, plan.placements, unplaced)
    return sorted(
        found.values(),
        key=lambda one: (-one.unplaced.total(), -one.come.total(), -one.pods, one.owner),
    )


def _add(
    to: PodClass,
    requests: Resources,
    pods: list[Pod],
    placements: Mapping[str, str],
    unplaced: Mapping[str, Unplaced],
) -> None:
    to.pods += len(pods)
    to.least = Resources(
        cpu=min(to.least.cpu, requests.cpu), memory=min(to.least.memory, requests.memory)
    )
    to.most = Resources(
        cpu=max(to.most.cpu, requests.cpu), memory=max(to.most.memory, requests.memory)
    )
    for pod in pods:
        where = placements.get(pod.key)
        failed = unplaced.get(pod.key)
        if failed is not None:
            to.unplaced[failed.reason.value] += 1
        elif where is None:
            to.aside[_aside(pod)] += 1
        elif where == pod.node:
            to.stay[where] += 1
        else:
            to.come[where] += 1


def _aside(pod: Pod) -> str:
    if pod.gated:
        return "wait for scheduling gates"
    if pod.terminating:
        return "are terminating"
    if pod.daemon:
        return "go with their nodes"
    return "are on nodes that are not known" if pod.node is not None else "are no longer needed"


def rules_of(shape: PodShape) -> Iterator[str]:
    """The rules of a pod in a few words each."""
    if shape.node_selector or shape.node_affinity is not None:
        yield "on certain nodes"
    for term in shape.affinity:
        yield f"near others by {term.topology_key}"
    for term in shape.anti_affinity:
        yield f"apart by {term.topology_key}"
    for constraint in shape.spread:
        yield f"spread by {constraint.topology_key}"
    if shape.volume_nodes:
        yield "where its volumes are"
    if shape.host_ports:
        yield "with host ports"
    if shape.runtime_class:
        yield f"RuntimeClass {shape.runtime_class}"
    if shape.priority:
        yield f"priority {shape.priority}"
