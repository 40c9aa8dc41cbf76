"""Health: what is stuck is said, and what only takes its time is not."""

from __future__ import annotations

import aiohttp
from prometheus_client import CollectorRegistry

from aio import run
from plimsoll.health import STUCK_AFTER, TURN_HANGS_AFTER, UNKEPT_AFTER, Health
from plimsoll.resources import PODS, Resource
from plimsoll.server import HttpServer


class Loop:
    turns = 1
    busy = 0.0

    def busy_for(self) -> float:
        return self.busy


class World:
    def __init__(self) -> None:
        self.ages: dict[Resource, float] = {PODS: 1.0}
        self.missing: dict[Resource, str] = {}
        self.vmnodes: set[str] = set()

    def stuck(self, limit: float) -> dict[Resource, float]:
        return {resource: age for resource, age in self.ages.items() if age > limit}

    def unsynced(self) -> dict[Resource, str]:
        return self.missing

    def vmnode_names(self) -> set[str]:
        return self.vmnodes


class TestHealth:
    def setup_method(self) -> None:
        self.now = 0.0
        self.loop, self.world = Loop(), World()
        self.health = Health(self.loop, self.world, clock=lambda: self.now)

    def test_all_is_well(self) -> None:
        assert list(self.health.unready()) == []

    def test_a_turn_may_take_time_but_not_for_ever(self) -> None:
        self.loop.busy = TURN_HANGS_AFTER - 1
        assert list(self.health.unwell()) == []
        self.loop.busy = TURN_HANGS_AFTER + 1
        assert list(self.health.unwell()) == ["the planning loop hangs: its turn began 121 s ago"]

    def test_a_silent_watch(self) -> None:
        self.world.ages[PODS] = STUCK_AFTER + 1
        assert list(self.health.unwell()) == ["the watch of pods is stuck: silent for 301 s"]

    def test_what_is_not_read_yet_is_not_ready_but_well(self) -> None:
        self.world.missing[PODS] = "not read yet"
        assert list(self.health.unready()) == ["pods: not read yet"]
        assert list(self.health.unwell()) == []

    def test_before_the_first_turn_it_is_not_ready(self) -> None:
        self.loop.turns = 0
        assert list(self.health.unready()) == [
            "no turn of the planning loop has been completed yet"
        ]

    def test_a_vmnode_that_nobody_keeps(self) -> None:
        self.world.vmnodes = {"web-1", "web-2"}
        with self.health.keeping("web-1"):
            assert list(self.health.unwell()) == []
            self.now += UNKEPT_AFTER + 1
            assert list(self.health.unwell()) == [
                "nobody keeps VMNode web-2: kopf's watch does not see it"
            ]
        assert len(list(self.health.unwell())) == 1, "web-1 was kept until now"

    def test_a_part_that_ended_stays_a_finding(self) -> None:
        self.health.failed("the task 'world' ended")
        assert list(self.health.unwell()) == list(self.health.unready()) != []


def test_findings_are_answered_with_503_one_a_line() -> None:
    findings = ["one", "two"]

    async def asked() -> list[tuple[int, str]]:
        server = HttpServer(lambda: findings, lambda: [], CollectorRegistry())
        port = await server.start("127.0.0.1", 0)
        answers = []
        async with aiohttp.ClientSession() as session:
            for path in ("/healthz", "/readyz"):
                async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                    answers.append((answer.status, await answer.text()))
        await server.close()
        return answers

    assert run(asked()) == [(503, "one\ntwo\n"), (200, "ok\n")]
