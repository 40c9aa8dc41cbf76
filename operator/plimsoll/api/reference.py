"""The reference page of the four kinds: ``python -m plimsoll.api.reference FILE``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plimsoll.api import KINDS
from plimsoll.api.base import API_VERSION, Kind
from plimsoll.api.schema import Field, Schema, fields, structural

_INTRODUCTION = f"""\
<!-- Generated from operator/plimsoll/api by `make crds`. Do not edit. -->
# API reference

All kinds belong to `{API_VERSION}`. `kubectl explain` shows the same descriptions.

- **quantity**: a number with an optional suffix, such as `2`, `500m`, `1.5` or `512Mi`, as
  everywhere in Kubernetes.
- **duration**: whole numbers with units, such as `90s`, `10m` or `1h30m`.
- A field without a default may be left out, unless its default reads *required*.
"""

_HINT = re.compile(r" A (quantity|duration), such as .*$")
"""What `kubectl explain` needs in a description, and this page has in a column of its own."""


def render() -> str:
    """The whole page as Markdown."""
    return "\n".join([_INTRODUCTION, *map(_section, KINDS)])


def _section(kind: type[Kind]) -> str:
    shown, schema = kind.presentation, structural(kind)
    scope = "in a namespace" if shown.scope == "Namespaced" else "cluster-wide"
    lines = [
        f"## {kind.__name__}",
        "",
        schema["description"],
        f"Lives {scope}; `kubectl get {shown.short_name}` lists it.",
    ]
    if shown.scale:
        lines.append(
            f"`kubectl scale {kind.__name__.lower()}` sets `.spec.replicas`; "
            """`kubectl patch --type=merge -p '{"spec":{"replicas":null}}'` """
            "hands the count back to Plimsoll."
        )
    for part in ("spec", "status"):
        lines += [
            "",
            f"### {kind.__name__}.{part}",
            "",
            "| Path | Type | Default | Description |",
            "|---|---|---|---|",
            *(_row(field) for field in fields(schema["properties"][part], f".{part}")),
        ]
    lines += ["", f"### Rules of {kind.__name__}", "", *_rules(schema), ""]
    return "\n".join(lines)


def _row(field: Field) -> str:
    schema = field.schema
    default = "required" if field.required else ""
    if "default" in schema and schema.get("type") != "object":  # its fields tell theirs
        default = f"`{_plain(schema['default'])}`"
    description = _HINT.sub("", schema.get("description", ""))
    cells = (f"`{field.path}`", _type(schema), default, description)
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _type(schema: Schema) -> str:
    hint = _HINT.search(schema.get("description", ""))
    if hint:
        return hint[1]
    if "enum" in schema:
        return "one of " + ", ".join(f"`{_plain(choice)}`" for choice in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map of {_type(schema['additionalProperties'])}"
    bounds = [schema[bound] for bound in ("minimum", "maximum") if bound in schema]
    if len(bounds) == 2:
        return f"{schema['type']}, {bounds[0]} to {bounds[1]}"
    return str(schema["type"])


def _plain(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


def _rules(schema: Schema) -> Iterator[str]:
    """Rules that span fields; those of single values show in ``kubectl explain`` and errors."""
    spanning = [Field("", schema, True), *fields(schema)]
    for field in spanning:
        if field.schema.get("type") != "object" or "properties" not in field.schema:
            continue
        for rule in field.schema.get("x-kubernetes-validations", ()):
            path = field.path + rule.get("fieldPath", "")
            yield f"- `{path}`: {rule['message']}."


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m plimsoll.api.reference FILE")
    Path(sys.argv[1]).write_text(render(), encoding="utf-8")
