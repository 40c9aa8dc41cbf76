"""New VMs give pods to others where that makes them smaller, and nobody's rules are touched."""

from __future__ import annotations

from typing import Any

import pytest

import planning as w
from checker import problems
from mixes import a_pool, mixed_pods
from plimsoll.decide import cost, trimming
from plimsoll.decide.filters import Filters
from plimsoll.decide.fleet import Bin, Fleet
from plimsoll.decide.placing import Placer
from plimsoll.decide.plan import Size
from plimsoll.decide.planner import plan
from plimsoll.decide.roster import Roster
from plimsoll.decide.trimming import Trimming
from plimsoll.world.snapshot import PodShape, Snapshot, Vm
from plimsoll.world.wire import LabelSelector, PodAffinityTerm

HOST = "kubernetes.io/hostname"


def near(app: str) -> tuple[PodAffinityTerm, ...]:
    return (
        PodAffinityTerm(topology_key=HOST, label_selector=LabelSelector(match_labels={"app": app})),
    )


class Packed:
    """VMs to be launched, 2 CPUs a step, and what was put onto each of them."""

    def __init__(self, *vms: dict[str, PodShape], running: tuple[Vm, ...] = ()) -> None:
        pods = tuple(w.pod(name, shape) for carried in vms for name, shape in carried.items())
        self.world = Snapshot(
            hypervisors=(w.hypervisor(w.host("h1", 64, 256)),),
            pools=(w.pool(),),
            vms=running,
            pods=pods,
            namespaces={"default": {}},
        )
        self.fleet = Fleet(self.world)
        self.placer = Placer(self.fleet, Filters(self.fleet), w.NOW)
        for carried in vms:
            target = self.placer.launch_empty("web", "for the test")
            assert isinstance(target, Bin)
            for name, shape in carried.items():
                self.fleet.put(f"default/{name}", shape, target)
            cpus = -(-target.cpu_used // 2000) * 2000
            self.fleet.resize_bin(target, Size(cpu=cpus, memory=target.memory))

    def trim(self) -> list[tuple[int, list[str]]]:
        """CPUs and pods of each new VM, once they are trimmed."""
        Trimming(self.placer, Roster(self.world, self.fleet)).trim()
        return [
            (target.cpu // 1000, sorted(key.removeprefix("default/") for key in target.pods))
            for target in self.fleet.by_slot
            if target.new
        ]


def test_a_pod_that_begins_a_step_goes_where_room_is_left_over() -> None:
    packed = Packed(
        {"large": w.shape(2000), "small": w.shape(500)},
        {"other": w.shape(1500)},
    )
    assert packed.trim() == [(2, ["large"]), (2, ["other", "small"])]


def test_of_sets_that_are_enough_the_smallest_goes() -> None:
    packed = Packed(
        {"a": w.shape(1500), "b": w.shape(400), "c": w.shape(300)},
        {"other": w.shape(1000)},
    )
    assert packed.trim() == [(2, ["a", "b"]), (2, ["c", "other"])]


def test_two_pods_may_go_to_two_vms() -> None:
    packed = Packed(
        {"large": w.shape(2000), "a": w.shape(300), "b": w.shape(300)},
        {"other": w.shape(1700)},
        {"another": w.shape(1700)},
    )
    assert [cpus for cpus, _ in packed.trim()] == [2, 2, 2]


def test_a_pod_may_go_to_a_vm_that_runs() -> None:
    packed = Packed(
        {"large": w.shape(2000), "small": w.shape(500)},
        {"other": w.shape(2000)},
        running=(w.vm("web-0", "h1", cpu=2),),
    )
    assert packed.trim() == [(2, ["large"]), (2, ["other"])]


@pytest.mark.parametrize(
    ("small", "beside", "there"),
    [
        pytest.param({"anti_affinity": near("there")}, {}, {}, id="it keeps apart"),
        pytest.param({}, {}, {"anti_affinity": near("small")}, id="another keeps apart from it"),
        pytest.param({"affinity": near("beside")}, {}, {}, id="it stays near another"),
        pytest.param({}, {"affinity": near("small")}, {}, id="another stays near it"),
        pytest.param({"node_selector": {"disk": "fast"}}, {}, {}, id="no other node will do"),
    ],
)
def test_rules_keep_a_pod_where_it_is(
    small: dict[str, Any], beside: dict[str, Any], there: dict[str, Any]
) -> None:
    packed = Packed(
        {
            "beside": w.shape(2000, app="beside", **beside),
            "small": w.shape(500, app="small", **small),
        },
        {"there": w.shape(1500, app="there", **there)},
    )
    assert packed.trim() == [(4, ["beside", "small"]), (2, ["there"])]


def test_pods_stay_as_evenly_spread_as_they_are() -> None:
    even = (w.spread(HOST, app="even"),)
    packed = Packed(
        {"large": w.shape(2000), "one": w.shape(500, app="even", spread=even)},
        {"two": w.shape(1500, app="even", spread=even)},
    )
    assert packed.trim() == [(4, ["large", "one"]), (2, ["two"])]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_mix_gets_cheaper_and_every_rule_is_kept(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    trim = Trimming.trim

    def watched(self: Trimming) -> None:
        fleet, filters = self._fleet, self._placer.filters
        asking = fleet.classes.rules()
        before, unsettled = cost.of_fleet(fleet), filters.unsettled(fleet.unbound, asking)
        trim(self)
        saved.append(before - cost.of_fleet(fleet))
        assert set(filters.unsettled(fleet.unbound, asking)) <= set(unsettled)

    monkeypatch.setattr(trimming.Trimming, "trim", watched)
    rack = w.replace(w.hypervisor(), hosts=None)
    pool = a_pool(step=4)
    world = Snapshot(
        hypervisors=(rack,),
        pools=(pool,),
        pods=mixed_pods(300, seed),
        namespaces={"default": {}},
    )
    assert problems(world, plan(world, w.NOW)) == []
    assert saved[0] > 0
