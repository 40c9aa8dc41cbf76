"""Provider ``static``: machines that run already are claimed and released, never made.

The claim is the VMNode itself: it has the name of the machine's node, and the API
server gives each name once. So nothing else is recorded, and two operators cannot
claim one machine. A machine counts as claimed from the moment that the VMNode's
status has its identity, until the VMNode is in phase Deleting.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from plimsoll.api import Hypervisor, VMNode
from plimsoll.api.hypervisor import Capabilities
from plimsoll.api.static import StaticMachine
from plimsoll.api.timestamp import parse_rfc3339
from plimsoll.api.vmnode import Phase
from plimsoll.apierrors import ApiError, NotFound
from plimsoll.hypervisors import contract
from plimsoll.hypervisors.contract import HostInfo, Intent, Listing, PowerState, VmInfo
from plimsoll.kube import Kube
from plimsoll.resources import NODES, VMNODES
from plimsoll.world import wire

CALL_TIMEOUT: Final = 30.0
"""Seconds after which any call gives up."""


class Static:
    """The machines of one Hypervisor object, on behalf of one cluster."""

    def __init__(self, kube: Kube, hypervisor: Hypervisor, cluster_id: str) -> None:
        assert hypervisor.spec.static is not None
        self.name = hypervisor.metadata.name
        self._kube = kube
        self._cluster = cluster_id
        self._machines = {machine.node: machine for machine in hypervisor.spec.static.machines}

    def capabilities(self) -> Capabilities:
        """Nothing but being claimed: a machine has the size that it has."""
        return Capabilities(adopts=True)

    async def hosts(self) -> tuple[HostInfo, ...]:
        """The machines by failure domain; what cannot be claimed now counts as used."""
        by_host: defaultdict[str, list[StaticMachine]] = defaultdict(list)
        for machine in self._machines.values():
            by_host[machine.host].append(machine)
        async with _bounded(self.name):
            claims = await self._claims()
            free = set()
            for node in self._machines.keys() - claims.keys():
                if await self._is_free(self._machines[node]):
                    free.add(node)
        return tuple(
            HostInfo(
                name=host,
                zone=machines[0].zone,
                cpu=sum(m.cpu for m in machines) * 1000,
                memory=sum(m.memory for m in machines),
                cpu_used=sum(m.cpu for m in machines if m.node not in free) * 1000,
                memory_used=sum(m.memory for m in machines if m.node not in free),
                state="Up",
                free_nodes=tuple(sorted(m.node for m in machines if m.node in free)),
            )
            for host, machines in sorted(by_host.items())
        )

    async def ensure(self, intent: Intent) -> VmInfo:
        """The machine whose node has the intent's name, if it is there and large enough."""
        machine = self._machines.get(intent.name)
        if machine is None:
            raise contract.Invalid(
                f"{self.name}: no machine has a node named {intent.name!r}: add it to "
                "spec.static.machines, or delete the VMNode"
            )
        if intent.cpu > machine.cpu or intent.memory > machine.memory:
            raise contract.NoCapacity(
                f"{self.name}: {intent.name} has {machine.cpu} CPUs and {machine.memory} bytes: "
                "give its pool that size"
            )
        async with _bounded(self.name):
            node = await self._node(machine)
        if node is None:
            raise contract.NoCapacity(
                f"{self.name}: no node {intent.name} with systemUUID {machine.system_uuid} has "
                "registered: start its kubelet"
            )
        return self._describe(machine, intent.uid, node, 0.0)

    async def describe(self, uuid: str, host: str = "") -> VmInfo | None:
        """The claimed machine with this identity; None once the claim has ended."""
        return next((vm for vm in await self.list_owned() if vm.uuid == uuid.lower()), None)

    async def list_owned(self) -> tuple[VmInfo, ...]:
        """All claimed machines."""
        async with _bounded(self.name):
            found = []
            for name, vmnode in sorted((await self._claims()).items()):
                machine = self._machines[name]
                created = parse_rfc3339(vmnode.metadata.creation_timestamp or "")
                node = await self._node(machine)
                found.append(self._describe(machine, vmnode.metadata.uid, node, created))
        return tuple(found)

    async def listing(self) -> Listing:
        """All claimed machines: the API server tells of all or of none."""
        return Listing(vms=await self.list_owned())

    async def owned_by(self, owner_uid: str, host: str) -> tuple[VmInfo, ...]:
        """The machine that this VMNode claims, if it does."""
        return tuple(vm for vm in await self.list_owned() if vm.owner_uid == owner_uid)

    async def resize(self, uuid: str, cpu: int, memory: int) -> VmInfo:
        """A machine has the size that it has."""
        raise contract.NotSupported(f"{self.name}: machines cannot be resized")

    async def delete(self, uuid: str, owner_uid: str) -> None:
        """Nothing to do: a claim ends with its VMNode, and the machine is not touched."""

    async def start(self, uuid: str, owner_uid: str) -> None:
        """Whoever owns the machine starts it."""
        raise contract.NotSupported(f"{self.name}: machines are started by hand")

    async def seal(self, uuid: str, owner_uid: str) -> None:
        """Nothing was given to the machine."""

    async def console(self, uuid: str) -> str:
        """Nobody listens to it."""
        return ""

    async def sweep(self, grace: float) -> tuple[str, ...]:
        """Nothing is ever left behind."""
        return ()

    async def close(self) -> None:
        """Nothing of its own to release: the client belongs to the caller."""

    async def _claims(self) -> dict[str, VMNode]:
        """By node name: the VMNode that has claimed the machine."""
        found = {}
        for document in await self._kube.list_all(VMNODES):
            if document["metadata"]["name"] not in self._machines:
                continue
            vmnode = VMNode.model_validate(document)
            status, machine = vmnode.status, self._machines[vmnode.metadata.name]
            if (
                vmnode.spec.hypervisor == self.name
                and status is not None
                and status.identity is not None
                and status.identity.uuid == machine.system_uuid.lower()
                and status.phase is not Phase.DELETING
            ):
                found[vmnode.metadata.name] = vmnode
        return found

    async def _node(self, machine: StaticMachine) -> wire.Node | None:
        """The machine's node; one of that name that is another machine is not."""
        try:
            node = await self._kube.get(NODES, machine.node, type=wire.Node)
        except NotFound:
            return None
        same = node.status.node_info.system_uuid.lower() == machine.system_uuid.lower()
        return node if same else None

    async def _is_free(self, machine: StaticMachine) -> bool:
        if machine.maintenance:
            return False
        node = await self._node(machine)
        return node is not None and _is_ready(node)

    def _describe(
        self, machine: StaticMachine, owner_uid: str, node: wire.Node | None, created: float
    ) -> VmInfo:
        # A silent machine is not known to be off: it may run, cut off from us.
        running = node is not None and _is_ready(node)
        return VmInfo(
            uuid=machine.system_uuid.lower(),
            name=machine.node,
            owner_uid=owner_uid,
            cluster=self._cluster,
            host=machine.host,
            power=PowerState.RUNNING if running else PowerState.UNKNOWN,
            cpu=machine.cpu,
            memory=machine.memory,
            provider_id=f"plimsoll-static://{self.name}/{machine.node}",
            created=created,
        )


def _is_ready(node: wire.Node) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)


@asynccontextmanager
async def _bounded(name: str) -> AsyncIterator[None]:
    """Bounds a call in time, and lets out only the contract's errors."""
    try:
        async with asyncio.timeout(CALL_TIMEOUT):
            yield
    except TimeoutError as error:
        raise contract.Retryable(f"{name}: no answer within {CALL_TIMEOUT:g} s") from error
    except ApiError as error:
        raise contract.Retryable(f"{name}: {error}") from error
