"""What a VM reads at its first boot, and what it says of itself."""

from __future__ import annotations

import pytest

from aio import run
from cluster.provider_contract import intent_of, running, until
from libvirt_bench import LibvirtBench
from plimsoll.hypervisors.contract import Conflict

pytestmark = pytest.mark.xdist_group("libvirt")


class TestConsole:
    def test_the_console_is_told_also_to_a_provider_that_came_later(
        self, bench: LibvirtBench
    ) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                vm = await running(bench, provider, intent_of(bench))
            async with bench.connect() as later, bench.connect("other") as other:
                said = await until(
                    bench, lambda: later.console(vm.uuid), lambda text: "SeaBIOS" in text
                )
                assert len(said) <= 8192
                assert await other.console(vm.uuid) == ""

        run(scenario())

    def test_a_vm_that_is_gone_says_nothing(self, bench: LibvirtBench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                assert await provider.console("6a5e1b9c-0000-4000-8000-000000000000") == ""

        run(scenario())


class TestSeed:
    def test_the_seed_is_in_the_drive_until_it_is_sealed(self, bench: LibvirtBench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                intent = intent_of(bench, user_data="#cloud-config\n# s3cret\n")
                vm = await running(bench, provider, intent)
                host = bench.site.host(vm.host)
                (seed,) = (name for name in bench.volumes(host) if name.endswith("-seed.iso"))
                assert seed in host.virsh("domblklist", "a-0")
                assert "s3cret" not in host.virsh("dumpxml", "a-0")
                with pytest.raises(Conflict):
                    await provider.seal(vm.uuid, "somebody else")
                assert seed in bench.volumes(host)
                for _ in range(2):
                    await provider.seal(vm.uuid, intent.uid)
                    assert seed not in bench.volumes(host)
                    assert seed not in host.virsh("dumpxml", "a-0")
                    assert seed not in host.virsh("dumpxml", "--inactive", "a-0")
                # It boots without.
                host.virsh("destroy", "a-0")
                await provider.start(vm.uuid, intent.uid)
                await running(bench, provider, intent)
                await provider.delete(vm.uuid, intent.uid)
                await provider.seal(vm.uuid, intent.uid)
                assert bench.left() == []

        run(scenario())

    def test_a_vm_that_is_off_is_sealed_too(self, bench: LibvirtBench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                intent = intent_of(bench, user_data="#cloud-config\n")
                vm = await running(bench, provider, intent)
                host = bench.site.host(vm.host)
                host.virsh("destroy", "a-0")
                await provider.seal(vm.uuid, intent.uid)
                assert "seed.iso" not in host.virsh("dumpxml", "a-0")
                assert not [name for name in bench.volumes(host) if "seed" in name]

        run(scenario())
