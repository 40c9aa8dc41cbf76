"""Every permission that the operator needs. ``manifests/rbac.yaml`` grants exactly these."""

from __future__ import annotations

from typing import Final, NamedTuple

REFLECT: Final = ("list", "watch")
READ: Final = ("get", *REFLECT)


class Permission(NamedTuple):
    """Verbs on one resource or subresource."""

    group: str
    resource: str
    """``plural`` or ``plural/subresource``."""
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()
    """Only on the objects of these names; empty: on all."""

    def __str__(self) -> str:
        name = f"{self.resource}.{self.group}" if self.group else self.resource
        named = f" ({', '.join(self.names)})" if self.names else ""
        return f"{', '.join(self.verbs)} {name}{named}"


CLUSTER: Final = (
    # Our kinds. kopf adds and removes the finalizers of what people create.
    Permission("plimsoll.dev", "hypervisors", (*READ, "patch")),
    Permission("plimsoll.dev", "hypervisors/status", ("patch",)),
    Permission("plimsoll.dev", "vmpools", (*READ, "patch")),
    Permission("plimsoll.dev", "vmpools/status", ("patch",)),
    # To own a VMNode or a Deployment so that its owner waits for it.
    Permission("plimsoll.dev", "vmpools/finalizers", ("update",)),
    Permission("plimsoll.dev", "vmnodes", (*READ, "create", "patch", "delete")),
    Permission("plimsoll.dev", "vmnodes/status", ("patch",)),
    Permission("plimsoll.dev", "containerworkloads", REFLECT),
    Permission("plimsoll.dev", "containerworkloads/status", ("patch",)),
    Permission("plimsoll.dev", "containerworkloads/finalizers", ("update",)),
    # VMs as nodes: cordon, label, taint, berths; delete when the VM is gone.
    Permission("", "nodes", (*READ, "patch", "delete")),
    Permission("", "nodes/status", ("patch",)),
    # Containers: evict, resize in place; delete only when a drain is forced.
    Permission("", "pods", (*READ, "delete")),
    Permission("", "pods/eviction", ("create",)),
    Permission("", "pods/resize", ("patch",)),
    # Where a pending pod is to go: told to the scheduler.
    Permission("", "pods/status", ("patch",)),
    Permission("apps", "deployments", (*READ, "create", "patch")),
    Permission("apps", "statefulsets", (*REFLECT, "patch")),
    Permission("policy", "poddisruptionbudgets", (*READ, "create", "patch", "delete")),
    # What the decision reads besides.
    Permission("apps", "replicasets", REFLECT),
    Permission("apps", "daemonsets", REFLECT),
    Permission("node.k8s.io", "runtimeclasses", REFLECT),
    Permission("scheduling.k8s.io", "priorityclasses", REFLECT),
    Permission("", "persistentvolumeclaims", REFLECT),
    Permission("", "persistentvolumes", REFLECT),
    Permission("storage.k8s.io", "storageclasses", REFLECT),
    Permission("storage.k8s.io", "csinodes", REFLECT),
    Permission("storage.k8s.io", "csidrivers", REFLECT),
    Permission("storage.k8s.io", "csistoragecapacities", REFLECT),
    Permission("", "namespaces", READ),
    Permission("autoscaling", "horizontalpodautoscalers", ("list",)),
    Permission("metrics.k8s.io", "pods", ("list",)),
    Permission("metrics.k8s.io", "nodes", ("list",)),
    Permission("", "events", ("create",)),
    # Certificates of kubelets. (What is approved is decided in bootstrap/verdict.py.)
    Permission("certificates.k8s.io", "certificatesigningrequests", REFLECT),
    Permission("certificates.k8s.io", "certificatesigningrequests/approval", ("patch",)),
    Permission(
        "certificates.k8s.io",
        "signers",
        ("approve",),
        ("kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"),
    ),
)

TOKENS_NAMESPACE: Final = "kube-system"
TOKENS: Final = (
    # Bootstrap tokens of VMs, never read. A ValidatingAdmissionPolicy leaves no other Secrets.
    Permission("", "secrets", ("create", "delete")),
)

OWN_NAMESPACE: Final = (
    # The VMs of simulated hypervisors, and the CA that VMs are told.
    Permission("", "configmaps", ("get", "list", "create", "patch", "delete")),
    # Credentials of hypervisors: from nowhere else.
    Permission("", "secrets", ("get",)),
)
