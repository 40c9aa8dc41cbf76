"""A daemon that is dead or hangs: nothing is known of its host, and the others go on."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator

import pytest

from aio import run
from cluster.provider_contract import intent_of, running, until
from libvirt_bench import LibvirtBench
from plimsoll.hypervisors.contract import Intent, PowerState, Provider, Retryable, VmInfo
from plimsoll_site import Host, Site

pytestmark = pytest.mark.xdist_group("libvirt")


@pytest.fixture
def bench(libvirt_site: Site, bench: LibvirtBench) -> Iterator[LibvirtBench]:
    """Steps may take 8 seconds; every daemon answers again at the end."""
    bench.call_timeout = 8.0
    try:
        yield bench
    finally:
        for host in libvirt_site.hosts:
            if host.pids("libvirtd"):
                host.thaw_daemon()
            else:
                host.start_daemon()


BREAK = pytest.mark.parametrize(
    ("silence", "restore"),
    [
        pytest.param(Host.freeze_daemon, Host.thaw_daemon, id="hangs"),
        pytest.param(Host.kill_daemon, Host.start_daemon, id="dead"),
    ],
)


async def made(bench: LibvirtBench, provider: Provider, intent: Intent) -> VmInfo:
    """The VM of this intent, running: on a busy machine a step may well take longer than here."""

    async def attempt() -> VmInfo | None:
        try:
            return await running(bench, provider, intent)
        except Retryable:
            return None

    vm = await until(bench, attempt, lambda vm: vm is not None)
    assert isinstance(vm, VmInfo)
    return vm


class TestSilentHost:
    @BREAK
    def test_is_unknown_while_the_other_host_goes_on(
        self,
        bench: LibvirtBench,
        silence: Callable[[Host], None],
        restore: Callable[[Host], None],
    ) -> None:
        async def scenario() -> None:
            broken, sound = bench.site.hosts
            async with bench.connect() as provider:
                intent = intent_of(bench, "a-0", host=broken.name)
                vm = await made(bench, provider, intent)
                before = {host.name: host for host in await provider.hosts()}
                silence(broken)

                states = {host.name: host for host in await provider.hosts()}
                assert (states[broken.name].state, states[sound.name].state) == ("Unknown", "Up")
                assert states[broken.name].memory == before[broken.name].memory

                found = await provider.describe(vm.uuid)
                assert found is not None
                assert (found.power, found.host) == (PowerState.UNKNOWN, broken.name)
                listing = await provider.listing()
                assert listing.silent == (broken.name,)
                assert [seen.power for seen in listing.vms] == [PowerState.UNKNOWN]

                for call in (
                    provider.list_owned(),
                    provider.describe(str(uuid.uuid4())),
                    provider.owned_by(intent.uid, broken.name),
                    provider.owned_by(intent.uid, ""),
                    provider.ensure(intent_of(bench, "b-0", host=broken.name)),
                    provider.ensure(intent_of(bench, "b-0")),
                    provider.resize(vm.uuid, *bench.larger),
                    provider.delete(vm.uuid, intent.uid),
                    provider.start(vm.uuid, intent.uid),
                    provider.seal(vm.uuid, intent.uid),
                ):
                    with pytest.raises(Retryable):
                        await call
                assert await provider.console(vm.uuid) == ""
                assert await provider.sweep(0.0) == ()

                # Where the intent names another host, no VM of it can be on the silent one.
                other = intent_of(bench, "c-0", host=sound.name)
                assert await provider.owned_by(other.uid, sound.name) == ()
                second = await made(bench, provider, other)
                assert second.host == sound.name
                assert await provider.owned_by(other.uid, sound.name) == (second,)

                restore(broken)
                back = await until(
                    bench,
                    lambda: provider.describe(vm.uuid),
                    lambda found: found is not None and found.power is PowerState.RUNNING,
                )
                assert back == vm
                await until(bench, provider.listing, lambda listing: not listing.silent)
                assert {seen.uuid for seen in await provider.list_owned()} == {vm.uuid, second.uuid}

        run(scenario(), timeout=200)

    @BREAK
    def test_of_which_nothing_was_seen_before_leaves_existence_unknown(
        self,
        bench: LibvirtBench,
        silence: Callable[[Host], None],
        restore: Callable[[Host], None],
    ) -> None:
        async def scenario() -> None:
            broken = bench.site.hosts[0]
            async with bench.connect() as provider:
                vm = await made(bench, provider, intent_of(bench, host=broken.name))
            silence(broken)
            async with bench.connect() as fresh:
                with pytest.raises(Retryable, match=broken.name):
                    await fresh.describe(vm.uuid, broken.name)
                listing = await fresh.listing()
                assert (listing.vms, listing.silent) == ((), (broken.name,))

        run(scenario(), timeout=200)

    def test_that_hangs_in_the_middle_of_a_creation_leaves_one_vm(
        self, bench: LibvirtBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def scenario() -> None:
            host = bench.site.hosts[0]
            async with bench.connect() as provider:
                intent = intent_of(bench, host=host.name)
                monkeypatch.setattr(
                    "plimsoll.hypervisors.libvirt.making.power_on",
                    lambda *arguments: host.freeze_daemon() or arguments[1].create(),
                )
                with pytest.raises(Retryable):
                    await provider.ensure(intent)
                monkeypatch.undo()
                host.thaw_daemon()
                vm = await made(bench, provider, intent)
                assert [seen.uuid for seen in await provider.list_owned()] == [vm.uuid]
                await provider.delete(vm.uuid, intent.uid)
            assert bench.left() == []

        run(scenario(), timeout=200)

    def test_all_hosts_silent_is_an_error_of_the_whole(self, bench: LibvirtBench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                for host in bench.site.hosts:
                    host.kill_daemon()
                with pytest.raises(Retryable, match="no connection"):
                    await provider.listing()
                assert {host.state for host in await provider.hosts()} == {"Unknown"}

        run(scenario(), timeout=200)


class TestEvents:
    def test_news_of_a_vm_and_of_a_lost_daemon_ring(self, bench: LibvirtBench) -> None:
        async def scenario() -> None:
            rung = asyncio.Event()
            async with bench.connect(changed=rung.set) as provider:
                intent = intent_of(bench)
                vm = await made(bench, provider, intent)
                host = bench.site.host(vm.host)
                rung.clear()
                host.kill_vm("a-0")
                await asyncio.wait_for(rung.wait(), bench.timeout)
                found = await provider.describe(vm.uuid)
                assert found is not None
                assert found.power is PowerState.OFF
                await made(bench, provider, intent)
                rung.clear()
                host.kill_daemon()
                await asyncio.wait_for(rung.wait(), bench.timeout)

        run(scenario(), timeout=200)
