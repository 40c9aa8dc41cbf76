"""Many comparisons at once, each in a slot of one control plane."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from differential.cluster import Cluster
from differential.compare import Disagreement, Result, compare
from differential.generate import Json
from plimsoll.apierrors import ApiError

SLOTS: Final = 16
"""Worlds side by side: most of a comparison is waiting for the scheduler to try again."""

NO_HEARTBEAT_SECONDS: Final = 24 * 3600.0
"""Nodes here have no kubelet; nobody is to take them for dead."""

_names = (f"w{secrets.token_hex(2)}-{number}" for number in itertools.count(1))
"""Names of worlds, for objects that are there for the whole cluster, and not gone at once."""


class Slots:
    """Hands out the slots of a control plane."""

    def __init__(self, cluster: Cluster, slots: int = SLOTS) -> None:
        self._cluster = cluster
        self._free: asyncio.Queue[int] = asyncio.Queue()
        for slot in range(slots):
            self._free.put_nowait(slot)

    async def compare(self, manifests: list[Json], *, nominate: bool = True) -> Result:
        """One comparison, as soon as a slot is free."""
        slot = await self._free.get()
        try:
            return await compare(self._cluster, slot, next(_names), manifests, nominate=nominate)
        finally:
            self._free.put_nowait(slot)


async def compare_all(
    slots: Slots,
    worlds: Iterable[tuple[str, list[Json]]],
    *,
    nominate: bool = True,
    found: Callable[[str, list[Disagreement]], None] = lambda name, disagreements: None,
) -> tuple[dict[str, list[Disagreement]], Counter[str]]:
    """Compares worlds given by name; returns what disagrees, by world, and counts over all."""
    disagreements: dict[str, list[Disagreement]] = {}
    counts: Counter[str] = Counter()
    todo = iter(worlds)

    async def work() -> None:
        for name, manifests in todo:
            try:
                result = await slots.compare(manifests, nominate=nominate)
            except ApiError as error:
                raise AssertionError(f"{name}: {error}") from error
            counts.update(result.counts)
            if result.disagreements:
                disagreements[name] = result.disagreements
                found(name, result.disagreements)

    async with asyncio.TaskGroup() as group:
        for _ in range(SLOTS):
            group.create_task(work())
    return disagreements, counts
