"""Pods that share what is alike are the pods that they would be without sharing."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.world import wire
from plimsoll.world.podreader import PodReader

Json = dict[str, Any]

NODES = st.sampled_from(["", "a", "b.example", 'q"uote', "back\\slash", "umläut"])
TOKENS = st.sampled_from(["abcde", "f2h4k", "zzzzz"])
PLACES = st.sampled_from(
    ["mount", "claim", "emptyDir", "selector", "selectorKey", "env", "label", "twice"]
)


def pod(name: str, node: str, token: str, place: str, cpu: str = "100m") -> Json:
    """A pod of one ReplicaSet, with what looks like its gaps in odd places."""
    token = f"kube-api-access-{token}"
    container: Json = {
        "name": "main",
        "env": [{"name": "E", "value": 'a "nodeName": "x" b'}],
        "resources": {"requests": {"cpu": cpu}},
        "volumeMounts": [{"name": token, "mountPath": "/token"}],
    }
    volume: Json = {"name": token, "projected": {"sources": []}}
    spec: Json = {"containers": [container], "volumes": [volume]}
    labels = {"app": "a"}
    match place:
        case "claim":
            volume["persistentVolumeClaim"] = {"claimName": "c"}
        case "emptyDir":
            volume["emptyDir"] = {}
        case "selector":
            spec["nodeSelector"] = {"nodeName": node or "none"}
        case "selectorKey":
            spec["nodeSelector"] = {"key": token}
        case "env":
            container["env"].append({"name": "nodeName", "value": token})
        case "label":
            labels["token"] = token
        case "twice":
            spec["resourceClaims"] = [{"nodeName": "z", "name": token}]
    if node:
        spec["nodeName"] = node
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": labels,
            "ownerReferences": [{"kind": "ReplicaSet", "name": "r", "controller": True}],
        },
        "spec": spec,
        "status": {
            "phase": "Running",
            "startTime": f"2026-01-01T00:00:0{len(name)}Z",
            "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": f"2026-01-0{len(name)}"}
            ],
        },
    }


def encoded(document: Json, indent: int | None = None) -> bytes:
    return json.dumps(document, indent=indent, ensure_ascii=False).encode()


def plain(document: Json) -> wire.Pod:
    return msgspec.json.decode(encoded(document), type=wire.Pod)


def comparable(found: wire.Pod) -> wire.Pod:
    """The pod without the names of volumes that say nothing else."""
    nothing = wire.Volume()
    volumes = [
        nothing if msgspec.structs.replace(v, name="") == nothing else v for v in found.spec.volumes
    ]
    spec = msgspec.structs.replace(found.spec, volumes=volumes)
    return msgspec.structs.replace(found, spec=spec)


@given(
    st.lists(
        st.builds(
            pod,
            st.text("abc", min_size=1, max_size=3),
            NODES,
            TOKENS,
            PLACES,
            st.sampled_from(["100m", "200m"]),
        ),
        max_size=25,
    ),
    st.sampled_from([None, 1, 4]),
)
def test_every_pod_is_read_as_if_it_were_the_only_one(
    documents: list[Json], indent: int | None
) -> None:
    reader = PodReader()
    for document in documents:
        found = reader.decode(encoded(document, indent))
        assert comparable(found) == comparable(plain(document))


def test_pods_of_one_controller_share_all_but_what_is_their_own() -> None:
    reader = PodReader()
    names = [("a", "x", "abcde"), ("b", "y", "abcde"), ("c", "z", "f2h4k"), ("d", "x", "zzzzz")]
    read = [reader.decode(encoded(pod(*own, "mount"))) for own in names]
    assert [p.spec.node_name for p in read] == ["x", "y", "z", "x"]
    assert [p.metadata.name for p in read] == ["a", "b", "c", "d"]
    first, *others = read
    for other in others:
        assert other.spec.containers is first.spec.containers
        assert other.metadata.labels is first.metadata.labels
        assert other.metadata.owner_references is first.metadata.owner_references
        assert other.status.conditions is first.status.conditions
    assert read[2].spec.volumes is read[3].spec.volumes


def test_a_pod_that_is_none_is_refused_with_the_path_from_its_root() -> None:
    reader = PodReader()
    wrong = pod("a", "x", "abcde", "mount")
    wrong["spec"]["containers"][0]["resources"]["requests"] = {"cpu": ["1"]}
    for _ in range(3):
        reader.decode(encoded(pod("b", "x", "abcde", "mount")))
        with pytest.raises(msgspec.ValidationError, match=r"\$\.spec\.containers\[0\]\.resources"):
            reader.decode(encoded(wrong))
