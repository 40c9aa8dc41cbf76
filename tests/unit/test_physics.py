"""The simulated data centre's laws, apart from any API server."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from plimsoll.api.hypervisor import HypervisorSpec
from plimsoll.simulator import nodes, physics
from plimsoll.simulator.nodes import Step
from plimsoll.simulator.placement import (
    Claim,
    NoRoom,
    choose,
    host_states,
    open_claims,
    restart_host,
    rooms,
)
from plimsoll.simulator.records import (
    Damaged,
    VmRecord,
    decode_record,
    label_value,
    to_configmap,
)
from plimsoll.world import wire
from plimsoll.world.vms import PowerState

GIB = 1024**3


def spec_of(hosts: dict[str, str], **settings: object) -> HypervisorSpec:
    """Hosts of 8 CPUs and 16 GiB, by name and state."""
    return HypervisorSpec.model_validate(
        {
            "provider": "simulated",
            "simulated": {
                "hosts": [
                    {"name": name, "cpu": 8, "memory": "16Gi", "state": state}
                    for name, state in hosts.items()
                ],
                "bootTime": "3s",
                "hotAddTime": "1s",
                "deleteTime": "1s",
                "restartTime": "5s",
                **settings,
            },
        }
    )


def vm_of(name: str = "a-0", host: str = "h1", **changes: object) -> VmRecord:
    """A running VM of 2 CPUs and 4 GiB whose node is registered."""
    running = VmRecord(
        uuid=f"uuid-of-{name}",
        name=name,
        owner_uid=f"owner-of-{name}",
        cluster="c1",
        hypervisor="rack",
        pool="a",
        host=host,
        power=PowerState.RUNNING,
        cpu=2,
        memory=4 * GIB,
        wanted_cpu=2,
        wanted_memory=4 * GIB,
        created=0.0,
        registered=True,
    )
    return msgspec.structs.replace(running, **changes)


def node_of(vm: VmRecord, *, ready: str = "True", **changes: object) -> wire.Node:
    manifest = nodes.manifest(vm, "")
    manifest["status"]["conditions"] = [{"type": "Ready", "status": ready}]
    node = msgspec.convert(manifest, wire.Node)
    return msgspec.structs.replace(node, **changes)


def silenced(node: wire.Node) -> wire.Node:
    stopped = node.metadata.labels | {nodes.KWOK: nodes.STOPPED}
    metadata = msgspec.structs.replace(node.metadata, labels=stopped)
    conditions = [wire.Condition(type="Ready", status="Unknown")]
    status = msgspec.structs.replace(node.status, conditions=conditions)
    return msgspec.structs.replace(node, metadata=metadata, status=status)


class TestAdvance:
    """One VM in time."""

    def test_a_new_vm_runs_after_its_boot_time_and_not_before(self) -> None:
        spec = spec_of({"h1": "Up"})
        vm = vm_of(power=PowerState.CREATING, due=3.0, registered=False)
        assert physics.advance(vm, spec, 2.9) == vm
        booted = physics.advance(vm, spec, 3.0)
        assert booted is not None
        assert booted.power is PowerState.RUNNING

    def test_hot_add_is_seen_when_it_is_due(self) -> None:
        spec = spec_of({"h1": "Up"})
        vm = vm_of(wanted_cpu=4, wanted_memory=8 * GIB, due=1.0)
        assert physics.advance(vm, spec, 0.9) == vm
        grown = physics.advance(vm, spec, 1.0)
        assert grown is not None
        assert (grown.cpu, grown.memory) == (4, 8 * GIB)

    def test_a_deleted_vm_disappears_when_it_is_due(self) -> None:
        spec = spec_of({"h1": "Up"})
        vm = vm_of(power=PowerState.DELETING, due=1.0)
        assert physics.advance(vm, spec, 0.9) == vm
        assert physics.advance(vm, spec, 1.0) is None

    @pytest.mark.parametrize("hosts", [{"h1": "Down", "h2": "Up"}, {"h2": "Up"}])
    def test_high_availability_restarts_elsewhere(self, hosts: dict[str, str]) -> None:
        spec = spec_of(hosts)
        failed = physics.advance(vm_of(), spec, 10.0)
        assert failed is not None
        assert (failed.power, failed.due) == (PowerState.RESTARTING, 15.0)
        assert not physics.restart_due(failed, spec, 14.9)
        assert physics.restart_due(failed, spec, 15.0)
        again = physics.advance(failed, spec, 15.0, "h2")
        assert again is not None
        assert (again.power, again.host, again.registered) == (PowerState.RUNNING, "h2", False)

    def test_without_room_it_stays_off_until_its_own_host_is_back(self) -> None:
        down, up = spec_of({"h1": "Down"}), spec_of({"h1": "Up"})
        failed = vm_of(power=PowerState.RESTARTING, due=15.0)
        off = physics.advance(failed, down, 15.0, "")
        assert off is not None
        assert off.power is PowerState.OFF
        assert physics.advance(off, down, 1000.0) == off
        booting = physics.advance(off, up, 2000.0)
        assert booting is not None
        assert (booting.power, booting.due) == (PowerState.RESTARTING, 2003.0)

    def test_without_high_availability_a_failed_host_turns_it_off(self) -> None:
        spec = spec_of({"h1": "Down", "h2": "Up"}, highAvailability=False)
        off = physics.advance(vm_of(), spec, 10.0)
        assert off is not None
        assert (off.power, off.host) == (PowerState.OFF, "h1")

    @pytest.mark.parametrize("state", ["Isolated", "Maintenance", "Unknown"])
    def test_a_host_that_has_not_failed_keeps_its_vms(self, state: str) -> None:
        vm = vm_of()
        assert physics.advance(vm, spec_of({"h1": state, "h2": "Up"}), 1000.0) == vm

    def test_an_interrupted_hot_add_takes_effect_at_the_next_boot(self) -> None:
        spec = spec_of({"h1": "Down", "h2": "Up"})
        failed = physics.advance(vm_of(wanted_cpu=4, due=100.0), spec, 10.0)
        assert failed is not None
        again = physics.advance(failed, spec, failed.due, "h2")
        assert again is not None
        assert (again.cpu, again.due) == (4, 0.0)

    def test_nobody_is_woken_for_what_is_overdue(self) -> None:
        assert physics.next_due([vm_of(due=1.0), vm_of(due=7.0), vm_of()], 5.0) == 7.0
        assert physics.next_due([vm_of(due=1.0)], 5.0) is None


class TestPlacement:
    """Who takes a VM."""

    def test_the_emptiest_host_that_fits(self) -> None:
        spec = spec_of({"h1": "Up", "h2": "Up", "h3": "Maintenance"})
        assert choose(rooms(spec, [vm_of(host="h1")]), 2, 4 * GIB) == "h2"

    @pytest.mark.parametrize(
        ("host", "cpu", "why"),
        [
            ("h1", 7, "h1 lacks 1000m CPU"),
            ("h3", 1, "h3 is Maintenance"),
            ("h9", 1, "there is no host h9"),
            ("", 9, "h1 lacks 3000m CPU; h2 lacks 1000m CPU; h3 is Maintenance"),
        ],
    )
    def test_no_room_says_why(self, host: str, cpu: int, why: str) -> None:
        spec = spec_of({"h1": "Up", "h2": "Up", "h3": "Maintenance"})
        with pytest.raises(NoRoom, match=f"^{why}$"):
            choose(rooms(spec, [vm_of(host="h1")]), cpu, GIB, host)

    def test_overcommitment_stretches_cpu_alone(self) -> None:
        spec = spec_of({"h1": "Up"}).model_copy(update={"cpu_overcommit_percent": 150})
        assert choose(rooms(spec, []), 12, 16 * GIB) == "h1"
        with pytest.raises(NoRoom, match="1000m CPU and 1 bytes of memory"):
            choose(rooms(spec, []), 13, 16 * GIB + 1)

    def test_a_vm_that_grows_counts_with_the_size_it_is_promised(self) -> None:
        (room,) = rooms(spec_of({"h1": "Up"}), [vm_of(wanted_cpu=6, due=1.0)])
        assert room.cpu_used == 6000

    def test_a_claim_counts_once_at_home_and_at_both_ends_of_a_move(self) -> None:
        spec, vm = spec_of({"h1": "Up", "h2": "Up"}), vm_of(host="h1")
        claim = Claim(name="a-0", host="h1", cpu=4, memory=GIB, until=9.0)
        assert [room.cpu_used for room in rooms(spec, [vm], {vm.owner_uid: claim})] == [4000, 0]
        moved = msgspec.structs.replace(claim, host="h2", cpu=2)
        assert [room.cpu_used for room in rooms(spec, [vm], {vm.owner_uid: moved})] == [2000, 2000]

    def test_a_claim_ends_when_shown_or_lapsed(self) -> None:
        vm = vm_of(host="h1")
        claim = Claim(name="a-0", host="h1", cpu=2, memory=4 * GIB, until=9.0)
        bigger = msgspec.structs.replace(claim, cpu=3)
        claims = {vm.owner_uid: claim, "other": claim}
        assert open_claims(claims, [vm], 5.0) == {"other": claim}
        assert open_claims({vm.owner_uid: bigger}, [vm], 5.0) == {vm.owner_uid: bigger}
        assert open_claims(claims, [vm], 9.0) == {}

    def test_a_restart_prefers_the_vms_own_host(self) -> None:
        vm = vm_of(host="h1")
        both = spec_of({"h1": "Up", "h2": "Up"})
        assert restart_host(vm, both, rooms(both, [vm_of("b-0", "h1")])) == "h1"
        alone = spec_of({"h1": "Down", "h2": "Up"}, highAvailability=False)
        with pytest.raises(NoRoom, match="h1 is Down"):
            restart_host(vm, alone, rooms(alone, []))


class TestNode:
    """What a VM's state asks of its node."""

    def test_a_booted_vm_registers_a_node_that_carries_its_identity(self) -> None:
        vm = vm_of(
            registered=False,
            reserved_cpu=200,
            reserved_memory=GIB,
            taints=(("k", "v", "NoSchedule"),),
            labels={"tier": "web"},
        )
        assert nodes.due(vm, None, alive=True) is Step.REGISTER
        node = msgspec.convert(nodes.manifest(vm, "z1"), wire.Node)
        assert node.spec.provider_id == "simulated://rack/uuid-of-a-0"
        assert node.status.allocatable == {"cpu": "1800m", "memory": "3Gi", "pods": "110"}
        assert node.spec.taints == [wire.Taint(key="k", value="v", effect="NoSchedule")]
        assert (
            node.metadata.labels.items()
            >= {
                "tier": "web",
                "plimsoll.dev/host": "h1",
                "plimsoll.dev/pool": "a",
                "topology.kubernetes.io/zone": "z1",
                "kubernetes.io/hostname": "a-0",
            }.items()
        )
        assert nodes.is_node_of(vm, node)

    def test_a_running_kubelet_does_not_register_twice(self) -> None:
        assert nodes.due(vm_of(), None, alive=True) is Step.NONE

    def test_another_machines_node_is_never_touched(self) -> None:
        vm = vm_of()
        foreign = node_of(vm_of(uuid="other"))
        for changed in (vm, msgspec.structs.replace(vm, cpu=4)):
            assert nodes.due(changed, foreign, alive=True) is Step.NONE
            assert nodes.due(changed, foreign, alive=False) is Step.NONE
        joining = msgspec.structs.replace(vm, registered=False)
        assert nodes.due(joining, foreign, alive=True) is Step.CLASH

    def test_what_is_not_heard_falls_silent_once(self) -> None:
        vm = vm_of()
        node = node_of(vm)
        assert nodes.due(vm, node, alive=False) is Step.SILENCE
        assert nodes.due(vm, silenced(node), alive=False) is Step.NONE
        assert nodes.due(vm, silenced(node), alive=True) is Step.REVIVE

    def test_hot_add_changes_cpu_and_memory_of_the_node_alone(self) -> None:
        grown = vm_of(cpu=4, memory=8 * GIB, reserved_cpu=500)
        assert nodes.due(grown, node_of(vm_of()), alive=True) is Step.RESIZE
        assert nodes.resize_patch(grown) == {
            "capacity": {"cpu": "4", "memory": "8Gi"},
            "allocatable": {"cpu": "3500m", "memory": "8Gi"},
        }
        assert nodes.due(grown, node_of(grown), alive=True) is Step.NONE

    @pytest.mark.parametrize(
        ("state", "power", "alive"),
        [
            ("Up", PowerState.RUNNING, True),
            ("Maintenance", PowerState.RUNNING, True),
            ("Unknown", PowerState.RUNNING, True),
            ("Isolated", PowerState.RUNNING, False),
            ("Down", PowerState.RUNNING, False),
            ("Up", PowerState.DELETING, False),
            ("Up", PowerState.OFF, False),
        ],
    )
    def test_a_kubelet_is_heard(self, state: str, power: PowerState, alive: bool) -> None:
        assert physics.alive(vm_of(power=power), spec_of({"h1": state})) is alive


class TestRecord:
    """The form in which a VM is kept."""

    def test_it_survives_the_cluster(self) -> None:
        vm = vm_of(taints=(("k", "", "NoExecute"),), labels={"a": "b"}, due=1.25)
        assert decode_record(json.dumps(to_configmap(vm, "ns")).encode()).vm == vm

    @pytest.mark.parametrize("data", [{}, {"vm": "{"}, {"vm": '{"uuid": 1}'}])
    def test_damage_is_an_error_not_an_absence(self, data: dict[str, str]) -> None:
        raw = json.dumps({"metadata": {"name": "vm-1"}, "data": data}).encode()
        with pytest.raises(Damaged, match="ConfigMap vm-1"):
            decode_record(raw)

    def test_long_names_stay_apart_as_label_values(self) -> None:
        one, other = label_value("h" * 100 + "1"), label_value("h" * 100 + "2")
        assert one != other
        assert max(len(one), len(other)) <= 63


class DataCentreMachine(RuleBasedStateMachine):
    """Any order of wishes, failures, waits and restarts of the simulator."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.made = 0
        self.ha = True
        self.states = {"h1": "Up", "h2": "Up", "h3": "Up"}
        self.vms: dict[str, VmRecord] = {}
        self.uuids: dict[str, str] = {}
        self.deleted: set[str] = set()

    @property
    def spec(self) -> HypervisorSpec:
        return spec_of(self.states, highAvailability=self.ha, hotRemove=True)

    @rule(cpu=st.integers(1, 8), gib=st.integers(1, 16), host=st.sampled_from(["", "h1", "h3"]))
    def create(self, cpu: int, gib: int, host: str) -> None:
        try:
            host = choose(rooms(self.spec, self.vms.values()), cpu, gib * GIB, host)
        except NoRoom:
            return
        vm = vm_of(
            f"a-{self.made}",
            host,
            power=PowerState.CREATING,
            cpu=cpu,
            memory=gib * GIB,
            wanted_cpu=cpu,
            wanted_memory=gib * GIB,
            due=self.now + 3.0,
            registered=False,
        )
        self.made += 1
        self.vms[vm.name], self.uuids[vm.name] = vm, vm.uuid

    @precondition(lambda self: self.vms)
    @rule(data=st.data(), cpu=st.integers(1, 8))
    def resize(self, data: st.DataObject, cpu: int) -> None:
        vm = self.vms[data.draw(st.sampled_from(sorted(self.vms)))]
        others = [other for other in self.vms.values() if other is not vm]
        try:
            choose(rooms(self.spec, others), max(cpu, vm.cpu), vm.claimed_memory, vm.host)
        except NoRoom:
            return
        if vm.power is PowerState.RUNNING:
            self.vms[vm.name] = msgspec.structs.replace(vm, wanted_cpu=cpu, due=self.now + 1.0)

    @precondition(lambda self: self.vms)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        vm = self.vms[data.draw(st.sampled_from(sorted(self.vms)))]
        self.vms[vm.name] = msgspec.structs.replace(
            vm, power=PowerState.DELETING, due=self.now + 1.0
        )

    @rule(
        host=st.sampled_from(["h1", "h2", "h3"]),
        state=st.sampled_from(["Up", "Up", "Down", "Isolated", "Maintenance", "Unknown"]),
    )
    def change_host(self, host: str, state: str) -> None:
        self.states[host] = state

    @rule()
    def toggle_high_availability(self) -> None:
        self.ha = not self.ha

    @rule(seconds=st.floats(0.0, 20.0))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds
        self._step()

    @rule()
    def restart_the_simulator(self) -> None:
        """All it has afterwards is what the records say."""
        self.vms = {
            name: decode_record(json.dumps(to_configmap(vm, "ns")).encode()).vm
            for name, vm in self.vms.items()
        }

    @rule()
    def settle(self) -> None:
        """With all hosts up and time enough, every VM runs, or is gone if that was wished."""
        self.states = dict.fromkeys(self.states, "Up")
        dying = {name for name, vm in self.vms.items() if vm.power is PowerState.DELETING}
        for _ in range(4):
            self.now += 60.0
            self._step()
        assert all(vm.power is PowerState.RUNNING for vm in self.vms.values())
        assert not dying & self.vms.keys()
        assert all(vm.cpu == vm.wanted_cpu for vm in self.vms.values())

    def _step(self) -> None:
        for name, vm in sorted(self.vms.items()):
            others = [other for other in self.vms.values() if other is not vm]
            destination = ""
            if physics.restart_due(vm, self.spec, self.now):
                try:
                    destination = restart_host(vm, self.spec, rooms(self.spec, others))
                except NoRoom:
                    destination = ""
            after = physics.advance(vm, self.spec, self.now, destination)
            if after is None:
                del self.vms[name]
                self.deleted.add(name)
            else:
                self.vms[name] = after

    @invariant()
    def no_host_carries_more_than_it_can(self) -> None:
        for room in rooms(self.spec, self.vms.values()):
            assert room.cpu_used <= room.cpu
            assert room.memory_used <= room.memory

    @invariant()
    def identity_is_for_life(self) -> None:
        for name, vm in self.vms.items():
            assert vm.uuid == self.uuids[name]

    @invariant()
    def the_deleted_do_not_come_back(self) -> None:
        assert not self.deleted & self.vms.keys()

    @invariant()
    def nothing_is_heard_from_failed_hosts(self) -> None:
        states = host_states(self.spec)
        for vm in self.vms.values():
            if states[vm.host] in ("Down", "Isolated"):
                assert not physics.alive(vm, self.spec)


TestDataCentre = DataCentreMachine.TestCase
TestDataCentre.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
