"""Whether a certificate signing request is approved. Pure: equal facts give equal verdicts.

Approved is what proves to come from the VM that it speaks for: by the token that was
made for that VM, by the certificate of its node, by the addresses that the hypervisor
knows. Denied is what claims the name of one of our VMs without being that VM, and what
is asked with a VM's token for any other name. Everything else is left to others: never
approved, and not denied either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from ipaddress import ip_address
from typing import Final, NamedTuple

from plimsoll.api.vmnode import Phase
from plimsoll.bootstrap.requests import CLIENT, NODE_PREFIX, Address, Asked, SigningRequest, read
from plimsoll.bootstrap.tokens import USER_PREFIX
from plimsoll.world.snapshot import Frozen

PATIENCE: Final = 60.0
"""Seconds that addresses may take to be known before a person is told."""

_WITH_TOKEN: Final = (Phase.BOOTING, Phase.JOINING)
_BEFORE: Final = (Phase.REQUESTED, Phase.CREATING)


class Vm(Frozen, frozen=True, kw_only=True):
    """One VMNode whose VM joins by a token of ours."""

    name: str
    phase: Phase
    token: str = ""
    """Id of its token; empty: it has none now."""
    uuid: str = ""
    """Identity at the hypervisor; empty: not recorded yet."""
    node_uid: str = ""
    """UID of the node that was matched; empty: none yet."""


class Node(Frozen, frozen=True, kw_only=True):
    """The Node object of that name."""

    uid: str
    system_uuid: str
    addresses: tuple[str, ...] = ()
    """IP addresses, as the node itself reports them."""


class Scene(Frozen, frozen=True, kw_only=True):
    """What is known of VMs and nodes, by name."""

    vms: Mapping[str, Vm]
    nodes: Mapping[str, Node] = {}
    addresses: Mapping[str, tuple[str, ...]] = {}
    """IP addresses of VMs, as the hypervisor tells; none: it does not know them."""


class Say(Enum):
    APPROVE = "approve"
    DENY = "deny"
    WAIT = "wait"
    """It may come to be approved; look again."""
    REPORT = "report"
    """It is not approved, which a person should know; others may decide otherwise."""
    LEAVE = "leave"
    """It is none of our business."""


class Verdict(NamedTuple):
    say: Say
    about: tuple[str, ...] = ()
    """Names of the VMNodes that it concerns."""
    message: str = ""
    weak: bool = False
    """Approved on what the node itself reports, where nobody else knows."""


LEAVE: Final = Verdict(Say.LEAVE)


def verdict(request: SigningRequest, scene: Scene, age: float) -> Verdict:
    """What to do about a request that is ``age`` seconds old."""
    asked = read(request)
    if request.spec.signer_name == CLIENT:
        if request.spec.username.startswith(USER_PREFIX):
            return _first(request, asked, scene)
        return _renewal(request, asked, scene)
    return _serving(request, asked, scene, age)


def concerned(request: SigningRequest, scene: Scene) -> tuple[str, ...]:
    """Names of the VMs on which a verdict rests; none: it is left alone."""
    asked, token, node = read(request), _token(request), _node(request)
    names = {asked.node, node, *map(str.lower, asked.dns)}
    return tuple(
        sorted(vm.name for vm in scene.vms.values() if vm.name in names or token == vm.token != "")
    )


def _first(request: SigningRequest, asked: Asked, scene: Scene) -> Verdict:
    """A client certificate, asked for with a token: that of a VM which has no node yet."""
    token = _token(request)
    owners = sorted(vm.name for vm in scene.vms.values() if vm.token == token != "")
    claimed = scene.vms.get(asked.node)
    if not owners:
        if claimed is None:
            return LEAVE
        return _deny([asked.node], f"token {token} claims to be {asked.node}, but is not its token")
    if len(owners) > 1:
        return _deny(owners, f"token {token} is recorded on more than one VM")
    own = scene.vms[owners[0]]
    if asked.node != own.name:
        what = f"node {asked.node}" if asked.node else f"something else: {asked.problem}"
        about = [own.name, *([claimed.name] if claimed else [])]
        return _deny(about, f"VM {own.name} claims, by its token, to be {what}")
    if asked.problem:
        return _deny([own.name], f"this is not what a kubelet asks: {asked.problem}")
    if own.phase in _BEFORE or not own.uuid:
        return _wait(own, "the VM's identity is not recorded yet")
    if own.phase not in _WITH_TOKEN:
        return _report(own, f"the VM has joined already: it is {own.phase}")
    if not _is_or_may_be(scene.nodes.get(own.name), own):
        return _wait(own, f"a node {own.name} exists that is another machine")
    return Verdict(Say.APPROVE, (own.name,), f"asked for with the token made for VM {own.name}")


def _renewal(request: SigningRequest, asked: Asked, scene: Scene) -> Verdict:
    """A client certificate, asked for with a certificate: only a node's own."""
    user, node = request.spec.username, _node(request)
    own, claimed = scene.vms.get(node), scene.vms.get(asked.node)
    if asked.node != node or not node:
        if claimed is not None:
            about = [claimed.name, *([own.name] if own else [])]
            return _deny(about, f"{user} claims to be node {asked.node}")
        if own is not None:
            what = f"node {asked.node}" if asked.node else f"something else: {asked.problem}"
            return _report(own, f"node {own.name} claims to be {what}")
        return LEAVE
    if own is None:
        return LEAVE
    if asked.problem:
        return _report(own, f"this is not what a kubelet asks: {asked.problem}")
    if not _is(scene.nodes.get(node), own):
        return _wait(own, f"node {node} is not known to be this VM")
    return Verdict(Say.APPROVE, (own.name,), f"renewed by node {node}, which is VM {own.uuid}")


def _serving(request: SigningRequest, asked: Asked, scene: Scene, age: float) -> Verdict:
    """A serving certificate: for the node's own name and the VM's addresses."""
    user, node = request.spec.username, _node(request)
    own = scene.vms.get(node)
    dns = [name.lower() for name in asked.dns]
    stolen = sorted({n for n in (asked.node, *dns) if n in scene.vms and n != node})
    if stolen:
        about = [*stolen, *([own.name] if own else [])]
        return _deny(about, f"{user} wants to serve as {', '.join(stolen)}")
    if own is None:
        return LEAVE
    if asked.node != node or asked.problem:
        return _report(own, f"this is not what its kubelet asks: {asked.problem or asked.node}")
    if others := sorted(set(dns) - {node}):
        return _report(own, f"node {node} wants to serve as {', '.join(others)} as well")
    found = scene.nodes.get(node)
    if found is None or not _is(found, own):
        return _wait(own, f"node {node} is not known to be this VM")
    known = scene.addresses.get(own.name, ())
    foreign = [a for a in asked.addresses if a not in _addresses(known or found.addresses)]
    if not known:
        foreign += [a for a in asked.addresses if a.is_loopback or a.is_unspecified]
    if foreign:
        who = "the hypervisor" if known else "the node"
        message = f"{who} does not know the VM by {', '.join(map(str, foreign))}"
        return _wait(own, message) if age < PATIENCE else _report(own, message)
    by = "the hypervisor" if known else "the node itself, as the hypervisor knows none"
    message = f"asked for by node {node}, for its name and addresses told by {by}"
    return Verdict(Say.APPROVE, (own.name,), message, weak=not known)


def _token(request: SigningRequest) -> str:
    """Id of the token by which it is asked; empty: it is asked otherwise."""
    user = request.spec.username
    return user.removeprefix(USER_PREFIX) if user.startswith(USER_PREFIX) else ""


def _node(request: SigningRequest) -> str:
    """Name of the node by whose certificate it is asked; empty: it is asked otherwise."""
    user = request.spec.username
    return user.removeprefix(NODE_PREFIX) if user.startswith(NODE_PREFIX) else ""


def _is(node: Node | None, vm: Vm) -> bool:
    """Whether the node is proven to be the VM's."""
    return (
        node is not None
        and bool(vm.uuid)
        # Firmware and hypervisors disagree about the case of hexadecimal digits.
        and node.system_uuid.casefold() == vm.uuid.casefold()
        and vm.node_uid in ("", node.uid)
    )


def _is_or_may_be(node: Node | None, vm: Vm) -> bool:
    """Whether no other machine has the name. Without systemUUID a node has not said yet."""
    return node is None or not node.system_uuid or _is(node, vm)


def _addresses(texts: Iterable[str]) -> set[Address]:
    found = set()
    for text in texts:
        try:
            found.add(ip_address(text))
        except ValueError:
            continue  # a host name
    return found


def _deny(about: Iterable[str], message: str) -> Verdict:
    return Verdict(Say.DENY, tuple(about), message)


def _wait(vm: Vm, message: str) -> Verdict:
    return Verdict(Say.WAIT, (vm.name,), message)


def _report(vm: Vm, message: str) -> Verdict:
    return Verdict(Say.REPORT, (vm.name,), message)
