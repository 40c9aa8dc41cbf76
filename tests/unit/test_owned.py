"""What a ContainerWorkload owns: the Deployment from its template, and its budget."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from plimsoll.act import owned
from plimsoll.api import ContainerWorkload
from plimsoll.world import wire

TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"app": "httpd"}},
    "spec": {"containers": [{"name": "httpd", "image": "httpd"}, {"name": "logs", "image": "l"}]},
}
SCALE_UP = {"cpu": {"min": "250m", "max": "2"}, "memory": {"min": "256Mi", "max": "2Gi"}}


def workload(**spec: Any) -> ContainerWorkload:
    return ContainerWorkload.model_validate(
        {
            "metadata": {"name": "httpd", "namespace": "shop", "uid": "cw-uid"},
            "spec": {
                "template": copy.deepcopy(TEMPLATE),
                "scaleUp": SCALE_UP,
                "scaleOut": {"min": 2, "max": 9},
                **spec,
            },
        }
    )


def with_resources(resources: dict[str, Any]) -> dict[str, Any]:
    template = copy.deepcopy(TEMPLATE)
    template["spec"]["containers"][0]["resources"] = resources
    return template


def container(document: dict[str, Any], number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = document["spec"]["template"]["spec"]["containers"][number]
    return found


def stored(document: dict[str, Any]) -> wire.Controller:
    """The Deployment as the API server would give it back."""
    return msgspec.convert(document, wire.Controller)


def test_the_first_size_is_the_smallest_and_takes_one_berth() -> None:
    document = owned.deployment(workload(), None)
    assert container(document)["resources"] == {
        "requests": {"cpu": "250m", "memory": "256Mi", "plimsoll.dev/berths": "1"},
        "limits": {"plimsoll.dev/berths": "1"},
    }
    assert "resources" not in container(document, 1)
    assert document["spec"]["selector"] == {"matchLabels": {"plimsoll.dev/workload": "httpd"}}
    labels = document["spec"]["template"]["metadata"]["labels"]
    assert labels == {"app": "httpd", "plimsoll.dev/workload": "httpd"}
    assert "replicas" not in document["spec"]


def test_a_new_range_does_not_roll_pods_out_but_a_new_image_does() -> None:
    before = owned.deployment(workload(), None)
    wider = copy.deepcopy(SCALE_UP)
    wider["cpu"]["min"] = "1"
    after = owned.deployment(workload(scaleUp=wider), stored(before))
    assert after["spec"] == before["spec"]
    assert owned.is_current(stored(before), after)

    template = copy.deepcopy(TEMPLATE)
    template["spec"]["containers"][0]["image"] = "httpd:2"
    changed = owned.deployment(workload(template=template), stored(before))
    assert container(changed)["image"] == "httpd:2"
    assert not owned.is_current(stored(before), changed)


def test_limits_of_the_template_keep_their_ratio_to_its_requests() -> None:
    stated = {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m", "memory": "512Mi"}}
    resources = container(owned.deployment(workload(template=with_resources(stated)), None))[
        "resources"
    ]
    assert resources["limits"]["cpu"] == "500m"
    assert resources["limits"]["memory"] == "512Mi"


def test_a_limit_below_the_range_is_refused_with_what_to_do() -> None:
    stated = {"limits": {"memory": "128Mi"}}
    with pytest.raises(owned.TemplateInvalid) as refused:
        owned.deployment(workload(template=with_resources(stated)), None)
    assert "resources.limits.memory is 128Mi" in str(refused.value)
    assert "raise the limit" in str(refused.value)


def test_resizes_do_not_restart_unless_the_author_says_so() -> None:
    template = copy.deepcopy(TEMPLATE)
    stated = {"resourceName": "memory", "restartPolicy": "RestartContainer"}
    template["spec"]["containers"][0]["resizePolicy"] = [stated]
    policies = container(owned.deployment(workload(template=template), None))["resizePolicy"]
    assert policies == [stated, {"resourceName": "cpu", "restartPolicy": "NotRequired"}]


@pytest.mark.parametrize(
    ("across", "key"),
    [
        ("host", "plimsoll.dev/host"),
        ("vm", "kubernetes.io/hostname"),
        ("zone", "topology.kubernetes.io/zone"),
    ],
)
def test_a_survival_promise_spreads_the_replicas(across: str, key: str) -> None:
    document = owned.deployment(workload(redundancy={"survive": 1, "across": across}), None)
    (constraint,) = document["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert constraint == {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "DoNotSchedule",
        "nodeTaintsPolicy": "Honor",
        "labelSelector": {"matchLabels": {"plimsoll.dev/workload": "httpd"}},
    }


def test_a_spread_that_the_author_gave_is_left_alone() -> None:
    template = copy.deepcopy(TEMPLATE)
    given = {
        "maxSkew": 3,
        "topologyKey": "plimsoll.dev/host",
        "whenUnsatisfiable": "ScheduleAnyway",
    }
    template["spec"]["topologySpreadConstraints"] = [given]
    document = owned.deployment(workload(template=template, redundancy={"survive": 1}), None)
    assert document["spec"]["template"]["spec"]["topologySpreadConstraints"] == [given]


def test_the_named_container_is_steered() -> None:
    document = owned.deployment(workload(scaleUp={**SCALE_UP, "container": "logs"}), None)
    assert container(document, 1)["resources"]["requests"]["cpu"] == "250m"
    assert "resources" not in container(document, 0)


def test_ownership_is_by_uid_not_by_name() -> None:
    document = owned.deployment(workload(), None)
    assert owned.is_owned(stored(document), workload())
    document["metadata"]["ownerReferences"][0]["uid"] = "another workload of that name"
    assert not owned.is_owned(stored(document), workload())


def test_a_budget_is_made_only_when_asked_for() -> None:
    selector = wire.LabelSelector(match_labels={"app": "httpd"})
    assert owned.budget(workload(), selector) is None
    wished = owned.budget(workload(disruptionBudget={"maxUnavailable": 2}), selector)
    assert wished is not None
    assert wished["spec"]["maxUnavailable"] == 2
    assert wished["spec"]["selector"]["matchLabels"] == {"app": "httpd"}
