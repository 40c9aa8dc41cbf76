"""How long a plan takes where promises must be kept.

VMs with 25 pods each of 300 classes, 200 more pods waiting. Either every VM is at its line and must
grow to take one more, or there is room and some VMs can be retired. Each figure is one plan from a
snapshot that is already there, in CPU time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import msgspec

from plimsoll.api import labels as names
from plimsoll.api.containerworkload import ContainerWorkloadSpec
from plimsoll.api.hypervisor import Capabilities
from plimsoll.api.vmpool import VMPoolSpec
from plimsoll.decide.planner import plan
from plimsoll.world.snapshot import (
    Demand,
    Host,
    Hypervisor,
    Pod,
    PodShape,
    Pool,
    Resources,
    Snapshot,
    Vm,
    Workload,
)
from plimsoll.world.wire import LabelSelector, Toleration, TopologySpreadConstraint
from plimsoll_bench.case import Case
from plimsoll_bench.table import Row, median

NOW = 1_800_000_000.0
GIB, MIB = 1024**3, 1024**2
FILLING = 22
VM = Resources(cpu=8000, memory=32 * GIB)
CPUS = (50, 100, 100, 150, 200, 250, 300, 500, 1000)
MEMORIES = (128, 256, 384, 512, 768, 1024, 1536, 2048)


class Situation(NamedTuple):
    """What is promised, and how full the VMs are; numbers for 2,000 VMs."""

    survive: int
    """Hosts that the pool promises to survive."""
    restarts: int
    """1: the hypervisor restarts VMs of lost hosts."""
    workloads: int
    """Workloads of 100 replicas that promise to survive a host."""
    full: int
    """1: every VM is at its line."""
    hosts: int

    def scaled(self, vms: int) -> Situation:
        """The same for so many VMs: as full, with as many VMs on a host."""
        return self._replace(
            workloads=self.workloads * vms // 2000, hosts=max(4, self.hosts * vms // 2000)
        )

    @property
    def told(self) -> str:
        """In words."""
        hosts = f"{self.survive} of {self.hosts} hosts may fail"
        parts = [hosts, "VMs restart" if self.restarts else "no restart"]
        if self.workloads:
            parts.append(f"{self.workloads} workloads")
        return ", ".join([*parts, "full" if self.full else "room"])


SITUATIONS = (
    Situation(0, 0, 0, 1, 100),
    *(Situation(*case) for case in product((1, 2), (1, 0), (0,), (1,), (100, 50))),
    Situation(0, 0, 0, 0, 100),
    *(Situation(*case) for case in product((1, 2), (1, 0), (0,), (0,), (100, 50))),
    *(Situation(*case) for case in product((0, 1), (0,), (100,), (0,), (100,))),
)


def rows(case: Case) -> list[Row]:
    """One plan for each situation."""
    vms = case.settings.held_vms
    section = f"Plans under promises, {vms:,} VMs and 200 pods that wait, in CPU time"
    found = []
    for situation in SITUATIONS:
        here = situation.scaled(vms)
        case.say(f"under promises: {here.told}")
        snapshot = world(here, vms)
        seconds = []
        for _ in range(case.settings.repeats):
            began = time.process_time()
            made = plan(snapshot, NOW)
            seconds.append(time.process_time() - began)
        kept = "broken" if made.survival else "kept"
        beside = f"{len(made.moves)} moves, {len(made.unplaced)} unplaced, {kept}"
        found.append(
            Row(section, here.told, median(seconds), "s", beside=beside, samples=tuple(seconds))
        )
    return found


def pool(survive: int, full: int) -> Pool:
    """VMs of 2 to 8 CPUs under a line of 85%; to 16 where they are full, but none may go."""
    document = {
        "hypervisor": "rack",
        "nodes": {"min": 0, "max": 5000},
        "size": {
            "cpu": {"min": 2, "max": 16 if full else 8, "step": 2},
            "memory": {"min": "8Gi", "max": "64Gi" if full else "32Gi", "step": "4Gi"},
        },
        "density": {
            "pods": {"min": 20, "max": 110},
            "loadLinePercent": 85,
            "reserved": {"cpu": 0, "memory": 0},
        },
        "survive": {"hosts": survive},
        "disruption": {"consolidateAfter": "1000h" if full else "1m"},
    }
    return Pool(name="web", spec=VMPoolSpec.model_validate(document))


def shape(number: int, app: str, cpu: int, memory: int, spread: bool) -> PodShape:
    """A class of pods; every fifth asks for the pool's label, every seventh tolerates a taint."""
    constraint = TopologySpreadConstraint(
        max_skew=1,
        topology_key=names.HOST,
        when_unsatisfiable="DoNotSchedule",
        label_selector=LabelSelector(match_labels={"app": app}),
    )
    return PodShape(
        key=f"{app}-{cpu}-{memory}",
        namespace="default",
        labels={"app": app},
        requests=Resources(cpu=cpu, memory=memory * MIB),
        node_selector={names.POOL: "web"} if number % 5 == 0 else {},
        tolerations=(Toleration(key="batch", operator="Exists"),) if number % 7 == 0 else (),
        spread=(constraint,) if spread else (),
    )


def world(case: Situation, vms: int) -> Snapshot:
    """VMs filled to their line, or to a little under it with room in one of twenty."""
    survive, restarts, workloads, full, hosts = case
    dice = random.Random(1)
    web = pool(survive, full)
    share = vms * 8 // (hosts * 5)
    machines = tuple(
        Host(name=f"h{n:03}", hypervisor="rack", cpu=share * VM.cpu, memory=share * VM.memory)
        for n in range(hosts)
    )
    rack = Hypervisor(
        name="rack",
        hosts=machines,
        capabilities=Capabilities(
            hot_add_cpu=True, hot_add_memory=True, high_availability=bool(restarts)
        ),
    )
    fleet = tuple(
        vm(number, machines[number % hosts].name, web, NOW * full) for number in range(vms)
    )
    sizes = list(product(CPUS, MEMORIES))
    shapes = [shape(n, f"app-{n}", *dice.choice(sizes), spread=False) for n in range(300)]
    steered = [shape(n, f"own-{n}", 200, 512, spread=True) for n in range(workloads)]
    own = workloads * 100 // vms
    pods = [*_replicas(steered, vms), *_filling(dice, shapes, fleet, own, full)]
    large = [shape(n, f"large-{n}", 1500 + 100 * n, 3072, spread=False) for n in range(10)]
    waiting = large if full else shapes
    pods += [_pod(f"next-{n:03}", dice.choice(waiting), None) for n in range(200)]
    return Snapshot(
        hypervisors=(rack,),
        pools=(web,),
        vms=fleet,
        pods=tuple(sorted(pods, key=lambda pod: pod.key)),
        workloads=tuple(_workload(n, kind) for n, kind in enumerate(steered)),
    )


def vm(number: int, host: str, of: Pool, quiet_since: float) -> Vm:
    """A Ready VM."""
    name = f"web-{number + 1}"
    return Vm(
        name=name,
        uid=f"uid-{name}",
        pool="web",
        hypervisor="rack",
        host=host,
        cpu=VM.cpu,
        memory=VM.memory,
        allocatable=VM,
        max_pods=110,
        berths=20,
        quiet_since=quiet_since,
        labels=names.node_labels(name, of.spec.template.labels, "web", "rack", host, ""),
    )


def _filling(
    dice: random.Random, shapes: list[PodShape], fleet: tuple[Vm, ...], taken: int, full: int
) -> Iterator[Pod]:
    for number, target in enumerate(fleet):
        percent = 85 if full else 80 if number % 20 else 40
        cpu = VM.cpu * percent // 100 - 200 * taken
        memory = VM.memory * percent // 100 - 512 * MIB * taken
        for index in range(2 * FILLING):
            kind = dice.choice(shapes)
            if full and index >= FILLING:
                # Small ones fill what is left.
                kind = min(shapes, key=lambda shape: shape.requests.cpu)
            if kind.requests.cpu <= cpu and kind.requests.memory <= memory:
                cpu -= kind.requests.cpu
                memory -= kind.requests.memory
                yield _pod(f"{target.name}-{index}", kind, target.name)


def _replicas(steered: list[PodShape], vms: int) -> Iterator[Pod]:
    for number, kind in enumerate(steered):
        for index in range(100):
            home = f"web-{(number * 100 + index) % vms + 1}"
            pod = _pod(f"{kind.labels['app']}-{index}", kind, home)
            yield msgspec.structs.replace(pod, workload=f"default/own-{number}", size=kind.requests)


def _pod(name: str, kind: PodShape, node: str | None) -> Pod:
    return Pod(
        namespace="default",
        name=name,
        uid=f"uid-{name}",
        shape=kind,
        node=node,
        ready=node is not None,
    )


def _workload(number: int, kind: PodShape) -> Workload:
    document = {
        "targetRef": {"kind": "Deployment", "name": f"own-{number}"},
        "scaleUp": {
            "cpu": {"min": "200m", "max": "2"},
            "memory": {"min": "512Mi", "max": "4Gi"},
        },
        "scaleOut": {"min": 2, "max": 200},
        "redundancy": {"survive": 1, "across": "host"},
        "targetUtilization": {"cpuPercent": 100, "memoryPercent": 100},
    }
    load = 99 * kind.requests.cpu + (2000 if number % 10 == 0 else -500)
    memory = 90 * kind.requests.memory
    return Workload(
        namespace="default",
        name=f"own-{number}",
        spec=ContainerWorkloadSpec.model_validate(document),
        target=f"Deployment/own-{number}",
        replicas=100,
        template=kind,
        template_size=kind.requests,
        demand=Demand(
            cpu=load, memory=memory, at=NOW, peak_cpu=load, peak_memory=memory, window_full=True
        ),
    )
