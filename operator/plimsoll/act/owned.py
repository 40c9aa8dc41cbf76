"""The objects that a ContainerWorkload owns: its Deployment and its budget. Pure."""

from __future__ import annotations

import copy
import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from plimsoll.act.fields import owner, scaled
from plimsoll.api import ContainerWorkload, labels
from plimsoll.api.containerworkload import ScaleUp
from plimsoll.api.quantity import (
    QuantityError,
    format_bytes,
    format_milli,
    parse_bytes,
    parse_milli,
)
from plimsoll.world import wire

if TYPE_CHECKING:
    # `plimsoll plan` works with these documents too, and starts without a client.
    from plimsoll.kube import Json

APPLIED: Final = "plimsoll.dev/applied"
"""Annotation: digest of what was applied last, so that nothing is written twice."""


class TemplateInvalid(Exception):
    """The pod template of a workload cannot be used; the text says why and what to do."""


def deployment(workload: ContainerWorkload, existing: wire.Controller | None) -> Json:
    """The Deployment of a workload with ``template``, without ``spec.replicas``.

    The count is not here, because the decision owns it (another field manager).
    The size of a replica is ``scaleUp.min`` only in a Deployment that does not
    exist yet: later sizes are set on the pods in place, and a template that
    followed them would roll all pods out.

    Raises:
        TemplateInvalid: no such container, ill-formed quantities, a limit below the range.
    """
    name, namespace = workload.metadata.name, workload.metadata.namespace
    mark = {labels.WORKLOAD: name}
    template = copy.deepcopy(workload.spec.template) or {}
    metadata = _mapping(template, "metadata", "template")
    metadata["labels"] = {**_mapping(metadata, "labels", "template.metadata"), **mark}
    spec = _mapping(template, "spec", "template")
    container = _steered(spec, workload.spec.scale_up)
    _berth(container)
    if workload.spec.scale_up is not None:
        _size(container, workload.spec.scale_up, existing)
    _keep_running(container)
    _spread(spec, workload, mark)
    return _digested(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {**mark, labels.MANAGED_BY: labels.FIELD_MANAGER},
                "ownerReferences": [owner("ContainerWorkload", name, workload.metadata.uid)],
            },
            "spec": {"selector": {"matchLabels": mark}, "template": template},
        }
    )


def budget(workload: ContainerWorkload, selector: wire.LabelSelector) -> Json | None:
    """The PodDisruptionBudget that the workload asks for, over the pods of ``selector``."""
    wish = workload.spec.disruption_budget
    if wish is None:
        return None
    name = workload.metadata.name
    return _digested(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {
                "name": name,
                "namespace": workload.metadata.namespace,
                "labels": {labels.WORKLOAD: name, labels.MANAGED_BY: labels.FIELD_MANAGER},
                "ownerReferences": [owner("ContainerWorkload", name, workload.metadata.uid)],
            },
            "spec": {
                "maxUnavailable": wish.max_unavailable,
                "selector": msgspec.to_builtins(selector),
            },
        }
    )


def is_owned(obj: wire.Object, workload: ContainerWorkload) -> bool:
    """Whether this very workload (by UID) controls the object."""
    return any(
        reference.controller and reference.uid == workload.metadata.uid
        for reference in obj.metadata.owner_references
    )


def is_current(obj: wire.Object, document: Json) -> bool:
    """Whether the object is as the document was when it was applied last."""
    applied = document["metadata"]["annotations"][APPLIED]
    return bool(obj.metadata.annotations.get(APPLIED) == applied)


def _digested(document: Json) -> Json:
    digest = hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()[:16]
    document["metadata"]["annotations"] = {APPLIED: digest}
    return document


def _mapping(parent: Json, key: str, path: str) -> Json:
    value = parent.setdefault(key, {})
    if not isinstance(value, dict):
        raise TemplateInvalid(f"spec.{path}.{key} must be an object, not {type(value).__name__}")
    return value


def _steered(spec: Json, scale_up: ScaleUp | None) -> Json:
    containers = spec.get("containers")
    if not isinstance(containers, list) or not containers:
        raise TemplateInvalid("spec.template.spec.containers is missing: name at least one")
    wanted = scale_up.container if scale_up is not None else ""
    names = [c.get("name", "") if isinstance(c, dict) else "" for c in containers]
    if wanted and wanted not in names:
        raise TemplateInvalid(
            f"spec.scaleUp.container {wanted!r} is not among the containers of the template: "
            + ", ".join(map(repr, names))
        )
    container = containers[names.index(wanted) if wanted else 0]
    if not isinstance(container, dict):
        raise TemplateInvalid("spec.template.spec.containers must be a list of objects")
    return container


def _berth(container: Json) -> None:
    resources = _mapping(container, "resources", "template.spec.containers[]")
    for kind in ("requests", "limits"):
        amounts = _mapping(resources, kind, "template.spec.containers[].resources")
        amounts[labels.BERTHS] = "1"


def _size(container: Json, scale_up: ScaleUp, existing: wire.Controller | None) -> None:
    known = _existing_requests(existing, container.get("name", ""))
    resources = container["resources"]
    ranges = (
        ("cpu", scale_up.cpu.min, parse_milli, format_milli),
        ("memory", scale_up.memory.min, parse_bytes, format_bytes),
    )
    for resource, smallest, parse, text in ranges:
        where = f"container {container.get('name')!r}: resources.{{}}.{resource}"
        kept = known.get(resource)
        size = parse(kept) if kept is not None else smallest
        request = _quantity(resources["requests"].get(resource), parse, where.format("requests"))
        limit = _quantity(resources["limits"].get(resource), parse, where.format("limits"))
        resources["requests"][resource] = text(size)
        if limit is None:
            continue
        if request is None and limit < size:
            raise TemplateInvalid(
                f"{where.format('limits')} is {text(limit)}, below scaleUp.{resource}.min "
                f"{text(smallest)}: raise the limit, or state the request that it belongs to"
            )
        resources["limits"][resource] = text(scaled(limit, request, size))


def _existing_requests(existing: wire.Controller | None, container: str) -> dict[str, Any]:
    if existing is not None:
        for known in existing.spec.template.spec.containers:
            if known.name == container:
                return known.resources.requests
    return {}


def _quantity(value: Any, parse: Any, where: str) -> int | None:
    if value is None:
        return None
    try:
        return int(parse(value))
    except QuantityError as error:
        raise TemplateInvalid(f"{where}: {error}") from None


def _keep_running(container: Json) -> None:
    """Resizes in place must not restart the container, unless its author says that they must."""
    policies = container.setdefault("resizePolicy", [])
    stated = {policy.get("resourceName") for policy in policies if isinstance(policy, dict)}
    for resource in ("cpu", "memory"):
        if resource not in stated:
            policies.append({"resourceName": resource, "restartPolicy": "NotRequired"})


def _spread(spec: Json, workload: ContainerWorkload, mark: dict[str, str]) -> None:
    """Spreads the replicas over the domains that one of which may be lost.

    Tainted domains are left out of the count: a VM that is being drained, or
    that its pods do not tolerate, must not hold the others down to its number.
    """
    promise = workload.spec.redundancy
    key = labels.TOPOLOGY_KEYS[promise.across]
    constraints = spec.setdefault("topologySpreadConstraints", [])
    given = any(isinstance(c, dict) and c.get("topologyKey") == key for c in constraints)
    if promise.survive and not given:
        constraints.append(
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "DoNotSchedule",
                "nodeTaintsPolicy": "Honor",
                "labelSelector": {"matchLabels": mark},
            }
        )
    if not constraints:
        del spec["topologySpreadConstraints"]
