"""The API server as the VMs see it: its address, and the CA by which they know it."""

from __future__ import annotations

import asyncio
import hashlib
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from plimsoll.apierrors import NotFound
from plimsoll.bootstrap.errors import BootstrapError
from plimsoll.kube import Kube
from plimsoll.resources import CONFIGMAPS

ROOT_CA: Final = "kube-root-ca.crt"
"""ConfigMap that Kubernetes keeps in every namespace."""
PATH: Final = "spec.template.bootstrap.endpoint"


class Anchor(NamedTuple):
    """What a VM must know of the cluster before it can ask for anything."""

    endpoint: str
    """URL."""
    ca: str
    """PEM, one certificate or several."""

    @property
    def bundle_hash(self) -> str:
        """The CA's hash as k3s expects it in a token.

        k3s hashes the bytes of a bundle of one certificate; of a longer one the DER of the
        root to which the first leads, if there is one (its documentation, "Token Format").
        """
        first, *others = x509.load_pem_x509_certificates(self.ca.encode())
        known, step = self.ca.encode(), first
        while others:
            above = next((c for c in others if _issued(step, c)), None)
            if above is None:
                break
            if above.issuer == above.subject:
                known = above.public_bytes(serialization.Encoding.DER)
                break
            others.remove(above)
            step = above
        return hashlib.sha256(known).hexdigest()

    @property
    def key_hash(self) -> str:
        """The hash of the CA's public key, as kubeadm writes it."""
        key = x509.load_pem_x509_certificates(self.ca.encode())[0].public_key()
        der = key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return f"sha256:{hashlib.sha256(der).hexdigest()}"


async def find(kube: Kube, namespace: str, endpoint: str) -> Anchor:
    """The cluster as VMs see it; ``endpoint`` is what the template says, if anything.

    Raises:
        BootstrapError: no address that a VM could reach, or no CA, is known.
        ApiError: the API server cannot be asked.
    """
    server = (endpoint or kube.server).rstrip("/")
    if not endpoint and _is_loopback(urlsplit(server).hostname or ""):
        raise BootstrapError(
            f"the operator reaches the API server at {server}, where no VM finds it: "
            f"set {PATH} to an address that VMs reach"
        )
    ca = await _ca(kube, namespace)
    try:
        x509.load_pem_x509_certificates(ca.encode())
    except ValueError as error:
        raise BootstrapError(
            f"the API server's CA cannot be read: {error}; look at the ConfigMap {ROOT_CA} in "
            f"namespace {namespace}"
        ) from error
    return Anchor(server, ca)


async def _ca(kube: Kube, namespace: str) -> str:
    try:
        found = await kube.get(CONFIGMAPS, ROOT_CA, namespace)
        if ca := (found.get("data") or {}).get("ca.crt"):
            return str(ca)
    except NotFound:
        pass  # kube-controller-manager was given no CA to publish
    if file := kube.certificate_authority:
        return await asyncio.to_thread(Path(file).read_text)
    raise BootstrapError(
        f"no CA of the API server is known, and a VM must not trust just any: there is no "
        f"ConfigMap {ROOT_CA} in namespace {namespace}, and the kubeconfig names none"
    )


def _issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
