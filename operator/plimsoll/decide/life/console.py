"""The end of what a VM wrote to its console, as it fits into an Event."""

from __future__ import annotations

import re
from typing import Final

LINES: Final = 8
LENGTH: Final = 500
"""Characters, all lines together."""

_ESCAPE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\u00a0-\uffff]")


def tail(text: str) -> str:
    """The last lines that say something, one after the other; empty: there are none.

    Terminal control is taken out. User data is never on a console, so no secret is.
    """
    plain = (_UNPRINTABLE.sub("", _ESCAPE.sub("", line)).strip() for line in text.splitlines())
    lines = [line for line in plain if line]
    told = " | ".join(lines[-LINES:])
    return told if len(told) <= LENGTH else f"...{told[3 - LENGTH :]}"
