"""What the manifest grants is what the operator asks for: no verb less, and none more."""

from pathlib import Path

import yaml

from plimsoll.bootstrap import tokens
from plimsoll.permissions import CLUSTER, OWN_NAMESPACE, TOKENS, TOKENS_NAMESPACE, Permission

MANIFEST = Path(__file__).parents[2] / "manifests" / "rbac.yaml"


Granted = set[tuple[str, str, str, tuple[str, ...]]]


def granted(kind: str, namespace: str | None = None) -> Granted:
    documents = yaml.safe_load_all(MANIFEST.read_text())
    return {
        (group, resource, verb, tuple(rule.get("resourceNames", ())))
        for document in documents
        if document["kind"] == kind and document["metadata"].get("namespace") == namespace
        for rule in document["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def needed(permissions: tuple[Permission, ...]) -> Granted:
    return {(p.group, p.resource, verb, p.names) for p in permissions for verb in p.verbs}


def test_the_cluster_role_grants_exactly_what_is_needed() -> None:
    assert granted("ClusterRole") == needed(CLUSTER)


def test_the_role_in_the_own_namespace_grants_exactly_what_is_needed() -> None:
    assert granted("Role", "plimsoll-system") == needed(OWN_NAMESPACE)


def test_of_other_secrets_tokens_may_be_made_and_deleted_and_never_read() -> None:
    assert granted("Role", TOKENS_NAMESPACE) == needed(TOKENS)
    verbs = {verb for _, resource, verb, _ in granted("Role", TOKENS_NAMESPACE)}
    assert verbs == {"create", "delete"}


def test_whoever_has_a_token_may_ask_for_a_certificate_and_nothing_else() -> None:
    bound = [
        document["roleRef"]["name"]
        for document in yaml.safe_load_all(MANIFEST.read_text())
        for subject in document.get("subjects", ())
        if subject["kind"] == "Group" and subject["name"] == tokens.GROUP
    ]
    assert bound == ["system:node-bootstrapper"]
