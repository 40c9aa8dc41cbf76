"""The operator dies between any two steps: the next one makes no second VM and leaves nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress

import pytest

from aio import run
from cluster.provider_contract import Intent, intent_of, running
from libvirt_bench import LibvirtBench
from plimsoll.hypervisors.libvirt.connection import Session

pytestmark = [pytest.mark.xdist_group("libvirt"), pytest.mark.timeout(600)]


class Died(Exception):
    """Nothing of the operator runs any more: no clean-up of its own, either."""


class Fuse:
    """Blows at one step of the work; ``blown`` tells at which."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, counts: Callable[[str], bool]) -> None:
        self.blown = ""
        self._left = -1
        step = Session.step

        def counted(session: Session, doing: str) -> None:
            if self._left > 0 and counts(doing):
                self._left -= 1
                if self._left == 0:
                    self.blown = doing
                    raise Died(doing)
            step(session, doing)

        monkeypatch.setattr(Session, "step", counted)

    def arm(self, number: int) -> None:
        self.blown, self._left = "", number

    def disarm(self) -> None:
        self._left = -1


def changes(doing: str) -> bool:
    """Whether the step is one after which something is different."""
    return doing.startswith(("creating", "defining", "starting a", "powering", "removing", "undef"))


class TestCrash:
    def test_in_a_creation(self, bench: LibvirtBench, monkeypatch: pytest.MonkeyPatch) -> None:
        fuse = Fuse(monkeypatch, changes)
        steps: list[str] = []

        async def scenario(number: int, intent: Intent) -> None:
            async with bench.connect() as provider:
                fuse.arm(number)
                with suppress(RuntimeError):
                    await provider.ensure(intent)
                fuse.disarm()
            now = 1000.0
            async with bench.connect(clock=lambda: now) as later:
                vm = await running(bench, later, intent)
                assert [seen.uuid for seen in await later.list_owned()] == [vm.uuid]
                assert len(await _domains(bench)) == 1
                await later.sweep(60.0)
                now += 61.0
                swept = await later.sweep(60.0)
                assert all("volume plimsoll-" in item for item in swept)
                await later.delete(vm.uuid, intent.uid)
            assert bench.left() == []

        for number in itertools.count(1):
            run(scenario(number, intent_of(bench, user_data="#cloud-config\n")), timeout=120)
            if not fuse.blown:
                break
            steps.append(fuse.blown)
        assert [step.split(" of ")[0] for step in steps] == [
            "creating the disk",
            "creating the seed",
            "creating the console log",
            "defining a-0",
            "starting a-0",
        ]

    def test_in_a_deletion(self, bench: LibvirtBench, monkeypatch: pytest.MonkeyPatch) -> None:
        fuse = Fuse(monkeypatch, changes)
        steps: list[str] = []

        async def scenario(number: int, intent: Intent) -> None:
            async with bench.connect() as provider:
                vm = await running(bench, provider, intent)
                fuse.arm(number)
                with suppress(RuntimeError):
                    await provider.delete(vm.uuid, intent.uid)
                fuse.disarm()
            async with bench.connect() as later:
                # What is left is still found by its mark, until nothing is left.
                owned = await later.owned_by(intent.uid, "")
                assert [seen.uuid for seen in owned] == ([vm.uuid] if fuse.blown else [])
                await later.delete(vm.uuid, intent.uid)
                assert await later.describe(vm.uuid) is None
            assert bench.left() == []

        for number in itertools.count(1):
            run(scenario(number, intent_of(bench, user_data="#cloud-config\n")), timeout=120)
            if not fuse.blown:
                break
            steps.append(fuse.blown)
        assert [step.split()[0] for step in steps] == [
            "powering",
            "removing",
            "removing",
            "removing",
            "undefining",
        ]


async def _domains(bench: LibvirtBench) -> list[str]:
    return [name for host in bench.site.hosts for name in host.domains()]
