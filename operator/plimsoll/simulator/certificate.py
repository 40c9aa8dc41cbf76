"""The metrics server's own certificate, made anew at every start, and its TLS settings."""

from __future__ import annotations

import datetime
import ssl
import tempfile
from pathlib import Path
from typing import Final

VALID_DAYS: Final = 365


def server_context(name: str, client_ca: str) -> tuple[ssl.SSLContext, str]:
    """TLS for a server of this DNS name, and its certificate (PEM) for clients to trust.

    Only clients with a certificate of ``client_ca`` (PEM) get beyond the handshake.
    """
    certificate, key = _self_signed(name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=client_ca)
    # OpenSSL takes a key from a file only; this one is gone before anybody connects.
    with tempfile.TemporaryDirectory(prefix="plimsoll-") as directory:
        pem = Path(directory, "server.pem")
        pem.touch(mode=0o600)
        pem.write_text(key + certificate)
        context.load_cert_chain(pem)
    return context, certificate


def _self_signed(name: str) -> tuple[str, str]:
    """Certificate and key (PEM) of a server of this DNS name."""
    from cryptography import x509  # only the metrics server needs it
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plimsoll-simulator")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()
