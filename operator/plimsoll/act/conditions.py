"""Conditions after the Kubernetes conventions and kstatus. Pure.

``Ready`` is always there and is written ``Unknown`` or ``False`` before it is
``True``; ``Reconciling`` and ``Stalled`` are present only while they are true,
which is how kstatus (``kubectl wait``, Flux, Argo CD) tells progress from
failure. ``lastTransitionTime`` moves only when the status does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from plimsoll.api.common import Condition
from plimsoll.api.timestamp import rfc3339

READY: Final = "Ready"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"
REDUNDANT: Final = "Redundant"

_ORDER: Final = (READY, RECONCILING, STALLED, REDUNDANT)
_MESSAGE_MAX: Final = 4096


class Fact(NamedTuple):
    """A condition as it is now, without its history."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""


def merge(
    old: Iterable[Condition], facts: Iterable[Fact], generation: int, now: float
) -> tuple[Condition, ...]:
    """The conditions that hold now; those not among ``facts`` are gone.

    ``now`` is in seconds since the epoch; it becomes the transition time of
    each condition whose status is not what it was.
    """
    before = {condition.type: condition for condition in old}
    merged = []
    for fact in facts:
        known = before.get(fact.type)
        since = (
            known.last_transition_time
            if known is not None and known.status == fact.status
            else rfc3339(now)
        )
        merged.append(
            Condition(
                type=fact.type,
                status=fact.status,
                reason=fact.reason,
                message=fact.message[:_MESSAGE_MAX],
                observed_generation=generation,
                last_transition_time=since,
            )
        )
    return tuple(sorted(merged, key=_rank))


def ready(reason: str, message: str = "") -> list[Fact]:
    """All is as it is wanted."""
    return [Fact(READY, "True", reason, message)]


def reconciling(reason: str, message: str) -> list[Fact]:
    """Not there yet, and under way."""
    return [Fact(READY, "False", reason, message), Fact(RECONCILING, "True", reason, message)]


def stalled(reason: str, message: str) -> list[Fact]:
    """Not there, and nothing will change until somebody acts."""
    return [Fact(READY, "False", reason, message), Fact(STALLED, "True", reason, message)]


def _rank(condition: Condition) -> tuple[int, str]:
    known = condition.type in _ORDER
    return (_ORDER.index(condition.type) if known else len(_ORDER), condition.type)
