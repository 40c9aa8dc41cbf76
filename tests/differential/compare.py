"""One comparison: what a plan says of a world, and what the real scheduler does with it.

1. The world as it is: nodes, running pods, volumes. Pods that the plan places on nodes of today
   are nominated there, and the scheduler must bind them.
2. Pods for which the plan launches VMs must stay pending: else a VM is launched in vain.
3. The VMs that the plan launches are there: the scheduler must bind what the plan placed.
4. What the plan gave up must stay pending, on the VMs of today as on the new ones.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from differential.cluster import GATE, Cluster, SeenPod
from differential.generate import LEAST, PREEMPTING, Json
from differential.isolate import Isolation
from plimsoll.act.crowds import Crowds
from plimsoll.decide.plan import Lever, Plan, Reason
from plimsoll.decide.planner import plan
from plimsoll.offline.files import load
from plimsoll.world import wire
from plimsoll.world.assemble import assemble
from plimsoll.world.selectors import untolerated

NOW: Final = 1_767_229_200.0
QUIET: Final = 6.0
"""Seconds without any change of a world's pods after which a pending pod counts as stuck; the
scheduler tries again within two."""
PATIENCE: Final = 10 * QUIET
"""Seconds within which the scheduler looks at a pod that is new to it, on a busy machine too."""
_TELLINGS: Final = 30
"""How often a pod is nominated anew, at most, after the scheduler has dropped its nomination."""
_DRIVING_OUT: Final = ("found a potential placement", "terminating pod on the nominated node")
"""Verdicts that kube-scheduler gives while a preemption is under way."""
_NO_CLAIM: Final = frozenset({Reason.LOAD_LINE, Reason.NOT_MODELLED, Reason.EXPENDABLE})
"""Pods unplaced for one of these may well fit as far as the scheduler is concerned."""
_FIRST: Final = ("RuntimeClass", "StorageClass", "PersistentVolume", "PersistentVolumeClaim")


@dataclass(frozen=True)
class Disagreement:
    """A pod of which plan and scheduler think differently."""

    kind: str
    """``refused``: placed by the plan, not bound there by the scheduler; ``fits``: given up by the
    plan, bound by the scheduler; ``needless``: a VM is launched for pods that are bound without
    it; ``preempts``: removed for another pod; ``daemon``: the pod of a DaemonSet that finds no
    room on a new VM."""
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}: {self.detail}"


@dataclass
class Result:
    """What one comparison found."""

    disagreements: list[Disagreement] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def decide(manifests: Iterable[Json]) -> Plan:
    """The plan for manifests, read as any file is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "world.json"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)}))
        loaded = load([str(path)])
    return plan(assemble(loaded.objects, loaded.observations, NOW), NOW)


async def compare(
    cluster: Cluster, slot: int, world: str, manifests: list[Json], *, nominate: bool = True
) -> Result:
    """Compares a plan with what the scheduler does, and takes the world down again.

    Without `nominate` the scheduler places pods by its own scores; what it then leaves pending
    is counted (``pending``), for it is no disagreement about rules.
    """
    isolation = Isolation(world, slot)
    comparison = Comparison(cluster, isolation, manifests, nominate)
    try:
        await comparison.run()
    finally:
        await cluster.clear(isolation, {item["kind"] for item in manifests})
    return comparison.result


class Comparison:
    def __init__(
        self, cluster: Cluster, isolation: Isolation, manifests: list[Json], nominate: bool
    ) -> None:
        self.cluster = cluster
        self.isolation = isolation
        self.manifests = manifests
        self.nominating = nominate
        self.result = Result()
        self.plan = decide(manifests)
        self.gated: set[str] = set()
        """Pods that the scheduler is not to see yet."""
        self.pods = {
            f"{p['metadata']['namespace']}/{p['metadata']['name']}": p for p in self.of("Pod")
        }

    def of(self, *kinds: str) -> list[Json]:
        return [item for item in self.manifests if item["kind"] in kinds]

    async def run(self) -> None:
        moves = {lever: [m for m in self.plan.moves if m.kind is lever] for lever in Lever}
        if moves[Lever.MOVE] or moves[Lever.RETIRE] or moves[Lever.SHRINK]:
            self.result.counts["not compared"] += 1
            return
        new = {vm.name for vm in self.plan.vms if vm.new}
        grown = {move.subject.removeprefix("vm/") for move in moves[Lever.GROW]}
        later = new | grown
        pending = {key: p for key, p in self.pods.items() if "nodeName" not in p["spec"]}
        places = {key: self.plan.placements.get(key, "") for key in pending}
        given_up = {u.pod: u.reason for u in self.plan.unplaced}
        self.result.counts.update(
            worlds=1,
            placed=sum(bool(place) for place in places.values()),
            launched=len(new),
            unplaced=len(given_up),
        )
        berths = {m.subject.removeprefix("vm/"): m.berths for m in moves[Lever.LOAD]}
        await self._set_up(berths)
        urgent = self._urgent(pending)
        if urgent:
            await self._preempt({key: places[key] for key in urgent}, later, given_up)
            return
        now = {key: place for key, place in places.items() if place and place not in later}
        await self._create_nominated(now)
        # A place of today may become one only by what runs on a new VM (a spread, an affinity).
        early = await self._settle(now, final=not later)
        if self.result.disagreements:
            return
        await self._delete(early)
        for_new = [key for key, place in places.items() if place in new]
        unplaced = [key for key, place in places.items() if not place]
        await self._create(for_new)
        if not grown:
            await self._check_launches_are_needed(for_new)
        there = {k: p for k, p in places.items() if p in later} | early
        waiting = {k: p for k, p in there.items() if self._seen(k) is not None}
        waiting = {key: there[key] for key in self._joining(waiting)}
        afresh = {key: place for key, place in there.items() if key not in waiting}
        await self._delete(afresh)
        await self._nominate(waiting)
        await self._launch(later)
        await self._create_nominated(afresh)
        await self._settle(there, sooner={k: p for k, p in now.items() if k not in early})
        if not self.nominating:
            return
        await self._check_daemons()
        if not self.result.disagreements:
            before = [key for key in self.pods if self._node(key)]
            await self._check_given_up(unplaced, given_up)
            self._check_that_none_gave_way(before)

    # Preemption

    def _urgent(self, pending: Iterable[str]) -> list[str]:
        """The most important pods, if they drive others out."""

        def of(name: str, keys: Iterable[str]) -> list[str]:
            return [k for k in keys if self.pods[k]["spec"].get("priorityClassName") == name]

        first, second = PREEMPTING
        running = [key for key, pod in self.pods.items() if "nodeName" in pod["spec"]]
        return of(first, pending) or (of(second, pending) if of(LEAST, running) else [])

    async def _preempt(
        self, urgent: dict[str, str], later: set[str], given_up: dict[str, Reason]
    ) -> None:
        """For pods that may drive others out: they find a place today exactly if the plan says so.

        The others are left out, for the plan places them only after these. Which pods are driven
        out is the scheduler's choice; where it chose as the plan did, nothing else may give way.
        """
        now = {key: place for key, place in urgent.items() if place and place not in later}
        running = {key for key in self.pods if self._node(key)}
        await self._create_nominated(now)
        bound = await self._bound(now)
        late = {key: place for key, place in now.items() if not self._node(key)}
        if not bound and any(self._driving_out(key) for key in late):
            # Of two pods that drive others out of one node at the same time, kube-scheduler was
            # seen not to look at the second again once they had gone. Afresh, it does.
            self.result.counts["shown again"] += 1
            await self._delete(late)
            await self._create_nominated(late)
            bound = await self._bound(now)
        on_new = {key: place for key, place in urgent.items() if place in later}
        if not bound and on_new:
            # A place of today may become one only by what runs on a new VM.
            self.result.counts["partly compared"] += 1
            await self._launch(later)
            await self._create_nominated(on_new)
            now |= on_new
            bound = await self._bound(now)
        for key in now if not bound else ():
            if not self._node(key):
                detail = f"not on {now[key]}: {self._verdict(key)}"
                self.result.disagreements.append(Disagreement("refused", key, detail))
        if on_new.keys() & now:
            return
        gone = {key for key in running if self._seen(key) is None}
        expected = {k for k in running if self.plan.placements.get(k) != self._node_in_manifest(k)}
        alike = gone == expected and all(self._node(key) == now[key] for key in now)
        self.result.counts.update(driven=len(gone), alike=alike, unlike=not alike)
        if self.result.disagreements or not alike:
            return
        mixed = {v for k, v in self.plan.placements.items() if k not in urgent}
        for_new = [key for key, place in on_new.items() if place not in mixed]
        await self._create(for_new)
        await self._check_launches_are_needed(for_new)
        if on_new:
            # Those that are to go onto new VMs are missing: they may keep the others off.
            return
        before = [key for key in self.pods if self._node(key)]
        await self._check_given_up([key for key in urgent if not urgent[key]], given_up)
        self._check_that_none_gave_way(before)

    def _node_in_manifest(self, key: str) -> str:
        return str(self.pods[key]["spec"].get("nodeName", ""))

    # The world

    async def _set_up(self, berths: dict[str, int | None]) -> None:
        create = self.cluster.create
        for kind in _FIRST:
            await asyncio.gather(*(create(self.isolation.other(i)) for i in self.of(kind)))
        await asyncio.gather(*(self._create_node(node, berths) for node in self.of("Node")))
        await asyncio.gather(*(create(self.isolation.other(i)) for i in self.of("CSINode")))
        running = [key for key, pod in self.pods.items() if "nodeName" in pod["spec"]]
        await self._create(running)
        for daemonset in self.of("DaemonSet"):
            await self._run_daemons(daemonset)
        await self._bind_claims()

    async def _create_node(self, node: Json, berths: dict[str, int | None]) -> None:
        given = berths.get(node["metadata"]["name"])
        node = self.isolation.node(node)
        if given is not None:
            node = {**node, "status": dict(node["status"])}
            for amounts in ("capacity", "allocatable"):
                node["status"][amounts] = {
                    **node["status"][amounts],
                    "plimsoll.dev/berths": str(given),
                }
        await self.cluster.create_node(node)

    async def _run_daemons(self, daemonset: Json) -> None:
        """Creates a DaemonSet, and awaits the pods that the plan takes it to have today."""
        await self.cluster.create(self.isolation.other(daemonset))
        meta = daemonset["metadata"]
        own = f"{meta['namespace']}/{meta['name']}-"
        expected = sum(key.startswith(own) for key in self.plan.placements)
        await self._wait(
            lambda: sum(bool(p.node or p.verdict) for p in self._daemon_pods()) >= expected
        )

    def _daemon_pods(self) -> list[SeenPod]:
        names = tuple(
            f"{self.isolation.named(d['metadata']['name'])}-" for d in self.of("DaemonSet")
        )
        return [pod for (_, name), pod in self.cluster.pods.items() if name.startswith(names)]

    async def _bind_claims(self) -> None:
        """Awaits that the claims are bound that are bound in the manifests."""
        for claim in self.of("PersistentVolumeClaim"):
            if claim["status"]["phase"] == "Bound":
                item = self.isolation.other(claim)
                async with asyncio.timeout(60):
                    while not await self.cluster.claim_bound(item):  # noqa: ASYNC110
                        await asyncio.sleep(0.05)

    async def _launch(self, names: set[str]) -> None:
        pools = {pool["metadata"]["name"]: pool for pool in self.of("VMPool")}
        berths = {move.vm.name: move.vm.berths for move in self.plan.moves if move.vm is not None}
        for vm in self.plan.vms:
            if vm.name not in names:
                continue
            amounts = {"cpu": f"{vm.cpu}m", "memory": str(vm.memory), "pods": str(vm.pods)}
            if not vm.new:
                await self.cluster.grow_node(self.isolation.named(vm.name), amounts)
                continue
            # Not modelled: the disk of a VM.
            amounts["ephemeral-storage"] = "1Ti"
            amounts["plimsoll.dev/berths"] = str(berths[vm.name])
            template = pools[vm.pool or ""]["spec"]["template"]
            node = {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": vm.name, "labels": vm.labels},
                "spec": {"taints": template.get("taints", [])},
                "status": {
                    "capacity": amounts,
                    "allocatable": amounts,
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }
            await self.cluster.create_node(self.isolation.node(node))
            await self._limit_volumes(vm.name, vm.pool or "")

    async def _limit_volumes(self, name: str, pool: str) -> None:
        """A new VM attaches as many volumes as the plan expects: the least of its pool."""
        own = {n["metadata"]["name"] for n in self.of("VMNode") if n["spec"]["pool"] == pool}
        limits: dict[str, int] = {}
        for csi_node in self.of("CSINode"):
            for driver in (
                csi_node["spec"]["drivers"] if csi_node["metadata"]["name"] in own else ()
            ):
                count = driver.get("allocatable", {}).get("count")
                if count is not None:
                    limits[driver["name"]] = min(count, limits.get(driver["name"], count))
        drivers = [
            {"name": driver, "nodeID": name, "topologyKeys": [], "allocatable": {"count": count}}
            for driver, count in limits.items()
        ]
        if drivers:
            item = {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "CSINode",
                "metadata": {"name": name},
                "spec": {"drivers": drivers},
            }
            await self.cluster.create(self.isolation.other(item))

    # Pods

    def _seen(self, key: str) -> SeenPod | None:
        namespace, _, name = key.partition("/")
        return self.cluster.pods.get((self.isolation.namespace(namespace), name))

    def _node(self, key: str) -> str:
        """The node that a pod is bound to, by its name in the manifests; empty: none."""
        seen = self._seen(key)
        return self.isolation.plain(seen.node) if seen is not None else ""

    def _verdict(self, key: str) -> str:
        seen = self._seen(key)
        return seen.verdict if seen is not None else ""

    def _tried(self, key: str) -> bool:
        """Whether the scheduler has looked for a place and found none.

        It says so, too, of a pod for which others are being driven out; that one it tries again.
        """
        verdict = self._verdict(key)
        return verdict != "" and "Gated" not in verdict and not self._driving_out(key)

    def _driving_out(self, key: str) -> bool:
        """Whether the scheduler last said that others are to leave for this pod."""
        return any(words in self._verdict(key) for words in _DRIVING_OUT)

    def _seeks_others(self, key: str) -> bool:
        """Whether the scheduler found no place for a pod near those that it must be near."""
        return "didn't match pod affinity rules" in self._verdict(key)

    def _looked_at(self, places: Iterable[str]) -> bool:
        return all(self._placed_or_tried(key) for key in places if key not in self.gated)

    def _placed_or_tried(self, key: str) -> bool:
        return bool(self._node(key)) or self._tried(key)

    async def _wait(self, done: Callable[[], bool], quiet: float = QUIET) -> bool:
        return await self.cluster.wait(self.isolation.slot, done, quiet)

    async def _create(self, keys: Iterable[str], gate: str = "", node: str = "") -> None:
        async def create(key: str) -> None:
            pod = self.isolation.pod(self.pods[key])
            if gate:
                pod["spec"]["schedulingGates"] = [{"name": gate}]
            if node:
                pod["spec"]["nodeName"] = self.isolation.named(node)
            await self.cluster.create_pod(pod)

        keys = list(keys)
        self.gated.update(keys if gate else ())
        await asyncio.gather(*(create(key) for key in keys))

    async def _delete(self, keys: Iterable[str]) -> None:
        async def delete(key: str) -> None:
            namespace, _, name = key.partition("/")
            await self.cluster.delete_pod(self.isolation.namespace(namespace), name)

        keys = list(keys)
        self.gated.difference_update(keys)
        await asyncio.gather(*(delete(key) for key in keys))
        await self._wait(lambda: all(self._seen(key) is None for key in keys))

    async def _nominate(self, places: dict[str, str]) -> None:
        async def tell(key: str, place: str) -> None:
            namespace, _, name = key.partition("/")
            node = self.isolation.named(place)
            await self.cluster.nominate(self.isolation.namespace(namespace), name, node)

        if self.nominating:
            await asyncio.gather(*(tell(key, place) for key, place in places.items()))

    async def _create_nominated(self, places: dict[str, str]) -> None:
        """Creates pods which the scheduler sees only when it knows where they are to go."""
        if not self.nominating:
            await self._create(places)
            return
        await self._create(places, gate=GATE)
        await self._show_next(places)

    async def _show_next(self, places: dict[str, str]) -> None:
        """Nominates pods and lets the scheduler see them, as many as the operator would by now."""
        shown = self._joining(places) & self.gated
        await self._nominate({key: places[key] for key in shown})
        await asyncio.gather(*(self._lift(key) for key in shown))

    def _joining(self, places: dict[str, str]) -> set[str]:
        """Pods that are not bound yet and may be nominated beside each other."""
        crowds = Crowds()
        return {
            key
            for key in sorted(places, key=lambda key: key in self.gated)
            if not self._node(key)
            and crowds.join(msgspec.convert(self.pods[key], wire.Pod), places[key])
        }

    async def _lift(self, key: str) -> None:
        self.gated.discard(key)
        namespace, _, name = key.partition("/")
        await self.cluster.lift_gate(self.isolation.namespace(namespace), name)

    async def _settle(
        self, places: dict[str, str], *, final: bool = True, sooner: dict[str, str] | None = None
    ) -> dict[str, str]:
        """Awaits that pods are bound; returns those that are not, and notes them if it is final.

        What follows rests on every pod being where the plan has it. Where some went elsewhere,
        all of them start once more, one by one. Those that were bound `sooner` may keep pods
        from being the first of their group on a VM that was not there yet, which no plan
        promises (docs/concepts/not-modelled.md): then all must find their places in one order.
        """
        await self._bound(places)
        astray = {key: place for key, place in places.items() if self._node(key) != place}
        self.result.counts["elsewhere"] += sum(bool(self._node(key)) for key in astray)
        if astray and self.nominating:
            self.result.counts["retried"] += 1
            await self._delete(places)
            astray = await self._place_in_turn(places)
            if astray and sooner and all(map(self._seeks_others, astray)):
                self.result.counts["group began elsewhere"] += 1
                await self._delete({**sooner, **places})
                astray = await self._place_in_turn({**astray, **places, **sooner})
        if not self.nominating:
            astray = {key: place for key, place in astray.items() if not self._node(key)}
        for key, place in astray.items() if final else ():
            if not self._node(key):
                self.result.counts["pending"] += 1
            if self.nominating:
                detail = f"not on {place}: {self._verdict(key) or 'taken to another node'}"
                self.result.disagreements.append(Disagreement("refused", key, detail))
        return astray

    async def _place_in_turn(self, places: dict[str, str]) -> dict[str, str]:
        """Shows the scheduler one pod after another, those again that failed before others.

        A pod may come too early, of a spread for example. It then must not take another one's
        place. Returns those that fail even when all the others are where they should be.
        """
        waiting = dict(places)
        while waiting:
            await self._create(waiting, gate=GATE)
            failed = {}
            for key, place in waiting.items():
                await self._nominate({key: place})
                await self._lift(key)
                await self._wait(partial(self._placed_or_tried, key), PATIENCE)
                if self._node(key) != place:
                    failed[key] = place
                    if self._node(key):
                        await self._delete([key])
            if len(failed) == len(waiting):
                return failed
            await self._delete(failed)
            waiting = failed
        return {}

    async def _bound(self, places: dict[str, str]) -> bool:
        told: Counter[str] = Counter()

        async def tell_again() -> None:
            again = {}
            for key, place in places.items():
                seen = self._seen(key)
                dropped = seen is not None and seen.verdict and not seen.status.nominatedNodeName
                if dropped and not self._node(key) and told[key] < _TELLINGS:
                    told[key] += 1
                    again[key] = place
            self.result.counts["told again"] += len(again)
            await self._nominate(again)

        while True:
            before = self._changes()
            if self.nominating:
                await self._show_next(places)
                await tell_again()
            done = await self._wait(partial(self._bound_or_changed, places, before))
            if self._all_bound(places):
                return True
            if not done:
                await self._wait(partial(self._looked_at, places), PATIENCE)
            if not done and self._changes() == before:
                return False

    def _changes(self) -> int:
        namespaces = {self.isolation.namespace(key.partition("/")[0]) for key in self.pods}
        return sum(self.cluster.changes.get(namespace, 0) for namespace in namespaces)

    def _bound_or_changed(self, places: Iterable[str], before: int) -> bool:
        return self._all_bound(places) or self._changes() != before

    def _all_bound(self, places: Iterable[str]) -> bool:
        return all(self._node(key) for key in places)

    async def _check_launches_are_needed(self, keys: list[str]) -> None:
        """For pods that get new VMs: there is no room for them on the VMs of today."""
        await self._tried_out(keys)
        vms = {key: self.plan.placements[key] for key in keys}
        carrying = set(self.plan.placements.values())
        for name in sorted({vm.name for vm in self.plan.vms if vm.new} - carrying):
            detail = "is launched, and carries nothing"
            self.result.disagreements.append(Disagreement("needless", name, detail))
        needed = {vms[key] for key in keys if not self._node(key)}
        # Pods may well join a VM that is launched for another one. And where pods keep each
        # other away, a place of today may be gone because of what runs on a new VM.
        if needed and any(self._minds_others(pod) for pod in self.pods.values()):
            needed = set(vms.values())
        for vm in sorted(set(vms.values()) - needed):
            here = ", ".join(f"{key} to {self._node(key)}" for key in keys if vms[key] == vm)
            detail = f"is launched for pods that are bound without it: {here}"
            self.result.disagreements.append(Disagreement("needless", vm, detail))

    @staticmethod
    def _minds_others(pod: Json) -> bool:
        spec = pod["spec"]
        return bool(
            {"podAffinity", "podAntiAffinity"} & spec.get("affinity", {}).keys()
            or spec.get("topologySpreadConstraints")
        )

    async def _check_given_up(self, keys: list[str], given_up: dict[str, Reason]) -> None:
        """For pods that the plan finds no place for: neither does the scheduler."""
        await self._create(keys)
        await self._tried_out(keys)
        for key in keys:
            reason = given_up.get(key)
            if self._node(key) and reason not in _NO_CLAIM:
                detail = f"given up ({reason or 'without a word'}), bound to {self._node(key)}"
                self.result.disagreements.append(Disagreement("fits", key, detail))

    def _check_that_none_gave_way(self, before: Iterable[str]) -> None:
        for key in before:
            if self._seen(key) is None:
                detail = "was removed for another pod"
                self.result.disagreements.append(Disagreement("preempts", key, detail))

    async def _tried_out(self, keys: Iterable[str]) -> None:
        """Awaits that the scheduler has looked at each pod."""
        await self._wait(
            lambda: all(self._node(key) or self._verdict(key) for key in keys), PATIENCE
        )

    async def _check_daemons(self) -> None:
        """For pods of DaemonSets: once all else is where it should be, they have room."""
        new = {self.isolation.named(vm.name) for vm in self.plan.vms if vm.new}

        def waiting() -> list[SeenPod]:
            return [p for p in self._daemon_pods() if not p.node and p.wanted_node in new]

        due = self._due()

        def made() -> bool:
            return sum(pod.wanted_node in new for pod in self._daemon_pods()) >= due

        if not await self._wait(made, PATIENCE):
            raise AssertionError("the controller of DaemonSets makes no pods for new nodes")
        await self._wait(lambda: not waiting())
        for pod in waiting():
            node = self.isolation.plain(pod.wanted_node)
            detail = f"not on {node}: {pod.verdict}"
            found = Disagreement("daemon", self.isolation.plain(pod.metadata.name), detail)
            self.result.disagreements.append(found)

    def _due(self) -> int:
        """How many pods the DaemonSets will have on new VMs."""
        taints = {
            pool["metadata"]["name"]: msgspec.convert(
                pool["spec"]["template"].get("taints", []), list[wire.Taint]
            )
            for pool in self.of("VMPool")
        }
        specs = [daemonset["spec"]["template"]["spec"] for daemonset in self.of("DaemonSet")]
        return sum(
            spec["nodeSelector"].items() <= vm.labels.items()
            and untolerated(
                taints[vm.pool or ""],
                msgspec.convert(spec.get("tolerations", []), list[wire.Toleration]),
            )
            is None
            for spec in specs
            for vm in self.plan.vms
            if vm.new
        )
