"""People who change domains and storage behind the operator's back, and VMs that are not ours."""

from __future__ import annotations

import msgspec
import pytest

from aio import run
from cluster.provider_contract import intent_of, running, until
from libvirt_bench import IMAGE, LibvirtBench
from plimsoll.api.libvirt import LibvirtTemplate
from plimsoll.hypervisors.contract import (
    Conflict,
    HypervisorError,
    Intent,
    Invalid,
    NoCapacity,
    NotSupported,
    PowerState,
    Retryable,
)
from plimsoll.hypervisors.libvirt import volumes
from plimsoll_site import Host

pytestmark = pytest.mark.xdist_group("libvirt")

FOREIGN = """<domain type='qemu'><name>a-0</name><memory unit='MiB'>64</memory>
<os><type machine='q35'>hvm</type></os></domain>"""


def template_of(bench: LibvirtBench, **changes: object) -> LibvirtTemplate:
    given = bench.template.model_dump(by_alias=True) | changes
    return LibvirtTemplate.model_validate(given)


def define(host: Host, xml: str) -> None:
    path = host.layout.directory / "foreign.xml"
    path.write_text(xml)
    host.virsh("define", str(path))


class TestTampering:
    def test_a_foreign_domain_of_the_same_name_is_reported_and_untouched(
        self, bench: LibvirtBench
    ) -> None:
        async def scenario() -> None:
            first, second = bench.site.hosts
            define(first, FOREIGN)
            before = first.virsh("dumpxml", "a-0")
            async with bench.connect() as provider:
                for host in ("", first.name, second.name):
                    with pytest.raises(Conflict, match="a-0"):
                        await provider.ensure(intent_of(bench, host=host))
                assert await provider.list_owned() == ()
            assert first.virsh("dumpxml", "a-0") == before
            assert bench.left() == [f"{first.name}: domain a-0"]

        run(scenario())

    def test_a_renamed_domain_is_still_the_vm(self, bench: LibvirtBench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                intent = intent_of(bench)
                vm = await running(bench, provider, intent)
                host = bench.site.host(vm.host)
                host.virsh("destroy", "a-0")
                host.virsh("domrename", "a-0", "mine")
                found = await provider.ensure(intent)
                assert (found.uuid, found.name, found.power) == (
                    vm.uuid,
                    "mine",
                    PowerState.RUNNING,
                )
                await provider.delete(vm.uuid, intent.uid)
            assert bench.left() == []

        run(scenario())

    def test_a_paused_vm_is_paused_and_left_to_who_paused_it(self, bench: LibvirtBench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                intent = intent_of(bench)
                vm = await running(bench, provider, intent)
                bench.site.host(vm.host).virsh("suspend", "a-0")
                await provider.start(vm.uuid, intent.uid)
                found = await provider.describe(vm.uuid)
                assert found is not None
                assert found.power is PowerState.PAUSED
                with pytest.raises(Retryable, match="Paused"):
                    await provider.resize(vm.uuid, *bench.larger)
                await provider.delete(vm.uuid, intent.uid)
            assert bench.left() == []

        run(scenario())

    def test_a_detached_disk_goes_with_its_vm(self, bench: LibvirtBench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                intent = intent_of(bench)
                vm = await running(bench, provider, intent)
                host = bench.site.host(vm.host)
                host.virsh("destroy", "a-0")
                host.virsh("detach-disk", "a-0", "vda", "--config")
                await provider.delete(vm.uuid, intent.uid)
            assert bench.left() == []

        run(scenario())

    def test_an_undefined_vm_is_gone_once_it_is_off_and_its_disk_is_swept(
        self, bench: LibvirtBench
    ) -> None:
        async def scenario() -> None:
            now = 1000.0
            async with bench.connect(clock=lambda: now) as provider:
                intent = intent_of(bench)
                vm = await running(bench, provider, intent)
                host = bench.site.host(vm.host)
                host.virsh("undefine", "a-0")
                assert await provider.describe(vm.uuid) is not None  # it runs on without a record
                assert await provider.sweep(60.0) == ()
                host.virsh("destroy", "a-0")
                assert await provider.describe(vm.uuid) is None
                assert await provider.sweep(60.0) == ()
                now += 59.0
                assert await provider.sweep(60.0) == ()
                assert len(bench.volumes(host)) == 2
                now += 2.0
                swept = await provider.sweep(60.0)
                assert len(swept) == 2
                assert all(vm.uuid in item and host.name in item for item in swept)
            assert bench.left() == []

        run(scenario())

    def test_only_volumes_of_this_cluster_and_hypervisor_are_swept(
        self, bench: LibvirtBench
    ) -> None:
        async def scenario() -> None:
            host = bench.site.hosts[0]
            now = 1000.0
            async with bench.connect("other") as other:
                vm = await running(bench, other, intent_of(bench, host=host.name))
                host.virsh("destroy", "a-0")
                host.virsh("undefine", "a-0")
            host.virsh("vol-create-as", "default", "precious.qcow2", "1M")
            left = bench.left()
            async with bench.connect(clock=lambda: now) as provider:
                for _ in range(3):
                    assert await provider.sweep(60.0) == ()
                    now += 100.0
            assert bench.left() == left
            assert any(vm.uuid in item for item in left)

        run(scenario())


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"image": "no-such.qcow2"}, "no volume 'no-such.qcow2', the base image"),
            ({"storagePool": "no-such"}, "no storage pool 'no-such'"),
            ({"diskSize": "1Mi"}, "diskSize of 1048576 bytes is less than the image"),
            ({"machine": "no-such"}, "cannot run machine 'no-such'"),
            ({"cpuModel": "no-such"}, "does not know CPU model 'no-such'"),
            ({"network": {"network": "no-such"}}, "no network"),
            ({"extraDevices": ["<disk/>"]}, r"extraDevices\[0\]: <disk> is written by Plimsoll"),
            ({"extraDevices": ["<video/>", "<video>"]}, r"extraDevices\[1\]: is not one element"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_what_cannot_be_had_is_named_and_leaves_nothing(
        self, bench: LibvirtBench, changes: dict[str, object], message: str
    ) -> None:
        async def scenario() -> None:
            intent = intent_of(bench, libvirt=template_of(bench, **changes), host="host-a")
            async with bench.connect() as provider:
                with pytest.raises(Invalid, match=message) as refused:
                    await provider.ensure(intent)
                assert "host-a" in str(refused.value) or "template" in str(refused.value)
            assert bench.left() == []

        run(scenario())

    def test_a_vm_that_does_not_start_is_named_and_taken_back(self, bench: LibvirtBench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                device = "<hostdev mode='subsystem' type='usb'><source startupPolicy='mandatory'>"
                device += "<vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>"
                template = bench.template.model_copy(update={"extra_devices": (device,)})
                with pytest.raises(HypervisorError, match="starting a-0"):
                    await provider.ensure(intent_of(bench, libvirt=template))
            assert bench.left() == []

        run(scenario())

    def test_memory_that_is_no_whole_mebibyte_is_refused(self, bench: LibvirtBench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                with pytest.raises(Invalid, match="whole number of MiB"):
                    await provider.ensure(intent_of(bench, memory=128 * 1024**2 + 1))
            assert bench.left() == []

        run(scenario())

    def test_a_storage_pool_that_is_off_is_started(self, bench: LibvirtBench) -> None:
        async def scenario() -> None:
            host = bench.site.hosts[0]
            host.virsh("pool-destroy", "default")
            async with bench.connect() as provider:
                await provider.ensure(intent_of(bench, host=host.name))

        run(scenario())

    def test_a_full_storage_pool_is_no_capacity_and_leaves_nothing(
        self, bench: LibvirtBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host = bench.site.hosts[0]
        path = "/var/lib/libvirt/small"
        host.inside("mkdir", "-p", path)
        host.inside("mount", "-t", "tmpfs", "-o", "size=1m", "small", path)
        host.virsh("pool-create-as", "small", "dir", "--target", path)
        host.virsh("vol-create-as", "small", IMAGE, "32M", "--format", "qcow2")
        intent = intent_of(bench, host=host.name, libvirt=template_of(bench, storagePool="small"))

        async def scenario(intent: Intent, message: str) -> None:
            async with bench.connect() as provider:
                with pytest.raises(NoCapacity, match=message):
                    await provider.ensure(intent)
            left = [line.split()[0] for line in host.virsh("vol-list", "small").splitlines()]
            assert left == [IMAGE]
            assert bench.left() == []

        try:
            run(scenario(intent, "storage pool 'small' of host host-a has .* bytes left"))
            # The same found out later, when the file system refuses.
            monkeypatch.setattr(volumes, "FREE_MIN", 0)
            big = "#cloud-config\n" + "# padding\n" * 100_000
            run(scenario(msgspec.structs.replace(intent, user_data=big), "(?i)no space left"))
        finally:
            host.virsh("pool-destroy", "small")
            host.inside("umount", path)


class TestGrowth:
    def test_a_size_outlasts_a_power_cycle(self, bench: LibvirtBench) -> None:
        async def scenario() -> None:
            async with bench.connect() as provider:
                intent = intent_of(bench)
                vm = await running(bench, provider, intent)
                await provider.resize(vm.uuid, *bench.larger)
                bench.site.host(vm.host).virsh("destroy", "a-0")
                await provider.start(vm.uuid, intent.uid)
                found = await until(
                    bench,
                    lambda: provider.describe(vm.uuid),
                    lambda found: found.power is PowerState.RUNNING,
                )
                assert (found.cpu, found.memory) == bench.larger

        run(scenario())

    def test_what_was_not_made_to_grow_so_far_says_so(self, bench: LibvirtBench) -> None:
        async def scenario() -> None:
            cpu, memory = bench.larger
            async with bench.connect() as provider:
                vm = await running(bench, provider, intent_of(bench))
                for size in ((cpu + 1, memory), (cpu, memory + 128 * 1024**2)):
                    with pytest.raises(NotSupported, match="was made to grow to 2 CPUs"):
                        await provider.resize(vm.uuid, *size)
                with pytest.raises(NotSupported, match="steps of"):
                    await provider.resize(vm.uuid, cpu, bench.small[1] + 64 * 1024**2)
                await provider.resize(vm.uuid, cpu, memory)
                with pytest.raises(NotSupported, match="smaller"):
                    await provider.resize(vm.uuid, 1, memory)

        run(scenario())
