"""Certificate signing requests as kubelets make them: read strictly, or not at all. Pure.

What is approved here is signed by kube-controller-manager, which parses the request
anew. So nothing is accepted that two parsers could read in two ways: one PEM block and
nothing around it, one common name, at most one set of extensions.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from plimsoll.world import wire

CLIENT: Final = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING: Final = "kubernetes.io/kubelet-serving"
NODE_PREFIX: Final = "system:node:"
NODES_GROUP: Final = "system:nodes"

_MARK: Final = "-----{} CERTIFICATE REQUEST-----"
_PEM: Final = re.compile(f"{_MARK.format('BEGIN')}\n([A-Za-z0-9+/=\n]+)\n{_MARK.format('END')}\n?")
_EXTENSION_REQUEST: Final = ObjectIdentifier("1.2.840.113549.1.9.14")
"""The attribute that holds a request's extensions (PKCS #9)."""
_PURPOSE: Final = {CLIENT: "client auth", SERVING: "server auth"}
Address = IPv4Address | IPv6Address


class Spec(wire.Wire, frozen=True, kw_only=True):
    request: str = ""
    """PEM in base64."""
    signer_name: str = ""
    username: str = ""
    """Who asks: the API server says so, not the request."""
    groups: list[str] = []
    usages: list[str] = []


class Condition(wire.Wire, frozen=True, kw_only=True):
    type: str


class Status(wire.Wire, frozen=True, kw_only=True):
    conditions: list[Condition] = []


class SigningRequest(wire.Object, frozen=True, kw_only=True):
    """A ``CertificateSigningRequest``, as far as it is read."""

    spec: Spec = Spec()
    status: Status = Status()

    @property
    def open(self) -> bool:
        """One of kubelet's kinds, which nobody has decided on yet."""
        return self.spec.signer_name in _PURPOSE and not self.status.conditions


class Asked(NamedTuple):
    """What a request asks for."""

    node: str
    """Name of the node that it is to speak for; empty: none."""
    dns: tuple[str, ...]
    addresses: tuple[Address, ...]
    problem: str
    """How it differs from what a kubelet asks; empty: it does not."""


NOTHING: Final = Asked("", (), (), "it cannot be read")


def read(request: SigningRequest) -> Asked:
    """What the request asks for."""
    spec = request.spec
    return _read(spec.request, spec.signer_name, frozenset(spec.usages))


@lru_cache(maxsize=1024)
def _read(text: str, signer: str, usages: frozenset[str]) -> Asked:
    csr = _parse(text)
    if csr is None:
        return NOTHING
    try:
        names = [str(a.value) for a in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        groups = [
            str(a.value) for a in csr.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        ]
        others = len(list(csr.subject)) - len(names) - len(groups)
        alternative = _alternative_names(csr)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return NOTHING
    if len(names) != 1 or alternative is None:
        return NOTHING
    node = names[0].removeprefix(NODE_PREFIX) if names[0].startswith(NODE_PREFIX) else ""
    dns = tuple(n.value for n in alternative if isinstance(n, x509.DNSName))
    addresses = tuple(
        n.value
        for n in alternative
        if isinstance(n, x509.IPAddress) and isinstance(n.value, IPv4Address | IPv6Address)
    )
    problem = ""
    needed = {"digital signature", _PURPOSE[signer]}
    if not node:
        problem = f"its common name is {names[0]!r}, which is no node's"
    elif groups != [NODES_GROUP] or others:
        problem = f"its subject has more or other than the organisation {NODES_GROUP}"
    elif not needed <= usages <= needed | {"key encipherment"}:
        problem = f"it asks for the usages {', '.join(sorted(usages))}"
    elif signer == CLIENT and alternative:
        problem = "it asks for alternative names, which a client has none of"
    elif signer == SERVING and not alternative:
        problem = "it asks for neither a name nor an address"
    elif len(dns) + len(addresses) != len(alternative):
        problem = "it asks for alternative names that are neither DNS names nor addresses"
    return Asked(node, dns, addresses, problem)


def _parse(text: str) -> x509.CertificateSigningRequest | None:
    try:
        pem = _PEM.fullmatch(base64.b64decode(text, validate=True).decode("ascii"))
        if pem is None:
            return None
        der = base64.b64decode(pem[1].replace("\n", ""), validate=True)
        return x509.load_der_x509_csr(der)
    except (ValueError, binascii.Error):
        return None


def _alternative_names(csr: x509.CertificateSigningRequest) -> list[x509.GeneralName] | None:
    """None: they cannot be told for certain."""
    attributes = [attribute.oid for attribute in csr.attributes]
    if attributes not in ([], [_EXTENSION_REQUEST]):
        return None
    for extension in csr.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            return list(extension.value)
    return []


def decode(raw: msgspec.Raw) -> SigningRequest:
    """A request as the API server sends it.

    Raises:
        msgspec.ValidationError: it is none.
    """
    return _decoder.decode(raw)


_decoder: Final = msgspec.json.Decoder(SigningRequest)
