"""The operator as a process, on a real API server, with a simulated data centre."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from aio import run
from plimsoll.kube import Json
from plimsoll.resources import CONTAINERWORKLOADS as WORKLOADS
from plimsoll.resources import (
    DEPLOYMENTS,
    HYPERVISORS,
    PODDISRUPTIONBUDGETS,
    PODS,
    VMNODES,
    VMPOOLS,
    Resource,
)
from plimsoll_testenv import ControlPlane
from stage import PLIMSOLL, WORK, Stage, hypervisor, pool, stage_on, workload

STORY_SECONDS = 150.0
MEMORY = {"memory": {"min": "256Mi", "max": "1Gi"}}


@pytest.fixture(scope="module")
def control_plane() -> Iterator[ControlPlane]:
    """One of its own: the operator acts on all that is in a cluster, also on other tests' VMs."""
    with ControlPlane.start(node_monitor_grace_period=8.0) as started:
        yield started


def test_scale_out_and_scale_in(control_plane: ControlPlane) -> None:
    async def story() -> None:
        async with stage_on(control_plane) as stage:
            await stage.apply(hypervisor(), pool(), workload(redundancy={"survive": 1}))
            await ready_replicas(stage, 2)
            await stage.until_condition(WORKLOADS, "httpd", "Redundant", "True")

            async def apart() -> bool:
                nodes = [pod["spec"]["nodeName"] for pod in await stage.running("httpd")]
                return len(nodes) == 2 == len(set(nodes))

            # The scheduler puts both onto the VM that is there first; one is moved.
            await stage.until(apart, "the two replicas are on two VMs")

            await scale(stage, "httpd", 14)
            await ready_replicas(stage, 14)
            await stage.until_condition(WORKLOADS, "httpd", "Ready", "True")
            await stage.until_condition(WORKLOADS, "httpd", "Redundant", "True")
            carrying = {pod["spec"]["nodeName"] for pod in await stage.running("httpd")}
            hosts = [
                vm["status"]["host"]
                for vm in await stage.vms("web")
                if vm["metadata"]["name"] in carrying
            ]
            assert len(hosts) == len(carrying) >= 2
            assert len(set(hosts)) >= 2
            kinds = [d["kind"] for d in await decisions(stage, VMPOOLS, "web")]
            assert "Launch" in kinds

            await scale(stage, "httpd", 2)
            await ready_replicas(stage, 2)

            async def consolidated() -> bool:
                vms = await stage.vms("web")
                return len(vms) == 2 and all(vm["status"]["phase"] == "Ready" for vm in vms)

            await stage.until(consolidated, "two VMs are left")
            assert len(await stage.records()) == 2
            assert "Retire" in [d["kind"] for d in await decisions(stage, VMPOOLS, "web")]

            told = await explained(control_plane, "vmpool/web")
            assert "VMPool web at Hypervisor rack" in told
            assert "Ready=True VMsReady: 2 VMs are ready" in told
            assert "Retire vm/web-" in told
            told = await explained(control_plane, "httpd", "-n", WORK)
            assert "Replicate workload/stage/httpd (2 -> 14): spec.replicas fixes 14" in told
            assert "Would be decided now:" in told
            await stage.until_event("Retired")
            assert not await stage.messages("MoveFailed")

    run(story(), STORY_SECONDS)


def test_a_workload_owns_its_deployment_and_budget(control_plane: ControlPlane) -> None:
    async def story() -> None:
        async with stage_on(control_plane) as stage:
            await stage.apply(
                hypervisor(), pool(), workload(disruptionBudget={"maxUnavailable": 2})
            )
            await ready_replicas(stage, 2)
            deployment = await stage.get(DEPLOYMENTS, "httpd")
            assert deployment is not None
            container = deployment["spec"]["template"]["spec"]["containers"][0]
            assert container["resources"]["requests"] == {
                "cpu": "500m",
                "memory": "256Mi",
                "plimsoll.dev/berths": "1",
            }
            budget = await stage.get(PODDISRUPTIONBUDGETS, "httpd")
            assert budget is not None
            assert budget["spec"]["maxUnavailable"] == 2

            await stage.kube.json_patch(
                WORKLOADS, "httpd", [{"op": "remove", "path": "/spec/disruptionBudget"}], WORK
            )

            async def budget_gone() -> bool:
                return await stage.get(PODDISRUPTIONBUDGETS, "httpd") is None

            await stage.until(budget_gone, "the budget is deleted")

            changed = workload()
            changed["spec"]["template"]["spec"]["containers"][0]["image"] = "httpd:2"
            changed["spec"]["scaleUp"]["cpu"]["min"] = "600m"
            await stage.apply(changed)

            async def rolled_out() -> bool:
                found = await stage.get(DEPLOYMENTS, "httpd")
                assert found is not None
                container = found["spec"]["template"]["spec"]["containers"][0]
                # A person's change rolls out; the size in the template stays as it was.
                assert container["resources"]["requests"]["cpu"] == "500m"
                return bool(container["image"] == "httpd:2")

            await stage.until(rolled_out, "the new image is in the template")

    run(story(), STORY_SECONDS)


def test_somebody_elses_replicas_are_a_condition_and_not_a_war(
    control_plane: ControlPlane,
) -> None:
    async def story() -> None:
        async with stage_on(control_plane) as stage:
            target = {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "tomcat", "namespace": WORK},
                "spec": {
                    "selector": {"matchLabels": {"app": "tomcat"}},
                    "template": {
                        "metadata": {"labels": {"app": "tomcat"}},
                        "spec": {
                            "containers": [
                                {
                                    "name": "tomcat",
                                    "image": "tomcat",
                                    "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}},
                                }
                            ]
                        },
                    },
                },
            }
            await stage.apply(hypervisor(), pool(), target)
            scaling = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 3}}
            scaling["metadata"] = target["metadata"]
            await stage.kube.apply(scaling, "somebody", force=True)
            steering = workload("tomcat", scaleOut={"min": 5, "max": 9})
            del steering["spec"]["template"]
            steering["spec"]["targetRef"] = {"kind": "Deployment", "name": "tomcat"}
            await stage.apply(steering)

            told = await stage.until_condition(
                WORKLOADS, "tomcat", "Stalled", "True", "FieldConflict"
            )
            assert '"somebody"' in told
            assert (await replicas(stage, "tomcat")) == 3
            await stage.until_event("FieldConflict")

            # What the condition says is what a person types.
            await in_bash(control_plane, told.partition("to hand it over: ")[2])
            await stage.until_condition(WORKLOADS, "tomcat", "Ready", "True")
            assert (await replicas(stage, "tomcat")) == 5

            autoscaler = {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "tomcat", "namespace": WORK},
                "spec": {
                    "scaleTargetRef": {
                        "apiVersion": "apps/v1",
                        "kind": "Deployment",
                        "name": "tomcat",
                    },
                    "minReplicas": 1,
                    "maxReplicas": 9,
                },
            }
            await stage.apply(autoscaler)
            steering["spec"]["scaleOut"]["min"] = 6
            await stage.apply(steering)
            told = await stage.until_condition(
                WORKLOADS, "tomcat", "Stalled", "True", "FieldConflict"
            )
            assert "HorizontalPodAutoscaler tomcat" in told
            assert (await replicas(stage, "tomcat")) == 5

    run(story(), STORY_SECONDS)


def test_a_pool_waits_for_its_hypervisor_and_both_go_in_order(
    control_plane: ControlPlane,
) -> None:
    async def story() -> None:
        async with stage_on(control_plane) as stage:
            await stage.apply(pool(nodes={"min": 2, "max": 2}))
            told = await stage.until_condition(VMPOOLS, "web", "Stalled", "True", "PoolProblem")
            assert "there is no Hypervisor rack" in told

            await stage.apply(hypervisor())
            await stage.until_condition(VMPOOLS, "web", "Ready", "True")

            await stage.kube.delete(HYPERVISORS, "rack")
            assert "VMPool web" in await stage.until_event("DeletionBlocked")
            assert len(await stage.vms("web")) == 2

            await stage.kube.delete(VMPOOLS, "web")

            async def gone() -> bool:
                return (
                    await stage.get(VMPOOLS, "web") is None
                    and await stage.get(HYPERVISORS, "rack") is None
                )

            await stage.until(gone, "pool and hypervisor are gone")
            await stage.until_event("DrainingPool")
            assert await stage.vms() == []
            assert await stage.records() == []

    run(story(), STORY_SECONDS)


def test_a_pool_that_a_budget_holds_says_what_it_waits_for(control_plane: ControlPlane) -> None:
    async def story() -> None:
        async with stage_on(control_plane) as stage:
            await stage.apply(
                hypervisor(), pool(), workload(disruptionBudget={"maxUnavailable": 0})
            )
            await ready_replicas(stage, 2)
            await stage.kube.delete(VMPOOLS, "web")

            async def told_why() -> bool:
                return "httpd" in await stage.until_condition(
                    VMPOOLS, "web", "Reconciling", "True", "Deleting"
                )

            await stage.until(told_why, "the pool names the pods that hold it")
            assert len(await stage.running("httpd")) == 2

            await stage.kube.json_patch(
                WORKLOADS, "httpd", [{"op": "remove", "path": "/spec/disruptionBudget"}], WORK
            )

            async def gone() -> bool:
                return await stage.get(VMPOOLS, "web") is None

            await stage.until(gone, "the pool is gone")

    run(story(), STORY_SECONDS)


def test_workloads_that_cannot_be_steered_say_why(control_plane: ControlPlane) -> None:
    async def story() -> None:
        async with stage_on(control_plane) as stage:
            lost = workload("lost")
            del lost["spec"]["template"]
            lost["spec"]["targetRef"] = {"kind": "StatefulSet", "name": "nothing"}
            second = workload("second")
            del second["spec"]["template"]
            second["spec"]["targetRef"] = {"kind": "Deployment", "name": "first"}
            greedy = workload("greedy")
            greedy["spec"]["template"]["spec"]["containers"][0]["resources"] = {
                "limits": {"cpu": "100m"}
            }
            huge = workload("huge", scaleUp={**MEMORY, "cpu": {"min": "64", "max": "64"}})
            await stage.apply(hypervisor(), pool(), workload("first"))
            await stage.until_condition(WORKLOADS, "first", "Ready", "True")
            await stage.apply(lost, second, greedy, huge)
            for name, reason, told in (
                ("lost", "TargetProblem", "there is no StatefulSet stage/nothing"),
                ("second", "TargetProblem", "already belongs to ContainerWorkload stage/first"),
                ("greedy", "TemplateInvalid", "resources.limits.cpu is 100m, below"),
                ("huge", "TooBig", "web: "),
            ):
                text = await stage.until_condition(WORKLOADS, name, "Stalled", "True", reason)
                assert told in text

    run(story(), STORY_SECONDS)


def test_a_killed_operator_takes_up_what_it_left(control_plane: ControlPlane) -> None:
    async def story() -> None:
        async with stage_on(control_plane) as stage:
            await stage.apply(hypervisor(), pool(), workload(replicas=12))

            async def first_vm() -> list[object]:
                return [*await stage.vms("web")]

            await stage.until(first_vm, "the first VM is recorded")
            await stage.operator.kill()
            await stage.operator.start()
            await ready_replicas(stage, 12)

            victim = (await stage.vms("web"))[0]["metadata"]["name"]
            await stage.kube.delete(VMNODES, victim)
            await stage.operator.kill()
            await stage.operator.start()  # finds a VMNode that is being deleted already

            async def replaced() -> bool:
                vms = await stage.vms("web")
                return all("deletionTimestamp" not in vm["metadata"] for vm in vms) and len(
                    await stage.records()
                ) == len(vms)

            await stage.until(replaced, "the deleted VM is gone")
            await ready_replicas(stage, 12)

    run(story(), STORY_SECONDS)


def test_health_and_metrics(control_plane: ControlPlane) -> None:
    async def story() -> None:
        async with stage_on(control_plane) as stage:
            await stage.apply(hypervisor(), pool())
            await stage.until_condition(VMPOOLS, "web", "Ready", "True")
            assert await stage.operator.get("/healthz") == (200, "ok\n")
            assert await stage.operator.get("/readyz") == (200, "ok\n")
            status, text = await stage.operator.get("/metrics")
            assert status == 200
            assert 'plimsoll_vms{phase="Ready",pool="web"} 1.0' in text
            assert 'plimsoll_moves_total{kind="Launch",outcome="Done"} 1.0' in text
            assert "plimsoll_plan_seconds_count" in text

    run(story(), STORY_SECONDS)


def test_a_pod_is_explained_in_the_schedulers_own_words(control_plane: ControlPlane) -> None:
    async def story() -> None:
        async with stage_on(control_plane) as stage:
            await stage.apply(hypervisor(), pool())
            await stage.until_condition(VMPOOLS, "web", "Ready", "True")
            container = {
                "name": "c",
                "image": "registry.example.com/huge",
                "resources": {"requests": {"cpu": "500", "memory": "900Gi"}},
            }
            await stage.kube.create(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": "huge", "namespace": WORK},
                    "spec": {"containers": [container]},
                },
            )

            async def told_by_both() -> bool:
                pod = await stage.kube.get(PODS, "huge", WORK)
                conditions = pod["status"].get("conditions", [])
                said = "".join(c["message"] for c in conditions if c["type"] == "PodScheduled")
                told = await explained(control_plane, "pod", "huge", "-n", WORK)
                assert told.startswith(f"Pod {WORK}/huge: pending; asks for 500 CPU, 900Gi\n")
                assert "Finds no place (TooBig)" in told
                assert "    Launch: the largest VM (" in told
                (own,) = (line for line in told.splitlines() if "kube-scheduler: " in line)
                # The scheduler goes on about preemption, which Plimsoll tells by VM.
                words = own.partition("kube-scheduler: ")[2]
                return "Insufficient memory" in words and said.startswith(words)

            await stage.until(told_by_both, "the scheduler says what is explained")
            await stage.kube.delete(PODS, "huge", WORK)

    run(story(), STORY_SECONDS)


async def explained(control_plane: ControlPlane, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(PLIMSOLL, "explain", *arguments, "--kubeconfig", str(control_plane.kubeconfig)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def in_bash(control_plane: ControlPlane, command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", f'kubectl() {{ "$KUBECTL" "$@"; }}; {command}'),
        env={
            "KUBECTL": str(control_plane.kubectl),
            "KUBECONFIG": str(control_plane.kubeconfig),
            "KUBECACHEDIR": str(control_plane.directory / "kubectl-cache"),
        },
    )
    assert await process.wait() == 0


async def ready_replicas(stage: Stage, number: int) -> None:
    async def are_ready() -> bool:
        return len(await stage.running("httpd")) == number

    await stage.until(are_ready, f"{number} replicas are ready")


async def scale(stage: Stage, name: str, number: int) -> None:
    """As ``kubectl scale containerworkload`` does."""
    await stage.kube.patch_subresource(
        WORKLOADS, name, "scale", {"spec": {"replicas": number}}, WORK, kind="merge"
    )


async def replicas(stage: Stage, deployment: str) -> int:
    found = await stage.get(DEPLOYMENTS, deployment)
    assert found is not None
    return int(found["spec"]["replicas"])


async def decisions(stage: Stage, resource: Resource, name: str) -> list[Json]:
    found = await stage.get(resource, name)
    assert found is not None
    return list(found["status"]["decisions"])
