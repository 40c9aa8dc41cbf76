"""The number of replicas of a workload's target: one field, one owner.

``spec.replicas`` is applied server-side under our field manager and never by
force. Whoever else owns the field, or an autoscaler that points at the object,
is a conflict to be told of, not to be won.
"""

from __future__ import annotations

from typing import Any

from plimsoll.act.outcome import FieldConflict, Refused
from plimsoll.api import labels
from plimsoll.apierrors import Conflict
from plimsoll.decide.plan import Reason
from plimsoll.kube import Json, Kube
from plimsoll.resources import DEPLOYMENTS, HORIZONTALPODAUTOSCALERS, STATEFULSETS
from plimsoll.world import wire

_RESOURCES = {"Deployment": DEPLOYMENTS, "StatefulSet": STATEFULSETS}


class Autoscalers:
    """HorizontalPodAutoscalers by what they scale, read once per plan and namespace."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._known: dict[str, dict[tuple[str, str], str]] = {}

    async def of(self, namespace: str, kind: str, name: str) -> str:
        """The autoscaler that scales this object; empty: none does."""
        if namespace not in self._known:
            found = await self._kube.list_all(HORIZONTALPODAUTOSCALERS, namespace)
            targets = [(hpa["spec"]["scaleTargetRef"], hpa["metadata"]["name"]) for hpa in found]
            self._known[namespace] = {(t["kind"], t["name"]): hpa for t, hpa in targets}
        return self._known[namespace].get((kind, name), "")


async def scale(
    kube: Kube, autoscalers: Autoscalers, kind: str, target: wire.Controller, replicas: int
) -> Json:
    """Applies ``spec.replicas`` of a Deployment or StatefulSet.

    Raises:
        FieldConflict: another manager owns the field and wants another number, or
            an autoscaler scales the object.
        Refused: the object is not the one that was decided on.
    """
    meta = target.metadata
    autoscaler = await autoscalers.of(meta.namespace, kind, meta.name)
    if autoscaler:
        raise FieldConflict(
            f"HorizontalPodAutoscaler {autoscaler} scales {kind} {meta.name}: delete it, or let "
            "it scale the ContainerWorkload instead"
        )
    document: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": kind,
        # The uid is a precondition: apply must never create what is gone.
        "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
        "spec": {"replicas": replicas},
    }
    try:
        applied = await kube.apply(document, labels.FIELD_MANAGER)
    except Conflict as error:
        owners = managers(error)
        if not owners:
            raise Refused(Reason.IN_FLIGHT, error.message) from None
        raise FieldConflict(
            f"spec.replicas of {kind} {meta.name} belongs to {owners}; to hand it over: "
            + hand_over(kind, target, replicas)
        ) from None
    return applied


def managers(error: Conflict) -> str:
    """The field managers that a conflict names; empty if it is about something else."""
    return ", ".join(
        sorted(
            {
                message.removeprefix("conflict with ")
                for reason, _, message in error.causes
                if reason == "FieldManagerConflict"
            }
        )
    )


def hand_over(kind: str, target: wire.Controller, replicas: int) -> str:
    """The command by which a person gives ``spec.replicas`` to Plimsoll."""
    meta = target.metadata
    return (
        f"kubectl apply -n {meta.namespace} --server-side --force-conflicts "
        f"--field-manager={labels.FIELD_MANAGER} -f - <<< "
        f'\'{{"apiVersion":"apps/v1","kind":"{kind}","metadata":{{"name":"{meta.name}"}},'
        f'"spec":{{"replicas":{replicas}}}}}\''
    )
