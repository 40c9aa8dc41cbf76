"""Finds out how VMs reach the API server, and by which CA they know it."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509

from plimsoll.apierrors import NotFound
from plimsoll.bootstrap.anchor import Anchor
from plimsoll.bootstrap.errors import BootstrapError
from plimsoll.kube import Kube
from plimsoll.resources import CONFIGMAPS

ROOT_CA: Final = "kube-root-ca.crt"
"""ConfigMap that Kubernetes keeps in every namespace."""
PATH: Final = "spec.template.bootstrap.endpoint"


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


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
