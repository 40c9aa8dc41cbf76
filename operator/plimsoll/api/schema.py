"""Model -> structural schema, as a CustomResourceDefinition wants it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from plimsoll.api.base import Kind

Schema = dict[str, Any]

_ORDER = ("type", "description", "default", "enum")
_META: dict[str, Schema] = {
    "apiVersion": {
        "type": "string",
        "description": "Group and version of the kind.",
    },
    "kind": {"type": "string", "description": "Name of the kind."},
    # What a rule blames must be in the schema.
    "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
}


@cache
def structural(kind: type[Kind]) -> Schema:
    """The structural schema of a kind. It is shared: callers must not change it."""
    # The mode in which defaults are written as a manifest writes them: 512Mi, 10m.
    raw = kind.model_json_schema(by_alias=True, mode="serialization")
    schema = _convert(raw, raw.get("$defs", {}))
    properties = {**_META, **{name: schema["properties"][name] for name in ("spec", "status")}}
    # A default in a status would be read as something that was seen.
    properties["status"] = _without_defaults(properties["status"])
    return _ordered({**schema, "required": ["spec"], "properties": properties})


class Field(NamedTuple):
    """A field with its path, such as ``.spec.size.cpu.min``; ``[]`` stands for an index."""

    path: str
    schema: Schema
    required: bool


def fields(schema: Schema, path: str = "") -> Iterator[Field]:
    """All fields below a schema, parents before their children, in the order of the model."""
    if "items" in schema:
        yield from fields(schema["items"], f"{path}[]")
    required = schema.get("required", ())
    for name, child in schema.get("properties", {}).items():
        yield Field(f"{path}.{name}", child, name in required)
        yield from fields(child, f"{path}.{name}")


def _convert(node: Schema, definitions: dict[str, Schema]) -> Schema:
    """One node of pydantic's JSON schema, its references resolved, as structural schema."""
    node = dict(node)
    if "$ref" in node:
        target = definitions[node.pop("$ref").rpartition("/")[2]]
        return _convert({**target, **node}, definitions)
    optional = [option for option in node.get("anyOf", ()) if option != {"type": "null"}]
    if len(optional) == 1:
        del node["anyOf"]
        return _convert({**optional[0], **node}, definitions)
    for noise in ("title", "$defs"):
        node.pop(noise, None)
    if "const" in node:
        node["enum"] = [node.pop("const")]
    examples, written_as = node.pop("examples", None), node.pop("format", None)
    if "description" in node:
        node["description"] = node["description"].replace("``", "`")
        if examples:
            # `kubectl explain` has no other way to say it: it shows quantities as <Object>.
            node["description"] += f" A {written_as}, such as {' or '.join(examples)}."
    additional = node.pop("additionalProperties", False)
    if isinstance(additional, dict):
        node["additionalProperties"] = _convert(additional, definitions)
    elif additional:
        node["x-kubernetes-preserve-unknown-fields"] = True
    if "default" in node:
        node["default"] = _without_null(node["default"])
        if node["default"] is None:  # absent is absent
            del node["default"]
    if "items" in node:
        node["items"] = _convert(node["items"], definitions)
    if "properties" in node:
        node["properties"] = {
            name: _convert(child, definitions) for name, child in node["properties"].items()
        }
    return _ordered(node)


def _ordered(node: Schema) -> Schema:
    """The same with what a reader looks for first at the top, and the children last."""
    last = ("items", "additionalProperties", "properties")
    keys = [
        *(key for key in _ORDER if key in node),
        *(key for key in node if key not in _ORDER and key not in last),
        *(key for key in last if key in node),
    ]
    return {key: node[key] for key in keys}


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    return value


def _without_defaults(node: Schema) -> Schema:
    clean = {key: value for key, value in node.items() if key != "default"}
    if "items" in clean:
        clean["items"] = _without_defaults(clean["items"])
    if "properties" in clean:
        clean["properties"] = {
            name: _without_defaults(child) for name, child in clean["properties"].items()
        }
    return clean
