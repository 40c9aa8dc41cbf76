"""Performs a story: with the world watched while it is told, and a report of what came out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from plimsoll.kube import Kube
from plimsoll.world.stores import World
from plimsoll_demo.screen import Screen
from plimsoll_demo.story import Failed, Stage, Story
from plimsoll_testenv.errors import TestEnvError


async def perform(
    stage: Stage,
    screen: Screen,
    tell: Callable[[Story], Awaitable[None]],
    *,
    sync_seconds: float,
) -> dict[str, Any]:
    """Has the story told; answers what came out, also if it failed.

    ``sync_seconds`` is how long the first look at the cluster may take.
    """
    failure = ""
    async with Kube.from_environment(str(stage.control_plane.kubeconfig)) as kube:
        world = World(kube)
        watching = asyncio.create_task(world.run())
        try:
            async with asyncio.timeout(sync_seconds):
                await world.wait_synced()
            story = Story(stage, world, screen)
            try:
                await tell(story)
            except (Failed, TestEnvError) as error:
                failure = str(error)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    if failure:
        screen.print_tables()
        screen.console.print(f"\nfailed: {failure}", style="red", markup=False, soft_wrap=True)
    return {
        "ok": not failure,
        "failure": failure,
        "chapters": [vars(chapter) for chapter in story.chapters],
        "decisions": [decision.model_dump(mode="json") for decision in story.decisions],
    }
