"""``plimsoll compare``: reads files, compares, prints, and writes the page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from plimsoll.compare.assumptions import OptionError, Options
from plimsoll.compare.comparison import compare
from plimsoll.compare.document import document
from plimsoll.compare.estate import NothingToCompare
from plimsoll.compare.hosts import TooLarge
from plimsoll.compare.page import page
from plimsoll.compare.table import lines
from plimsoll.offline.files import load
from plimsoll.offline.problems import BadInput

DONE: Final = 0
NOT_WRITTEN: Final = 1
"""The page could not be written."""
BAD_INPUT: Final = 2


class Output(StrEnum):
    """How a comparison is printed."""

    TABLE = "table"
    JSON = "json"


def main(
    paths: Sequence[str], output: Output, html: Path | None, texts: dict[str, str | None]
) -> int:
    """Prints the comparison, or what is wrong on standard error; the exit code.

    ``texts``: what was said on the command line, by field of ``Options``.
    """
    try:
        options = Options.parse(texts)
        loaded = load(paths)
        found = compare(loaded.objects, loaded.observations, options)
    except BadInput as error:
        return _wrong(*map(str, error.problems))
    except (OptionError, NothingToCompare, TooLarge) as error:
        return _wrong(str(error))
    if html is not None:
        try:
            html.write_text(page(found, _source(paths), loaded.notes), encoding="utf-8")
        except OSError as error:
            print(f"error: --html {html}: {error.strerror}", file=sys.stderr)
            return NOT_WRITTEN
    if output is Output.JSON:
        text = msgspec.json.format(msgspec.json.encode(document(found, loaded.notes)), indent=2)
        print(text.decode())
    else:
        for line in lines(found, loaded.notes):
            print(line)
    return DONE


def _wrong(*messages: str) -> int:
    for message in messages:
        print(f"error: {message}", file=sys.stderr)
    return BAD_INPUT


def _source(paths: Sequence[str]) -> str:
    names = ["standard input" if path == "-" else Path(path).name or path for path in paths]
    return ", ".join(names)
