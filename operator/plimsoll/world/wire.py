"""Kubernetes objects as they come over the wire, cut down to what the decision reads.

msgspec decodes straight into these structs and skips every other field, which
is what makes reading many pods cheap. Quantities stay text here; ``pods.py``
turns them into numbers once per distinct pod shape.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Wire(msgspec.Struct, frozen=True, rename="camel", kw_only=True, gc=False):
    """Base: camelCase outside, snake_case inside, unknown fields skipped.

    What is decoded of JSON is a tree: no cycle can form, so the garbage collector need not
    walk through it.
    """


class OwnerReference(Wire, frozen=True, kw_only=True):
    api_version: str = ""
    kind: str
    name: str
    uid: str = ""
    controller: bool = False


class Meta(Wire, frozen=True, kw_only=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    finalizers: list[str] = []
    owner_references: list[OwnerReference] = []


class Object(Wire, frozen=True, kw_only=True):
    """What every kind has."""

    metadata: Meta


Quantity = str | int | float


class Resources(Wire, frozen=True, kw_only=True):
    requests: dict[str, Quantity] = {}
    limits: dict[str, Quantity] = {}
    claims: list[Any] = []


class ContainerPort(Wire, frozen=True, kw_only=True):
    container_port: int = 0
    host_port: int = 0
    host_ip: str = msgspec.field(default="", name="hostIP")
    protocol: str = "TCP"


class ResizePolicy(Wire, frozen=True, kw_only=True):
    resource_name: str
    restart_policy: str


class RestartRule(Wire, frozen=True, kw_only=True):
    action: str = ""


class ContainerSpec(Wire, frozen=True, kw_only=True):
    name: str = ""
    resources: Resources = Resources()
    ports: list[ContainerPort] = []
    restart_policy: str | None = None
    restart_policy_rules: list[RestartRule] = []
    resize_policy: list[ResizePolicy] = []


class SelectorRequirement(Wire, frozen=True, kw_only=True):
    key: str
    operator: str
    values: list[str] = []


class LabelSelector(Wire, frozen=True, kw_only=True):
    match_labels: dict[str, str] = {}
    match_expressions: list[SelectorRequirement] = []


class NodeSelectorTerm(Wire, frozen=True, kw_only=True):
    match_expressions: list[SelectorRequirement] = []
    match_fields: list[SelectorRequirement] = []


class NodeSelector(Wire, frozen=True, kw_only=True):
    node_selector_terms: list[NodeSelectorTerm] = []


class PreferredNodes(Wire, frozen=True, kw_only=True):
    """A wish for nodes; ``weight`` is 1 to 100."""

    weight: int
    preference: NodeSelectorTerm = NodeSelectorTerm()


class NodeAffinity(Wire, frozen=True, kw_only=True):
    required: NodeSelector | None = msgspec.field(
        default=None, name="requiredDuringSchedulingIgnoredDuringExecution"
    )
    preferred: list[PreferredNodes] = msgspec.field(
        default_factory=list, name="preferredDuringSchedulingIgnoredDuringExecution"
    )


class PodAffinityTerm(Wire, frozen=True, kw_only=True):
    topology_key: str
    label_selector: LabelSelector | None = None
    namespaces: list[str] = []
    namespace_selector: LabelSelector | None = None
    match_label_keys: list[str] = []
    mismatch_label_keys: list[str] = []


class WeightedPodAffinityTerm(Wire, frozen=True, kw_only=True):
    """A wish to be near, or apart from, other pods; ``weight`` is 1 to 100."""

    weight: int
    pod_affinity_term: PodAffinityTerm


class PodAffinity(Wire, frozen=True, kw_only=True):
    required: list[PodAffinityTerm] = msgspec.field(
        default_factory=list, name="requiredDuringSchedulingIgnoredDuringExecution"
    )
    preferred: list[WeightedPodAffinityTerm] = msgspec.field(
        default_factory=list, name="preferredDuringSchedulingIgnoredDuringExecution"
    )


class Affinity(Wire, frozen=True, kw_only=True):
    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class Toleration(Wire, frozen=True, kw_only=True):
    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class TopologySpreadConstraint(Wire, frozen=True, kw_only=True):
    max_skew: int
    topology_key: str
    when_unsatisfiable: str
    label_selector: LabelSelector | None = None
    min_domains: int | None = None
    node_affinity_policy: str = "Honor"
    node_taints_policy: str = "Ignore"
    match_label_keys: list[str] = []


class SchedulingGate(Wire, frozen=True, kw_only=True):
    name: str


class ClaimResources(Wire, frozen=True, kw_only=True):
    requests: dict[str, Quantity] = {}


class PersistentVolumeClaimSpec(Wire, frozen=True, kw_only=True):
    access_modes: list[str] = []
    storage_class_name: str | None = None
    volume_name: str = ""
    volume_mode: str = "Filesystem"
    volume_attributes_class_name: str | None = None
    selector: LabelSelector | None = None
    resources: ClaimResources = ClaimResources()


class PersistentVolumeClaimStatus(Wire, frozen=True, kw_only=True):
    phase: str = ""


class PersistentVolumeClaim(Object, frozen=True, kw_only=True):
    spec: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec()
    status: PersistentVolumeClaimStatus = PersistentVolumeClaimStatus()


class PersistentVolumeClaimTemplate(Wire, frozen=True, kw_only=True):
    """Of a generic ephemeral volume."""

    metadata: Meta = Meta()
    spec: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec()


class EphemeralVolumeSource(Wire, frozen=True, kw_only=True):
    volume_claim_template: PersistentVolumeClaimTemplate = PersistentVolumeClaimTemplate()


class PersistentVolumeClaimVolumeSource(Wire, frozen=True, kw_only=True):
    claim_name: str = ""


class Volume(Wire, frozen=True, kw_only=True):
    """A volume of a pod. Sources that no rule looks at are skipped."""

    name: str = ""
    empty_dir: dict[str, Any] | None = None
    host_path: dict[str, Any] | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    ephemeral: EphemeralVolumeSource | None = None
    gce_persistent_disk: dict[str, Any] | None = None
    aws_elastic_block_store: dict[str, Any] | None = None
    iscsi: dict[str, Any] | None = None
    rbd: dict[str, Any] | None = None
    azure_disk: dict[str, Any] | None = None
    azure_file: dict[str, Any] | None = None
    cinder: dict[str, Any] | None = None
    portworx_volume: dict[str, Any] | None = None
    vsphere_volume: dict[str, Any] | None = None


class PodSpec(Wire, frozen=True, kw_only=True):
    containers: list[ContainerSpec] = []
    init_containers: list[ContainerSpec] = []
    resources: Resources | None = None
    overhead: dict[str, Quantity] = {}
    node_name: str = ""
    node_selector: dict[str, str] = {}
    affinity: Affinity | None = None
    tolerations: list[Toleration] = []
    topology_spread_constraints: list[TopologySpreadConstraint] = []
    scheduling_gates: list[SchedulingGate] = []
    scheduler_name: str = "default-scheduler"
    runtime_class_name: str | None = None
    priority: int | None = None
    priority_class_name: str = ""
    preemption_policy: str | None = None
    host_network: bool = False
    host_users: bool | None = None
    volumes: list[Volume] = []
    resource_claims: list[Any] = []
    scheduling_group: dict[str, Any] | None = None
    termination_grace_period_seconds: int | None = None


class Condition(Wire, frozen=True, kw_only=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class ContainerStatus(Wire, frozen=True, kw_only=True):
    name: str = ""
    resources: Resources | None = None
    allocated_resources: dict[str, Quantity] = {}


class PodCondition(Wire, frozen=True, kw_only=True):
    """A condition without its times, which would keep pods from sharing it."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


class PodStatus(Wire, frozen=True, kw_only=True):
    phase: str = "Pending"
    conditions: list[PodCondition] = []
    container_statuses: list[ContainerStatus] = []
    init_container_statuses: list[ContainerStatus] = []
    resources: Resources | None = None
    allocated_resources: dict[str, Quantity] = {}
    nominated_node_name: str = ""
    start_time: str | None = None


class Pod(Object, frozen=True, kw_only=True):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Taint(Wire, frozen=True, kw_only=True):
    key: str
    value: str = ""
    effect: str


class NodeSpec(Wire, frozen=True, kw_only=True):
    provider_id: str = msgspec.field(default="", name="providerID")
    unschedulable: bool = False
    taints: list[Taint] = []


class NodeInfo(Wire, frozen=True, kw_only=True):
    system_uuid: str = msgspec.field(default="", name="systemUUID")


class NodeStatus(Wire, frozen=True, kw_only=True):
    capacity: dict[str, Quantity] = {}
    allocatable: dict[str, Quantity] = {}
    conditions: list[Condition] = []
    node_info: NodeInfo = NodeInfo()


class Node(Object, frozen=True, kw_only=True):
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class PodTemplate(Wire, frozen=True, kw_only=True):
    metadata: Meta = Meta()
    spec: PodSpec = PodSpec()


class Ordinals(Wire, frozen=True, kw_only=True):
    """Numbering of a StatefulSet's pods."""

    start: int = 0


class ControllerSpec(Wire, frozen=True, kw_only=True):
    """Spec of a Deployment, StatefulSet, ReplicaSet, DaemonSet or Job."""

    ordinals: Ordinals | None = None
    volume_claim_templates: list[PersistentVolumeClaim] = []
    """Of a StatefulSet: every pod gets a claim and a volume of the template's name."""
    replicas: int | None = None
    selector: LabelSelector | None = None
    template: PodTemplate = PodTemplate()
    parallelism: int | None = None
    completions: int | None = None
    suspend: bool = False


class ControllerStatus(Wire, frozen=True, kw_only=True):
    replicas: int = 0
    ready_replicas: int = 0
    observed_generation: int = 0
    succeeded: int = 0
    conditions: list[Condition] = []


class Controller(Object, frozen=True, kw_only=True):
    """A Deployment, StatefulSet, ReplicaSet, DaemonSet or Job."""

    kind: str = ""
    spec: ControllerSpec = ControllerSpec()
    status: ControllerStatus = ControllerStatus()


class PodDisruptionBudgetSpec(Wire, frozen=True, kw_only=True):
    selector: LabelSelector | None = None
    min_available: int | str | None = None
    max_unavailable: int | str | None = None


class PodDisruptionBudgetStatus(Wire, frozen=True, kw_only=True):
    disruptions_allowed: int = 0
    observed_generation: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0
    expected_pods: int = 0


class PodDisruptionBudget(Object, frozen=True, kw_only=True):
    spec: PodDisruptionBudgetSpec = PodDisruptionBudgetSpec()
    status: PodDisruptionBudgetStatus | None = None


class RuntimeClassScheduling(Wire, frozen=True, kw_only=True):
    node_selector: dict[str, str] = {}
    tolerations: list[Toleration] = []


class RuntimeClassOverhead(Wire, frozen=True, kw_only=True):
    pod_fixed: dict[str, Quantity] = {}


class RuntimeClass(Object, frozen=True, kw_only=True):
    handler: str = ""
    overhead: RuntimeClassOverhead | None = None
    scheduling: RuntimeClassScheduling | None = None


class PriorityClass(Object, frozen=True, kw_only=True):
    value: int = 0
    global_default: bool = False
    preemption_policy: str = "PreemptLowerPriority"


class ClaimReference(Wire, frozen=True, kw_only=True):
    """The claim that a PersistentVolume is bound to, or reserved for."""

    name: str = ""
    namespace: str = ""
    uid: str = ""


class CSIVolumeSource(Wire, frozen=True, kw_only=True):
    driver: str = ""
    volume_handle: str = ""


class VolumeNodeAffinity(Wire, frozen=True, kw_only=True):
    required: NodeSelector | None = None


class PersistentVolumeSpec(Wire, frozen=True, kw_only=True):
    capacity: dict[str, Quantity] = {}
    access_modes: list[str] = []
    storage_class_name: str = ""
    volume_mode: str = "Filesystem"
    volume_attributes_class_name: str | None = None
    claim_ref: ClaimReference | None = None
    node_affinity: VolumeNodeAffinity | None = None
    csi: CSIVolumeSource | None = None
    gce_persistent_disk: dict[str, Any] | None = None
    aws_elastic_block_store: dict[str, Any] | None = None
    azure_disk: dict[str, Any] | None = None
    azure_file: dict[str, Any] | None = None
    cinder: dict[str, Any] | None = None
    portworx_volume: dict[str, Any] | None = None
    vsphere_volume: dict[str, Any] | None = None


class PersistentVolumeStatus(Wire, frozen=True, kw_only=True):
    phase: str = ""


class PersistentVolume(Object, frozen=True, kw_only=True):
    spec: PersistentVolumeSpec = PersistentVolumeSpec()
    status: PersistentVolumeStatus = PersistentVolumeStatus()


class TopologySelectorLabelRequirement(Wire, frozen=True, kw_only=True):
    key: str
    values: list[str] = []


class TopologySelectorTerm(Wire, frozen=True, kw_only=True):
    match_label_expressions: list[TopologySelectorLabelRequirement] = []


class StorageClass(Object, frozen=True, kw_only=True):
    provisioner: str = ""
    volume_binding_mode: str = "Immediate"
    allowed_topologies: list[TopologySelectorTerm] = []


class VolumeNodeResources(Wire, frozen=True, kw_only=True):
    count: int | None = None
    """Volumes that can be attached; None: no limit."""


class CSINodeDriver(Wire, frozen=True, kw_only=True):
    name: str
    allocatable: VolumeNodeResources | None = None


class CSINodeSpec(Wire, frozen=True, kw_only=True):
    drivers: list[CSINodeDriver] | None = None
    """Kubelet writes null where no driver has registered."""


class CSINode(Object, frozen=True, kw_only=True):
    """What the storage drivers on the node of the same name say of it."""

    spec: CSINodeSpec = CSINodeSpec()


class CSIDriverSpec(Wire, frozen=True, kw_only=True):
    storage_capacity: bool = False
    """Whether CSIStorageCapacity objects say where there is room for new volumes."""
    prevent_pod_scheduling_if_missing: bool = False


class CSIDriver(Object, frozen=True, kw_only=True):
    spec: CSIDriverSpec = CSIDriverSpec()


class CSIStorageCapacity(Object, frozen=True, kw_only=True):
    """Room for new volumes of one class on some nodes."""

    storage_class_name: str = ""
    node_topology: LabelSelector | None = None
    capacity: Quantity | None = None
    maximum_volume_size: Quantity | None = None


class Namespace(Object, frozen=True, kw_only=True):
    """Its labels serve ``namespaceSelector``."""


class ContainerMetrics(Wire, frozen=True, kw_only=True):
    name: str = ""
    usage: dict[str, Quantity] = {}


class PodMetrics(Object, frozen=True, kw_only=True):
    timestamp: str = ""
    window: str = ""
    containers: list[ContainerMetrics] = []


class NodeMetrics(Object, frozen=True, kw_only=True):
    timestamp: str = ""
    usage: dict[str, Quantity] = {}
