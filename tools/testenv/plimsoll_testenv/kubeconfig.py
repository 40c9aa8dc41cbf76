"""Kubeconfig files. Written as JSON, which is YAML too and needs no library."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path

from plimsoll_testenv.certificates import Pair


def write_kubeconfig(path: Path, cluster: Mapping[str, object], user: str, pair: Pair) -> Path:
    """Write a kubeconfig, mode 0600, that authenticates as `user` by client certificate.

    `cluster` is a kubeconfig's own: server, certificate-authority-data and the like.
    """
    credentials = {
        "client-certificate-data": encode(pair.certificate),
        "client-key-data": encode(pair.key),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "plimsoll", "cluster": dict(cluster)}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": "plimsoll", "context": {"cluster": "plimsoll", "user": user}}],
        "current-context": "plimsoll",
    }
    write_private(path, json.dumps(config, indent=2).encode() + b"\n")
    return path


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def encode(data: bytes) -> str:
    """Base64, as kubeconfigs and API objects carry bytes."""
    return base64.b64encode(data).decode()
