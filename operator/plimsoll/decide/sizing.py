"""How many replicas of which size a workload needs.

With ``n`` replicas spread evenly over ``d`` domains, losing ``s`` domains takes
``s * ceil(n / d)`` of them; what remains must carry the demand:

    (n - s * ceil(n / d)) * size >= demand / target utilisation

Redundancy sets the floor of ``n`` (out for redundancy). A replica grows first
(up for adding containers cheaply); when it is at its maximum, replicas multiply
(out for throughput).
"""

from __future__ import annotations

from plimsoll.api.containerworkload import ContainerWorkloadSpec
from plimsoll.decide.plan import Size
from plimsoll.world.snapshot import Frozen

CPU_STEP = 50
"""Millicores to which replica sizes are rounded up, so that noise resizes nothing."""
MEMORY_STEP = 32 * 1024**2
"""Bytes to which replica sizes are rounded up."""


class Need(Frozen, frozen=True, kw_only=True):
    """Requests that all replicas together must offer: millicores and bytes."""

    cpu: int
    memory: int


class Shape(Frozen, frozen=True, kw_only=True):
    """Replicas and the size of each (of the steered container)."""

    replicas: int
    size: Size
    enough: bool
    """False: even the most and largest replicas do not carry the need."""


def need_of(spec: ContainerWorkloadSpec, cpu: int, memory: int) -> Need:
    """Requests that keep so much measured use at the target utilisation."""
    target = spec.target_utilization
    return Need(
        cpu=-(-cpu * 100 // target.cpu_percent),
        memory=-(-memory * 100 // target.memory_percent),
    )


def less(need: Need, given: Size) -> Need:
    """What is needed besides so much."""
    return Need(cpu=max(0, need.cpu - given.cpu), memory=max(0, need.memory - given.memory))


def larger(one: Size, other: Size) -> Size:
    """The larger of two sizes, in CPU and in memory."""
    return Size(cpu=max(one.cpu, other.cpu), memory=max(one.memory, other.memory))


def survivors(replicas: int, survive: int, domains: int | None) -> int:
    """Replicas left after losing the ``survive`` fullest of ``domains`` (None: unbounded)."""
    if survive == 0:
        return replicas
    if domains is None:
        return max(0, replicas - survive)
    if domains <= 0:
        return 0
    full, rest = divmod(replicas, domains)
    # `rest` domains hold one more than the others.
    return max(0, replicas - survive * full - min(survive, rest))


def share(replicas: int, domains: int) -> int:
    """Replicas that the fullest of so many domains holds of an even spread."""
    return -(-replicas // max(1, domains))


def floor(spec: ContainerWorkloadSpec) -> int:
    """Fewest replicas: the range's lower end, and one more than may be lost."""
    wanted = max(spec.scale_out.min, spec.redundancy.survive + 1 if spec.redundancy.survive else 0)
    return min(wanted, spec.scale_out.max)


def _round_up(value: int, step: int, low: int, high: int) -> int:
    return min(high, max(low, -(-value // step) * step))


def size_for(spec: ContainerWorkloadSpec, need: Need, carriers: int, fixed: Size) -> Size:
    """Size of a replica when so many carry the need, within the scale-up range."""
    if spec.scale_up is None:
        return fixed
    carriers = max(1, carriers)
    cpu, memory = spec.scale_up.cpu, spec.scale_up.memory
    return Size(
        cpu=_round_up(-(-need.cpu // carriers), CPU_STEP, cpu.min, cpu.max),
        memory=_round_up(-(-need.memory // carriers), MEMORY_STEP, memory.min, memory.max),
    )


def shape_for(spec: ContainerWorkloadSpec, need: Need, domains: int | None, fixed: Size) -> Shape:
    """Fewest replicas, from the floor up, of which the survivors carry the need.

    ``domains`` is how many failure domains there are (None: unbounded), ``fixed``
    the size of a replica where none may be resized.
    """
    if spec.scale_up is not None:
        largest = Size(cpu=spec.scale_up.cpu.max, memory=spec.scale_up.memory.max)
    else:
        largest = fixed
    low = spec.replicas if spec.replicas is not None else floor(spec)
    high = spec.replicas if spec.replicas is not None else spec.scale_out.max
    survive = spec.redundancy.survive
    for replicas in range(low, high + 1):
        carriers = survivors(replicas, survive, domains)
        if carriers * largest.cpu >= need.cpu and carriers * largest.memory >= need.memory:
            size = size_for(spec, need, carriers, fixed)
            return Shape(replicas=replicas, size=size, enough=True)
    # More replicas than domains can keep apart do not survive better: a promise that
    # cannot be kept must not run the count up to its maximum.
    hopeless = domains is not None and domains <= survive
    replicas = low if hopeless else high
    carriers = replicas if hopeless else survivors(replicas, survive, domains)
    return Shape(replicas=replicas, size=size_for(spec, need, carriers, fixed), enough=False)
