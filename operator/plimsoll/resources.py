"""The API resources that Plimsoll reads or writes, and how their URLs are built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class Resource(NamedTuple):
    """One resource of the Kubernetes API."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    namespaced: bool
    kind: str

    @property
    def api_version(self) -> str:
        """``group/version``, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """URL path of the collection, of one object, or of its subresource.

        Raises:
            ValueError: a namespace is given for a cluster-scoped resource, or
                one object of a namespaced resource is named without its namespace.
        """
        if namespace and not self.namespaced:
            raise ValueError(f"{self.plural} are cluster-scoped, but namespace {namespace!r} given")
        if name and self.namespaced and not namespace:
            raise ValueError(f"{self.plural} {name!r}: the namespace is missing")
        parts = ["/apis" if self.group else "/api", self.api_version]
        if namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


HYPERVISORS: Final = Resource("plimsoll.dev", "v1alpha1", "hypervisors", False, "Hypervisor")
VMPOOLS: Final = Resource("plimsoll.dev", "v1alpha1", "vmpools", False, "VMPool")
VMNODES: Final = Resource("plimsoll.dev", "v1alpha1", "vmnodes", False, "VMNode")
CONTAINERWORKLOADS: Final = Resource(
    "plimsoll.dev", "v1alpha1", "containerworkloads", True, "ContainerWorkload"
)

CONFIGMAPS: Final = Resource("", "v1", "configmaps", True, "ConfigMap")
EVENTS: Final = Resource("", "v1", "events", True, "Event")
NAMESPACES: Final = Resource("", "v1", "namespaces", False, "Namespace")
NODES: Final = Resource("", "v1", "nodes", False, "Node")
PERSISTENTVOLUMECLAIMS: Final = Resource(
    "", "v1", "persistentvolumeclaims", True, "PersistentVolumeClaim"
)
PERSISTENTVOLUMES: Final = Resource("", "v1", "persistentvolumes", False, "PersistentVolume")
PODS: Final = Resource("", "v1", "pods", True, "Pod")
SECRETS: Final = Resource("", "v1", "secrets", True, "Secret")
SERVICES: Final = Resource("", "v1", "services", True, "Service")

DAEMONSETS: Final = Resource("apps", "v1", "daemonsets", True, "DaemonSet")
DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", True, "Deployment")
REPLICASETS: Final = Resource("apps", "v1", "replicasets", True, "ReplicaSet")
STATEFULSETS: Final = Resource("apps", "v1", "statefulsets", True, "StatefulSet")

PODDISRUPTIONBUDGETS: Final = Resource(
    "policy", "v1", "poddisruptionbudgets", True, "PodDisruptionBudget"
)
HORIZONTALPODAUTOSCALERS: Final = Resource(
    "autoscaling", "v2", "horizontalpodautoscalers", True, "HorizontalPodAutoscaler"
)
CERTIFICATESIGNINGREQUESTS: Final = Resource(
    "certificates.k8s.io", "v1", "certificatesigningrequests", False, "CertificateSigningRequest"
)
SELFSUBJECTACCESSREVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", False, "SelfSubjectAccessReview"
)
RUNTIMECLASSES: Final = Resource("node.k8s.io", "v1", "runtimeclasses", False, "RuntimeClass")
PRIORITYCLASSES: Final = Resource(
    "scheduling.k8s.io", "v1", "priorityclasses", False, "PriorityClass"
)
STORAGECLASSES: Final = Resource("storage.k8s.io", "v1", "storageclasses", False, "StorageClass")
CSINODES: Final = Resource("storage.k8s.io", "v1", "csinodes", False, "CSINode")
CSIDRIVERS: Final = Resource("storage.k8s.io", "v1", "csidrivers", False, "CSIDriver")
CSISTORAGECAPACITIES: Final = Resource(
    "storage.k8s.io", "v1", "csistoragecapacities", True, "CSIStorageCapacity"
)
APISERVICES: Final = Resource("apiregistration.k8s.io", "v1", "apiservices", False, "APIService")
POD_METRICS: Final = Resource("metrics.k8s.io", "v1beta1", "pods", True, "PodMetrics")
NODE_METRICS: Final = Resource("metrics.k8s.io", "v1beta1", "nodes", False, "NodeMetrics")

_BY_KIND: Final = {
    (value.api_version, value.kind): value
    for value in list(globals().values())
    if isinstance(value, Resource)
}


def resource_of(obj: Mapping[str, Any]) -> Resource:
    """The resource that an object belongs to, by its ``apiVersion`` and ``kind``.

    Raises:
        ValueError: the object has no such fields, or Plimsoll does not use that kind.
    """
    key = (obj.get("apiVersion", ""), obj.get("kind", ""))
    try:
        return _BY_KIND[key]
    except KeyError:
        raise ValueError(
            f"no known resource for apiVersion {key[0]!r}, kind {key[1]!r}: add it to resources.py"
        ) from None
