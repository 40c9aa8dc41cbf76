"""The story, chapter by chapter: only what a user or the world would change is changed."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Final

from plimsoll.simulator.load import LOAD, parse_amount
from plimsoll_demo.comparison import Moment, moment
from plimsoll_demo.scene import Scene, VmRow, WorkloadRow
from plimsoll_demo.site import SAMPLES
from plimsoll_demo.story import Chapter, Failed, Story

APACHE: Final = "apache"
TOMCAT: Final = "tomcat"
HYPERVISOR: Final = "rack-a"

MORE_CONTAINERS: Final = 12
LOAD_FOR_LARGER_REPLICAS: Final = "cpu=500m,memory=600Mi"
LOAD_FOR_LARGER_VMS: Final = "cpu=1200m,memory=1Gi"
LOAD_FOR_ANOTHER_VM: Final = "cpu=5,memory=3Gi"
LOAD_FOR_MORE_VMS: Final = "cpu=8,memory=5Gi"
CALM: Final = "cpu=100m,memory=256Mi"


async def tell(story: Story) -> list[Moment]:
    """All chapters; answers the moments that the comparison rests on.

    Raises:
        Failed: a chapter does not come out as it should.
    """
    moments = []
    for name, title, part, kept in _CHAPTERS:
        async with story.chapter(name, title) as chapter:
            await part(story, chapter)
        if kept:
            moments.append(moment(kept, story.scene))
    return moments


async def start(story: Story, chapter: Chapter) -> None:
    """Two VMs on two hosts, because the pool wants two and one host may fail."""
    await story.kubectl("apply", "-f", SAMPLES)
    scene = await story.until(
        "two Ready VMs on two hosts, and both workloads with two replicas, redundant",
        lambda s: _settled(s) or _vm_count(s, 2) or _hosts_used(s, 2),
    )
    chapter.facts |= _fleet(scene)
    story.note(f"two VMs on {_listed(scene.vm_hosts)}; {_containers(scene)} containers on them")


async def density(story: Story, chapter: Chapter) -> None:
    """More containers go onto the VMs that there are."""
    before = story.scene
    await _patch(story, APACHE, {"scaleOut": {"min": MORE_CONTAINERS}})
    scene = await story.until(
        f"{MORE_CONTAINERS} replicas of {APACHE} on the same VMs, with more berths",
        lambda s: _replicas(s, APACHE, MORE_CONTAINERS) or _settled(s) or _more_berths(before, s),
    )
    _require_same_vms(before, scene)
    chapter.facts |= _fleet(scene) | {"containers_before": _containers(before)}
    story.note(
        f"{_containers(before)} -> {_containers(scene)} containers, berths "
        f"{_berths(before)} -> {_berths(scene)}, and still {len(scene.vms)} VMs of the same size"
    )


async def scale_up(story: Story, chapter: Chapter) -> None:
    """Replicas grow in place, then their VMs."""
    before = story.scene
    await _load(story, LOAD_FOR_LARGER_REPLICAS)
    resized = await story.until(
        f"larger replicas of {TOMCAT}, in place",
        lambda s: _larger_replicas(before, s) or _settled(s),
    )
    _require_same_vms(before, resized)
    _require_same_replicas(before, resized)
    small, large = _of(before, TOMCAT), _of(resized, TOMCAT)
    story.note(f"each {TOMCAT} replica grew in place: {small.cpu}m -> {large.cpu}m CPU")

    await _load(story, LOAD_FOR_LARGER_VMS)
    grown = await story.until(
        "a larger VM, by hot-add, and larger replicas on it",
        lambda s: _larger_vm(resized, s) or _larger_replicas(resized, s) or _settled(s),
    )
    _require_same_replicas(before, grown)
    if names := {vm.name for vm in grown.vms} ^ {vm.name for vm in before.vms}:
        raise Failed(f"VMs came or went ({_listed(names)}); they should only have grown")
    chapter.facts |= _fleet(grown) | {
        "replica_cpu_before": small.cpu,
        "replica_cpu_resized": large.cpu,
        "vm_cpu_before": _cpu(before),
    }
    story.note(f"VMs grew by hot-add: {_cpu(before)} -> {_cpu(grown)} CPUs in all, none added")


async def scale_out(story: Story, chapter: Chapter) -> None:
    """Replicas at their largest multiply, and VMs with them."""
    before = story.scene
    for load in (LOAD_FOR_ANOTHER_VM, LOAD_FOR_MORE_VMS):
        scene = await _more_throughput(story, load)
    chapter.facts |= _fleet(scene) | {
        "vms_before": len(before.vms),
        "replicas_before": len(_of(before, TOMCAT).ready),
    }


async def _more_throughput(story: Story, load: str) -> Scene:
    before = story.scene
    await _load(story, load)
    scene = await story.until(
        f"more replicas of {TOMCAT} on more VMs, redundant again",
        lambda s: _load_measured(s, load) or _more_vms(before, s) or _carried(s) or _settled(s),
    )
    was, now = len(_of(before, TOMCAT).ready), len(_of(scene, TOMCAT).ready)
    story.note(
        f"{TOMCAT}: {was} -> {now} replicas; VMs: {len(before.vms)} -> {len(scene.vms)} "
        f"on {_listed(scene.vm_hosts)}"
    )
    return scene


async def host_failure(story: Story, chapter: Chapter) -> None:
    """A host dies: what is left carries the load until its VMs run elsewhere."""
    before = story.scene
    tomcat = _of(before, TOMCAT)
    victim = max(sorted(tomcat.ready_by_host), key=lambda host: tomcat.ready_by_host[host])
    lost = {vm.name for vm in before.vms if vm.host == victim}
    await _set_host(story, victim, "Down")
    struck = await story.until(
        f"the replicas on {victim} gone", lambda s: _silent(s, lost), within=30.0
    )
    left = _of(struck, TOMCAT)
    need = -(-tomcat.load_cpu * 100 // tomcat.target_percent)
    if left.capacity < need:
        raise Failed(
            f"the survival promise is broken: after {victim} died, {len(left.ready)} replicas of "
            f"{TOMCAT} with {left.capacity}m CPU are left, and the load of {tomcat.load_cpu}m "
            f"needs {need}m"
        )
    story.note(
        f"{victim} is dead; {len(left.ready)} of {len(tomcat.ready)} {TOMCAT} replicas serve on: "
        f"{left.capacity}m CPU for a load of {tomcat.load_cpu}m "
        f"({tomcat.load_cpu * 100 // left.capacity}% used; the promise was "
        f"{tomcat.target_percent}%)"
    )
    restarted = await story.until(
        f"the VMs of {victim} restarted elsewhere, with their hosts' labels, redundant again",
        lambda s: _elsewhere(s, lost, victim) or _carried(s) or _settled(s, hosts_lost=True),
    )
    moved = {vm.name: vm.host for vm in restarted.vms if vm.name in lost}
    story.note(
        "high availability restarted "
        + ", ".join(f"{vm} on {host}" for vm, host in sorted(moved.items()))
        + "; the nodes' host labels follow"
    )
    await _set_host(story, victim, "Up")
    back = await story.until(
        f"{victim} open for VMs again, and every promise kept",
        lambda s: _host_is(s, victim, "Up") or _carried(s) or _settled(s),
    )
    chapter.facts |= _fleet(back) | {
        "host": victim,
        "replicas_before": len(tomcat.ready),
        "replicas_left": len(left.ready),
        "capacity_left": left.capacity,
        "load": tomcat.load_cpu,
        "need": need,
        "restarted": moved,
    }
    story.note(f"{victim} is back; again every host may be lost: {_by_host(back)}")


async def scale_in(story: Story, chapter: Chapter) -> None:
    """The load falls: replicas, VMs and their sizes are given back."""
    before = story.scene
    await _load(story, CALM)
    await _patch(story, APACHE, {"scaleOut": {"min": 2}})
    scene = await story.until(
        "two small VMs again, nothing broken on the way",
        lambda s: _vm_count(s, 2) or _smallest(s) or _hosts_used(s, 2) or _settled(s),
        within=150.0,
    )
    chapter.facts |= _fleet(scene) | {"vms_before": len(before.vms), "vm_cpu_before": _cpu(before)}
    story.note(
        f"VMs: {len(before.vms)} -> {len(scene.vms)}; CPUs: {_cpu(before)} -> {_cpu(scene)}; "
        "drained one by one, within the disruption budgets"
    )


_CHAPTERS: Final[tuple[tuple[str, str, Callable[[Story, Chapter], Awaitable[None]], str], ...]] = (
    ("a", "Start: two VMs on two hosts", start, "before"),
    ("b", "More containers: density rises, no new VM", density, ""),
    ("c", "Load rises: replicas grow in place, then VMs by hot-add", scale_up, ""),
    ("d", "More throughput: replicas multiply, VMs are added", scale_out, "at peak"),
    ("e", "A host dies: the survival promise holds", host_failure, ""),
    ("f", "Load falls: VMs are consolidated away", scale_in, "after"),
)


# What a user does


async def _patch(story: Story, workload: str, spec: dict[str, object]) -> None:
    patch = json.dumps({"spec": spec}, separators=(",", ":"))
    await story.kubectl("patch", "containerworkload", workload, "--type=merge", "-p", patch)


async def _load(story: Story, load: str) -> None:
    await story.kubectl("annotate", "containerworkload", TOMCAT, f"{LOAD}={load}", "--overwrite")


async def _set_host(story: Story, name: str, state: str) -> None:
    number = [host.name for host in story.scene.hosts].index(name)
    path = f"/spec/simulated/hosts/{number}/state"
    patch = json.dumps([{"op": "replace", "path": path, "value": state}], separators=(",", ":"))
    await story.kubectl("patch", "hypervisor", HYPERVISOR, "--type=json", "-p", patch)


# What may be lacking. Each answers with what is seen instead; empty: nothing lacks.


def _settled(scene: Scene, hosts_lost: bool = False) -> str:
    """Every VM and every replica is as decided, and every promise kept.

    With a host lost, the rest need not have room for losing another.
    """
    unsettled = [f"{vm.name} is {vm.state}" for vm in scene.vms if not vm.ready]
    for row in scene.workloads:
        if len(row.ready) != row.wanted or len(row.replicas) != row.wanted:
            unsettled.append(f"{row.name} has {len(row.ready)} of {row.wanted} replicas ready")
        if row.redundant != "True":
            unsettled.append(f"{row.name} is not redundant ({row.message or row.redundant})")
    if len(scene.workloads) < 2:
        unsettled.append(f"{len(scene.workloads)} workloads")
    if scene.pool_redundant != "True" and not hosts_lost:
        unsettled.append("the pool could not restart the VMs of a lost host")
    return "; ".join(unsettled)


def _vm_count(scene: Scene, number: int) -> str:
    return "" if len(scene.vms) == number else f"{len(scene.vms)} VMs, not {number}"


def _hosts_used(scene: Scene, number: int) -> str:
    return "" if len(scene.vm_hosts) == number else f"VMs are on {_listed(scene.vm_hosts)}"


def _replicas(scene: Scene, workload: str, least: int) -> str:
    ready = len(_of(scene, workload).ready)
    return "" if ready >= least else f"{ready} replicas of {workload} are ready"


def _more_berths(before: Scene, scene: Scene) -> str:
    return "" if _berths(scene) > _berths(before) else f"still {_berths(scene)} berths"


def _larger_replicas(before: Scene, scene: Scene) -> str:
    was = max(replica.cpu for replica in _of(before, TOMCAT).replicas)
    small = [r for r in _of(scene, TOMCAT).replicas if r.cpu <= was]
    return f"{len(small)} replicas of {TOMCAT} still have {was}m CPU" if small else ""


def _larger_vm(before: Scene, scene: Scene) -> str:
    was = _sizes(before)
    grown = [vm for vm in scene.vms if vm.name in was and vm.cpu > was[vm.name][0]]
    return "" if grown else "no VM has grown"


def _more_vms(before: Scene, scene: Scene) -> str:
    return "" if len(scene.vms) > len(before.vms) else f"still {len(scene.vms)} VMs"


def _carried(scene: Scene) -> str:
    """The replicas are large and many enough for the load on order."""
    row = _of(scene, TOMCAT)
    small = [replica for replica in row.replicas if replica.cpu < row.cpu]
    if small:
        return f"{len(small)} replicas of {TOMCAT} are still smaller than {row.cpu}m CPU"
    if row.capacity * row.target_percent < row.load_cpu * 100 or not row.load_cpu:
        return f"{row.capacity}m CPU for a load of {row.load_cpu}m"
    return ""


def _load_measured(scene: Scene, load: str) -> str:
    """The operator has seen the load on order."""
    ordered = parse_amount(load).cpu
    measured = _of(scene, TOMCAT).load_cpu
    near = ordered * 95 <= measured * 100 <= ordered * 105
    return "" if near else f"a load of {measured}m CPU is measured, not {ordered}m"


def _silent(scene: Scene, lost: set[str]) -> str:
    heard = [vm.name for vm in scene.vms if vm.name in lost and vm.ready]
    return f"{_listed(heard)} still pass for alive" if heard else ""


def _elsewhere(scene: Scene, lost: set[str], victim: str) -> str:
    lacking = []
    for vm in scene.vms:
        if vm.name in lost and (vm.host == victim or not vm.ready):
            lacking.append(f"{vm.name} is {vm.state} on {vm.host}")
        elif vm.host != vm.node_host:
            lacking.append(f"the node of {vm.name} is labelled {vm.node_host}, not {vm.host}")
    return "; ".join(lacking)


def _host_is(scene: Scene, name: str, state: str) -> str:
    seen = scene.inventory.get(name, "not listed")
    return "" if seen == state else f"{name} is {seen} to the operator"


def _smallest(scene: Scene) -> str:
    assert scene.pool is not None
    least = scene.pool.size.cpu.min * 1000
    large = [f"{vm.name} ({vm.cpu // 1000} CPU)" for vm in scene.vms if vm.cpu > least]
    return f"still large: {_listed(large)}" if large else ""


def _require_same_vms(before: Scene, scene: Scene) -> None:
    if _sizes(before) != _sizes(scene):
        raise Failed(f"VMs changed from {_sizes(before)} to {_sizes(scene)}; none should have")


def _require_same_replicas(before: Scene, scene: Scene) -> None:
    was, now = len(_of(before, TOMCAT).replicas), len(_of(scene, TOMCAT).replicas)
    if was != now:
        raise Failed(f"{TOMCAT} went from {was} to {now} replicas; they should have grown first")


# Words and numbers


def _of(scene: Scene, name: str) -> WorkloadRow:
    return scene.workload(name) or WorkloadRow(name)


def _sizes(scene: Scene) -> dict[str, tuple[int, int]]:
    return {vm.name: _size(vm) for vm in scene.vms}


def _size(vm: VmRow) -> tuple[int, int]:
    return vm.cpu, vm.memory


def _cpu(scene: Scene) -> int:
    return sum(vm.cpu for vm in scene.vms) // 1000


def _berths(scene: Scene) -> int:
    return sum(vm.berths for vm in scene.vms)


def _containers(scene: Scene) -> int:
    return sum(vm.containers for vm in scene.vms)


def _by_host(scene: Scene) -> str:
    row = _of(scene, TOMCAT)
    return ", ".join(f"{count} on {host}" for host, count in sorted(row.ready_by_host.items()))


def _listed(names: object) -> str:
    assert isinstance(names, list | set | frozenset)
    return ", ".join(sorted(names)) or "none"


def _fleet(scene: Scene) -> dict[str, object]:
    """The facts that every chapter ends with."""
    return {
        "vms": len(scene.vms),
        "hosts": sorted(scene.vm_hosts),
        "vm_cpu": _cpu(scene),
        "containers": _containers(scene),
        "berths": _berths(scene),
        "replicas": {row.name: len(row.ready) for row in scene.workloads},
        "replica_cpu": {row.name: row.cpu for row in scene.workloads},
        "redundant": all(row.redundant == "True" for row in scene.workloads),
    }
