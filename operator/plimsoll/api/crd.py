"""The CustomResourceDefinitions of the four kinds: ``python -m plimsoll.api.crd DIRECTORY``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from plimsoll.api import KINDS
from plimsoll.api.base import GROUP, VERSION, Column, Kind
from plimsoll.api.schema import structural

HEADER = "# Generated from operator/plimsoll/api by `make crds`. Do not edit.\n"


def crd(kind: type[Kind]) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind, with all that the API server would fill in."""
    shown = kind.presentation
    name = kind.__name__
    subresources: dict[str, Any] = {"status": {}}
    if shown.scale:
        subresources["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{shown.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": shown.scope,
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": shown.plural,
                "singular": name.lower(),
                "shortNames": [shown.short_name],
                "categories": ["plimsoll"],
            },
            "conversion": {"strategy": "None"},
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": structural(kind)},
                    "subresources": subresources,
                    "additionalPrinterColumns": [_column(column) for column in shown.columns],
                }
            ],
        },
    }


def _column(column: Column) -> dict[str, Any]:
    rendered: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.path,
        "description": column.description,
    }
    if column.priority:
        rendered["priority"] = column.priority
    return rendered


class _Dumper(yaml.SafeDumper):
    """Without anchors: equal parts are written out."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def render(kind: type[Kind]) -> str:
    """The CRD as YAML text; the same for the same models, always."""
    return HEADER + yaml.dump(crd(kind), Dumper=_Dumper, sort_keys=False, width=100)


def write(directory: Path) -> list[Path]:
    """Writes one file a kind and returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind in KINDS:
        path = directory / f"{GROUP}_{kind.presentation.plural}.yaml"
        path.write_text(render(kind), encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m plimsoll.api.crd DIRECTORY")
    for written in write(Path(sys.argv[1])):
        print(written)
