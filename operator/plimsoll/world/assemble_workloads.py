"""ContainerWorkloads with the objects that they steer."""

from __future__ import annotations

from operator import itemgetter

from plimsoll.api import ContainerWorkload
from plimsoll.api.quantity import QuantityError
from plimsoll.world import snapshot, wire
from plimsoll.world.objects import Objects, Observations
from plimsoll.world.owners import Index, key_of, made_by, target_of
from plimsoll.world.pods import steered_container
from plimsoll.world.requests import container_requests, resources
from plimsoll.world.shapes import Shapes
from plimsoll.world.usage import STALE_AFTER
from plimsoll.world.volumes import Volumes


class Workloads:
    """Workloads by key; those of which nothing changed stay the same objects."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[tuple[object, ...], snapshot.Workload]] = {}

    def of(
        self,
        objects: Objects,
        observations: Observations,
        shapes: Shapes,
        volumes: Volumes,
        index: Index,
        now: float,
    ) -> tuple[snapshot.Workload, ...]:
        """All workloads, each with its target or with why it cannot be steered."""
        controllers = {
            (c.metadata.namespace, kind, c.metadata.name): c
            for kind, some in (
                ("Deployment", objects.deployments),
                ("StatefulSet", objects.statefulsets),
            )
            for c in some
        }
        before, self._made = self._made, {}
        for key, workload in sorted(((key_of(w), w) for w in objects.workloads), key=itemgetter(0)):
            target = controllers.get(target_of(workload))
            told = observations.problems.get(f"ContainerWorkload/{key}")
            problem = told or index.problems.get(key) or ""
            demand = observations.demands.get(key)
            if demand is not None and now - demand.at > STALE_AFTER:
                demand = None
            revisions = index.replicasets_of(target).values() if target is not None else ()
            source = (workload, target, shapes, volumes, problem, demand, *revisions)
            known = before.get(key)
            if known is None or not _same(source, known[0]):
                made = _workload(
                    workload, target, problem or _problem(workload, target), demand, shapes, index
                )
                known = source, made if known is None or known[1] != made else known[1]
            self._made[key] = known
        return tuple(workload for _, workload in self._made.values())


def _same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    # Texts and measurements are compared, objects that are replaced when they change are not.
    return len(one) == len(other) and all(
        a is b or (isinstance(a, str | snapshot.Demand) and a == b)
        for a, b in zip(one, other, strict=True)
    )


def _problem(workload: ContainerWorkload, target: wire.Controller | None) -> str:
    namespace, kind, name = target_of(workload)
    scale_up = workload.spec.scale_up
    if target is None:
        if workload.spec.target_ref is None:
            return ""
        return f"there is no {kind} {namespace}/{name}: create it, or correct spec.targetRef"
    if target.metadata.deletion_timestamp is not None:
        return f"{kind} {namespace}/{name} is being deleted"
    if workload.spec.target_ref is None and not made_by(target, workload):
        return (
            f"{kind} {namespace}/{name} exists and was not made from spec.template: delete it, or "
            "name it in spec.targetRef instead of giving a template"
        )
    pod = target.spec.template.spec
    if scale_up is not None and steered_container(pod, scale_up.container) is None:
        given = ", ".join(c.name for c in pod.containers) or "none"
        return (
            f"{kind} {namespace}/{name} has no container {scale_up.container!r} ({given}): "
            "correct spec.scaleUp.container"
        )
    return ""


def _workload(
    workload: ContainerWorkload,
    target: wire.Controller | None,
    problem: str,
    demand: snapshot.Demand | None,
    shapes: Shapes,
    index: Index,
) -> snapshot.Workload:
    namespace, kind, name = target_of(workload)
    template, size, overhead = None, snapshot.Resources(), snapshot.Resources()
    if target is not None:
        template = shapes.of_template(
            index.template_of(target), namespace, target.spec.volume_claim_templates
        )
        scale_up = workload.spec.scale_up
        size = _size(target.spec.template.spec, scale_up.container if scale_up else "")
        overhead = snapshot.Resources(
            cpu=max(0, template.requests.cpu - size.cpu),
            memory=max(0, template.requests.memory - size.memory),
        )
    return snapshot.Workload(
        namespace=namespace,
        name=workload.metadata.name,
        spec=workload.spec,
        generation=workload.metadata.generation,
        target=f"{kind}/{name}" if target is not None else "",
        replicas=_replicas(target),
        template=template,
        template_size=size,
        overhead=overhead,
        demand=demand,
        problem=problem,
    )


def _size(spec: wire.PodSpec, container: str) -> snapshot.Resources:
    steered = steered_container(spec, container)
    if steered is None:
        return snapshot.Resources()
    try:
        requests = resources(container_requests(steered))
    except QuantityError:
        # The shape names what is wrong with it and is never placed.
        return snapshot.Resources()
    return snapshot.Resources(cpu=requests.cpu, memory=requests.memory)


def _replicas(target: wire.Controller | None) -> int:
    if target is None:
        return 0
    # The API server's default.
    return 1 if target.spec.replicas is None else target.spec.replicas
