"""The means of telling: act as a user, wait for a condition, keep what was seen."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from plimsoll.api.common import Decision
from plimsoll.world.stores import World
from plimsoll_demo.scene import Scene, scene_of
from plimsoll_demo.screen import Screen
from plimsoll_demo.site import ROOT
from plimsoll_testenv import ControlPlane

WITHIN: Final = 90.0
"""Seconds after which a condition is given up."""
_CHECK: Final = 1.0
"""At least so often is it seen whether a process has ended."""
_DRAW: Final = 0.1
"""Seconds between two looks: changes come in crowds."""


class Stage(Protocol):
    """What a story takes place on."""

    @property
    def control_plane(self) -> ControlPlane:
        """Where `kubectl` goes."""

    def require_running(self) -> None:
        """Raises with the end of its log if a process has ended."""

    def operator_log(self) -> str:
        """The last lines that the operator said."""


class Failed(Exception):
    """The story went otherwise; the text says what was awaited and what was seen."""


@dataclass
class Chapter:
    """One part of the story and what came of it."""

    name: str
    title: str
    ok: bool = False
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


class Story:
    """Tells chapters one after the other."""

    def __init__(self, site: Stage, world: World, screen: Screen) -> None:
        self.chapters: list[Chapter] = []
        self.decisions: list[Decision] = []
        self.scene = Scene()
        self._site = site
        self._world = world
        self._screen = screen
        self._changed = asyncio.Event()
        self._told: set[tuple[str, ...]] = set()
        world.on_change(lambda *_: self._changed.set())

    @asynccontextmanager
    async def chapter(self, name: str, title: str) -> AsyncIterator[Chapter]:
        """A chapter: it came out if nothing was raised in it."""
        chapter = Chapter(name, title)
        self.chapters.append(chapter)
        self._screen.heading(f"({name}) {title}")
        began = time.monotonic()
        try:
            yield chapter
            chapter.ok = True
        finally:
            chapter.seconds = round(time.monotonic() - began, 1)
        self._screen.end_of_chapter()

    def note(self, text: str) -> None:
        """Says what came of something."""
        self._screen.note(text)

    async def kubectl(self, *arguments: str, fitted: Mapping[str, str] | None = None) -> None:
        """What a user does, shown as they would type it.

        Args:
            arguments: of kubectl.
            fitted: arguments that are others where the story takes place, such as a folder.
        """
        self._screen.command(shlex.join(["kubectl", *arguments]))
        real = [(fitted or {}).get(argument, argument) for argument in arguments]
        await asyncio.to_thread(self._site.control_plane.run_kubectl, *_from_root(real))

    async def until(
        self, what: str, lacks: Callable[[Scene], str], within: float = WITHIN
    ) -> Scene:
        """Waits until nothing is lacking any more; answers the scene in which that was so.

        Raises:
            Failed: it does not come about within so many seconds, or a process ended.
        """
        deadline = time.monotonic() + within
        while True:
            self._changed.clear()
            self.look(what)
            missing = lacks(self.scene)
            if not missing:
                return self.scene
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failed(
                    f"awaited for {within:.0f} s: {what}\n"
                    f"seen in the end: {missing}\n"
                    f"the operator's last words:\n{self._site.operator_log()}"
                )
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, _CHECK)):
                    await self._changed.wait()
            await asyncio.to_thread(self._site.require_running)
            await asyncio.sleep(_DRAW)

    def look(self, awaited: str) -> None:
        """Takes in what is to be seen now, and shows it."""
        self.scene = scene_of(self._world.objects(), time.time())
        for decision in self.scene.decisions:
            key = (decision.time, decision.kind, decision.subject, decision.change)
            if key not in self._told:
                self._told.add(key)
                self.decisions.append(decision)
                self._screen.decision(decision)
        self._screen.show(self.scene, awaited)


def _from_root(arguments: Sequence[str]) -> list[str]:
    """Files are named from the repository's root, wherever the demo is started."""
    return [
        str(ROOT / argument) if argument.startswith("manifests/") else argument
        for argument in arguments
    ]
