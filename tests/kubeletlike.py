"""Signing requests as a kubelet makes them, and as an impostor would."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

import yaml
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


@dataclass(frozen=True)
class Credentials:
    """What a kubelet proves itself by, and how it knows the API server."""

    server: str
    ca: str
    token: str
    certificate: bytes = b""

    @classmethod
    def of_user_data(cls, user_data: str) -> Credentials:
        """As the user data for the method Kubelet tells."""
        found = {item["path"]: item["content"] for item in yaml.safe_load(user_data)["write_files"]}
        config = yaml.safe_load(found["/etc/kubernetes/bootstrap-kubelet.conf"])
        cluster = config["clusters"][0]["cluster"]
        ca = found[cluster["certificate-authority"]]
        return cls(cluster["server"], ca, config["users"][0]["user"]["token"])

    def with_certificate(self, certificate: bytes) -> Credentials:
        """The same with a client certificate of ``KEY`` instead of the token."""
        return replace(self, token="", certificate=certificate)

    def with_token(self, token: str) -> Credentials:
        """The same with another token."""
        return replace(self, token=token)

    @property
    def kubeconfig(self) -> dict[str, Any]:
        """A kubeconfig that needs no other file."""
        key = KEY.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        user = {"token": self.token}
        if self.certificate:
            user = {
                "client-certificate-data": base64.b64encode(self.certificate).decode(),
                "client-key-data": base64.b64encode(key).decode(),
            }
        ca = base64.b64encode(self.ca.encode()).decode()
        cluster = {"server": self.server, "certificate-authority-data": ca}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }
