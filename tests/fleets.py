"""Random fleets, and what a plan may do to one: for what must be kept in step with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

import planning as w
from plimsoll.api import labels as names
from plimsoll.decide import launching
from plimsoll.decide.fleet import Fleet
from plimsoll.decide.plan import Size
from plimsoll.world.snapshot import PodShape, Resources, Snapshot
from plimsoll.world.wire import Taint, Toleration

TAINT = Taint(key="dedicated", value="batch", effect="NoSchedule")
ZONES = ("a", "b")


@st.composite
def shapes(draw: st.DrawFn) -> PodShape:
    fields: dict[str, Any] = {}
    rule = draw(st.sampled_from(["none", "none", "none", "zone", "tolerates", "one"]))
    if rule == "zone":
        fields["node_selector"] = {names.ZONE: draw(st.sampled_from(ZONES))}
    elif rule == "tolerates":
        fields["tolerations"] = (Toleration(key="dedicated", operator="Exists"),)
    elif rule == "one":
        fields["node_selector"] = {names.HOSTNAME: "web-1"}
    return w.shape(
        draw(st.sampled_from([0, 100, 400, 500, 1000, 1300, 2000])),
        draw(st.sampled_from([0, 512, 1000, 1024, 4096])),
        priority=draw(st.sampled_from([0, 0, 0, 0, -20])),
        **fields,
    )


@st.composite
def worlds(draw: st.DrawFn, *, restarts: bool) -> Snapshot:
    """Hosts, VMs and pods at random, whether they fit or not; pods of two workloads or none."""
    hosts = tuple(
        w.host(
            f"h{number}",
            draw(st.sampled_from([6, 8, 16])),
            draw(st.sampled_from([16, 64])),
            state=draw(st.sampled_from(["Up", "Up", "Up", "Up", "Down"])),
        )
        for number in range(draw(st.integers(1, 5)))
    )
    rack = w.hypervisor(
        *hosts, capabilities=w.EVERYTHING.model_copy(update={"high_availability": restarts})
    )
    web = w.pool("web", survive={"hosts": draw(st.integers(1, 3))})
    other = w.pool("other")
    vms = tuple(
        w.vm(
            f"web-{number + 1}",
            f"h{draw(st.integers(0, len(hosts) - 1))}",
            draw(st.sampled_from([2, 2, 4])),
            draw(st.sampled_from([4, 8])),
            of=draw(st.sampled_from([web, web, web, other])),
            zone=draw(st.sampled_from(ZONES)),
            taints=draw(st.sampled_from([(), (), (), (TAINT,)])),
            schedulable=draw(st.sampled_from([True, True, True, False])),
            retiring=draw(st.sampled_from([False, False, False, False, True])),
            ready=draw(st.sampled_from([True, True, True, False])),
            lost=draw(st.sampled_from([False, False, False, True])),
        )
        for number in range(draw(st.integers(0, 8)))
    )
    kinds = draw(st.lists(shapes(), min_size=1, max_size=5))
    pods = tuple(
        w.pod(
            f"p{number:02}",
            draw(st.sampled_from(kinds)),
            draw(st.sampled_from([None, *(vm.name for vm in vms)])),
            daemon=draw(st.sampled_from([False, False, False, False, True])),
            terminating=draw(st.sampled_from([False, False, False, False, True])),
            workload=draw(st.sampled_from([None, "default/app", "default/db"])),
        )
        for number in range(draw(st.integers(0, 16)))
    )
    workloads = tuple(
        w.workload(
            name,
            demand=draw(st.sampled_from([None, w.load(500), w.load(2000, 4096)])),
            redundancy={
                "survive": draw(st.integers(0, 2)),
                "across": draw(st.sampled_from(["host", "vm", "zone"])),
            },
        )
        for name in ("app", "db")
    )
    return Snapshot(
        hypervisors=(rack,), pools=(web, other), vms=vms, pods=pods, workloads=workloads
    )


def change(draw: Callable[[Any], Any], fleet: Fleet) -> None:
    """One thing that a plan may do."""
    bins = [target for _, target in sorted(fleet.bins.items())]
    what = draw(st.sampled_from(["put", "put", "take", "resize", "size", "accepts", "open", "out"]))
    placed = sorted(fleet.where)
    waiting = sorted(set(fleet.pods) - set(fleet.where))
    target = draw(st.sampled_from(bins)) if bins else None
    if what == "put" and waiting and target is not None:
        key = draw(st.sampled_from(waiting))
        fleet.put(key, fleet.pods[key].shape, target)
    elif what == "take" and placed:
        fleet.take(draw(st.sampled_from(placed)))
    elif what == "resize" and placed:
        cpu = draw(st.sampled_from([100, 700, 1000]))
        fleet.resize_pod(draw(st.sampled_from(placed)), Resources(cpu=cpu, memory=w.GIB))
    elif what == "size" and target is not None:
        cpu, memory = draw(st.sampled_from([(2, 4), (4, 16), (6, 8)]))
        fleet.resize_bin(target, Size(cpu=cpu * 1000, memory=memory * w.GIB))
    elif what == "accepts" and target is not None:
        fleet.set_accepts(target, not target.accepts)
    elif what == "open":
        sites = list(launching.sites(fleet, fleet.pools["web"], w.NOW))
        if sites:
            site = draw(st.sampled_from(sites))
            fleet.open(launching.blank(fleet, fleet.pools["web"], site))
    elif what == "out" and target is not None:
        for key in list(target.pods):
            fleet.take(key)
        fleet.close(target.name)
