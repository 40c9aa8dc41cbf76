"""Kubernetes' scheduling rules and our guards, checked over again on a finished plan.

Written apart from the planner on purpose: slow, plain, pod by pod, and sharing
none of its code, so that a mistake there does not hide here.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from planning import carry_out
from plimsoll.api import labels as names
from plimsoll.decide.plan import Lever, Plan
from plimsoll.world.snapshot import Pod, Snapshot, Vm
from plimsoll.world.wire import LabelSelector, NodeSelectorTerm, SelectorRequirement


def problems(snapshot: Snapshot, plan: Plan) -> list[str]:
    """Everything that is wrong with a plan; empty if nothing is."""
    after = carry_out(snapshot, plan)
    moved = {
        pod.key
        for pod in after.pods
        if pod.node is not None
        and next((p.node for p in snapshot.pods if p.key == pod.key), None) != pod.node
    }
    return [
        *_capacity(snapshot, after, moved),
        *_pods(after, moved),
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
    bound = int(requirement.values[0])
    if not has:
        return False
    return int(value or 0) > bound if requirement.operator == "Gt" else int(value or 0) < bound


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


def _eligible(pod: Pod, vm: Vm) -> bool:
    shape = pod.shape
    if any(vm.labels.get(k) != v for k, v in shape.node_selector.items()):
        return False
    if shape.node_affinity is None:
        return True
    return any(_term(t, vm) for t in shape.node_affinity.node_selector_terms)


def _tolerated(pod: Pod, vm: Vm) -> bool:
    for taint in vm.taints:
        if taint.effect == "PreferNoSchedule":
            continue
        if not any(
            (not t.effect or t.effect == taint.effect)
            and (t.operator == "Exists" or t.value == taint.value)
            and (t.key == taint.key or (not t.key and t.operator == "Exists"))
            for t in pod.shape.tolerations
        ):
            return False
    return True


def _capacity(before: Snapshot, after: Snapshot, moved: set[str]) -> list[str]:
    """No VM that received a pod or grew is asked for more than it has, or than its line."""
    found = []
    lines = {p.name: p.spec.density.load_line_percent for p in after.pools}
    used_before = _use(before)
    for vm in after.vms:
        pods = [p for p in after.pods if p.node == vm.name]
        if not any(p.key in moved for p in pods):
            continue
        cpu, memory = _use(after)[vm.name]
        line = lines.get(vm.pool or "", 100)
        cpu_before, memory_before = used_before[vm.name]
        if cpu > max(vm.allocatable.cpu * line // 100, cpu_before):
            found.append(f"{vm.name}: {cpu}m CPU requested, line {line}% of {vm.allocatable.cpu}m")
        if memory > max(vm.allocatable.memory * line // 100, memory_before):
            found.append(f"{vm.name}: memory {memory} above its line")
        if len(pods) > vm.max_pods:
            found.append(f"{vm.name}: {len(pods)} pods, {vm.max_pods} allowed")
        berths = sum(p.shape.requests.extended.get(names.BERTHS, 0) for p in pods)
        if vm.berths is not None and berths > vm.berths:
            found.append(f"{vm.name}: {berths} berths used, {vm.berths} offered")
    return found


def _use(snapshot: Snapshot) -> dict[str, tuple[int, int]]:
    use: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for pod in snapshot.pods:
        if pod.node is not None:
            cpu, memory = use[pod.node]
            requests = pod.shape.requests
            use[pod.node] = (cpu + requests.cpu, memory + requests.memory)
    return use


def _pods(after: Snapshot, moved: set[str]) -> list[str]:
    found = []
    vms = {vm.name: vm for vm in after.vms}
    placed = [p for p in after.pods if p.node in vms]
    for pod in placed:
        if pod.key not in moved or pod.node is None:
            continue
        vm = vms[pod.node]
        if not _eligible(pod, vm):
            found.append(f"{pod.key} on {vm.name}: node selector or affinity")
        if not _tolerated(pod, vm):
            found.append(f"{pod.key} on {vm.name}: taint")
        if not vm.ready or not vm.schedulable or vm.retiring or vm.lost:
            found.append(f"{pod.key} on {vm.name}: VM takes no pods")
        for other in placed:
            if other is pod:
                continue
            if other.node == pod.node and set(other.shape.host_ports) & set(pod.shape.host_ports):
                found.append(f"{pod.key} on {vm.name}: host port")
            for one, two in ((pod, other), (other, pod)):
                for term in one.shape.anti_affinity:
                    domain = vms[one.node or ""].labels.get(term.topology_key)
                    if (
                        domain is not None
                        and domain == vms[two.node or ""].labels.get(term.topology_key)
                        and one.namespace == two.namespace
                        and _selected(term.label_selector, two.shape.labels)
                    ):
                        found.append(f"{pod.key} on {vm.name}: anti-affinity")
        for term in pod.shape.affinity:
            here = vm.labels.get(term.topology_key)
            near = [
                p
                for p in placed
                if p is not pod
                and p.namespace == pod.namespace
                and _selected(term.label_selector, p.shape.labels)
            ]
            alone = not near and _selected(term.label_selector, pod.shape.labels)
            if here is None or not (
                alone or any(vms[p.node or ""].labels.get(term.topology_key) == here for p in near)
            ):
                found.append(f"{pod.key} on {vm.name}: affinity")
        for constraint in pod.shape.spread:
            counts: Counter[str] = Counter()
            for candidate in after.vms:
                domain = candidate.labels.get(constraint.topology_key)
                if domain is None or not _eligible(pod, candidate):
                    continue
                counts[domain] += sum(
                    p.node == candidate.name
                    and p.namespace == pod.namespace
                    and _selected(constraint.label_selector, p.shape.labels)
                    for p in placed
                )
            mine = vm.labels.get(constraint.topology_key)
            if mine is None:
                found.append(f"{pod.key} on {vm.name}: no label {constraint.topology_key}")
            elif counts[mine] - min(counts.values()) > constraint.max_skew:
                found.append(f"{pod.key} on {vm.name}: spread {dict(counts)}")
    return found


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
            size = pool.spec.size
            on_step = (vm.cpu - size.cpu.min * 1000) % (size.cpu.step * 1000) == 0 and (
                vm.memory - size.memory.min
            ) % size.memory.step == 0
            if not on_step or vm.cpu > size.cpu.max * 1000 or vm.memory > size.memory.max:
                found.append(f"{vm.name}: size {vm.cpu}m, {vm.memory} not offered by the pool")
    return found


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
