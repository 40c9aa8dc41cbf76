"""The operator on real libvirt hosts, for tests that break something.

VMs boot nothing: QEMU runs and no node joins, so that a test takes seconds. The operator is a
process of its own with the rights of its service account, as in ``stage``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from libvirt_bench import IMAGE, NAME
from livecluster import ensure_namespace
from plimsoll.kube import Json, Kube, NotFound
from plimsoll.resources import HYPERVISORS, NODES, SECRETS, VMNODES, VMPOOLS
from plimsoll_site import Host, Site, SiteError
from plimsoll_testenv import ControlPlane
from stage import WORK, OperatorProcess, Stage, operator_kubeconfig, prepare

POOL: Final = "vm"
PATIENCE: Final = 120.0
# Nobody listens there; nobody asks, either.
NOWHERE: Final = "https://192.0.2.1:6443"
HOLD: Final = """\
#!/bin/sh
# Holds libvirtd in the operation $2 while there is a file that says so; then lets a start fail.
cd /etc/libvirt/hooks
if [ -e "hold-$2" ]; then
    touch "held-$2"
    while [ -e "hold-$2" ]; do sleep 0.05; done
    [ "$2" != prepare ]
fi
"""


class Vm(NamedTuple):
    """A VM as libvirt or as a VMNode tells it."""

    name: str
    uuid: str
    host: str
    running: bool


class Lab(Stage):
    """What a test acts on."""

    def __init__(self, kube: Kube, operator: OperatorProcess, site: Site) -> None:
        super().__init__(kube, operator)
        self.site = site
        self.patience = PATIENCE

    async def rack(self, **spec: Any) -> None:
        """The hosts, as a Hypervisor."""
        document: Json = self.site.hypervisor(NAME, cpuOvercommitPercent=1600, **spec)
        document["spec"] |= {"inventoryInterval": "1s", "restartWindow": "2s"}
        document["spec"]["libvirt"]["callTimeout"] = "5s"
        await self.apply(document)

    async def pool(self, vms: int, image: str = IMAGE, **spec: Any) -> None:
        """A pool of so many VMs."""
        libvirt = {"image": image, "diskSize": "64Mi", "acceleration": "Software"}
        await self.apply(
            {
                "apiVersion": "plimsoll.dev/v1alpha1",
                "kind": "VMPool",
                "metadata": {"name": POOL},
                "spec": {
                    "hypervisor": NAME,
                    "nodes": {"min": vms, "max": vms},
                    "size": {
                        "cpu": {"min": 1, "max": 1},
                        "memory": {"min": "128Mi", "max": "128Mi"},
                    },
                    "density": {"reserved": {"cpu": "100m", "memory": "32Mi"}},
                    "template": {"libvirt": libvirt, "bootstrap": {"endpoint": NOWHERE}},
                    **spec,
                },
            }
        )

    async def run_vms(self, number: int, **spec: Any) -> list[Vm]:
        """A pool of so many VMs, once they run and libvirt and VMNodes agree on them."""
        await self.rack()
        await self.pool(number, **spec)
        return await self.until_agreed(number)

    async def until_agreed(self, number: int) -> list[Vm]:
        """Waits until just so many VMs run, and libvirt and VMNodes name the same ones."""
        found: list[Vm] = []

        async def agreed() -> bool:
            nonlocal found
            found = await asyncio.to_thread(self.domains)
            running = all(vm.running for vm in found)
            return len(found) == number and running and found == await self.recorded()

        await self.until(agreed, f"{number} VMs, to libvirt and to the VMNodes")
        return found

    def domains(self) -> list[Vm]:
        """Every domain on hosts whose libvirtd runs."""
        found = []
        for host in self.site.hosts:
            if not host.pids("libvirtd"):
                continue
            for name in host.domains():
                with suppress(SiteError):  # it went after it was listed
                    uuid = host.virsh("domuuid", name).strip()
                    state = host.virsh("domstate", name).strip()
                    found.append(Vm(name, uuid, host.name, state == "running"))
        return sorted(found)

    async def recorded(self) -> list[Vm]:
        """What the VMNodes say; those without a confirmed VM are left out."""
        records = await self.vms()
        found = []
        for record in records:
            status = record.get("status", {})
            if identity := status.get("identity"):
                name, host = record["metadata"]["name"], status.get("host", "")
                found.append(Vm(name, identity["uuid"], host, True))
        return sorted(found)

    async def remove_pools(self) -> None:
        """Deletes the pools, and waits until nothing of them is left."""
        for obj in await self.kube.list_all(VMPOOLS):
            await self.kube.delete(VMPOOLS, obj["metadata"]["name"])
        await self.until_empty()

    async def until_empty(self) -> None:
        """Waits until no VM, VMNode, node or token of ours is left, nor any volume but images."""

        async def empty() -> bool:
            for resource in (VMNODES, VMPOOLS, NODES):
                if await self.kube.list_all(resource):
                    return False
            return not await self.tokens() and not await asyncio.to_thread(self.ours)

        await self.until(empty, "nothing of ours is left")

    async def tokens(self) -> list[str]:
        """Names of the bootstrap tokens of VMs."""
        selector = "plimsoll.dev/vmnode"
        found = await self.kube.list_all(SECRETS, "kube-system", label_selector=selector)
        return [secret["metadata"]["name"] for secret in found]

    def ours(self) -> list[str]:
        """Domains, and volumes whose names say that they are Plimsoll's, on every host."""
        found = []
        for host in self.site.hosts:
            found += [f"{host.name}: {name}" for name in host.domains()]
            found += [f"{host.name}: {v}" for v in host.volumes() if v.startswith("plimsoll-")]
        return found

    async def host_state(self, host: Host, state: str) -> None:
        """Waits until the Hypervisor says so of a host."""

        async def told() -> bool:
            obj = await self.get(HYPERVISORS, NAME) or {}
            hosts = obj.get("status", {}).get("hosts", [])
            return any(h["name"] == host.name and h["state"] == state for h in hosts)

        await self.until(told, f"{host.name} is {state}")

    async def message(self, text: str) -> str:
        """Waits until the status of some VMNode says this; answers the whole message."""

        async def said() -> list[str]:
            return [
                message
                for record in await self.vms()
                for message in _messages(record)
                if text in message
            ]

        return str((await self.until(said, f"a VMNode that says {text!r}"))[0])

    async def remove_everything(self) -> None:
        """Puts every host into order, and leaves nothing."""
        for host in self.site.hosts:
            await asyncio.to_thread(put_in_order, host)
        await self.remove_pools()
        try:
            await self.kube.delete(HYPERVISORS, NAME)
        except NotFound:
            return

        async def gone() -> bool:
            return await self.get(HYPERVISORS, NAME) is None

        await self.until(gone, "the Hypervisor is gone")


def _messages(record: Json) -> list[str]:
    status = record.get("status", {})
    return [status.get("message", ""), *(c["message"] for c in status.get("conditions", []))]


def put_in_order(host: Host) -> None:
    """Whatever a test did to a host and its daemon is undone."""
    if not host.running:
        host.boot()
    elif not host.pids("libvirtd"):
        host.start_daemon()
    for hold in hooks(host).glob("hold-*"):
        hold.unlink()


def hooks(host: Host) -> Path:
    """The folder of the host's hooks."""
    return host.layout.directory / "etc" / "hooks"


def hold(host: Host, operation: str) -> Path:
    """Has libvirtd stop in the midst of an operation; answers the file that keeps it there.

    Operations are those of libvirt's hook for QEMU: prepare (before QEMU starts), stopped (after it
    has ended). A start that was held fails.
    """
    folder = hooks(host)
    if not folder.exists():
        folder.mkdir()
        script = folder / "qemu"
        script.write_text(HOLD)
        script.chmod(0o755)
        # It looks for hooks when it starts, and then never again.
        host.kill_daemon()
        host.start_daemon()
    held = folder / f"held-{operation}"
    held.unlink(missing_ok=True)
    file = folder / f"hold-{operation}"
    file.touch()
    return file


def is_held(host: Host, operation: str) -> bool:
    """Whether libvirtd has come to that operation."""
    return (hooks(host) / f"held-{operation}").exists()


def make_image(host: Host, name: str = IMAGE) -> None:
    """A base image that holds nothing, in the host's storage pool."""
    if name not in host.volumes():
        host.virsh("vol-create-as", "default", name, "32M", "--format", "qcow2")


@asynccontextmanager
async def lab_on(
    control_plane: ControlPlane,
    site: Site,
    server: str = "",
    started: Callable[[Lab], Awaitable[None]] | None = None,
    **environment: str,
) -> AsyncIterator[Lab]:
    """The operator at work on these hosts; everything is removed at the end.

    Args:
        control_plane: where it works.
        site: hosts, whose pools get an empty base image.
        server: where the operator finds the API server, if not where it is.
        started: called before the operator starts.
        environment: further settings of the operator.
    """
    await asyncio.to_thread(prepare, control_plane)
    for host in site.hosts:
        await asyncio.to_thread(make_image, host)
    async with Kube.from_environment(str(control_plane.kubeconfig)) as kube:
        await ensure_namespace(kube, WORK)
        with TemporaryDirectory() as folder:
            config = await operator_kubeconfig(kube, control_plane, Path(folder), server)
            async with OperatorProcess(config, **environment) as operator:
                lab = Lab(kube, operator, site)
                if started is not None:
                    await started(lab)
                await operator.start()
                try:
                    yield lab
                finally:
                    if operator.pid is None:
                        await operator.start()
                    await lab.remove_everything()
