"""Provider ``static``: claims are VMNodes; machines are never made, changed or stopped."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import planning as w
from aio import run
from plimsoll.api import Hypervisor
from plimsoll.apierrors import NotFound, Unreachable
from plimsoll.decide.plan import Lever
from plimsoll.decide.planner import plan
from plimsoll.hypervisors import contract
from plimsoll.hypervisors.contract import Intent, PowerState
from plimsoll.hypervisors.static import Static
from plimsoll.resources import NODES, VMNODES, Resource
from plimsoll.world import wire
from plimsoll.world.snapshot import Snapshot

UUIDS = {"metal-1": "4C4C4544-0001", "metal-2": "4C4C4544-0002"}
GIB = 1024**3


class Cluster:
    """Stands for the API server: nodes and VMNodes."""

    def __init__(self) -> None:
        self.nodes = {name: node(name, uuid) for name, uuid in UUIDS.items()}
        self.vmnodes: dict[str, dict[str, Any]] = {}
        self.silent = False

    async def get(self, resource: Resource, name: str, *, type: Any) -> Any:
        assert resource is NODES
        if self.silent:
            raise Unreachable(0, "Timeout", "the API server is silent")
        if name not in self.nodes:
            raise NotFound(404, "NotFound", name)
        return self.nodes[name]

    async def list_all(self, resource: Resource) -> list[dict[str, Any]]:
        assert resource is VMNODES
        if self.silent:
            raise Unreachable(0, "Timeout", "the API server is silent")
        return list(self.vmnodes.values())

    def claim(self, name: str, uid: str, phase: str, uuid: str, hypervisor: str = "metal") -> None:
        status = {"phase": phase, **({"identity": {"uuid": uuid}} if uuid else {})}
        self.vmnodes[name] = {
            "metadata": {"name": name, "uid": uid, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "pool": "a",
                "hypervisor": hypervisor,
                "size": {"cpu": 8, "memory": "32Gi"},
            },
            "status": status,
        }


def node(name: str, uuid: str, ready: str = "True") -> wire.Node:
    return wire.Node(
        metadata=wire.Meta(name=name, uid=f"uid-{name}"),
        spec=wire.NodeSpec(),
        status=wire.NodeStatus(
            conditions=[wire.Condition(type="Ready", status=ready)],
            node_info=wire.NodeInfo(system_uuid=uuid.lower()),
        ),
    )


def static(cluster: Cluster, **machine: Any) -> Static:
    machines = [
        {
            "node": name,
            "systemUUID": uuid,
            "cpu": 8,
            "memory": "32Gi",
            "host": name,
            "zone": "z1",
            **machine,
        }
        for name, uuid in UUIDS.items()
    ]
    hypervisor = Hypervisor.model_validate(
        {
            "metadata": {"name": "metal", "uid": "metal"},
            "spec": {"provider": "static", "static": {"machines": machines}},
        }
    )
    kube: Any = cluster
    return Static(kube, hypervisor, "our-cluster")


def intent(name: str = "metal-1", cpu: int = 8) -> Intent:
    return Intent(
        uid="uid-1",
        name=name,
        pool="a",
        host=name,
        cpu=cpu,
        memory=32 * GIB,
        allocatable_cpu=cpu * 1000,
        allocatable_memory=32 * GIB,
        max_pods=110,
        labels={},
        annotations={},
        taints=(),
    )


def test_a_machine_is_claimed_by_the_vmnode_of_its_name_until_that_is_being_deleted() -> None:
    cluster = Cluster()
    provider = static(cluster)
    cluster.claim("metal-1", "uid-1", "Creating", "")
    assert run(provider.list_owned()) == ()
    made = run(provider.ensure(intent()))
    assert made == run(provider.ensure(intent()))
    assert (made.uuid, made.owner_uid, made.host) == ("4c4c4544-0001", "uid-1", "metal-1")
    cluster.claim("metal-1", "uid-1", "Ready", made.uuid)
    found = run(provider.describe(made.uuid))
    assert found is not None
    assert (found.power, found.owner_uid, found.cluster) == (
        PowerState.RUNNING,
        "uid-1",
        "our-cluster",
    )
    assert run(provider.owned_by("uid-1", "")) == (found,)
    run(provider.delete(made.uuid, "uid-1"))
    assert run(provider.describe(made.uuid)) is not None
    cluster.claim("metal-1", "uid-1", "Deleting", made.uuid)
    assert run(provider.describe(made.uuid)) is None
    assert run(provider.listing()).vms == ()


def test_hosts_tell_which_machines_may_be_claimed() -> None:
    cluster = Cluster()
    cluster.claim("metal-1", "uid-1", "Ready", UUIDS["metal-1"].lower())
    first, second = run(static(cluster).hosts())
    assert (first.cpu_used, first.free_nodes) == (8000, ())
    assert (second.cpu_used, second.free_nodes) == (0, ("metal-2",))
    cluster.nodes["metal-2"] = node("metal-2", UUIDS["metal-2"], ready="Unknown")
    assert not any(host.free_nodes for host in run(static(cluster).hosts()))
    (shared,) = run(static(Cluster(), host="rack").hosts())
    assert (shared.cpu, shared.free_nodes) == (16000, ("metal-1", "metal-2"))
    assert not any(h.free_nodes for h in run(static(Cluster(), maintenance=True).hosts()))


def test_a_claim_of_another_hypervisor_or_of_another_machine_is_none() -> None:
    cluster = Cluster()
    cluster.claim("metal-1", "uid-1", "Ready", UUIDS["metal-1"].lower(), hypervisor="rack")
    cluster.claim("metal-2", "uid-2", "Ready", "another-uuid")
    assert run(static(cluster).list_owned()) == ()


def test_what_cannot_be_claimed_says_so() -> None:
    cluster = Cluster()
    provider = static(cluster)
    with pytest.raises(contract.Invalid, match="no machine has a node named 'a-1'"):
        run(provider.ensure(intent("a-1")))
    with pytest.raises(contract.NoCapacity, match="give its pool that size"):
        run(provider.ensure(intent(cpu=9)))
    cluster.nodes["metal-1"] = node("metal-1", "another-uuid")
    with pytest.raises(contract.NoCapacity, match="start its kubelet"):
        run(provider.ensure(intent()))
    del cluster.nodes["metal-2"]
    with pytest.raises(contract.NoCapacity, match="start its kubelet"):
        run(provider.ensure(intent("metal-2")))


def test_a_silent_machine_may_run_and_a_silent_api_server_proves_nothing() -> None:
    cluster = Cluster()
    cluster.claim("metal-1", "uid-1", "Ready", UUIDS["metal-1"].lower())
    cluster.nodes["metal-1"] = node("metal-1", UUIDS["metal-1"], ready="Unknown")
    provider = static(cluster)
    (found,) = run(provider.list_owned())
    assert found.power is PowerState.UNKNOWN
    cluster.silent = True
    for call in (provider.list_owned(), provider.describe(found.uuid), provider.hosts()):
        with pytest.raises(contract.Retryable):
            run(call)


def test_machines_are_neither_resized_nor_started() -> None:
    provider = static(Cluster())
    assert provider.capabilities().adopts
    with pytest.raises(contract.NotSupported):
        run(provider.resize("u", 1, 1))
    with pytest.raises(contract.NotSupported):
        run(provider.start("u", "uid-1"))


def test_the_planner_launches_under_the_names_of_free_machines_only() -> None:
    size = {"cpu": {"min": 8, "max": 8}, "memory": {"min": "32Gi", "max": "32Gi"}}
    machines = (
        w.host("h1", 8, 32, free_nodes=("metal-7",)),
        w.host("h2", 8, 32, free_nodes=()),
    )
    world = Snapshot(
        hypervisors=(w.hypervisor(*machines),),
        pools=(w.pool(size=size),),
        pods=tuple(w.pod(f"p{n}", w.shape(6000, 512)) for n in range(2)),
    )
    found = plan(world, w.NOW)
    (launch,) = w.moves(found, Lever.LAUNCH)
    assert launch.vm is not None
    assert (launch.vm.name, launch.vm.host) == ("metal-7", "h1")
    assert len(found.unplaced) == 1
    usual = tuple(msgspec.structs.replace(h, free_nodes=None) for h in machines)
    anywhere = plan(w.replace(world, hypervisors=(w.hypervisor(*usual),)), w.NOW)
    assert sorted(m.vm.name for m in w.moves(anywhere, Lever.LAUNCH) if m.vm) == ["web-1", "web-2"]
