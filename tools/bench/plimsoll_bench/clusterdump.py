"""Writes a dump of a large cluster, as ``kubectl get ... -A -o json`` prints it.

Every VM has its VMNode and its Node; pods belong to Deployments by way of ReplicaSets and
are bound, but for a share that is pending. The same seed gives the same dump.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]

MOMENT = "2026-11-20T08:15:02Z"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_GIB = 1024**3
HOSTS = 100
VM_CPU, VM_GIB = 16, 64


def objects(
    pods: int,
    vms: int,
    deployments: int = 400,
    workloads: int = 0,
    pending: float = 0.01,
    seed: int = 1,
) -> Iterator[Json]:
    """The objects of a cluster, ours first.

    So many ``deployments`` have a ContainerWorkload each as ``workloads`` says; ``pending`` is
    the share of pods that are bound to no node yet.
    """
    rand = random.Random(seed)
    yield _hypervisor(vms)
    yield _pool(vms)
    for number in range(vms):
        yield _vmnode(number)
        yield _node(number)
    for number in range(workloads):
        yield _workload(number)
    for name in ("default", *(f"team-{n}" for n in range(20))):
        yield _head("v1", "Namespace", name, "", labels={"kubernetes.io/metadata.name": name})
    share = [rand.paretovariate(1.2) for _ in range(deployments)]
    replicasets: list[Json] = []
    made = 0
    for number in range(deployments):
        count = round((pods - made) * share[number] / sum(share[number:]))
        made += count
        deployment, replicaset = _application(number, count, rand)
        yield deployment
        replicasets.append(replicaset)
    yield from replicasets
    for replicaset in replicasets:
        for _ in range(replicaset["spec"]["replicas"]):
            node = None if rand.random() < pending else f"web-{rand.randrange(vms)}"
            yield _pod(replicaset, node, rand)


def write(path: Path, some: Iterator[Json], *, compact: bool, managed_fields: bool) -> None:
    """Writes a List of objects, piece by piece: it may be larger than memory."""
    with path.open("w") as to:
        to.write('{"apiVersion":"v1","items":[' if compact else '{\n    "apiVersion": "v1",\n')
        if not compact:
            to.write('    "items": [')
        for number, one in enumerate(some):
            if not managed_fields:
                one["metadata"].pop("managedFields", None)
            to.write("," if number else "")
            if compact:
                to.write(json.dumps(one, separators=(",", ":"), sort_keys=True))
            else:
                text = json.dumps(one, indent=4, sort_keys=True)
                to.write("\n        " + text.replace("\n", "\n        "))
        if compact:
            to.write('],"kind":"List","metadata":{"resourceVersion":""}}\n')
        else:
            tail = '"kind": "List",\n    "metadata": {\n        "resourceVersion": ""\n    }\n'
            to.write("\n    ],\n    " + tail + "}\n")


def _head(api_version: str, kind: str, name: str, namespace: str, **meta: Any) -> Json:
    metadata: Json = {
        "creationTimestamp": MOMENT,
        "name": name,
        "resourceVersion": "1000",
        "uid": _uid(f"{kind}/{namespace}/{name}"),
        **meta,
    }
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _uid(of: str) -> str:
    digits = f"{random.Random(of).getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _host(number: int) -> str:
    return f"host-{number % HOSTS:03}"


def _zone(number: int) -> str:
    return f"zone-{number % HOSTS % 3}"


def _team(number: int) -> str:
    return f"team-{number % 20}"


def _hypervisor(vms: int) -> Json:
    per_host = -(-vms // HOSTS) + 4
    hosts = [
        {
            "name": _host(n),
            "cpu": per_host * VM_CPU,
            "memory": f"{per_host * VM_GIB}Gi",
            "zone": _zone(n),
        }
        for n in range(HOSTS)
    ]
    return {
        **_head("plimsoll.dev/v1alpha1", "Hypervisor", "rack", ""),
        "spec": {"provider": "simulated", "simulated": {"hosts": hosts}},
    }


def _pool(vms: int) -> Json:
    return {
        **_head("plimsoll.dev/v1alpha1", "VMPool", "web", ""),
        "spec": {
            "hypervisor": "rack",
            "nodes": {"min": 2, "max": vms + 200},
            "size": {
                "cpu": {"min": 2, "max": VM_CPU, "step": 2},
                "memory": {"min": "4Gi", "max": f"{VM_GIB}Gi", "step": "1Gi"},
            },
            "density": {"pods": {"min": 20, "max": 110}},
            "cost": {"perVM": 4, "perCPU": 1, "perGiB": "250m"},
        },
    }


def _vmnode(number: int) -> Json:
    name = f"web-{number}"
    return {
        **_head("plimsoll.dev/v1alpha1", "VMNode", name, "", finalizers=["plimsoll.dev/vm"]),
        "spec": {
            "pool": "web",
            "hypervisor": "rack",
            "host": _host(number),
            "zone": _zone(number),
            "size": {"cpu": VM_CPU, "memory": f"{VM_GIB}Gi"},
            "maxPods": 110,
        },
        "status": {
            "phase": "Ready",
            "phaseSince": MOMENT,
            "host": _host(number),
            "identity": {"uuid": _uid(name)},
            "size": {"cpu": VM_CPU, "memory": f"{VM_GIB}Gi"},
        },
    }


def _workload(number: int) -> Json:
    return {
        **_head("plimsoll.dev/v1alpha1", "ContainerWorkload", f"app-{number}", _team(number)),
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"app-{number}"},
            "scaleUp": {
                "cpu": {"min": "50m", "max": "2"},
                "memory": {"min": "128Mi", "max": "4Gi"},
            },
            "scaleOut": {"min": 1, "max": 10_000},
            "redundancy": {"survive": 0},
        },
    }


def _node(number: int) -> Json:
    name = f"web-{number}"
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "plimsoll.dev/host": _host(number),
        "plimsoll.dev/hypervisor": "rack",
        "plimsoll.dev/pool": "web",
        "topology.kubernetes.io/zone": _zone(number),
    }
    amounts = {
        "cpu": str(VM_CPU),
        "ephemeral-storage": "101430960Ki",
        "hugepages-2Mi": "0",
        "memory": f"{VM_GIB * 1024 * 1024}Ki",
        "pods": "110",
    }
    conditions = [
        {
            "lastHeartbeatTime": MOMENT,
            "lastTransitionTime": MOMENT,
            "message": f"kubelet says {kind}",
            "reason": f"Kubelet{kind}",
            "status": "True" if kind == "Ready" else "False",
            "type": kind,
        }
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    ]
    images = [
        {"names": [f"registry.example/image-{n}@sha256:{'0' * 64}"], "sizeBytes": n * 10**6}
        for n in range(20)
    ]
    return {
        **_head("v1", "Node", name, "", labels=labels, annotations={"volumes": "true"}),
        "spec": {"podCIDR": "10.0.0.0/24", "providerID": f"simulated://rack/{_uid(name)}"},
        "status": {
            "addresses": [{"address": name, "type": "Hostname"}],
            "allocatable": {**amounts, "cpu": f"{VM_CPU * 1000 - 200}m"},
            "capacity": amounts,
            "conditions": conditions,
            "images": images,
            "nodeInfo": {"kubeletVersion": "v1.37.2", "systemUUID": _uid(name)},
        },
    }


def _application(number: int, count: int, rand: random.Random) -> tuple[Json, Json]:
    """A Deployment and its ReplicaSet."""
    name, namespace = f"app-{number}", _team(number)
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": namespace}
    revision = "".join(rand.choices(_LETTERS, k=10))
    spec = _pod_spec(name, labels, number, rand)
    deployment = _head("apps/v1", "Deployment", name, namespace, labels=labels)
    deployment["spec"] = {
        "replicas": count,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": spec},
    }
    deployment["status"] = {"replicas": count, "readyReplicas": count, "observedGeneration": 1}
    hashed = {**labels, "pod-template-hash": revision}
    owner = _owner("Deployment", deployment)
    replicaset = _head(
        "apps/v1", "ReplicaSet", f"{name}-{revision}", namespace, ownerReferences=[owner]
    )
    replicaset["spec"] = {
        "replicas": count,
        "selector": {"matchLabels": hashed},
        "template": {"metadata": {"labels": hashed}, "spec": spec},
    }
    replicaset["status"] = deployment["status"]
    return deployment, replicaset


def _owner(kind: str, of: Json) -> Json:
    return {
        "apiVersion": "apps/v1",
        "blockOwnerDeletion": True,
        "controller": True,
        "kind": kind,
        "name": of["metadata"]["name"],
        "uid": of["metadata"]["uid"],
    }


def _pod_spec(name: str, labels: Json, number: int, rand: random.Random) -> Json:
    cpu = rand.choice((50, 100, 200, 250, 400))
    memory = rand.choice((128, 256, 512, 1024))
    spec: Json = {
        "containers": [
            {
                "env": [
                    {"name": "LISTEN", "value": "0.0.0.0:8080"},
                    {
                        "name": "NODE",
                        "valueFrom": {
                            "fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}
                        },
                    },
                ],
                "image": f"registry.example/{name}:1.{number}.0",
                "imagePullPolicy": "IfNotPresent",
                "livenessProbe": _probe("/healthz"),
                "name": name,
                "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
                "readinessProbe": _probe("/readyz"),
                "resources": {
                    "limits": {"memory": f"{memory}Mi"},
                    "requests": {"cpu": f"{cpu}m", "memory": f"{memory}Mi"},
                },
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "volumeMounts": [{"mountPath": "/etc/app", "name": "config", "readOnly": True}],
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {"runAsNonRoot": True},
        "serviceAccount": name,
        "serviceAccountName": name,
        "terminationGracePeriodSeconds": 30,
        "volumes": [{"configMap": {"defaultMode": 420, "name": name}, "name": "config"}],
    }
    if number % 3 == 0:
        spec["topologySpreadConstraints"] = [
            {
                "labelSelector": {"matchLabels": labels},
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
            }
        ]
    return spec


def _probe(path: str) -> Json:
    return {
        "failureThreshold": 3,
        "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
        "periodSeconds": 10,
        "successThreshold": 1,
        "timeoutSeconds": 1,
    }


def _pod(replicaset: Json, node: str | None, rand: random.Random) -> Json:
    meta, template = replicaset["metadata"], replicaset["spec"]["template"]["spec"]
    pod = _head(
        "v1",
        "Pod",
        f"{meta['name']}-{''.join(rand.choices(_LETTERS, k=5))}",
        meta["namespace"],
        generateName=f"{meta['name']}-",
        labels=replicaset["spec"]["template"]["metadata"]["labels"],
        ownerReferences=[_owner("ReplicaSet", replicaset)],
    )
    token = "kube-api-access-" + "".join(rand.choices(_LETTERS, k=5))
    mount = {
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
        "name": token,
        "readOnly": True,
    }
    container = template["containers"][0]
    container = {**container, "volumeMounts": [*container["volumeMounts"], mount]}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {
            "configMap": {
                "items": [{"key": "ca.crt", "path": "ca.crt"}],
                "name": "kube-root-ca.crt",
            }
        },
        {
            "downwardAPI": {
                "items": [
                    {
                        "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                        "path": "namespace",
                    }
                ]
            }
        },
    ]
    volume = {"name": token, "projected": {"defaultMode": 420, "sources": sources}}
    spec: Json = {
        **template,
        "containers": [container],
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
        "priority": 0,
        "tolerations": [
            {
                "effect": "NoExecute",
                "key": f"node.kubernetes.io/{why}",
                "operator": "Exists",
                "tolerationSeconds": 300,
            }
            for why in ("not-ready", "unreachable")
        ],
        "volumes": [*template["volumes"], volume],
    }
    pod["spec"] = spec
    moment = _moment(rand)
    pod["metadata"]["creationTimestamp"] = moment
    if node is None:
        pod["status"] = {
            "conditions": [
                {
                    "lastProbeTime": None,
                    "lastTransitionTime": moment,
                    "message": "0/2000 nodes are available: 2000 Insufficient cpu.",
                    "reason": "Unschedulable",
                    "status": "False",
                    "type": "PodScheduled",
                }
            ],
            "phase": "Pending",
            "qosClass": "Burstable",
        }
    else:
        spec["nodeName"] = node
        pod["status"] = _running(container, moment, rand)
    pod["metadata"]["managedFields"] = _managed_fields(container["name"])
    return pod


def _running(container: Json, moment: str, rand: random.Random) -> Json:
    digest = f"{rand.getrandbits(256):064x}"
    return {
        "conditions": [
            {
                "lastProbeTime": None,
                "lastTransitionTime": moment,
                "observedGeneration": 1,
                "status": "True",
                "type": kind,
            }
            for kind in (
                "PodReadyToStartContainers",
                "Initialized",
                "Ready",
                "ContainersReady",
                "PodScheduled",
            )
        ],
        "containerStatuses": [
            {
                "allocatedResources": container["resources"]["requests"],
                "containerID": f"containerd://{digest}",
                "image": container["image"],
                "imageID": f"registry.example/image@sha256:{digest}",
                "lastState": {},
                "name": container["name"],
                "ready": True,
                "resources": container["resources"],
                "restartCount": 0,
                "started": True,
                "state": {"running": {"startedAt": moment}},
                "volumeMounts": [
                    {**mount, "recursiveReadOnly": "Disabled"}
                    for mount in container["volumeMounts"]
                ],
            }
        ],
        "hostIP": "10.1.2.3",
        "hostIPs": [{"ip": "10.1.2.3"}],
        "observedGeneration": 1,
        "phase": "Running",
        "podIP": "10.0.7.9",
        "podIPs": [{"ip": "10.0.7.9"}],
        "qosClass": "Burstable",
        "startTime": moment,
    }


def _moment(rand: random.Random) -> str:
    day, second = 1 + rand.randrange(20), rand.randrange(86_400)
    return f"2026-11-{day:02}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"


def _managed_fields(container: str) -> list[Json]:
    def all_of(*names: str) -> Json:
        return {f"f:{name}": {} for name in names}

    labels = {"f:labels": {".": {}, **all_of("app.kubernetes.io/name", "pod-template-hash")}}
    probe = {".": {}, **all_of("failureThreshold", "httpGet", "periodSeconds", "timeoutSeconds")}
    spec = {
        "f:containers": {
            f'k:{{"name":"{container}"}}': {
                ".": {},
                **all_of("env", "image", "imagePullPolicy", "name", "ports", "resources"),
                "f:livenessProbe": probe,
                "f:readinessProbe": probe,
                **all_of("terminationMessagePath", "terminationMessagePolicy", "volumeMounts"),
            }
        },
        **all_of("dnsPolicy", "restartPolicy", "schedulerName", "securityContext", "volumes"),
    }
    condition = {".": {}, **all_of("lastProbeTime", "lastTransitionTime", "status", "type")}
    status = {
        "f:conditions": {
            f'k:{{"type":"{kind}"}}': condition
            for kind in ("ContainersReady", "Initialized", "PodReadyToStartContainers", "Ready")
        },
        **all_of("containerStatuses", "hostIP", "hostIPs", "phase", "podIP", "podIPs", "startTime"),
    }
    common = {"apiVersion": "v1", "fieldsType": "FieldsV1", "operation": "Update", "time": MOMENT}
    return [
        {
            **common,
            "fieldsV1": {"f:metadata": labels, "f:spec": spec},
            "manager": "kube-controller-manager",
        },
        {
            **common,
            "fieldsV1": {"f:status": status},
            "manager": "kubelet",
            "subresource": "status",
        },
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--pods", type=int, default=50_000)
    parser.add_argument("--vms", type=int, default=2_000)
    parser.add_argument("--compact", action="store_true", help="as the API server sends it")
    parser.add_argument("--managed-fields", action="store_true")
    args = parser.parse_args()
    some = objects(args.pods, args.vms)
    write(args.file, some, compact=args.compact, managed_fields=args.managed_fields)


if __name__ == "__main__":
    main()
