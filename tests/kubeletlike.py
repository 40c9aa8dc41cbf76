"""Signing requests as a kubelet makes them, and as an impostor would."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING = "kubernetes.io/kubelet-serving"
CLIENT_USAGES = ("digital signature", "client auth")
SERVING_USAGES = ("digital signature", "server auth")
KEY = ec.generate_private_key(ec.SECP256R1())


def pem(
    name: str,
    *,
    groups: Iterable[str] = ("system:nodes",),
    dns: Iterable[str] = (),
    ips: Iterable[str] = (),
    others: Iterable[x509.GeneralName] = (),
    more: Iterable[x509.NameAttribute] = (),
    key: ec.EllipticCurvePrivateKey = KEY,
) -> bytes:
    """A request for a certificate with this subject and these alternative names."""
    organisations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    common = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([*organisations, *common, *more])
    )
    alternative: list[x509.GeneralName] = [
        *(x509.DNSName(text) for text in dns),
        *(x509.IPAddress(ip_address(text)) for text in ips),
        *others,
    ]
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def document(name: str, request: bytes, signer: str, usages: Sequence[str]) -> dict[str, Any]:
    """The CertificateSigningRequest to be created."""
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64.b64encode(request).decode(),
            "signerName": signer,
            "usages": list(usages),
        },
    }
