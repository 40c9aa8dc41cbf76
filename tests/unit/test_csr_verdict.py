"""Which certificate requests are approved: only those that prove to come from their VM."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from kubeletlike import CLIENT, CLIENT_USAGES, SERVING, SERVING_USAGES, pem
from plimsoll.api.vmnode import Phase
from plimsoll.bootstrap.requests import SigningRequest, Spec, read
from plimsoll.bootstrap.verdict import (
    PATIENCE,
    Node,
    Say,
    Scene,
    Verdict,
    Vm,
    concerned,
    verdict,
)
from plimsoll.world import wire

UUID = "6f1c0b9e-0000-4000-8000-00000000000a"
OTHER_UUID = "6f1c0b9e-0000-4000-8000-00000000000b"


@dataclass(frozen=True)
class Case:
    """A request, who makes it, and what is known."""

    user: str = "system:bootstrap:aaaaaa"
    name: str = "system:node:web-1"
    groups: tuple[str, ...] = ("system:nodes",)
    dns: tuple[str, ...] = ()
    ips: tuple[str, ...] = ()
    others: tuple[x509.GeneralName, ...] = ()
    more: tuple[x509.NameAttribute[Any], ...] = ()
    usages: tuple[str, ...] = CLIENT_USAGES
    signer: str = CLIENT
    phase: Phase = Phase.JOINING
    token: str = "aaaaaa"
    uuid: str = UUID
    node_uid: str = ""
    node: Node | None = None
    known: tuple[str, ...] = ()
    age: float = 0.0
    others_known: tuple[Vm, ...] = (Vm(name="web-2", phase=Phase.JOINING, token="bbbbbb"),)

    @property
    def request(self) -> SigningRequest:
        text = pem(
            self.name,
            groups=self.groups,
            dns=self.dns,
            ips=self.ips,
            others=self.others,
            more=self.more,
        )
        return request(text, self.user, self.signer, self.usages)

    @property
    def scene(self) -> Scene:
        own = Vm(
            name="web-1",
            phase=self.phase,
            token=self.token,
            uuid=self.uuid,
            node_uid=self.node_uid,
        )
        return Scene(
            vms={vm.name: vm for vm in (own, *self.others_known)},
            nodes={"web-1": self.node} if self.node else {},
            addresses={"web-1": self.known} if self.known else {},
        )

    @property
    def verdict(self) -> Verdict:
        return verdict(self.request, self.scene, self.age)


def request(text: bytes, user: str, signer: str, usages: Iterable[str]) -> SigningRequest:
    return SigningRequest(
        metadata=wire.Meta(name="csr-x"),
        spec=Spec(
            request=base64.b64encode(text).decode(),
            signer_name=signer,
            username=user,
            usages=list(usages),
        ),
    )


MATCHED = Node(uid="n1", system_uuid=UUID.upper(), addresses=("10.0.0.5", "fd00::5"))
FIRST = Case()
RENEWAL = Case(user="system:node:web-1", phase=Phase.READY, token="", node_uid="n1", node=MATCHED)
SERVES = replace(
    RENEWAL, signer=SERVING, usages=SERVING_USAGES, dns=("web-1",), ips=("10.0.0.5", "fd00::5")
)
TOLD = replace(SERVES, known=("10.0.0.5", "fd00:0::5", "192.168.1.5"))


@pytest.mark.parametrize("good", [FIRST, RENEWAL, SERVES, TOLD])
def test_what_a_kubelet_of_ours_asks_is_approved(good: Case) -> None:
    assert good.verdict.say is Say.APPROVE
    assert good.verdict.about == ("web-1",)
    with_rsa = replace(good, usages=(*good.usages, "key encipherment"))
    assert with_rsa.verdict.say is Say.APPROVE


def test_addresses_that_only_the_node_reports_are_a_weaker_proof() -> None:
    assert SERVES.verdict.weak
    assert not TOLD.verdict.weak
    assert "the node itself" in SERVES.verdict.message


SPOILT: dict[str, tuple[Case, Say]] = {
    "another group": (replace(FIRST, groups=("system:masters",)), Say.DENY),
    "one group more": (replace(FIRST, groups=("system:nodes", "system:masters")), Say.DENY),
    "no group": (replace(FIRST, groups=()), Say.DENY),
    "a locality": (
        replace(FIRST, more=(x509.NameAttribute(NameOID.LOCALITY_NAME, "here"),)),
        Say.DENY,
    ),
    "two names": (
        replace(FIRST, more=(x509.NameAttribute(NameOID.COMMON_NAME, "system:node:web-2"),)),
        Say.DENY,
    ),
    "no name": (replace(FIRST, name=""), Say.DENY),
    "a user's name": (replace(FIRST, name="admin"), Say.DENY),
    "a name to serve": (replace(FIRST, dns=("web-1",)), Say.DENY),
    "an address": (replace(FIRST, ips=("10.0.0.5",)), Say.DENY),
    "usages of a server": (replace(FIRST, usages=SERVING_USAGES), Say.DENY),
    "one usage more": (replace(FIRST, usages=(*CLIENT_USAGES, "cert sign")), Say.DENY),
    "one usage less": (replace(FIRST, usages=("client auth",)), Say.DENY),
    "another VM's name": (replace(FIRST, name="system:node:web-2"), Say.DENY),
    "a stranger's name": (replace(FIRST, name="system:node:control-plane"), Say.DENY),
    "another VM's token": (replace(FIRST, user="system:bootstrap:bbbbbb"), Say.DENY),
    "an unknown token": (replace(FIRST, user="system:bootstrap:cccccc"), Say.DENY),
    "a person": (replace(FIRST, user="admin"), Say.DENY),
    "a service account": (replace(FIRST, user="system:serviceaccount:a:b"), Say.DENY),
    "a node of others": (replace(FIRST, user="system:node:control-plane"), Say.DENY),
    "no identity yet": (replace(FIRST, uuid=""), Say.WAIT),
    "too early": (replace(FIRST, phase=Phase.CREATING), Say.WAIT),
    "too late": (replace(FIRST, phase=Phase.READY), Say.REPORT),
    "leaving": (replace(FIRST, phase=Phase.DELETING), Say.REPORT),
    "another machine has the name": (
        replace(FIRST, node=Node(uid="n9", system_uuid=OTHER_UUID)),
        Say.WAIT,
    ),
    "renewed without a node": (replace(RENEWAL, node=None), Say.WAIT),
    "renewed by another machine": (
        replace(RENEWAL, node=Node(uid="n1", system_uuid=OTHER_UUID)),
        Say.WAIT,
    ),
    "renewed by a later node": (
        replace(RENEWAL, node=Node(uid="n2", system_uuid=UUID)),
        Say.WAIT,
    ),
    "renewed for another VM": (replace(RENEWAL, name="system:node:web-2"), Say.DENY),
    "renewed for a stranger": (replace(RENEWAL, name="system:node:control-plane"), Say.REPORT),
    "renewed as a user": (replace(RENEWAL, name="admin"), Say.REPORT),
    "renewed in another group": (replace(RENEWAL, groups=("system:masters",)), Say.REPORT),
    "serves as another VM": (replace(SERVES, dns=("web-1", "WEB-2")), Say.DENY),
    "serves as a service": (replace(SERVES, dns=("web-1", "kubernetes")), Say.REPORT),
    "serves as everything": (replace(SERVES, dns=("*",)), Say.REPORT),
    "serves as nothing": (replace(SERVES, dns=(), ips=()), Say.REPORT),
    "serves by token": (replace(SERVES, user="system:bootstrap:aaaaaa"), Say.DENY),
    "serves with a mail address": (
        replace(SERVES, others=(x509.RFC822Name("a@example.org"),)),
        Say.REPORT,
    ),
    "serves as a client": (replace(SERVES, usages=CLIENT_USAGES), Say.REPORT),
    "serves with a strange address": (replace(SERVES, ips=("10.0.0.6",)), Say.WAIT),
    "serves long with a strange address": (
        replace(SERVES, ips=("10.0.0.6",), age=PATIENCE),
        Say.REPORT,
    ),
    "reports an address that the hypervisor does not know": (
        replace(TOLD, known=("10.0.0.7",), age=PATIENCE),
        Say.REPORT,
    ),
    "reports a loopback address": (
        replace(
            SERVES,
            node=Node(uid="n1", system_uuid=UUID, addresses=("127.0.0.1",)),
            ips=("127.0.0.1",),
            age=PATIENCE,
        ),
        Say.REPORT,
    ),
    "serves before the node is there": (replace(SERVES, node=None), Say.WAIT),
}


@pytest.mark.parametrize("name", SPOILT)
def test_one_thing_wrong_is_enough(name: str) -> None:
    case, expected = SPOILT[name]
    found = case.verdict
    assert found.say is expected, found
    assert found.message
    assert found.about
    assert set(found.about) <= set(concerned(case.request, case.scene))


def test_both_the_thief_and_the_robbed_are_told() -> None:
    assert set(replace(FIRST, name="system:node:web-2").verdict.about) == {"web-1", "web-2"}
    assert set(replace(SERVES, dns=("web-2",)).verdict.about) == {"web-1", "web-2"}


def test_a_token_on_two_vms_proves_nothing() -> None:
    twin = Vm(name="web-3", phase=Phase.JOINING, token="aaaaaa", uuid=OTHER_UUID)
    found = replace(FIRST, others_known=(twin,)).verdict
    assert found.say is Say.DENY
    assert set(found.about) == {"web-1", "web-3"}


STRANGERS = [
    Case(user="system:bootstrap:cccccc", name="system:node:worker-7"),
    Case(user="system:node:worker-7", name="system:node:worker-7"),
    Case(user="admin", name="jane", groups=()),
    Case(
        user="system:node:worker-7",
        name="system:node:worker-7",
        signer=SERVING,
        usages=SERVING_USAGES,
        dns=("worker-7",),
        ips=("10.0.0.5",),
    ),
]


@pytest.mark.parametrize("case", STRANGERS)
def test_what_concerns_none_of_our_vms_is_left_alone(case: Case) -> None:
    assert case.verdict.say is Say.LEAVE
    assert concerned(case.request, case.scene) == ()


GOOD_PEM = pem("system:node:web-1")
MALFORMED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda text: b"",
    "two blocks": lambda text: text + pem("system:node:web-2"),
    "text before": lambda text: b"x\n" + text,
    "a header": lambda text: text.replace(b"-----\n", b"-----\nProc-Type: 4\n\n", 1),
    "cut off": lambda text: text[:-60],
    "no request": lambda text: text.replace(b"CERTIFICATE REQUEST", b"CERTIFICATE"),
    "no PEM": lambda text: b"\xff\xfe",
}


@pytest.mark.parametrize("how", MALFORMED)
def test_what_two_parsers_could_read_in_two_ways_is_not_read(how: str) -> None:
    spoilt = request(MALFORMED[how](GOOD_PEM), FIRST.user, CLIENT, CLIENT_USAGES)
    assert read(spoilt).node == ""
    assert verdict(spoilt, FIRST.scene, 0.0).say is Say.DENY  # our token, and not its VM's name
    stranger = request(MALFORMED[how](GOOD_PEM), "system:bootstrap:cccccc", CLIENT, CLIENT_USAGES)
    assert verdict(stranger, FIRST.scene, 0.0).say is Say.LEAVE


# Properties

NAMES = st.sampled_from(["web-1", "web-2", "worker-7", ""])
USERS = st.one_of(
    st.sampled_from(["aaaaaa", "bbbbbb", "cccccc"]).map("system:bootstrap:{}".format),
    NAMES.map("system:node:{}".format),
    st.sampled_from(["admin", "system:serviceaccount:kube-system:x"]),
)
ADDRESSES = st.lists(
    st.sampled_from(["10.0.0.5", "fd00::5", "10.0.0.6", "127.0.0.1"]), unique=True, max_size=3
).map(tuple)
NODES = st.builds(
    Node,
    uid=st.sampled_from(["n1", "n2"]),
    system_uuid=st.sampled_from([UUID, UUID.upper(), OTHER_UUID, ""]),
    addresses=ADDRESSES,
)
SIGNERS = st.sampled_from([(CLIENT, CLIENT_USAGES), (SERVING, SERVING_USAGES)])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    signer, usual = draw(SIGNERS)
    usages = draw(st.sampled_from([usual, CLIENT_USAGES, SERVING_USAGES, ("any",)]))
    return Case(
        user=draw(USERS),
        name=draw(
            st.one_of(NAMES.map("system:node:{}".format), st.sampled_from(["admin", "web-1"]))
        ),
        groups=draw(st.sampled_from([("system:nodes",), (), ("system:masters",)])),
        dns=draw(
            st.lists(st.sampled_from(["web-1", "web-2", "kubernetes"]), unique=True, max_size=2)
        ),
        ips=draw(ADDRESSES),
        usages=usages,
        signer=signer,
        phase=draw(st.sampled_from(list(Phase))),
        token=draw(st.sampled_from(["aaaaaa", ""])),
        uuid=draw(st.sampled_from([UUID, UUID, ""])),
        node_uid=draw(st.sampled_from(["", "n1"])),
        node=draw(st.none() | NODES),
        known=draw(ADDRESSES),
        age=draw(st.sampled_from([0.0, PATIENCE])),
    )


@given(cases())
def test_nothing_is_approved_without_proof(case: Case) -> None:
    found = case.verdict
    if found.say is not Say.APPROVE:
        return
    name, vm = case.name.removeprefix("system:node:"), case.scene.vms["web-1"]
    assert found.about == (name,) == ("web-1",)
    assert case.groups == ("system:nodes",)
    assert set(case.dns) <= ({"web-1"} if case.signer == SERVING else set())
    by_token = case.user == f"system:bootstrap:{vm.token}"
    by_node = case.user == "system:node:web-1"
    assert by_token or by_node
    assert vm.uuid
    if by_token:
        assert case.signer == CLIENT
        assert vm.phase in (Phase.BOOTING, Phase.JOINING)
        assert case.node is None or case.node.system_uuid.lower() in ("", vm.uuid)
    else:
        assert case.node is not None
        assert case.node.system_uuid.lower() == vm.uuid
        assert vm.node_uid in ("", case.node.uid)
    if case.signer == SERVING and case.ips:
        assert case.node is not None
        assert set(case.ips) <= set(case.known or case.node.addresses)
    assert case.usages == (CLIENT_USAGES if case.signer == CLIENT else SERVING_USAGES)


@given(cases())
def test_nothing_of_others_is_denied(case: Case) -> None:
    found = case.verdict
    about = concerned(case.request, case.scene)
    assert set(found.about) <= set(about)
    if not about:
        assert found.say is Say.LEAVE
    if found.say is Say.DENY:
        tokens = {f"system:bootstrap:{vm.token}" for vm in case.scene.vms.values() if vm.token}
        claims = {case.name.removeprefix("system:node:"), *case.dns}
        assert case.user in tokens or claims & case.scene.vms.keys()


@given(cases())
def test_what_a_vm_asks_of_itself_is_never_denied(case: Case) -> None:
    own = replace(case, user="system:node:web-1", name="system:node:web-1", dns=("web-1",))
    assert own.verdict.say is not Say.DENY
