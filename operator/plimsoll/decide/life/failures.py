"""What follows from an action that a hypervisor refused."""

from __future__ import annotations

from typing import Any

from plimsoll.api.timestamp import rfc3339
from plimsoll.decide.life.making import step
from plimsoll.decide.life.serve import give_up_size, start_failed, unsealed
from plimsoll.decide.life.situation import Situation
from plimsoll.decide.life.steps import EnsureVm, Happened, Kind, ResizeVm, SealVm, StartVm, Step

TRANSIENT = frozenset({"Retryable", "RateLimited"})
"""Errors after which nothing is known; the same is simply tried again."""


def failed(s: Situation, tried: Step, error: str, message: str) -> Step:
    """The step after ``tried.action`` failed with this error of the provider contract.

    ``error`` is the error's name. A refused creation is tried again after a
    back-off that grows with each failure; a refused size is taken back, so that
    nothing is planned on it; a refused start counts as one; what is left of a
    bootstrap keeps no node from serving; anything else waits for a person.
    """
    if isinstance(tried.action, SealVm):
        return unsealed(s, message, again=error in TRANSIENT)
    if error in TRANSIENT:
        reason = "RateLimited" if error == "RateLimited" else "HypervisorUnreachable"
        return step(s, kind=Kind.RECONCILING, reason=reason, message=message, recheck=None)
    if isinstance(tried.action, ResizeVm):
        return give_up_size(s, error, message)
    if isinstance(tried.action, StartVm):
        return start_failed(s, error, message)
    changes: dict[str, Any] = {}
    if isinstance(tried.action, EnsureVm):
        changes = {"failures": s.status.failures + 1, "attempt_since": rfc3339(s.now)}
    return step(
        s,
        kind=Kind.STALLED,
        reason=error,
        message=message,
        recheck=1.0,
        events=(Happened("VMFailed", message, warning=True),),
        changes=changes,
    )
