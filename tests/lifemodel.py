"""An API server, a hypervisor and the passing of time, in memory, for the life of one VMNode.

The real ``Lifecycle`` runs against it. Every write may crash the operator, or fail,
before or after it took effect. What must never happen is noted in ``wrongs`` at
the moment it happens.

Left out, compared with the real thing: other clients' writes between two requests
of one step, watches that lag (memory is always current), budgets that let some
pods of a set go, volumes, and a hypervisor that lists late or remembers names.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Coroutine, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from plimsoll.act.lifecycle import DONE, Done, Lifecycle
from plimsoll.act.providers import Providers
from plimsoll.api import Hypervisor, VMNode, VMPool
from plimsoll.api import labels as names
from plimsoll.api.hypervisor import Capabilities
from plimsoll.api.timestamp import rfc3339
from plimsoll.apierrors import Conflict, NotFound, TooManyRequests, Unreachable
from plimsoll.bootstrap.service import Prepared
from plimsoll.hypervisors import contract
from plimsoll.hypervisors.contract import HostInfo, Intent, PowerState, VmInfo
from plimsoll.resources import NODES, PODS, VMNODES, Resource
from plimsoll.world import wire

T = TypeVar("T")
Json = dict[str, Any]
CLUSTER = "our-cluster"
NO_FAULTS: Iterator[str] = iter(())
NAME = "a-1"
GIB = 1024**3


class Crash(BaseException):
    """The operator was killed."""


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never waits for anything."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("something in the model waited")


class Faults:
    """What happens at each write: ``ok``, or ``crash`` or ``error``, ``before`` or ``after``."""

    def __init__(self) -> None:
        self.script = NO_FAULTS
        self.writes = 0

    def at_write(self, error: Exception) -> tuple[BaseException | None, BaseException | None]:
        """What to raise before and after the effect of the next write."""
        self.writes += 1
        what, _, when = next(self.script, "ok").partition(" ")
        if what == "ok":
            return None, None
        raised: BaseException = Crash() if what == "crash" else error
        return (raised, None) if when == "before" else (None, raised)


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


class Api:
    """VMNodes, Nodes and Pods, with uid and resourceVersion preconditions and finalizers."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._versions = itertools.count(1)
        self.objects: dict[tuple[str, str], Json] = {}

    # As Kube has it

    async def get(
        self, resource: Resource, name: str, namespace: str | None = None, *, type: Any = dict
    ) -> Any:
        found = self.objects.get((resource.plural, name))
        if found is None:
            raise NotFound(404, "NotFound", f"no {resource.plural} {name}")
        return _typed(found, type)

    async def list_all(
        self, resource: Resource, namespace: str = "", *, field_selector: str = "", type: Any = dict
    ) -> list[Any]:
        found = [obj for (plural, _), obj in self.objects.items() if plural == resource.plural]
        if field_selector:
            node = field_selector.removeprefix("spec.nodeName=")
            found = [obj for obj in found if obj["spec"].get("nodeName") == node]
        return [_typed(obj, type) for obj in found]

    async def merge_patch(
        self, resource: Resource, name: str, patch: Json, namespace: str | None = None
    ) -> Json:
        return self._write(resource, name, patch, ("metadata", "spec"))

    async def patch_subresource(
        self, resource: Resource, name: str, subresource: str, patch: Json, **_: Any
    ) -> Json:
        return self._write(resource, name, patch, ("status",))

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        **_: Any,
    ) -> None:
        before, after = self.fate()
        if before:
            raise before
        found = await self.get(resource, name)
        _must_match(found, {"uid": uid, "resourceVersion": resource_version})
        if resource is NODES:
            self._model.judge_node_deletion(found)
        self.remove(resource, name)
        if after:
            raise after

    async def evict(self, pod: str, namespace: str, uid: str) -> None:
        before, after = self.fate()
        if before:
            raise before
        _must_match(await self.get(PODS, pod, namespace), {"uid": uid})
        if self._model.budget_empty:
            raise TooManyRequests(429, "TooManyRequests", "the budget allows no eviction")
        self.remove(PODS, pod)
        if after:
            raise after

    # What others do

    def put(self, resource: Resource, obj: Json) -> Json:
        """Creates or replaces an object."""
        obj = deepcopy(obj)
        obj["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[resource.plural, obj["metadata"]["name"]] = obj
        return obj

    def change(self, resource: Resource, name: str, patch: Json) -> None:
        """A write of somebody else's."""
        self.put(resource, merge(self.objects[resource.plural, name], patch))

    def remove(self, resource: Resource, name: str) -> None:
        """Deletes an object; one with finalizers, and a pod, only begins to go."""
        found = self.objects[resource.plural, name]
        if resource is NODES:
            for key in [key for key in self.objects if key[0] == PODS.plural]:
                del self.objects[key]
        if found["metadata"].get("finalizers") or resource is PODS:
            stamp = {"deletionTimestamp": rfc3339(self._model.now)}
            self.change(resource, name, {"metadata": stamp})
        else:
            del self.objects[resource.plural, name]

    def _write(self, resource: Resource, name: str, patch: Json, parts: tuple[str, ...]) -> Json:
        before, after = self.fate()
        if before:
            raise before
        found = self.objects.get((resource.plural, name))
        if found is None:
            raise NotFound(404, "NotFound", f"no {resource.plural} {name}")
        _must_match(found, patch["metadata"])
        effect = {key: value for key, value in patch.items() if key in parts}
        effect.get("metadata", {}).pop("resourceVersion", None)
        changed = merge(found, effect)
        if resource is NODES:
            self._model.judge_node_change(found, changed)
        if changed["spec"] != found["spec"]:
            changed["metadata"]["generation"] = found["metadata"].get("generation", 1) + 1
        stored = self.put(resource, changed)
        if after:
            raise after
        return stored

    def fate(self) -> tuple[BaseException | None, BaseException | None]:
        """What befalls the next write: to be raised before its effect, and after."""
        return self._model.faults.at_write(Unreachable(0, "Timeout", "the API server is silent"))


def _typed(obj: Json, type: Any) -> Any:
    return deepcopy(obj) if type is dict else msgspec.convert(obj, type)


def _must_match(found: Json, wanted: Json) -> None:
    for key in ("uid", "resourceVersion"):
        if wanted.get(key) and wanted[key] != found["metadata"][key]:
            raise Conflict(409, "Conflict", f"{key} is another one")


class ModelHypervisor:
    """A hypervisor that trusts its caller: asked twice to create, it makes two VMs."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.vms: dict[str, VmInfo] = {}
        self.wanted: dict[str, tuple[int, int]] = {}
        self.silent = False
        self.full = False
        self.stuck = False
        """VMs that are created do not come up."""
        self.half = False
        """VMs are made, but not started."""
        self.able: dict[str, bool] = {}
        """Capabilities besides the usual ones."""
        self.seeds: dict[str, str] = {}
        """By identity: what the VM was given to become a node."""
        self._serial = itertools.count(1)

    def capabilities(self) -> Capabilities:
        usual = {"hot_add_cpu": True, "hot_add_memory": True, "high_availability": True}
        return Capabilities(**usual | self.able)

    async def hosts(self) -> tuple[HostInfo, ...]:
        raise NotImplementedError

    async def ensure(self, intent: Intent) -> VmInfo:
        before, after = self._faults()
        if before:
            raise before
        if self.full:
            raise contract.NoCapacity("no host has room")
        serial = next(self._serial)
        made = VmInfo(
            uuid=f"00000000-0000-4000-8000-{serial:012x}",
            name=intent.name,
            owner_uid=intent.uid,
            cluster=CLUSTER,
            host=intent.host or "h1",
            power=PowerState.OFF if self.half else PowerState.CREATING,
            cpu=intent.cpu,
            memory=intent.memory,
            provider_id=f"model://{serial}",
            created=self._model.now,
        )
        self.vms[made.uuid] = made
        self._model.made.setdefault(intent.uid, set()).add(made.uuid)
        if intent.user_data:
            token = intent.user_data.removeprefix("join with ")
            if token not in self._model.tokens.tokens:
                self._model.wrongs.append("a VM was made with a token that does not exist")
            self.seeds[made.uuid] = intent.user_data
        elif self.able.get("bootstrap"):
            self._model.wrongs.append("a VM was made that cannot become a node")
        if after:
            raise after
        return made

    async def describe(self, uuid: str, host: str = "") -> VmInfo | None:
        self._must_answer()
        return self.vms.get(uuid)

    async def list_owned(self) -> tuple[VmInfo, ...]:
        self._must_answer()
        return tuple(vm for vm in self.vms.values() if vm.cluster == CLUSTER)

    async def listing(self) -> contract.Listing:
        return contract.Listing(vms=await self.list_owned())

    async def owned_by(self, owner_uid: str, host: str) -> tuple[VmInfo, ...]:
        return tuple(vm for vm in await self.list_owned() if vm.owner_uid == owner_uid)

    async def resize(self, uuid: str, cpu: int, memory: int) -> VmInfo:
        before, after = self._faults()
        if before:
            raise before
        if self.full:
            raise contract.NoCapacity("its host has no room")
        if self.vms[uuid].cpu > cpu or self.vms[uuid].memory > memory:
            self._model.wrongs.append("a running VM was to be made smaller")
        self.wanted[uuid] = (cpu, memory)
        if after:
            raise after
        return self.vms[uuid]

    async def delete(self, uuid: str, owner_uid: str) -> None:
        before, after = self._faults()
        if before:
            raise before
        vm = self.vms.get(uuid)
        if vm is not None:
            self._model.judge_vm_deletion(vm, owner_uid)
            self.set(uuid, power=PowerState.DELETING)
        if after:
            raise after

    async def start(self, uuid: str, owner_uid: str) -> None:
        before, after = self._faults()
        if before:
            raise before
        vm = self.vms[uuid]
        if (vm.owner_uid, vm.cluster) != (owner_uid, CLUSTER):
            raise contract.Conflict("it is somebody else's")
        if self.full:
            raise contract.NoCapacity("its host has no room")
        if vm.power is PowerState.OFF:
            self.set(uuid, power=PowerState.CREATING)
            self._model.starts += 1
        if after:
            raise after

    async def console(self, uuid: str) -> str:
        self._must_answer()
        return f"{uuid}: panic" if self.stuck else ""

    async def seal(self, uuid: str, owner_uid: str) -> None:
        before, after = self._faults()
        if before:
            raise before
        self.seeds.pop(uuid, None)
        if after:
            raise after

    async def close(self) -> None:
        pass

    def set(self, uuid: str, **fields: Any) -> None:
        """Something happens to a VM."""
        self.vms[uuid] = msgspec.structs.replace(self.vms[uuid], **fields)

    def _faults(self) -> tuple[BaseException | None, BaseException | None]:
        self._must_answer()
        return self._model.faults.at_write(contract.Retryable("the hypervisor is silent"))

    def _must_answer(self) -> None:
        if self.silent:
            raise contract.Retryable("the hypervisor is silent")


class ModelTokens:
    """Bootstrap tokens, by id: the UID of the VMNode that each is for."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.tokens: dict[str, str] = {}
        self._kept: dict[str, str] = {}
        self._serial = itertools.count(1)

    def restart(self) -> None:
        """A new process knows no secret."""
        self._kept.clear()

    async def prepare(self, record: VMNode, labels: Any, launch_timeout: float) -> Prepared:
        """As the service: the id first, and the same token as long as this process runs."""
        uid = record.metadata.uid
        recorded = record.status.bootstrap_token if record.status else ""
        if recorded and self._kept.get(uid) == recorded:
            return Prepared(record, f"join with {recorded}")
        if recorded:
            await self.forget(record)
        token = f"tok{next(self._serial):03}"
        api, meta = self._model.api, record.metadata
        patch = {
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": {"bootstrapToken": token},
        }
        stored = await api.patch_subresource(VMNODES, meta.name, "status", patch)
        before, after = api.fate()
        if before:
            raise before
        self.tokens[token] = uid
        if after:
            raise after
        self._kept[uid] = token
        return Prepared(VMNode.model_validate(stored), f"join with {token}")

    async def forget(self, record: VMNode) -> None:
        before, after = self._model.api.fate()
        if before:
            raise before
        assert record.status is not None
        self.tokens.pop(record.status.bootstrap_token, None)
        if after:
            raise after


class _Store:
    def __init__(self, read: Any) -> None:
        self.store = self
        self.get = read


class _Memory:
    """The operator's memory of the cluster, always current."""

    def __init__(self, model: Model) -> None:
        self.vmnodes = _Store(lambda _, name: model.vmnode)
        self.hypervisors = _Store(lambda _, name: model.hypervisor())
        self.pools = _Store(lambda _, name: model.pool)
        self.nodes = _Store(lambda _, name: model.node)
        self.occupancy = self
        self._model = model

    def pods_on(self, node: str) -> tuple[wire.Pod, ...]:
        return tuple(drive(self._model.api.list_all(PODS, type=wire.Pod)))


@dataclass
class _Recorder:
    reasons: list[str] = field(default_factory=list)

    def record(self, about: Any, reason: Any, message: str, *, warning: bool = False) -> None:
        self.reasons.append(reason.value)


class _Bugs(logging.Handler):
    """A step survives an exception that nobody expected; a test must not."""

    def __init__(self, wrongs: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._wrongs = wrongs

    def emit(self, record: logging.LogRecord) -> None:
        self._wrongs.append(f"{record.getMessage()}: {record.exc_info}")


class Model:
    """The world of one VMNode, and the operator in it."""

    def __init__(
        self, on_timeout: str = "Keep", *, real: bool = False, when_off: str = "Restart"
    ) -> None:
        """``real``: VMs need user data to become nodes, and are started by whoever owns them."""
        self.now = 1_800_000_000.0
        self.wrongs: list[str] = []
        self.made: dict[str, set[str]] = {}
        """VMNode UID -> identities of VMs made for it."""
        self.faults = Faults()
        self.api = Api(self)
        self.vms = ModelHypervisor(self)
        self.hosts = {"h1": "Up", "h2": "Up"}
        self.reachable_since = self.now
        self.budget_empty = False
        self.starts = 0
        """Times that a VM that was off was powered on."""
        self.tokens = ModelTokens(self)
        self.recorder = _Recorder()
        self._uids = itertools.count(1)
        self.pool = VMPool.model_validate(
            {
                "metadata": {"name": "a", "uid": "pool"},
                "spec": {
                    "hypervisor": "rack",
                    "nodes": {"max": 9},
                    "size": {"cpu": {"min": 1, "max": 8}, "memory": {"min": "1Gi", "max": "8Gi"}},
                    "disruption": {"drainTimeout": "300s", "onDrainTimeout": on_timeout},
                    "whenOff": when_off,
                },
            }
        )
        if real:
            self.vms.able = {"start": True, "bootstrap": True, "high_availability": False}
        self.start()

    # The operator

    def start(self) -> None:
        """A new operator process."""
        self.tokens.restart()
        api: Any = self.api
        tokens: Any = self.tokens
        memory: Any = _Memory(self)
        recorder: Any = self.recorder
        providers = Providers(api, CLUSTER, "ns", lambda *_: self.vms, clock=lambda: self.now)
        self.lifecycle = Lifecycle(
            api,
            memory,
            providers,
            recorder,
            tokens,
            started_at=self.now,
            clock=lambda: self.now,
        )

    def step(self, script: Iterator[str] = NO_FAULTS) -> float | Done | None:
        """One step; a crash ends the process and starts the next. ``DONE`` lets the VMNode go."""
        self.faults.script = script
        log = logging.getLogger("plimsoll.act.lifecycle")
        handler = _Bugs(self.wrongs)
        log.addHandler(handler)
        try:
            answer = drive(self.lifecycle.step(NAME))
        except Crash:
            self.start()
            answer = 0.0
        finally:
            log.removeHandler(handler)
        self.faults.script = NO_FAULTS
        if answer is DONE and self.vmnode is not None:
            self._judge_letting_go()
            del self.api.objects["vmnodes", NAME]
        return answer

    def settle(self, seconds: float = 7200.0) -> None:
        """Lets operator and time work until nothing is left to do, at most so long."""
        end = self.now + seconds
        while self.now < end:
            answer = self.step()
            if answer is DONE:
                return
            self.tick(min(30.0, max(0.5, answer if isinstance(answer, float) else 30.0)))
            found = self.vmnode
            lost = found is not None and found.status is not None and found.status.lost_since
            if self.phase == "Ready" and answer == 60.0 and not lost:
                return
        raise AssertionError(f"not settled: {self.api.objects}, {self.vms.vms}, {self.now}")

    # What is there

    @property
    def vmnode(self) -> VMNode | None:
        found = self.api.objects.get(("vmnodes", NAME))
        return VMNode.model_validate(found) if found else None

    @property
    def node(self) -> wire.Node | None:
        found = self.api.objects.get(("nodes", NAME))
        return msgspec.convert(found, wire.Node) if found else None

    @property
    def phase(self) -> str:
        found = self.vmnode
        return found.status.phase if found and found.status else ""

    def hypervisor(self) -> Hypervisor:
        ready = {
            "type": "Ready",
            "reason": "Asked",
            "status": "False" if self.vms.silent else "True",
            "lastTransitionTime": rfc3339(self.reachable_since),
        }
        hosts = [
            {"name": name, "state": state, "cpu": "64", "memory": "64Gi"}
            for name, state in self.hosts.items()
        ]
        capabilities = self.vms.capabilities().model_dump(by_alias=True)
        return Hypervisor.model_validate(
            {
                "metadata": {"name": "rack", "uid": "rack", "generation": 1},
                "spec": {
                    "provider": "simulated",
                    "restartWindow": "120s",
                    "simulated": {"hosts": [{"name": "h1", "cpu": 64, "memory": "64Gi"}]},
                },
                "status": {"conditions": [ready], "hosts": hosts, "capabilities": capabilities},
            }
        )

    # What people and the planner do

    def wish(self, cpu: int = 2, host: str = "") -> None:
        """A VMNode is recorded, to be made on a host (empty: any)."""
        meta = {"name": NAME, "uid": f"uid-{next(self._uids)}", "finalizers": [names.VM_FINALIZER]}
        size = {"cpu": cpu, "memory": "4Gi"}
        spec = {"pool": "a", "hypervisor": "rack", "host": host, "size": size, "berths": 20}
        self.api.put(VMNODES, {"metadata": {**meta, "generation": 1}, "spec": spec})

    def retire(self, retire: bool = True) -> None:
        """The wish to retire the VM, or its being taken back."""
        wish = {"reason": "empty", "since": rfc3339(self.now)} if retire else None
        self.api.change(VMNODES, NAME, {"spec": {"retire": wish}})

    def pod(self, name: str, *, held: bool = False) -> None:
        """A pod comes to the node, unless that is closed."""
        if self.node is None or self.node.spec.unschedulable:
            return
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "controller": True}
        meta: Json = {"name": name, "namespace": "d", "uid": f"pod-{next(self._uids)}"}
        meta |= {"ownerReferences": [owner]}
        if held:
            meta["annotations"] = {names.DO_NOT_DISRUPT: "true"}
        self.api.put(PODS, {"metadata": meta, "spec": {"nodeName": NAME}})

    # Nature

    def fail_host(self, state: str, power: PowerState) -> None:
        """Host h1 fails, and this is what the hypervisor says of its VMs."""
        self.hosts["h1"] = state
        for vm in list(self.vms.vms.values()):
            if vm.host == "h1" and vm.power is not PowerState.DELETING:
                self.vms.set(vm.uuid, power=power)

    def tick(self, seconds: float) -> None:
        """Time passes: VMs boot, grow and go; nodes join and fall silent; pods terminate."""
        self.now += seconds
        for vm in list(self.vms.vms.values()):
            if vm.power is PowerState.DELETING:
                del self.vms.vms[vm.uuid]
            elif vm.power is PowerState.CREATING and not self.vms.stuck:
                self.vms.set(vm.uuid, power=PowerState.RUNNING)
            elif vm.power is PowerState.RESTARTING and self.hosts["h2"] == "Up":
                self.vms.set(vm.uuid, power=PowerState.RUNNING, host="h2")
            elif vm.uuid in self.vms.wanted:
                cpu, memory = self.vms.wanted.pop(vm.uuid)
                self.vms.set(vm.uuid, cpu=cpu, memory=memory)
        for vm in self.vms.vms.values():
            if vm.power is PowerState.RUNNING and vm.owner_uid and self.node is None:
                self._register(vm)
        self._heartbeat()
        node = self.node
        for (plural, name), pod in list(self.api.objects.items()):
            if plural != "pods":
                continue
            kubelet = node is not None and self._runs(node)
            tainted = node and any(t.key == names.OUT_OF_SERVICE for t in node.spec.taints)
            if node is None or tainted or (kubelet and pod["metadata"].get("deletionTimestamp")):
                del self.api.objects[plural, name]

    def _register(self, vm: VmInfo) -> None:
        size = {"cpu": str(vm.cpu), "memory": str(vm.memory)}
        self.api.put(
            NODES,
            {
                "metadata": {"name": NAME, "uid": f"node-{next(self._uids)}"},
                "spec": {"providerID": vm.provider_id},
                "status": {
                    "nodeInfo": {"systemUUID": vm.uuid},
                    "capacity": size,
                    "allocatable": size,
                    "conditions": [{"type": "Ready", "status": "False"}],
                },
            },
        )

    def _runs(self, node: wire.Node) -> bool:
        vm = self.vms.vms.get(node.status.node_info.system_uuid)
        running = vm is not None and vm.power is PowerState.RUNNING
        return vm is not None and running and self.hosts[vm.host] == "Up"

    def _heartbeat(self) -> None:
        if self.node is None:
            return
        ready = "True" if self._runs(self.node) else "Unknown"
        status: Json = {"conditions": [{"type": "Ready", "status": ready}]}
        vm = self.vms.vms.get(self.node.status.node_info.system_uuid)
        if vm is not None and ready == "True":
            status["capacity"] = {"cpu": str(vm.cpu), "memory": str(vm.memory)}
        self.api.change(NODES, NAME, {"status": status})

    # What must never happen

    def judge_node_deletion(self, node: Json) -> None:
        uuid = node["status"]["nodeInfo"]["systemUUID"]
        if uuid in self.vms.vms:
            self.wrongs.append(f"node deleted while its VM exists ({self.vms.vms[uuid].power})")
        if uuid not in self._ours():
            self.wrongs.append("a foreign node was deleted")

    def judge_node_change(self, before: Json, after: Json) -> None:
        uuid = before["status"]["nodeInfo"]["systemUUID"]
        if uuid not in self._ours():
            self.wrongs.append("a foreign node was changed")
        added = [
            taint
            for taint in after["spec"].get("taints", [])
            if taint not in before["spec"].get("taints", [])
        ]
        vm = self.vms.vms.get(uuid)
        if any(t["key"] == names.OUT_OF_SERVICE for t in added) and vm is not None:
            if vm.power is not PowerState.OFF:
                self.wrongs.append(f"out-of-service put on a VM that is {vm.power}")
            if self.hosts[vm.host] in ("Isolated", "Unknown"):
                self.wrongs.append("out-of-service put although the host may run it")

    def judge_vm_deletion(self, vm: VmInfo, owner_uid: str) -> None:
        found = self.vmnode
        if found is None or (vm.owner_uid, vm.cluster) != (found.metadata.uid, CLUSTER):
            self.wrongs.append(f"VM of {vm.owner_uid} in {vm.cluster} deleted for {owner_uid}")
        if self.node is not None and self._runs(self.node):
            pods = [p for p in drive(self.api.list_all(PODS)) if p["spec"]["nodeName"] == NAME]
            mine = self.node.status.node_info.system_uuid == vm.uuid
            if mine and pods and not self.drain_overdue():
                self.wrongs.append("VM deleted under its pods")

    def drain_overdue(self) -> bool:
        """Whether the drain was forced, after which pods may be lost."""
        return "DrainForced" in self.recorder.reasons

    def judge(self) -> None:
        """Checks what must hold at every moment."""
        for uid in self.made:
            alive = [vm for vm in self.vms.vms.values() if vm.owner_uid == uid]
            if len([vm for vm in alive if vm.cluster == CLUSTER]) > 1:
                self.wrongs.append(f"two VMs for {uid}")
        assert not self.wrongs

    def _judge_letting_go(self) -> None:
        found = self.vmnode
        assert found is not None
        if found.metadata.deletion_timestamp is None:
            self.wrongs.append("a VMNode that nobody deleted was let go")
        uid = found.metadata.uid
        if uid in self.tokens.tokens.values():
            self.wrongs.append("a VMNode was let go before its bootstrap token")
        left = [vm for vm in self.vms.vms.values() if vm.owner_uid == uid]
        if any(vm.cluster == CLUSTER for vm in left):
            self.wrongs.append("a VMNode was let go before its VM")
        node = self.node
        if node is not None and node.status.node_info.system_uuid in self.made.get(uid, ()):
            self.wrongs.append("a VMNode was let go before its node")

    def foreign_node(self) -> bool:
        """Whether the node of our name is a machine that was never ours."""
        node = self.node
        everyone = set().union(*self.made.values())
        return node is not None and node.status.node_info.system_uuid not in everyone

    def _ours(self) -> set[str]:
        found = self.vmnode
        return self.made.get(found.metadata.uid, set()) if found else set()
