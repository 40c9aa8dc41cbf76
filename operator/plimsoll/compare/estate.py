"""What is to be run: the containers of a dump, to whom they belong, and where they are.

"Container" is said as in the question "containers or VMs?": one pod, which is what is
placed. Pods of DaemonSets and static pods are not among them: they come with a machine.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from plimsoll.api import labels as names
from plimsoll.api.containerworkload import ContainerWorkloadSpec
from plimsoll.compare.assumptions import Options
from plimsoll.world import wire
from plimsoll.world.objects import Objects
from plimsoll.world.owners import Index, controller_of, scaled_by
from plimsoll.world.snapshot import Pod, PodShape, Resources, Snapshot, Vm

_CONTROL_PLANE: Final = (
    "node-role.kubernetes.io/control-plane",
    "node-role.kubernetes.io/master",
)
_OF_ONE_POD: Final = (
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "pod-template-hash",
    "controller-revision-hash",
)
"""Labels in which the replicas of one workload differ."""
_PLACED: Final = frozenset({"ephemeral-storage", names.BERTHS})
"""Extended resources that a VM offers whose hardware nobody has chosen."""

_VOLUMES: Final = "volumes"
_VOLUME: Final = "volume"
"""Whatever names one is about volumes: claims, attach limits, local volumes."""


class NothingToCompare(ValueError):
    """The files hold nothing that could be compared: what is missing, and what to do."""


@dataclass(frozen=True, slots=True)
class Container:
    """One pod to be run somewhere."""

    key: str
    """``namespace/name``."""
    workload: str
    """``namespace/Kind/name`` of what controls it; of itself, if nothing does."""
    shape: PodShape
    """What the scheduler looks at, without what ties it to the machines of today."""
    requests: Resources
    """What the pod itself requests."""
    node: str | None


@dataclass(frozen=True)
class Estate:
    """All that the four ways have in common."""

    containers: tuple[Container, ...]
    """By key."""
    nodes: tuple[Vm, ...]
    """Nodes of today without those of the control plane."""
    daemons: Mapping[str, Resources]
    """By node: what its DaemonSet and static pods request."""
    agents: tuple[PodShape, ...]
    """DaemonSet pods that a new machine would run, where only their pods are in the dump."""
    notes: tuple[str, ...]

    @property
    def shapes(self) -> list[PodShape]:
        """Each distinct shape once."""
        return list({c.shape.key: c.shape for c in self.containers}.values())

    @property
    def cpu(self) -> int:
        return sum(c.requests.cpu for c in self.containers)

    @property
    def memory(self) -> int:
        return sum(c.requests.memory for c in self.containers)


def is_control_plane(labels: Mapping[str, str], taints: Iterable[wire.Taint]) -> bool:
    """Whether a node is kept for the control plane: labelled so, and tainted so."""
    tainted = {taint.key for taint in taints if taint.effect != "PreferNoSchedule"}
    return any(role in labels and role in tainted for role in _CONTROL_PLANE)


def estate_of(objects: Objects, snapshot: Snapshot, options: Options) -> Estate:
    """The containers of a dump and its nodes.

    Raises:
        NothingToCompare: no containers, or containers on nodes of which none is known.
    """
    pods = {f"{p.metadata.namespace}/{p.metadata.name}": p for p in objects.pods}
    apart = {vm.name for vm in snapshot.vms if is_control_plane(vm.labels, vm.taints)}
    nodes = tuple(vm for vm in snapshot.vms if vm.name not in apart)
    known = {vm.name for vm in nodes}
    index, freed = Index(objects), _Freed(snapshot, options)
    containers: list[Container] = []
    daemons: defaultdict[str, list[Resources]] = defaultdict(list)
    agents: dict[str, PodShape] = {}
    left_out: Counter[str] = Counter()
    outside = 0
    for pod in snapshot.pods:
        if pod.node in apart:
            left_out["on the control plane"] += not pod.daemon
        elif pod.daemon:
            if pod.node in known:
                daemons[pod.node].append(pod.shape.requests)
            owner = controller_of(pods[pod.key].metadata.owner_references)
            if owner is not None and owner.kind == "DaemonSet":
                agents.setdefault(f"{pod.namespace}/{owner.name}", pod.shape)
        elif pod.terminating:
            left_out["on their way out"] += 1
        elif pod.gated:
            left_out["held by scheduling gates"] += 1
        else:
            outside += pod.node is not None and pod.node not in known
            containers.append(_container(pod, pods[pod.key], index, freed))
    _check(containers, outside, known)
    described = {f"{d.metadata.namespace}/{d.metadata.name}" for d in objects.daemonsets}
    return Estate(
        containers=tuple(containers),
        nodes=nodes,
        daemons={name: _total(some) for name, some in sorted(daemons.items())},
        agents=tuple(
            _untied(shape) for key, shape in sorted(agents.items()) if key not in described
        ),
        notes=(*_notes(apart, left_out, outside), *freed.notes(containers)),
    )


def _container(pod: Pod, source: wire.Pod, index: Index, freed: _Freed) -> Container:
    owner = scaled_by(source, index)
    if owner is None:
        controller = controller_of(source.metadata.owner_references)
        kind, name = ("Pod", pod.name) if controller is None else (controller.kind, controller.name)
        owner = pod.namespace, kind, name
    return Container(
        key=pod.key,
        workload="/".join(owner),
        shape=freed.shape(pod),
        requests=pod.shape.requests,
        node=pod.node,
    )


def _check(containers: list[Container], outside: int, known: set[str]) -> None:
    if not containers:
        raise NothingToCompare(
            "there are no containers among the files: no pods besides those of DaemonSets and of "
            "the control plane, and no controllers that would make any; dump pods and nodes "
            "together: kubectl get pods,nodes -A -o json"
        )
    if outside and not known:
        raise NothingToCompare(
            f"{outside} pods are bound to nodes, and no Node is among the files: dump pods and "
            "nodes together: kubectl get pods,nodes -A -o json"
        )


def _total(some: Iterable[Resources]) -> Resources:
    some = tuple(some)
    return Resources(cpu=sum(r.cpu for r in some), memory=sum(r.memory for r in some))


def _notes(apart: set[str], left_out: Counter[str], outside: int) -> list[str]:
    notes = []
    if apart:
        notes.append(f"Nodes of the control plane are left out: {len(apart)}")
    notes += [f"Containers left out: {n} {why}" for why, n in sorted(left_out.items()) if n]
    if outside:
        notes.append(
            f"Containers that are bound to nodes outside the files count as without a place "
            f"in the way it is now: {outside}"
        )
    return notes


class _Freed:
    """Shapes without what ties them to the machines of today; one for all that are alike."""

    def __init__(self, snapshot: Snapshot, options: Options) -> None:
        self._workloads = {w.key: w.spec for w in snapshot.workloads}
        self._options = options
        self._known: dict[tuple[str, str], PodShape] = {}
        self._ties: dict[str, tuple[str, ...]] = {}

    def shape(self, pod: Pod) -> PodShape:
        """What is placed of a pod: its rules, and what it and its runtime take."""
        key = pod.shape.key, pod.workload or ""
        if key not in self._known:
            self._known[key] = self._free(pod.shape, self._workloads.get(pod.workload or ""))
        return self._known[key]

    def _free(self, shape: PodShape, steered: ContainerWorkloadSpec | None) -> PodShape:
        spread = shape.spread
        if steered is not None and steered.redundancy.survive:
            spread = _with_promise(shape, steered)
        extended = {n: v for n, v in shape.requests.extended.items() if n in _PLACED}
        freed = msgspec.structs.replace(
            shape,
            key="",
            requests=Resources(
                cpu=shape.requests.cpu + self._options.container_cpu,
                memory=shape.requests.memory + self._options.container_memory,
                extended=extended,
            ),
            spread=spread,
            volume_nodes=(),
            blocked="",
            not_modelled=(),
        )
        # A shape's key stands for its content, which here differs by the promise alone.
        promise = steered.redundancy if steered is not None else None
        suffix = f"{promise.across}-{promise.survive}" if promise is not None else ""
        named = msgspec.structs.replace(freed, key=f"{shape.key}:{suffix}")
        self._ties[named.key] = _ties(shape)
        return named

    def notes(self, containers: Iterable[Container]) -> list[str]:
        """What was not looked at, with the number of containers that ask for it."""
        tied = Counter(tie for c in containers for tie in self._ties[c.shape.key])
        if not tied:
            return []
        most = [f"{tie} ({n})" for tie, n in sorted(tied.items(), key=lambda i: (-i[1], i[0]))]
        more = f" and {len(most) - 5} more" if len(most) > 5 else ""
        return [
            "Rules that are taken to be met on every machine, with the containers that have "
            f"them: {', '.join(most[:5])}{more}"
        ]


def _ties(shape: PodShape) -> tuple[str, ...]:
    """What binds a pod to certain machines and is not looked at."""
    ties = {n for n in shape.requests.extended if n not in _PLACED}
    ties.update(shape.not_modelled)
    if shape.volume_nodes or shape.blocked:
        ties.add(_VOLUMES)
    return tuple(sorted({_VOLUMES if _VOLUME in tie.lower() else tie for tie in ties}))


def _with_promise(
    shape: PodShape, steered: ContainerWorkloadSpec
) -> tuple[wire.TopologySpreadConstraint, ...]:
    """The spread that a ContainerWorkload's redundancy asks for, besides the pod's own."""
    key = names.TOPOLOGY_KEYS[steered.redundancy.across]
    own = {k: v for k, v in shape.labels.items() if k not in _OF_ONE_POD}
    if not own or any(constraint.topology_key == key for constraint in shape.spread):
        return shape.spread
    promised = wire.TopologySpreadConstraint(
        max_skew=1,
        topology_key=key,
        when_unsatisfiable="DoNotSchedule",
        label_selector=wire.LabelSelector(match_labels=own),
        min_domains=steered.redundancy.survive + 1,
    )
    return (*shape.spread, promised)


def _untied(shape: PodShape) -> PodShape:
    """A DaemonSet pod's shape without the node that its controller wrote into it."""
    affinity = shape.node_affinity
    if affinity is None:
        return shape
    terms = [
        msgspec.structs.replace(term, match_fields=[])
        for term in affinity.node_selector_terms
        if term.match_expressions
    ]
    freed = msgspec.structs.replace(affinity, node_selector_terms=terms) if terms else None
    return msgspec.structs.replace(shape, key=f"{shape.key}:untied", node_affinity=freed)
