"""cloud-config: the user data that cloud-init reads, and how a person's is merged into ours."""

from __future__ import annotations

from typing import Any, Final

import yaml

from plimsoll.bootstrap.errors import BootstrapError

Document = dict[str, Any]
HEADER: Final = "#cloud-config"
PATH: Final = ".spec.template.bootstrap.extraUserData"
_OTHER_FORMATS: Final = (
    "#!",
    "#include",
    "#part-handler",
    "#cloud-boothook",
    "## template",
    "MIME",
)
_MINE: Final = "is set by Plimsoll: remove it"


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as a person would."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def file(path: str, content: str, *, private: bool = False) -> Document:
    """An item of ``write_files``; a private one is for root alone."""
    return {
        "path": path,
        "owner": "root:root",
        "permissions": "0600" if private else "0644",
        "content": content,
    }


def dump(document: Any) -> str:
    """As YAML."""
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000))


def render(document: Document) -> str:
    """User data that says so in its first line."""
    return f"{HEADER}\n{dump(document)}"


def parse(text: str) -> Document:
    """A person's cloud-config.

    Raises:
        BootstrapError: it is none; the text says where.
    """
    first = text.partition("\n")[0]
    if first.startswith(_OTHER_FORMATS):
        raise BootstrapError(
            f"{PATH} begins with {first!r}: only cloud-config can be merged; put a script into "
            "its runcmd"
        )
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        what = getattr(error, "problem", None) or str(error)
        raise BootstrapError(f"{PATH} is no YAML{line}: {what}") from error
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise BootstrapError(f"{PATH} is no cloud-config: write `module: settings` lines")
    return found


def merge(ours: Document, theirs: Document) -> Document:
    """Both together. Lists are joined, theirs first: ours has the last word.

    Raises:
        BootstrapError: they set what we set, or not as cloud-init has it.
    """
    result = dict(ours)
    for key, value in theirs.items():
        if key not in ours:
            result[key] = value
        elif not isinstance(ours[key], list):
            raise BootstrapError(f"{PATH}.{key} {_MINE}")
        elif not isinstance(value, list):
            raise BootstrapError(f"{PATH}.{key} is no list: write one")
        else:
            result[key] = [*value, *ours[key]]
    taken = {item["path"] for item in ours.get("write_files", ())}
    for index, item in enumerate(theirs.get("write_files") or ()):
        where = f"{PATH}.write_files[{index}]"
        if not isinstance(item, dict) or not isinstance(item.get("path"), str):
            raise BootstrapError(f"{where} has no path: say which file to write")
        if item["path"] in taken:
            raise BootstrapError(f"{where}.path: {item['path']} {_MINE}")
    return result
