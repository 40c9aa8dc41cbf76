"""Steps of a VM that leaves: drained, powered off, proven gone."""

from __future__ import annotations

from plimsoll.api.vmnode import Identity, Phase
from plimsoll.decide.life.making import DRAINED, RESIZED, pace, step, wait
from plimsoll.decide.life.situation import Situation
from plimsoll.decide.life.steps import (
    Cordon,
    DeleteNode,
    DeletePods,
    DeleteRecord,
    DeleteToken,
    DeleteVm,
    Evict,
    Fact,
    Happened,
    Kind,
    Step,
    TakeBackRetirement,
)

_NAMED = 5
"""Pods that a message names; the rest is counted."""


def drain(s: Situation) -> Step:
    """Begin to drain."""
    retire = s.record.spec.retire
    why = retire.reason if retire and not s.deleting else "the VMNode is being deleted"
    event = Happened("DrainStarted", why)
    return step(s, to=Phase.DRAINING, message=f"draining: {why}", drop=(DRAINED,), events=(event,))


def cordon(s: Situation) -> Step:
    """Let no more pods onto the node."""
    assert s.matched is not None
    return step(s, Cordon(uid=s.matched.metadata.uid), message=s.status.message, recheck=0.0)


def evict(s: Situation) -> Step:
    """Ask for the eviction of every pod that may be moved."""
    message = f"draining: {_left(s)}"
    return step(s, Evict(pods=s.pods.evictable), message=message, recheck=pace(s))


def await_pods(s: Situation) -> Step:
    """Wait for pods to terminate, or for what holds them to be lifted."""
    events = tuple(
        Happened("DrainBlocked", f"{pod} is not evicted: {why}", warning=True)
        for pod, why in s.pods.blocked[:_NAMED]
    )
    return step(s, message=f"draining: {_left(s)}", recheck=pace(s), events=events)


def keep(s: Situation) -> Step:
    """Give the drain up and keep the VM."""
    took = f"{s.disruption.drain_timeout:g} s"
    message = f"the drain was given up after {took} and the VM is kept; left were {_left(s)}"
    return step(
        s,
        TakeBackRetirement(),
        message=message,
        recheck=0.0,
        facts=(Fact(DRAINED, "False", "DrainTimedOut", message),),
        events=(Happened("DrainTimedOut", message, warning=True),),
    )


def undrained(s: Situation) -> Step:
    """The retirement was taken back: serve again."""
    return step(s, to=Phase.READY, reason="NodeReady")


def force(s: Situation) -> Step:
    """Delete what is left on the node, past budgets and annotations."""
    why = "the VMNode is being deleted" if s.deleting else "the pool says onDrainTimeout: Force"
    message = f"the drain took over {s.disruption.drain_timeout:g} s and is forced, because {why}"
    pods = (*s.pods.evictable, *(pod for pod, _ in s.pods.blocked))
    event = Happened("DrainForced", f"{message}: {_left(s)}", warning=True)
    return step(s, DeletePods(pods=pods), message=message, recheck=pace(s), events=(event,))


def _left(s: Situation) -> str:
    """What a drain still waits for."""
    parts = [f"{pod} ({why})" for pod, why in s.pods.blocked]
    parts += [f"{pod} (terminating)" for pod in s.pods.terminating]
    parts += [str(pod) for pod in s.pods.evictable]
    more = f" and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
    return "pods " + ", ".join(parts[:_NAMED]) + more


def delete_record(s: Situation) -> Step:
    """Delete the VMNode object; its finalizer keeps it until all is gone."""
    retire = s.record.spec.retire
    message = retire.reason if retire else s.status.message
    return step(s, DeleteRecord(), kind=Kind.RECONCILING, message=message, recheck=0.0)


def delete(s: Situation) -> Step:
    """Nothing is to be saved from the VM any more."""
    return step(s, to=Phase.DELETING, message="deleting the VM", drop=(RESIZED, DRAINED))


def identify(s: Situation) -> Step:
    """Record the identity, so that its node is known when the VM is gone."""
    assert s.vm is not None
    identity = Identity(uuid=s.vm.uuid, provider_id=s.vm.provider_id)
    return step(s, message="deleting the VM", recheck=0.0, changes={"identity": identity})


def delete_token(s: Situation) -> Step:
    """First of all let nobody join with what the VM was given."""
    return step(
        s,
        DeleteToken(),
        message="deleting the VM",
        recheck=0.0,
        changes={"bootstrap_token": ""},
    )


def delete_vm(s: Situation) -> Step:
    """Have the hypervisor delete the VM, by identity."""
    assert s.vm is not None
    return step(s, DeleteVm(uuid=s.vm.uuid), message="deleting the VM", recheck=1.0)


def await_deletion(s: Situation) -> Step:
    """Wait for the hypervisor."""
    return wait(s, "the hypervisor deletes the VM")


def delete_node(s: Situation) -> Step:
    """Delete the node of the VM that is gone."""
    assert s.matched is not None
    action = DeleteNode(uid=s.matched.metadata.uid)
    return step(s, action, message="the VM is gone; deleting its node", recheck=0.0)


def done(s: Situation) -> Step:
    """Nothing is left: let the VMNode go."""
    message = "the VM is proven gone and its node deleted"
    return step(s, message=message, events=(Happened("VMDeleted", message),), done=True)
