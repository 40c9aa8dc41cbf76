"""Events: posted in the background, the same only once in a while, never in the way."""

from __future__ import annotations

import asyncio
from typing import Any

from aio import background, eventually, run
from plimsoll.apierrors import Forbidden
from plimsoll.events import SUPPRESS_SECONDS, EventReason, Recorder, Subject


class Posted:
    """Stands for the API server; only ``create`` is asked for."""

    def __init__(self, refuse: int = 0) -> None:
        self.events: list[dict[str, Any]] = []
        self._refuse = refuse

    async def create(self, event: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self._refuse:
            self._refuse -= 1
            raise Forbidden(403, "Forbidden", "no")
        self.events.append(event)
        return event


POOL = Subject("VMPool", "web", uid="u1")
WORKLOAD = Subject("ContainerWorkload", "httpd", "shop", "u2")


def recorded(posted: Posted, *told: tuple[float, Subject, str]) -> list[str]:
    """Messages that are posted when these are told at these times."""

    async def story() -> list[str]:
        now = 0.0
        recorder = Recorder(posted, clock=lambda: now)  # type: ignore[arg-type]
        async with background(recorder.run()):
            for now, about, message in told:  # noqa: B007
                recorder.record(about, EventReason.LAUNCHED, message)
            await recorder.drain(5.0)
        return [event["message"] for event in posted.events]

    return run(story())


def test_the_same_about_the_same_is_said_once_in_a_while() -> None:
    posted = Posted()
    later = SUPPRESS_SECONDS + 1
    messages = recorded(
        posted,
        (0, POOL, "a"),
        (1, POOL, "a"),
        (2, POOL, "b"),
        (3, WORKLOAD, "a"),
        (later, POOL, "a"),
    )
    assert messages == ["a", "b", "a", "a"]
    assert len({event["metadata"]["name"] for event in posted.events}) == 4


def test_an_event_lives_in_its_objects_namespace_or_in_default() -> None:
    posted = Posted()
    recorded(posted, (0, POOL, "a"), (0, WORKLOAD, "a"))
    assert [event["metadata"]["namespace"] for event in posted.events] == ["default", "shop"]
    assert posted.events[1]["involvedObject"] == {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "ContainerWorkload",
        "name": "httpd",
        "namespace": "shop",
        "uid": "u2",
    }


def test_a_refused_event_does_not_stop_the_next() -> None:
    assert recorded(Posted(refuse=1), (0, POOL, "lost"), (0, POOL, "kept")) == ["kept"]


def test_too_many_events_are_dropped_and_not_waited_for() -> None:
    async def story() -> int:
        posted = Posted()
        recorder = Recorder(posted)  # type: ignore[arg-type]
        for number in range(2000):
            recorder.record(POOL, EventReason.LAUNCHED, f"{number}")
        async with background(recorder.run()):
            await eventually(lambda: len(posted.events) > 0)
            await recorder.drain(5.0)
        return len(posted.events)

    assert 0 < run(story()) < 2000
