"""How much simulated containers use: the load on order, shared out among ready pods. Pure.

- ``simulator.plimsoll.dev/load: "cpu=6,memory=3Gi"`` on a ContainerWorkload,
  Deployment or StatefulSet is its total demand. Its ready pods share it evenly;
  each container is held to its limit, if it has one, as a kernel would.
- ``simulator.plimsoll.dev/usage: "cpu=100m,memory=64Mi"`` on a pod is its own use.
- Everything else uses a tenth of its requests.

The load falls on one container of a pod: the one that the ContainerWorkload
names, or the first. The others idle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from plimsoll.api.quantity import QuantityError, parse_bytes, parse_milli
from plimsoll.world import wire

LOAD: Final = "simulator.plimsoll.dev/load"
USAGE: Final = "simulator.plimsoll.dev/usage"
_IDLE: Final = 0.1


class Amount(NamedTuple):
    """Millicores and bytes."""

    cpu: int
    memory: int

    def plus(self, other: Amount) -> Amount:
        """The sum of both."""
        return Amount(self.cpu + other.cpu, self.memory + other.memory)


SYSTEM: Final = Amount(50, 200 * 1024**2)
"""What a node's own processes use."""


class Target(NamedTuple):
    """A controller of pods: ``Deployment`` or ``StatefulSet``."""

    namespace: str
    kind: str
    name: str


class Load(NamedTuple):
    """A demand on order: what it falls on, and on which container (empty: the first)."""

    target: Target
    amount: Amount
    container: str
    problem: str = ""
    """Why the order cannot be read; nothing is measured of its pods then."""


class PodUsage(NamedTuple):
    """What one pod uses, by container."""

    pod: wire.Pod
    containers: dict[str, Amount]
    problem: str = ""
    """Why that is not known: no measurement is safer than a wrong one."""


class _TargetRef(wire.Wire, frozen=True, kw_only=True):
    kind: str
    name: str


class _ScaleUp(wire.Wire, frozen=True, kw_only=True):
    container: str = ""


class _WorkloadSpec(wire.Wire, frozen=True, kw_only=True):
    target_ref: _TargetRef | None = None
    scale_up: _ScaleUp = _ScaleUp()


class Workload(wire.Object, frozen=True, kw_only=True):
    """The part of a ContainerWorkload that is read here."""

    spec: _WorkloadSpec = _WorkloadSpec()


def parse_amount(text: str) -> Amount:
    """``cpu=6,memory=3Gi`` as an amount; what is not named is zero.

    Raises:
        ValueError: the text says something else.
    """
    found = {"cpu": 0, "memory": 0}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in found or not equals:
            raise ValueError(f"{text!r} is not an amount: write it as cpu=6,memory=3Gi")
        try:
            found[name] = parse_milli(value) if name == "cpu" else parse_bytes(value)
        except QuantityError as error:
            raise ValueError(f"{text!r}: {name}: {error}") from error
    return Amount(**found)


def loads_on(
    workloads: Iterable[Workload],
    controllers: Mapping[str, Iterable[wire.Controller]],
) -> dict[Target, Load]:
    """Every load on order, by what it falls on. ``controllers`` are by kind.

    A ContainerWorkload's word goes before that of the controller it steers.
    """
    found: dict[Target, Load] = {}
    containers: dict[Target, str] = {}
    for workload in workloads:
        target = _target_of(workload)
        containers[target] = workload.spec.scale_up.container
        if LOAD in workload.metadata.annotations:
            found[target] = _load(workload.metadata, target, containers[target])
    for kind, objects in controllers.items():
        for obj in objects:
            target = Target(obj.metadata.namespace or "", kind, obj.metadata.name)
            if LOAD in obj.metadata.annotations and target not in found:
                found[target] = _load(obj.metadata, target, containers.get(target, ""))
    return found


def target_of_pod(pod: wire.Pod, deployments: Mapping[tuple[str, str], str]) -> Target | None:
    """What controls the pod. ``deployments`` is as ``deployments_of`` makes it."""
    namespace = pod.metadata.namespace or ""
    owner = _controller(pod.metadata)
    if owner is None:
        return None
    if owner.kind == "ReplicaSet":
        deployment = deployments.get((namespace, owner.name))
        return Target(namespace, "Deployment", deployment) if deployment else None
    return Target(namespace, owner.kind, owner.name)


def deployments_of(replicasets: Iterable[wire.Controller]) -> dict[tuple[str, str], str]:
    """Name of the Deployment of each ReplicaSet, by the latter's namespace and name."""
    return {
        (obj.metadata.namespace or "", obj.metadata.name): owner.name
        for obj in replicasets
        if (owner := _controller(obj.metadata)) is not None and owner.kind == "Deployment"
    }


def usage_of_pods(
    pods: Iterable[wire.Pod],
    loads: Mapping[Target, Load],
    deployments: Mapping[tuple[str, str], str],
) -> list[PodUsage]:
    """What each running pod uses."""
    running: list[tuple[wire.Pod, Load | None]] = []
    serving: Counter[Target] = Counter()
    for pod in pods:
        if pod.status.phase != "Running":
            continue
        target = target_of_pod(pod, deployments)
        load = loads.get(target) if target is not None else None
        running.append((pod, load))
        if load is not None and is_serving(pod):
            serving[load.target] += 1
    return [_usage(pod, load, serving) for pod, load in running]


def is_serving(pod: wire.Pod) -> bool:
    """Whether the pod takes its share of the load: it is ready and stays."""
    is_ready = any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)
    return is_ready and pod.metadata.deletion_timestamp is None


def _usage(pod: wire.Pod, load: Load | None, serving: Counter[Target]) -> PodUsage:
    resources = _current_resources(pod)
    used = {name: _idle(resource) for name, resource in resources.items()}
    container = load.container if load is not None and load.container in used else ""
    busy = container or pod.spec.containers[0].name
    if USAGE in pod.metadata.annotations:
        try:
            used[busy] = parse_amount(pod.metadata.annotations[USAGE])
        except ValueError as error:
            name = f"{pod.metadata.namespace}/{pod.metadata.name}"
            return PodUsage(pod, {}, f"Pod {name}: annotation {USAGE}: {error}")
    elif load is not None and load.problem:
        return PodUsage(pod, {}, load.problem)
    elif load is not None and is_serving(pod):
        count = serving[load.target]
        share = Amount(load.amount.cpu // count, load.amount.memory // count)
        used[busy] = _limited(share, resources[busy])
    return PodUsage(pod, used)


def _current_resources(pod: wire.Pod) -> dict[str, wire.Resources]:
    """What each container runs with: after a resize, that is what its status says."""
    applied = {c.name: c.resources for c in pod.status.container_statuses}
    sidecars = [c for c in pod.spec.init_containers if c.restart_policy == "Always"]
    return {c.name: applied.get(c.name) or c.resources for c in (*pod.spec.containers, *sidecars)}


def _idle(resources: wire.Resources) -> Amount:
    return Amount(
        round(parse_milli(resources.requests.get("cpu", 0)) * _IDLE),
        round(parse_bytes(resources.requests.get("memory", 0)) * _IDLE),
    )


def _limited(share: Amount, resources: wire.Resources) -> Amount:
    limits = resources.limits
    return Amount(
        min(share.cpu, parse_milli(limits["cpu"])) if "cpu" in limits else share.cpu,
        min(share.memory, parse_bytes(limits["memory"])) if "memory" in limits else share.memory,
    )


def _load(meta: wire.Meta, target: Target, container: str) -> Load:
    try:
        return Load(target, parse_amount(meta.annotations[LOAD]), container)
    except ValueError as error:
        problem = f"{target.kind} {target.namespace}/{target.name}: load on order: {error}"
        return Load(target, Amount(0, 0), container, problem)


def _target_of(workload: Workload) -> Target:
    namespace, ref = workload.metadata.namespace or "", workload.spec.target_ref
    if ref is None:
        return Target(namespace, "Deployment", workload.metadata.name)
    return Target(namespace, ref.kind, ref.name)


def _controller(meta: wire.Meta) -> wire.OwnerReference | None:
    return next((owner for owner in meta.owner_references if owner.controller), None)


def decode_workload(raw: msgspec.Raw) -> Workload:
    """A ContainerWorkload from its JSON."""
    return msgspec.json.decode(raw, type=Workload)
