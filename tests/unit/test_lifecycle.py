"""Every row of the transition table, and what follows from a refused action."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from plimsoll.api import VMNode
from plimsoll.api import labels as names
from plimsoll.api.hypervisor import Capabilities
from plimsoll.api.timestamp import rfc3339
from plimsoll.api.vmnode import Phase
from plimsoll.api.vmpool import Template, VMPoolSpec
from plimsoll.decide.life.console import LENGTH, tail
from plimsoll.decide.life.existence import Existence, Exists, Gone, Unknown
from plimsoll.decide.life.failures import failed
from plimsoll.decide.life.node import NodeChange, followed
from plimsoll.decide.life.pods import PodRef, PodsOnNode, pods_on_node
from plimsoll.decide.life.situation import HypervisorFacts, Situation
from plimsoll.decide.life.steps import (
    AdoptNode,
    ClearOutOfService,
    Cordon,
    DeleteNode,
    DeletePods,
    DeleteRecord,
    DeleteToken,
    DeleteVm,
    EnsureVm,
    Evict,
    MarkOutOfService,
    Nothing,
    ReadConsole,
    ResizeVm,
    SealVm,
    SetBerths,
    StartVm,
    Step,
    TakeBackRetirement,
    TakeBackSize,
    TakeTemplate,
    Uncordon,
)
from plimsoll.decide.lifecycle import TABLE, next_step, rule_for
from plimsoll.events import EventReason
from plimsoll.world import wire
from plimsoll.world.vms import PowerState, VmInfo

NOW = 1_800_000_000.0
GIB = 1024**3
UID, UUID, CLUSTER = "uid-a-1", "4f1c0a2e-0000-4000-8000-00000000000a", "cluster-1"
A = PodRef(namespace="d", name="a", uid="pod-a")
B = PodRef(namespace="d", name="b", uid="pod-b")
OUT = wire.Taint(key=names.OUT_OF_SERVICE, value="plimsoll", effect="NoExecute")


def record(
    phase: Phase,
    *,
    age: float = 1.0,
    identity: bool | None = None,
    retire: bool = False,
    deleting: bool = False,
    cpu: int = 2,
    berths: int = 20,
    on: str = "",
    most: int | None = None,
    conditions: tuple[dict[str, str], ...] = (),
    **status: Any,
) -> VMNode:
    has_identity = phase not in (Phase.REQUESTED, Phase.CREATING) if identity is None else identity
    return VMNode.model_validate(
        {
            "apiVersion": "plimsoll.dev/v1alpha1",
            "kind": "VMNode",
            "metadata": {
                "name": "a-1",
                "uid": UID,
                "resourceVersion": "5",
                "generation": 3,
                "finalizers": [names.VM_FINALIZER],
                **({"deletionTimestamp": rfc3339(NOW)} if deleting else {}),
            },
            "spec": {
                "pool": "a",
                "hypervisor": "rack",
                "host": on,
                "size": {"cpu": cpu, "memory": "4Gi"},
                **({"maxSize": {"cpu": most, "memory": "4Gi"}} if most else {}),
                "berths": berths,
                "template": {"labels": {"tier": "web"}},
                **({"retire": {"reason": "empty", "since": rfc3339(NOW)}} if retire else {}),
            },
            "status": {
                "phase": phase,
                "phaseSince": rfc3339(NOW - age),
                "host": "h1" if has_identity else "",
                **({"identity": {"uuid": UUID, "providerID": "sim://x"}} if has_identity else {}),
                "conditions": [
                    {"status": "True", "lastTransitionTime": rfc3339(NOW), **c} for c in conditions
                ],
                **status,
            },
        }
    )


def vm(power: PowerState = PowerState.RUNNING, **fields: Any) -> Exists:
    values: dict[str, Any] = {
        "uuid": UUID,
        "name": "a-1",
        "owner_uid": UID,
        "cluster": CLUSTER,
        "host": "h1",
        "power": power,
        "cpu": 2,
        "memory": 4 * GIB,
        "provider_id": "sim://x",
        "created": NOW - 100,
    }
    return Exists(vm=VmInfo(**values | fields))


def node(
    *,
    uuid: str = UUID,
    ready: bool = True,
    labels: dict[str, str] | None = None,
    berths: str | None = "20",
    cordoned: bool = False,
    by_us: bool = True,
    taints: tuple[wire.Taint, ...] = (),
    cpu: str = "2",
    memory: str = "4000Mi",
) -> wire.Node:
    carried = {names.POOL: "a", names.HYPERVISOR: "rack", names.HOST: "h1", "tier": "web"}
    carried[names.ZONE] = "z1"
    extended = {names.BERTHS: berths} if berths is not None else {}
    return wire.Node(
        metadata=wire.Meta(
            name="a-1",
            uid="node-1",
            resource_version="9",
            labels=carried if labels is None else labels,
            annotations={names.CORDONED: "true"} if cordoned and by_us else {},
        ),
        spec=wire.NodeSpec(provider_id="sim://x", unschedulable=cordoned, taints=list(taints)),
        status=wire.NodeStatus(
            capacity={"cpu": cpu, "memory": memory, **extended},
            allocatable=dict(extended),
            conditions=[wire.Condition(type="Ready", status="True" if ready else "Unknown")],
            node_info=wire.NodeInfo(system_uuid=uuid),
        ),
    )


def situation(
    vmnode: VMNode,
    existence: Existence | None = None,
    node: wire.Node | None = None,
    pods: PodsOnNode | None = None,
    *,
    host: Any = "Up",
    known: bool = True,
    hot_add: bool = True,
    hot_remove: bool = False,
    watching_since: float = 0.0,
    on_timeout: str = "Keep",
    able: tuple[str, ...] = (),
    phases: dict[str, str] | None = None,
    console: str | None = None,
    other: Any = "Up",
    template: dict[str, Any] | None = None,
    when_off: str = "Restart",
) -> Situation:
    pool = VMPoolSpec.model_validate(
        {
            "hypervisor": "rack",
            "nodes": {"min": 0, "max": 9},
            "size": {"cpu": {"min": 1, "max": 8}, "memory": {"min": "1Gi", "max": "16Gi"}},
            "launchTimeout": "600s",
            "whenOff": when_off,
            "template": template if template is not None else {"labels": {"tier": "web"}},
            "phaseTimeouts": phases or {},
            "disruption": {"drainTimeout": "300s", "onDrainTimeout": on_timeout},
        }
    )
    return Situation(
        record=vmnode,
        cluster=CLUSTER,
        now=NOW,
        watching_since=watching_since,
        existence=existence if existence is not None else vm(),
        node=node,
        pods=pods or PodsOnNode(),
        pool=pool,
        hypervisor=HypervisorFacts(
            known=known,
            capabilities=Capabilities(
                hot_add_cpu=hot_add,
                hot_add_memory=hot_add,
                hot_remove=hot_remove,
                **dict.fromkeys(able, True),
            ),
            restart_window=120.0,
            hosts={"h1": (host, "z1"), "h2": (other, "z2")},
        ),
        console=console,
    )


UNCLAIMED = wire.Taint(key=names.UNCLAIMED, effect="NoSchedule")
UNKNOWN = Unknown(message="connection refused")
FOREIGN = vm(owner_uid="uid-of-another")
GROW = "4 CPUs and 4Gi"
ASKED = {"type": "Resized", "status": "Unknown", "reason": "InProgress", "message": GROW}
LOST = {"lostSince": rfc3339(NOW - 121)}
R, C, W, J = Phase.REQUESTED, Phase.CREATING, Phase.BOOTING, Phase.JOINING
Y, Z, D, X = Phase.READY, Phase.RESIZING, Phase.DRAINING, Phase.DELETING


class Case(NamedTuple):
    """A situation, and the phase, action and reason of Ready that must follow."""

    says: str
    given: Situation
    phase: Phase
    action: type = Nothing
    reason: str = ""
    done: bool = False


S = situation
CASES = (
    # Leaving early
    Case("a wish is deleted", S(record(R, deleting=True)), R, done=True),
    Case("a wish is retired", S(record(R, retire=True)), R, DeleteRecord),
    Case("a booting VM is retired", S(record(W, retire=True)), W, DeleteRecord),
    Case("a booting VM is deleted", S(record(W, deleting=True)), X),
    Case("a VM whose node left is deleted", S(record(Y, deleting=True), UNKNOWN), X),
    Case("a stranger's node does not keep us", S(record(D, retire=True), node=node(uuid="o")), D,
         DeleteRecord),
    # Launch
    Case("begin", S(record(R)), C),
    Case("the template changes before it begins", S(record(R), template={}), R, TakeTemplate),
    Case("the template changes before it is made", S(record(C), Gone(), template={}), C,
         TakeTemplate),
    Case("the template changes, and a VM may have been made", S(record(C), UNKNOWN, template={}),
         C),
    Case("labels change", S(record(Y), node=node(), template={"labels": {"tier": "db"}}), Y,
         TakeTemplate),
    Case("labels change while it joins", S(record(J), node=node(), template={}), J, TakeTemplate),
    Case("what it was made from changes",
         S(record(Y), node=node(),
           template={"labels": {"tier": "web"}, "libvirt": {"image": "a"}}), Y,
         reason="NodeReady"),
    Case("a machine is a node before it is claimed", S(record(R), node=node(), able=("adopts",)),
         C),
    Case("a machine is claimed", S(record(C), Gone(), node(), able=("adopts",)), C, EnsureVm),
    Case("another machine has the name", S(record(J), node=node(uuid="other"), able=("adopts",)), J,
         reason="NodeIdentityMismatch"),
    Case("a claimed machine loses its mark",
         S(record(J), node=node(taints=(UNCLAIMED,)), able=("adopts",)), J, AdoptNode),
    Case("no hypervisor", S(record(R), known=False), R, reason="HypervisorNotFound"),
    Case("node of our name before us", S(record(R), node=node()), R, reason="NodeIdentityMismatch"),
    Case("failed before", S(record(R, failures=1, attemptSince=rfc3339(NOW - 5))), R,
         reason="LaunchBackoff"),
    Case("failed long before", S(record(R, failures=1, attemptSince=rfc3339(NOW - 15))), C),
    Case("create", S(record(C), Gone()), C, EnsureVm),
    Case("made before a crash", S(record(C)), W),
    Case("being deleted", S(record(C), vm(PowerState.DELETING)), C),
    Case("not known whether made", S(record(C), UNKNOWN), C, reason="HypervisorUnreachable"),
    Case("node of our name at creation", S(record(C), Gone(), node()), C,
         reason="NodeIdentityMismatch"),
    Case("no room a moment ago",
         S(record(C, failures=1, attemptSince=rfc3339(NOW - 5),
                  conditions=({"type": "Stalled", "reason": "NoCapacity"},)), Gone()),
         C, reason="NoCapacity"),
    Case("made, but not started", S(record(W), vm(PowerState.OFF), able=("start",)), W, StartVm),
    Case("made, but not started, whatever the pool says",
         S(record(W), vm(PowerState.OFF), able=("start",), when_off="Replace"), W, StartVm),
    Case("stops before it joined", S(record(J), vm(PowerState.OFF), able=("start",)), J, StartVm),
    Case("paused before it joined", S(record(J), vm(PowerState.PAUSED), able=("start",)), J),
    Case("boots", S(record(W), vm(PowerState.CREATING)), W),
    Case("runs", S(record(W)), J),
    Case("boot unknown", S(record(W), UNKNOWN), W, reason="HypervisorUnreachable"),
    Case("vanished", S(record(W), Gone()), X, reason="LaunchFailed"),
    Case("took too long", S(record(W, attemptSince=rfc3339(NOW - 601))), W, ReadConsole),
    Case("took too long, console read",
         S(record(W, attemptSince=rfc3339(NOW - 601)), console=""), X, reason="LaunchFailed"),
    Case("booted too long", S(record(W, age=121), phases={"booting": "2m"}, console=""), X,
         reason="LaunchFailed"),
    Case("joins for too long, booted quickly",
         S(record(J, age=121), phases={"booting": "2m"}, console=""), J),
    Case("joins for too long", S(record(J, age=121), phases={"joining": "2m"}, console=""), X,
         reason="LaunchFailed"),
    Case("is not made in time",
         S(record(C, attemptSince=rfc3339(NOW - 121)), Gone(), phases={"creating": "2m"}), X,
         reason="LaunchFailed"),
    Case("is not made in time, as far as known",
         S(record(C, attemptSince=rfc3339(NOW - 121)), UNKNOWN, phases={"creating": "2m"}), C),
    Case("failed twice here", S(record(X, failures=2, on="h1"), Gone()), X, DeleteRecord),
    Case("failed twice here, before a VM was made",
         S(record(C, failures=2, on="h1", attemptSince=rfc3339(NOW)), Gone()), C, DeleteRecord),
    Case("failed twice here, and something may be left",
         S(record(C, failures=2, on="h1"), UNKNOWN), C),
    Case("failed once here", S(record(X, failures=1, on="h1"), Gone()), R,
         reason="LaunchBackoff"),
    Case("failed twice on the last host", S(record(X, failures=2, on="h1"), Gone(), other="Down"),
         R, reason="LaunchBackoff"),
    Case("too long, but its host cannot be asked",
         S(record(W, attemptSince=rfc3339(NOW - 601)), vm(PowerState.UNKNOWN)), W),
    Case("too long, but nobody watched",
         S(record(J, attemptSince=rfc3339(NOW - 601)), watching_since=NOW - 10), J),
    Case("no node yet", S(record(J)), J),
    Case("joins foreign", S(record(J), node=node(uuid="other")), J, reason="NodeIdentityMismatch"),
    Case("joins, not said who", S(record(J), node=node(uuid="")), J),
    Case("joins in capitals", S(record(J), node=node(uuid=UUID.upper())), Y),
    Case("joins bare", S(record(J), node=node(labels={})), J, AdoptNode),
    Case("joins without berths", S(record(J), node=node(berths=None)), J, SetBerths),
    Case("joins, not Ready", S(record(J), node=node(ready=False)), J),
    Case("joined", S(record(J), node=node()), Y, reason="NodeReady"),
    Case("joins while unknown", S(record(J), UNKNOWN, node(ready=False)), J,
         reason="HypervisorUnreachable"),
    Case("foreign mark", S(record(J), FOREIGN), J, reason="ForeignVM"),
    # Serving
    Case("serves", S(record(Y), node=node()), Y, reason="NodeReady"),
    Case("serves, token left", S(record(Y, bootstrapToken="abc123"), node=node()), Y, SealVm),
    Case("NotReady, token left", S(record(Y, bootstrapToken="abc123"), node=node(ready=False)), Y,
         reason="NodeNotReady"),
    Case("kubelet silent, VM sound", S(record(Y), node=node(ready=False)), Y,
         reason="NodeNotReady"),
    Case("unreachable hypervisor, sound node", S(record(Y), UNKNOWN, node()), Y,
         reason="NodeReady"),
    Case("moved host", S(record(Y), vm(host="h2"), node()), Y, AdoptNode),
    Case("node gone", S(record(Y)), J),
    Case("node of another", S(record(Y), node=node(uuid="other")), Y,
         reason="NodeIdentityMismatch"),
    Case("berths below use", S(record(Y, berths=3), node=node(berths="5"),
                               pods=PodsOnNode(berths=4)), Y, SetBerths),
    Case("left over cordon", S(record(Y), node=node(cordoned=True)), Y, Uncordon),
    Case("a person's cordon", S(record(Y), node=node(cordoned=True, by_us=False)), Y,
         reason="NodeReady"),
    # Loss
    Case("being restarted", S(record(Y, **LOST), vm(PowerState.RESTARTING), node(ready=False)), Y,
         reason="Restarting"),
    Case("isolated", S(record(Y, **LOST), vm(PowerState.UNKNOWN), node(ready=False),
                       host="Isolated"), Y, reason="MayRun"),
    Case("host down, VM said to run", S(record(Y, **LOST), vm(), node(ready=False), host="Down"),
         Y, reason="MayRun"),
    Case("off, but its host cannot be asked",
         S(record(Y, **LOST), vm(PowerState.OFF), node(ready=False), host="Unknown"), Y,
         reason="MayRun"),
    Case("hypervisor silent", S(record(Y, **LOST), UNKNOWN, node(ready=False)), Y,
         reason="Unknown"),
    Case("off, within the window", S(record(Y, lostSince=rfc3339(NOW - 100)), vm(PowerState.OFF),
                                     node(ready=False), host="Down"), Y, reason="ConfirmedOff"),
    Case("off, but not watched", S(record(Y, **LOST), vm(PowerState.OFF), node(ready=False),
                                   host="Down", watching_since=NOW - 10), Y,
         reason="ConfirmedOff"),
    Case("off, heartbeat not yet out", S(record(Y, **LOST), vm(PowerState.OFF), node(),
                                         host="Down"), Y, reason="ConfirmedOff"),
    Case("killed, host up", S(record(Y), vm(PowerState.OFF), node(), able=("start",)), Y, StartVm,
         reason="Starting"),
    Case("off for long, but may be started",
         S(record(Z, **LOST), vm(PowerState.OFF), node(ready=False), able=("start",)), Z, StartVm),
    Case("started a moment ago", S(record(Y, starts=1, startedAt=rfc3339(NOW - 5)),
                                   vm(PowerState.OFF), node(ready=False), able=("start",)), Y,
         reason="ConfirmedOff"),
    Case("started a while ago", S(record(Y, starts=2, startedAt=rfc3339(NOW - 20)),
                                  vm(PowerState.OFF), node(ready=False), able=("start",)), Y,
         StartVm),
    Case("started too often", S(record(Y, starts=3, startedAt=rfc3339(NOW - 150), **LOST),
                                vm(PowerState.OFF), node(ready=False), able=("start",)), Y,
         MarkOutOfService),
    Case("started too often, but long ago",
         S(record(Y, starts=3, startedAt=rfc3339(NOW - 601), **LOST),
           vm(PowerState.OFF), node(ready=False), able=("start",)), Y, StartVm),
    Case("off, to be replaced", S(record(Y), vm(PowerState.OFF), node(ready=False),
                                  able=("start",), when_off="Replace"), Y, reason="ConfirmedOff"),
    Case("off on a host that is down", S(record(Y), vm(PowerState.OFF), node(ready=False),
                                         host="Down", able=("start",)), Y, reason="ConfirmedOff"),
    Case("off while it leaves", S(record(Y, retire=True), vm(PowerState.OFF), node(ready=False),
                                  able=("start",)), Y, reason="ConfirmedOff"),
    Case("paused", S(record(Y), vm(PowerState.PAUSED), node()), Y, reason="Paused"),
    Case("paused for long", S(record(Y, **LOST), vm(PowerState.PAUSED), node(ready=False)), Y,
         reason="Paused"),
    Case("paused in a drain", S(record(D, retire=True), vm(PowerState.PAUSED),
                                node(ready=False, cordoned=True)), D, reason="Paused"),
    Case("paused and deleted", S(record(D, deleting=True), vm(PowerState.PAUSED),
                                 node(ready=False, cordoned=True)), X),
    Case("dead", S(record(Y, **LOST), vm(PowerState.OFF), node(ready=False), host="Down"), Y,
         MarkOutOfService),
    Case("deleted at the hypervisor", S(record(Y, **LOST), Gone(), node(ready=False)), Y,
         MarkOutOfService),
    Case("dead and tainted", S(record(Y, **LOST), Gone(), node(ready=False, taints=(OUT,))), Y,
         DeleteRecord),
    Case("dead and tainted, with pods", S(record(Y, **LOST), Gone(),
                                          node(ready=False, taints=(OUT,)),
                                          PodsOnNode(evictable=(A,))), Y, reason="ConfirmedOff"),
    Case("dead and tainted, with pods for long",
         S(record(Y, lostSince=rfc3339(NOW - 181)), Gone(), node(ready=False, taints=(OUT,)),
           PodsOnNode(evictable=(A,))), Y, DeleteRecord),
    Case("dead, tainted, deleted", S(record(Y, deleting=True, **LOST), vm(PowerState.OFF),
                                     node(ready=False, taints=(OUT,)), host="Down"), X),
    Case("back after the taint", S(record(Y, **LOST), vm(PowerState.RESTARTING),
                                   node(ready=False, taints=(OUT,))), Y, ClearOutOfService),
    Case("unknown after the taint", S(record(Y, **LOST), UNKNOWN,
                                      node(ready=False, taints=(OUT,))), Y, reason="Unknown"),
    # Resizing
    Case("grows", S(record(Y, cpu=4), node=node()), Z),
    Case("cannot grow", S(record(Y, cpu=4), node=node(), hot_add=False), Y, TakeBackSize),
    Case("grows beyond what it was made for", S(record(Y, cpu=4, most=3), node=node()), Y,
         TakeBackSize),
    Case("grows within what it was made for", S(record(Y, cpu=4, most=4), node=node()), Z),
    Case("never shrinks", S(record(Y, cpu=1), node=node()), Y, TakeBackSize),
    Case("shrinks where it can", S(record(Y, cpu=1), node=node(), hot_remove=True), Z),
    Case("does not grow while NotReady", S(record(Y, cpu=4), node=node(ready=False)), Y,
         reason="NodeNotReady"),
    Case("ask", S(record(Z, cpu=4), node=node()), Z, ResizeVm),
    Case("asked", S(record(Z, cpu=4, conditions=(ASKED,)), node=node()), Z),
    Case("VM grown, node not", S(record(Z, cpu=4), vm(cpu=4), node()), Z),
    Case("grown", S(record(Z, cpu=4), vm(cpu=4), node(cpu="4")), Y, reason="NodeReady"),
    Case("does not grow", S(record(Z, age=601, cpu=4, conditions=(ASKED,)), node=node()), Y,
         TakeBackSize),
    Case("node does not show it", S(record(Z, age=601, cpu=4), vm(cpu=4), node()), Y),
    Case("growth unknown", S(record(Z, cpu=4), UNKNOWN, node()), Z,
         reason="HypervisorUnreachable"),
    Case("lost in growth", S(record(Z, cpu=4, **LOST), vm(PowerState.RESTARTING),
                             node(ready=False)), Z, reason="Restarting"),
    # Draining
    Case("retired", S(record(Y, retire=True), node=node()), D),
    Case("deleted", S(record(Z, deleting=True), node=node()), D),
    Case("retired while unknown", S(record(Y, retire=True), UNKNOWN, node()), Y,
         reason="NodeReady"),
    Case("deleted while unknown", S(record(Y, deleting=True), UNKNOWN, node()), D),
    Case("cordon", S(record(D, retire=True), node=node()), D, Cordon),
    Case("evict", S(record(D, retire=True), node=node(cordoned=True),
                    pods=PodsOnNode(evictable=(A,), blocked=((B, "held"),))), D, Evict),
    Case("blocked", S(record(D, retire=True), node=node(cordoned=True),
                      pods=PodsOnNode(blocked=((B, "held"),))), D),
    Case("terminating", S(record(D, retire=True), node=node(cordoned=True),
                          pods=PodsOnNode(terminating=(B,))), D),
    Case("empty, retired", S(record(D, retire=True), node=node(cordoned=True)), D, DeleteRecord),
    Case("empty, deleted", S(record(D, deleting=True), node=node(cordoned=True)), X),
    Case("VM unknown in a retirement", S(record(D, retire=True), UNKNOWN, node(cordoned=True)), D,
         reason="Unknown"),
    Case("kept", S(record(D, retire=True, age=301), node=node(cordoned=True),
                   pods=PodsOnNode(evictable=(A,))), D, TakeBackRetirement),
    Case("not late: nobody watched", S(record(D, retire=True, age=301), node=node(cordoned=True),
                                       pods=PodsOnNode(evictable=(A,)),
                                       watching_since=NOW - 5), D, Evict),
    Case("forced by the pool", S(record(D, retire=True, age=301), node=node(cordoned=True),
                                 pods=PodsOnNode(blocked=((B, "held"),)), on_timeout="Force"), D,
         DeletePods),
    Case("forced by deletion", S(record(D, deleting=True, age=301), node=node(cordoned=True),
                                 pods=PodsOnNode(evictable=(A,))), D, DeletePods),
    Case("forced pods terminate", S(record(D, deleting=True, age=301), node=node(cordoned=True),
                                    pods=PodsOnNode(terminating=(A,))), D),
    Case("forced pods stay, deleted", S(record(D, deleting=True, age=331),
                                        node=node(cordoned=True),
                                        pods=PodsOnNode(terminating=(A,))), X),
    Case("forced pods stay, retired", S(record(D, retire=True, age=331), node=node(cordoned=True),
                                        pods=PodsOnNode(terminating=(A,)), on_timeout="Force"), D,
         DeleteRecord),
    Case("taken back", S(record(D), node=node(cordoned=True)), D, Uncordon),
    Case("taken back, open", S(record(D), node=node()), Y),
    # Deleting
    Case("found without identity", S(record(X, deleting=True, identity=False)), X),
    Case("token first", S(record(X, deleting=True, bootstrapToken="abc123"), UNKNOWN, node()), X,
         DeleteToken),
    Case("delete VM", S(record(X, deleting=True), node=node()), X, DeleteVm),
    Case("delete a paused VM", S(record(X, deleting=True), vm(PowerState.PAUSED)), X, DeleteVm),
    Case("being deleted by hypervisor", S(record(X, deleting=True), vm(PowerState.DELETING)), X),
    Case("delete unknown", S(record(X, deleting=True), UNKNOWN, node()), X,
         reason="HypervisorUnreachable"),
    Case("delete foreign", S(record(X, deleting=True), FOREIGN, node()), X, reason="ForeignVM"),
    Case("delete node", S(record(X, deleting=True), Gone(), node(ready=False)), X, DeleteNode),
    Case("foreign node stays", S(record(X, deleting=True), Gone(), node(uuid="other")), X,
         done=True),
    Case("gone", S(record(X, deleting=True), Gone()), X, done=True),
    Case("again", S(record(X, failures=1), Gone()), R, reason="LaunchBackoff"),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_step(case: Case) -> None:
    step = next_step(case.given)
    assert step.status.phase is case.phase
    assert type(step.action) is case.action
    assert step.done is case.done
    if case.reason:
        assert next(f.reason for f in step.facts if f.type == "Ready") == case.reason
    for event in step.events:
        EventReason(event.reason)


def test_every_row_of_the_table_is_reached() -> None:
    reached = {id(rule_for(case.given)) for case in CASES}
    missing = [rule for rule in TABLE if id(rule) not in reached]
    assert not missing


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_a_row_says_what_its_step_does(case: Case) -> None:
    rule, step = rule_for(case.given), next_step(case.given)
    if step.done:
        assert rule.target == "gone"
    else:
        assert step.status.phase == (rule.target or case.given.phase)
    acts = not isinstance(step.action, Nothing)
    # A size that came late but came is no longer to be taken back.
    assert acts == bool(rule.action) or case.says == "node does not show it"


def test_the_documented_table_is_the_table() -> None:
    text = (Path(__file__).parents[2] / "docs/design/0002-vmnode-life-cycle.md").read_text()
    documented = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert documented == [
        f"| {rule.sources} | {rule.condition} | {rule.target} | {rule.action} |"
        for rule in TABLE
        if rule.target or rule.action
    ]


def _facts(step: Step) -> dict[str, tuple[str, str]]:
    return {fact.type: (fact.status, fact.reason) for fact in step.facts}


def test_identity_is_recorded_before_the_vm_is_waited_for() -> None:
    step = next_step(situation(record(C)))
    assert step.status.identity is not None
    assert (step.status.identity.uuid, step.status.identity.provider_id) == (UUID, "sim://x")
    assert step.status.host == "h1"


def test_a_failed_launch_is_counted_and_its_vm_forgotten_only_when_gone() -> None:
    late = record(W, attemptSince=rfc3339(NOW - 616), failures=1)
    step = next_step(situation(late, console=""))
    assert step.status.failures == 2
    assert step.status.identity is not None
    again = next_step(situation(record(X, failures=2), Gone()))
    assert again.status.identity is None
    assert (again.status.host, again.status.size, again.status.failures) == ("", None, 2)


def test_a_failed_launch_tells_what_the_console_said_until_one_succeeds() -> None:
    late = record(W, attemptSince=rfc3339(NOW - 616), failures=1)
    said = "\x1b[0;32mok\x1b[0m\r\n\n" + "kernel panic: no root device\n"
    step = next_step(situation(late, console=said))
    assert step.status.message.endswith("its console ended with: ok | kernel panic: no root device")
    assert [e.message for e in step.events] == [step.status.message]
    kept = {"type": "Launched", "status": "False", "reason": "LaunchFailed", "message": "panic"}
    again = next_step(situation(record(X, failures=2, conditions=(kept,)), Gone()))
    assert _facts(again)["Launched"] == ("False", "LaunchFailed")
    assert "panic" in again.status.message
    joined = next_step(situation(record(J, conditions=(kept,)), node=node()))
    assert "Launched" not in _facts(joined)


def test_a_console_is_told_of_in_bounds() -> None:
    assert tail("") == tail("\n \x00\n") == ""
    assert tail("\n".join(map(str, range(100)))) == " | ".join(map(str, range(92, 100)))
    long = tail("x" * 10_000)
    assert (len(long), long[:4]) == (LENGTH, "...x")


def test_a_late_launch_of_which_nothing_is_known_is_not_counted_on() -> None:
    late = record(J, attemptSince=rfc3339(NOW - 601))
    step = next_step(situation(late, vm(PowerState.UNKNOWN), host="Unknown"))
    assert (step.status.phase, step.status.lost_since) == (J, rfc3339(NOW))
    assert [e.reason for e in step.events] == ["VMLost"]
    early = next_step(situation(record(J), vm(PowerState.UNKNOWN), host="Unknown"))
    assert early.status.lost_since == ""


def test_a_changed_template_changes_the_node_and_leaves_alone_what_others_put_there() -> None:
    ours = wire.Taint(key="only", value="web", effect="NoSchedule")
    kept = wire.Taint(key="kept", value="", effect="NoSchedule")
    theirs = wire.Taint(key="theirs", value="x", effect="NoSchedule")
    old = Template.model_validate(
        {
            "labels": {"gone": "1", "changed": "1", "theirs": "ours"},
            "annotations": {"note": "a"},
            "taints": [
                {"key": "only", "value": "web", "effect": "NoSchedule"},
                {"key": "kept", "effect": "NoSchedule"},
            ],
        }
    )
    new = Template.model_validate(
        {
            "labels": {"changed": "2"},
            "taints": [
                {"key": "only", "value": "db", "effect": "NoSchedule"},
                {"key": "kept", "effect": "NoSchedule"},
            ],
        }
    )
    labels = {"gone": "1", "changed": "1", "theirs": "another's"}
    there = node(labels=labels, taints=(ours, kept, theirs))
    there.metadata.annotations["note"] = "a"
    assert followed(there, old, new) == NodeChange(
        labels={"changed": "2"},
        taints=(wire.Taint(key="only", value="db", effect="NoSchedule"),),
        drop_labels=("gone",),
        drop_annotations=("note",),
        drop_taints=(ours,),
    )


def test_a_new_template_is_tried_at_once() -> None:
    failed_often = record(C, failures=5, attemptSince=rfc3339(NOW - 1))
    step = next_step(situation(failed_often, Gone(), template={}))
    assert (step.status.failures, step.status.attempt_since) == (0, rfc3339(NOW))


def test_ready_resets_the_failures() -> None:
    step = next_step(situation(record(J, failures=2, attemptSince=rfc3339(NOW)), node=node()))
    assert (step.status.failures, step.status.attempt_since) == (0, "")


def test_loss_is_noted_at_once_and_cleared_on_return() -> None:
    lost = next_step(situation(record(Y), vm(PowerState.RESTARTING, host="h2"), node()))
    assert lost.status.lost_since == rfc3339(NOW)
    assert [e.reason for e in lost.events] == ["VMLost"]
    back = next_step(situation(record(Y, **LOST), vm(host="h2"), node()))
    assert back.status.lost_since == ""
    assert back.status.host == "h2"
    assert [e.reason for e in back.events] == ["VMRecovered"]
    assert isinstance(back.action, AdoptNode)
    assert back.action.change.labels == {names.HOST: "h2", names.ZONE: "z2"}


def test_a_silent_kubelet_of_a_vm_that_runs_is_told_of_once_and_the_vm_kept() -> None:
    first = next_step(situation(record(Y), node=node(ready=False)))
    assert [e.reason for e in first.events] == ["NodeNotReady"]
    told = {"type": "Ready", "status": "False", "reason": "NodeNotReady"}
    later = next_step(situation(record(Y, conditions=(told,)), node=node(ready=False)))
    assert (later.events, later.status.lost_since, later.status.phase) == ((), "", Y)


def test_a_drain_that_is_given_up_is_remembered() -> None:
    pods = PodsOnNode(evictable=(A,), blocked=((B, "held"),))
    given = situation(record(D, retire=True, age=301), node=node(cordoned=True), pods=pods)
    step = next_step(given)
    assert _facts(step)["Drained"] == ("False", "DrainTimedOut")
    assert "d/b (held)" in step.status.message
    kept = record(
        Y, conditions=({"type": "Drained", "status": "False", "reason": "DrainTimedOut"},)
    )
    assert "Drained" in _facts(next_step(situation(kept, node=node())))
    assert "Drained" not in _facts(
        next_step(
            situation(kept.model_copy(update={"spec": record(Y, retire=True).spec}), node=node())
        )
    )


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        ("NoCapacity", "True", "NoCapacity"),
        ("Conflict", "True", "Conflict"),
        ("Invalid", "True", "Invalid"),
    ],
)
def test_a_refused_creation_stalls_and_backs_off(error: str, status: str, reason: str) -> None:
    given = situation(record(C, attemptSince=rfc3339(NOW - 50)), Gone())
    step = failed(given, next_step(given), error, "no")
    assert _facts(step)["Stalled"] == (status, reason)
    assert (step.status.failures, step.status.attempt_since) == (1, rfc3339(NOW))
    assert step.status.phase is C


def test_a_transient_failure_counts_for_nothing() -> None:
    given = situation(record(C), Gone())
    step = failed(given, next_step(given), "Retryable", "timeout")
    assert step.status.failures == 0
    assert _facts(step)["Reconciling"] == ("True", "HypervisorUnreachable")


def test_a_refused_size_is_taken_back_and_said() -> None:
    given = situation(record(Z, cpu=4), node=node())
    step = failed(given, next_step(given), "NoCapacity", "host h1 is full")
    assert step.action == TakeBackSize(cpu=2, memory=4 * GIB)
    assert step.status.phase is Y
    assert _facts(step)["Resized"] == ("False", "NoCapacity")


def test_each_start_is_counted_and_so_is_one_that_is_refused() -> None:
    given = situation(
        record(Y, starts=1, startedAt=rfc3339(NOW - 20)), vm(PowerState.OFF), able=("start",)
    )
    step = next_step(situation(given.record, vm(PowerState.OFF), node(), able=("start",)))
    assert (step.status.starts, step.status.started_at) == (2, rfc3339(NOW))
    refused = failed(given, step, "NoCapacity", "the host has no memory left")
    assert (refused.status.starts, refused.status.started_at) == (2, rfc3339(NOW))
    silent = failed(given, step, "Retryable", "the host is silent")
    assert silent.status.starts == 1


def test_what_cannot_be_wiped_keeps_no_node_from_serving() -> None:
    given = situation(record(Y, bootstrapToken="abc123"), node=node())
    silent = failed(given, next_step(given), "Retryable", "the host is silent")
    assert silent.status.bootstrap_token == "abc123"
    refused = failed(given, next_step(given), "NotSupported", "the seed is in use")
    assert refused.status.bootstrap_token == ""
    for step in (silent, refused):
        assert _facts(step)["Ready"] == ("True", "NodeReady")


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0.0), (1, 15.0), (2, 30.0), (7, 600.0), (400, 600.0)]
)
def test_back_off_grows_up_to_a_limit(failures: int, seconds: float) -> None:
    assert situation(record(R, failures=failures)).backoff == seconds


def pod(name: str, owner: str = "ReplicaSet", **fields: Any) -> wire.Pod:
    meta = {"annotations": fields.pop("annotations", {}), "deletion_timestamp": None}
    meta["deletion_timestamp"] = fields.pop("deleted", None)
    owners = [wire.OwnerReference(kind=owner, name="o", controller=True)] if owner else []
    return wire.Pod(
        metadata=wire.Meta(
            name=name, namespace="d", uid=f"uid-{name}", owner_references=owners, **meta
        ),
        spec=wire.PodSpec(
            termination_grace_period_seconds=fields.pop("grace", None),
            containers=[wire.ContainerSpec(resources=wire.Resources(requests={names.BERTHS: "1"}))],
        ),
        status=wire.PodStatus(phase=fields.pop("phase", "Running")),
    )


def test_pods_on_a_node_are_sorted_by_what_may_be_done_to_them() -> None:
    sorted_pods = pods_on_node(
        [
            pod("web"),
            pod("agent", owner="DaemonSet"),
            pod("static", annotations={"kubernetes.io/config.mirror": "x"}),
            pod("done", phase="Succeeded"),
            pod("bare", owner=""),
            pod("held", annotations={names.DO_NOT_DISRUPT: "true"}),
            pod("leaving", deleted="2027-01-01T00:00:00Z", grace=90),
        ]
    )
    assert [p.name for p in sorted_pods.evictable] == ["web"]
    assert [p.name for p, _ in sorted_pods.blocked] == ["bare", "held"]
    assert [p.name for p in sorted_pods.terminating] == ["leaving"]
    assert sorted_pods.grace == 90
    assert sorted_pods.berths == 6


def test_a_held_node_holds_all_its_pods() -> None:
    held = pods_on_node([pod("web")], "annotation")
    assert [why for _, why in held.blocked] == ["annotation"]
