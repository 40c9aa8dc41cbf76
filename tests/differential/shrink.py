"""Minimal reproductions: parts of a world are taken away for as long as it still disagrees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from differential.generate import Json, copy

Disagrees = Callable[[list[Json]], Awaitable[bool]]

SECONDS: Final = 120.0
"""Time for one reproduction."""
_KEPT = frozenset({"Hypervisor", "VMPool", "Namespace", "PriorityClass"})
"""Kinds without which a world means nothing; parts of them may go."""
_MEANT = frozenset({"density"})
"""Parts whose default would make another comparison of it: the load line."""
_AT_ONCE = 8


async def shrink(world: list[Json], disagrees: Disagrees, seconds: float = SECONDS) -> list[Json]:
    """A world from which nothing more can be taken away; `disagrees` tells whether one still does.

    Whole objects go first, then parts of them. Candidates are tried several at a time. After
    `seconds` the smallest world so far is as good as it gets.
    """
    until = time.monotonic() + seconds
    for smaller in (_without_objects, _without_parts):
        tried: set[str] = set()
        while time.monotonic() < until:
            candidates = [c for c in smaller(world) if repr(c) not in tried]
            for start in range(0, len(candidates), _AT_ONCE):
                if time.monotonic() > until:
                    return world
                some = candidates[start : start + _AT_ONCE]
                tried.update(map(repr, some))
                answers = await asyncio.gather(*(_disagrees(c, disagrees) for c in some))
                found = [c for c, answer in zip(some, answers, strict=True) if answer]
                if found:
                    world = min(found, key=lambda c: len(repr(c)))
                    break
            else:
                break
    return world


async def _disagrees(world: list[Json], disagrees: Disagrees) -> bool:
    try:
        return await disagrees(world)
    except Exception:
        # Without that part it is no world: a reference leads nowhere, a field is required.
        return False


def _without_objects(world: list[Json]) -> Iterator[list[Json]]:
    removable = [n for n, item in enumerate(world) if item["kind"] not in _KEPT]
    size = len(removable) // 2
    while size:
        for start in range(0, len(removable), size):
            gone = set(removable[start : start + size])
            yield [item for n, item in enumerate(world) if n not in gone]
        size //= 2
    pools = [n for n, item in enumerate(world) if item["kind"] == "VMPool"]
    for number in pools if len(pools) > 1 else ():
        yield [item for n, item in enumerate(world) if n != number]


def _without_parts(world: list[Json]) -> Iterator[list[Json]]:
    for number, item in enumerate(world):
        root = {"Pod": "spec", "VMPool": "spec", "DaemonSet": "spec", "Node": "spec"}.get(
            item["kind"]
        )
        if root is None:
            continue
        for path in _paths(item[root], (root,)):
            smaller = copy(item)
            part = smaller
            for step in path[:-1]:
                part = part[step]
            del part[path[-1]]
            yield [*world[:number], smaller, *world[number + 1 :]]


def _paths(part: object, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    """Where something can be taken out, the largest parts first."""
    steps: list[tuple[str | int, object]] = []
    if isinstance(part, dict):
        steps = list(part.items())
    elif isinstance(part, list):
        steps = list(enumerate(part))
    for step, _ in steps:
        if step not in _MEANT:
            yield (*path, step)
    for step, value in steps:
        if step not in _MEANT:
            yield from _paths(value, (*path, step))
