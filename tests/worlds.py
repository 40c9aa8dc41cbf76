"""Random small worlds, over every rule that the planner knows.

Consistent ones: a pod that is bound could have been put there by the scheduler.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

import planning as w
from plimsoll.api import labels as names
from plimsoll.decide.planner import plan
from plimsoll.world.snapshot import Host, Pod, PodShape, Pool, Snapshot, Vm
from plimsoll.world.wire import (
    LabelSelector,
    NodeSelector,
    NodeSelectorTerm,
    PodAffinityTerm,
    PreferredNodes,
    SelectorRequirement,
    Taint,
    Toleration,
    WeightedPodAffinityTerm,
)

TAINT = Taint(key="dedicated", value="batch", effect="NoSchedule")
WEAR = Taint(key="wear", value="5", effect="NoSchedule")
GPU = "example.com/gpu"
ATTACHED = "attachable-volumes-csi-csi.example"
NAMESPACES = {
    "default": {"kubernetes.io/metadata.name": "default", "team": "red"},
    "shop": {"kubernetes.io/metadata.name": "shop", "team": "blue"},
}
ZONES = ("a", "b")
DOMAINS = (names.HOST, names.HOSTNAME, names.ZONE)


def requirement(key: str, operator: str, *values: str) -> SelectorRequirement:
    return SelectorRequirement(key=key, operator=operator, values=list(values))


def nodes_where(*requirements: SelectorRequirement) -> NodeSelector:
    return NodeSelector(node_selector_terms=[NodeSelectorTerm(match_expressions=[*requirements])])


def is_app(app: str) -> LabelSelector:
    return LabelSelector(match_labels={"app": app})


@st.composite
def terms(draw: st.DrawFn, app: str, *keys: str) -> PodAffinityTerm:
    """A term about pods of one app: of the own namespace, of some, or of some by their labels."""
    where = draw(st.sampled_from(["own", "own", "named", "selected", "all"]))
    fields: dict[str, Any] = {}
    if where == "named":
        fields["namespaces"] = [draw(st.sampled_from(sorted(NAMESPACES)))]
    elif where == "selected":
        fields["namespace_selector"] = LabelSelector(match_labels={"team": "blue"})
    elif where == "all":
        fields["namespace_selector"] = LabelSelector()
    return PodAffinityTerm(
        topology_key=draw(st.sampled_from(keys or DOMAINS)), label_selector=is_app(app), **fields
    )


@st.composite
def rules(draw: st.DrawFn, app: str) -> dict[str, Any]:
    """Fields of one rule of a pod."""
    other = draw(st.sampled_from(["a", "b"]))
    match draw(st.sampled_from(RULES)):
        case "host":
            return {"spread": (w.spread(names.HOST, app),)}
        case "vm":
            return {"spread": (w.spread(names.HOSTNAME, app, max_skew=2),)}
        case "zone":
            policies = st.sampled_from(["Honor", "Ignore"])
            constraint = w.spread(
                names.ZONE,
                app,
                min_domains=draw(st.sampled_from([None, 1, 2])),
                node_affinity_policy=draw(policies),
                node_taints_policy=draw(policies),
            )
            return {"spread": (constraint,)}
        case "apart":
            return {"anti_affinity": (draw(terms(app, names.HOST, names.HOSTNAME)),)}
        case "apart from others":
            return {"anti_affinity": (draw(terms(other)),)}
        case "near":
            return {"affinity": (draw(terms(app)),)}
        case "near others":
            return {"affinity": (draw(terms(other)),)}
        case "selector":
            return {"node_selector": {names.POOL: draw(st.sampled_from(["web", "batch"]))}}
        case "affinity":
            requirements = [
                requirement(names.POOL, draw(st.sampled_from(["In", "NotIn"])), "web"),
                requirement("generation", draw(st.sampled_from(["Gt", "Lt"])), "3"),
                requirement("generation", draw(st.sampled_from(["Exists", "DoesNotExist"]))),
            ]
            return {"node_affinity": nodes_where(draw(st.sampled_from(requirements)))}
        case "port":
            address = draw(st.sampled_from(["0.0.0.0", "127.0.0.1", "127.0.0.2"]))
            return {"host_ports": ((address, draw(st.sampled_from(["TCP", "UDP"])), 80),)}
        case "volume":
            zone = draw(st.sampled_from(ZONES))
            return {"volume_nodes": (nodes_where(requirement(names.ZONE, "In", zone)),)}
        case "attached":
            return {"extended": {ATTACHED: draw(st.integers(1, 2))}}
        case "gpu":
            return {"extended": {GPU: 1}}
        case "runtime":
            return {"runtime_class": draw(st.sampled_from(["runc", "kata"]))}
        case "wear":
            bound = draw(st.sampled_from(["4", "5", "6"]))
            operator = draw(st.sampled_from(["Gt", "Lt"]))
            return {"tolerations": (Toleration(key="wear", operator=operator, value=bound),)}
        case "wishes":
            zone = NodeSelectorTerm(match_expressions=[requirement(names.ZONE, "In", "b")])
            wish = WeightedPodAffinityTerm(weight=50, pod_affinity_term=draw(terms(other)))
            return {
                "preferred_nodes": (PreferredNodes(weight=10, preference=zone),),
                draw(st.sampled_from(["preferred_affinity", "preferred_anti_affinity"])): (wish,),
                "preferred_spread": (w.spread(names.ZONE, app),),
            }
        case "blocked":
            return {"blocked": "pod has unbound immediate PersistentVolumeClaims"}
        case "unknown":
            return {"not_modelled": ("scheduler mine",)}
    return {}


RULES = (
    *("host", "vm", "zone", "apart", "apart from others", "near", "near others"),
    *("selector", "affinity", "port", "volume", "attached", "gpu", "runtime", "wear", "wishes"),
    *("blocked", "unknown"),
)


@st.composite
def shapes(draw: st.DrawFn, *, priorities: tuple[int, ...] = (0,)) -> PodShape:
    app = draw(st.sampled_from(["a", "b"]))
    fields: dict[str, Any] = {}
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 1, 2]))):
        fields |= draw(rules(app))
    if draw(st.booleans()):
        dedicated = Toleration(key="dedicated", operator="Exists")
        fields["tolerations"] = (dedicated, *fields.get("tolerations", ()))
    if draw(st.booleans()):
        fields["extended"] = {names.BERTHS: 1, **fields.get("extended", {})}
    return w.shape(
        draw(st.sampled_from([0, 100, 500, 1500, 3000])),
        draw(st.sampled_from([0, 256, 1024, 6144])),
        app=app,
        namespace=draw(st.sampled_from(["default", "default", "shop"])),
        priority=draw(st.sampled_from(priorities)),
        preempts=draw(st.sampled_from([True, True, False])),
        **fields,
    )


@st.composite
def pools(draw: st.DrawFn) -> tuple[Pool, ...]:
    least = draw(st.integers(0, 2))
    most = draw(st.integers(max(1, least), 5))
    size: dict[str, Any] = {
        "cpu": {"min": 2, "max": 8, "step": 2},
        "memory": {"min": "4Gi", "max": "32Gi", "step": "4Gi"},
    }
    if draw(st.sampled_from([False, False, True])):
        size["memoryPerCPU"] = "4Gi"
    pods = {"min": 2, "max": draw(st.sampled_from([4, 110]))}
    if draw(st.sampled_from([False, False, True])):
        pods["perCPU"] = 2
    web = w.pool(
        "web",
        nodes={"min": least, "max": most},
        survive={"hosts": draw(st.integers(0, 1)) if most > 1 else 0},
        size=size,
        density={
            "pods": pods,
            "loadLinePercent": draw(st.sampled_from([70, 100])),
            "reserved": {"cpu": "100m", "memory": "128Mi"},
        },
        disruption={"consolidateAfter": "1m"},
        template={"labels": {"generation": "4"}, "runtimeClasses": ["runc"]},
    )
    web = w.replace(web, attach_limits=draw(st.sampled_from([{}, {ATTACHED: 3}])))
    if not draw(st.booleans()):
        return (web,)
    taints = [{"key": TAINT.key, "value": TAINT.value, "effect": TAINT.effect}]
    return (w.pool("batch", template={"taints": taints}), web)


@st.composite
def vms(draw: st.DrawFn, hosts: tuple[Host, ...], web: Pool) -> tuple[Vm, ...]:
    """Smallest VMs of a pool, one after the other on its hosts."""
    result = []
    for number in range(draw(st.integers(0, min(3, web.spec.nodes.max)))):
        home = hosts[number % len(hosts)]
        vm = w.vm(
            f"web-{number + 1}",
            home.name,
            2,
            8,
            of=web,
            zone=home.zone,
            taints=draw(st.sampled_from([(), (), (), (WEAR,)])),
            ready=home.state == "Up",
            lost=home.state == "Down",
            retiring=draw(st.sampled_from([False, False, False, True])),
        )
        extended = {
            **web.attach_limits,
            **draw(st.sampled_from([{}, {}, {GPU: 2}])),
        }
        allocatable = w.replace(vm.allocatable, extended=extended)
        pods = web.spec.density.pods
        most = pods.max if pods.per_cpu is None else min(pods.max, 2 * pods.per_cpu)
        result.append(w.replace(vm, allocatable=allocatable, max_pods=most))
    return tuple(result)


@st.composite
def worlds(draw: st.DrawFn, *, priorities: tuple[int, ...] = (0,)) -> Snapshot:
    """Worlds that a scheduler could have made: bound pods fit where they are bound."""
    hosts = tuple(
        w.host(
            f"h{number}",
            draw(st.sampled_from([8, 16])),
            64,
            zone=ZONES[number % len(ZONES)],
            state=draw(st.sampled_from(["Up", "Up", "Up", "Down"])),
        )
        for number in range(draw(st.integers(1, 3)))
    )
    rack = w.hypervisor(
        *hosts,
        ready=draw(st.sampled_from([True, True, True, False])),
        capabilities=w.EVERYTHING.model_copy(
            update={
                "high_availability": draw(st.booleans()),
                "hot_remove": draw(st.booleans()),
            }
        ),
    )
    owners = draw(pools())
    web = owners[-1]
    there = draw(vms(hosts, web))
    pods: list[Pod] = []
    for number in range(draw(st.integers(0, 12))):
        kind = draw(shapes(priorities=priorities))
        held = draw(st.sampled_from(["", "", "", "do-not-disrupt"]))
        gated = draw(st.sampled_from([False, False, False, False, True]))
        nominated = draw(st.sampled_from([None] * 9 + [v.name for v in there][:1]))
        pod = w.pod(f"p{number:02}", kind, None, held=held, gated=gated, nominated=nominated)
        pods.append(w.replace(pod, namespace=kind.namespace))
    world = Snapshot(
        hypervisors=(rack,),
        pools=owners,
        vms=there,
        pods=tuple(sorted(pods, key=lambda pod: pod.key)),
        namespaces=NAMESPACES,
    )
    # Let some of the pods run where the plan itself would put them: a consistent start.
    first = plan(world, w.NOW)
    line = web.spec.density.load_line_percent
    room = {
        v.name: [v.allocatable.cpu * line // 100, v.allocatable.memory * line // 100] for v in there
    }

    def bind(pod: Pod) -> Pod:
        left = room.get(first.placements.get(pod.key, ""))
        requests = pod.shape.requests
        if left is None or left[0] < requests.cpu or left[1] < requests.memory:
            return pod
        left[0] -= requests.cpu
        left[1] -= requests.memory
        return w.replace(pod, node=first.placements[pod.key], nominated=None, ready=True)

    bound = tuple(
        bind(p)
        if not (p.shape.spread or p.shape.anti_affinity or p.shape.affinity) and draw(st.booleans())
        else p
        for p in world.pods
    )
    berths = {
        v.name: max(
            v.berths or 0,
            sum(p.shape.requests.extended.get(names.BERTHS, 0) for p in bound if p.node == v.name),
        )
        for v in there
    }
    fits = tuple(w.replace(v, berths=berths[v.name]) for v in there)
    return w.replace(world, pods=bound, vms=fits)
