"""What breaks around real VMs, and what must not follow from it: no duplicate, no orphan, no theft.

In the end libvirt's own list matches the VMNodes, each time.
"""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET

import pytest

from aio import eventually, run
from killing_proxy import proxy_for
from libvirt_lab import POOL, Lab, hold, is_held, lab_on, make_image
from plimsoll.hypervisors.libvirt.mark import Mark
from plimsoll.resources import NAMESPACES, VMPOOLS
from plimsoll_site import Host, Site
from plimsoll_testenv import ControlPlane

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("libvirt")]
SECONDS = 600.0
KILLS = 40
FOREIGN = """\
<domain type='qemu'>
  <name>{name}</name>
  <metadata>{mark}</metadata>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
</domain>
"""


def define(host: Host, name: str, mark: Mark | None = None) -> str:
    """A domain that nobody of ours made; answers its XML."""
    element = "" if mark is None else ET.tostring(mark.element(), encoding="unicode")
    path = host.layout.directory / f"{name}.xml"
    path.write_text(FOREIGN.format(name=name, mark=element))
    host.virsh("define", str(path))
    return host.virsh("dumpxml", "--inactive", name)


def mark(cluster: str, name: str) -> Mark:
    return Mark(
        cluster=cluster,
        owner_uid="8d5d0f0c-6f0e-4d0a-9f6b-0c0e2c1d3b4a",
        name=name,
        pool=POOL,
        storage_pool="default",
        created=1.0,
        max_cpu=1,
        max_memory=2**26,
    )


def test_operator_killed_between_define_and_start(control_plane: ControlPlane, site: Site) -> None:
    async def story() -> None:
        async with lab_on(control_plane, site) as lab:
            holds = [await asyncio.to_thread(hold, host, "prepare") for host in site.hosts]
            await lab.rack()
            await lab.pool(1)
            await eventually(lambda: any(is_held(h, "prepare") for h in site.hosts), lab.patience)

            await lab.operator.kill()
            for file in holds:
                file.unlink()
            await eventually(lambda: [vm.running for vm in lab.domains()] == [False])
            before = lab.domains()
            await lab.operator.start()

            assert [vm.uuid for vm in await lab.until_agreed(1)] == [vm.uuid for vm in before]

    run(story(), SECONDS)


def test_operator_killed_between_destroy_and_removal(
    control_plane: ControlPlane, site: Site
) -> None:
    async def story() -> None:
        async with lab_on(control_plane, site) as lab:
            (vm,) = await lab.run_vms(1)
            host = site.host(vm.host)
            file = await asyncio.to_thread(hold, host, "stopped")
            await lab.kube.delete(VMPOOLS, POOL)
            await eventually(lambda: is_held(host, "stopped"), lab.patience)

            await lab.operator.kill()
            file.unlink()
            await eventually(lambda: [vm.running for vm in lab.domains()] == [False])
            assert [volume for volume in host.volumes() if vm.uuid in volume]
            await lab.operator.start()

            await lab.until_empty()

    run(story(), SECONDS)


def test_operator_killed_after_every_write(control_plane: ControlPlane, site: Site) -> None:
    proxy = proxy_for(control_plane.kubeconfig)
    lock, labs, kills = asyncio.Lock(), list[Lab](), 0

    async def kill(_: int) -> None:
        nonlocal kills
        async with lock:
            if labs and kills < KILLS:
                kills += 1
                await labs[0].operator.kill()
                await labs[0].operator.start()

    async def story() -> None:
        proxy.on_write = kill
        async with proxy.serve(), lab_on(control_plane, site, proxy.url) as lab:
            labs.append(lab)
            born = await lab.run_vms(2)
            assert len({vm.name for vm in born}) == 2
            await lab.remove_pools()
            labs.clear()
            assert kills > 10

    run(story(), SECONDS)


def test_foreign_vm_of_the_same_name_is_not_touched(
    control_plane: ControlPlane, site: Site
) -> None:
    async def story() -> None:
        async with lab_on(control_plane, site) as lab:
            name = f"{POOL}-1"
            foreign = {host: define(host, name) for host in site.hosts}
            try:
                await lab.rack()
                await lab.pool(1)

                assert name in await lab.message("is not this VMNode's VM")
                for host, xml in foreign.items():
                    assert host.virsh("dumpxml", "--inactive", name) == xml
            finally:
                for host in site.hosts:
                    host.virsh("undefine", name)
            assert [vm.name for vm in await lab.until_agreed(1)] == [name]

    run(story(), SECONDS)


def test_orphan_of_ours_goes_and_that_of_another_cluster_stays(
    control_plane: ControlPlane, site: Site
) -> None:
    async def story() -> None:
        async with lab_on(control_plane, site, PLIMSOLL_ORPHAN_GRACE="1") as lab:
            cluster = await lab.kube.get(NAMESPACES, "kube-system")
            uid = cluster["metadata"]["uid"]
            host = site.hosts[0]
            theirs = define(host, "theirs", mark("another-cluster", "theirs"))
            define(host, "ours", mark(uid, "ours"))
            try:
                await lab.rack()

                assert "ours" in await lab.until_event("OrphanRemoved")
                await eventually(lambda: host.domains() == ["theirs"], lab.patience)
                assert host.virsh("dumpxml", "--inactive", "theirs") == theirs
            finally:
                host.virsh("undefine", "theirs")

    run(story(), SECONDS)


def test_silent_libvirtd_pauses_everything_there(control_plane: ControlPlane, site: Site) -> None:
    async def story() -> None:
        async with lab_on(control_plane, site) as lab:
            before = await lab.run_vms(2, survive={"hosts": 0})
            host = site.host(before[0].host)
            pid = host.vm_pid(before[0].name)

            await asyncio.to_thread(host.kill_daemon)
            await lab.host_state(host, "Unknown")
            # Longer than the window of two seconds in which it might be restarted elsewhere.
            await lab.kube.delete(VMPOOLS, POOL)
            await eventually(
                lambda: not [vm for vm in lab.domains() if vm.host != host.name], lab.patience
            )
            here = {vm.name for vm in before if vm.host == host.name}
            assert {record["metadata"]["name"] for record in await lab.vms()} >= here
            assert host.vm_pid(before[0].name) == pid

            await asyncio.to_thread(host.start_daemon)
            await lab.until_empty()

    run(story(), SECONDS)


def test_killed_qemu_is_started_again(control_plane: ControlPlane, site: Site) -> None:
    async def story() -> None:
        async with lab_on(control_plane, site) as lab:
            before = await lab.run_vms(1)
            host, name = site.host(before[0].host), before[0].name
            pid = host.vm_pid(name)

            await asyncio.to_thread(host.kill_vm, name)

            await eventually(lambda: host.vm_pid(name) not in (0, pid), lab.patience)
            assert await lab.until_agreed(1) == before

    run(story(), SECONDS)


def test_full_storage_pool_is_told_and_waited_for(control_plane: ControlPlane, site: Site) -> None:
    images = "/var/lib/libvirt/images"

    async def story() -> None:
        async with lab_on(control_plane, site) as lab:
            try:
                for host in site.hosts:
                    host.inside("mount", "-t", "tmpfs", "-o", "size=1m", "small-pool", images)
                    make_image(host)
                await lab.rack()
                await lab.pool(1)

                assert "storage pool 'default'" in await lab.message("bytes left")
                assert lab.domains() == []
            finally:
                for host in site.hosts:
                    host.inside("umount", images)
            await lab.until_agreed(1)

    run(story(), SECONDS)


def test_missing_image_is_told_and_waited_for(control_plane: ControlPlane, site: Site) -> None:
    async def story() -> None:
        async with lab_on(control_plane, site) as lab:
            await lab.rack()
            await lab.pool(1, image="later.qcow2")

            assert "put it there" in await lab.message("'later.qcow2'")
            assert lab.domains() == []
            for host in site.hosts:
                make_image(host, "later.qcow2")
            await lab.until_agreed(1)

    run(story(), SECONDS)


def test_vm_that_never_joins_is_made_anew(control_plane: ControlPlane, site: Site) -> None:
    async def story() -> None:
        async with lab_on(control_plane, site) as lab:
            (first,) = await lab.run_vms(1, phaseTimeouts={"joining": "5s"})

            await lab.until_event("VMFailed")
            await eventually(
                lambda: any(vm.uuid != first.uuid for vm in lab.domains()), lab.patience
            )

            assert not [vm for vm in lab.domains() if vm.uuid == first.uuid]
            assert not [v for h in site.hosts for v in h.volumes() if first.uuid in v]

    run(story(), SECONDS)
