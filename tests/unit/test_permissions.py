"""What the manifest grants is what the operator asks for: no verb less, and none more."""

from pathlib import Path

import yaml

from plimsoll.permissions import CLUSTER, OWN_NAMESPACE, Permission

MANIFEST = Path(__file__).parents[2] / "manifests" / "rbac.yaml"


def granted(kind: str) -> set[tuple[str, str, str]]:
    documents = yaml.safe_load_all(MANIFEST.read_text())
    return {
        (group, resource, verb)
        for document in documents
        if document["kind"] == kind
        for rule in document["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def needed(permissions: tuple[Permission, ...]) -> set[tuple[str, str, str]]:
    return {(p.group, p.resource, verb) for p in permissions for verb in p.verbs}


def test_the_cluster_role_grants_exactly_what_is_needed() -> None:
    assert granted("ClusterRole") == needed(CLUSTER)


def test_the_role_in_the_own_namespace_grants_exactly_what_is_needed() -> None:
    assert granted("Role") == needed(OWN_NAMESPACE)
