"""Kubernetes' scheduling rules and our guards, checked over again on a finished plan.

Written apart from the planner on purpose: slow, plain, pod by pod, and sharing
none of its code, so that a mistake there does not hide here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from planning import carry_out
from plimsoll.api import labels as names
from plimsoll.decide.plan import Lever, Plan
from plimsoll.world.snapshot import Pod, PodShape, Pool, Snapshot, Vm
from plimsoll.world.wire import (
    LabelSelector,
    NodeSelector,
    NodeSelectorTerm,
    PodAffinityTerm,
    SelectorRequirement,
    Taint,
    Toleration,
    TopologySpreadConstraint,
)

_ATTACHABLE = "attachable-volumes-csi-"
_ORDERS: tuple[Callable[[PodShape], tuple[bool, bool]], ...] = (
    lambda shape: (not shape.spread, bool(shape.affinity)),
    lambda shape: (not shape.affinity, bool(shape.spread)),
    lambda shape: (bool(shape.spread), bool(shape.affinity)),
)
"""Pods come in these orders: those first that must be even, that must be near others, neither."""


def problems(snapshot: Snapshot, plan: Plan) -> list[str]:
    """Everything that is wrong with a plan; empty if nothing is."""
    after = carry_out(snapshot, plan)
    before = {pod.key: pod for pod in snapshot.pods}
    moved = {
        pod.key
        for pod in after.pods
        if pod.node is not None and (pod.key not in before or before[pod.key].node != pod.node)
    }
    return [
        *_capacity(snapshot, after, moved),
        *_Rules(after).broken(moved),
        *_never_placed(before, moved),
        *_driven_out(snapshot, after, plan, moved),
        *_pools(snapshot, after),
        *_hosts(after),
        *_disruption(snapshot, plan),
        *_complete(snapshot, plan),
    ]


def _requirement(requirement: SelectorRequirement, labels: dict[str, str]) -> bool:
    has = requirement.key in labels
    value = labels.get(requirement.key)
    if requirement.operator == "Exists":
        return has
    if requirement.operator == "DoesNotExist":
        return not has
    if requirement.operator == "In":
        return has and value in requirement.values
    if requirement.operator == "NotIn":
        return not has or value not in requirement.values
    number, bound = _whole(value), _whole(requirement.values[0])
    if number is None or bound is None:
        return False
    return number > bound if requirement.operator == "Gt" else number < bound


def _whole(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:
        return None


def _selected(selector: LabelSelector | None, labels: dict[str, str]) -> bool:
    if selector is None:
        return False
    return all(labels.get(k) == v for k, v in selector.match_labels.items()) and all(
        _requirement(r, labels) for r in selector.match_expressions
    )


def _term(term: NodeSelectorTerm, vm: Vm) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    return all(_requirement(r, vm.labels) for r in term.match_expressions) and all(
        _requirement(r, {"metadata.name": vm.name}) for r in term.match_fields
    )


def _admits(selector: NodeSelector, vm: Vm) -> bool:
    return any(_term(term, vm) for term in selector.node_selector_terms)


def _eligible(shape: PodShape, vm: Vm) -> bool:
    if any(vm.labels.get(k) != v for k, v in shape.node_selector.items()):
        return False
    return shape.node_affinity is None or _admits(shape.node_affinity, vm)


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect not in ("", taint.effect):
        return False
    if toleration.operator == "Exists":
        return toleration.key in ("", taint.key)
    if toleration.key != taint.key:
        return False
    if toleration.operator in ("Gt", "Lt"):
        number, bound = _whole(taint.value), _whole(toleration.value)
        if number is None or bound is None:
            return False
        return number > bound if toleration.operator == "Gt" else number < bound
    return toleration.value == taint.value


def _tolerated(shape: PodShape, vm: Vm) -> bool:
    return all(
        taint.effect == "PreferNoSchedule" or any(_tolerates(t, taint) for t in shape.tolerations)
        for taint in vm.taints
    )


def _never_placed(before: dict[str, Pod], moved: set[str]) -> Iterator[str]:
    """Pods that are to stay where they are, or without a place."""
    for key in sorted(moved & before.keys()):
        pod = before[key]
        if pod.shape.not_modelled:
            yield f"{key}: placed by guess: {pod.shape.not_modelled}"
        if pod.shape.blocked:
            yield f"{key}: placed, though {pod.shape.blocked}"
        if pod.gated:
            yield f"{key}: placed, though it is gated"


def _capacity(before: Snapshot, after: Snapshot, moved: set[str]) -> Iterator[str]:
    """No VM that received a pod is asked for more than it has, or than its line."""
    pools = {p.name: p for p in after.pools}
    used_before = _use(before)
    used_after = _use(after)
    for vm in after.vms:
        pods = [p for p in after.pods if p.node == vm.name]
        # Where room is made for a nominated pod, its victims are still on their way out.
        received = [p for p in pods if p.key in moved and p.nominated != vm.name]
        if not received:
            continue
        pool = pools.get(vm.pool or "")
        line = pool.spec.density.load_line_percent if pool is not None else 100
        nominated = any(p.key in moved and p.nominated == vm.name for p in pods)
        if nominated or any(p.shape.preempts and _made_room(p, before, after) for p in received):
            # Where the scheduler makes room by itself it knows no line.
            line = 100
        limits = {
            "cpu": vm.allocatable.cpu * line // 100,
            "memory": vm.allocatable.memory * line // 100,
            **vm.allocatable.extended,
        }
        if vm.berths is not None or pool is not None:
            limits[names.BERTHS] = vm.berths or 0
        asked = {name for pod in received for name, amount in _requests(pod).items() if amount}
        for name in sorted(asked):
            use = used_after[vm.name][name]
            if name.startswith(_ATTACHABLE) and name not in limits:
                continue
            if use > max(limits.get(name, 0), used_before[vm.name][name]):
                yield f"{vm.name}: {use} of {name} used, {limits.get(name, 0)} there (line {line}%)"
        if len(pods) > vm.max_pods:
            yield f"{vm.name}: {len(pods)} pods, {vm.max_pods} allowed"


def _made_room(pod: Pod, before: Snapshot, after: Snapshot) -> bool:
    """Whether pods of a lower priority have left the VM of a pod."""
    there = {p.key for p in after.pods if p.node == pod.node}
    return any(
        p.node == pod.node and p.key not in there and p.shape.priority < pod.shape.priority
        for p in before.pods
    )


def _driven_out(before: Snapshot, after: Snapshot, plan: Plan, moved: set[str]) -> Iterator[str]:
    """Pods that lose their places to others: only to more important ones that may preempt."""
    evicted = {m.subject.removeprefix("pod/") for m in plan.moves if m.kind is Lever.MOVE}
    homes = {vm.name: vm for vm in before.vms}
    there = {vm.name for vm in after.vms}
    now = {pod.key: pod.node for pod in after.pods}
    for pod in before.pods:
        home = homes.get(pod.node or "")
        # Those that go with their VM, or are moved for another reason.
        if home is None or home.name not in there or home.retiring or pod.key in evicted:
            continue
        if now.get(pod.key, home.name) == home.name or not _tolerated(pod.shape, home):
            continue
        if not any(
            p.node == home.name
            and p.key in moved
            and p.shape.preempts
            and p.shape.priority > pod.shape.priority
            for p in after.pods
        ):
            yield f"{pod.key} leaves {home.name} for no pod that may preempt it"


def _requests(pod: Pod) -> dict[str, int]:
    requests = pod.shape.requests
    return {"cpu": requests.cpu, "memory": requests.memory, **requests.extended}


def _use(snapshot: Snapshot) -> dict[str, Counter[str]]:
    """What the pods on each VM ask for, by resource."""
    use: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for pod in snapshot.pods:
        if pod.node is not None:
            use[pod.node].update(_requests(pod))
    return use


class _Rules:
    """The rules of each pod, asked of the picture in which all pods and VMs are there."""

    def __init__(self, after: Snapshot) -> None:
        self._after = after
        self._vms = {vm.name: vm for vm in after.vms}
        self._pools = {pool.name: pool for pool in after.pools}
        self._placed = [(p, self._vms[p.node]) for p in after.pods if p.node in self._vms]
        self._labels: dict[str, dict[str, str]] = after.namespaces

    def broken(self, moved: set[str]) -> list[str]:
        """What is wrong with the place of each pod that got one.

        What others do later does not undo a place: if all is well in some order, it is well.
        """
        everything = self._placed
        found = self._wrong(everything, moved)
        if not found:
            return []
        for order in _ORDERS:
            coming = [item for item in everything if item[0].key in moved]
            coming.sort(key=lambda item: (order(item[0].shape), item[0].key))
            self._placed = [item for item in everything if item[0].key not in moved]
            found = self._one_by_one(coming, moved)
            if not found:
                break
        self._placed = everything
        return found

    def _one_by_one(self, coming: list[tuple[Pod, Vm]], moved: set[str]) -> list[str]:
        """What is wrong with those that cannot come after any of the others."""
        while coming:
            for item in coming:
                self._placed.append(item)
                if not self._wrong([item], moved):
                    coming.remove(item)
                    break
                self._placed.pop()
            else:
                self._placed += coming
                return self._wrong(coming, moved) or [f"no order: {[p.key for p, _ in coming]}"]
        return []

    def _wrong(self, some: Iterable[tuple[Pod, Vm]], moved: set[str]) -> list[str]:
        return [
            f"{pod.key} on {vm.name}: {rule}"
            for pod, vm in some
            if pod.key in moved
            for rule in self._rules(pod, vm)
        ]

    def _rules(self, pod: Pod, vm: Vm) -> Iterator[str]:
        shape = pod.shape
        if not _eligible(shape, vm):
            yield "node selector or affinity"
        if not _tolerated(shape, vm):
            yield "taint"
        if not all(_admits(selector, vm) for selector in shape.volume_nodes):
            yield "volume"
        if not vm.ready or not vm.schedulable or vm.retiring or vm.lost:
            yield "VM takes no pods"
        pool = self._pools.get(vm.pool or "")
        offered = pool.spec.template.runtime_classes if pool is not None else ()
        if shape.runtime_class and offered and shape.runtime_class not in offered:
            yield "runtime class"
        for other, home in self._placed:
            if other is pod:
                continue
            if home is vm and _ports_clash(shape.host_ports, other.shape.host_ports):
                yield f"host port of {other.key}"
            if self._repels(pod, vm, other, home) or self._repels(other, home, pod, vm):
                yield f"anti-affinity with {other.key}"
        if shape.affinity and not self._near(pod, vm):
            yield "affinity"
        for constraint in shape.spread:
            yield from self._spread(constraint, pod, vm)

    def _wants(self, term: PodAffinityTerm, owner: Pod, other: Pod) -> bool:
        """Whether an affinity term of one pod is about another."""
        if not _selected(term.label_selector, other.shape.labels):
            return False
        if not term.namespaces and term.namespace_selector is None:
            return other.namespace == owner.namespace
        return other.namespace in term.namespaces or _selected(
            term.namespace_selector, self._labels.get(other.namespace, {})
        )

    def _repels(self, one: Pod, at: Vm, other: Pod, there: Vm) -> bool:
        for term in one.shape.anti_affinity:
            domain = at.labels.get(term.topology_key)
            if domain is None or domain != there.labels.get(term.topology_key):
                continue
            if self._wants(term, one, other):
                return True
        return False

    def _near(self, pod: Pod, vm: Vm) -> bool:
        """Near, by every term, to pods that all terms are about; or the first of its kind."""
        terms = pod.shape.affinity
        if any(term.topology_key not in vm.labels for term in terms):
            return False
        mates = [
            home
            for other, home in self._placed
            if other is not pod and all(self._wants(term, pod, other) for term in terms)
        ]
        if not mates:
            return all(self._wants(term, pod, pod) for term in terms)
        return all(
            any(m.labels.get(t.topology_key) == vm.labels[t.topology_key] for m in mates)
            for t in terms
        )

    def _spread(self, constraint: TopologySpreadConstraint, pod: Pod, vm: Vm) -> Iterator[str]:
        key, shape = constraint.topology_key, pod.shape
        if key not in vm.labels:
            yield f"no label {key}"
            return
        selector = constraint.label_selector
        counts: Counter[str] = Counter()
        for candidate in self._after.vms:
            if any(c.topology_key not in candidate.labels for c in shape.spread):
                continue
            if constraint.node_affinity_policy == "Honor" and not _eligible(shape, candidate):
                continue
            if constraint.node_taints_policy == "Honor" and not _tolerated(shape, candidate):
                continue
            counts[candidate.labels[key]] += sum(
                home is candidate
                and other.namespace == pod.namespace
                and not other.terminating
                # An empty selector counts no pods at all.
                and selector is not None
                and bool(selector.match_labels or selector.match_expressions)
                and _selected(selector, other.shape.labels)
                for other, home in self._placed
            )
        least = min(counts.values(), default=0)
        if constraint.min_domains is not None and len(counts) < constraint.min_domains:
            least = 0
        if counts[vm.labels[key]] - least > constraint.max_skew:
            yield f"spread over {key}: {dict(counts)}"


def _ports_clash(
    one: Iterable[tuple[str, str, int]], other: Sequence[tuple[str, str, int]]
) -> bool:
    return any(
        (protocol, port) == (other_protocol, other_port)
        and (address == other_address or "0.0.0.0" in (address, other_address))
        for address, protocol, port in one
        for other_address, other_protocol, other_port in other
    )


def _pools(before: Snapshot, after: Snapshot) -> list[str]:
    found = []
    for pool in after.pools:
        had = sum(vm.pool == pool.name and not vm.retiring for vm in before.vms)
        has = sum(vm.pool == pool.name and not vm.retiring for vm in after.vms)
        if has > max(had, pool.spec.nodes.max):
            found.append(f"{pool.name}: {has} VMs, at most {pool.spec.nodes.max}")
        if has < min(had, pool.spec.nodes.min):
            found.append(f"{pool.name}: {has} VMs, at least {pool.spec.nodes.min}")
        for vm in after.vms:
            if vm.pool != pool.name or any(v.name == vm.name and v == vm for v in before.vms):
                continue
            known = next((v for v in before.vms if v.name == vm.name), None)
            if known is None or (known.cpu, known.memory) != (vm.cpu, vm.memory):
                found += size_problems(pool, vm)
    return found


def size_problems(pool: Pool, vm: Vm) -> Iterator[str]:
    """Whether a pool offers VMs of this size."""
    size, pods = pool.spec.size, pool.spec.density.pods
    cpus, rest = divmod(vm.cpu, 1000)
    good = not rest and size.cpu.min <= cpus <= size.cpu.max
    good = good and (cpus - size.cpu.min) % size.cpu.step == 0
    good = good and size.memory.min <= vm.memory <= size.memory.max
    if size.memory_per_cpu is not None:
        good = good and vm.memory == size.memory_per_cpu * cpus
    else:
        good = good and (vm.memory - size.memory.min) % size.memory.step == 0
    if not good:
        yield f"{vm.name}: size {vm.cpu}m, {vm.memory} not offered by the pool"
    most = pods.max if pods.per_cpu is None else min(pods.max, pods.per_cpu * cpus)
    if vm.max_pods > most:
        yield f"{vm.name}: {vm.max_pods} pods, at most {most} offered by the pool"


def _hosts(after: Snapshot) -> list[str]:
    found = []
    for hypervisor in after.hypervisors:
        for host in hypervisor.hosts or ():
            vms = [v for v in after.vms if (v.hypervisor, v.host) == (hypervisor.name, host.name)]
            if sum(v.cpu for v in vms) + host.cpu_other > host.cpu:
                found.append(f"host {host.name}: CPUs overcommitted")
            if sum(v.memory for v in vms) + host.memory_other > host.memory:
                found.append(f"host {host.name}: memory overcommitted")
    return found


def _disruption(snapshot: Snapshot, plan: Plan) -> list[str]:
    found = []
    for move in plan.moves:
        if move.kind is Lever.RETIRE:
            name = move.subject.removeprefix("vm/")
            found += [
                f"{name} retired although {p.key} is held: {p.held}"
                for p in snapshot.pods
                if p.node == name and p.held and not p.daemon
            ]
        if move.kind in (Lever.RETIRE, Lever.LAUNCH, Lever.GROW) and any(
            not h.ready for h in snapshot.hypervisors
        ):
            found.append(f"{move.kind} {move.subject} while the hypervisor is unreachable")
        if not move.reason:
            found.append(f"{move.kind} {move.subject} without a reason")
    return found


def _complete(snapshot: Snapshot, plan: Plan) -> list[str]:
    """Nothing is lost: every pod either has a place or is said to have none, with reasons."""
    unplaced = {u.pod for u in plan.unplaced}
    shrunk = {
        move.subject.removeprefix("workload/")
        for move in plan.moves
        if move.kind is Lever.SHRINK and move.replicas is not None
    }
    found = [f"{u.pod}: unplaced without a reason" for u in plan.unplaced if not u.why]
    for pod in snapshot.pods:
        if pod.gated or pod.daemon or pod.terminating or pod.workload in shrunk:
            continue
        if (pod.key in plan.placements) == (pod.key in unplaced):
            found.append(f"{pod.key}: neither placed nor unplaced, or both")
    return found
