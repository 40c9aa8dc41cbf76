"""Steps of a VM that is a node: kept as it should be, resized, lost and found."""

from __future__ import annotations

from typing import Any

from plimsoll.api.quantity import format_bytes
from plimsoll.api.timestamp import rfc3339
from plimsoll.api.vmnode import Phase, Size
from plimsoll.decide.life.existence import Loss
from plimsoll.decide.life.making import LOSSES, RESIZED, RESYNC, step, wait
from plimsoll.decide.life.node import followed
from plimsoll.decide.life.situation import STARTS_MAX, Situation
from plimsoll.decide.life.steps import (
    Action,
    AdoptNode,
    ClearOutOfService,
    Fact,
    Happened,
    Kind,
    MarkOutOfService,
    ResizeVm,
    SealVm,
    SetBerths,
    StartVm,
    Step,
    TakeBackSize,
    TakeTemplate,
    Uncordon,
)


def adopt(s: Situation) -> Step:
    """Put labels, annotations and taints on the node that it misses."""
    assert s.matched is not None
    assert s.node_change is not None
    return _on_node(s, AdoptNode(uid=s.matched.metadata.uid, change=s.node_change))


def follow(s: Situation) -> Step:
    """Change in place what the pool's template says otherwise now."""
    assert s.matched is not None
    new = s.template_in_place
    change = followed(s.matched, s.record.spec.template, new)
    return _on_node(s, TakeTemplate(template=new, uid=s.matched.metadata.uid, change=change))


def berths(s: Situation) -> Step:
    """Advertise the wanted berths."""
    assert s.matched is not None
    return _on_node(s, SetBerths(uid=s.matched.metadata.uid, berths=s.berths_wanted))


def uncordon(s: Situation) -> Step:
    """Take our own cordon back."""
    assert s.matched is not None
    return _on_node(s, Uncordon(uid=s.matched.metadata.uid))


def seal(s: Situation) -> Step:
    """The VM has become a node: nobody is to join with what it was given."""
    assert s.vm is not None
    return _serve(s, SealVm(uuid=s.vm.uuid), 0.0, changes={"bootstrap_token": ""})


def unsealed(s: Situation, message: str, *, again: bool) -> Step:
    """The token is deleted, but the hypervisor did not wipe the rest; the VM serves on."""
    if again:
        return _serve(s, None, RESYNC)
    event = Happened("SealFailed", message, warning=True)
    return _serve(s, None, RESYNC, (event,), {"bootstrap_token": ""})


def _on_node(s: Situation, action: Action) -> Step:
    """An action on the node that changes nothing about where the VM is in its life."""
    if s.phase in (Phase.READY, Phase.RESIZING):
        return _serve(s, action, 0.0)
    return step(s, action, message=s.status.message, recheck=0.0)


def serve(s: Situation) -> Step:
    """All is well, as far as it is the life cycle's business."""
    return _serve(s, None, RESYNC)


def _serve(
    s: Situation,
    action: Action | None,
    recheck: float,
    events: tuple[Happened, ...] = (),
    changes: dict[str, Any] | None = None,
) -> Step:
    kind, reason, message = None, "NodeReady", ""
    if s.phase is Phase.RESIZING:
        reason, message = "", s.status.message
    elif not s.node_ready:
        kind, reason = Kind.RECONCILING, "NodeNotReady"
        message = "the VM runs, but its kubelet does not report the node as Ready"
        if not any(c.type == "Ready" and c.reason == reason for c in s.status.conditions):
            events = (*events, Happened("NodeNotReady", message, warning=True))
    return step(
        s,
        action,
        kind=kind,
        reason=reason,
        message=message,
        recheck=recheck,
        events=events,
        changes=changes,
    )


def rejoin(s: Situation) -> Step:
    """The node object is gone: as if the VM had just started."""
    message = "its node object is gone; waiting for the kubelet to register again"
    changes = {"attempt_since": rfc3339(s.now)}
    return step(s, to=Phase.JOINING, message=message, changes=changes)


# A VM that failed, or whose host did


def hold(s: Situation) -> Step:
    """Wait for the hypervisor to restart the VM, or for news of it."""
    left = RESYNC
    if s.may_start:
        left = s.start_wait
    elif s.loss is Loss.OFF and s.status.lost_since:
        left = s.hypervisor.restart_window - s.since(s.status.lost_since)
    return step(
        s,
        kind=Kind.RECONCILING,
        reason=s.loss.value,
        message=LOSSES[s.loss],
        recheck=min(RESYNC, max(1.0, left)),
    )


def start(s: Situation) -> Step:
    """Power the VM on again."""
    assert s.vm is not None
    number = s.recent_starts + 1
    message = f"the VM was off while its host is up; it is started again ({number}/{STARTS_MAX})"
    return step(
        s,
        StartVm(uuid=s.vm.uuid),
        kind=Kind.RECONCILING,
        reason="Starting",
        message=message,
        recheck=1.0,
        events=(Happened("VMStarted", message, warning=True),),
        changes={"starts": number, "started_at": rfc3339(s.now)},
    )


def start_failed(s: Situation, reason: str, message: str) -> Step:
    """The hypervisor cannot start it: that counts, so that it is given up in the end."""
    return step(
        s,
        kind=Kind.RECONCILING,
        reason=reason,
        message=message,
        recheck=1.0,
        events=(Happened("VMFailed", message, warning=True),),
        changes={"starts": s.recent_starts + 1, "started_at": rfc3339(s.now)},
    )


def mark_out_of_service(s: Situation) -> Step:
    """Have the node's pods and volumes let go."""
    assert s.matched is not None
    message = "the VM is confirmed off and was not restarted in time; it is given up"
    return step(
        s,
        MarkOutOfService(uid=s.matched.metadata.uid),
        kind=Kind.RECONCILING,
        reason=Loss.OFF.value,
        message=message,
        recheck=0.0,
        events=(Happened("VMFailed", message, warning=True),),
    )


def await_release(s: Situation) -> Step:
    """Wait for Kubernetes to let go of the pods: without the node it would wait longer."""
    message = "the VM is given up; waiting for its pods and volumes to be let go"
    return step(s, kind=Kind.RECONCILING, reason=Loss.OFF.value, message=message, recheck=1.0)


def clear_out_of_service(s: Situation) -> Step:
    """The VM came back after all."""
    assert s.matched is not None
    return step(
        s,
        ClearOutOfService(uid=s.matched.metadata.uid),
        kind=Kind.RECONCILING,
        reason="Recovering",
        message="the VM is back after it was given up",
        recheck=0.0,
    )


# Resizing


def size_text(size: Size) -> str:
    """``4 CPUs and 8Gi``."""
    return f"{size.cpu} CPUs and {format_bytes(size.memory)}"


def begin_resize(s: Situation) -> Step:
    """Record that the hypervisor is going to be asked."""
    message = f"resizing to {size_text(s.record.spec.size)}"
    return step(s, to=Phase.RESIZING, message=message, drop=(RESIZED,))


def asked(s: Situation) -> bool:
    """Whether the hypervisor has taken the request for the size wanted now."""
    text = size_text(s.record.spec.size)
    return any(
        c.type == RESIZED and c.status == "Unknown" and c.message == text
        for c in s.status.conditions
    )


def ask_resize(s: Situation) -> Step:
    """Ask the hypervisor for the size."""
    assert s.vm is not None
    size = s.record.spec.size
    return step(
        s,
        ResizeVm(uuid=s.vm.uuid, cpu=size.cpu, memory=size.memory),
        message=f"resizing to {size_text(size)}",
        recheck=1.0,
        facts=(Fact(RESIZED, "Unknown", "InProgress", size_text(size)),),
    )


def await_resize(s: Situation) -> Step:
    """Wait until VM and kubelet show the size."""
    return wait(s, f"resizing to {size_text(s.record.spec.size)}")


def resized(s: Situation) -> Step:
    """The VM and its node have the size."""
    event = Happened("VMResized", f"the node has {size_text(s.record.spec.size)}")
    return step(s, to=Phase.READY, reason="NodeReady", drop=(RESIZED,), events=(event,))


def refuse_size(s: Situation) -> Step:
    """The hypervisor cannot do that to a running VM."""
    return give_up_size(s, "NotSupported", s.resize_refusal)


def resize_overdue(s: Situation) -> Step:
    """The size did not come in time."""
    who = "hypervisor" if s.size_differs else "node"
    return give_up_size(s, "TimedOut", f"the {who} did not show it in {s.launch_timeout:g} s")


def give_up_size(s: Situation, reason: str, why: str) -> Step:
    """Back to Ready at the size that is there, so that nothing is planned on the other."""
    seen, wanted = s.size_seen or s.record.spec.size, s.record.spec.size
    message = f"stays at {size_text(seen)}, wanted {size_text(wanted)}: {why}"
    back = TakeBackSize(cpu=seen.cpu, memory=seen.memory) if seen != wanted else None
    return step(
        s,
        back,
        to=Phase.READY,
        reason="NodeReady",
        recheck=0.0,
        facts=(Fact(RESIZED, "False", reason, message),),
        events=(Happened("ResizeRefused", message, warning=True),),
    )
