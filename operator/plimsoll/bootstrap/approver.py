"""Approves the certificates of our VMs' kubelets, and denies those of impostors.

What is kept in memory says which VMs a request concerns; the verdict is then made on
what API server and hypervisor tell now. Requests that concern none of our VMs are
not touched: they may be another approver's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from plimsoll.act.providers import NotConfigured, Providers
from plimsoll.api import Hypervisor, VMNode
from plimsoll.api.bootstrap import Bootstrap
from plimsoll.api.timestamp import parse_rfc3339
from plimsoll.api.vmnode import VMNodeStatus
from plimsoll.apierrors import ApiError, Conflict, NotFound
from plimsoll.bootstrap import requests
from plimsoll.bootstrap.requests import SERVING, SigningRequest
from plimsoll.bootstrap.verdict import Node, Say, Scene, Verdict, Vm, concerned, verdict
from plimsoll.events import EventReason, Recorder, Subject
from plimsoll.hypervisors.contract import HypervisorError
from plimsoll.kube import Kube
from plimsoll.resources import CERTIFICATESIGNINGREQUESTS, NODES, VMNODES
from plimsoll.world import wire
from plimsoll.world.reflector import Reflector
from plimsoll.world.store import Key
from plimsoll.world.stores import World

log = logging.getLogger(__name__)

ASK_TIMEOUT: Final = 10.0
"""Seconds that a hypervisor may take to tell a VM's addresses, before others go first."""
PACE_FIRST: Final = 1.0
PACE_MAX: Final = 60.0
"""Seconds between two looks at a request that is not decided yet; slower as it grows old."""
_TYPES: Final = {Say.APPROVE: "Approved", Say.DENY: "Denied"}


class _Address(wire.Wire, frozen=True, kw_only=True):
    type: str = ""
    address: str = ""


class _NodeStatus(wire.Wire, frozen=True, kw_only=True):
    addresses: list[_Address] = []
    node_info: wire.NodeInfo = wire.NodeInfo()


class _Node(wire.Object, frozen=True, kw_only=True):
    status: _NodeStatus = _NodeStatus()


class Approver:
    """Looks after the signing requests of kubelets; ``run`` does it for ever."""

    def __init__(
        self,
        kube: Kube,
        world: World,
        providers: Providers,
        recorder: Recorder,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._kube = kube
        self._world = world
        self._providers = providers
        self._recorder = recorder
        self._clock = clock
        self.requests: Reflector[SigningRequest] = Reflector(
            kube, CERTIFICATESIGNINGREQUESTS, requests.decode
        )
        self._bell = asyncio.Event()
        self._due: dict[Key, float] = {}
        """When an undecided request that concerns us is looked at again."""
        self._waiting: dict[Key, frozenset[str]] = {}
        """VMs for whose news it waits."""
        self.requests.on_change(self._request_changed)
        world.vmnodes.on_change(lambda key, old, new: self._changed(key.name, new=old is None))
        world.nodes.on_change(lambda key, old, new: self._changed(key.name))

    async def run(self) -> None:
        """Decides on requests until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.requests.run(), name=f"reflect {self.requests.resource}")
            tasks.create_task(self._keep(), name="approve certificates")

    async def _keep(self) -> None:
        await self._world.wait_synced()
        while True:
            await self.requests.wait_synced()
            self._bell.clear()
            pause = await self.look()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._bell.wait()

    async def look(self) -> float | None:
        """Looks at all requests that are due; answers in how many seconds the next is."""
        now = self._clock()
        if not any(request.open for request in self.requests.store.values()):
            # Most of the time; a look at all VMs would be for nothing.
            self._due.clear()
            self._waiting.clear()
            return None
        scene = self._scene(self._world.vmnodes.store.values())
        due = []
        for request in self.requests.store.values():
            key = Key("", request.metadata.name)
            if not request.open or not (names := concerned(request, scene)):
                self._drop(key)
            elif self._due.get(key, 0.0) <= now:
                self._waiting[key] = frozenset(names)
                due.append(self._consider(request, scene, names))
        await asyncio.gather(*due)
        return max(0.0, min(self._due.values()) - self._clock()) if self._due else None

    # What woke us

    def _request_changed(self, key: Key, old: Any, new: SigningRequest | None) -> None:
        self._drop(key)
        if new is not None and new.open:
            self._bell.set()

    def _changed(self, name: str, new: bool = False) -> None:
        for key, names in self._waiting.items():
            if name in names:
                self._due[key] = 0.0
                self._bell.set()
        if new:
            self._bell.set()

    def _drop(self, key: Key) -> None:
        self._due.pop(key, None)
        self._waiting.pop(key, None)

    # One request

    async def _consider(
        self, request: SigningRequest, scene: Scene, names: tuple[str, ...]
    ) -> None:
        key, age = Key("", request.metadata.name), self._age(request)
        self._due[key] = self._clock() + min(PACE_MAX, max(PACE_FIRST, age / 4))
        try:
            scene, records = await self._live(request, scene, names)
            found = verdict(request, scene, age)
            if found.say in _TYPES:
                await self._write(request, found)
                self._drop(key)
        except (Conflict, NotFound) as error:
            log.info("request %s changed meanwhile: %s", key, error)
            return
        except (ApiError, HypervisorError, NotConfigured, TimeoutError) as error:
            log.warning("request %s is not decided yet: %r", key, error)
            return
        except Exception:
            log.exception("request %s could not be looked at", key)
            return
        self._tell(request, found, records)

    def _age(self, request: SigningRequest) -> float:
        created = request.metadata.creation_timestamp
        return max(0.0, self._clock() - parse_rfc3339(created)) if created else 0.0

    async def _live(
        self, request: SigningRequest, scene: Scene, names: Iterable[str]
    ) -> tuple[Scene, dict[str, VMNode]]:
        """The scene with these VMs as they are now."""
        records: dict[str, VMNode] = {}
        nodes: dict[str, Node] = {}
        addresses: dict[str, tuple[str, ...]] = {}
        for name in names:
            with suppress(NotFound):
                records[name] = VMNode.model_validate(await self._kube.get(VMNODES, name))
            with suppress(NotFound):
                nodes[name] = _node(await self._kube.get(NODES, name, type=_Node))
            if request.spec.signer_name == SERVING and name in records:
                addresses[name] = await self._addresses(records[name])
        others = {name: vm for name, vm in scene.vms.items() if name not in set(names)}
        live = self._scene(records.values())
        return Scene(vms={**others, **live.vms}, nodes=nodes, addresses=addresses), records

    async def _addresses(self, record: VMNode) -> tuple[str, ...]:
        status = record.status or VMNodeStatus()
        hypervisor = self._hypervisor(record)
        if hypervisor is None or status.identity is None:
            return ()
        async with asyncio.timeout(ASK_TIMEOUT):
            provider = await self._providers.of(hypervisor)
            vm = await provider.describe(status.identity.uuid)
        return vm.addresses if vm is not None else ()

    def _hypervisor(self, record: VMNode) -> Hypervisor | None:
        return self._world.hypervisors.store.get("", record.spec.hypervisor)

    def _scene(self, records: Iterable[VMNode]) -> Scene:
        return Scene(
            vms={
                record.metadata.name: _vm(record)
                for record in records
                if joins_by_token(record, self._hypervisor(record))
            }
        )

    async def _write(self, request: SigningRequest, found: Verdict) -> None:
        meta = request.metadata
        reason = "BootstrapRefused" if found.say is Say.DENY else "VMIdentified"
        condition = {
            "type": _TYPES[found.say],
            "status": "True",
            "reason": "VMIdentifiedByItself" if found.weak else reason,
            "message": found.message,
        }
        patch = {
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": {"conditions": [condition]},
        }
        await self._kube.patch_subresource(
            CERTIFICATESIGNINGREQUESTS, meta.name, "approval", patch, kind="merge"
        )

    def _tell(self, request: SigningRequest, found: Verdict, records: dict[str, VMNode]) -> None:
        what = f"certificate request {request.metadata.name}"
        log.info("%s: %s: %s", what, found.say.value, found.message)
        if found.say not in (Say.DENY, Say.REPORT):
            return
        done = "denied" if found.say is Say.DENY else "not approved"
        for name in found.about:
            if name in records:
                about = Subject("VMNode", name, uid=records[name].metadata.uid)
                message = f"{what} is {done}: {found.message}"
                self._recorder.record(about, EventReason.BOOTSTRAP_REFUSED, message, warning=True)


def joins_by_token(record: VMNode, hypervisor: Hypervisor | None) -> bool:
    """Whether the VM proves itself by a token of ours, so that nobody else may have its name.

    Not so where machines join by means of their own: on hypervisors that take no user
    data, and by user data of a person's that asks for no token.
    """
    if record.status is not None and record.status.bootstrap_token:
        return True
    bootstrap = record.spec.template.bootstrap or Bootstrap()
    if bootstrap.method == "Custom" and "${token}" not in bootstrap.user_data:
        return False
    status = hypervisor.status if hypervisor is not None else None
    return status is not None and status.capabilities is not None and status.capabilities.bootstrap


def _vm(record: VMNode) -> Vm:
    status = record.status or VMNodeStatus()
    return Vm(
        name=record.metadata.name,
        phase=status.phase,
        token=status.bootstrap_token,
        uuid=status.identity.uuid if status.identity else "",
        node_uid=status.node_uid,
    )


def _node(node: _Node) -> Node:
    return Node(
        uid=node.metadata.uid,
        system_uuid=node.status.node_info.system_uuid,
        addresses=tuple(
            a.address for a in node.status.addresses if a.type in ("InternalIP", "ExternalIP")
        ),
    )
