"""Replicas and their size: the arithmetic behind up and out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import planning as w
from plimsoll.decide import sizing
from plimsoll.decide.plan import Size

FIXED = Size(cpu=250, memory=256 * w.MIB)


@given(st.integers(0, 60), st.integers(0, 5), st.integers(1, 12))
def test_survivors_are_what_an_even_spread_leaves(
    replicas: int, survive: int, domains: int
) -> None:
    spread = sorted((len(range(d, replicas, domains)) for d in range(domains)), reverse=True)
    assert sizing.survivors(replicas, survive, domains) == sum(spread[survive:])


def test_with_domains_without_end_each_loss_takes_one() -> None:
    assert sizing.survivors(5, 2, None) == 3


@given(
    st.integers(0, 40_000),
    st.integers(0, 64),
    st.integers(0, 3),
    st.none() | st.integers(0, 5),
)
def test_what_is_called_enough_carries_the_need_after_the_loss(
    cpu: int, gib: int, survive: int, domains: int | None
) -> None:
    spec = w.workload(redundancy={"survive": survive}).spec
    need = sizing.Need(cpu=cpu, memory=gib * w.GIB)
    shape = sizing.shape_for(spec, need, domains, FIXED)
    assert spec.scale_up is not None
    assert sizing.floor(spec) <= shape.replicas <= spec.scale_out.max
    assert spec.scale_up.cpu.min <= shape.size.cpu <= spec.scale_up.cpu.max
    assert spec.scale_up.memory.min <= shape.size.memory <= spec.scale_up.memory.max
    left = sizing.survivors(shape.replicas, survive, domains)
    carries = left * shape.size.cpu >= need.cpu and left * shape.size.memory >= need.memory
    assert carries == shape.enough


@given(st.integers(0, 30_000), st.integers(0, 2))
def test_a_replica_grows_before_there_are_more(cpu: int, survive: int) -> None:
    spec = w.workload(redundancy={"survive": survive}).spec
    need = sizing.Need(cpu=cpu, memory=0)
    shape = sizing.shape_for(spec, need, None, FIXED)
    if shape.replicas > sizing.floor(spec):
        assert spec.scale_up is not None
        fewer = sizing.survivors(shape.replicas - 1, survive, None)
        assert fewer * spec.scale_up.cpu.max < cpu


def test_a_promise_that_cannot_be_kept_does_not_run_the_count_up() -> None:
    spec = w.workload(redundancy={"survive": 1}).spec
    shape = sizing.shape_for(spec, sizing.Need(cpu=500, memory=0), 1, FIXED)
    assert (shape.replicas, shape.enough) == (2, False)


def test_utilisation_leaves_head_room() -> None:
    spec = w.workload(targetUtilization={"cpuPercent": 70, "memoryPercent": 80}).spec
    assert sizing.need_of(spec, 700, 800) == sizing.Need(cpu=1000, memory=1000)


@given(st.integers(0, 60), st.integers(1, 12))
def test_the_share_of_a_domain_is_what_the_fullest_holds_of_an_even_spread(
    replicas: int, domains: int
) -> None:
    spread = [len(range(domain, replicas, domains)) for domain in range(domains)]
    assert sizing.share(replicas, domains) == max(spread)


def test_what_others_offer_is_not_needed_any_more() -> None:
    need = sizing.Need(cpu=1000, memory=100)
    assert sizing.less(need, Size(cpu=300, memory=200)) == sizing.Need(cpu=700, memory=0)
