"""What a pod takes from a node: effective requests, as kube-scheduler adds them up.

The arithmetic is that of ``k8s.io/component-helpers/resource`` (PodRequests),
after the API server's defaulting of what a manifest leaves out. Amounts are
dicts by resource name: CPU in millicores, everything else in whole units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from plimsoll.api.quantity import parse_bytes, parse_milli
from plimsoll.world.snapshot import Resources
from plimsoll.world.wire import ContainerSpec, ContainerStatus, PodSpec, PodStatus, Quantity

Amounts = dict[str, int]
_RequestsOf = Callable[[ContainerSpec], Amounts]


def amounts(quantities: Mapping[str, Quantity]) -> Amounts:
    """Numbers of a Kubernetes resource list.

    Raises:
        QuantityError: a quantity is ill-formed, negative or larger than 64 bits.
    """
    return {
        name: parse_milli(value) if name == "cpu" else parse_bytes(value)
        for name, value in quantities.items()
    }


def resources(of: Mapping[str, int]) -> Resources:
    """Amounts as the snapshot keeps them; what is zero is left out."""
    return Resources(
        cpu=of.get("cpu", 0),
        memory=of.get("memory", 0),
        extended={
            name: amount
            for name, amount in sorted(of.items())
            if amount and name not in ("cpu", "memory")
        },
    )


def container_requests(container: ContainerSpec) -> Amounts:
    """Requests of one container; where only a limit is given, it is the request."""
    return amounts({**container.resources.limits, **container.resources.requests})


def effective_requests(spec: PodSpec, status: PodStatus | None = None) -> Amounts:
    """Effective requests of a pod.

    ``status`` is given for pods that are bound to a node: while a resize is under
    way, such a pod takes the largest of what is asked for, what the kubelet has
    allocated and what is in force.

    Raises:
        QuantityError: a quantity is ill-formed, negative or larger than 64 bits.
    """
    wanted = _aggregate(spec, container_requests)
    total = wanted if status is None else _in_resize(spec, status, wanted)
    for name, amount in _pod_level(spec, status, wanted).items():
        total[name] = amount
    _add(total, amounts(spec.overhead))
    return total


def _aggregate(spec: PodSpec, requests_of: _RequestsOf) -> Amounts:
    """Containers and sidecars added up, but never less than any init container needs.

    An init container runs beside the sidecars (init containers that are restarted
    always) that were started before it.
    """
    total: Amounts = {}
    for container in spec.containers:
        _add(total, requests_of(container))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.init_containers:
        requests = requests_of(container)
        if container.restart_policy == "Always":
            _add(total, requests)
            _add(sidecars, requests)
            _raise(peak, sidecars)
        else:
            _add(requests, sidecars)
            _raise(peak, requests)
    _raise(total, peak)
    return total


def _in_resize(spec: PodSpec, status: PodStatus, wanted: Amounts) -> Amounts:
    infeasible = resize_infeasible(status) is not None
    if status.allocated_resources and status.resources is not None and status.resources.requests:
        allocated = amounts(status.allocated_resources)
        actual = amounts(status.resources.requests)
    else:
        statuses: dict[str, ContainerStatus] = {}
        for seen in (*status.init_container_statuses, *status.container_statuses):
            statuses[seen.name] = seen

        def allocated_of(container: ContainerSpec) -> Amounts:
            seen = statuses.get(container.name)
            if seen is not None and seen.allocated_resources:
                return amounts(seen.allocated_resources)
            return {} if infeasible else container_requests(container)

        def actual_of(container: ContainerSpec) -> Amounts:
            seen = statuses.get(container.name)
            if seen is not None and seen.resources is not None and seen.resources.requests:
                return amounts(seen.resources.requests)
            return allocated_of(container)

        allocated = _aggregate(spec, allocated_of)
        actual = _aggregate(spec, actual_of)
    return _largest((actual, allocated) if infeasible else (wanted, actual, allocated))


def _pod_level(spec: PodSpec, status: PodStatus | None, wanted: Amounts) -> Amounts:
    """Requests of the pod as a whole (``spec.resources``), which override the sum.

    Where they are given in part, the API server fills in the rest: from the containers,
    else from the pod's limits.
    """
    if spec.resources is None:
        return {}
    requests = {n: a for n, a in amounts(spec.resources.requests).items() if _is_pod_level(n)}
    limits = {n: a for n, a in amounts(spec.resources.limits).items() if _is_pod_level(n)}
    if not spec.resources.requests and not spec.resources.limits:
        return {}
    # Huge pages cannot be overcommitted: their limit is their request.
    huge = {name: amount for name, amount in limits.items() if _is_huge(name)}
    summed = {name: amount for name, amount in wanted.items() if _is_pod_level(name)}
    requests = {**limits, **summed, **huge, **requests}
    if not requests or status is None or status.resources is None:
        return requests
    in_force = (amounts(status.resources.requests), amounts(status.allocated_resources))
    infeasible = resize_infeasible(status) is not None
    largest = _largest(in_force if infeasible else (requests, *in_force))
    return {name: amount for name, amount in largest.items() if _is_pod_level(name)}


def resize_infeasible(status: PodStatus) -> str | None:
    """What the kubelet says of a resize that it can never carry out; None: there is none."""
    for condition in status.conditions:
        if condition.type == "PodResizePending":
            return condition.message if condition.reason == "Infeasible" else None
    return None


def _is_huge(name: str) -> bool:
    return name.startswith("hugepages-")


def _is_pod_level(name: str) -> bool:
    return name in ("cpu", "memory") or _is_huge(name)


def _add(total: Amounts, more: Amounts) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _raise(total: Amounts, floor: Amounts) -> None:
    for name, amount in floor.items():
        if amount > total.get(name, -1):
            total[name] = amount


def _largest(several: Iterable[Amounts]) -> Amounts:
    result: Amounts = {}
    for one in several:
        _raise(result, one)
    return result
