"""The offline loader: what files may hold, and how every kind of bad input is told."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from plimsoll.api import labels as names
from plimsoll.offline.files import Loaded, load
from plimsoll.offline.problems import BadInput
from plimsoll.world.assemble import assemble
from plimsoll.world.snapshot import Resources, Snapshot

DATA = Path(__file__).parent.parent / "data"
GIB = 1024**3
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of text, bytes, or YAML documents, and returns its path."""

    def write(*content: Any, name: str = "f.yaml") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if len(content) == 1 and isinstance(content[0], bytes):
            path.write_bytes(content[0])
        elif len(content) == 1 and isinstance(content[0], str):
            path.write_text(content[0], encoding="utf-8")
        elif name.endswith(".json"):
            path.write_text(json.dumps(content[0]), encoding="utf-8")
        else:
            path.write_text(yaml.safe_dump_all(content), encoding="utf-8")
        return str(path)

    return write


def pod(name: str = "p", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, **fields.pop("metadata", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, **fields}


def controller(kind: str, name: str, *, group: str = "apps/v1", **spec: Any) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]},
    }
    return {
        "apiVersion": group,
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"template": template, **spec},
    }


def storage(api_version: str, kind: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "spec": spec}


def owned(name: str, kind: str, owner: str, **fields: Any) -> dict[str, Any]:
    reference = {"apiVersion": "apps/v1", "kind": kind, "name": owner, "controller": True}
    return pod(name, metadata={"ownerReferences": [reference], **fields.pop("meta", {})}, **fields)


def pods_of(loaded: Loaded) -> list[str]:
    return sorted(f"{p.metadata.namespace}/{p.metadata.name}" for p in loaded.objects.pods)


def snapshot_of(loaded: Loaded) -> Snapshot:
    return assemble(loaded.objects, loaded.observations, 0.0)


# Shapes of files


def test_any_mix_of_files_directories_and_lists(write: Write, tmp_path: Path) -> None:
    write(pod("a"), pod("b"), name="dir/one.yaml")
    write({"apiVersion": "v1", "kind": "List", "items": [pod("c")]}, name="dir/deep/two.json")
    write(
        {"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "d"}}]},
        name="dir/three.yml",
    )
    write("not read", name="dir/notes.txt")
    single = write(json.dumps(pod("e")) + "\n" + json.dumps(pod("f")), name="several.json")
    loaded = load([str(tmp_path / "dir"), single])
    assert pods_of(loaded) == [f"default/{name}" for name in "abcdef"]


def test_standard_input_is_read_where_a_dash_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(json.dumps(pod()).encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    assert pods_of(load(["-"])) == ["default/p"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_written_by_shells_on_windows(write: Write, encoding: str) -> None:
    content = json.dumps(pod(metadata={"annotations": {"note": "naïve"}})).encode(encoding)
    assert pods_of(load([write(content, name="f.json")])) == ["default/p"]


def test_json_and_yaml_of_the_same_objects_are_the_same(write: Write) -> None:
    dump = json.loads((DATA / "dump.json").read_text())
    as_yaml = write(dump)
    assert snapshot_of(load([as_yaml])) == snapshot_of(load([str(DATA / "dump.json")]))


def test_yaml_means_what_it_means_to_kubernetes(write: Write) -> None:
    text = """
        apiVersion: v1
        kind: Pod
        metadata:
          name: p
          creationTimestamp: 2026-01-01T00:00:00Z
          labels: &labels {on: "yes", port: 22:22, 1: one, hash: 77e5, n: y, day: 2026-01-01}
          annotations: *labels
        spec:
          containers:
          - name: c
            resources: {requests: {cpu: 1_0, memory: 0x400, example.com/a: 010, example.com/b: 1e3}}
          nodeSelector: {<<: *labels, role/worker: }
        """
    (found,) = snapshot_of(load([write(text)])).pods
    assert found.shape.labels == {
        "on": "yes",
        "port": "22:22",
        "1": "one",
        "hash": "77e5",
        "n": "y",
        "day": "2026-01-01",
    }
    assert found.shape.node_selector == {**found.shape.labels, "role/worker": ""}
    assert found.shape.requests == Resources(
        cpu=10_000, memory=1024, extended={"example.com/a": 8, "example.com/b": 1000}
    )
    assert found.created == 1767225600.0


def test_null_is_as_if_it_were_left_out(write: Write) -> None:
    dump = json.loads((DATA / "nulls.json").read_text())
    clean = [_without_nulls(item) for item in dump["items"]]
    clean_path = write({"apiVersion": "v1", "kind": "List", "items": clean}, name="clean.json")
    found = snapshot_of(load([str(DATA / "nulls.json")]))
    assert found == snapshot_of(load([clean_path]))
    assert [p.key for p in found.pods] == ["default/empty", "default/odd"]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value


def _spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values within a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from _spots(item, (*path, key))


@pytest.mark.parametrize("instead", [None, "text", 7, True, [], {}], ids=repr)
def test_whatever_stands_in_a_dump_is_read_or_told_with_its_place(
    write: Write, instead: object
) -> None:
    """Every value of a dump in turn is replaced by another: no other error may come of it."""
    dump = json.loads((DATA / "dump.json").read_text())
    for number, spot in enumerate(list(_spots(dump["items"]))):
        items = copy.deepcopy(dump["items"])
        parent: Any = items
        for key in spot[:-1]:
            parent = parent[key]
        parent[spot[-1]] = instead
        path = write({"apiVersion": "v1", "kind": "List", "items": items}, name=f"{number}.json")
        try:
            snapshot_of(load([path]))
        except BadInput as error:
            for problem in error.problems:
                assert problem.source == path
                assert problem.path.startswith(f"$.items[{spot[0]}]")
                assert problem.message
                assert problem.remedy


def test_an_object_that_is_given_twice_alike_counts_once(write: Write) -> None:
    one, other = write(pod()), write(pod(metadata={"resourceVersion": "2"}), name="g.yaml")
    assert pods_of(load([one, other])) == ["default/p"]


def test_kinds_that_do_not_matter_are_skipped_and_counted(write: Write) -> None:
    def other(version: str, kind: str, name: str = "x") -> dict[str, Any]:
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name}}

    path = write(
        pod(),
        other("v1", "Service"),
        other("v1", "Service", "y"),
        other("example.com/v1", "Anything"),
        other("batch/v1", "CronJob"),
    )
    assert load([path]).notes == (
        "CronJobs are ignored: pods of runs to come are not planned for",
        "Kinds that no decision rests on were skipped: Anything (1), Service (2)",
    )


def test_pods_on_nodes_outside_the_files_are_told(write: Write) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "here"}}
    path = write(
        node, pod("a", spec={"nodeName": "here"}), pod("b", spec={"nodeName": "elsewhere"})
    )
    assert load([path]).notes == (
        "Pods that are bound to nodes outside the files (1, on elsewhere) count as replicas, not "
        "as load",
    )


# Expansion


def test_controllers_alone_are_expanded_into_their_pods(write: Write) -> None:
    path = write(
        controller("Deployment", "web", replicas=2),
        controller("Deployment", "one"),
        controller("StatefulSet", "db", replicas=2, ordinals={"start": 5}),
        controller("ReplicaSet", "rs", replicas=1),
        controller("Job", "batch", group="batch/v1", parallelism=3, completions=2),
        controller("Job", "queue", group="batch/v1", parallelism=2),
        controller("Job", "later", group="batch/v1", suspend=True),
        controller("Deployment", "none", replicas=0),
    )
    expected = "batch-0 batch-1 db-5 db-6 one-0 queue-0 queue-1 rs-0 web-0 web-1"
    assert pods_of(load([path])) == [f"default/{name}" for name in expected.split()]


def test_a_dump_that_holds_the_pods_is_not_expanded_again(write: Write) -> None:
    replicaset = controller("ReplicaSet", "web-77", replicas=3)
    replicaset["metadata"]["ownerReferences"] = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "controller": True}
    ]
    path = write(
        controller("Deployment", "web", replicas=3),
        replicaset,
        owned("web-77-a", "ReplicaSet", "web-77"),
        owned("web-77-b", "ReplicaSet", "web-77"),
        owned("web-77-dead", "ReplicaSet", "web-77", status={"phase": "Failed"}),
        owned(
            "web-77-going",
            "ReplicaSet",
            "web-77",
            meta={"deletionTimestamp": "2026-01-01T00:00:00Z"},
        ),
        controller("StatefulSet", "db", replicas=2),
        owned("db-0", "StatefulSet", "db"),
        controller("Job", "batch", group="batch/v1", parallelism=2),
        owned("batch-x", "Job", "batch"),
        owned("batch-y", "Job", "batch"),
    )
    added = {p for p in pods_of(load([path])) if p.endswith(("-0", "-1"))}
    assert added == {"default/web-0", "default/db-0", "default/db-1"}


def test_a_deployment_knows_its_pods_without_its_replicasets(write: Write) -> None:
    labels = {"labels": {"pod-template-hash": "77"}}
    path = write(
        controller("Deployment", "web", replicas=1),
        owned("web-77-a", "ReplicaSet", "web-77", meta=labels),
    )
    assert pods_of(load([path])) == ["default/web-77-a"]


def test_a_finished_job_wants_no_pods(write: Write) -> None:
    done = controller("Job", "done", group="batch/v1")
    done["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    most = controller("Job", "most", group="batch/v1", parallelism=5, completions=5)
    most["status"] = {"succeeded": 4}
    assert pods_of(load([write(done, most)])) == ["default/most-0"]


def test_a_new_name_does_not_clash_with_a_pod_that_is_there(write: Write) -> None:
    path = write(controller("Deployment", "web", replicas=1), pod("web-0"))
    assert pods_of(load([path])) == ["default/web-0", "default/web-1"]


FAST = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {
        "name": "fast",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    },
    "provisioner": "csi.example",
    "volumeBindingMode": "WaitForFirstConsumer",
    "allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": ["a"]}]}],
}
DATABASE = controller(
    "StatefulSet", "db", volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": {}}]
)


def test_volume_claims_of_a_statefulset_will_be_made_with_its_pods(write: Write) -> None:
    (found,) = snapshot_of(load([write(DATABASE, FAST)])).pods
    assert (found.shape.blocked, found.shape.not_modelled) == ("", ())
    assert found.shape.requests.extended == {"attachable-volumes-csi-csi.example": 1}
    (selector,) = found.shape.volume_nodes
    assert selector.node_selector_terms[0].match_expressions[0].values == ["a"]


def test_without_any_storage_class_no_place_is_guessed(write: Write) -> None:
    (found,) = snapshot_of(load([write(DATABASE)])).pods
    (why,) = found.shape.not_modelled
    assert "the files hold no StorageClass" in why


def test_a_claim_that_a_dump_leaves_out_is_not_guessed_at(write: Write) -> None:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    lone = pod("lone", spec={"volumes": volumes})
    (found,) = snapshot_of(load([write(lone)])).pods
    (why,) = found.shape.not_modelled
    assert "the files hold no PersistentVolumeClaim" in why
    other = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "x"}}
    (found,) = snapshot_of(load([write(lone, other)])).pods
    assert found.shape.blocked == 'persistentvolumeclaim "data" not found'


def test_a_generic_ephemeral_volume_of_a_manifest_will_have_its_claim(write: Write) -> None:
    volumes = [{"name": "tmp", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]
    (found,) = snapshot_of(load([write(pod("lone", spec={"volumes": volumes}), FAST)])).pods
    assert found.shape.blocked == ""
    assert len(found.shape.volume_nodes) == 1
    seen = pod("lone", spec={"volumes": volumes})
    seen["metadata"]["uid"] = "u"
    other = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "x"}}
    (found,) = snapshot_of(load([write(seen, FAST, other)])).pods
    assert "waiting for ephemeral volume controller" in found.shape.blocked


def test_daemonsets_run_on_the_nodes_that_they_fit(write: Write) -> None:
    def node(name: str, labels: dict[str, str], *taints: dict[str, str]) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "spec": {"taints": list(taints), "unschedulable": True},
        }

    agent = controller("DaemonSet", "agent")
    agent["spec"]["template"]["spec"]["nodeSelector"] = {"os": "linux"}
    linux = {"os": "linux"}
    cordoned = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    path = write(
        agent,
        node("fits", linux),
        node("cordoned", linux, cordoned),
        node("other", {"os": "windows"}),
        node("tainted", linux, {"key": "gpu", "effect": "NoSchedule"}),
        node("preferred", linux, {"key": "gpu", "effect": "PreferNoSchedule"}),
        node("served", linux),
        owned("agent-x", "DaemonSet", "agent", spec={"nodeName": "served"}),
    )
    found = snapshot_of(load([path]))
    assert {p.name: p.node for p in found.pods} == {
        "agent-cordoned": "cordoned",
        "agent-fits": "fits",
        "agent-preferred": "preferred",
        "agent-x": "served",
    }
    assert all(p.daemon for p in found.pods)


def test_a_workload_with_a_template_gets_its_deployment(write: Write) -> None:
    found = snapshot_of(load([write(workload())]))
    (subject,) = found.workloads
    assert (subject.target, subject.problem) == ("Deployment/shop", "")
    assert [(p.key, p.workload) for p in found.pods] == [("default/shop-0", "default/shop")]
    # As the operator makes it: a berth, and the smallest size.
    assert found.pods[0].shape.requests == Resources(
        cpu=250, memory=GIB, extended={names.BERTHS: 1}
    )


def workload(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "ContainerWorkload",
        "metadata": {"name": "shop"},
        "spec": {
            "template": {"spec": {"containers": [{"name": "c"}]}},
            "scaleUp": {"cpu": {"min": "250m", "max": "1"}, "memory": {"min": "1Gi", "max": "2Gi"}},
            "scaleOut": {"max": 5},
            **spec,
        },
    }


# Budgets and measurements


def running(name: str, ready: bool = True) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": str(ready)}]
    return owned(
        name,
        "ReplicaSet",
        "web-77",
        meta={"labels": {"app": "web", "pod-template-hash": "77"}},
        status={"phase": "Running", "conditions": conditions, "startTime": "2026-01-01T00:00:00Z"},
    )


@pytest.mark.parametrize(
    ("spec", "allowed"),
    [
        ({"maxUnavailable": 1}, 0),
        ({"maxUnavailable": 2}, 1),
        ({"maxUnavailable": "30%"}, 1),
        ({"minAvailable": 2}, 1),
        ({"minAvailable": "50%"}, 1),
        ({"minAvailable": "51%"}, 0),
        ({}, 0),
        ({"maxUnavailable": 2, "selector": None}, 0),
    ],
)
def test_evictions_that_a_budget_without_status_allows(
    write: Write, spec: dict[str, Any], allowed: int
) -> None:
    """Four replicas are wanted, three of them are Ready."""
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec},
    }
    deployment = controller("Deployment", "web", replicas=4)
    pods = [running("a"), running("b"), running("c"), running("d", ready=False)]
    found = snapshot_of(load([write(budget, deployment, *pods)]))
    assert [b.allowed for b in found.budgets] == [allowed]


def test_measurements_are_the_demand_of_their_moment(write: Write) -> None:
    def metrics(kind: str, name: str, **fields: Any) -> dict[str, Any]:
        return {
            "apiVersion": "metrics.k8s.io/v1beta1",
            "kind": kind,
            "metadata": {"name": name},
            "timestamp": "2026-01-01T01:00:00Z",
            **fields,
        }

    steering = workload(targetRef={"kind": "Deployment", "name": "web"}, template=None)
    usage = {"cpu": "123456789n", "memory": "1Gi"}
    loaded = load(
        [
            write(
                steering,
                controller("Deployment", "web", replicas=2),
                running("a"),
                running("b"),
                *(
                    metrics("PodMetrics", n, containers=[{"name": "c", "usage": usage}])
                    for n in "ab"
                ),
                metrics("NodeMetrics", "n1", usage=usage),
            )
        ]
    )
    # These pods are without containers, so nothing of them is steered; the node is measured.
    assert loaded.moment == 1767229200.0
    assert loaded.observations.node_usage == {"n1": Resources(cpu=124, memory=GIB)}


# Bad input

BAD_FILES: dict[str, tuple[Any, str, str]] = {
    "empty": ("", "f.yaml", "is empty: it holds no object: fill it, or leave it out"),
    "comments only": ("# nothing\n---\n", "f.yaml", "is empty"),
    "yaml": (
        "kind: Pod\n  name: x\n",
        "f.yaml",
        "document 1: line 2, column 7: mapping values are not allowed in this context",
    ),
    "second document": (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n---\na: [1\n",
        "f.yaml",
        "document 2: line 6, column 1: while parsing a flow sequence",
    ),
    "tab": ("a:\n\tb: 1\n", "f.yaml", "line 2, column 1: while scanning for the next token"),
    "key twice": (
        "kind: Pod\nkind: Node\n",
        "f.yaml",
        "line 2, column 1: key 'kind' is given twice: remove one",
    ),
    "unknown alias": ("a: *b\n", "f.yaml", "line 1, column 4: *b refers to nothing before it"),
    "unknown tag": ("a: !Ref b\n", "f.yaml", "tag !Ref has no meaning here: remove it"),
    "deep": ("a: " + "[" * 200 + "]" * 200, "f.yaml", "nested more than 100 deep"),
    "control character": ("a: \x07\n", "f.yaml", "line 1: character 7 is not allowed in YAML"),
    "not utf-8": (b"a: \xff\n", "f.yaml", "line 1: the text is not UTF-8"),
    "truncated json": (
        json.dumps(pod())[:-5],
        "f.json",
        "line 1, column 58: the JSON ends too early: the file is truncated",
    ),
    "broken json": ('{"kind": Pod}', "f.json", "line 1, column 10: not JSON"),
    "deep json": ('{"a":' * 5000 + "1" + "}" * 5000, "f.json", "nested too deep"),
    "truncated yaml": (
        "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n",
        "f.yaml",
        "$.kind: is missing: add it, such as kind: Pod; if the file is cut off, fetch it again",
    ),
    "scalar": ("hello\n", "f.yaml", "$: is not an object: write apiVersion, kind"),
    "list of objects": ("[]", "f.json", "$: is not an object"),
}


@pytest.mark.parametrize(("content", "name", "said"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_file_that_cannot_be_read(write: Write, content: Any, name: str, said: str) -> None:
    path = write(content, name=name)
    with pytest.raises(BadInput) as error:
        load([path])
    (problem,) = error.value.problems
    assert str(problem).startswith(path)
    assert said in str(problem)


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: No such file or directory"):
        load([str(tmp_path / "missing.yaml")])
    with pytest.raises(BadInput, match=r"the directory holds no \.json, \.yaml, \.yml"):
        load([str(tmp_path)])


def with_container(**fields: Any) -> dict[str, Any]:
    return pod(spec={"containers": [{"name": "c", **fields}]})


def spread(**fields: Any) -> dict[str, Any]:
    constraint = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        **fields,
    }
    return pod(spec={"topologySpreadConstraints": [constraint]})


def node_affinity(**requirement: Any) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": "k", **requirement}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return pod(spec={"affinity": {"nodeAffinity": required}})


EXPRESSION = (
    ".spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    ".nodeSelectorTerms[0].matchExpressions[0]"
)
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
BAD_OBJECTS: dict[str, tuple[dict[str, Any], str]] = {
    "no kind": ({"apiVersion": "v1"}, "$.kind: is missing"),
    "no apiVersion": ({"kind": "Pod"}, "$.apiVersion: is missing: add it, such as apiVersion: v1"),
    "kind is no text": ({"apiVersion": "v1", "kind": 7}, "$.kind: 7 is no text: write it like"),
    "items are no list": (
        {"apiVersion": "v1", "kind": "List", "items": {}},
        "$.items: is not a list: begin each item with '- '",
    ),
    "misspelt kind": (
        {"apiVersion": "v1", "kind": "Pood"},
        "$.kind: kind Pood is not known in v1: did you mean Pod?",
    ),
    "kind of another group": (
        {"apiVersion": "v1", "kind": "Deployment"},
        "$.kind: kind Deployment is not known in v1: write apiVersion: apps/v1",
    ),
    "unknown kind of ours": (
        {"apiVersion": "plimsoll.dev/v1alpha1", "kind": "VMPol"},
        "$.kind: kind VMPol is not known in plimsoll.dev/v1alpha1: did you mean VMPool?",
    ),
    "our kind, misspelt group": (
        {"apiVersion": "plimsol.dev/v1alpha1", "kind": "VMPool"},
        "write apiVersion: plimsoll.dev/v1alpha1",
    ),
    "our kind, unknown version": (
        {"apiVersion": "plimsoll.dev/v2", "kind": "VMPool", "metadata": {"name": "x"}},
        '(VMPool x): $.apiVersion: "plimsoll.dev/v2" is not served: write plimsoll.dev/v1alpha1',
    ),
    "our kind, wrong field": (
        workload(scaleOut={"max": "many"}),
        "(ContainerWorkload shop): $.spec.scaleOut.max",
    ),
    "minimum over maximum": (
        workload(scaleOut={"min": 6, "max": 5}),
        "(ContainerWorkload shop): $.spec.scaleOut",
    ),
    "template without containers": (
        workload(template={"spec": {"containers": []}}),
        "$.spec.template",
    ),
    "ill-typed template": (
        workload(template={"spec": {"containers": [{"name": "c"}], "hostNetwork": "yes"}}),
        "(ContainerWorkload shop): $.spec.template.spec.hostNetwork: must be true or false, not "
        "text: write true or false, without quotes",
    ),
    "no metadata": ({"apiVersion": "v1", "kind": "Pod"}, "$.metadata: is missing: add it"),
    "no name": (pod(""), "$.metadata.name: is missing: give the object a name"),
    "label is a number": (
        pod(metadata={"labels": {"ok": "x", "example.com/version": 1.1}}),
        '(Pod p): $.metadata.labels["example.com/version"]: must be text, not a number: put it in '
        "quotes",
    ),
    "port is text": (
        with_container(ports=[{"containerPort": 1}, {"containerPort": 80, "hostPort": "80"}]),
        "$.spec.containers[0].ports[1].hostPort: must be a whole number, not text: write a whole "
        "number, without quotes",
    ),
    "containers are an object": (
        pod(spec={"containers": {"name": "c"}}),
        "$.spec.containers: must be a list, not an object: begin each item with '- '",
    ),
    "quantity is ill-formed": (
        with_container(resources={"requests": {"cpu": "1", "memory": "12 GB"}}),
        "$.spec.containers[0].resources.requests.memory: '12 GB' is not a quantity: write a "
        "number with an optional suffix",
    ),
    "quantity is negative": (
        with_container(resources={"limits": {"cpu": "-1"}}),
        "$.spec.containers[0].resources.limits.cpu: '-1' is negative: give zero or more",
    ),
    "quantity is too large": (
        with_container(resources={"limits": {"example.com/gpu": "9e99"}}),
        "$.spec.containers[0].resources.limits[\"example.com/gpu\"]: '9e99' does not fit",
    ),
    "quantity of a node": (
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "n"},
            "status": {"capacity": {"cpu": "four"}},
        },
        "(Node n): $.status.capacity.cpu: 'four' is not a quantity",
    ),
    "port out of range": (
        with_container(ports=[{"containerPort": 1, "hostPort": 70000}]),
        "$.spec.containers[0].ports[0].hostPort: 70000 is no port: give 1 to 65535",
    ),
    "skew of zero": (spread(maxSkew=0), "maxSkew: 0 is too small: give 1 or more"),
    "no topology key": (
        spread(topologyKey=""),
        "topologySpreadConstraints[0].topologyKey: is empty",
    ),
    "unknown policy": (
        spread(whenUnsatisfiable="Never"),
        "whenUnsatisfiable: 'Never' is not allowed: choose one of DoNotSchedule, ScheduleAnyway",
    ),
    "unknown operator": (node_affinity(operator="Is"), f"${EXPRESSION}.operator: 'Is' is not"),
    "operator without values": (
        node_affinity(operator="In"),
        f"${EXPRESSION}.values: is empty, but In needs one: add a value",
    ),
    "values without meaning": (
        node_affinity(operator="Exists", values=["x"]),
        f"${EXPRESSION}.values: has no meaning with Exists: remove it",
    ),
    "comparison with text": (
        node_affinity(operator="Gt", values=["x"]),
        f"${EXPRESSION}.values: Gt compares with one whole number",
    ),
    "unknown effect": (
        pod(spec={"tolerations": [{"key": "k", "effect": "Never"}]}),
        "$.spec.tolerations[0].effect: 'Never' is not allowed",
    ),
    "toleration of nothing": (
        pod(spec={"tolerations": [{"value": "x"}]}),
        "$.spec.tolerations[0].operator: must be Exists where there is no key",
    ),
    "wish without weight": (
        pod(spec={"affinity": {"nodeAffinity": {PREFERRED: [{"weight": 0, "preference": {}}]}}}),
        f"{PREFERRED}[0].weight: 0 is no weight: give 1 to 100",
    ),
    "wish without topology": (
        pod(
            spec={
                "affinity": {
                    "podAffinity": {
                        PREFERRED: [{"weight": 1, "podAffinityTerm": {"topologyKey": ""}}]
                    }
                }
            }
        ),
        f"{PREFERRED}[0].podAffinityTerm.topologyKey: is empty",
    ),
    "size of a claim": (
        storage("v1", "PersistentVolumeClaim", resources={"requests": {"storage": "big"}}),
        "$.spec.resources.requests.storage: 'big' is not a quantity",
    ),
    "size of a claim's template": (
        controller(
            "StatefulSet",
            "db",
            volumeClaimTemplates=[
                {"metadata": {"name": "d"}, "spec": {"resources": {"requests": {"storage": "x"}}}}
            ],
        ),
        "$.spec.volumeClaimTemplates[0].spec.resources.requests.storage: 'x' is not a quantity",
    ),
    "place of a volume": (
        storage("v1", "PersistentVolume", nodeAffinity={"required": {"nodeSelectorTerms": []}}),
        "$.spec.nodeAffinity.required.nodeSelectorTerms: is empty, so no node would do",
    ),
    "binding mode": (
        {
            **storage("storage.k8s.io/v1", "StorageClass"),
            "provisioner": "p",
            "volumeBindingMode": "Sometime",
        },
        "$.volumeBindingMode: 'Sometime' is not allowed: choose one of Immediate, "
        "WaitForFirstConsumer",
    ),
    "room for volumes": (
        {**storage("storage.k8s.io/v1", "CSIStorageCapacity"), "capacity": "-1"},
        "$.capacity: '-1'",
    ),
    "unreadable time": (
        pod(metadata={"creationTimestamp": "yesterday"}),
        "$.metadata.creationTimestamp: 'yesterday' is not a moment",
    ),
    "replicas are negative": (
        controller("Deployment", "web", replicas=-1),
        "(Deployment web): $.spec.replicas: -1 is negative: give zero or more",
    ),
    "budget with both": (
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "b"},
            "spec": {"minAvailable": 1, "maxUnavailable": 1},
        },
        "$.spec: has both minAvailable and maxUnavailable: keep one of the two",
    ),
    "budget of some": (
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "b"},
            "spec": {"minAvailable": "some"},
        },
        "$.spec.minAvailable: 'some' is no number of pods: write 2 or 50%",
    ),
}


@pytest.mark.parametrize(("document", "said"), BAD_OBJECTS.values(), ids=BAD_OBJECTS.keys())
def test_an_object_that_cannot_be_used(write: Write, document: dict[str, Any], said: str) -> None:
    path = write(pod("good"), document)
    with pytest.raises(BadInput) as error:
        load([path])
    (problem,) = error.value.problems
    assert str(problem).startswith(f"{path}, document 2")
    assert said in str(problem)


def test_errors_name_the_item_of_a_list(write: Write) -> None:
    items = [pod("good"), with_container(name=1)]
    path = write({"apiVersion": "v1", "kind": "List", "items": items})
    with pytest.raises(
        BadInput, match=r"\$\.items\[1\]\.spec\.containers\[0\]\.name: must be text"
    ):
        load([path])


def test_an_object_that_is_given_twice_differently(write: Write) -> None:
    one = write(pod())
    other = write(pod("q"), pod(metadata={"labels": {"a": "b"}}), name="g.yaml")
    with pytest.raises(BadInput) as error:
        load([one, other])
    assert str(error.value) == (
        f"{other}, document 2 (Pod default/p): is given twice, and differs from the one in {one}, "
        "document 1: keep one of the two"
    )


def test_everything_that_is_wrong_is_told_at_once(write: Write, tmp_path: Path) -> None:
    first = write(with_container(name=1), pod(""), controller("Deployment", "d", replicas=-1))
    second = write("a: [", name="g.yaml")
    third = str(tmp_path / "missing")
    with pytest.raises(BadInput) as error:
        load([first, second, third])
    found = [(p.source, p.document) for p in error.value.problems]
    assert found == [(first, 1), (first, 2), (first, 3), (second, 1), (third, 0)]
