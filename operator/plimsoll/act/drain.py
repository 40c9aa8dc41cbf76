"""Moving pods off a node: by eviction, and by force where that was decided."""

from __future__ import annotations

from collections.abc import Iterable

from plimsoll.apierrors import ApiError, Conflict, NotFound, TooManyRequests, Unreachable
from plimsoll.decide.life.pods import PodRef
from plimsoll.kube import Kube
from plimsoll.resources import PODS


async def evict(kube: Kube, pods: Iterable[PodRef]) -> dict[PodRef, str]:
    """Asks for the eviction of each pod; returns those that were refused, and why."""
    refused = {}
    for pod in pods:
        try:
            await kube.evict(pod.name, pod.namespace, pod.uid)
        except (NotFound, Conflict):  # gone, or another pod of that name
            continue
        except TooManyRequests as error:
            refused[pod] = _budget(error)
        except Unreachable:
            raise
        except ApiError as error:  # for instance several budgets that select one pod
            refused[pod] = error.message
    return refused


def _budget(error: ApiError) -> str:
    causes = "; ".join(message for _, _, message in error.causes)
    return causes or error.message


async def delete(kube: Kube, pods: Iterable[PodRef]) -> None:
    """Deletes each pod past its budgets, with its own grace period."""
    for pod in pods:
        try:
            await kube.delete(PODS, pod.name, pod.namespace, uid=pod.uid)
        except (NotFound, Conflict):
            continue
