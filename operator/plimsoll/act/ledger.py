"""Live counts of the pools' VMs: the last look before one is added or retired.

Counts are read from the API server once per plan and pool, never from a cache,
and follow our own writes; so neither a stale view nor a second plan takes a
pool above its most or below its least.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from plimsoll.act.outcome import Refused
from plimsoll.api import VMPool, labels
from plimsoll.api.vmnode import Phase
from plimsoll.apierrors import NotFound
from plimsoll.decide.plan import Reason
from plimsoll.kube import Kube
from plimsoll.resources import VMNODES, VMPOOLS

_LEAVING = (Phase.DRAINING, Phase.DELETING)


class PoolCount:
    """One pool as it is now: its spec, and how many of its VMs stay or leave."""

    def __init__(self, pool: VMPool, staying: int, leaving: int) -> None:
        self.pool = pool
        self.staying = staying
        self.leaving = leaving

    @property
    def most(self) -> int:
        """VMs that there may be."""
        spec = self.pool.spec
        return spec.nodes.max if spec.replicas is None else spec.replicas

    @property
    def least(self) -> int:
        """VMs that there must be."""
        spec = self.pool.spec
        return spec.nodes.min if spec.replicas is None else spec.replicas

    def take_launch(self) -> None:
        """Counts a VM that is about to be launched.

        Raises:
            Refused: the pool is going away or has as many VMs as it may have.
        """
        if self.pool.metadata.deletion_timestamp:
            raise Refused(Reason.POOL_DELETING, "the pool is being deleted")
        if self.staying >= self.most:
            raise Refused(
                Reason.POOL_AT_MAX, f"the pool has {self.staying} VMs and may have {self.most}"
            )
        self.staying += 1

    def take_retire(self, *, replaced: bool = False) -> None:
        """Counts a VM that is about to be retired.

        One that is ``replaced`` may be missing for a while: the next plan fills the pool up.

        Raises:
            Refused: too few would stay, or too many are leaving already.
        """
        name = self.pool.metadata.name
        if self.staying <= self.least and not replaced:
            raise Refused(
                Reason.POOL_AT_MIN,
                f"{name} has {self.staying} VMs that stay and may not have fewer than {self.least}",
            )
        limit = self.pool.spec.disruption.max_unavailable
        if self.leaving >= limit:
            raise Refused(
                Reason.MAX_UNAVAILABLE,
                f"{self.leaving} VMs of {name} are leaving already and "
                f"disruption.maxUnavailable is {limit}",
            )
        self.staying -= 1
        self.leaving += 1


class Ledger:
    """The counts of all pools that one plan touches."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._counts: dict[str, PoolCount] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def of(self, pool: str) -> PoolCount:
        """The count of a pool, read now if this plan has not read it before.

        Raises:
            Refused: there is no such pool any more.
        """
        async with self._locks[pool]:
            if pool not in self._counts:
                self._counts[pool] = await self._read(pool)
            return self._counts[pool]

    async def _read(self, name: str) -> PoolCount:
        # Side by side: a launch waits for them.
        found, vms = await asyncio.gather(
            self._kube.get(VMPOOLS, name),
            self._kube.list_all(VMNODES, label_selector=f"{labels.POOL}={name}"),
            return_exceptions=True,
        )
        if isinstance(found, NotFound):
            raise Refused(Reason.POOL_PROBLEM, f"VMPool {name} does not exist any more") from None
        if isinstance(found, BaseException):
            raise found
        if isinstance(vms, BaseException):
            raise vms
        pool = VMPool.model_validate(found)
        leaving = sum(map(is_leaving, vms))
        return PoolCount(pool, len(vms) - leaving, leaving)


def is_leaving(vmnode: Mapping[str, Any]) -> bool:
    """Whether a VMNode (as the API server gives it) is on its way out."""
    return bool(
        vmnode["metadata"].get("deletionTimestamp")
        or vmnode["spec"].get("retire")
        or (vmnode.get("status") or {}).get("phase") in _LEAVING
    )
