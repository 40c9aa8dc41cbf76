"""What the life cycle asks for: the user data of a VM, and that its token be forgotten."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from plimsoll.api.bootstrap import Bootstrap
from plimsoll.api.vmnode import VMNode
from plimsoll.apierrors import AlreadyExists, NotFound
from plimsoll.bootstrap import cluster, machine, tokens, userdata
from plimsoll.kube import Kube
from plimsoll.resources import SECRETS, VMNODES

log = logging.getLogger(__name__)

SLACK: Final = 300.0
"""Seconds that a token outlives the launch for which it was made."""
_TRIES: Final = 3


@dataclass(frozen=True)
class Prepared:
    """A VM's user data, and its VMNode as it was stored with the token's id."""

    record: VMNode
    """With ``status.bootstrapToken`` and the new resourceVersion: write on this one."""
    user_data: str = field(repr=False)
    """Secret."""


@dataclass(frozen=True)
class _Kept:
    token: tokens.Token
    expires: float


class Bootstrapper:
    """Makes VMs' user data and tokens.

    Intent first: the token's id is in the VMNode's status before the token exists, so
    whoever comes later can delete it. Its secret is nowhere but in the token itself, in
    the VM's user data, and in this process while the launch is under way.
    """

    def __init__(
        self,
        kube: Kube,
        cluster: str,
        namespace: str,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``cluster`` is our mark on VMs, ``namespace`` the operator's own."""
        self._kube = kube
        self._cluster = cluster
        self._namespace = namespace
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    async def prepare(
        self,
        record: VMNode,
        labels: Mapping[str, str],
        launch_timeout: float,
        provider_id: str = "",
    ) -> Prepared:
        """The user data for the VM of this VMNode, with a token that works.

        ``record`` is as the API server has it now; ``labels`` are those that the node is to
        carry; ``launch_timeout`` is in seconds. ``provider_id`` may be empty where it is not
        known yet. A token that this process made for the same launch is used again as long
        as it outlives that; any other is deleted and a fresh one made.

        Raises:
            BootstrapError: the template cannot be rendered; the text says where.
            Conflict: the VMNode was changed meanwhile; nothing was made.
            ApiError: the API server refused or did not answer.
        """
        bootstrap = record.spec.template.bootstrap or Bootstrap()
        found = await cluster.find(self._kube, self._namespace, bootstrap.endpoint)
        vm = machine.of(record, labels, provider_id)
        # What cannot be rendered is to be known before anything is made.
        userdata.render(bootstrap, vm, found, tokens.new_token())
        record, token = await self._token(record, launch_timeout)
        return Prepared(record, userdata.render(bootstrap, vm, found, token))

    async def forget(self, record: VMNode) -> None:
        """Deletes the VM's token by the id in its status; the caller clears that afterwards.

        Raises:
            ApiError: it could not be deleted; repeat it. ``Invalid``: it is not one of ours,
                says the policy of ``manifests/rbac.yaml``.
        """
        self._kept.pop(record.metadata.uid, None)
        if record.status is not None and record.status.bootstrap_token:
            name = tokens.secret_name(record.status.bootstrap_token)
            with suppress(NotFound):
                await self._kube.delete(SECRETS, name, tokens.NAMESPACE)

    async def _token(self, record: VMNode, launch_timeout: float) -> tuple[VMNode, tokens.Token]:
        now, uid = self._clock(), record.metadata.uid
        recorded = record.status.bootstrap_token if record.status else ""
        kept = self._kept.get(uid)
        if kept and kept.token.id == recorded and kept.expires >= now + launch_timeout:
            return record, kept.token
        if recorded:
            await self.forget(record)
        expires = now + launch_timeout + SLACK
        for left in reversed(range(_TRIES)):
            token = tokens.new_token()
            record = await self._recorded(record, token.id)
            try:
                await self._kube.create(tokens.document(token, record, self._cluster, expires))
            except AlreadyExists:
                # Somebody else's token has this id by chance.
                if not left:
                    raise
                continue
            break
        self._kept[uid] = _Kept(token, expires)
        return record, token

    async def _recorded(self, record: VMNode, token_id: str) -> VMNode:
        meta = record.metadata
        patch = {
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": {"bootstrapToken": token_id},
        }
        answer = await self._kube.patch_subresource(
            VMNODES, meta.name, "status", patch, kind="merge"
        )
        return VMNode.model_validate(answer)
