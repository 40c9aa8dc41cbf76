"""Shapes of pods: effective requests, what admission adds, and what holds a pod in place."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from plimsoll.world import wire
from plimsoll.world.pods import held, is_daemon, pod_of
from plimsoll.world.requests import effective_requests, resources
from plimsoll.world.shapes import Shapes
from plimsoll.world.snapshot import PodShape

GIB = 1024**3
MIB = 1024**2


def pod(spec: dict[str, Any], status: dict[str, Any] | None = None, **meta: Any) -> wire.Pod:
    """A pod of the default namespace from JSON."""
    metadata = {"name": "p", "namespace": "default", "labels": {"app": "web"}, **meta}
    document = {"metadata": metadata, "spec": spec, "status": status or {}}
    return msgspec.convert(document, wire.Pod)


def container(name: str = "c", restart: str | None = None, **resources: Any) -> dict[str, Any]:
    return {"name": name, "restartPolicy": restart, "resources": resources}


def requests(*amounts: str) -> dict[str, Any]:
    """Requests ``cpu, memory`` of a container."""
    return {"requests": dict(zip(("cpu", "memory"), amounts, strict=False))}


def shape(spec: dict[str, Any], shapes: Shapes | None = None, **meta: Any) -> PodShape:
    return (shapes or Shapes()).of_pod(pod(spec, **meta))


# Effective requests: the examples of the scheduler's own documentation and of KEP-753.
SUMS: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "containers add up": (
        {
            "containers": [
                container("a", **requests("2", "1G")),
                container("b", **requests("1", "1G")),
            ]
        },
        {"cpu": 3000, "memory": 2 * 10**9},
    ),
    "the largest init container counts": (
        {
            "initContainers": [
                container("i", **requests("2", "1G")),
                container("j", **requests("2", "3G")),
            ],
            "containers": [
                container("a", **requests("2", "1G")),
                container("b", **requests("1", "1G")),
            ],
        },
        {"cpu": 3000, "memory": 3 * 10**9},
    ),
    "sidecars run beside the containers": (
        {
            "initContainers": [container("proxy", "Always", **requests("500m", "64Mi"))],
            "containers": [container("a", **requests("1", "128Mi"))],
        },
        {"cpu": 1500, "memory": 192 * MIB},
    ),
    "an init container runs beside the sidecars before it": (
        {
            "initContainers": [
                container("first", **requests("4")),
                container("proxy", "Always", **requests("1")),
                container("late", **requests("3500m")),
            ],
            "containers": [container("a", **requests("1"))],
        },
        {"cpu": 4500},
    ),
    "an init container does not run beside the sidecars after it": (
        {
            "initContainers": [
                container("first", **requests("4")),
                container("proxy", "Always", **requests("1")),
            ],
            "containers": [container("a", **requests("1"))],
        },
        {"cpu": 4000},
    ),
    "a limit alone is the request": (
        {"containers": [container(requests={"cpu": "100m"}, limits={"cpu": 1, "memory": "1Gi"})]},
        {"cpu": 100, "memory": GIB},
    ),
    "no requests take nothing": ({"containers": [container()]}, {}),
    "no containers take nothing": ({"containers": []}, {}),
    "requests of the pod override the sum": (
        {
            "resources": {"requests": {"cpu": "3"}},
            "containers": [container("a", **requests("1", "1Gi")), container("b")],
        },
        {"cpu": 3000, "memory": GIB},
    ),
    "a limit of the pod counts where no container asks": (
        {
            "resources": {"limits": {"cpu": "2", "memory": "4Gi"}},
            "containers": [container(**requests("500m"))],
        },
        {"cpu": 500, "memory": 4 * GIB},
    ),
    "the pod's extended resources are not overridden": (
        {
            "resources": {"requests": {"cpu": 1, "example.com/gpu": 7}},
            "containers": [container(limits={"example.com/gpu": 1})],
        },
        {"cpu": 1000, "example.com/gpu": 1},
    ),
    "overhead comes on top of everything": (
        {
            "resources": {"requests": {"cpu": "3"}},
            "overhead": {"cpu": "250m", "memory": "120Mi"},
            "containers": [container(**requests("1"))],
        },
        {"cpu": 3250, "memory": 120 * MIB},
    ),
    "every other resource is kept": (
        {
            "containers": [
                container("a", limits={"hugepages-2Mi": "4Mi", "example.com/gpu": 1}),
                container("b", requests={"ephemeral-storage": "1Gi", "example.com/gpu": 0}),
            ]
        },
        {"hugepages-2Mi": 4 * MIB, "example.com/gpu": 1, "ephemeral-storage": GIB},
    ),
    "parts of a unit round up": (
        {"containers": [container(requests={"cpu": "0.0001", "memory": "0.5"})]},
        {"cpu": 1, "memory": 1},
    ),
}


@pytest.mark.parametrize(("spec", "expected"), SUMS.values(), ids=SUMS.keys())
def test_effective_requests_of_a_pending_pod(
    spec: dict[str, Any], expected: dict[str, int]
) -> None:
    assert shape(spec).requests == resources(expected)


def seen(name: str = "c", **status: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": name, **status}]}


INFEASIBLE = {
    "conditions": [
        {"type": "PodResizePending", "status": "True", "reason": "Infeasible", "message": "no room"}
    ]
}
IN_RESIZE: dict[str, tuple[str, dict[str, Any], int]] = {
    "nothing reported yet": ("2", {}, 2000),
    "grows: what is asked for counts at once": (
        "2",
        seen(allocatedResources={"cpu": "1"}, resources={"requests": {"cpu": "1"}}),
        2000,
    ),
    "shrinks: what is in force counts until it is given back": (
        "1",
        seen(allocatedResources={"cpu": "1"}, resources={"requests": {"cpu": "2"}}),
        2000,
    ),
    "shrinks: what is allocated counts until the kubelet agrees": (
        "1",
        seen(allocatedResources={"cpu": "2"}, resources={"requests": {"cpu": "1"}}),
        2000,
    ),
    "can never grow: what is asked for does not count": (
        "8",
        seen(allocatedResources={"cpu": "1"}, resources={"requests": {"cpu": "1"}}) | INFEASIBLE,
        1000,
    ),
}


@pytest.mark.parametrize(("wanted", "status", "cpu"), IN_RESIZE.values(), ids=IN_RESIZE.keys())
def test_a_bound_pod_takes_the_largest_of_wanted_allocated_and_actual(
    wanted: str, status: dict[str, Any], cpu: int
) -> None:
    spec = {"nodeName": "vm-1", "containers": [container(**requests(wanted))]}
    assert Shapes().of_pod(pod(spec, status)).requests.cpu == cpu


def test_a_pending_pod_takes_what_it_asks_for_whatever_its_status_says() -> None:
    spec = {"containers": [container(**requests("1"))]}
    status = seen(allocatedResources={"cpu": "2"})
    assert Shapes().of_pod(pod(spec, status)).requests.cpu == 1000


def test_pod_level_requests_follow_the_status_of_the_pod() -> None:
    parsed = pod(
        {
            "nodeName": "vm-1",
            "resources": {"requests": {"cpu": "1"}},
            "containers": [container(**requests("1"))],
        },
        {"resources": {"requests": {"cpu": "3"}}, "allocatedResources": {"cpu": "2"}},
    )
    assert effective_requests(parsed.spec, parsed.status)["cpu"] == 3000


KATA = msgspec.convert(
    {
        "metadata": {"name": "kata"},
        "handler": "kata",
        "overhead": {"podFixed": {"cpu": "250m", "memory": "120Mi"}},
        "scheduling": {
            "nodeSelector": {"runtime": "kata"},
            "tolerations": [{"key": "kata", "operator": "Exists"}],
        },
    },
    wire.RuntimeClass,
)


def test_a_runtime_class_adds_overhead_node_selector_and_tolerations() -> None:
    spec = {
        "runtimeClassName": "kata",
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "own"}],
        "containers": [container(**requests("1", "1Gi"))],
    }
    found = shape(spec, Shapes([KATA]))
    assert found.requests == resources({"cpu": 1250, "memory": GIB + 120 * MIB})
    assert found.node_selector == {"disk": "ssd", "runtime": "kata"}
    assert [t.key for t in found.tolerations] == ["own", "kata"]
    assert found.runtime_class == "kata"


def test_a_bound_pod_is_taken_as_it_was_admitted() -> None:
    spec = {
        "nodeName": "vm-1",
        "runtimeClassName": "kata",
        "overhead": {"cpu": "100m"},
        "containers": [container(**requests("1"))],
    }
    found = shape(spec, Shapes([KATA]))
    assert found.requests.cpu == 1100
    assert found.node_selector == {}


def test_a_pod_that_contradicts_its_runtime_class_is_not_placed_by_guess() -> None:
    found = shape({"runtimeClassName": "kata", "nodeSelector": {"runtime": "runc"}}, Shapes([KATA]))
    assert found.not_modelled == (
        "RuntimeClass kata selects nodes with runtime=kata, the pod those with runtime=runc",
    )


def priority_class(name: str, value: int, **fields: Any) -> wire.PriorityClass:
    return msgspec.convert(
        {"metadata": {"name": name}, "value": value, **fields}, wire.PriorityClass
    )


@pytest.mark.parametrize(
    ("spec", "priority"),
    [
        ({}, 5),
        ({"priorityClassName": "high"}, 1000),
        ({"priorityClassName": "system-node-critical"}, 2_000_001_000),
        ({"priorityClassName": "nowhere"}, 0),
        ({"priorityClassName": "high", "priority": 7}, 7),
        ({"priorityClassName": "filling"}, -50),
        ({"priority": -1}, -1),
    ],
)
def test_priority(spec: dict[str, Any], priority: int) -> None:
    classes = [
        priority_class("high", 1000),
        priority_class("filling", -50),
        priority_class("usual", 5, globalDefault=True),
        # Of several defaults the lowest counts.
        priority_class("also-usual", 6, globalDefault=True),
    ]
    assert shape(spec, Shapes(priority_classes=classes)).priority == priority


@pytest.mark.parametrize(
    ("spec", "preempts"),
    [
        ({}, True),
        ({"priorityClassName": "polite"}, False),
        ({"priorityClassName": "polite", "preemptionPolicy": "PreemptLowerPriority"}, True),
        ({"preemptionPolicy": "Never"}, False),
        ({"priorityClassName": "system-node-critical"}, True),
        ({"priorityClassName": "nowhere"}, True),
    ],
)
def test_which_pods_preempt_others(spec: dict[str, Any], preempts: bool) -> None:
    polite = priority_class("polite", 1000, preemptionPolicy="Never")
    assert shape(spec, Shapes(priority_classes=[polite])).preempts is preempts
    usual = priority_class("usual", 0, preemptionPolicy="Never", globalDefault=True)
    assert shape({}, Shapes(priority_classes=[usual])).preempts is False


@pytest.mark.parametrize(("node", "nominated"), [("", "vm-2"), ("vm-1", None)])
def test_a_pod_for_which_room_is_made(node: str, nominated: str | None) -> None:
    parsed = pod({"nodeName": node}, {"nominatedNodeName": "vm-2"})
    assert pod_of(parsed, Shapes()).nominated == nominated


def test_host_ports_of_containers_and_sidecars_count() -> None:
    found = shape(
        {
            "initContainers": [
                container("setup") | {"ports": [{"containerPort": 1, "hostPort": 1}]},
                container("proxy", "Always") | {"ports": [{"containerPort": 9, "hostPort": 9}]},
            ],
            "containers": [
                container()
                | {
                    "ports": [
                        {"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"},
                        {"containerPort": 53, "hostPort": 53, "protocol": "UDP"},
                        {"containerPort": 81},
                    ]
                }
            ],
        }
    )
    assert found.host_ports == (
        ("0.0.0.0", "TCP", 9),
        ("0.0.0.0", "UDP", 53),
        ("127.0.0.1", "TCP", 8080),
    )


def test_on_the_hosts_network_container_ports_are_host_ports() -> None:
    spec = {"hostNetwork": True, "containers": [container() | {"ports": [{"containerPort": 80}]}]}
    assert shape(spec).host_ports == (("0.0.0.0", "TCP", 80),)


def test_label_keys_become_part_of_the_selectors() -> None:
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {"app": "web"}},
        "matchLabelKeys": ["rev", "absent"],
        "mismatchLabelKeys": ["tenant"],
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {},
        "matchLabelKeys": ["rev"],
    }
    wish = {"weight": 7, "podAffinityTerm": term}
    rules = {
        "requiredDuringSchedulingIgnoredDuringExecution": [term],
        "preferredDuringSchedulingIgnoredDuringExecution": [wish],
    }
    found = shape(
        {
            "affinity": {"podAffinity": rules, "podAntiAffinity": rules},
            "topologySpreadConstraints": [
                spread,
                spread | {"whenUnsatisfiable": "ScheduleAnyway"},
                spread | {"labelSelector": None},
            ],
        },
        labels={"rev": "a", "tenant": "t"},
    )
    expected = [
        wire.SelectorRequirement(key="rev", operator="In", values=["a"]),
        wire.SelectorRequirement(key="tenant", operator="NotIn", values=["t"]),
    ]
    wishes = (*found.preferred_affinity, *found.preferred_anti_affinity)
    assert [w.weight for w in wishes] == [7, 7]
    for resolved in (
        *found.affinity,
        *found.anti_affinity,
        *(w.pod_affinity_term for w in wishes),
    ):
        assert resolved.label_selector is not None
        assert resolved.label_selector.match_expressions == expected
        assert not resolved.match_label_keys
        assert not resolved.mismatch_label_keys
    # Without a selector nothing is selected, whatever the keys.
    hard, without = found.spread
    (soft,) = found.preferred_spread
    for constraint in (hard, soft):
        assert constraint.label_selector is not None
        assert constraint.label_selector.match_expressions == expected[:1]
    assert without.label_selector is None


def test_preferred_nodes_keep_their_weights() -> None:
    preference = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}
    wish = {"weight": 3, "preference": preference}
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}
    (found,) = shape({"affinity": affinity}).preferred_nodes
    assert found.weight == 3
    assert found.preference.match_fields[0].values == ["n"]


def test_for_how_long_a_taint_is_tolerated() -> None:
    toleration = {"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}
    (found,) = shape({"tolerations": [toleration]}).tolerations
    assert found.toleration_seconds == 30


def test_label_keys_that_the_api_server_has_written_out_are_not_added_twice() -> None:
    requirement = {"key": "rev", "operator": "In", "values": ["a"]}
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchExpressions": [requirement]},
        "matchLabelKeys": ["rev"],
    }
    required = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    found = shape({"affinity": {"podAntiAffinity": required}}, labels={"rev": "a"})
    selector = found.anti_affinity[0].label_selector
    assert selector is not None
    assert len(selector.match_expressions) == 1


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"schedulerName": "mine"}, "scheduler mine"),
        ({"resourceClaims": [{"name": "gpu"}]}, "resource claims"),
        ({"containers": [container(claims=[{"name": "gpu"}])]}, "resource claims"),
        ({"schedulingGroup": {"podGroupName": "g"}}, "scheduling group"),
        ({"volumes": [{"name": "d", "awsElasticBlockStore": {"volumeID": "v"}}]}, "volume d"),
        ({"volumes": [{"name": "d", "cinder": {"volumeID": "v"}}]}, "once built into Kubernetes"),
        ({"hostNetwork": True, "hostUsers": False}, "user namespace"),
        (
            {"containers": [{"restartPolicyRules": [{"action": "RestartAllContainers"}]}]},
            "RestartAllContainers",
        ),
        ({"containers": [container(requests={"cpu": "lots"})]}, "'lots' is not a quantity"),
    ],
)
def test_what_is_not_modelled_is_named(spec: dict[str, Any], named: str) -> None:
    (found,) = shape(spec).not_modelled
    assert named in found


def test_ordinary_volumes_are_modelled() -> None:
    volumes = [{"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "x"}}]
    assert shape({"volumes": volumes}).not_modelled == ()


def test_pods_of_one_template_share_one_shape() -> None:
    shapes = Shapes()
    first = pod(
        {
            "nodeName": "vm-1",
            "volumes": [{"name": "kube-api-access-x7f2q", "projected": {}}],
            "containers": [container(**requests("1"))],
        },
        name="web-1",
    )
    second = pod(
        {
            "nodeName": "vm-2",
            "volumes": [{"name": "kube-api-access-9sd2k", "projected": {}}],
            "containers": [container(**requests("1000m"))],
        },
        name="web-2",
    )
    assert shapes.of_pod(first) is shapes.of_pod(second)


def test_the_key_of_a_shape_tells_its_content() -> None:
    spec = {"containers": [container(**requests("250m", "64Mi"))], "nodeSelector": {"a": "b"}}
    found = shape(spec)
    assert found == shape(spec)
    for other in (
        shape(spec | {"nodeSelector": {"a": "c"}}),
        shape(spec, labels={"app": "other"}),
        shape(spec, namespace="elsewhere"),
    ):
        assert other.key != found.key


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_key_of_a_shape_is_the_same_in_every_process(seed: str) -> None:
    labels = {"b": "1", "a": "2", "c": "3"}
    program = (
        "from plimsoll.world import wire\n"
        "from plimsoll.world.shapes import Shapes\n"
        f"template = wire.PodTemplate(metadata=wire.Meta(labels={labels!r}))\n"
        "print(Shapes().of_template(template, 'default').key)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    template = wire.PodTemplate(metadata=wire.Meta(labels=dict(sorted(labels.items()))))
    assert run.stdout.strip() == Shapes().of_template(template, "default").key


OWNED = {"ownerReferences": [{"kind": "ReplicaSet", "name": "web", "controller": True}]}
LOCAL = {"volumes": [{"name": "cache", "emptyDir": {}}, {"name": "logs", "hostPath": {}}]}
EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"


@pytest.mark.parametrize(
    ("spec", "meta", "why"),
    [
        ({}, OWNED, ""),
        ({}, {}, "no controller would recreate it"),
        ({}, {"annotations": {EVICT: "true"}}, ""),
        (LOCAL, OWNED, "volume cache keeps data on its node (emptyDir)"),
        (LOCAL, {**OWNED, "annotations": {EVICT: "true"}}, ""),
        (
            LOCAL,
            {**OWNED, "annotations": {f"{EVICT}-local-volumes": "cache"}},
            "volume logs keeps data on its node (hostPath)",
        ),
        (LOCAL, {**OWNED, "annotations": {f"{EVICT}-local-volumes": "cache, logs"}}, ""),
        ({}, {**OWNED, "annotations": {EVICT: "false"}}, f"annotation {EVICT}: false"),
        (
            {},
            {**OWNED, "annotations": {"karpenter.sh/do-not-disrupt": "true"}},
            "annotation karpenter.sh/do-not-disrupt: true",
        ),
        (
            {},
            {**OWNED, "annotations": {"plimsoll.dev/do-not-disrupt": "true"}},
            "annotation plimsoll.dev/do-not-disrupt: true",
        ),
        ({}, {**OWNED, "annotations": {"plimsoll.dev/do-not-disrupt": "false"}}, ""),
    ],
)
def test_held(spec: dict[str, Any], meta: dict[str, Any], why: str) -> None:
    assert held(pod(spec, **meta)) == why


@pytest.mark.parametrize(
    ("meta", "daemon"),
    [
        (OWNED, False),
        ({"ownerReferences": [{"kind": "DaemonSet", "name": "d", "controller": True}]}, True),
        ({"ownerReferences": [{"kind": "Node", "name": "n", "controller": True}]}, True),
        ({"annotations": {"kubernetes.io/config.mirror": "x"}}, True),
    ],
)
def test_pods_that_go_with_their_node(meta: dict[str, Any], daemon: bool) -> None:
    assert is_daemon(pod({}, **meta)) is daemon


def test_the_steered_container_gives_size_and_restart_policy() -> None:
    restart = {"resourceName": "memory", "restartPolicy": "RestartContainer"}
    parsed = pod(
        {
            "containers": [
                container("proxy", **requests("100m")),
                container("app", **requests("1", "1Gi")) | {"resizePolicy": [restart]},
            ]
        },
        INFEASIBLE,
    )
    steered = pod_of(parsed, Shapes(), "default/web", "app")
    assert steered.size == resources({"cpu": 1000, "memory": GIB})
    assert steered.restart_on_resize
    assert steered.resize_refused == "no room"
    first = pod_of(parsed, Shapes(), "default/web")
    assert first.size == resources({"cpu": 100})
    assert not first.restart_on_resize
    assert pod_of(parsed, Shapes()).size is None


def test_the_state_of_a_pod() -> None:
    parsed = pod(
        {"nodeName": "vm-1", "schedulingGates": [{"name": "wait"}]},
        {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        uid="u",
        creationTimestamp="1970-01-01T00:01:00Z",
        deletionTimestamp="1970-01-01T00:02:00Z",
    )
    found = pod_of(parsed, Shapes())
    assert (found.key, found.uid, found.node) == ("default/p", "u", "vm-1")
    assert (found.ready, found.terminating, found.gated) == (True, True, True)
    assert found.created == 60.0
