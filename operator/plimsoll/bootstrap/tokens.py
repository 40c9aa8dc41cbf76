"""Bootstrap tokens: one for each VM, short-lived, and known to nobody but it.

A token is a Secret of type ``bootstrap.kubernetes.io/token`` in ``kube-system``
(Kubernetes reference, "Authenticating with Bootstrap Tokens"). Whoever has it may
do one thing: create certificate signing requests, by the group ``GROUP``, which
``manifests/rbac.yaml`` binds to ``system:node-bootstrapper``. It is a group of our
own, so that no rule of kubeadm's, such as the one that approves its tokens' requests
unseen, applies to it.

The operator may create and delete these Secrets, and never read one.
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field
from typing import Any, Final

from plimsoll.api import labels as names
from plimsoll.api.base import API_VERSION
from plimsoll.api.timestamp import rfc3339
from plimsoll.api.vmnode import VMNode

NAMESPACE: Final = "kube-system"
"""Where the API server looks for tokens; nowhere else."""
TYPE: Final = "bootstrap.kubernetes.io/token"
GROUP: Final = "system:bootstrappers:plimsoll"
USER_PREFIX: Final = "system:bootstrap:"
"""User name of whoever has a token, before the token's id."""

_ALPHABET: Final = string.ascii_lowercase + string.digits
_ID_LENGTH: Final = 6
_SECRET_LENGTH: Final = 16


@dataclass(frozen=True)
class Token:
    """A bootstrap token. Printing it shows its id alone."""

    id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """As kubelet and k3s read it."""
        return f"{self.id}.{self.secret}"


def new_token() -> Token:
    """A token that nobody can guess."""
    return Token(_random(_ID_LENGTH), _random(_SECRET_LENGTH))


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def secret_name(token_id: str) -> str:
    """Name of the Secret; the API server finds a token by it."""
    return f"bootstrap-token-{token_id}"


def document(token: Token, record: VMNode, cluster: str, expires: float) -> dict[str, Any]:
    """The Secret of this VM's token. ``expires`` is in seconds since the epoch.

    The VMNode owns it: if somebody removes the VMNode by force, garbage collection
    takes the token along.
    """
    meta = record.metadata
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name(token.id),
            "namespace": NAMESPACE,
            "labels": {names.MANAGED_BY: names.FIELD_MANAGER, names.VMNODE: meta.name},
            "annotations": {names.VMNODE_UID: meta.uid, names.CLUSTER: cluster},
            "ownerReferences": [
                {"apiVersion": API_VERSION, "kind": "VMNode", "name": meta.name, "uid": meta.uid}
            ],
        },
        "type": TYPE,
        "stringData": {
            "token-id": token.id,
            "token-secret": token.secret,
            "expiration": rfc3339(expires),
            "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "false",
            "auth-extra-groups": GROUP,
            "description": f"VM {meta.name}, made by Plimsoll",
        },
    }
