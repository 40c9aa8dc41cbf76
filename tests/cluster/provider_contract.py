"""What every provider must do, as tests that its own test module takes over.

A module subclasses ``ProviderContract`` and supplies the fixture ``bench``.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec
import pytest

from aio import run
from plimsoll.api.libvirt import LibvirtTemplate
from plimsoll.hypervisors.contract import (
    Conflict,
    HypervisorError,
    Intent,
    NoCapacity,
    PowerState,
    Provider,
    VmInfo,
)


class Bench(Protocol):
    """A hypervisor to test on, empty at the start, with at least two hosts that are up."""

    small: tuple[int, int]
    """Virtual CPUs and bytes of a VM; every host has room for at least two."""
    larger: tuple[int, int]
    """To what such a VM may grow on an otherwise empty host."""
    timeout: float
    """Seconds within which a VM boots, grows or disappears."""
    template: LibvirtTemplate | None
    """What its VMs look like, where they need to be told."""

    def connect(self, cluster: str = "this") -> AbstractAsyncContextManager[Provider]:
        """A provider on behalf of the cluster with this id, at the running hypervisor."""


def intent_of(bench: Bench, name: str = "a-0", **changes: Any) -> Intent:
    """The intent of a small VM, of a VMNode of its own."""
    cpu, memory = bench.small
    intent = Intent(
        uid=str(uuid.uuid4()),
        name=name,
        pool="a",
        host="",
        cpu=cpu,
        memory=memory,
        allocatable_cpu=cpu * 1000 - 100,
        allocatable_memory=memory - 1024**2,
        max_pods=110,
        labels={"plimsoll.dev/pool": "a"},
        annotations={},
        taints=(),
        max_cpu=bench.larger[0],
        max_memory=bench.larger[1],
        libvirt=bench.template,
    )
    return msgspec.structs.replace(intent, **changes)


async def until(
    bench: Bench, ask: Callable[[], Awaitable[Any]], good: Callable[[Any], bool]
) -> Any:
    """The first good answer.

    Raises:
        AssertionError: there was none in time; it shows the last one.
    """
    answer: Any = None
    try:
        async with asyncio.timeout(bench.timeout):
            while not good(answer := await ask()):  # noqa: ASYNC110 (there is nothing to watch)
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {bench.timeout:g} s; last: {answer!r}") from None
    return answer


async def running(bench: Bench, provider: Provider, intent: Intent) -> VmInfo:
    """The VM of this intent, once it runs."""
    vm = await provider.ensure(intent)
    found = await until(
        bench,
        lambda: provider.describe(vm.uuid),
        lambda found: found is not None and found.power is PowerState.RUNNING,
    )
    assert isinstance(found, VmInfo)
    return found


class ProviderContract:
    """Creating, describing, resizing and deleting, by identity and by mark."""

    @pytest.fixture
    def bench(self) -> Bench:
        raise NotImplementedError("supply the fixture `bench`")

    def test_creating_twice_returns_the_same_vm(self, bench: Bench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                intent = intent_of(bench)
                first = await provider.ensure(intent)
                again = await provider.ensure(intent)
                assert (again.uuid, again.host) == (first.uuid, first.host)
                assert (first.name, first.owner_uid) == ("a-0", intent.uid)
                assert (first.cpu, first.memory) == bench.small
                assert [vm.uuid for vm in await provider.list_owned()] == [first.uuid]

        run(scenario())

    def test_creating_at_the_same_time_makes_one_vm(self, bench: Bench) -> None:
        async def scenario() -> None:
            async with bench.connect() as one, bench.connect() as other:
                intent = intent_of(bench)
                made = await asyncio.gather(*(p.ensure(intent) for p in (one, other, one, other)))
                assert len({vm.uuid for vm in made}) == 1
                assert len(await one.list_owned()) == 1

        run(scenario())

    def test_a_name_that_another_owner_has_is_a_conflict(self, bench: Bench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                first = await provider.ensure(intent_of(bench, "a-0"))
                with pytest.raises(Conflict, match="a-0"):
                    await provider.ensure(intent_of(bench, "a-0"))
                assert [vm.uuid for vm in await provider.list_owned()] == [first.uuid]

        run(scenario())

    def test_the_given_host_is_kept(self, bench: Bench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                for number, host in enumerate(await provider.hosts()):
                    intent = intent_of(bench, f"a-{number}", host=host.name)
                    assert (await provider.ensure(intent)).host == host.name

        run(scenario())

    def test_a_host_without_room_is_no_capacity_and_makes_nothing(self, bench: Bench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                host = (await provider.hosts())[0]
                for changes in (
                    {"cpu": 16 * host.cpu // 1000 + 1, "host": host.name},
                    {"memory": host.memory + 1, "host": host.name},
                    {"memory": 2**62},
                    {"host": "no-such-host"},
                ):
                    with pytest.raises(NoCapacity):
                        await provider.ensure(intent_of(bench, **changes))
                assert await provider.list_owned() == ()
                assert (await provider.hosts())[0] == host

        run(scenario())

    def test_what_vms_take_is_accounted_to_their_hosts(self, bench: Bench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider, bench.connect("other") as other:
                before = {host.name: host for host in await provider.hosts()}
                mine = await provider.ensure(intent_of(bench, "a-0"))
                await other.ensure(intent_of(bench, "b-0", host=mine.host))
                after = {host.name: host for host in await provider.hosts()}
                cpu, memory = bench.small
                assert after[mine.host].cpu_used == before[mine.host].cpu_used + 2000 * cpu
                assert after[mine.host].memory_used == before[mine.host].memory_used + 2 * memory

        run(scenario())

    def test_a_vm_runs_and_keeps_its_identity(self, bench: Bench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                intent = intent_of(bench)
                made = await provider.ensure(intent)
                found = await running(bench, provider, intent)
                assert (found.uuid, found.provider_id) == (made.uuid, made.provider_id)
                assert made.uuid in made.provider_id

        run(scenario())

    def test_another_clusters_vm_is_neither_listed_nor_touched(self, bench: Bench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider, bench.connect("other") as other:
                intent = intent_of(bench)
                foreign = await running(bench, other, intent)
                assert await provider.list_owned() == ()
                with pytest.raises(Conflict):
                    await provider.delete(foreign.uuid, intent.uid)
                with pytest.raises(Conflict):
                    await provider.resize(foreign.uuid, *bench.larger)
                with pytest.raises(Conflict):
                    await provider.ensure(intent)
                assert await other.describe(foreign.uuid) == foreign

        run(scenario())

    def test_a_vm_of_another_owner_is_not_deleted(self, bench: Bench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                vm = await running(bench, provider, intent_of(bench))
                with pytest.raises(Conflict):
                    await provider.delete(vm.uuid, str(uuid.uuid4()))
                assert await provider.describe(vm.uuid) == vm

        run(scenario())

    def test_what_is_deleted_is_gone_for_good(self, bench: Bench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                intent = intent_of(bench)
                vm = await running(bench, provider, intent)
                await provider.delete(vm.uuid, intent.uid)
                await until(bench, lambda: provider.describe(vm.uuid), lambda found: found is None)
                await provider.delete(vm.uuid, intent.uid)
                assert await provider.list_owned() == ()
                assert (await provider.ensure(intent)).uuid != vm.uuid

        run(scenario())

    def test_a_running_vm_grows(self, bench: Bench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                if not provider.capabilities().hot_add_cpu:
                    pytest.skip("this hypervisor has no hot-add")
                vm = await running(bench, provider, intent_of(bench))
                await provider.resize(vm.uuid, *bench.larger)
                await provider.resize(vm.uuid, *bench.larger)
                grown = await until(
                    bench,
                    lambda: provider.describe(vm.uuid),
                    lambda found: (found.cpu, found.memory) == bench.larger,
                )
                assert grown.uuid == vm.uuid

        run(scenario())

    def test_growing_beyond_the_host_is_no_capacity(self, bench: Bench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                vm = await running(bench, provider, intent_of(bench))
                with pytest.raises(NoCapacity):
                    await provider.resize(vm.uuid, vm.cpu, 2**62)
                assert await provider.describe(vm.uuid) == vm

        run(scenario())

    def test_resizing_what_does_not_exist_is_an_error(self, bench: Bench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                await provider.ensure(intent_of(bench))
                with pytest.raises(HypervisorError):
                    await provider.resize(str(uuid.uuid4()), *bench.larger)

        run(scenario())
