"""The reflector against a server that fails to order (``faulty_api``: what it leaves out)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

import aio
from faulty_api import FaultyApi, pod, status
from plimsoll.kube import Kube
from plimsoll.resources import PODS
from plimsoll.world import wire
from plimsoll.world.reflector import BACKOFF_MAX, RETRY_AFTER_MAX, Reflector

Changes = list[tuple[str, bool, bool]]


class Bench:
    """A reflector of a faulty server's pods, what it told, and how long it meant to sleep."""

    def __init__(self, api: FaultyApi, kube: Kube, **settings: Any) -> None:
        self.api = api
        self.changes: Changes = []
        self.delays: list[float] = []
        self.reflector = Reflector(
            kube,
            PODS,
            msgspec.json.Decoder(wire.Pod).decode,
            page_size=2,
            sleep=self._sleep,
            rand=lambda: 1.0,
            **settings,
        )
        self.reflector.on_change(
            lambda key, old, new: self.changes.append((key.name, old is not None, new is not None))
        )

    async def _sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        await asyncio.sleep(min(seconds, 0.01))

    @property
    def names(self) -> set[str]:
        return {obj.metadata.name for obj in self.reflector.store.values()}

    def node_of(self, name: str) -> str:
        obj = self.reflector.store.get("default", name)
        assert obj is not None, f"{name} is not in the store"
        return obj.spec.node_name

    async def sees(self, *names: str) -> None:
        """Waits until the store holds exactly these pods and a watch is open."""
        await aio.eventually(lambda: self.names == set(names) and self.api.watches == 1)


@asynccontextmanager
async def bench_of(api: FaultyApi, folder: Path, **settings: Any) -> AsyncIterator[Bench]:
    async with api.serve(folder) as kubeconfig, Kube(kubeconfig) as kube:
        bench = Bench(api, kube, **settings)
        async with aio.background(bench.reflector.run()):
            yield bench


@pytest.fixture
def api() -> FaultyApi:
    api = FaultyApi()
    for name in ("a", "b", "c"):
        api.put(name)
    return api


def test_lists_in_pages_and_follows_changes(api: FaultyApi, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench_of(api, tmp_path) as bench:
            await bench.sees("a", "b", "c")
            assert bench.reflector.synced
            assert api.count(watch=False) == 2, "three pods in pages of two"
            api.put("d")
            api.put("a", nodeName="n1")
            api.remove("b")
            await bench.sees("a", "c", "d")
            assert bench.node_of("a") == "n1"
            assert bench.changes[3:] == [
                ("d", False, True),
                ("a", True, True),
                ("b", True, False),
            ]
            api.hang_up()
            await aio.eventually(lambda: api.count(watch=True) == 2)
            assert api.requests[-1].query["resourceVersion"] == str(api.version)

    aio.run(scenario())


def test_an_event_may_be_larger_than_what_comes_at_once(api: FaultyApi, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench_of(api, tmp_path) as bench:
            await bench.sees("a", "b", "c")
            api.put("a", nodeName="n" * 5_000_000)
            await aio.eventually(lambda: len(bench.node_of("a")) == 5_000_000)
            assert api.count(watch=True) == 1

    aio.run(scenario())


def test_an_empty_cluster_is_synced(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench_of(FaultyApi(), tmp_path) as bench:
            await bench.reflector.wait_synced()
            assert bench.names == set()

    aio.run(scenario())


@pytest.mark.parametrize("in_stream", [False, True], ids=["answer", "event"])
def test_410_lists_again_and_a_deletion_missed_meanwhile_is_noticed(
    api: FaultyApi, tmp_path: Path, in_stream: bool
) -> None:
    api.gone_in_stream = in_stream

    async def scenario() -> None:
        async with bench_of(api, tmp_path) as bench:
            await bench.sees("a", "b", "c")
            api.put("a", nodeName="n1")
            await aio.eventually(lambda: bench.node_of("a") == "n1")
            api.deaf = True
            api.remove("b")
            api.put("d")
            api.compacted = api.version
            api.deaf = False
            api.hang_up()
            await bench.sees("a", "c", "d")
            assert ("b", True, False) in bench.changes
            assert ("d", False, True) in bench.changes
            assert not any(bench.delays), "the first 410 is no reason to wait"

    aio.run(scenario())


def test_410_over_and_over_backs_off(api: FaultyApi, tmp_path: Path) -> None:
    api.compacted = 10**9

    async def scenario() -> None:
        async with bench_of(api, tmp_path) as bench:
            await aio.eventually(lambda: len(bench.delays) >= 8)
            assert bench.delays[:5] == [0.0, 0.5, 1.0, 2.0, 4.0]
            assert max(bench.delays) == BACKOFF_MAX
            assert bench.names == {"a", "b", "c"}, "lists still come through"

    aio.run(scenario())


def test_an_expired_continue_token_starts_the_list_again(api: FaultyApi, tmp_path: Path) -> None:
    api.expire_continue = 2

    async def scenario() -> None:
        async with bench_of(api, tmp_path) as bench:
            await bench.sees("a", "b", "c")
            limits = [r.query.get("limit") for r in api.requests if "watch" not in r.query]
            assert limits == ["2", "2", "2", "2", None], "twice in pages, then in one piece"

    aio.run(scenario())


def test_what_a_broken_off_list_brought_is_void(tmp_path: Path) -> None:
    api = FaultyApi()
    api.answers.append(
        web.json_response(
            {"metadata": {"resourceVersion": "5", "continue": "2"}, "items": [pod("gone", 4)]}
        )
    )
    api.answers.append(status(410, "Expired", "the continue token is too old"))

    async def scenario() -> None:
        api.put("here")
        async with bench_of(api, tmp_path) as bench:
            await bench.sees("here")

    aio.run(scenario())


def test_a_silent_stream_is_given_up_watched_again_and_then_listed(
    api: FaultyApi, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with bench_of(api, tmp_path, inactivity=0.2) as bench:
            api.deaf = True
            await bench.reflector.wait_synced()
            api.remove("b")  # no watch will ever tell
            await aio.eventually(lambda: bench.names == {"a", "c"})
            watches = [r.query["resourceVersion"] for r in api.requests if "watch" in r.query]
            assert watches[0] == watches[1], "first watched again from where it was"

    aio.run(scenario())


def test_an_idle_resource_is_watched_without_pauses(api: FaultyApi, tmp_path: Path) -> None:
    now = 0.0

    async def scenario() -> None:
        nonlocal now
        async with bench_of(api, tmp_path, clock=lambda: now) as bench:
            for ended in range(1, 5):
                await aio.eventually(lambda: api.watches == 1)
                now += 40.0
                api.hang_up()
                await aio.eventually(lambda: len(bench.delays) == ended)  # noqa: B023
            assert bench.delays == [0.0] * 4
            await aio.eventually(lambda: api.watches == 1)
            assert api.count(watch=False) == 3 * 2, "listed again after every two empty streams"
            assert bench.reflector.age() == 0.0, "a list is a sign of life"

    aio.run(scenario())


def test_a_stuck_watch_shows_in_the_age(api: FaultyApi, tmp_path: Path) -> None:
    now = 100.0

    async def scenario() -> None:
        nonlocal now
        async with bench_of(api, tmp_path, clock=lambda: now) as bench:
            await bench.sees("a", "b", "c")
            now += 500.0
            assert bench.reflector.age() == 500.0
            api.bookmark()
            await aio.eventually(lambda: bench.reflector.age() == 0.0)

    aio.run(scenario())


def test_duplicated_and_reordered_events_are_harmless(api: FaultyApi, tmp_path: Path) -> None:
    def event(kind: str, name: str, version: int, node: str = "", uid: str = "") -> dict[str, Any]:
        return {"type": kind, "object": pod(name, version, uid, nodeName=node)}

    async def scenario() -> None:
        async with bench_of(api, tmp_path) as bench:
            await bench.sees("a", "b", "c")
            told = len(bench.changes)
            for sent in (
                event("MODIFIED", "a", 21, "new"),
                event("MODIFIED", "a", 20, "old"),  # late
                event("MODIFIED", "a", 21, "new"),  # again
                event("DELETED", "b", 23),
                event("MODIFIED", "b", 22),  # late: must not bring it back
                event("DELETED", "never-seen", 24),
                event("ADDED", "c", 26, "n", uid="another"),  # re-created ...
                event("DELETED", "c", 25),  # ... and its deletion comes late
                event("ADDED", "a", 5, "from before the list"),
                event("ADDED", "end", 30),
            ):
                api.send(sent)
            await bench.sees("a", "c", "end")
            assert bench.node_of("a") == "new"
            assert bench.node_of("c") == "n"
            assert bench.changes[told:] == [
                ("a", True, True),
                ("b", True, False),
                ("c", True, False),
                ("c", False, True),
                ("end", False, True),
            ]

    aio.run(scenario())


def test_a_line_that_is_cut_off_comes_again(api: FaultyApi, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench_of(api, tmp_path) as bench:
            await bench.sees("a", "b", "c")
            api.deaf = True
            api.put("d")
            api.deaf = False
            api.send_bytes(json.dumps(api.history[-1][1]).encode()[:40])
            api.hang_up()
            await bench.sees("a", "b", "c", "d")
            assert api.count(watch=False) == 2, "no need to list again"

    aio.run(scenario())


def test_a_line_that_is_no_json_makes_it_list_again(api: FaultyApi, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench_of(api, tmp_path) as bench:
            await bench.sees("a", "b", "c")
            api.deaf = True
            api.put("d")
            api.deaf = False
            api.send_bytes(b'{"type": "ADDED", "object": {"kind"\n')
            await bench.sees("a", "b", "c", "d")
            assert api.count(watch=False) == 4

    aio.run(scenario())


def test_an_object_that_cannot_be_understood_blocks_no_other(
    api: FaultyApi, tmp_path: Path
) -> None:
    api.put("bad", nodeName=["not", "a", "name"])

    async def scenario() -> None:
        async with bench_of(api, tmp_path) as bench:
            await bench.sees("a", "b", "c")
            assert [str(key) for key in bench.reflector.store.problems] == ["default/bad"]
            api.put("a", nodeName="good")
            await aio.eventually(lambda: bench.node_of("a") == "good")
            broken = api.put("a", nodeName=1)
            version = broken["metadata"]["resourceVersion"]
            await bench.reflector.wait_for("default", "a", version)
            assert bench.node_of("a") == "good", "the last good value stays"
            assert "$.spec.nodeName" in next(
                why for key, why in bench.reflector.store.problems.items() if key.name == "a"
            )
            api.put("bad", nodeName="mended")
            await bench.sees("a", "b", "c", "bad")

    aio.run(scenario())


def test_failures_are_retried_with_growing_pauses_and_shown(api: FaultyApi, tmp_path: Path) -> None:
    for _ in range(4):
        api.answers.append(status(500, "InternalError", "etcd is out for lunch"))

    async def scenario() -> None:
        async with bench_of(api, tmp_path) as bench:
            await aio.eventually(lambda: len(bench.delays) == 2)
            assert "out for lunch" in bench.reflector.problem
            assert not bench.reflector.synced
            await bench.sees("a", "b", "c")
            assert bench.delays == [0.0, 0.5, 1.0, 2.0]
            assert bench.reflector.problem == ""

    aio.run(scenario())


def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(api: FaultyApi, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench_of(api, tmp_path) as bench:
            await bench.sees("a", "b", "c")
            api.answers.append(status(429, "TooManyRequests", "busy", {"Retry-After": "7"}))
            api.answers.append(status(429, "TooManyRequests", "busy", {"Retry-After": "86400"}))
            api.hang_up()
            await bench.sees("a", "b", "c")
            await aio.eventually(lambda: len(bench.delays) == 3)
            assert bench.delays[1:] == [7.0, RETRY_AFTER_MAX]
            assert api.count(watch=False) == 2, "and then the watch goes on"

    aio.run(scenario())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (status(403, "Forbidden", 'User "x" cannot list resource "pods"'), "cannot list"),
        (status(404, "NotFound", "the server could not find it"), "does not serve pods"),
    ],
    ids=["forbidden", "missing"],
)
def test_what_may_no_longer_be_read_is_not_synced(
    api: FaultyApi, tmp_path: Path, answer: Any, words: str
) -> None:
    async def scenario() -> None:
        async with bench_of(api, tmp_path) as bench:
            await bench.sees("a", "b", "c")
            api.answers.append(answer)
            api.hang_up()
            await aio.eventually(lambda: not bench.reflector.synced)
            assert words in bench.reflector.problem
            await bench.reflector.wait_synced()
            await bench.sees("a", "b", "c")
            assert bench.reflector.problem == ""

    aio.run(scenario())


def test_own_writes_are_awaited(api: FaultyApi, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench_of(api, tmp_path) as bench:
            await bench.sees("a", "b", "c")
            wait_for = bench.reflector.wait_for
            api.deaf = True
            written = api.put("d")["metadata"]["resourceVersion"]
            with pytest.raises(TimeoutError):
                await wait_for("default", "d", written, timeout=0.05)
            waiting = asyncio.create_task(wait_for("default", "d", written))
            await asyncio.sleep(0)
            api.deaf = False
            api.send(api.history[-1][1])
            await waiting
            assert bench.names == {"a", "b", "c", "d"}

            gone = str(api.version + 1)
            api.remove("d")
            await wait_for("default", "d", gone)  # it was seen gone
            assert bench.names == {"a", "b", "c"}

            api.version += 1  # a write whose object the watch does not show
            waiting = asyncio.create_task(wait_for("default", "other", str(api.version)))
            await asyncio.sleep(0)
            api.bookmark()
            await waiting

    aio.run(scenario())


def test_a_listener_that_fails_costs_nobody_else_the_news(api: FaultyApi, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a listener's mistake")

    async def scenario() -> None:
        async with api.serve(tmp_path) as kubeconfig, Kube(kubeconfig) as kube:
            reflector = Reflector(kube, PODS, msgspec.json.Decoder(wire.Pod).decode)
            told: list[str] = []
            reflector.on_change(fail)
            reflector.on_change(lambda key, old, new: told.append(key.name))
            async with aio.background(reflector.run()):
                await aio.eventually(lambda: api.watches == 1)
                api.put("d")
                await aio.eventually(lambda: told == ["a", "b", "c", "d"])

    aio.run(scenario())
