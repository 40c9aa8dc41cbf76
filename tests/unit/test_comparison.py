"""The demo's comparison: the same containers in three ways."""

from __future__ import annotations

from plimsoll.api.hypervisor import SimulatedHost
from plimsoll.api.vmpool import VMPoolSpec
from plimsoll_demo.comparison import Arrangement, moment
from plimsoll_demo.scene import Replica, Scene, VmRow, WorkloadRow

GIB = 1024**3

POOL = VMPoolSpec.model_validate(
    {
        "hypervisor": "rack",
        "nodes": {"max": 9},
        "size": {"cpu": {"min": 2, "max": 8}, "memory": {"min": "4Gi", "max": "16Gi"}},
        "density": {"loadLinePercent": 50, "reserved": {"cpu": "1", "memory": "1Gi"}},
        "cost": {"perVM": 10, "perCPU": 1, "perGiB": "500m"},
        "survive": {"hosts": 1},
    }
)


def vm(name: str) -> VmRow:
    return VmRow(
        name=name,
        state="Ready",
        host="h0",
        node_host="h0",
        cpu=4000,
        memory=8 * GIB,
        cpu_requested=0,
        cpu_line=0,
        memory_requested=0,
        memory_line=0,
        containers=2,
        berths=2,
    )


def scene(replicas: int) -> Scene:
    """So many replicas of 1.5 CPUs and 1.5 GiB on two VMs of 4 CPUs and 8 GiB."""
    one = Replica(host="h0", cpu=1500, memory=3 * GIB // 2, ready=True)
    hosts = tuple(
        SimulatedHost.model_validate({"name": f"h{n}", "cpu": 9, "memory": "33Gi"})
        for n in range(3)
    )
    return Scene(
        vms=(vm("a"), vm("b")),
        workloads=(WorkloadRow("app", replicas=(one,) * replicas),),
        hosts=hosts,
        pool=POOL,
    )


def test_vms_cost_what_the_pool_says() -> None:
    assert moment("now", scene(2)).plimsoll == Arrangement(
        machines=2, cpu=8, memory=16, cost=2 * (10 + 4 + 4)
    )


def test_an_own_vm_holds_its_replica_and_the_reservation_in_whole_units() -> None:
    assert moment("now", scene(2)).one_app_per_vm == Arrangement(
        machines=2, cpu=6, memory=6, cost=2 * (10 + 3 + 1.5)
    )


def test_bare_metal_takes_whole_hosts_under_the_line_and_one_that_may_fail() -> None:
    # Under its line of 50% a host of 8 free CPUs holds 4, two replicas and a half.
    for replicas, hosts in ((1, 2), (2, 2), (3, 3), (6, 4)):
        assert moment("now", scene(replicas)).bare_metal == Arrangement(
            machines=hosts, cpu=9 * hosts, memory=33 * hosts, cost=hosts * (9 + 16.5)
        )
