"""Builders of small worlds for planner tests, and a model of carrying a plan out.

The model leaves out everything that takes time or fails: launched VMs are Ready
at once, evicted pods are back at once where the plan placed them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from plimsoll.api import labels as names
from plimsoll.api.containerworkload import ContainerWorkloadSpec
from plimsoll.api.hypervisor import Capabilities
from plimsoll.api.vmnode import Phase
from plimsoll.api.vmpool import VMPoolSpec
from plimsoll.decide.fleet import IN_FLIGHT
from plimsoll.decide.plan import Lever, Move, Plan
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
from plimsoll.world.wire import LabelSelector, Taint, TopologySpreadConstraint

GIB = 1024**3
MIB = 1024**2
NOW = 1_800_000_000.0
replace = msgspec.structs.replace

EVERYTHING = Capabilities(
    hot_add_cpu=True, hot_add_memory=True, hot_remove=False, high_availability=True
)


def host(name: str, cpu: int = 16, memory: int = 64, **fields: Any) -> Host:
    """A host of so many CPUs and GiB."""
    return Host(name=name, hypervisor="rack", cpu=cpu * 1000, memory=memory * GIB, **fields)


def hypervisor(*hosts: Host, capabilities: Capabilities = EVERYTHING, **fields: Any) -> Hypervisor:
    return Hypervisor(name="rack", hosts=hosts, capabilities=capabilities, **fields)


def pool(name: str = "web", pods_min: int = 20, **spec: Any) -> Pool:
    """A pool of VMs from 2 to 8 CPUs and 4 to 32 GiB, line 100%, nothing reserved."""
    document = {
        "hypervisor": "rack",
        "nodes": {"min": 0, "max": 10},
        "size": {
            "cpu": {"min": 2, "max": 8, "step": 2},
            "memory": {"min": "4Gi", "max": "32Gi", "step": "4Gi"},
        },
        "density": {
            "pods": {"min": pods_min, "max": 110},
            "loadLinePercent": 100,
            "reserved": {"cpu": 0, "memory": 0},
        },
        **spec,
    }
    return Pool(name=name, spec=VMPoolSpec.model_validate(document))


def vm(
    name: str,
    on: str,
    cpu: int = 4,
    memory: int = 8,
    *,
    of: Pool | None = None,
    zone: str = "",
    taints: tuple[Taint, ...] = (),
    **fields: Any,
) -> Vm:
    """A Ready VM of a pool on a host; everything of it allocatable."""
    owner = of or pool()
    reserved = owner.spec.density.reserved
    return Vm(
        **{
            "name": name,
            "uid": f"uid-{name}",
            "pool": owner.name,
            "hypervisor": "rack",
            "host": on,
            "zone": zone,
            "cpu": cpu * 1000,
            "memory": memory * GIB,
            "allocatable": Resources(
                cpu=cpu * 1000 - reserved.cpu, memory=memory * GIB - reserved.memory
            ),
            "max_pods": owner.spec.density.pods.max,
            "berths": owner.spec.density.pods.min,
            "labels": names.node_labels(
                name, owner.spec.template.labels, owner.name, "rack", on, zone
            ),
            "taints": taints,
            **fields,
        }
    )


def shape(
    cpu: int = 500, memory: int = 512, *, key: str = "", app: str = "app", **fields: Any
) -> PodShape:
    """A pod of so many millicores and MiB."""
    own = {"namespace": "default", "labels": {"app": app}, **fields}
    extended = own.pop("extended", {})
    made = PodShape(
        key="",
        requests=Resources(cpu=cpu, memory=memory * MIB, extended=extended),
        **own,
    )
    return replace(made, key=key or msgspec.json.encode(made, order="sorted").decode())


def pod(name: str, of: PodShape | None = None, node: str | None = None, **fields: Any) -> Pod:
    return Pod(
        namespace="default",
        name=name,
        uid=f"uid-{name}",
        shape=of or shape(),
        node=node,
        ready=node is not None,
        **fields,
    )


def spread(key: str = names.HOST, app: str = "app", **fields: Any) -> TopologySpreadConstraint:
    return TopologySpreadConstraint(
        max_skew=fields.pop("max_skew", 1),
        topology_key=key,
        when_unsatisfiable="DoNotSchedule",
        label_selector=LabelSelector(match_labels={"app": app}),
        **fields,
    )


def workload(
    name: str = "app",
    replicas: int = 2,
    demand: Demand | None = None,
    of: PodShape | None = None,
    **spec: Any,
) -> Workload:
    """A Deployment steered between 250m and 2 CPUs, 256Mi and 4Gi, 2 to 20 replicas."""
    document = {
        "targetRef": {"kind": "Deployment", "name": name},
        "scaleUp": {
            "cpu": {"min": "250m", "max": "2"},
            "memory": {"min": "256Mi", "max": "4Gi"},
        },
        "scaleOut": {"min": 2, "max": 20},
        "targetUtilization": {"cpuPercent": 100, "memoryPercent": 100},
        **spec,
    }
    document = {key: value for key, value in document.items() if value is not None}
    template = of or shape(250, 256, app=name)
    return Workload(
        namespace="default",
        name=name,
        spec=ContainerWorkloadSpec.model_validate(document),
        target=f"Deployment/{name}",
        replicas=replicas,
        template=template,
        template_size=template.requests,
        demand=demand,
    )


def replica(name: str, of: Workload, node: str | None, cpu: int = 250, memory: int = 256) -> Pod:
    """A replica of a workload, of so many millicores and MiB."""
    assert of.template is not None
    size = Resources(cpu=cpu, memory=memory * MIB)
    return pod(
        name,
        replace(
            of.template,
            key=f"{of.template.key}#{cpu}/{memory}",
            requests=replace(size, extended=of.template.requests.extended),
        ),
        node,
        workload=of.key,
        size=size,
    )


def load(
    cpu: int, memory: int = 256, *, peak: int | None = None, window_full: bool = True
) -> Demand:
    """Measured use of so many millicores and MiB."""
    return Demand(
        cpu=cpu,
        memory=memory * MIB,
        at=NOW,
        peak_cpu=max(cpu, peak or 0),
        peak_memory=memory * MIB,
        window_full=window_full,
    )


def kinds(plan: Plan) -> list[str]:
    """The plan's moves as ``Kind subject``."""
    return [f"{move.kind} {move.subject}" for move in plan.moves]


def moves(plan: Plan, kind: Lever) -> list[Move]:
    return [move for move in plan.moves if move.kind is kind]


def carry_out(snapshot: Snapshot, plan: Plan) -> Snapshot:
    """The world after the whole plan, deferred moves included, has come true."""
    vms = {
        v.name: replace(v, phase=Phase.READY, ready=True) if v.phase in IN_FLIGHT else v
        for v in snapshot.vms
    }
    pods = {p.key: p for p in snapshot.pods}
    workloads = {w.key: w for w in snapshot.workloads}
    pools = {p.name: p for p in snapshot.pools}
    for move in plan.moves:
        _, _, key = move.subject.partition("/")
        if move.berths is not None:
            vms[key] = replace(vms[key], berths=move.berths)
        if move.vm is not None:
            new = move.vm
            planned = next(v for v in plan.vms if v.name == new.name)
            vms[new.name] = Vm(
                name=new.name,
                uid=f"uid-{new.name}",
                pool=new.pool,
                hypervisor=new.hypervisor,
                host=planned.host,
                zone=new.zone,
                cpu=new.size.cpu,
                memory=new.size.memory,
                allocatable=Resources(
                    cpu=planned.cpu,
                    memory=planned.memory,
                    extended={"ephemeral-storage": 2**62, **pools[new.pool].attach_limits},
                ),
                max_pods=planned.pods,
                quiet_since=NOW,
                berths=new.berths,
                labels=planned.labels,
                taints=tuple(
                    Taint(key=t.key, value=t.value, effect=t.effect)
                    for t in pools[new.pool].spec.template.taints
                ),
            )
            for number, daemon in enumerate(pools[new.pool].daemons):
                bound = pod(f"daemon-{new.name}-{number}", daemon, new.name, daemon=True)
                pods[bound.key] = bound
        elif move.size is not None and move.subject.startswith("vm/"):
            before = vms[key]
            vms[key] = replace(
                before,
                cpu=move.size.cpu,
                memory=move.size.memory,
                allocatable=replace(
                    before.allocatable,
                    cpu=before.allocatable.cpu + move.size.cpu - before.cpu,
                    memory=before.allocatable.memory + move.size.memory - before.memory,
                ),
            )
        elif move.size is not None:
            pods[key] = _resized(pods[key], move.size.cpu, move.size.memory)
        if move.replicas is not None:
            workloads[key] = replace(workloads[key], replicas=move.replicas)
            if move.kind is Lever.SHRINK:
                own = [p for p in pods.values() if p.workload == key]
                for gone in own:
                    if gone.key not in plan.placements:
                        del pods[gone.key]
    for lost in plan.unplaced:
        # Another pod took its place, or its VM goes and none is kept for it.
        if lost.pod in pods and lost.pod not in plan.placements:
            pods[lost.pod] = replace(pods[lost.pod], node=None, ready=False)
    changed = {name for key, name in plan.placements.items() if _was(pods.get(key)) != name}
    for key, where in plan.placements.items():
        if key in pods:
            pods[key] = replace(pods[key], node=where, ready=True)
            continue
        owner, _, number = key.rpartition("-new-")
        of = workloads[owner]
        if int(number) >= of.replicas:
            continue
        verdict = next(v for v in plan.workloads if v.key == owner)
        born = replica(key.partition("/")[2], of, where)
        pods[born.key] = born
        if of.spec.scale_up is not None:
            size = (
                max(of.template_size.cpu, verdict.size.cpu),
                max(of.template_size.memory, verdict.size.memory),
            )
            pods[born.key] = _resized(born, *size)
    for move in plan.moves:
        if move.kind is Lever.RETIRE:
            name = move.subject.removeprefix("vm/")
            del vms[name]
            pods = {k: p for k, p in pods.items() if p.node != name}
    return replace(
        snapshot,
        vms=tuple(
            replace(v, quiet_since=NOW) if name in changed else v for name, v in sorted(vms.items())
        ),
        pods=tuple(p for _, p in sorted(pods.items())),
        workloads=tuple(w for _, w in sorted(workloads.items())),
    )


def _was(known: Pod | None) -> str | None:
    return known.node if known is not None else None


def _resized(before: Pod, cpu: int, memory: int) -> Pod:
    assert before.size is not None
    requests = before.shape.requests
    return replace(
        before,
        size=Resources(cpu=cpu, memory=memory),
        shape=replace(
            before.shape,
            key=f"{before.shape.key}#{cpu}/{memory}",
            requests=replace(
                requests,
                cpu=requests.cpu - before.size.cpu + cpu,
                memory=requests.memory - before.size.memory + memory,
            ),
        ),
    )
