"""The generated files are those of the models, and the schemas keep our own conventions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plimsoll.api import KINDS, reference
from plimsoll.api.base import Kind
from plimsoll.api.crd import crd, render, write
from plimsoll.api.schema import Field, fields, structural
from schema_cases import GOOD, SPANNING, UPDATES, VALUES, Case

ROOT = Path(__file__).parents[2]
SPECS = [pytest.param(kind, id=kind.__name__) for kind in KINDS]


def test_the_checked_in_crds_are_those_of_the_models(tmp_path: Path) -> None:
    generated = {path.name: path.read_text() for path in write(tmp_path)}
    checked_in = {path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")}
    assert checked_in.keys() == generated.keys()
    stale = [name for name in generated if generated[name] != checked_in[name]]
    assert not stale, "run `make crds` and commit the result"


def test_the_checked_in_reference_is_that_of_the_models() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    assert page == reference.render(), "run `make crds` and commit the result"


@pytest.mark.parametrize("kind", SPECS)
def test_rendering_twice_gives_the_same(kind: type[Kind]) -> None:
    first = render(kind)
    structural.cache_clear()
    assert render(kind) == first


def nodes(kind: type[Kind]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of a kind with its path: fields, items of lists, values of maps."""
    schema = structural(kind)
    for field in (Field("", schema, True), *fields(schema)):
        yield field.path, field.schema
        for inner, mark in (("items", "[]"), ("additionalProperties", "{}")):
            if inner in field.schema:
                yield f"{field.path}{mark}", field.schema[inner]


@pytest.mark.parametrize("kind", SPECS)
def test_every_field_is_described_by_a_sentence(kind: type[Kind]) -> None:
    inside_metadata = re.compile(r"\.metadata\b")
    undescribed = [
        field.path
        for field in fields(structural(kind))
        if not inside_metadata.match(field.path)
        and not re.fullmatch(r"[A-Z`].*[.]", field.schema.get("description", ""), re.DOTALL)
    ]
    assert undescribed == []


@pytest.mark.parametrize("kind", SPECS)
def test_everything_is_bounded_so_that_rules_stay_cheap(kind: type[Kind]) -> None:
    unbounded = []
    for path, schema in nodes(kind):
        if path in ("", ".apiVersion", ".kind") or path.startswith(".metadata"):
            continue
        if schema.get("type") == "array":
            bounded = "maxItems" in schema
        elif "additionalProperties" in schema:
            bounded = "maxProperties" in schema
        elif schema.get("type") == "string" or "x-kubernetes-int-or-string" in schema:
            bounded = "maxLength" in schema or "enum" in schema
        else:
            bounded = True
        if not bounded:
            unbounded.append(path)
    assert unbounded == []


@pytest.mark.parametrize("kind", SPECS)
def test_every_list_says_how_it_merges(kind: type[Kind]) -> None:
    for path, schema in nodes(kind):
        if schema.get("type") != "array":
            continue
        merge = schema.get("x-kubernetes-list-type")
        assert merge in ("atomic", "set", "map"), path
        keys = schema.get("x-kubernetes-list-map-keys", [])
        assert bool(keys) == (merge == "map"), path
        assert set(keys) <= set(schema["items"].get("required", ())), path


def test_lists_of_things_with_a_key_are_maps() -> None:
    maps = {
        (kind.__name__, path): tuple(schema["x-kubernetes-list-map-keys"])
        for kind in KINDS
        for path, schema in nodes(kind)
        if schema.get("x-kubernetes-list-type") == "map"
    }
    for kind in KINDS:
        assert maps.pop((kind.__name__, ".status.conditions")) == ("type",)
    assert maps == {
        ("Hypervisor", ".spec.simulated.hosts"): ("name",),
        ("Hypervisor", ".spec.libvirt.hosts"): ("name",),
        ("Hypervisor", ".spec.static.machines"): ("node",),
        ("Hypervisor", ".status.hosts"): ("name",),
        ("VMPool", ".spec.template.taints"): ("key", "effect"),
        ("VMNode", ".spec.template.taints"): ("key", "effect"),
    }


@pytest.mark.parametrize("kind", SPECS)
def test_every_rule_says_what_is_wrong_and_what_to_do(kind: type[Kind]) -> None:
    for path, schema in nodes(kind):
        assert "pattern" not in schema, f"{path}: people cannot read patterns; write a Rule"
        for rule in schema.get("x-kubernetes-validations", ()):
            assert re.fullmatch(r"[^:]{10,}: .{10,}", rule["message"]), path


@pytest.mark.parametrize("kind", SPECS)
def test_only_a_spec_has_defaults(kind: type[Kind]) -> None:
    defaulted = {path.split(".")[1] for path, schema in nodes(kind) if "default" in schema}
    assert defaulted <= {"spec"}


def test_every_rule_of_a_spec_has_a_case_that_breaks_it() -> None:
    cases: list[Case] = [param.values[0] for param in (*SPANNING, *VALUES, *UPDATES)]
    untested = set()
    for kind in KINDS:
        for path, schema in nodes(kind):
            if path.startswith(".status"):
                continue
            for rule in schema.get("x-kubernetes-validations", ()):
                tested = any(
                    case.server in rule["message"]
                    for case in cases
                    # A rule over fields is told by its kind; a rule of a scalar is shared by many.
                    if "properties" not in schema or GOOD[case.good]["kind"] == kind.__name__
                )
                if not tested:
                    untested.add((kind.__name__, path, rule["message"]))
    assert untested == set()


@pytest.mark.parametrize("kind", SPECS)
def test_the_good_objects_fill_every_field_of_a_spec(kind: type[Kind]) -> None:
    filled: set[str] = set()

    def walk(value: Any, path: str) -> None:
        filled.add(path)
        if isinstance(value, dict):
            for name, child in value.items():
                walk(child, f"{path}.{name}")
        elif isinstance(value, list):
            for item in value:
                walk(item, f"{path}[]")

    for good in GOOD.values():
        if good["kind"] == kind.__name__:
            walk(good, "")
    declared = {field.path for field in fields(structural(kind)) if field.path.startswith(".spec")}
    assert declared - filled == set()


def test_kinds_are_presented_as_the_design_says() -> None:
    names = {kind.__name__: crd(kind)["spec"]["names"] for kind in KINDS}
    assert {name: found["shortNames"] for name, found in names.items()} == {
        "Hypervisor": ["hv"],
        "VMPool": ["vmp"],
        "VMNode": ["vmn"],
        "ContainerWorkload": ["cw"],
    }
    assert all(found["categories"] == ["plimsoll"] for found in names.values())
    scopes = {kind.__name__: crd(kind)["spec"]["scope"] for kind in KINDS}
    assert [name for name, scope in scopes.items() if scope == "Namespaced"] == [
        "ContainerWorkload"
    ]
    scaled = [
        kind.__name__
        for kind in KINDS
        if "scale" in crd(kind)["spec"]["versions"][0]["subresources"]
    ]
    assert scaled == ["VMPool", "ContainerWorkload"]
