"""From objects to the snapshot: hosts, VMs with nodes, pools, workloads, budgets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from plimsoll.api import labels as names
from plimsoll.api.validate import validate
from plimsoll.api.vmnode import Phase
from plimsoll.world import wire
from plimsoll.world.assemble import assemble
from plimsoll.world.objects import Objects, Observations
from plimsoll.world.owners import Index, workload_of
from plimsoll.world.snapshot import Demand, Host, Pool, Resources, Snapshot, Vm, Workload

GIB = 1024**3
NOW = 1_800_000_000.0
EARLY, LATE = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def own(kind: str, name: str, spec: dict[str, Any], **rest: Any) -> Any:
    """An object of one of our kinds; ``meta`` and ``status`` come on top."""
    metadata = {"name": name, "uid": f"uid-{name}", **rest.pop("meta", {})}
    return validate(
        {
            "apiVersion": "plimsoll.dev/v1alpha1",
            "kind": kind,
            "metadata": metadata,
            "spec": spec,
            **rest,
        }
    )


def hypervisor(name: str = "rack", **rest: Any) -> Any:
    hosts = [
        {"name": "b", "cpu": 16, "memory": "64Gi", "zone": "east"},
        {"name": "a", "cpu": 8, "memory": "32Gi", "state": "Down"},
    ]
    spec = {"provider": "simulated", "simulated": {"hosts": hosts}} | rest.pop("spec", {})
    return own("Hypervisor", name, spec, **rest)


def pool(name: str = "web", **rest: Any) -> Any:
    spec = {
        "hypervisor": "rack",
        "nodes": {"max": 5},
        "size": {"cpu": {"min": 2, "max": 8}, "memory": {"min": "4Gi", "max": "16Gi"}},
        **rest.pop("spec", {}),
    }
    return own("VMPool", name, spec, **rest)


def vmnode(name: str = "web-1", status: dict[str, Any] | None = None, **rest: Any) -> Any:
    spec = {
        "pool": "web",
        "hypervisor": "rack",
        "host": "b",
        "size": {"cpu": 4, "memory": "8Gi"},
        "template": {"labels": {"tier": "web"}, "taints": [{"key": "t", "effect": "NoSchedule"}]},
        **rest.pop("spec", {}),
    }
    return own("VMNode", name, spec, status=status, **rest)


def workload(name: str = "shop", **rest: Any) -> Any:
    spec = {
        "targetRef": {"kind": "Deployment", "name": "httpd"},
        "scaleOut": {"max": 9},
        **rest.pop("spec", {}),
    }
    rest["meta"] = {"namespace": "default", **rest.get("meta", {})}
    return own("ContainerWorkload", name, spec, **rest)


def node(name: str = "web-1", **fields: Any) -> wire.Node:
    metadata = {"name": name, "labels": {"own": "label"}} | fields.pop("metadata", {})
    status = {
        "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
        "allocatable": {"cpu": "3700m", "memory": "7Gi", "pods": "110", names.BERTHS: "3"},
    } | fields.pop("status", {})
    return msgspec.convert(
        {"metadata": metadata, "status": status, "spec": fields.pop("spec", {})}, wire.Node
    )


def deployment(name: str = "httpd", **fields: Any) -> wire.Controller:
    containers = [
        {"name": "proxy", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}},
        {"name": "app", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}},
    ]
    document = {
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"} | fields.pop("metadata", {}),
        "spec": {
            "replicas": 3,
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}},
        }
        | fields,
    }
    return msgspec.convert(document, wire.Controller)


def pod(name: str, node: str = "", **fields: Any) -> wire.Pod:
    metadata = {"name": name, "namespace": "default"} | fields.pop("metadata", {})
    return msgspec.convert({"metadata": metadata, "spec": {"nodeName": node}, **fields}, wire.Pod)


def snapshot(observations: Observations | None = None, **objects: Any) -> Snapshot:
    return assemble(Objects(**objects), observations or Observations(), NOW)


def only_vm(vmnodes: tuple[Any, ...] = (), nodes: tuple[Any, ...] = (), **rest: Any) -> Vm:
    rest.setdefault("hypervisors", (hypervisor(),))
    (found,) = snapshot(vmnodes=vmnodes, nodes=nodes, **rest).vms
    return found


def only_pool(subject: Any, **rest: Any) -> Pool:
    (found,) = snapshot(pools=(subject,), **rest).pools
    return found


def only_workload(subject: Any, **rest: Any) -> Workload:
    (found,) = snapshot(workloads=(subject,), **rest).workloads
    return found


# The whole


def test_the_order_of_objects_does_not_matter() -> None:
    objects = {
        "hypervisors": (hypervisor("rack"), hypervisor("other")),
        "pools": (pool("web"), pool("batch")),
        "vmnodes": (vmnode("web-1"), vmnode("web-2")),
        "nodes": (node("web-2"), node("foreign")),
        "pods": (pod("b", "web-2"), pod("a"), pod("c", "nowhere")),
        "workloads": (
            workload("x"),
            workload("y", spec={"targetRef": {"kind": "Deployment", "name": "z"}}),
        ),
        "deployments": (deployment("httpd"), deployment("z")),
    }
    backwards = {name: tuple(reversed(some)) for name, some in objects.items()}
    found = snapshot(**objects)
    assert found == snapshot(**backwards)
    assert [vm.name for vm in found.vms] == ["foreign", "web-1", "web-2"]
    assert [p.name for p in found.pods] == ["a", "b", "c"]


def test_below_which_priority_pods_are_filling() -> None:
    assert assemble(Objects(), Observations(), NOW).expendable_below == -10
    assert assemble(Objects(), Observations(), NOW, expendable_below=5).expendable_below == 5


def csi_node(name: str, count: int) -> wire.CSINode:
    driver = {"name": "csi.example", "nodeID": name, "allocatable": {"count": count}}
    return msgspec.convert(
        {"metadata": {"name": name}, "spec": {"drivers": [driver]}}, wire.CSINode
    )


ATTACHED = "attachable-volumes-csi-csi.example"


def test_how_many_volumes_a_vm_can_attach() -> None:
    old = node("foreign", status={"allocatable": {"cpu": "1", ATTACHED: "99"}})
    found = snapshot(
        pools=(pool("web"), pool("batch")),
        vmnodes=(vmnode("web-1"), vmnode("web-2"), vmnode("web-3")),
        nodes=(node("web-1"), node("web-2"), old),
        csi_nodes=(csi_node("web-1", 9), csi_node("web-2", 7)),
    )
    assert {p.name: p.attach_limits for p in found.pools} == {"batch": {}, "web": {ATTACHED: 7}}
    assert {vm.name: vm.allocatable.extended.get(ATTACHED) for vm in found.vms} == {
        # What a kubelet says of itself does not count.
        "foreign": None,
        "web-1": 9,
        "web-2": 7,
        # Without a node yet: as many as the least of its pool.
        "web-3": 7,
    }


def test_local_volumes_that_are_free_stand_on_their_node() -> None:
    storage_class = msgspec.convert(
        {
            "metadata": {"name": "local"},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
        wire.StorageClass,
    )
    requirement = {"key": names.HOSTNAME, "operator": "In", "values": ["one"]}
    volume = msgspec.convert(
        {
            "metadata": {"name": "pv"},
            "spec": {
                "storageClassName": "local",
                "capacity": {"storage": "1Gi"},
                "nodeAffinity": {
                    "required": {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}
                },
            },
            "status": {"phase": "Available"},
        },
        wire.PersistentVolume,
    )
    claim = msgspec.convert(
        {
            "metadata": {"name": "data", "namespace": "default"},
            "spec": {"storageClassName": "local"},
            "status": {"phase": "Pending"},
        },
        wire.PersistentVolumeClaim,
    )
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    found = snapshot(
        nodes=(
            node("one", metadata={"labels": {names.HOSTNAME: "one"}}),
            node("two", metadata={"labels": {names.HOSTNAME: "two"}}),
        ),
        pods=(pod("p", spec={"volumes": volumes}),),
        claims=(claim,),
        volumes=(volume,),
        storage_classes=(storage_class,),
    )
    ((resource, amount),) = found.pods[0].shape.requests.extended.items()
    assert amount == 1
    assert [vm.allocatable.extended.get(resource) for vm in found.vms] == [1, None]


def test_the_claims_of_a_statefulset_are_part_of_its_next_replica() -> None:
    storage_class = msgspec.convert(
        {
            "metadata": {"name": "fast"},
            "provisioner": "csi.example",
            "volumeBindingMode": "Immediate",
        },
        wire.StorageClass,
    )
    claims = [{"metadata": {"name": "data"}, "spec": {"storageClassName": "fast"}}]
    stateful = msgspec.structs.replace(
        deployment("db", volumeClaimTemplates=claims), kind="StatefulSet"
    )
    found = only_workload(
        workload(spec={"targetRef": {"kind": "StatefulSet", "name": "db"}}),
        statefulsets=(stateful,),
        storage_classes=(storage_class,),
    )
    assert found.template is not None
    assert found.template.blocked == ""
    assert found.template.requests.extended == {ATTACHED: 1}


def test_finished_pods_take_no_part() -> None:
    pods = (
        pod("done", "web-1", status={"phase": "Succeeded"}),
        pod("dead", "web-1", status={"phase": "Failed"}),
        pod("alive", "web-1", status={"phase": "Running"}),
    )
    assert [p.name for p in snapshot(pods=pods).pods] == ["alive"]


def test_every_namespace_has_its_name_as_a_label() -> None:
    namespaces = (wire.Namespace(metadata=wire.Meta(name="shop", labels={"team": "a"})),)
    found = snapshot(namespaces=namespaces, pods=(pod("p"),)).namespaces
    assert found == {
        "default": {"kubernetes.io/metadata.name": "default"},
        "shop": {"team": "a", "kubernetes.io/metadata.name": "shop"},
    }


@pytest.mark.parametrize(
    ("status", "allowed"),
    [
        ({"disruptionsAllowed": 2, "observedGeneration": 3}, 2),
        ({"disruptionsAllowed": 2, "observedGeneration": 2}, 0),
        (None, 0),
    ],
)
def test_a_budget_allows_what_its_status_says_of_the_present_spec(
    status: dict[str, Any] | None, allowed: int
) -> None:
    document = {"metadata": {"name": "b", "generation": 3}, "spec": {}, "status": status}
    budgets = (msgspec.convert(document, wire.PodDisruptionBudget),)
    assert snapshot(budgets=budgets).budgets[0].allowed == allowed


# Hypervisors and hosts


def hosts(subject: Any, **rest: Any) -> dict[str, Host]:
    (found,) = snapshot(hypervisors=(subject,), **rest).hypervisors
    return {host.name: host for host in found.hosts or ()}


def test_before_the_first_inventory_simulated_hosts_are_known_from_the_spec() -> None:
    found = hosts(hypervisor(spec={"cpuOvercommitPercent": 150}))
    assert list(found) == ["a", "b"]
    assert (found["b"].cpu, found["b"].memory, found["b"].zone) == (24_000, 64 * GIB, "east")
    assert found["a"].state == "Down"


def inventory(**host: Any) -> dict[str, Any]:
    listed = {"name": "b", "state": "Up", "cpu": "16", "memory": "64Gi", **host}
    return {"lastInventory": EARLY, "hosts": [listed]}


def vm_status(phase: str = "Ready", **rest: Any) -> dict[str, Any]:
    size = {"cpu": 4, "memory": "8Gi"}
    return {"phase": phase, "identity": {"uuid": "u"}, "host": "b", "size": size, **rest}


@pytest.mark.parametrize(
    ("status", "others"),
    [
        (vm_status(), 6000),
        # What it has now counts, not what it is wished to have.
        (vm_status(size={"cpu": 2, "memory": "8Gi"}), 8000),
        (vm_status("Booting", phaseSince=LATE), 10_000),
        (vm_status("Booting", phaseSince=EARLY), 6000),
        ({"phase": "Requested"}, 10_000),
        (vm_status(host="elsewhere"), 10_000),
    ],
    ids=["ours", "being resized", "newer than the inventory", "older", "not made", "moved"],
)
def test_use_of_others_is_what_is_used_without_our_vms(status: dict[str, Any], others: int) -> None:
    subject = hypervisor(status=inventory(cpuUsed="10", memoryUsed="20Gi"))
    assert hosts(subject, vmnodes=(vmnode(status=status),))["b"].cpu_other == others


def test_use_of_others_is_never_negative() -> None:
    subject = hypervisor(status=inventory(cpuUsed="1", memoryUsed="1Gi"))
    found = hosts(subject, vmnodes=(vmnode(status=vm_status()),))["b"]
    assert (found.cpu_other, found.memory_other) == (0, 0)


def test_launches_on_a_host_are_held_back() -> None:
    observations = Observations(launch_blocked_until={"rack/b": 5.0, "web": 6.0})
    found = snapshot(observations, hypervisors=(hypervisor(),), pools=(pool(),))
    assert [h.launch_blocked_until for h in found.hypervisors[0].hosts or ()] == [0.0, 5.0]
    assert found.pools[0].launch_blocked_until == 6.0


@pytest.mark.parametrize(
    ("status", "ready"),
    [
        (None, True),
        ({"conditions": []}, True),
        ("True", True),
        ("False", False),
        ("Unknown", False),
    ],
)
def test_a_hypervisor_is_ready_unless_it_says_otherwise(status: Any, ready: bool) -> None:
    if isinstance(status, str):
        condition = {"type": "Ready", "reason": "R", "lastTransitionTime": EARLY, "status": status}
        status = {"conditions": [condition]}
    assert snapshot(hypervisors=(hypervisor(status=status),)).hypervisors[0].ready is ready


def test_files_without_any_hypervisor_leave_hosts_unbounded() -> None:
    found = snapshot(pools=(pool(),), hypervisors_known=False)
    assert [(h.name, h.hosts) for h in found.hypervisors] == [("rack", None)]
    assert found.pools[0].problem == ""


# Pools


def test_a_pool_of_no_hypervisor_has_a_problem_until_it_arrives() -> None:
    lone = only_pool(pool(), hypervisors=(hypervisor("other"),))
    assert lone.problem == "there is no Hypervisor rack: create it, or correct spec.hypervisor"
    assert only_pool(pool(), hypervisors=(hypervisor("rack"),)).problem == ""


@pytest.mark.parametrize(
    ("problems", "expected"),
    [({"VMPool/web": "of the pool"}, "of the pool"), ({"Hypervisor/rack": "its"}, "its")],
)
def test_problems_that_were_observed_are_told(problems: dict[str, str], expected: str) -> None:
    observed = Observations(problems=problems)
    (found,) = snapshot(observed, hypervisors=(hypervisor(),), pools=(pool(),)).pools
    assert found.problem == expected


def test_a_pool_whose_hypervisor_is_being_deleted_is_not_served() -> None:
    going = hypervisor(meta={"deletionTimestamp": EARLY})
    assert only_pool(pool(), hypervisors=(going,)).problem == "Hypervisor rack is being deleted"
    assert only_pool(pool(meta={"deletionTimestamp": EARLY})).deleting


def test_daemonsets_are_expected_on_new_vms_with_the_tolerations_of_their_controller() -> None:
    daemonset = msgspec.structs.replace(deployment("agent"), kind="DaemonSet")
    going = deployment("gone", metadata={"name": "gone", "deletionTimestamp": EARLY})
    (shape,) = only_pool(pool(), daemonsets=(daemonset, going)).daemons
    assert shape.requests.cpu == 1100
    assert {t.key for t in shape.tolerations} >= {
        "node.kubernetes.io/unschedulable",
        "node.kubernetes.io/not-ready",
    }


# VMs


def test_a_vm_before_its_node_has_computed_room_and_the_labels_it_will_have() -> None:
    found = only_vm((vmnode(),))
    assert (found.phase, found.ready, found.resized) == (Phase.REQUESTED, False, True)
    assert found.allocatable == Resources(cpu=3800, memory=8 * GIB - GIB // 2)
    assert (found.cpu, found.memory, found.berths, found.max_pods) == (4000, 8 * GIB, 20, 110)
    assert found.labels == {
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": "web-1",
        "plimsoll.dev/pool": "web",
        "plimsoll.dev/hypervisor": "rack",
        "plimsoll.dev/host": "b",
        "topology.kubernetes.io/zone": "east",
        "tier": "web",
    }
    assert [t.key for t in found.taints] == ["t"]
    assert (found.host, found.zone) == ("b", "east")


def test_a_vm_with_its_node_is_as_the_node_says() -> None:
    unready = {"conditions": [{"type": "Ready", "status": "False"}]}
    found = only_vm(
        (vmnode(status=vm_status()),),
        (
            node(
                spec={"unschedulable": True, "taints": [{"key": "x", "effect": "NoExecute"}]},
                status=unready,
            ),
        ),
    )
    assert found.allocatable == Resources(cpu=3700, memory=7 * GIB)
    assert found.labels == {"own": "label", names.HOST: "b"}
    assert [t.key for t in found.taints] == ["x"]
    assert (found.ready, found.schedulable, found.berths) == (False, False, 20)


def test_while_a_vm_grows_its_room_is_that_of_the_wanted_size() -> None:
    wanted = {"size": {"cpu": 8, "memory": "16Gi"}}
    found = only_vm((vmnode(status=vm_status(), spec=wanted),), (node(),))
    assert not found.resized
    assert found.allocatable == Resources(cpu=7800, memory=16 * GIB - GIB // 2)


def test_a_node_of_the_same_name_that_is_another_machine_is_not_the_vms() -> None:
    other = node(status={"nodeInfo": {"systemUUID": "other"}})
    found = only_vm((vmnode(status=vm_status("Joining")),), (other,))
    assert not found.ready
    assert found.allocatable.cpu == 3800
    same = node(status={"nodeInfo": {"systemUUID": "U"}})
    assert only_vm((vmnode(status=vm_status()),), (same,)).ready


def test_the_host_label_follows_the_vm_that_was_restarted_elsewhere() -> None:
    moved = node(metadata={"name": "web-1", "labels": {names.HOST: "a"}})
    found = only_vm((vmnode(status=vm_status(host="b")),), (moved,))
    assert (found.host, found.labels[names.HOST]) == ("b", "b")


@pytest.mark.parametrize(
    ("changes", "retiring", "lost"),
    [
        ({}, False, False),
        ({"spec": {"retire": {"reason": "r", "since": EARLY}}}, True, False),
        ({"meta": {"deletionTimestamp": EARLY}}, True, False),
        ({"status": vm_status(lostSince=EARLY)}, False, True),
        ({"status": vm_status(host="a")}, False, True),
    ],
    ids=["serving", "retired", "deleted", "lost", "its host is down"],
)
def test_vms_on_their_way_out(changes: dict[str, Any], retiring: bool, lost: bool) -> None:
    found = only_vm((vmnode(**changes),))
    assert (found.retiring, found.lost) == (retiring, lost)


@pytest.mark.parametrize(
    "annotation",
    ["plimsoll.dev/do-not-disrupt", "cluster-autoscaler.kubernetes.io/scale-down-disabled"],
)
def test_an_annotation_on_node_or_vmnode_holds_the_vm(annotation: str) -> None:
    annotations = {"annotations": {annotation: "true"}}
    held = f"annotation {annotation}: true"
    assert only_vm((vmnode(meta=annotations),)).held == held
    marked = node(metadata={"name": "web-1", **annotations})
    assert only_vm((vmnode(),), (marked,)).held == held


def refusal(reason: str) -> dict[str, Any]:
    condition = {
        "type": "Resized",
        "status": "False",
        "reason": reason,
        "message": "why",
        # 2027-01-15T07:50:00Z is ten minutes before NOW.
        "lastTransitionTime": "2027-01-15T07:50:00Z",
    }
    return vm_status(conditions=[condition])


@pytest.mark.parametrize(
    ("reason", "later", "refused"),
    [
        ("NoCapacity", -1.0, "why"),
        ("NoCapacity", 0.0, ""),
        ("NotSupported", 86_400.0, "why"),
    ],
)
def test_a_refused_size_is_not_asked_for_again_soon(
    reason: str, later: float, refused: str
) -> None:
    objects = Objects(vmnodes=(vmnode(status=refusal(reason)),))
    (found,) = assemble(objects, Observations(), NOW + later).vms
    assert found.hot_add_refused == refused


def test_a_node_of_somebody_elses_counts_as_it_is() -> None:
    found = only_vm(nodes=(node("old", status={"allocatable": {}}),))
    assert (found.pool, found.hypervisor, found.berths) == (None, "", None)
    # The API server takes capacity for allocatable where none is given.
    assert found.allocatable == Resources(cpu=4000, memory=8 * GIB)
    assert (found.cpu, found.max_pods, found.ready) == (4000, 110, True)


def test_what_time_showed_of_a_vm() -> None:
    observed = Observations(node_usage={"web-1": Resources(cpu=5)}, quiet_since={"web-1": 7.0})
    (found,) = snapshot(observed, vmnodes=(vmnode(),)).vms
    assert (found.usage, found.quiet_since) == (Resources(cpu=5), 7.0)


def test_without_observation_a_vm_is_quiet_since_its_newest_pod() -> None:
    pods = (
        pod("p", "web-1", metadata={"name": "p", "creationTimestamp": "1970-01-01T00:01:00Z"}),
        pod("q", "web-1", metadata={"name": "q", "creationTimestamp": "1970-01-01T00:02:00Z"}),
    )
    assert only_vm((vmnode(),), pods=pods).quiet_since == 120.0


# Workloads and their pods


SCALE_UP = {
    "cpu": {"min": "1", "max": "2"},
    "memory": {"min": "1Gi", "max": "2Gi"},
    "container": "app",
}


def test_a_workload_has_the_template_and_size_of_its_target() -> None:
    found = only_workload(workload(spec={"scaleUp": SCALE_UP}), deployments=(deployment(),))
    assert (found.key, found.target, found.replicas) == ("default/shop", "Deployment/httpd", 3)
    assert found.template is not None
    assert found.template.requests == Resources(cpu=1100, memory=GIB + 64 * 1024**2)
    assert found.template_size == Resources(cpu=1000, memory=GIB)
    assert found.overhead == Resources(cpu=100, memory=64 * 1024**2)
    assert found.problem == ""


def test_replicas_that_are_not_stated_are_one() -> None:
    subject = workload(spec={"targetRef": {"kind": "StatefulSet", "name": "httpd"}})
    stateful = msgspec.structs.replace(deployment(replicas=None), kind="StatefulSet")
    found = only_workload(subject, statefulsets=(stateful,), deployments=(deployment(),))
    assert (found.target, found.replicas) == ("StatefulSet/httpd", 1)


PROBLEMS: dict[str, tuple[Any, Any, str]] = {
    "no target": (
        workload(),
        None,
        "there is no Deployment default/httpd: create it, or correct spec.targetRef",
    ),
    "target of another kind": (
        workload(spec={"targetRef": {"kind": "StatefulSet", "name": "httpd"}}),
        deployment(),
        "there is no StatefulSet default/httpd: create it, or correct spec.targetRef",
    ),
    "target on its way out": (
        workload(),
        deployment(metadata={"name": "httpd", "deletionTimestamp": EARLY}),
        "Deployment default/httpd is being deleted",
    ),
    "no such container": (
        workload(spec={"scaleUp": {**SCALE_UP, "container": "web"}}),
        deployment(),
        "Deployment default/httpd has no container 'web' (proxy, app): correct "
        "spec.scaleUp.container",
    ),
    "somebody else's Deployment": (
        workload(
            "httpd", spec={"targetRef": None, "template": {"spec": {"containers": [{"name": "c"}]}}}
        ),
        deployment(),
        "Deployment default/httpd exists and was not made from spec.template: delete it, or name "
        "it in spec.targetRef instead of giving a template",
    ),
}


@pytest.mark.parametrize(("subject", "target", "problem"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_why_a_workload_cannot_be_steered(subject: Any, target: Any, problem: str) -> None:
    deployments = (target,) if target is not None else ()
    assert only_workload(subject, deployments=deployments).problem == problem


def test_of_two_workloads_with_one_target_the_older_keeps_it() -> None:
    young = workload("a", meta={"creationTimestamp": LATE})
    old = workload("b", meta={"creationTimestamp": EARLY})
    found = snapshot(workloads=(young, old), deployments=(deployment(),)).workloads
    assert {w.name: w.problem for w in found} == {
        "a": "Deployment default/httpd already belongs to ContainerWorkload default/b, which is "
        "older: delete one of the two",
        "b": "",
    }


def test_of_two_workloads_made_at_once_the_first_by_name_keeps_the_target() -> None:
    found = snapshot(workloads=(workload("b"), workload("a")), deployments=(deployment(),))
    assert [bool(w.problem) for w in found.workloads] == [False, True]


@pytest.mark.parametrize(("age", "known"), [(60.0, True), (600.0, False)])
def test_a_demand_that_was_measured_too_long_ago_is_not_known(age: float, known: bool) -> None:
    demand = Demand(cpu=1, memory=1, at=NOW - age, peak_cpu=1, peak_memory=1)
    observed = Observations(demands={"default/shop": demand})
    (found,) = snapshot(observed, workloads=(workload(),), deployments=(deployment(),)).workloads
    assert (found.demand is not None) is known


def owned(kind: str, name: str, **labels: str) -> wire.Pod:
    reference = {"kind": kind, "name": name, "controller": True}
    return pod("p", metadata={"name": "p", "labels": labels, "ownerReferences": [reference]})


REPLICASET = deployment(
    "httpd-77",
    metadata={
        "name": "httpd-77",
        "ownerReferences": [{"kind": "Deployment", "name": "httpd", "controller": True}],
    },
)


@pytest.mark.parametrize(
    ("subject", "owner"),
    [
        (owned("ReplicaSet", "httpd-77"), "default/shop"),
        (owned("ReplicaSet", "httpd-99", **{"pod-template-hash": "99"}), "default/shop"),
        (owned("ReplicaSet", "httpd-99"), None),
        (owned("Deployment", "httpd"), "default/shop"),
        (owned("StatefulSet", "httpd"), None),
        (owned("Job", "httpd"), None),
        (pod("bare"), None),
        (
            pod("marked", metadata={"name": "m", "labels": {names.WORKLOAD: "httpd"}}),
            "default/shop",
        ),
    ],
    ids=[
        "through its ReplicaSet",
        "by its hash",
        "no hash",
        "direct",
        "other kind",
        "job",
        "bare",
        "by label",
    ],
)
def test_the_workload_of_a_pod(subject: wire.Pod, owner: str | None) -> None:
    index = Index(Objects(workloads=(workload(),), replicasets=(REPLICASET,)))
    assert workload_of(subject, index) == owner


def test_the_next_replica_carries_the_hash_of_the_revision_that_runs() -> None:
    template = deployment().spec.template
    labels = {**template.metadata.labels, "pod-template-hash": "77"}
    hashed = msgspec.structs.replace(
        template, metadata=msgspec.structs.replace(template.metadata, labels=labels)
    )
    spec = msgspec.structs.replace(REPLICASET.spec, template=hashed)
    replicaset = msgspec.structs.replace(REPLICASET, spec=spec)
    found = only_workload(workload(), deployments=(deployment(),), replicasets=(replicaset,))
    assert found.template is not None
    assert found.template.labels == labels
