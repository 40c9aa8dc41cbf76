"""The story, chapter by chapter: only what a user or the world would change is changed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from plimsoll_demo.scene import Scene, VmRow, WorkloadRow
from plimsoll_demo.story import Chapter, Failed, Story
from plimsoll_e2e import facts
from plimsoll_e2e.facts import Container
from plimsoll_e2e.samples import FOLDER
from plimsoll_e2e.stage import Stage

WEB: Final = "web"
SHOP: Final = "shop"
CALM: Final = 10
FOR_A_LARGER_REPLICA: Final = 150
FOR_A_LARGER_VM: Final = 450
"""Millicores of work that `web` is given. In software emulation fetching it costs some more."""

BOOT_WITHIN: Final = 900.0
LOAD_WITHIN: Final = 240.0
"""Seconds: the metrics server measures every 10 s, over a window of its own."""
SERVED_WINDOW: Final = 20.0
SERVED_PERCENT: Final = 80
_LOOK_AGAIN: Final = 2.0


@dataclass(frozen=True)
class Play:
    """The means of the chapters."""

    story: Story
    stage: Stage
    keep: bool = False
    """Whether to wait for a person before all is deleted."""

    async def eventually(self, what: str, lacks: Callable[[], str], within: float = 120.0) -> None:
        """Wait until `lacks`, called in a thread, answers that nothing is lacking.

        Raises:
            Failed: it does not come about within so many seconds.
        """
        deadline = time.monotonic() + within
        while missing := await asyncio.to_thread(lacks):
            self.story.look(what)
            if time.monotonic() > deadline:
                raise Failed(f"awaited for {within:.0f} s: {what}\nseen in the end: {missing}")
            await asyncio.sleep(_LOOK_AGAIN)

    async def agree(self) -> None:
        """Libvirt's own lists, the VMNodes and the nodes come to name the same VMs."""
        await self.eventually(
            "libvirt, VMNodes and nodes tell the same", lambda: facts.disagreement(self.stage)
        )

    async def load(self, workload: str, millicores: int) -> None:
        """Change what the world asks of a workload."""
        self.stage.office.of(workload).rate = millicores
        self.story.note(f"(the world) {workload} is now asked for {millicores}m of CPU time")

    async def containers(self, workload: str) -> dict[str, Container]:
        """Its running containers, as kubelet sees them."""
        return await asyncio.to_thread(facts.containers, self.stage, workload)


async def tell(play: Play) -> None:
    """All chapters.

    Raises:
        Failed: a chapter does not come out as it should.
    """
    for name, title, part in _CHAPTERS:
        async with play.story.chapter(name, title) as chapter:
            await part(play, chapter)


async def start(play: Play, chapter: Chapter) -> None:
    """One VM, because both workloads fit into it."""
    await play.load(WEB, CALM)
    await play.load(SHOP, CALM)
    began = time.monotonic()
    await play.story.kubectl("apply", "-f", FOLDER, fitted={FOLDER: str(play.stage.samples)})
    scene = await play.story.until(
        "one Ready VM, with a container of each workload",
        lambda s: _vms(s, 1) or _settled(s),
        within=BOOT_WITHIN,
    )
    took = time.monotonic() - began
    await play.agree()
    (domain,) = await asyncio.to_thread(facts.domains, play.stage)
    await _only_one_use_of_the_token(play)
    how = "KVM" if domain.kind == "kvm" else "software emulation"
    chapter.facts |= _fleet(scene) | {"seconds_to_serve": round(took, 1), "acceleration": how}
    play.story.note(
        f"{domain.name} on {domain.host} ({how}): from nothing to serving containers in "
        f"{took:.0f} s; its token is deleted and its seed wiped"
    )


async def resize(play: Play, chapter: Chapter) -> None:
    """The replica grows in place, in the VM that there is."""
    before, was = play.story.scene, await play.containers(WEB)
    await play.load(WEB, FOR_A_LARGER_REPLICA)
    scene = await play.story.until(
        f"a larger replica of {WEB}",
        lambda s: _larger_replicas(before, s) or _settled(s),
        within=LOAD_WITHIN,
    )
    _require_same_vms(before, scene)
    now = await _same_containers(play, was)
    wanted = _of(scene, WEB).cpu
    await play.eventually(
        "kubelet runs the container with its new size", lambda: _in_force(play, wanted)
    )
    chapter.facts |= _fleet(scene)
    (container,) = now.values()
    play.story.note(
        f"{_of(before, WEB).cpu}m -> {wanted}m CPU in place: still container "
        f"{_short(container)}, started {container.started}, restarts {container.restarts}"
    )


async def grow(play: Play, chapter: Chapter) -> None:
    """The VM grows by hot-add while its containers run."""
    before = play.story.scene
    was = await play.containers(WEB) | await play.containers(SHOP)
    await play.load(WEB, FOR_A_LARGER_VM)
    scene = await play.story.until(
        "a larger VM, and larger replicas in it",
        lambda s: _larger_vm(before, s) or _larger_replicas(before, s) or _settled(s),
        within=LOAD_WITHIN,
    )
    if len(scene.vms) != len(before.vms):
        raise Failed(f"there are {len(scene.vms)} VMs; {len(before.vms)} should have grown instead")
    (vm,) = scene.vms
    await _same_containers(play, was)
    (domain,) = await asyncio.to_thread(facts.domains, play.stage)
    if (domain.cpu * 1000, domain.memory * 1024**2) != (vm.cpu, vm.memory):
        raise Failed(f"libvirt gives {domain.name} {domain.cpu} CPUs and {domain.memory} MiB")
    cpus, memory = await asyncio.to_thread(facts.node_size, play.stage, vm.name)
    if cpus != domain.cpu:
        raise Failed(f"kubelet finds {cpus} CPUs in {vm.name}, and libvirt gave it {domain.cpu}")
    await play.agree()
    chapter.facts |= _fleet(scene)
    play.story.note(
        f"{vm.name}: {before.vms[0].cpu // 1000} -> {cpus} CPUs and {memory} MiB, as kubelet "
        f"says; all {len(was)} containers ran on: same ids, same start times"
    )


async def promise(play: Play, chapter: Chapter) -> None:
    """Out for redundancy: a second VM, on the other host."""
    before = play.story.scene
    for workload in (WEB, SHOP):
        await _patch(play, workload, {"redundancy": {"survive": 1, "across": "host"}})
    scene = await play.story.until(
        "two VMs on two hosts, and both workloads redundant",
        lambda s: _vms(s, 2) or _hosts(s, 2) or _redundant(s) or _settled(s),
        within=BOOT_WITHIN,
    )
    await play.agree()
    chapter.facts |= _fleet(scene)
    new = sorted({vm.name for vm in scene.vms} - {vm.name for vm in before.vms})
    play.story.note(
        f"{', '.join(new)} joined; VMs on {', '.join(sorted(scene.vm_hosts))}: either host may go"
    )


async def host_failure(play: Play, chapter: Chapter) -> None:
    """A host loses power: the rest carries the load, nothing is replaced on a guess."""
    before = play.story.scene
    victim = play.stage.hosts.host(before.vms[0].host)
    lost = {vm.name for vm in before.vms if vm.host == victim.name}
    play.story.note(f"(the world) {victim.name} loses power, libvirtd, {', '.join(lost)} and all")
    await asyncio.to_thread(victim.power_off)
    struck = await play.story.until(
        f"the loss of {victim.name} is noticed",
        lambda s: _heard(s, lost) or _host_up(s, victim.name),
        within=LOAD_WITHIN,
    )
    left, need = _of(struck, WEB), _need(before)
    if left.capacity < need:
        raise Failed(
            f"the survival promise is broken: {len(left.ready)} replicas of {WEB} with "
            f"{left.capacity}m CPU are left, and the load needs {need}m"
        )
    await play.eventually("the load is served by the rest", lambda: _served(play))
    served = play.stage.office.of(WEB).served(SERVED_WINDOW)
    if {vm.name for vm in play.story.scene.vms} != {vm.name for vm in before.vms}:
        raise Failed("a VM of which nothing can be known was deleted or replaced")
    play.story.note(
        f"{len(left.ready)} of {len(_of(before, WEB).ready)} {WEB} replicas are left, "
        f"{left.capacity}m CPU; {served}m of {FOR_A_LARGER_VM}m are served; "
        f"nothing is replaced while {victim.name} is silent"
    )
    await asyncio.to_thread(victim.boot)
    play.story.note(f"(the world) {victim.name} has power again")
    back = await play.story.until(
        "its VM started again, its node Ready, and every promise kept",
        lambda s: _vms(s, 2) or _hosts(s, 2) or _redundant(s) or _settled(s),
        within=BOOT_WITHIN,
    )
    if {vm.name for vm in back.vms} != {vm.name for vm in before.vms}:
        raise Failed(f"VMs are {sorted(vm.name for vm in back.vms)}, not those of before")
    await play.agree()
    chapter.facts |= _fleet(back) | {
        "host": victim.name, "capacity_left": left.capacity, "need": need, "served": served,
    }  # fmt: skip
    play.story.note(f"{', '.join(lost)} was started again by Plimsoll and serves")


async def scale_in(play: Play, chapter: Chapter) -> None:
    """The load falls and the promise is taken back: VMs are given back."""
    before = play.story.scene
    await play.load(WEB, CALM)
    for workload in (WEB, SHOP):
        await _patch(play, workload, {"redundancy": {"survive": 0}})
    scene = await play.story.until(
        "one VM again, drained by evictions",
        lambda s: _vms(s, 1) or _settled(s),
        within=LOAD_WITHIN * 2,
    )
    await play.agree()
    chapter.facts |= _fleet(scene) | {"vms_before": len(before.vms)}
    play.story.note(f"VMs: {len(before.vms)} -> {len(scene.vms)}; libvirt has no other")


async def end(play: Play, chapter: Chapter) -> None:
    """Everything is deleted, and nothing of ours is left anywhere."""
    if play.keep:
        await _wait_for_a_person(play)
    for kind in ("containerworkloads", "vmpools", "hypervisors"):
        await play.story.kubectl("delete", kind, "--all", "--timeout=180s")
    await play.eventually("nothing of ours is left", lambda: ", ".join(facts.leftovers(play.stage)))
    chapter.facts["left"] = []
    play.story.note(
        "no domain, volume, QEMU, token, open certificate request, node or VMNode is left"
    )


_CHAPTERS: Final[tuple[tuple[str, str, Callable[[Play, Chapter], Awaitable[None]]], ...]] = (
    ("a", "From two empty hosts to a Ready node", start),
    ("b", "Load rises: a replica grows in place", resize),
    ("c", "Load rises further: the VM grows by hot-add", grow),
    ("d", "A promise is made, to survive a host: a second VM on the other one", promise),
    ("e", "A host loses power: the promise holds", host_failure),
    ("f", "Load falls: a VM is retired", scale_in),
    ("g", "All is deleted: nothing is left", end),
)


# What may be lacking. Each answers with what is seen instead; empty: nothing lacks.


def _settled(scene: Scene) -> str:
    unsettled = [f"{vm.name} is {vm.state}" for vm in scene.vms if not vm.ready]
    for name in (WEB, SHOP):
        row = _of(scene, name)
        if not row.wanted or len(row.ready) != row.wanted or len(row.replicas) != row.wanted:
            unsettled.append(f"{name} has {len(row.ready)} of {row.wanted} replicas ready")
        # Empty where nothing was promised.
        if row.redundant not in ("", "True"):
            unsettled.append(f"{name} is not redundant ({row.message or row.redundant})")
    return "; ".join(unsettled)


def _redundant(scene: Scene) -> str:
    """Both workloads could lose a host, and the operator says so."""
    lacking = [name for name in (WEB, SHOP) if _of(scene, name).redundant != "True"]
    return f"{', '.join(lacking)} could not lose a host" if lacking else ""


def _vms(scene: Scene, number: int) -> str:
    return "" if len(scene.vms) == number else f"{len(scene.vms)} VMs, not {number}"


def _hosts(scene: Scene, number: int) -> str:
    return "" if len(scene.vm_hosts) == number else f"VMs are on {sorted(scene.vm_hosts)}"


def _larger_replicas(before: Scene, scene: Scene) -> str:
    row, was = _of(scene, WEB), _of(before, WEB).cpu
    if row.cpu <= was:
        return f"{row.cpu}m CPU is the size decided for {WEB}, for {row.load_cpu}m measured"
    small = [replica for replica in row.replicas if replica.cpu < row.cpu]
    return f"{len(small)} replicas of {WEB} are smaller than {row.cpu}m CPU" if small else ""


def _larger_vm(before: Scene, scene: Scene) -> str:
    was = {vm.name: vm.cpu for vm in before.vms}
    grown = [vm for vm in scene.vms if vm.name in was and vm.cpu > was[vm.name]]
    return "" if grown else f"no VM has grown, for {_of(scene, WEB).load_cpu}m measured"


def _heard(scene: Scene, lost: set[str]) -> str:
    heard = sorted(vm.name for vm in scene.vms if vm.name in lost and vm.ready)
    return f"{', '.join(heard)} still pass for alive" if heard else ""


def _host_up(scene: Scene, name: str) -> str:
    return f"{name} passes for alive" if scene.inventory.get(name) == "Up" else ""


def _in_force(play: Play, wanted: int) -> str:
    found = {c.cpu for c in facts.containers(play.stage, WEB).values()}
    right = {f"{wanted}m"} | ({str(wanted // 1000)} if wanted % 1000 == 0 else set())
    return "" if found and found <= right else f"kubelet says {sorted(found)}, not {wanted}m"


def _served(play: Play) -> str:
    queue = play.stage.office.of(WEB)
    served = queue.served(SERVED_WINDOW)
    enough = served * 100 >= queue.rate * SERVED_PERCENT
    return "" if enough else f"{served}m of {queue.rate}m are served"


async def _same_containers(play: Play, was: dict[str, Container]) -> dict[str, Container]:
    """The containers of before, which have to run on.

    Raises:
        Failed: one was restarted, or exchanged for another.
    """
    now = await play.containers(WEB) | await play.containers(SHOP)
    for pod, container in was.items():
        found = now.get(pod)
        if found is None or found.same_if_equal != container.same_if_equal:
            raise Failed(f"{pod} did not run on: it was {container}, and is {found}")
    return {pod: now[pod] for pod in was}


async def _only_one_use_of_the_token(play: Play) -> None:
    """Once a VM is Ready, what let it in is gone: its token, and the seed that held it."""

    def lacks() -> str:
        left = [name for name in facts.leftovers(play.stage) if name.startswith("token ")]
        for host in play.stage.hosts.hosts:
            left += [name for name in host.volumes() if name.endswith("-seed.iso")]
        return ", ".join(left)

    await play.eventually("token and seed are gone", lacks)


async def _wait_for_a_person(play: Play) -> None:
    stage = play.stage
    play.story.note(f"look around, and end it with Ctrl-C: the logs are in {stage.logs}")
    play.story.note(f"export KUBECONFIG={stage.control_plane.kubeconfig}")
    play.story.note(f"export PATH={stage.control_plane.kubectl.parent}:$PATH")
    for host in stage.hosts.hosts:
        play.story.note(f"virsh -c '{host.uri}' list --all")
    while True:
        await asyncio.sleep(1.0)
        play.story.look("Ctrl-C")
        await asyncio.to_thread(stage.require_running)


def _require_same_vms(before: Scene, scene: Scene) -> None:
    was, now = (_sizes(before), _sizes(scene))
    if was != now:
        raise Failed(f"VMs changed from {was} to {now}; none should have")


# What a user does, words and numbers


async def _patch(play: Play, workload: str, spec: dict[str, object]) -> None:
    patch = json.dumps({"spec": spec}, separators=(",", ":"))
    await play.story.kubectl("patch", "containerworkload", workload, "--type=merge", "-p", patch)


def _of(scene: Scene, name: str) -> WorkloadRow:
    return scene.workload(name) or WorkloadRow(name)


def _need(scene: Scene) -> int:
    """CPU that the replicas of `web` have to request for the load, in millicores."""
    row = _of(scene, WEB)
    return -(-row.load_cpu * 100 // row.target_percent)


def _sizes(scene: Scene) -> dict[str, tuple[int, int]]:
    return {vm.name: _size(vm) for vm in scene.vms}


def _size(vm: VmRow) -> tuple[int, int]:
    return vm.cpu, vm.memory


def _short(container: Container) -> str:
    return container.identity.partition("://")[2][:12]


def _fleet(scene: Scene) -> dict[str, object]:
    """The facts that every chapter ends with."""
    return {
        "vms": {vm.name: {"host": vm.host, "cpu": vm.cpu // 1000} for vm in scene.vms},
        "replicas": {row.name: len(row.ready) for row in scene.workloads},
        "replica_cpu": {row.name: row.cpu for row in scene.workloads},
    }
