"""What the API server would refuse, validate() refuses too: at the same path, in people's words."""

from __future__ import annotations

import copy
import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.api import VMPool
from plimsoll.api.validate import InvalidObject, Problem, validate
from schema_cases import (
    BAD_STATUS,
    GOOD,
    REMOVED,
    SPANNING,
    STATUS,
    UNKNOWN,
    VALUES,
    VMPOOL,
    Case,
    Document,
    changed,
    with_status,
)


def problems(document: object) -> dict[str, str]:
    """What validate() finds, by path."""
    with pytest.raises(InvalidObject) as caught:
        validate(document)
    return {
        problem.path: f"{problem.message}: {problem.remedy}" for problem in caught.value.problems
    }


@pytest.mark.parametrize("name", GOOD)
def test_good_objects_are_accepted(name: str) -> None:
    assert type(validate(GOOD[name])).__name__ == GOOD[name]["kind"]


@pytest.mark.parametrize("case", [*SPANNING, *VALUES, *UNKNOWN])
def test_bad_objects_are_refused_at_the_path_that_is_to_blame(case: Case) -> None:
    found = problems(case.bad)
    assert list(found) == [case.path]
    assert (case.local or case.server) in found[case.path]


@pytest.mark.parametrize("case", BAD_STATUS)
def test_bad_statuses_are_refused(case: Case) -> None:
    found = problems(changed(with_status(case.good), case.changes))
    assert list(found) == [case.path]
    assert (case.local or case.server) in found[case.path]


def test_every_problem_is_told_at_once_with_the_subject() -> None:
    bad = changed(
        VMPOOL,
        {
            ".spec.nodes.min": "2",
            ".spec.size.memory.step": "0",
            ".spec.hypervisor": REMOVED,
            ".spec.colour": "red",
            ".spec.disruption.maxUnavailable": 5001,
            ".spec.zones": "z1",
            ".spec.template": [],
        },
    )
    with pytest.raises(InvalidObject) as caught:
        validate(bad)
    assert caught.value.subject == "VMPool web"
    lines = str(caught.value).splitlines()
    assert lines[0] == "VMPool web is not valid"
    assert sorted(lines[1:]) == [
        "  .spec.colour: is not a known field: choose one of hypervisor, replicas, nodes, size, "
        "density, cost, zones, survive, disruption, maxLaunching, launchTimeout, "
        "phaseTimeouts, whenOff, updateStrategy, template",
        "  .spec.disruption.maxUnavailable: 5001 is too large: give 5000 or less",
        "  .spec.hypervisor: is missing: add it (Name of the Hypervisor. Cannot be changed.)",
        '  .spec.nodes.min: "2" is not a whole number: remove the quotes: 2',
        '  .spec.size.memory.step: "0" must be greater than zero: give a positive quantity',
        "  .spec.template: [] is not an object: write its fields below it, indented",
        "  .spec.zones: \"z1\" is not a list: begin each item with '- '",
    ]


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({".kind": "VmPool"}, ".kind", "did you mean VMPool?"),
        ({".kind": "Pod"}, ".kind", "choose one of Hypervisor, VMPool, VMNode, ContainerWorkload"),
        ({".kind": REMOVED}, ".kind", "is missing"),
        ({".kind": ["VMPool"]}, ".kind", "is not a known kind"),
        ({".apiVersion": "plimsoll.dev/v1"}, ".apiVersion", "is not served: write plimsoll.dev/"),
        ({".apiVersion": "apps/v1"}, ".apiVersion", "is not Plimsoll's: write plimsoll.dev/"),
        ({".apiVersion": REMOVED}, ".apiVersion", "write apiVersion: plimsoll.dev/v1alpha1"),
        ({".metadata": REMOVED}, ".metadata", "is missing"),
        ({".metadata.name": REMOVED}, ".metadata.name", "give the VMPool a name"),
        ({".spec": REMOVED}, ".spec", "is missing: add it (What VMs there may be"),
        ({".spec": None}, ".spec", "is missing"),
        ({".spec.template.labels.plain": 1}, ".spec.template.labels.plain", 'in quotes: "1"'),
        (
            {".spec.disruption.windows[0].timeZone": "Europe/Atlantis"},
            ".spec.disruption.windows[0].timeZone",
            "is not a time zone",
        ),
    ],
)
def test_what_only_files_can_get_wrong(changes: dict[str, Any], path: str, words: str) -> None:
    found = problems(changed(VMPOOL, changes))
    assert list(found) == [path]
    assert words in found[path]


@pytest.mark.parametrize("document", [None, "kind: VMPool", [VMPOOL], 3])
def test_what_is_no_object_is_refused(document: object) -> None:
    assert "is not an object: write apiVersion, kind, metadata and spec" in problems(document)[""]


def test_null_means_absent_but_not_within_a_pod_template() -> None:
    pool = validate(changed(VMPOOL, {".spec.replicas": None, ".metadata.creationTimestamp": None}))
    assert isinstance(pool, VMPool)
    assert pool.spec.replicas is None

    owning = validate(GOOD["owning"])
    assert owning.spec.template == GOOD["owning"]["spec"]["template"]  # type: ignore[union-attr]


def test_times_that_yaml_has_read_already_are_accepted() -> None:
    written = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)
    pool = validate(changed(VMPOOL, {".metadata.creationTimestamp": written}))
    assert str(pool.metadata.creation_timestamp).startswith("2026-01-31")


def test_a_document_is_not_changed_by_looking_at_it() -> None:
    document = changed(VMPOOL, {".spec.replicas": None})
    before = copy.deepcopy(document)
    validate(document)
    assert document == before


@pytest.mark.parametrize("name", GOOD)
def test_what_is_written_back_is_read_alike(name: str) -> None:
    seen = validate(GOOD[name])
    written = seen.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert validate(written) == seen


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)


def full(name: str) -> Document:
    """The good object, with a status where there is one for it."""
    return with_status(name) if name in STATUS else GOOD[name]


def paths(value: object, path: str = "") -> list[str]:
    """The path of every value in a document."""
    found = [path] if path else []
    if isinstance(value, dict):
        for name, child in value.items():
            if "/" not in name:  # a label's key
                found += paths(child, f"{path}.{name}")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            found += paths(child, f"{path}[{index}]")
    return found


@given(
    place=st.sampled_from([(name, path) for name in GOOD for path in paths(full(name))]),
    value=_ANYTHING,
)
def test_anything_anywhere_is_read_or_refused_in_people_s_words(
    place: tuple[str, str], value: object
) -> None:
    name, path = place
    found: tuple[Problem, ...] = ()
    try:
        validate(changed(full(name), {path: value}))
    except InvalidObject as error:
        found = error.problems
    words = [problem.remedy for problem in found]
    assert all(words)
    assert not any("see the reference" in word for word in words), "an error in pydantic's words"


@pytest.mark.parametrize("key", [(1, 2), datetime.date(2026, 1, 31)])
def test_keys_that_json_does_not_know_are_refused(key: object) -> None:
    bad = changed(VMPOOL, {".spec.template.labels": {key: "x"}})
    assert "cannot be written as JSON" in problems(bad)[""]
