"""The question of the essay in numbers: the same containers, arranged in three ways.

Everything is computed from what was seen in the run. Units: CPU in whole CPUs,
memory in GiB, cost in the pool's own unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from plimsoll.api.vmpool import VMPoolSpec
from plimsoll.decide import cost
from plimsoll_demo.scene import Replica, Scene

GIB: Final = 1024**3


@dataclass(frozen=True)
class Arrangement:
    """What one way of running the containers takes from the hosts."""

    machines: int
    cpu: int
    memory: int
    cost: float


@dataclass(frozen=True)
class Moment:
    """One moment of the story in all three ways."""

    name: str
    containers: int
    plimsoll: Arrangement
    one_app_per_vm: Arrangement
    bare_metal: Arrangement


def moment(name: str, scene: Scene) -> Moment:
    """The three arrangements for the containers that this scene shows."""
    assert scene.pool is not None
    replicas = [replica for row in scene.workloads for replica in row.replicas]
    return Moment(
        name=name,
        containers=len(replicas),
        plimsoll=_vms(scene.pool, [(vm.cpu, vm.memory) for vm in scene.vms]),
        one_app_per_vm=_vms(scene.pool, [_own_vm(scene.pool, replica) for replica in replicas]),
        bare_metal=_bare_metal(scene.pool, scene, replicas),
    )


def _vms(pool: VMPoolSpec, sizes: list[tuple[int, int]]) -> Arrangement:
    return Arrangement(
        machines=len(sizes),
        cpu=sum(cpu for cpu, _ in sizes) // 1000,
        memory=sum(memory for _, memory in sizes) // GIB,
        cost=sum(cost.of_size(pool, cpu, memory) for cpu, memory in sizes) / 1000,
    )


def _own_vm(pool: VMPoolSpec, replica: Replica) -> tuple[int, int]:
    """A VM for one replica: what it requests and what a VM keeps, in whole CPUs and GiB."""
    reserved = pool.density.reserved
    cpu = -(-(replica.cpu + reserved.cpu) // 1000) * 1000
    memory = -(-(replica.memory + reserved.memory) // GIB) * GIB
    return cpu, memory


def _bare_metal(pool: VMPoolSpec, scene: Scene, replicas: list[Replica]) -> Arrangement:
    """The fewest hosts that hold all containers under the line after the promised loss.

    Whole machines are given to it, whatever is used of them; no VM is paid for.
    """
    line, reserved = pool.density.load_line_percent, pool.density.reserved
    cpu = sum(replica.cpu for replica in replicas) * 100 / line
    memory = sum(replica.memory for replica in replicas) * 100 / line
    host = max(scene.hosts, key=lambda h: (h.cpu, h.memory))
    needed = max(cpu / (host.cpu * 1000 - reserved.cpu), memory / (host.memory - reserved.memory))
    number = max(1, math.ceil(needed)) + pool.survive.hosts
    model = pool.cost
    size = model.per_cpu * host.cpu + model.per_gib * host.memory / GIB
    return Arrangement(
        machines=number,
        cpu=number * host.cpu,
        memory=number * host.memory // GIB,
        cost=number * size / 1000,
    )
