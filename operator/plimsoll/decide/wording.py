"""Sentences for people: sizes, and what a pod lacked on a VM."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from plimsoll.api.quantity import format_bytes, format_milli
from plimsoll.decide.fleet import Bin
from plimsoll.decide.plan import Reason, Size
from plimsoll.world.localvolumes import LOCAL
from plimsoll.world.selectors import untolerated
from plimsoll.world.snapshot import PodShape, Resources
from plimsoll.world.volumes import ATTACHABLE

GIB = 1024**3
MIB = 1024**2


@lru_cache(maxsize=1024)
def memory(number: int) -> str:
    """Bytes for people: exact in whole MiB, else rounded up to them."""
    return format_bytes(-(-number // MIB) * MIB)


def size(value: Size) -> str:
    """``4 CPU, 8Gi``."""
    return f"{format_milli(value.cpu)} CPU, {memory(value.memory)}"


def money(thousandths: int) -> str:
    """Cost in the pool's unit: ``7.5``."""
    return f"{thousandths / 1000:.3f}".rstrip("0").rstrip(".")


def amount(value: Resources) -> str:
    """``250m CPU, 512Mi``."""
    return size(Size(cpu=value.cpu, memory=value.memory))


def lack(reason: Reason, shape: PodShape, target: Bin) -> str:
    """Why a pod does not go onto one VM."""
    match reason:
        case Reason.RESOURCES:
            return _resources(shape, target)
        case Reason.LOAD_LINE:
            return (
                f"would be above its load line of {target.line_percent}% "
                f"({amount(shape.requests)} on top of "
                f"{size(Size(cpu=target.cpu_used, memory=target.memory_used))})"
            )
        case Reason.PODS:
            return f"takes no more than {target.max_pods} pods"
        case Reason.NODE_SELECTOR:
            return "has labels that do not match the pod's node selector or affinity"
        case Reason.TAINTS:
            taint = untolerated(target.taints, shape.tolerations)
            name = f"{taint.key}={taint.value}:{taint.effect}" if taint else "?"
            return f"has the taint {name}, which the pod does not tolerate"
        case Reason.RUNTIME_CLASS:
            return f"its pool does not offer RuntimeClass {shape.runtime_class}"
        case Reason.VOLUME:
            return shape.blocked or "does not reach its volumes (node affinity, allowed topologies)"
        case Reason.NOT_MODELLED:
            return f"is not tried, for this is not modelled: {', '.join(shape.not_modelled)}"
    return _PLAIN[reason]


_PLAIN = {
    Reason.NOT_READY: "is not ready",
    Reason.UNSCHEDULABLE: "takes no new pods (cordoned or leaving)",
    Reason.HOST_PORT: "another pod has the host port",
    Reason.AFFINITY: "runs none of the pods that this one must be near",
    Reason.ANTI_AFFINITY: "runs a pod that must be kept apart from this one",
    Reason.SPREAD: "its topology domain would hold too many of these pods",
}


def _resources(shape: PodShape, target: Bin) -> str:
    short = []
    if shape.requests.cpu and target.cpu_used + shape.requests.cpu > target.allocatable_cpu:
        free = max(0, target.allocatable_cpu - target.cpu_used)
        short.append(f"CPU {format_milli(shape.requests.cpu)} (free {format_milli(free)})")
    if (
        shape.requests.memory
        and target.memory_used + shape.requests.memory > target.allocatable_memory
    ):
        free = max(0, target.allocatable_memory - target.memory_used)
        short.append(f"memory {memory(shape.requests.memory)} (free {memory(free)})")
    for name, wanted in sorted(shape.requests.extended.items()):
        have = target.left(name)
        if wanted > have:
            short.append(f"{_resource(name)} {wanted} (free {max(0, have)})")
    return f"lacks {', '.join(short)}" if short else "lacks resources"


def _resource(name: str) -> str:
    if name.startswith(ATTACHABLE):
        return f"volumes of {name.removeprefix(ATTACHABLE)} to attach"
    return "local volumes" if name.startswith(LOCAL) else name


def tally(reasons: Counter[Reason]) -> str:
    """``3 InsufficientResources, 1 UntoleratedTaint``, most frequent first."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number} {reason}" for reason, number in ordered)
