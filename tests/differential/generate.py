"""Random worlds, as manifests: what people write, before any API server has seen it.

Each world uses a random choice of the features, so that some worlds are about one rule alone
and others about rules that meet. Names are short and stay the same when parts are taken away.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final

Json = dict[str, Any]

FEATURES: Final = (
    "affinity",
    "daemons",
    "extended",
    "gates",
    "init",
    "nodes",
    "ports",
    "preferences",
    "priorities",
    "runtime",
    "spread",
    "taints",
    "volumes",
)
"""What a world may be about."""

ZONE: Final = "topology.kubernetes.io/zone"
HOSTNAME: Final = "kubernetes.io/hostname"
HOST: Final = "plimsoll.dev/host"
TOPOLOGY_KEYS: Final = (HOSTNAME, ZONE, HOST, "tier")

NAMESPACES: Final[dict[str, dict[str, str]]] = {
    "default": {},
    "shop": {"team": "x"},
    "lab": {"team": "y", "stage": "test"},
}
SYSTEM: Final = "system"
"""Namespace of DaemonSets: selectors of other pods do not reach it."""
PRIORITY_CLASSES: Final[dict[str, Json]] = {
    "filler": {"value": -20, "preemptionPolicy": "Never"},
    "plain": {"value": 0, "preemptionPolicy": "Never"},
    "calm": {"value": 100, "preemptionPolicy": "Never"},
    "low": {"value": -5},
    "urgent": {"value": 1000},
}
PREEMPTING: Final = ("urgent", "low")
"""The classes whose pods drive out others, the most important first."""
LEAST: Final = "filler"
"""The class whose pods all others may drive out."""
DRIVER: Final = "disk.example.com"
GPU: Final = "example.com/gpu"
_RESERVED_CPU: Final = 200
_RESERVED_MIB: Final = 512


def world(
    seed: int, features: tuple[str, ...] = FEATURES, always: tuple[str, ...] = ()
) -> list[Json]:
    """The manifests of one world: of all that is in `always`, and of some of the `features`.

    Equal arguments give equal worlds.
    """
    random = Random(seed)
    size = random.choice((1, 2, 3, 4, len(features)))
    chosen = random.sample(features, min(size, len(features)))
    return _World(random, frozenset((*chosen, *always))).manifests()


def mixed(number: int, features: tuple[str, ...] = FEATURES) -> list[Json]:
    """The world of a number: every fourth one is about preemption, the others know none."""
    if number % 4 == 3:
        return world(number, tuple(f for f in features if f != "priorities"), ("preemption",))
    return world(number, features)


class _World:
    def __init__(self, random: Random, features: frozenset[str]) -> None:
        self.random = random
        self.features = features
        self.zones = [f"z{n}" for n in range(1, random.randint(1, 3) + 1)]
        self.hosts: list[Json] = [
            {
                "name": f"h{n}",
                "zone": random.choice(self.zones),
                "cpu": random.choice((16, 32)),
                "memory": random.choice(("64Gi", "128Gi")),
            }
            for n in range(1, random.randint(1, 4) + 1)
        ]
        self.apps = [f"app-{n}" for n in range(1, random.randint(1, 5) + 1)]
        self.claims: list[Json] = []
        self.node_names: list[str] = []
        self.room: dict[str, list[int]] = {}

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def uses(self, feature: str, share: float) -> bool:
        """Whether this one thing uses a feature of the world."""
        return feature in self.features and self.chance(share)

    def manifests(self) -> list[Json]:
        cluster = [self._hypervisor(), *self._namespaces()]
        if "priorities" in self.features or "preemption" in self.features:
            cluster += [_priority_class(name) for name in PRIORITY_CLASSES]
        if "runtime" in self.features:
            cluster += self._runtime_classes()
        pools = [self._pool(n) for n in range(1, self.random.randint(1, 3) + 1)]
        nodes = [self._node(n, pools) for n in range(1, self.random.randint(0, 4) + 1)]
        self.node_names = [_name(node) for node in nodes]
        for pool in pools:
            owned = [n for n in nodes if n["metadata"]["labels"].get("plimsoll.dev/pool")]
            here = [n for n in owned if n["metadata"]["labels"]["plimsoll.dev/pool"] == _name(pool)]
            pool["spec"]["nodes"]["max"] += len(here)
        vmnodes = [self._vmnode(node, pools) for node in nodes]
        if "volumes" in self.features:
            cluster += self._storage(nodes)
        pods = [pod for app in self.apps for pod in self._replicas(app, nodes)]
        daemons = [self._daemonset(pools)] if "daemons" in self.features else []
        items = [*cluster, *pools, *vmnodes, *nodes, *self.claims, *daemons, *pods]
        return [item for item in items if item]

    # The site

    def _hypervisor(self) -> Json:
        return {
            "apiVersion": "plimsoll.dev/v1alpha1",
            "kind": "Hypervisor",
            "metadata": {"name": "rack"},
            "spec": {"provider": "simulated", "simulated": {"hosts": self.hosts}},
        }

    def _namespaces(self) -> list[Json]:
        return [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            for name, labels in {**NAMESPACES, SYSTEM: {"stage": "live"}}.items()
        ]

    def _pool(self, number: int) -> Json:
        template: Json = {"labels": {"tier": f"t{number}", "gen": str(self.random.randint(1, 9))}}
        if self.uses("taints", 0.5):
            template["taints"] = [self._taint(number)]
        if self.uses("runtime", 0.3):
            template["runtimeClasses"] = ["kata"]
        cpu = self.random.choice((4, 4, 8) if "preemption" in self.features else (4, 8, 16))
        return {
            "apiVersion": "plimsoll.dev/v1alpha1",
            "kind": "VMPool",
            "metadata": {"name": f"pool{number}"},
            "spec": {
                "hypervisor": "rack",
                "nodes": {"max": self.random.randint(0, 8)},
                "maxLaunching": 100,
                # A VM that exists is as large as it may be: whether it could grow is no
                # question for the scheduler.
                "size": {
                    "cpu": {"min": 2, "max": cpu, "step": 2},
                    "memory": {"min": "4Gi", "max": f"{2 * cpu}Gi"},
                },
                "density": {
                    "pods": {"min": 1, "max": self.random.choice((3, 5, 20, 110))},
                    # The load line is no rule of the scheduler's.
                    "loadLinePercent": 100,
                },
                "template": template,
            },
        }

    def _taint(self, number: int) -> Json:
        effect = self.random.choice(("NoSchedule", "NoExecute", "PreferNoSchedule"))
        value = self.random.choice((f"t{number}", str(self.random.randint(1, 9))))
        return {"key": "dedicated", "value": value, "effect": effect}

    def _node(self, number: int, pools: list[Json]) -> Json:
        pool = self.random.choice(pools)
        host = self.random.choice(self.hosts)
        size = pool["spec"]["size"]["cpu"]["max"]
        labels = {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
        taints: list[Json] = []
        if self.chance(0.3):
            name = f"static-{number}"
            if self.uses("taints", 0.4):
                taints = [self._taint(1)]
            if self.chance(0.5):
                labels["tier"] = f"t{self.random.randint(1, 3)}"
            pods = self.random.choice((4, 20))
        else:
            name = f"{_name(pool)}-{number}"
            template = pool["spec"]["template"]
            labels |= template["labels"]
            labels |= {"plimsoll.dev/pool": _name(pool), "plimsoll.dev/hypervisor": "rack"}
            labels[HOST] = host["name"]
            taints = list(template.get("taints", []))
            pods = pool["spec"]["density"]["pods"]["max"]
        labels[HOSTNAME] = name
        if not self.chance(0.1) or not name.startswith("static"):
            labels[ZONE] = host["zone"]
        capacity = {"cpu": str(size), "memory": f"{2 * size}Gi", "pods": str(pods)}
        allocatable = {
            **capacity,
            "cpu": f"{size * 1000 - _RESERVED_CPU}m",
            "memory": f"{2 * size * 1024 - _RESERVED_MIB}Mi",
        }
        for amounts in (capacity, allocatable):
            if "plimsoll.dev/pool" in labels:
                amounts["plimsoll.dev/berths"] = "1"
        if self.uses("extended", 0.6):
            for amounts in (capacity, allocatable):
                amounts[GPU] = "2"
                amounts["ephemeral-storage"] = "20Gi"
        spec: Json = {"taints": taints} if taints else {}
        if self.chance(0.08):
            spec["unschedulable"] = True
        return {
            "apiVersion": "v1",
            "kind": "Node",
            # Nothing is given back: what is compared is where pods can go.
            "metadata": {
                "name": name,
                "labels": labels,
                "annotations": {"plimsoll.dev/do-not-disrupt": "true"},
            },
            "spec": spec,
            "status": {
                "capacity": capacity,
                "allocatable": allocatable,
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }

    def _vmnode(self, node: Json, pools: list[Json]) -> Json:
        labels = node["metadata"]["labels"]
        if "plimsoll.dev/pool" not in labels:
            return {}
        pool = next(p for p in pools if _name(p) == labels["plimsoll.dev/pool"])
        capacity = node["status"]["capacity"]
        size = {"cpu": int(capacity["cpu"]), "memory": capacity["memory"]}
        return {
            "apiVersion": "plimsoll.dev/v1alpha1",
            "kind": "VMNode",
            "metadata": {"name": _name(node)},
            "spec": {
                "pool": _name(pool),
                "hypervisor": "rack",
                "host": labels[HOST],
                "size": size,
                "berths": 1,
                "template": pool["spec"]["template"],
            },
            "status": {
                "phase": "Ready",
                "host": labels[HOST],
                "size": size,
                "identity": {"uuid": _name(node)},
            },
        }

    def _runtime_classes(self) -> list[Json]:
        kata: Json = {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": "kata"},
            "handler": "kata",
            "overhead": {"podFixed": {"cpu": "250m", "memory": "128Mi"}},
        }
        if self.chance(0.5):
            kata["scheduling"] = {"nodeSelector": {"tier": f"t{self.random.randint(1, 2)}"}}
            if self.chance(0.5):
                kata["scheduling"]["tolerations"] = [self._toleration()]
        return [kata]

    # Volumes

    def _storage(self, nodes: list[Json]) -> list[Json]:
        items: list[Json] = [
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": "local"},
                "provisioner": "kubernetes.io/no-provisioner",
                "volumeBindingMode": "WaitForFirstConsumer",
            }
        ]
        for node in nodes:
            if self.chance(0.5):
                driver = {
                    "name": DRIVER,
                    "nodeID": _name(node),
                    "topologyKeys": [],
                    "allocatable": {"count": self.random.randint(1, 3)},
                }
                items.append(
                    {
                        "apiVersion": "storage.k8s.io/v1",
                        "kind": "CSINode",
                        "metadata": {"name": _name(node)},
                        "spec": {"drivers": [driver]},
                    }
                )
        return items

    def _volume(self, name: str, namespace: str) -> Json:
        """A volume that is bound already, or a local one that its first pod will take."""
        bound = not self.node_names or self.chance(0.6)
        spec: Json = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "" if bound else "local",
        }
        claim: Json = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "" if bound else "local",
        }
        if bound:
            spec["csi"] = {"driver": DRIVER, "volumeHandle": name}
            places = [(ZONE, self.random.choice(self.zones))] if self.chance(0.6) else []
        else:
            spec["local"] = {"path": f"/disks/{name}"}
            places = [(HOSTNAME, self.random.choice(self.node_names))]
        for key, value in places:
            term = {"key": key, "operator": "In", "values": [value]}
            spec["nodeAffinity"] = {
                "required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}
            }
        volume: Json = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"pv-{name}"},
            "spec": spec,
        }
        if bound:
            spec["claimRef"] = {"namespace": namespace, "name": name}
            claim["volumeName"] = f"pv-{name}"
            volume["status"] = {"phase": "Bound"}
        self.claims.append(volume)
        self.claims.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": name, "namespace": namespace},
                "spec": claim,
                "status": {"phase": "Bound" if bound else "Pending"},
            }
        )
        return {"name": "data", "persistentVolumeClaim": {"claimName": name}}

    # Pods

    def _replicas(self, app: str, nodes: list[Json]) -> list[Json]:
        namespace = self.random.choice(list(NAMESPACES))
        labels = {"app": app}
        if self.chance(0.5):
            labels["rev"] = self.random.choice("ab")
        template = self._pod_spec(app)
        with_volume = self.uses("volumes", 0.6)
        pods = []
        most = 10 if "preemption" in self.features else 5
        for number in range(1, self.random.randint(1, most) + 1):
            name = f"{app}-{number}"
            spec = copy(template)
            node = self._running_on(nodes, spec)
            if with_volume and node is None:
                spec["volumes"] = [self._volume(f"data-{name}", namespace)]
            if node is None and self.uses("gates", 0.3):
                spec["schedulingGates"] = [{"name": "example.com/wait"}]
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": labels,
                    "ownerReferences": [
                        {
                            "apiVersion": "apps/v1",
                            "kind": "ReplicaSet",
                            "name": app,
                            "uid": app,
                            "controller": True,
                        }
                    ],
                },
                "spec": spec,
                "status": {"phase": "Pending"},
            }
            if node is not None:
                spec["nodeName"] = _name(node)
                ready = {"type": "Ready", "status": "True"}
                pod["status"] = {"phase": "Running", "conditions": [ready]}
            pods.append(pod)
        return pods

    def _running_on(self, nodes: list[Json], spec: Json) -> Json | None:
        """A node on which this pod runs already, whatever the rules say by now.

        It stays there: it tolerates what would drive it away, and the node has room.
        """
        full = "preemption" in self.features and spec["priorityClassName"] != PREEMPTING[0]
        if not nodes or not self.chance(0.9 if full else 0.3):
            return None
        node = self.random.choice(nodes)
        if any(taint["effect"] == "NoExecute" for taint in node["spec"].get("taints", [])):
            return None
        # The simple ones: what a pod of many containers takes is what is to be found out.
        (container, *others) = spec["containers"]
        if others or "initContainers" in spec or "runtimeClassName" in spec:
            return None
        requests = container["resources"]["requests"]
        if len(requests) > 2:
            return None
        room = self.room.setdefault(_name(node), _room(node))
        taken = (1, milli(requests["cpu"]), mebi(requests["memory"]))
        left = [have - take for have, take in zip(room, taken, strict=True)]
        if min(left) < 0:
            return None
        self.room[_name(node)] = left
        return node

    def _pod_spec(self, app: str) -> Json:
        random = self.random
        requests = {
            "cpu": random.choice(("100m", "500m", "1", "1500m", "3")),
            "memory": random.choice(("64Mi", "512Mi", "2Gi", "5Gi")),
        }
        container: Json = {"name": "main", "image": "none", "resources": {"requests": requests}}
        spec: Json = {"containers": [container]}
        if self.uses("init", 0.6):
            self._more_containers(spec)
        if self.uses("extended", 0.4):
            name = random.choice((GPU, "ephemeral-storage", "plimsoll.dev/berths"))
            amount = "6Gi" if name == "ephemeral-storage" else "1"
            requests[name] = amount
            if name != "ephemeral-storage":
                container["resources"]["limits"] = {name: amount}
        if self.uses("ports", 0.6):
            port: Json = {"containerPort": 80, "hostPort": random.choice((80, 81))}
            if self.chance(0.4):
                port["hostIP"] = random.choice(("127.0.0.1", "10.0.0.1", "0.0.0.0"))
            if self.chance(0.3):
                port["protocol"] = "UDP"
            container["ports"] = [port]
        if self.uses("taints", 0.6):
            spec["tolerations"] = [self._toleration() for _ in range(random.randint(1, 2))]
        if self.uses("runtime", 0.5):
            spec["runtimeClassName"] = "kata"
        if "priorities" in self.features:
            spec["priorityClassName"] = random.choice(("filler", "plain", "plain", "calm"))
        if "preemption" in self.features:
            spec["priorityClassName"] = random.choice(("filler", "low", "low", "urgent"))
        self._affinities(spec, app)
        if self.uses("spread", 0.6):
            keys = random.sample(TOPOLOGY_KEYS, random.randint(1, 2))
            spec["topologySpreadConstraints"] = [self._spread(key, app) for key in keys]
        return spec

    def _more_containers(self, spec: Json) -> None:
        def container(name: str, **more: Any) -> Json:
            requests = {"cpu": self.random.choice(("200m", "1", "3")), "memory": "256Mi"}
            return {"name": name, "image": "none", "resources": {"requests": requests}, **more}

        if self.chance(0.5):
            spec["containers"].append(container("second"))
        first: list[Json] = []
        for number in range(self.random.randint(0, 3)):
            sidecar = {"restartPolicy": "Always"} if self.chance(0.5) else {}
            first.append(container(f"init-{number}", **sidecar))
        if first:
            spec["initContainers"] = first
        if self.chance(0.3):
            # At least what its containers ask for together, or the API server refuses it.
            asked = [c["resources"]["requests"] for c in (*spec["containers"], *first)]
            spec["resources"] = {
                "requests": {
                    "cpu": f"{sum(milli(r['cpu']) for r in asked)}m",
                    "memory": f"{sum(mebi(r['memory']) for r in asked)}Mi",
                }
            }
            if self.chance(0.5):
                del spec["resources"]["requests"]["memory"]

    def _toleration(self) -> Json:
        choices: tuple[Json, ...] = (
            {"operator": "Exists"},
            {"key": "dedicated", "operator": "Exists"},
            {"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "dedicated", "value": "t1", "effect": "NoExecute"},
            {"key": "dedicated", "operator": "Equal", "value": "t2"},
            {"key": "dedicated", "value": "t1", "effect": "NoSchedule"},
            {"key": "other", "operator": "Exists"},
        )
        return dict(self.random.choice(choices))

    def _affinities(self, spec: Json, app: str) -> None:
        affinity: Json = {}
        # The API server refuses a pod whose selector contradicts its RuntimeClass.
        if "runtimeClassName" not in spec and self.uses("nodes", 0.3):
            spec["nodeSelector"] = {"tier": f"t{self.random.randint(1, 3)}"}
        near: Json = {}
        if self.uses("nodes", 0.5):
            terms = [self._node_term() for _ in range(self.random.randint(1, 2))]
            near["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
        if self.uses("preferences", 0.6):
            near["preferredDuringSchedulingIgnoredDuringExecution"] = [
                {"weight": self.random.randint(1, 100), "preference": self._node_term()}
            ]
        if near:
            affinity["nodeAffinity"] = near
        for kind, share in (("podAffinity", 0.3), ("podAntiAffinity", 0.4)):
            rules: Json = {}
            if self.uses("affinity", share):
                terms = [self._pod_term(app) for _ in range(self.random.choice((1, 1, 2)))]
                rules["requiredDuringSchedulingIgnoredDuringExecution"] = terms
            if self.uses("preferences", share):
                wish = {
                    "weight": self.random.randint(1, 100),
                    "podAffinityTerm": self._pod_term(app),
                }
                rules["preferredDuringSchedulingIgnoredDuringExecution"] = [wish]
            if rules:
                affinity[kind] = rules
        if affinity:
            spec["affinity"] = affinity

    def _node_term(self) -> Json:
        requirements: tuple[Json, ...] = (
            {"key": "tier", "operator": "In", "values": ["t1", "t2"]},
            {"key": "tier", "operator": "NotIn", "values": ["t1"]},
            {"key": "tier", "operator": "Exists"},
            {"key": "tier", "operator": "DoesNotExist"},
            {"key": "gen", "operator": "Gt", "values": ["4"]},
            {"key": "gen", "operator": "Lt", "values": ["6"]},
            {"key": ZONE, "operator": "In", "values": [self.random.choice(self.zones)]},
            {"key": ZONE, "operator": "NotIn", "values": [self.random.choice(self.zones)]},
        )
        term: Json = {
            "matchExpressions": self.random.sample(requirements, self.random.choice((1, 1, 2)))
        }
        if self.chance(0.15):
            operator = self.random.choice(("In", "NotIn"))
            # A node of today: of a VM that does not exist nobody knows what it will be called.
            named = self.random.choice([*self.node_names, "nowhere"])
            term["matchFields"] = [
                {"key": "metadata.name", "operator": operator, "values": [named]}
            ]
            if self.chance(0.5):
                del term["matchExpressions"]
        return term

    def _label_selector(self, app: str) -> Json | None:
        some = self.random.sample(self.apps, min(2, len(self.apps)))
        own = {"matchLabels": {"app": app}}
        choices: tuple[Json | None, ...] = (
            own,
            own,
            own,
            {"matchLabels": {"app": some[0]}},
            {"matchExpressions": [{"key": "app", "operator": "In", "values": some}]},
            {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": some[:1]}]},
            {"matchExpressions": [{"key": "rev", "operator": "Exists"}]},
            {"matchExpressions": [{"key": "rev", "operator": "DoesNotExist"}]},
            {},
            None,
        )
        return self.random.choice(choices)

    def _pod_term(self, app: str) -> Json:
        term: Json = {"topologyKey": self.random.choice(TOPOLOGY_KEYS)}
        selector = self._label_selector(app)
        if selector is not None:
            term["labelSelector"] = selector
            if "rev" not in str(selector) and self.chance(0.25):
                term[self.random.choice(("matchLabelKeys", "mismatchLabelKeys"))] = ["rev"]
        if self.chance(0.2):
            term["namespaces"] = self.random.sample(list(NAMESPACES), self.random.randint(1, 2))
        if self.chance(0.25):
            term["namespaceSelector"] = self.random.choice(
                (
                    {} if "daemons" not in self.features else {"matchLabels": {"team": "y"}},
                    {"matchLabels": {"team": "x"}},
                    {"matchExpressions": [{"key": "team", "operator": "Exists"}]},
                    {"matchExpressions": [{"key": "stage", "operator": "DoesNotExist"}]},
                )
            )
        return term

    def _spread(self, key: str, app: str) -> Json:
        hard = self.chance(0.75)
        constraint: Json = {
            "maxSkew": self.random.randint(1, 2),
            "topologyKey": key,
            "whenUnsatisfiable": "DoNotSchedule" if hard else "ScheduleAnyway",
        }
        selector = self._label_selector(app)
        if selector is not None:
            constraint["labelSelector"] = selector
            if "rev" not in str(selector) and self.chance(0.25):
                constraint["matchLabelKeys"] = ["rev"]
        if hard and self.chance(0.25):
            constraint["minDomains"] = self.random.randint(1, 3)
        if self.chance(0.3):
            constraint["nodeTaintsPolicy"] = self.random.choice(("Honor", "Ignore"))
        if self.chance(0.3):
            constraint["nodeAffinityPolicy"] = self.random.choice(("Honor", "Ignore"))
        return constraint

    def _daemonset(self, pools: list[Json]) -> Json:
        pool = self.random.choice(pools)
        labels = {"daemon": "agent"}
        requests = {"cpu": self.random.choice(("100m", "500m")), "memory": "128Mi"}
        container = {"name": "main", "image": "none", "resources": {"requests": requests}}
        spec: Json = {"containers": [container], "nodeSelector": {"plimsoll.dev/pool": _name(pool)}}
        if self.chance(0.3):
            spec["tolerations"] = [self._toleration()]
        return {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "agent", "namespace": SYSTEM},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }


def _priority_class(name: str) -> Json:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        **PRIORITY_CLASSES[name],
    }


def _name(obj: Json) -> str:
    return str(obj["metadata"]["name"])


def milli(cpu: str) -> int:
    """Millicores of a quantity as it is written here."""
    return int(cpu[:-1]) if cpu.endswith("m") else int(cpu) * 1000


def mebi(memory: str) -> int:
    """MiB of a quantity as it is written here."""
    return int(memory[:-2]) * (1024 if memory.endswith("Gi") else 1)


def _room(node: Json) -> list[int]:
    """Pods, millicores and MiB for running pods, and none left over for a daemon's pod."""
    allocatable = node["status"]["allocatable"]
    return [
        int(allocatable["pods"]) - 1,
        milli(allocatable["cpu"]) - 500,
        mebi(allocatable["memory"]) - 128,
    ]


def copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copy(item) for item in value]
    return value
