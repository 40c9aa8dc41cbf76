"""The schemas at work in a real API server: what it takes, refuses, fills in and shows."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from plimsoll.api import KINDS
from plimsoll.api.base import API_VERSION, Kind
from plimsoll.api.schema import fields, structural
from plimsoll.api.validate import InvalidObject, validate
from plimsoll.kube import Invalid, Kube
from plimsoll.resources import resource_of
from plimsoll_testenv import ControlPlane
from plimsoll_testenv.errors import TestEnvError
from schema_cases import (
    BAD_STATUS,
    GOOD,
    REMOVED,
    SPANNING,
    STATUS,
    UNKNOWN,
    UPDATES,
    VALUES,
    Case,
    Document,
    changed,
)

CRDS = Path(__file__).parents[2] / "crds"


class Server:
    """Our kinds at a real API server, asked one thing at a time."""

    def __init__(self, runner: asyncio.Runner, kube: Kube) -> None:
        self._runner, self._kube = runner, kube

    def create(self, document: Document, *, dry_run: bool = True) -> Document:
        return self._send("POST", document, dry_run=dry_run)

    def update(self, document: Document, part: str = "", *, dry_run: bool = True) -> Document:
        """Replaces what is stored of the object, or of its subresource ``part``."""
        stored = self.get(document)
        revision = stored["metadata"]["resourceVersion"]
        document = changed(document, {".metadata.resourceVersion": revision})
        return self._send("PUT", document, part, dry_run=dry_run)

    def get(self, document: Document) -> Document:
        return self._send("GET", document)

    def delete(self, document: Document) -> None:
        self._send("DELETE", document)

    def _send(
        self, method: str, document: Document, part: str = "", *, dry_run: bool = False
    ) -> Document:
        metadata = document["metadata"]
        name = "" if method == "POST" else metadata["name"]
        path = resource_of(document).path(metadata.get("namespace"), name, part)
        writes = method in ("POST", "PUT")
        query = {"fieldValidation": "Strict"} if writes else {}
        if dry_run:
            query["dryRun"] = "All"
        answer = self._kube.raw(method, path, document if writes else None, query=query)
        found: Document = json.loads(self._runner.run(answer))
        return found


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with our kinds."""
    control_plane.run_kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    control_plane.run_kubectl(
        "wait", "--for=condition=Established", "-f", str(CRDS), "--timeout=30s"
    )
    return control_plane


@pytest.fixture(scope="module")
def server(plane: ControlPlane) -> Iterator[Server]:
    with asyncio.Runner() as runner:
        kube = runner.run(Kube.from_environment(str(plane.kubeconfig)).__aenter__())
        try:
            yield Server(runner, kube)
        finally:
            runner.run(kube.__aexit__(None, None, None))


def stored_name(good: str) -> str:
    return f"schema-{good}"


@pytest.fixture
def stored(server: Server, request: pytest.FixtureRequest) -> Iterator[Document]:
    """A good object that exists; the parameter says which."""
    document = changed(GOOD[request.param], {".metadata.name": stored_name(request.param)})
    server.create(document, dry_run=False)
    yield document
    server.delete(document)


def stored_as(document: Document) -> str:
    """The name, in the tables, of the good object that was stored."""
    name: str = document["metadata"]["name"]
    return name.removeprefix(stored_name(""))


def causes(refused: pytest.ExceptionInfo[Invalid]) -> dict[str, str]:
    """The API server's messages by field."""
    found: dict[str, str] = {}
    for _, field, message in refused.value.causes:
        path = json_path(field)
        found[path] = f"{found.get(path, '')}{message}\n"
    return found


def json_path(field: str) -> str:
    """The JSON path of a field of a cause, which has keys of maps in brackets."""
    return "." + re.sub(r"\[([a-z][^\]]*)\]", r".\1", field)


def assert_refused(refused: pytest.ExceptionInfo[Invalid], case: Case) -> None:
    found = causes(refused)
    assert case.server in found.get(case.path, ""), found
    # A rule that fails over the bad value instead of judging it leaves a person puzzled.
    assert not any(re.search("evaluat|no such key", message) for message in found.values()), found


# What is served


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_stored_is_what_is_in_git(plane: ControlPlane, kind: type[Kind]) -> None:
    name = f"{kind.presentation.plural}.plimsoll.dev"
    stored = json.loads(plane.run_kubectl("get", "crd", name, "-o", "json"))
    in_git = yaml.safe_load((CRDS / f"plimsoll.dev_{kind.presentation.plural}.yaml").read_text())
    assert stored["spec"] == in_git["spec"]
    problems = [
        condition
        for condition in stored["status"]["conditions"]
        if condition["type"] == "NonStructuralSchema"
    ]
    assert problems == []


# Good and bad objects


@pytest.mark.parametrize("name", GOOD)
def test_good_objects_are_accepted(server: Server, name: str) -> None:
    assert server.create(GOOD[name])["spec"] == GOOD[name]["spec"]


@pytest.mark.parametrize(
    "changes",
    [
        {".spec.nodes": {"min": 3, "max": 3}},
        {".spec.nodes": {"min": 0, "max": 0}, ".spec.replicas": 0, ".spec.survive.hosts": 0},
        {".spec.size.cpu": {"min": 4, "max": 4, "step": 3}},
        {".spec.size.memory": {"min": "4Gi", "max": 4294967296}},
        {
            ".spec.size.memory": {"min": "1G", "max": "4G", "step": "1500M"},
            ".spec.size.memoryPerCPU": "1Gi",
        },
        {".spec.size.memory": {"min": "4294967296000m", "max": "8Gi"}},
        {".spec.size.memory.max": "976562499999Ki", ".spec.size.memory.step": "1Ki"},
        {".spec.density.reserved": {"cpu": 0, "memory": "0"}},
        {".spec.cost": {"perVM": "1e3", "perCPU": 0, "perGiB": "100u"}},
        {".spec.template.labels": {}, ".spec.template.taints": []},
        {".spec.replicas": None},
        {".metadata.name": "a" * 52},
    ],
)
def test_pools_at_the_edge_are_accepted_by_both(server: Server, changes: Document) -> None:
    pool = changed(GOOD["vmpool"], changes)
    server.create(pool)
    validate(pool)


@pytest.mark.parametrize("case", [*SPANNING, *VALUES])
def test_bad_objects_are_refused_in_words(server: Server, case: Case) -> None:
    with pytest.raises(Invalid) as refused:
        server.create(case.bad)
    assert_refused(refused, case)


@pytest.mark.parametrize("case", UNKNOWN)
def test_unknown_fields_are_refused_by_name(server: Server, case: Case) -> None:
    with pytest.raises(Invalid, match=re.escape(f'{case.server} "{case.path[1:]}"')):
        server.create(case.bad)


def bad_values(schema: Document, required: bool) -> list[Any]:
    """Values that the parts of a schema which every kind of schema has forbid."""
    bad: list[Any] = [REMOVED] if required else []
    kind = schema.get("type")
    if kind == "integer":
        bad += ["1", 1.5]
        bad += [schema["minimum"] - 1] if "minimum" in schema else []
        bad += [schema["maximum"] + 1] if "maximum" in schema else []
    elif kind == "string":
        bad += [1, True, {}]
        bad += ["x" * (schema["maxLength"] + 1)] if "maxLength" in schema else ["neither"]
    elif kind == "boolean":
        bad += ["true", 1]
    elif kind == "array":
        bad += ["text", {}, [None]]
        bad += [[]] if schema.get("minItems") else []
    elif kind == "object":
        bad += ["text", ["text"]]
        if "additionalProperties" in schema:
            bad += [{f"k{number}": "" for number in range(schema["maxProperties"] + 1)}]
    elif "x-kubernetes-int-or-string" in schema:
        bad += [True, 1.5, {}, "text", "1" * (schema["maxLength"] + 1)]
    return bad


@pytest.mark.parametrize("name", GOOD)
def test_whatever_the_server_refuses_of_a_field_validate_refuses_there_too(
    server: Server, name: str
) -> None:
    disagreements = []
    for field in fields(structural(type(validate(GOOD[name])))):
        if not field.path.startswith(".spec."):
            continue
        path = field.path.replace("[]", "[0]")
        for value in bad_values(field.schema, field.required):
            try:
                bad = changed(GOOD[name], {path: value})
            except KeyError:  # this good object does without the field
                continue
            answers: list[set[str] | None] = []
            try:
                server.create(bad)
                answers.append(None)
            except Invalid as error:
                answers.append({json_path(at) for _, at, _ in error.causes})
            try:
                validate(bad)
                answers.append(None)
            except InvalidObject as error:
                answers.append({problem.path for problem in error.problems})
            at_server, at_home = answers
            if at_server is None or at_home is None or not at_server & at_home:
                disagreements.append((path, value, at_server, at_home))
    assert disagreements == []


def quantity_like_texts(count: int) -> list[str]:
    """Texts that are quantities, or nearly; always the same."""
    random = Random(1824)
    suffixes = ["", "m", "n", "u", "k", "K", "Ki", "M", "Mi", "G", "Gi", "T", "Ti", "P", "E", "Ei"]
    texts: set[str] = set()
    while len(texts) < count:
        if random.random() < 0.5:
            texts.add("".join(random.choices("01259.+-eEkKmMiGPn ", k=random.randint(0, 6))))
        else:
            sign, dot = random.choice(["", "", "", "+", "-"]), random.choice(["", "."])
            number = f"{random.randrange(2000)}{dot}{random.choice(['', '0', '5', '25'])}"
            exponent = random.choice(["", "", "", "e3", "E-3", "e18", "e+2", "E99"])
            texts.add(sign + number + (exponent or random.choice(suffixes)))
    return sorted(texts)


def test_server_and_models_agree_on_what_a_quantity_is(server: Server) -> None:
    texts = quantity_like_texts(1000)
    hosts = [{"name": f"h{index}", "cpu": 1, "memory": text} for index, text in enumerate(texts)]
    hypervisor = changed(GOOD["hypervisor"], {".spec.simulated.hosts": hosts})
    with pytest.raises(Invalid) as refused:
        server.create(hypervisor)
    with pytest.raises(InvalidObject) as invalid:
        validate(hypervisor)

    def refused_texts(reasons: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
        """What was refused, with the first words of each reason."""
        found: dict[str, set[str]] = {}
        for path, reason in reasons:
            index = re.fullmatch(r"\.spec\.simulated\.hosts\[(\d+)\]\.memory", path)
            assert index, path
            said = re.search("not a quantity|greater than zero|too large|not a whole", reason)
            assert said, reason
            found.setdefault(texts[int(index[1])], set()).add(said[0])
        return found

    at_server = refused_texts((json_path(at), message) for _, at, message in refused.value.causes)
    at_home = refused_texts((found.path, found.message) for found in invalid.value.problems)
    assert at_server == at_home
    assert 100 < len(at_server) < 900


# Defaults


MINIMAL: dict[str, Document] = {
    "Hypervisor": {
        "provider": "simulated",
        "simulated": {"hosts": [{"name": "h1", "cpu": 1, "memory": "1Gi"}]},
    },
    "VMPool": {
        "hypervisor": "rack-a",
        "nodes": {"max": 3},
        "size": {"cpu": {"min": 1, "max": 1}, "memory": {"min": "1Gi", "max": "1Gi"}},
        "disruption": {"windows": [{"start": "00:00", "duration": "1h"}]},
    },
    "VMNode": {
        "pool": "web",
        "hypervisor": "rack-a",
        "size": {"cpu": 1, "memory": "1Gi"},
        "template": {"taints": [{"key": "k", "effect": "NoSchedule"}]},
    },
    "ContainerWorkload": {
        "targetRef": {"kind": "Deployment", "name": "web"},
        "scaleOut": {"max": 1},
        "disruptionBudget": {},
    },
}


@pytest.mark.parametrize("kind", MINIMAL)
def test_the_server_fills_in_what_the_models_do(server: Server, kind: str) -> None:
    namespace = {"namespace": "default"} if kind == "ContainerWorkload" else {}
    document = {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": "minimal", **namespace},
        "spec": MINIMAL[kind],
    }
    model = validate(document).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert server.create(document)["spec"] == model["spec"]


# Updates


@pytest.mark.parametrize(
    ("stored", "case"),
    [pytest.param(case.values[0].good, case.values[0], id=case.id) for case in UPDATES],
    indirect=["stored"],
)
def test_what_cannot_be_changed_is_refused(server: Server, stored: Document, case: Case) -> None:
    update = changed(stored, case.changes)
    server.create(changed(update, {".metadata.name": "another"}))
    with pytest.raises(Invalid) as refused:
        server.update(update)
    assert_refused(refused, case)


@pytest.mark.parametrize(
    ("stored", "changes"),
    [
        ("hypervisor", {".spec.simulated.hosts[0].state": "Down", ".spec.simulated.faults": []}),
        ("vmpool", {".spec.replicas": REMOVED, ".spec.nodes.min": 0, ".spec.survive": {}}),
        ("vmpool", {".spec.template": {}, ".spec.size.memory.max": "128Gi"}),
        ("vmnode", {".spec.size.cpu": 4, ".spec.retire": REMOVED, ".spec.host": "h2"}),
        ("steering", {".spec.scaleUp": REMOVED, ".spec.disruptionBudget": REMOVED}),
        ("owning", {".spec.template.spec.containers[0].image": "httpd:2.6"}),
    ],
    indirect=["stored"],
)
def test_what_can_be_changed_is_accepted_and_back(
    server: Server, stored: Document, changes: Document
) -> None:
    server.update(changed(stored, changes), dry_run=False)
    server.update(stored, dry_run=False)


# Status


@pytest.mark.parametrize("stored", STATUS, indirect=True)
def test_status_is_written_apart_from_the_spec(server: Server, stored: Document) -> None:
    status = STATUS[stored_as(stored)]
    server.update({**stored, "status": status})
    assert "status" not in server.get(stored)

    other_spec = changed({**stored, "status": status}, {".spec": MINIMAL[stored["kind"]]})
    server.update(other_spec, "status", dry_run=False)
    found = server.get(stored)
    assert found["status"] == status
    assert found["spec"] == stored["spec"]

    server.update(stored, dry_run=False)
    assert server.get(stored)["status"] == status


@pytest.mark.parametrize(
    ("stored", "case"),
    [pytest.param(param.values[0].good, param.values[0], id=param.id) for param in BAD_STATUS],
    indirect=["stored"],
)
def test_bad_statuses_are_refused_in_words(server: Server, stored: Document, case: Case) -> None:
    good = {**stored, "status": STATUS[case.good]}
    server.update(good, "status")
    with pytest.raises(Invalid) as refused:
        server.update(changed(good, case.changes), "status")
    assert_refused(refused, case)


@pytest.mark.parametrize("stored", ["vmnode"], indirect=True)
def test_a_recorded_identity_may_be_cleared_but_not_exchanged(
    server: Server, stored: Document
) -> None:
    def record(status: Document) -> None:
        server.update({**stored, "status": status}, "status", dry_run=False)

    record({"phase": "Creating"})
    record({"phase": "Booting", "identity": {"uuid": "one"}})
    record({"phase": "Booting", "identity": {"uuid": "one", "providerID": "plimsoll://one"}})
    with pytest.raises(Invalid) as refused:
        record({"phase": "Booting", "identity": {"uuid": "two"}})
    assert "cannot be exchanged for another" in causes(refused)[".status.identity"]
    record({"phase": "Requested"})
    record({"phase": "Booting", "identity": {"uuid": "two"}})


# What people see


@pytest.mark.parametrize("stored", ["vmpool"], indirect=True)
def test_a_pool_is_scaled_by_kubectl(plane: ControlPlane, server: Server, stored: Document) -> None:
    name = stored["metadata"]["name"]
    status = {"replicas": 3, "selector": f"plimsoll.dev/pool={name}"}
    server.update({**stored, "status": status}, "status", dry_run=False)

    assert "scaled" in plane.run_kubectl("scale", "vmpool", name, "--replicas=5")
    assert server.get(stored)["spec"]["replicas"] == 5
    path = f"/apis/{API_VERSION}/vmpools/{name}/scale"
    scale = json.loads(plane.run_kubectl("get", "--raw", path))
    assert scale["spec"] == {"replicas": 5}
    assert scale["status"] == status

    with pytest.raises(TestEnvError, match=r"replicas must lie between nodes\.min and"):
        plane.run_kubectl("scale", "vmpool", name, "--replicas=21")

    hand_back = '{"spec":{"replicas":null}}'
    plane.run_kubectl("patch", "vmpool", name, "--type=merge", "-p", hand_back)
    assert "replicas" not in server.get(stored)["spec"]
    plane.run_kubectl("scale", "vmp", name, "--replicas=4")
    assert server.get(stored)["spec"]["replicas"] == 4


@pytest.mark.parametrize("stored", ["steering"], indirect=True)
def test_a_workload_is_scaled_by_kubectl(
    plane: ControlPlane, server: Server, stored: Document
) -> None:
    plane.run_kubectl("scale", "cw", stored["metadata"]["name"], "--replicas=7")
    assert server.get(stored)["spec"]["replicas"] == 7


def columns(table: str, name: str) -> dict[str, str]:
    """The row of an object in a table of kubectl, by column."""
    header, *rows = table.splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", header)]
    row = next(row for row in rows if row.split()[0].rpartition("/")[2] == name)
    cells = [row[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
    return dict(zip(header.split(), cells, strict=True))


@pytest.mark.parametrize("stored", STATUS, indirect=True)
def test_get_shows_what_matters(plane: ControlPlane, server: Server, stored: Document) -> None:
    status = STATUS[stored_as(stored)]
    server.update({**stored, "status": status}, "status", dry_run=False)
    kind, name = stored["kind"], stored["metadata"]["name"]
    short = {"Hypervisor": "hv", "VMPool": "vmp", "VMNode": "vmn", "ContainerWorkload": "cw"}[kind]

    row = columns(plane.run_kubectl("get", short, name), name)
    row.pop("AGE")
    assert (
        row
        == {
            "Hypervisor": {
                "NAME": name,
                "PROVIDER": "simulated",
                "READY": "True",
                "INVENTORY": row.get("INVENTORY"),
            },
            "VMPool": {
                "NAME": name,
                "HYPERVISOR": "rack-a",
                "MIN": "2",
                "MAX": "20",
                "VMS": "3",
                "UP": "2",
                "CPU": "6",
                "MEMORY": "",
                "READY": "",
                "REDUNDANT": "",
            },
            "VMNode": {
                "NAME": name,
                "POOL": "web",
                "PHASE": "Joining",
                "READY": "",
                "HOST": "",
                "CPU": "2",
                "MEMORY": "4Gi",
                "BERTHS": "20",
            },
            "ContainerWorkload": {
                "NAME": name,
                "MIN": "2",
                "MAX": "40",
                "REPLICAS": "3",
                "UP": "",
                "CPU": "",
                "MEMORY": "",
                "READY": "",
                "REDUNDANT": "",
            },
        }[kind]
    )
    assert f"{kind.lower()}.plimsoll.dev/{name}" in plane.run_kubectl(
        "get", "plimsoll", "-o", "name"
    )


def test_explain_reads_well(plane: ControlPlane) -> None:
    recursive = plane.run_kubectl("explain", "vmpool.spec", "--recursive")
    lines = recursive.splitlines()
    for line in (
        "    What VMs there may be, and how they are used.",
        "  hypervisor\t<string> -required-",
        "  nodes\t<Object> -required-",
        "    max\t<integer> -required-",
        "    min\t<integer>",
        "  replicas\t<integer>",
        "    onDrainTimeout\t<string>",
        "    enum: Keep, Force",
        "    windows\t<[]Object>",
        "    labels\t<map[string]string>",
    ):
        assert line in lines, recursive

    memory = " ".join(plane.run_kubectl("explain", "vmpool.spec.size.memory").split())
    assert "Memory of the largest VM. A quantity, such as 4Gi or 512Mi." in memory
    timeout = " ".join(plane.run_kubectl("explain", "vmp.spec.launchTimeout").split())
    assert "A duration, such as 90s or 1h30m." in timeout
    choice = plane.run_kubectl("explain", "cw.spec.redundancy.across")
    assert re.search(r"ENUM:\s+host\s+vm\s+zone", choice)
