"""Many worlds on one control plane: each is renamed so that it meets no other.

A world's plan is made of the manifests as they are. What the API server gets is the same world
with cluster-wide names, namespaces and label keys of nodes renamed one to one, and with pods
that select the world's own nodes. The scheduler reads no meaning into those names, so a world
that is renamed behaves as it would alone.
"""

from __future__ import annotations

from typing import Any

from differential.generate import TOPOLOGY_KEYS, Json

OWN = "differential.example.com/world"
"""Label of every node, and in the node selector of every pod: which world it belongs to."""
SLOT = "differential.example.com/slot"
"""Label of every namespace: the slot in which worlds come one after another."""


class Isolation:
    """Renames the objects of one world."""

    def __init__(self, world: str, slot: int) -> None:
        self.world = world
        self.slot = slot

    def namespace(self, name: str) -> str:
        return f"slot-{self.slot}-{name}"

    def named(self, name: str) -> str:
        """A cluster-wide name."""
        return f"{self.world}-{name}"

    def plain(self, name: str) -> str:
        """The name in the manifests of what bears a cluster-wide name here."""
        return name.removeprefix(f"{self.world}-")

    def key(self, key: str) -> str:
        """A key of a node's label: domains of other worlds must not count."""
        if key not in TOPOLOGY_KEYS:
            return key
        return f"{self.world}.example.com/{key.rpartition('/')[2]}"

    def labels(self, labels: dict[str, str]) -> dict[str, str]:
        """Labels of a node."""
        return {self.key(key): value for key, value in labels.items()}

    def node(self, node: Json) -> Json:
        labels = {**self.labels(node["metadata"]["labels"]), OWN: self.world}
        meta = {"name": self.named(node["metadata"]["name"]), "labels": labels}
        return {**node, "metadata": meta}

    def pod(self, pod: Json) -> Json:
        meta = pod["metadata"]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            # No owner references: garbage collection would look for the owners.
            "metadata": {
                "name": meta["name"],
                "namespace": self.namespace(meta["namespace"]),
                "labels": meta["labels"],
            },
            "spec": self.pod_spec(pod["spec"]),
        }

    def pod_spec(self, spec: Json) -> Json:
        spec = dict(spec)
        spec["nodeSelector"] = {**self.labels(spec.get("nodeSelector", {})), OWN: self.world}
        spec["terminationGracePeriodSeconds"] = 0
        spec["automountServiceAccountToken"] = False
        if "nodeName" in spec:
            spec["nodeName"] = self.named(spec["nodeName"])
        if "runtimeClassName" in spec:
            spec["runtimeClassName"] = self.named(spec["runtimeClassName"])
        if "affinity" in spec:
            spec["affinity"] = self._affinity(spec["affinity"])
        if "topologySpreadConstraints" in spec:
            spec["topologySpreadConstraints"] = [
                {**constraint, "topologyKey": self.key(constraint["topologyKey"])}
                for constraint in spec["topologySpreadConstraints"]
            ]
        if "volumes" in spec:
            spec["volumes"] = [self._volume(volume) for volume in spec["volumes"]]
        return spec

    def other(self, item: Json) -> Json:
        """An object of any other kind that the scheduler reads."""
        kind, item = item["kind"], {k: v for k, v in item.items() if k != "status"}
        meta = item["metadata"] = dict(item["metadata"])
        meta["name"] = self.named(meta["name"])
        meta["labels"] = {OWN: self.world}
        if "namespace" in meta:
            meta["namespace"] = self.namespace(meta["namespace"])
        if kind == "RuntimeClass" and "nodeSelector" in item.get("scheduling", {}):
            selector = self.labels(item["scheduling"]["nodeSelector"])
            item["scheduling"] = {**item["scheduling"], "nodeSelector": selector}
        elif kind == "PersistentVolume":
            item["spec"] = self._persistent_volume(item["spec"])
        elif kind == "PersistentVolumeClaim":
            spec = item["spec"] = dict(item["spec"])
            self._rename(spec, "storageClassName", "volumeName")
        elif kind == "DaemonSet":
            template = dict(item["spec"]["template"])
            template["spec"] = self.pod_spec(template["spec"])
            item["spec"] = {**item["spec"], "template": template}
        return item

    def _persistent_volume(self, spec: Json) -> Json:
        spec = dict(spec)
        self._rename(spec, "storageClassName")
        if "csi" in spec:
            handle = self.named(spec["csi"]["volumeHandle"])
            spec["csi"] = {**spec["csi"], "volumeHandle": handle}
        if "claimRef" in spec:
            claim = spec["claimRef"]
            spec["claimRef"] = {
                "namespace": self.namespace(claim["namespace"]),
                "name": self.named(claim["name"]),
            }
        if "nodeAffinity" in spec:
            terms = spec["nodeAffinity"]["required"]["nodeSelectorTerms"]
            renamed = [self._node_term(term) for term in terms]
            spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": renamed}}
        return spec

    def _rename(self, spec: Json, *fields: str) -> None:
        for field in fields:
            if spec.get(field):
                spec[field] = self.named(spec[field])

    def _volume(self, volume: Json) -> Json:
        claim = volume["persistentVolumeClaim"]
        renamed = {**claim, "claimName": self.named(claim["claimName"])}
        return {**volume, "persistentVolumeClaim": renamed}

    def _affinity(self, affinity: Json) -> Json:
        renamed: Json = {}
        for kind, rules in affinity.items():
            required, preferred = (
                rules.get(f"{when}DuringSchedulingIgnoredDuringExecution")
                for when in ("required", "preferred")
            )
            here: Json = {}
            if kind == "nodeAffinity":
                if required:
                    terms = [self._node_term(term) for term in required["nodeSelectorTerms"]]
                    here["required"] = {"nodeSelectorTerms": terms}
                if preferred:
                    here["preferred"] = [
                        {**wish, "preference": self._node_term(wish["preference"])}
                        for wish in preferred
                    ]
            else:
                if required:
                    here["required"] = [self._pod_term(term) for term in required]
                if preferred:
                    here["preferred"] = [
                        {**wish, "podAffinityTerm": self._pod_term(wish["podAffinityTerm"])}
                        for wish in preferred
                    ]
            renamed[kind] = {
                f"{when}DuringSchedulingIgnoredDuringExecution": value
                for when, value in here.items()
            }
        return renamed

    def _node_term(self, term: Json) -> Json:
        renamed: Json = {}
        if "matchExpressions" in term:
            renamed["matchExpressions"] = [
                {**requirement, "key": self.key(requirement["key"])}
                for requirement in term["matchExpressions"]
            ]
        if "matchFields" in term:
            renamed["matchFields"] = [
                {**requirement, "values": [self.named(name) for name in requirement["values"]]}
                for requirement in term["matchFields"]
            ]
        return renamed

    def _pod_term(self, term: Json) -> Json:
        renamed: dict[str, Any] = {**term, "topologyKey": self.key(term["topologyKey"])}
        if "namespaces" in term:
            renamed["namespaces"] = [self.namespace(name) for name in term["namespaces"]]
        if "namespaceSelector" in term:
            selector = term["namespaceSelector"]
            labels = {**selector.get("matchLabels", {}), SLOT: str(self.slot)}
            renamed["namespaceSelector"] = {**selector, "matchLabels": labels}
        return renamed
