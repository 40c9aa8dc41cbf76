"""How a step is made: what every step notes, keeps and says after kstatus."""

from __future__ import annotations

from typing import Any

from plimsoll.api.timestamp import rfc3339
from plimsoll.api.vmnode import Phase
from plimsoll.decide.life.existence import Loss
from plimsoll.decide.life.situation import Situation
from plimsoll.decide.life.steps import Action, Fact, Happened, Kind, Nothing, Step

RESIZED = "Resized"
"""Condition: Unknown while a resize is under way; False after one that could not be had."""
DRAINED = "Drained"
"""Condition: False after a drain that was given up."""
LAUNCHED = "Launched"
"""Condition: False after a launch that failed, until one succeeds."""
RESYNC = 60.0
"""Seconds after which even a quiet VMNode is looked at again."""
MESSAGE_MAX = 1024
"""Characters of a message that fit into a status and an Event."""

LOSSES = {
    Loss.RESTARTING: "the hypervisor is restarting the VM; it is waited for",
    Loss.MAY_RUN: "the VM's host cannot be reached and may still run it; nothing is replaced",
    Loss.PAUSED: "the VM is paused, by a person or because a disk is full; it is kept and nothing "
    "is replaced: resume it, or delete its VMNode",
    Loss.OFF: "the VM is confirmed off; the hypervisor has its restart window to bring it back",
    Loss.UNKNOWN: "the hypervisor cannot say what became of the VM; nothing is replaced",
}
_HAS_NODE = (Phase.READY, Phase.RESIZING, Phase.DRAINING)
_SERVING = (Phase.READY, Phase.RESIZING)


def step(
    s: Situation,
    action: Action | None = None,
    *,
    to: Phase | None = None,
    kind: Kind | None = None,
    reason: str = "",
    message: str = "",
    recheck: float | None = RESYNC,
    facts: tuple[Fact, ...] = (),
    drop: tuple[str, ...] = (),
    events: tuple[Happened, ...] = (),
    done: bool = False,
    changes: dict[str, Any] | None = None,
) -> Step:
    """A step of this VMNode, with what was seen of VM and node noted in its status.

    ``to`` is the phase after it (absent: the same), ``changes`` are further
    fields of the status, ``facts`` conditions of our own, ``drop`` those that no
    longer matter.
    """
    phase = to or s.phase
    message = message[:MESSAGE_MAX]
    update: dict[str, Any] = {
        "phase": phase,
        "message": message,
        "observed_generation": s.record.metadata.generation,
    }
    if phase is not s.phase or not s.status.phase_since:
        update["phase_since"] = rfc3339(s.now)
    if s.vm is not None:
        update |= {"host": s.host, "size": s.size_seen}
    if s.matched is not None:
        meta = s.matched.metadata
        update |= {"node_name": meta.name, "node_uid": meta.uid}
    lost = (s.lost and phase in _HAS_NODE) or (s.launch_lost and phase is s.phase)
    update["lost_since"] = (s.status.lost_since or rfc3339(s.now)) if lost else ""
    if lost and not s.status.lost_since:
        events = (*events, Happened("VMLost", LOSSES[s.loss], warning=True))
    if s.status.lost_since and not lost and phase in _HAS_NODE:
        events = (*events, Happened("VMRecovered", f"the VM is back on host {s.host}"))
    return Step(
        action=action or Nothing(),
        status=s.status.model_copy(update=update | (changes or {})),
        facts=(
            *_standing(phase, kind, reason or phase.value, message),
            *facts,
            *_kept(s, {*drop, *(fact.type for fact in facts)}),
        ),
        # A new phase has rows of its own: look again at once.
        recheck_after=0.0 if phase is not s.phase and not done else recheck,
        events=events,
        done=done,
    )


def _standing(phase: Phase, kind: Kind | None, reason: str, message: str) -> tuple[Fact, ...]:
    kind = kind or (Kind.READY if phase in _SERVING else Kind.RECONCILING)
    ready = Fact("Ready", "True" if kind is Kind.READY else "False", reason, message)
    if kind is Kind.STALLED:
        return (ready, Fact("Stalled", "True", reason, message))
    if kind is Kind.RECONCILING or phase is Phase.RESIZING:
        return (ready, Fact("Reconciling", "True", reason, message))
    return (ready,)


def _kept(s: Situation, without: set[str]) -> tuple[Fact, ...]:
    """Conditions of our own that outlast the step in which they arose."""
    return tuple(
        Fact(c.type, c.status, c.reason, c.message)
        for c in s.status.conditions
        if c.type in (RESIZED, DRAINED, LAUNCHED) and c.type not in without
    )


def wait(s: Situation, message: str, reason: str = "", recheck: float | None = None) -> Step:
    """Nothing to do but look again."""
    after = pace(s) if recheck is None else recheck
    return step(s, message=message, reason=reason, recheck=after)


def pace(s: Situation) -> float:
    """Seconds to the next look at something that nobody reports: fast first, then slower."""
    return min(10.0, max(1.0, s.since(s.status.phase_since) / 4))
