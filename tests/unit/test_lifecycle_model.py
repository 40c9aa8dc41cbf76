"""The life cycle under crashes, lost answers and failing hosts: what must never happen, does not.

The real ``Lifecycle`` against the in-memory world of ``lifemodel.py``, which says
what it leaves out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lifemodel import CLUSTER, NAME, Model
from plimsoll.act.lifecycle import DONE
from plimsoll.hypervisors.contract import PowerState
from plimsoll.resources import NODES, PODS, VMNODES

ENDS = [f"{what} {when}" for what in ("crash", "error") for when in ("before", "after")]

HOST_FAILURES = [
    ("Down", PowerState.OFF),
    ("Down", PowerState.RESTARTING),
    ("Down", PowerState.UNKNOWN),
    ("Down", PowerState.RUNNING),
    ("Isolated", PowerState.UNKNOWN),
    ("Isolated", PowerState.OFF),
    ("Unknown", PowerState.OFF),
    ("Up", PowerState.OFF),
]
"""State of the host, and what the hypervisor says of its VMs."""


class Life(RuleBasedStateMachine):
    """Rules are what the operator, people and nature may do, in any order."""

    @initialize(
        on_timeout=st.sampled_from(["Keep", "Force"]),
        ready=st.booleans(),
        real=st.booleans(),
        when_off=st.sampled_from(["Restart", "Replace"]),
        host=st.sampled_from(["", "h1"]),
    )
    def begin(self, on_timeout: str, ready: bool, real: bool, when_off: str, host: str) -> None:
        self.model = Model(on_timeout, real=real, when_off=when_off)
        self.model.wish(host=host)
        if ready:
            self.model.settle()
            self.model.pod("p")

    # The operator

    @rule(script=st.lists(st.sampled_from(["ok", "ok", *ENDS]), max_size=3))
    def step(self, script: list[str]) -> None:
        self.model.step(iter(script))

    @rule(rounds=st.integers(3, 12), pace=st.sampled_from([1.0, 30.0]))
    def work(self, rounds: int, pace: float) -> None:
        for _ in range(rounds):
            self.model.step()
            self.model.tick(pace)
            self.model.judge()

    @rule(seconds=st.sampled_from([1.0, 5.0, 61.0, 130.0, 400.0, 1300.0]), down=st.booleans())
    def time_passes(self, seconds: float, down: bool) -> None:
        """Much time at once, in which the operator does nothing, or is not even there."""
        self.model.tick(seconds)
        if down:
            self.model.start()

    # People and the planner

    @precondition(lambda self: self.model.vmnode is None)
    @rule()
    def wish_again_under_the_same_name(self) -> None:
        self.model.wish()

    @precondition(lambda self: self.model.vmnode is not None)
    @rule(how=st.sampled_from(["delete", "retire", "take back"]))
    def leave(self, how: str) -> None:
        if how == "delete":
            self.model.api.remove(VMNODES, NAME)
        else:
            self.model.retire(how == "retire")

    @precondition(lambda self: self.model.vmnode is not None)
    @rule(cpu=st.integers(1, 4))
    def resize(self, cpu: int) -> None:
        self.model.api.change(VMNODES, NAME, {"spec": {"size": {"cpu": cpu}}})

    @rule(name=st.sampled_from("pqr"), held=st.booleans(), budget_empty=st.booleans())
    def pod(self, name: str, held: bool, budget_empty: bool) -> None:
        self.model.pod(name, held=held)
        self.model.budget_empty = budget_empty

    # Nature

    @rule(silent=st.booleans())
    def hypervisor_falls_silent(self, silent: bool) -> None:
        if self.model.vms.silent != silent:
            self.model.reachable_since = self.model.now
        self.model.vms.silent = silent

    @rule(full=st.booleans(), stuck=st.booleans(), half=st.booleans())
    def hypervisor_is_full_or_stuck(self, full: bool, stuck: bool, half: bool) -> None:
        self.model.vms.full, self.model.vms.stuck, self.model.vms.half = full, stuck, half

    @rule()
    def vm_is_paused(self) -> None:
        for vm in list(self.model.vms.vms.values()):
            if vm.power is PowerState.RUNNING:
                self.model.vms.set(vm.uuid, power=PowerState.PAUSED)

    @rule(failure=st.sampled_from(HOST_FAILURES))
    def host_fails(self, failure: tuple[str, PowerState]) -> None:
        self.model.fail_host(*failure)

    @rule()
    def vm_is_restarted_or_found(self) -> None:
        for vm in list(self.model.vms.vms.values()):
            if vm.power in (PowerState.OFF, PowerState.UNKNOWN, PowerState.PAUSED):
                self.model.vms.set(vm.uuid, power=PowerState.RUNNING, host="h2")

    @rule()
    def vm_is_deleted_behind_our_back(self) -> None:
        self.model.vms.vms.clear()

    @rule(same_uuid=st.booleans(), cluster=st.sampled_from(["our-cluster", "another-cluster"]))
    def names_and_ids_are_reused(self, same_uuid: bool, cluster: str) -> None:
        """VMs of others have the name of ours; one even takes over its identity."""
        for vm in list(self.model.vms.vms.values()):
            uuid = vm.uuid if same_uuid else f"f{vm.uuid[1:]}"
            self.model.vms.vms[uuid] = msgspec.structs.replace(
                vm, uuid=uuid, owner_uid="uid-of-another", cluster=cluster
            )

    @rule()
    def node_is_deleted_behind_our_back(self) -> None:
        if self.model.node is not None:
            self.model.api.remove(NODES, NAME)

    @rule()
    def foreign_node_takes_the_name(self) -> None:
        if self.model.node is not None:
            return
        self.model.api.put(
            NODES,
            {
                "metadata": {"name": NAME, "uid": "foreign"},
                "spec": {},
                "status": {
                    "nodeInfo": {"systemUUID": "foreign"},
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            },
        )

    @invariant()
    def nothing_went_wrong(self) -> None:
        if hasattr(self, "model"):
            self.model.judge()

    def teardown(self) -> None:
        """When faults stop, the VMNode ends Ready at its size, or gone with all that was its."""
        if not hasattr(self, "model"):
            return
        model = self.model
        model.vms.silent = model.vms.full = model.vms.stuck = model.budget_empty = False
        model.vms.half = False
        model.reachable_since = model.now
        model.hosts["h1"] = "Up"
        for vm in list(model.vms.vms.values()):
            if vm.owner_uid == "uid-of-another":
                del model.vms.vms[vm.uuid]
        if model.foreign_node():
            model.api.remove(NODES, NAME)
        self.vm_is_restarted_or_found()
        wanted = model.vmnode is not None
        model.settle()
        model.judge()
        if wanted and model.vmnode is not None:
            status = model.vmnode.status
            assert status is not None
            assert status.phase == "Ready"
            assert status.size == model.vmnode.spec.size
            assert model.node is not None
            assert model.node.status.capacity["plimsoll.dev/berths"] == "20"
        assert (model.tokens.tokens, model.vms.seeds.keys() & model.vms.vms.keys()) == ({}, set())


Life.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestLife = Life.TestCase


def scale_out_and_in(model: Model, script: Callable[[], str]) -> int:
    """Launch, take pods, grow, retire; every write asks ``script`` what befalls it."""
    scripted = iter(script, None)

    def until(done: Callable[[], bool]) -> None:
        for _ in range(200):
            if done():
                return
            if model.step(scripted) is DONE:
                return
            model.tick(1.0)
            model.judge()
        raise AssertionError(f"stuck: {model.vmnode}")

    model.wish()
    until(lambda: model.phase == "Ready")
    model.pod("p")
    model.pod("q")
    model.api.change(VMNODES, NAME, {"spec": {"size": {"cpu": 4}}})
    until(lambda: model.phase == "Resizing")
    until(lambda: model.phase == "Ready")
    assert model.node is not None
    assert model.node.status.capacity["cpu"] == "4"
    model.retire()
    until(lambda: model.vmnode is None)
    return model.faults.writes


def count_writes(real: bool) -> int:
    return scale_out_and_in(Model(real=real), lambda: "ok")


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("end", ENDS)
def test_a_crash_or_error_at_any_write_ends_in_the_same_state(end: str, real: bool) -> None:
    writes = count_writes(real)
    assert writes > 15
    for at in range(writes):
        model = Model(real=real)
        turn = itertools.count()
        scale_out_and_in(model, lambda turn=turn, at=at: end if next(turn) == at else "ok")
        assert next(turn) > at
        assert (model.vms.vms, model.node, model.vmnode) == ({}, None, None)
        assert model.tokens.tokens == {}
        assert len(model.made["uid-1"]) == 1
        assert not [key for key in model.api.objects if key[0] == PODS.plural]


@pytest.mark.parametrize("failure", HOST_FAILURES, ids=str)
@pytest.mark.parametrize("leaving", ["", "retire", "delete"])
def test_a_failed_host_costs_its_vm_only_if_it_is_surely_off(
    failure: tuple[str, PowerState], leaving: str
) -> None:
    model = Model()
    model.wish()
    model.settle()
    model.pod("p")
    model.fail_host(*failure)
    if leaving == "retire":
        model.retire()
    if leaving == "delete":
        model.api.remove(VMNODES, NAME)
    for _ in range(30):
        model.step()
        model.tick(30.0)
        model.judge()
    off = failure in (("Down", PowerState.OFF), ("Up", PowerState.OFF))
    restarted_and_drained = leaving == "retire" and failure[1] is PowerState.RESTARTING
    gone = off or leaving == "delete" or restarted_and_drained
    assert (model.vmnode is None) == gone
    if model.vmnode is None:
        assert (model.vms.vms, model.node) == ({}, None)


@pytest.mark.parametrize("cluster", [CLUSTER, "another-cluster"])
def test_a_vm_that_took_over_the_identity_is_not_touched(cluster: str) -> None:
    model = Model()
    model.wish()
    model.settle()
    (uuid,) = model.vms.vms
    model.vms.vms[uuid] = msgspec.structs.replace(
        model.vms.vms[uuid],
        owner_uid="uid-1" if cluster != CLUSTER else "uid-of-another",
        cluster=cluster,
    )
    model.api.remove(VMNODES, NAME)
    for _ in range(10):
        model.step()
        model.tick(30.0)
        model.judge()
    assert uuid in model.vms.vms
    assert model.vmnode is not None
    assert model.vmnode.status is not None
    assert "ForeignVM" in [c.reason for c in model.vmnode.status.conditions]


def test_a_silent_hypervisor_pauses_a_deletion() -> None:
    model = Model()
    model.wish()
    model.settle()
    model.api.remove(VMNODES, NAME)
    while model.phase != "Deleting":
        model.step()
    model.vms.silent = True
    for _ in range(10):
        model.step()
        model.tick(30.0)
        model.judge()
    assert model.node is not None
    assert model.vmnode is not None


def test_a_second_vm_made_for_the_vmnode_goes_too() -> None:
    model = Model()
    model.wish()
    model.settle()
    (vm,) = model.vms.vms.values()
    model.vms.vms["second"] = msgspec.structs.replace(vm, uuid="second")
    model.api.remove(VMNODES, NAME)
    model.settle()
    assert (model.vms.vms, model.vmnode) == ({}, None)


def test_quiet_costs_no_write() -> None:
    model = Model()
    model.wish()
    model.settle()
    before = model.faults.writes
    for _ in range(5):
        model.step()
        model.tick(60.0)
    assert model.faults.writes == before


def lose_power(model: Model) -> None:
    """Whatever runs is off, as after the power failed."""
    for vm in list(model.vms.vms.values()):
        model.vms.set(vm.uuid, power=PowerState.OFF)


@pytest.mark.parametrize("when_off", ["Restart", "Replace"])
def test_a_killed_vm_is_started_again_or_replaced_as_the_pool_says(when_off: str) -> None:
    model = Model(real=True, when_off=when_off)
    model.wish()
    model.settle()
    (uuid,) = model.vms.vms
    lose_power(model)
    model.settle()
    if when_off == "Restart":
        assert (list(model.vms.vms), model.phase, model.starts) == ([uuid], "Ready", 1)
    else:
        assert (model.vms.vms, model.vmnode, model.starts) == ({}, None, 0)


def test_a_vm_that_does_not_stay_up_is_given_up() -> None:
    model = Model(real=True)
    model.wish()
    model.settle()
    for _ in range(200):
        lose_power(model)
        if model.step() is DONE:
            break
        model.tick(5.0)
        model.judge()
    assert (model.vms.vms, model.vmnode) == ({}, None)
    assert 1 < model.starts <= 4


def test_a_vm_made_just_before_a_crash_is_started() -> None:
    model = Model(real=True)
    model.vms.half = True
    model.wish()
    model.settle()
    assert (model.phase, model.starts, len(model.made["uid-1"])) == ("Ready", 1, 1)


def test_a_paused_vm_is_kept_for_a_day_and_goes_when_it_is_deleted() -> None:
    model = Model(real=True)
    model.wish()
    model.settle()
    (uuid,) = model.vms.vms
    model.vms.set(uuid, power=PowerState.PAUSED)
    for _ in range(288):
        model.step()
        model.tick(300.0)
        model.judge()
    assert (list(model.vms.vms), model.phase) == ([uuid], "Ready")
    assert "VMLost" in model.recorder.reasons
    model.api.remove(VMNODES, NAME)
    model.settle()
    assert (model.vms.vms, model.vmnode) == ({}, None)


def test_a_vm_that_is_ready_has_neither_token_nor_seed() -> None:
    model = Model(real=True)
    model.wish()
    while model.phase != "Booting":
        model.step()
    assert len(model.tokens.tokens) == len(model.vms.seeds) == 1
    model.settle()
    assert (model.tokens.tokens, model.vms.seeds) == ({}, {})


def test_a_vm_that_never_boots_says_so_and_gives_way_to_one_on_another_host() -> None:
    model = Model(real=True)
    model.wish(host="h1")
    model.vms.stuck = True
    told: set[str] = set()
    for _ in range(500):
        if model.step() is DONE:
            break
        found = model.vmnode
        told |= {found.status.message} if found and found.status else set()
        model.tick(20.0)
        model.judge()
    assert (model.vms.vms, model.vmnode, model.tokens.tokens) == ({}, None, {})
    assert len(model.made["uid-1"]) == 2
    assert any("console ended with" in message and "panic" in message for message in told)
    assert "LaunchGivenUp" in model.recorder.reasons
