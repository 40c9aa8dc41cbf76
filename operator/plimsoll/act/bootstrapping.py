"""What the life cycle asks of the bootstrap service."""

from __future__ import annotations

from typing import Protocol

from plimsoll.act.providers import NotConfigured
from plimsoll.api import VMNode
from plimsoll.hypervisors.contract import Intent


class Bootstrapper(Protocol):
    """Makes and deletes what turns a VM into a node. Every call may be repeated."""

    async def prepare(self, record: VMNode, intent: Intent, lifetime: float) -> str:
        """The user data of the VM of this intent.

        The token in it has the id ``status.bootstrapToken``, which is recorded before
        this is called, and is made if it is not there; it ends after ``lifetime`` seconds
        at the earliest.

        Raises:
            NotConfigured: the cluster's address or CA is not known, or a token of that
                id is somebody else's.
        """

    async def forget(self, record: VMNode) -> None:
        """Deletes the token of this VMNode; one that is gone, or another's, is left alone."""


class NoBootstrapper:
    """Stands in where the operator has no bootstrap service."""

    async def prepare(self, record: VMNode, intent: Intent, lifetime: float) -> str:
        raise NotConfigured("BootstrapUnavailable", "this build cannot make VMs into nodes")

    async def forget(self, record: VMNode) -> None:
        """It made none."""
