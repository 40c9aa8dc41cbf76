"""Large lists read piece by piece give what they give when they are read as a whole."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.offline import documents, streaming
from plimsoll.offline.files import load
from plimsoll.offline.problems import BadInput
from plimsoll.offline.streaming import Rest, pieces

DUMP = json.loads((Path(__file__).parent.parent / "data" / "dump.json").read_text())
TRICKY = '},{"apiVersion":"v1","kind":"Pod"'

Json = dict[str, Any]

leaves = st.sampled_from(["", TRICKY, "\\", '"', "ä", "]", 7, True])
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "items", "metadata"]), inner, max_size=3)
        | st.lists(
            st.fixed_dictionaries({"apiVersion": leaves, "kind": leaves, "metadata": inner}),
            max_size=3,
        )
    ),
    max_leaves=12,
)
items = st.fixed_dictionaries(
    {"apiVersion": st.just("v1"), "kind": st.sampled_from(["Pod", "Node"])},
    optional={"metadata": st.just({"name": "x"}), "other": values},
)


def layouts(listed: list[Json]) -> list[bytes]:
    """A list as kubectl prints it, as the API server sends it, and as somebody else may."""
    head = {"apiVersion": "v1", "kind": "List"}
    first = {**head, "metadata": {"resourceVersion": "1"}, "items": listed}
    last = {"apiVersion": "v1", "items": listed, "kind": "List", "metadata": {}}
    return [
        json.dumps(last, indent=4).encode(),
        json.dumps(first, separators=(",", ":")).encode(),
        json.dumps(last, ensure_ascii=False).encode(),
        json.dumps(first, indent=1).encode(),
        b"\n " + json.dumps({"items": listed, **head}).replace("}, {", "}\n,\n{").encode(),
    ]


@given(st.lists(items, max_size=12), st.integers(40, 400), st.integers(0, 4))
def test_the_items_of_all_pieces_are_the_items_of_the_list(
    listed: list[Json], size: int, layout: int
) -> None:
    text = layouts(listed)[layout]
    found: list[Any] = []
    for piece in pieces(io.BytesIO(text), size):
        if isinstance(piece, Rest):
            assert piece.first == len(found)
            assert len(piece.text) + piece.left_out == len(text)
            found += json.loads(piece.text)["items"]
        else:
            assert piece.first == len(found)
            assert piece.count == len(piece.items())
            found += [msgspec.json.decode(item) for item in piece.items()]
    assert found == listed


@pytest.mark.parametrize("layout", [0, 1, 2])
def test_memory_holds_little_of_a_large_list(layout: int) -> None:
    text = layouts(DUMP["items"] * 60)[layout]
    sizes = [len(piece.text) for piece in pieces(io.BytesIO(text), 20_000)]
    assert len(text) > 500_000
    assert max(sizes) < 50_000


def twice(monkeypatch: pytest.MonkeyPatch, path: Path) -> tuple[Any, Any]:
    """What a file gives as a whole, and piece by piece: the objects or the problems."""

    def outcome() -> Any:
        try:
            loaded = load([str(path)])
        except BadInput as error:
            return error.problems
        return loaded.objects, loaded.observations, loaded.notes, loaded.moment

    whole = outcome()
    monkeypatch.setattr(documents, "pieces", partial(streaming.pieces, size=3000))
    return whole, outcome()


@pytest.mark.parametrize("layout", range(5))
def test_a_dump_is_the_same_either_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: int
) -> None:
    path = tmp_path / "dump.json"
    path.write_bytes(layouts(DUMP["items"])[layout])
    whole, in_pieces = twice(monkeypatch, path)
    assert whole == in_pieces
    assert whole[0].pods


def of_typed_list(text: bytes) -> bytes:
    """Only the pods, without saying that they are."""
    items = [i for i in json.loads(text)["items"] if i["kind"] == "Pod"]
    for item in items:
        del item["kind"], item["apiVersion"]
    return json.dumps({"kind": "PodList", "apiVersion": "v1", "items": items * 3}).encode()


def kind_comes_last(text: bytes) -> bytes:
    document = json.loads(of_typed_list(text))
    return json.dumps({"items": document["items"], "apiVersion": "v1", "kind": "PodList"}).encode()


def with_wrong_pod(text: bytes) -> bytes:
    document = json.loads(text)
    pods = [i for i in document["items"] if i["kind"] == "Pod"]
    pods[-1]["spec"]["tolerations"] = [{"key": 7}]
    pods[-2]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "much"}}
    return json.dumps(document, indent=4).encode()


def with_nulls(text: bytes) -> bytes:
    document = json.loads(text)
    for item in document["items"]:
        item["metadata"]["labels"] = None
        item["metadata"]["finalizers"] = None
    return json.dumps(document, indent=4).encode()


def given_twice(text: bytes) -> bytes:
    document = json.loads(text)
    again = json.loads(text)["items"]
    for item in again:
        item["metadata"]["uid"] = "another"
    document["items"] += again
    return json.dumps(document, indent=4).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) * 3 // 4],
        lambda text: json.dumps(json.loads(text)).encode()[: len(text) // 2],
        lambda text: text.replace(b'"phase"', b'"phase', 1),
        lambda text: text[:-200].replace(b'"phase": "Running"', b'"phase": Running') + text[-200:],
        lambda text: text + b"}",
        lambda text: text + text,
        lambda text: text.replace(b'"kind": "List"', b'"kind": "Pod"'),
        lambda text: text.replace(b'"kind": "Pod"', b'"kind": 7'),
        of_typed_list,
        kind_comes_last,
        with_wrong_pod,
        with_nulls,
        given_twice,
    ],
)
def test_what_is_wrong_is_said_in_the_same_words_either_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    path = tmp_path / "dump.json"
    path.write_bytes(change(layouts(DUMP["items"])[0]))
    whole, in_pieces = twice(monkeypatch, path)
    assert whole == in_pieces
