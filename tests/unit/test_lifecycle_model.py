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

from lifemodel import NAME, Model
from plimsoll.act.lifecycle import DONE
from plimsoll.hypervisors.contract import PowerState
from plimsoll.resources import NODES, PODS, VMNODES

ENDS = [f"{what} {when}" for what in ("crash", "error") for when in ("before", "after")]


class Life(RuleBasedStateMachine):
    """Rules are what the operator, people and nature may do, in any order."""

    @initialize(on_timeout=st.sampled_from(["Keep", "Force"]))
    def begin(self, on_timeout: str) -> None:
        self.model = Model(on_timeout)
        self.model.wish()

    # The operator

    @rule(script=st.lists(st.sampled_from(["ok", "ok", *ENDS]), max_size=3))
    def step(self, script: list[str]) -> None:
        self.model.step(iter(script))

    @rule(rounds=st.integers(2, 6))
    def work(self, rounds: int) -> None:
        for _ in range(rounds):
            self.model.step()
            self.model.tick(1.0)
            self.model.judge()

    @rule()
    def restart(self) -> None:
        self.model.start()

    @rule(seconds=st.sampled_from([1.0, 5.0, 61.0, 130.0, 400.0, 1300.0]))
    def tick(self, seconds: float) -> None:
        self.model.tick(seconds)

    # People and the planner

    @precondition(lambda self: self.model.vmnode is None)
    @rule()
    def wish_again_under_the_same_name(self) -> None:
        self.model.wish()

    @precondition(lambda self: self.model.vmnode is not None)
    @rule()
    def delete(self) -> None:
        self.model.api.remove(VMNODES, NAME)

    @precondition(lambda self: self.model.vmnode is not None)
    @rule(retire=st.booleans())
    def retire(self, retire: bool) -> None:
        wish = {"reason": "empty", "since": "2026-01-01T00:00:00Z"} if retire else None
        self.model.api.change(VMNODES, NAME, {"spec": {"retire": wish}})

    @precondition(lambda self: self.model.vmnode is not None)
    @rule(cpu=st.integers(1, 4))
    def resize(self, cpu: int) -> None:
        self.model.api.change(VMNODES, NAME, {"spec": {"size": {"cpu": cpu}}})

    @rule(name=st.sampled_from("pqr"), held=st.booleans())
    def pod(self, name: str, held: bool) -> None:
        self.model.pod(name, held=held)

    @rule(empty=st.booleans())
    def budget(self, empty: bool) -> None:
        self.model.budget_empty = empty

    # Nature

    @rule(silent=st.booleans())
    def hypervisor_falls_silent(self, silent: bool) -> None:
        if self.model.vms.silent != silent:
            self.model.reachable_since = self.model.now
        self.model.vms.silent = silent

    @rule(full=st.booleans(), stuck=st.booleans())
    def hypervisor_is_full_or_stuck(self, full: bool, stuck: bool) -> None:
        self.model.vms.full, self.model.vms.stuck = full, stuck

    @rule(
        state=st.sampled_from(["Up", "Down", "Isolated", "Unknown"]),
        power=st.sampled_from([PowerState.OFF, PowerState.RESTARTING, PowerState.UNKNOWN]),
    )
    def host_fails(self, state: str, power: PowerState) -> None:
        self.model.hosts["h1"] = state
        for vm in list(self.model.vms.vms.values()):
            if vm.host == "h1" and vm.power is not PowerState.DELETING and state != "Up":
                self.model.vms.set(vm.uuid, power=power)

    @rule()
    def vm_is_restarted_or_found(self) -> None:
        for vm in list(self.model.vms.vms.values()):
            if vm.power in (PowerState.OFF, PowerState.UNKNOWN):
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

    @precondition(lambda self: self.model.node is None)
    @rule()
    def foreign_node_takes_the_name(self) -> None:
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

    @precondition(lambda self: self.model.node is not None)
    @rule()
    def node_is_deleted_behind_our_back(self) -> None:
        self.model.api.remove(NODES, NAME)

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


Life.TestCase.settings = settings(
    max_examples=60,
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
    retire = {"reason": "empty", "since": "2026-01-01T00:00:00Z"}
    model.api.change(VMNODES, NAME, {"spec": {"retire": retire}})
    until(lambda: model.vmnode is None)
    return model.faults.writes


def count_writes() -> int:
    return scale_out_and_in(Model(), lambda: "ok")


@pytest.mark.parametrize("end", ENDS)
def test_a_crash_or_error_at_any_write_ends_in_the_same_state(end: str) -> None:
    writes = count_writes()
    assert writes > 15
    for at in range(writes):
        model = Model()
        turn = itertools.count()
        scale_out_and_in(model, lambda turn=turn, at=at: end if next(turn) == at else "ok")
        assert next(turn) > at
        assert (model.vms.vms, model.node, model.vmnode) == ({}, None, None)
        assert len(model.made["uid-1"]) == 1
        assert not [key for key in model.api.objects if key[0] == PODS.plural]


def test_quiet_costs_no_write() -> None:
    model = Model()
    model.wish()
    model.settle()
    before = model.faults.writes
    for _ in range(5):
        model.step()
        model.tick(60.0)
    assert model.faults.writes == before
