"""Steps from the wish for a VM to its Ready node."""

from __future__ import annotations

from typing import Any, Final

from plimsoll.api.timestamp import rfc3339
from plimsoll.api.vmnode import Identity, Phase
from plimsoll.decide.life.console import tail
from plimsoll.decide.life.existence import Unknown
from plimsoll.decide.life.making import LAUNCHED, pace, step, wait
from plimsoll.decide.life.situation import Situation
from plimsoll.decide.life.steps import (
    DeleteRecord,
    EnsureVm,
    Fact,
    Happened,
    Kind,
    ReadConsole,
    Step,
    TakeTemplate,
)
from plimsoll.world.vms import PowerState

_PAUSED: Final = "the VM is paused, by a person or because a disk is full: resume it"


def stranger(s: Situation) -> Step:
    """A node of our name is another machine: report it, and leave it alone."""
    found = s.node.status.node_info.system_uuid if s.node else ""
    ours = s.status.identity.uuid if s.status.identity else "none, as no VM was made yet"
    message = (
        f"node {s.record.metadata.name} is another machine: its systemUUID is {found!r}, "
        f"expected {ours}; remove that node, or delete this VMNode"
    )
    return step(
        s,
        kind=Kind.STALLED,
        reason="NodeIdentityMismatch",
        message=message,
        events=(Happened("IdentityMismatch", message, warning=True),),
    )


def foreign(s: Situation) -> Step:
    """The VM carries somebody else's mark: report it, and leave it alone."""
    assert s.foreign is not None
    vm = s.foreign
    message = (
        f"VM {vm.uuid} is marked for VMNode UID {vm.owner_uid!r} of cluster {vm.cluster!r}, "
        "which is not this one; restore its mark, or remove it by hand"
    )
    return step(
        s,
        kind=Kind.STALLED,
        reason="ForeignVM",
        message=message,
        events=(Happened("IdentityMismatch", message, warning=True),),
    )


def unknown(s: Situation) -> Step:
    """Nobody can say whether the VM exists: wait."""
    answer = s.existence if isinstance(s.existence, Unknown) else Unknown(message="not asked")
    return wait(s, f"waiting, nothing is known of the VM: {answer.message}", answer.reason)


def no_hypervisor(s: Situation) -> Step:
    """Wait for the Hypervisor to be created."""
    message = f"there is no Hypervisor {s.record.spec.hypervisor!r}: create it"
    return step(s, kind=Kind.STALLED, reason="HypervisorNotFound", message=message)


def back_off(s: Situation) -> Step:
    """Wait after a failed launch; what failed stays in the conditions."""
    stalled = next((c for c in s.status.conditions if c.type == "Stalled"), None)
    if stalled is not None:
        return step(
            s,
            kind=Kind.STALLED,
            reason=stalled.reason,
            message=stalled.message,
            recheck=s.backoff_left,
        )
    return wait(s, _so_far(s), "LaunchBackoff", s.backoff_left)


def _so_far(s: Situation) -> str:
    """How many launches failed, and why the last one did."""
    last = next((c.message for c in s.status.conditions if c.type == LAUNCHED), "")
    message = f"{s.status.failures} launches failed; waiting before the next"
    return f"{message}; the last: {last}" if last else message


def give_up(s: Situation) -> Step:
    """Let another VM be launched on another host: of this one nothing is left."""
    message = (
        f"{s.status.failures} launches failed on host {s.record.spec.host}: another VM is "
        "launched instead, where there is a better host"
    )
    event = Happened("LaunchGivenUp", message, warning=True)
    return step(
        s, DeleteRecord(), kind=Kind.RECONCILING, message=message, recheck=0.0, events=(event,)
    )


def begin(s: Situation) -> Step:
    """Record that the hypervisor is going to be asked."""
    # After a failure the attempt counts from there: its back-off is part of it.
    since = s.status.attempt_since if s.status.failures else rfc3339(s.now)
    changes = {"attempt_since": since}
    return step(s, to=Phase.CREATING, message="creating the VM", changes=changes)


def take_template(s: Situation) -> Step:
    """Nothing was made yet: follow the pool, and forget what failed with what it said before."""
    return step(
        s,
        TakeTemplate(template=s.template),
        message="its pool's template has changed",
        recheck=0.0,
        changes={"failures": 0, "attempt_since": rfc3339(s.now)},
    )


def create(s: Situation) -> Step:
    """Ask the hypervisor for the VM."""
    return step(s, EnsureVm(), message="creating the VM", recheck=pace(s))


def identify(s: Situation) -> Step:
    """Record the identity, before anything relies on it."""
    assert s.vm is not None
    identity = Identity(uuid=s.vm.uuid, provider_id=s.vm.provider_id)
    event = Happened("VMCreated", f"VM {s.vm.uuid} on host {s.vm.host or 'unknown'}")
    return step(
        s,
        to=Phase.BOOTING,
        message="the VM boots",
        events=(event,),
        changes={"identity": identity},
    )


def boots(s: Situation) -> Step:
    """Wait for the VM to run."""
    return wait(s, _PAUSED if s.power is PowerState.PAUSED else "the VM boots")


def runs(s: Situation) -> Step:
    """The VM runs."""
    return step(s, to=Phase.JOINING, message="waiting for the node to join")


def joins(s: Situation) -> Step:
    """Wait for the kubelet to register and report Ready."""
    return wait(s, _PAUSED if s.power is PowerState.PAUSED else "waiting for the node to join")


def joined(s: Situation) -> Step:
    """The node is Ready: the launch succeeded."""
    event = Happened("VMReady", f"node {s.record.metadata.name} is Ready")
    return step(
        s,
        to=Phase.READY,
        reason="NodeReady",
        drop=(LAUNCHED,),
        events=(event,),
        changes={"failures": 0, "attempt_since": ""},
    )


def read_console(s: Situation) -> Step:
    """Before the VM is deleted, ask what it said."""
    assert s.vm is not None
    return step(s, ReadConsole(uuid=s.vm.uuid), message=s.status.message, recheck=0.0)


def launch_failed(s: Situation) -> Step:
    """Count the failure and delete the VM, so that it can be created anew."""
    vanished = s.gone and s.phase is not Phase.CREATING
    what = "vanished before it became a node" if vanished else s.launch_overdue
    message = f"the VM {what} (phase {s.phase}); it is deleted and created anew"
    said = tail(s.console or "")
    if said:
        message = f"{message}; its console ended with: {said}"
    return step(
        s,
        to=Phase.DELETING,
        reason="LaunchFailed",
        message=message,
        facts=(Fact(LAUNCHED, "False", "LaunchFailed", message),),
        events=(Happened("VMFailed", message, warning=True),),
        changes={"failures": s.status.failures + 1, "attempt_since": rfc3339(s.now)},
    )


def again(s: Situation) -> Step:
    """Nothing is left of the failed launch: forget its VM, and begin anew."""
    gone: dict[str, Any] = {"identity": None, "host": "", "size": None, "node_name": ""}
    gone |= {"node_uid": "", "starts": 0, "started_at": ""}
    return step(s, to=Phase.REQUESTED, reason="LaunchBackoff", message=_so_far(s), changes=gone)
