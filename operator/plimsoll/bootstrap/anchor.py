"""The API server as VMs know it: its address, its CA, and the hashes of that. Pure."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization


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


def _issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
