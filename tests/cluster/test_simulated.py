"""The simulated hypervisor on a real API server, with kwok for its kubelets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from aio import run
from cluster.provider_contract import ProviderContract, intent_of, running, until
from cluster.simulated_site import GIB, Site, is_ready, site_on
from plimsoll.api.hypervisor import Hypervisor, HypervisorSpec
from plimsoll.hypervisors import contract
from plimsoll.hypervisors.contract import PowerState
from plimsoll.kube import Kube
from plimsoll.resources import CONFIGMAPS, HYPERVISORS, NODES
from plimsoll.simulator.ledger import Ledger, View
from plimsoll.simulator.records import record_name
from plimsoll.world import wire
from plimsoll_testenv.control_plane import ControlPlane


@pytest.fixture
def site(control_plane: ControlPlane) -> Iterator[Site]:
    with site_on(control_plane) as fresh:
        yield fresh


class TestContract(ProviderContract):
    """The contract of every provider."""

    @pytest.fixture
    def bench(self, site: Site) -> Site:
        return site


class TestProvider:
    """What is particular to the simulated provider."""

    def test_an_empty_wish_goes_to_the_emptiest_host(self, site: Site) -> None:
        async def scenario() -> None:
            async with site.provider() as provider:
                await provider.ensure(intent_of(site, "a-0", host=site.host(1)))
                assert (await provider.ensure(intent_of(site, "a-1"))).host == site.host(2)

        run(scenario())

    def test_two_writers_never_give_the_same_room_away(self, site: Site) -> None:
        """Two leaders, each of which saw room for the same VM on each of many hosts."""

        async def scenario() -> None:
            hosts = [{"name": f"h{number}", "cpu": 8, "memory": "16Gi"} for number in range(6)]
            async with site.provider(hosts=hosts) as one, site.provider() as other:
                await one.ensure(intent_of(site, "first", host="h0"))
                for host in ("h1", "h2", "h3", "h4", "h5"):
                    answers = await asyncio.gather(
                        *(
                            writer.ensure(intent_of(site, f"{host}-{number}", cpu=8, host=host))
                            for number, writer in enumerate((one, other))
                        ),
                        return_exceptions=True,
                    )
                    refused = [a for a in answers if isinstance(a, contract.NoCapacity)]
                    assert len(refused) == 1, answers
                assert [room.cpu_used for room in await one.hosts()] == [2000] + [8000] * 5

        run(scenario())

    def test_overcommitment_lets_cpus_be_given_out_twice(self, site: Site) -> None:
        async def scenario() -> None:
            async with site.provider() as provider:
                big = intent_of(site, cpu=12, host=site.host(1))
                with pytest.raises(contract.NoCapacity, match="lacks 4000m CPU"):
                    await provider.ensure(big)
                site.kubectl(
                    *("patch", "hypervisor", site.name, "--type=merge"),
                    *("-p", '{"spec": {"cpuOvercommitPercent": 200}}'),
                )
                assert (await provider.ensure(big)).cpu == 12
                (room, _) = await provider.hosts()
                assert (room.cpu, room.cpu_used) == (8000, 12000)

        run(scenario())

    @pytest.mark.parametrize("state", ["Down", "Isolated", "Maintenance", "Unknown"])
    def test_only_hosts_that_are_up_take_vms(self, site: Site, state: str) -> None:
        async def scenario() -> None:
            async with site.provider() as provider, site.kube() as kube:
                await site.set_host(kube, 1, state)
                with pytest.raises(contract.NoCapacity, match=state):
                    await provider.ensure(intent_of(site, host=site.host(1)))
                assert (await provider.ensure(intent_of(site))).host == site.host(2)

        run(scenario())

    @pytest.mark.parametrize("state", ["Isolated", "Unknown"])
    def test_what_cannot_be_asked_is_unknown_and_untouched(self, site: Site, state: str) -> None:
        async def scenario() -> None:
            async with site.connect() as provider, site.kube() as kube:
                intent = intent_of(site, host=site.host(1))
                vm = await running(site, provider, intent)
                await site.set_host(kube, 1, state)
                found = await provider.describe(vm.uuid)
                assert found is not None
                assert found.power is PowerState.UNKNOWN
                for call in (
                    provider.delete(vm.uuid, intent.uid),
                    provider.resize(vm.uuid, *site.larger),
                ):
                    with pytest.raises(contract.Retryable, match=state):
                        await call
                await site.set_host(kube, 1, "Up")
                assert await provider.describe(vm.uuid) == vm

        run(scenario())

    def test_hot_add_and_hot_remove_need_the_capability(self, site: Site) -> None:
        async def scenario() -> None:
            async with site.connect() as provider:
                vm = await running(site, provider, intent_of(site))
                with pytest.raises(contract.NotSupported, match="take"):
                    await provider.resize(vm.uuid, 1, vm.memory)
            async with site.connect(hotAdd=False, hotRemove=True) as provider:
                assert not provider.capabilities().hot_add_cpu
                with pytest.raises(contract.NotSupported, match="add"):
                    await provider.resize(vm.uuid, 4, vm.memory)
                await provider.resize(vm.uuid, 1, vm.memory)
                await until(site, lambda: provider.describe(vm.uuid), lambda vm: vm.cpu == 1)

        run(scenario())

    def test_an_empty_namespace_proves_nothing(self, site: Site) -> None:
        """Pointed at the wrong namespace, the provider must not take every VM for gone."""

        async def scenario() -> None:
            async with site.provider() as provider:
                for call in (
                    provider.describe("no-such-uuid"),
                    provider.delete("no-such-uuid", "owner"),
                ):
                    with pytest.raises(contract.Retryable, match="is it the operator's own"):
                        await call
                await provider.ensure(intent_of(site))
                assert await provider.describe("no-such-uuid") is None

        run(scenario())

    def test_without_its_hypervisor_nothing_is_known_of_a_vm(self, site: Site) -> None:
        async def scenario() -> None:
            async with site.provider() as provider:
                vm = await provider.ensure(intent_of(site))
                site.kubectl("delete", "hypervisor", site.name)
                with pytest.raises(contract.Retryable):
                    await provider.describe(vm.uuid)
                with pytest.raises(contract.Retryable):
                    await provider.list_owned()

        run(scenario())

    def test_a_damaged_record_is_unknown_not_gone(self, site: Site) -> None:
        async def scenario() -> None:
            async with site.provider() as provider, site.kube() as kube:
                intent = intent_of(site)
                vm = await provider.ensure(intent)
                name = record_name(intent.uid)
                await kube.merge_patch(CONFIGMAPS, name, {"data": {"vm": "{"}}, site.name)
                for call in (provider.describe(vm.uuid), provider.list_owned()):
                    with pytest.raises(contract.Retryable, match=name):
                        await call

        run(scenario())

    @pytest.mark.parametrize(
        "error",
        ["Retryable", "RateLimited", "NoCapacity", "Conflict", "NotSupported", "Invalid"],
    )
    def test_errors_come_on_order_and_have_no_effect(self, site: Site, error: str) -> None:
        async def scenario() -> None:
            async with site.connect() as provider, site.kube() as kube:
                intent = intent_of(site)
                vm = await running(site, provider, intent)
                operations = ["hosts", "ensure", "describe", "listOwned", "resize", "delete"]
                faults = [{"operation": name, "error": error} for name in operations]
                await site.set(kube, faults=faults)
                for call in (
                    provider.hosts(),
                    provider.ensure(intent_of(site, "a-1")),
                    provider.describe(vm.uuid),
                    provider.list_owned(),
                    provider.resize(vm.uuid, *site.larger),
                    provider.delete(vm.uuid, intent.uid),
                ):
                    with pytest.raises(getattr(contract, error), match="on order"):
                        await call
                await site.set(kube, faults=[])
                assert await provider.list_owned() == (vm,)

        run(scenario())

    def test_a_fault_of_one_host_spares_the_others(self, site: Site) -> None:
        async def scenario() -> None:
            fault = {"operation": "ensure", "error": "NoCapacity", "host": site.host(1)}
            async with site.provider(faults=[fault]) as provider:
                with pytest.raises(contract.NoCapacity, match="on order"):
                    await provider.ensure(intent_of(site, host=site.host(1)))
                assert (await provider.ensure(intent_of(site, host=site.host(2)))).name == "a-0"
                with pytest.raises(contract.NoCapacity, match="on order"):
                    await provider.ensure(intent_of(site, "a-1"))  # the emptiest is the first

        run(scenario())

    def test_a_call_that_takes_too_long_is_retryable_and_may_have_had_its_effect(
        self, site: Site
    ) -> None:
        async def scenario() -> None:
            async with site.provider() as provider, site.kube() as kube:
                provider.call_timeout = 1.0
                intent = intent_of(site)
                await site.set(kube, faults=[{"operation": "ensure", "delay": "1m"}])
                with pytest.raises(contract.Retryable, match="no answer within 1 s"):
                    await provider.ensure(intent)
                await site.set(kube, faults=[])
                (made,) = await provider.list_owned()
                assert (await provider.ensure(intent)).uuid == made.uuid

        run(scenario())

    def test_the_room_of_a_deleted_vm_is_free_at_once(self, site: Site) -> None:
        async def scenario() -> None:
            async with site.connect() as provider:
                for number in range(2):
                    intent = intent_of(site, f"a-{number}", cpu=8, host=site.host(1))
                    vm = await running(site, provider, intent)
                    await provider.delete(vm.uuid, intent.uid)
                    await until(
                        site, lambda vm=vm: provider.describe(vm.uuid), lambda found: found is None
                    )

        run(scenario())

    def test_a_promise_is_not_renewed_by_its_holder(self, site: Site) -> None:
        """A caller that dies of every write must get beyond the first one."""

        async def scenario() -> None:
            async with site.provider(), site.kube() as kube:
                spec, written = await _spec(kube, site), []
                for now in (1000.0, 1010.0, 1070.0):
                    ledger = Ledger(kube, site.name, site.name)
                    await ledger.claim(spec, "me", "a-0", 2, GIB, now, lambda _: site.host(1))
                    found = await kube.get(CONFIGMAPS, f"ledger-{site.name}", site.name)
                    written.append(found["metadata"]["resourceVersion"])
                assert written[0] == written[1] != written[2]

        run(scenario())

    def test_a_promise_without_a_vm_lapses(self, site: Site) -> None:
        """Its holder died between the claim and the VM: the room is not lost for ever."""

        async def scenario() -> None:
            async with site.provider() as provider, site.kube() as kube:
                spec = await _spec(kube, site)
                whole = {"cpu": 8, "memory": GIB, "host": site.host(1)}
                ledger, now = Ledger(kube, site.name, site.name), 1000.0
                await ledger.claim(spec, "dead", "a-9", 8, GIB, now, lambda _: site.host(1))
                with pytest.raises(AssertionError, match="8000"):
                    await ledger.claim(spec, "me", "a-0", 8, GIB, now + 60, _refuse_used)
                assert (await provider.ensure(intent_of(site, **whole))).host == site.host(1)

        run(scenario())


def _refuse_used(view: View) -> str:
    used = [room.cpu_used for room in view.hosts]
    raise AssertionError(f"used: {used}")


async def _spec(kube: Kube, site: Site) -> HypervisorSpec:
    return Hypervisor.model_validate(await kube.get(HYPERVISORS, site.name)).spec


class TestPhysics:
    """What happens by itself, and how the cluster sees it."""

    def test_a_vm_becomes_a_ready_node_with_its_identity(self, site: Site) -> None:
        async def scenario() -> None:
            async with site.connect() as provider, site.kube() as kube:
                name = f"{site.name}-0"
                intent = intent_of(
                    site,
                    name,
                    host=site.host(2),
                    labels={"tier": "web"},
                    annotations={"note": "hello"},
                    taints=(("only", "web", "NoSchedule"),),
                )
                vm = await provider.ensure(intent)
                node = await site.until_node(kube, name, is_ready)
                assert node.status.node_info.system_uuid == vm.uuid
                assert node.spec.provider_id == f"simulated://{site.name}/{vm.uuid}"
                assert (
                    node.metadata.labels.items()
                    >= {
                        "tier": "web",
                        "plimsoll.dev/pool": "a",
                        "plimsoll.dev/host": site.host(2),
                        "plimsoll.dev/hypervisor": site.name,
                        "topology.kubernetes.io/zone": "z2",
                    }.items()
                )
                assert node.metadata.annotations["note"] == "hello"
                taint = wire.Taint(key="only", value="web", effect="NoSchedule")
                assert taint in node.spec.taints
                assert node.status.capacity["memory"] == "2Gi"
                assert node.status.allocatable["cpu"] == "1900m"
                assert node.status.allocatable["pods"] == "110"

        run(scenario())

    def test_hot_add_is_seen_on_the_node_and_leaves_berths_alone(self, site: Site) -> None:
        async def scenario() -> None:
            async with site.connect() as provider, site.kube() as kube:
                name = f"{site.name}-0"
                vm = await running(site, provider, intent_of(site, name))
                await site.until_node(kube, name, is_ready)
                berths = {"plimsoll.dev/berths": "30"}
                await kube.patch_status(NODES, name, {"capacity": berths, "allocatable": berths})
                await provider.resize(vm.uuid, *site.larger)
                node = await site.until_node(kube, name, lambda n: n.status.capacity["cpu"] == "4")
                assert node.status.capacity["memory"] == "8Gi"
                assert node.status.allocatable["cpu"] == "3900m"
                assert node.status.allocatable["plimsoll.dev/berths"] == "30"

        run(scenario())

    def test_a_failed_host_is_seen_and_high_availability_restarts_its_vm_elsewhere(
        self, site: Site
    ) -> None:
        async def scenario() -> None:
            async with site.connect() as provider, site.kube() as kube:
                name = f"{site.name}-0"
                vm = await running(site, provider, intent_of(site, name, host=site.host(1)))
                await site.until_node(kube, name, is_ready)
                await _run_pod(kube, site, name)
                await site.set(kube, restartTime="2s")
                await site.set_host(kube, 1, "Down")
                await site.until_node(kube, name, lambda node: not is_ready(node))
                assert not await _pods_ready(kube, site, name)
                await until(
                    site,
                    lambda: provider.describe(vm.uuid),
                    lambda found: found.power is PowerState.RESTARTING,
                )
                node = await site.until_node(kube, name, is_ready)
                found = await provider.describe(vm.uuid)
                assert found is not None
                assert (found.power, found.host) == (PowerState.RUNNING, site.host(2))
                assert node.status.node_info.system_uuid == vm.uuid
                # Where the node says it is, is for the operator to correct.
                assert node.metadata.labels["plimsoll.dev/host"] == site.host(1)
                assert await _pods_ready(kube, site, name)

        run(scenario())

    def test_without_room_elsewhere_a_vm_waits_for_its_host(self, site: Site) -> None:
        async def scenario() -> None:
            async with site.connect() as provider, site.kube() as kube:
                name = f"{site.name}-0"
                await provider.ensure(intent_of(site, "full", cpu=8, host=site.host(2)))
                vm = await running(site, provider, intent_of(site, name, host=site.host(1)))
                await site.set_host(kube, 1, "Down")
                off = await until(
                    site,
                    lambda: provider.describe(vm.uuid),
                    lambda found: found.power is PowerState.OFF,
                )
                assert off.host == site.host(1)
                await site.set_host(kube, 1, "Up")
                await site.until_node(kube, name, is_ready)
                back = await provider.describe(vm.uuid)
                assert back is not None
                assert (back.power, back.host) == (PowerState.RUNNING, site.host(1))

        run(scenario())

    def test_an_isolated_vm_runs_on_unheard(self, site: Site) -> None:
        async def scenario() -> None:
            async with site.connect() as provider, site.kube() as kube:
                name = f"{site.name}-0"
                vm = await running(site, provider, intent_of(site, name, host=site.host(1)))
                await site.until_node(kube, name, is_ready)
                await site.set_host(kube, 1, "Isolated")
                await site.until_node(kube, name, lambda node: not is_ready(node))
                await site.set_host(kube, 1, "Up")
                await site.until_node(kube, name, is_ready)
                assert await provider.describe(vm.uuid) == vm

        run(scenario())

    def test_a_deleted_vm_leaves_a_silent_node_behind(self, site: Site) -> None:
        async def scenario() -> None:
            async with site.connect() as provider, site.kube() as kube:
                intent = intent_of(site, f"{site.name}-0")
                vm = await running(site, provider, intent)
                await site.until_node(kube, intent.name, is_ready)
                await provider.delete(vm.uuid, intent.uid)
                await until(site, lambda: provider.describe(vm.uuid), lambda found: found is None)
                node = await site.until_node(kube, intent.name, lambda node: not is_ready(node))
                assert node.status.node_info.system_uuid == vm.uuid

        run(scenario())

    def test_a_vm_destroyed_behind_everybodys_back_falls_silent(self, site: Site) -> None:
        async def scenario() -> None:
            async with site.connect() as provider, site.kube() as kube:
                intent = intent_of(site, f"{site.name}-0")
                vm = await running(site, provider, intent)
                await site.until_node(kube, intent.name, is_ready)
                await kube.delete(CONFIGMAPS, record_name(intent.uid), site.name)
                await site.until_node(kube, intent.name, lambda node: not is_ready(node))
                assert await provider.describe(vm.uuid) is None

        run(scenario())

    def test_another_machines_node_of_the_same_name_is_not_overwritten(self, site: Site) -> None:
        async def scenario() -> None:
            async with site.connect() as provider, site.kube() as kube:
                name = f"{site.name}-0"
                foreign = {
                    "apiVersion": "v1",
                    "kind": "Node",
                    "metadata": {"name": name},
                    "status": {"nodeInfo": {"systemUUID": "somebody-else"}},
                }
                created = await kube.create(foreign)
                vm = await running(site, provider, intent_of(site, name))
                node = await kube.get(NODES, name, type=wire.Node)
                assert node.metadata.uid == created["metadata"]["uid"]
                assert node.status.node_info.system_uuid == "somebody-else"
                assert not is_ready(node)
                await kube.delete(NODES, name)
                node = await site.until_node(kube, name, is_ready)
                assert node.status.node_info.system_uuid == vm.uuid

        run(scenario())

    def test_a_killed_simulator_forgets_nothing(self, site: Site) -> None:
        """Killed (as ``simulator_process`` does) before a boot, an outage and a deletion end."""

        async def scenario() -> None:
            async with site.provider(bootTime="1s") as provider, site.kube() as kube:
                intent = intent_of(site, f"{site.name}-0", host=site.host(1))
                vm = await provider.ensure(intent)
                async with site.simulator_process():
                    await site.until_node(kube, intent.name, is_ready)
                await site.set_host(kube, 1, "Down")
                async with site.simulator_process():
                    await site.until_node(kube, intent.name, lambda node: not is_ready(node))
                async with site.simulator_process():
                    node = await site.until_node(kube, intent.name, is_ready)
                    assert node.status.node_info.system_uuid == vm.uuid
                await provider.delete(vm.uuid, intent.uid)
                async with site.simulator_process():
                    await until(
                        site, lambda: provider.describe(vm.uuid), lambda found: found is None
                    )

        run(scenario(), timeout=120)


async def _run_pod(kube: Kube, site: Site, node: str) -> None:
    await kube.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "namespace": site.name},
            "spec": {
                "nodeName": node,
                "containers": [{"name": "web", "image": "none"}],
                "tolerations": [{"operator": "Exists"}],
                "automountServiceAccountToken": False,
            },
        }
    )
    await until(site, lambda: _pods_ready(kube, site, node), lambda is_ready: is_ready)


async def _pods_ready(kube: Kube, site: Site, node: str) -> bool:
    pods = await site.pods_on(kube, node)
    conditions = [c for pod in pods for c in pod.status.conditions if c.type == "Ready"]
    return bool(conditions) and all(c.status == "True" for c in conditions)
