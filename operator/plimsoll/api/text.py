"""Texts of the models: names, labels, times of day, with the rules that go with them."""

from __future__ import annotations

import re
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field

from plimsoll.api.rules import Checked, Rule, matches

Name = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Checked(
        (
            matches(
                r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                "is not a name of a Kubernetes object",
                "use lower-case letters, digits, '-' and '.', with a letter or digit at both ends",
            ),
        )
    ),
]
"""A DNS subdomain name (RFC 1123), as Kubernetes objects have."""

_LABEL_VALUE = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)"
_HINT = "use at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends"

LabelValue = Annotated[
    str,
    Field(max_length=63),
    Checked((matches(f"^{_LABEL_VALUE}?$", "is not a label value", _HINT),)),
]
"""A label's value; empty is one."""

DomainName = Annotated[
    str,
    Field(min_length=1, max_length=63),
    Checked((matches(f"^{_LABEL_VALUE}$", "is not a label value", _HINT),)),
]
"""Name of a failure domain (host, zone): a label's value that is not empty."""

_KEY = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?" + _LABEL_VALUE + "$"
_KEY_HINT = f"write name or domain/name; for the name {_HINT}"

Key = Annotated[
    str,
    Field(max_length=317),
    Checked((matches(_KEY, "is not a well-formed key", _KEY_HINT),)),
]
"""Key of a label, an annotation or a taint: ``name`` or ``domain/name``."""

_KEYS = Rule(
    f"self.all(key, key.matches(r'{_KEY}'))",
    "has a key that is not well-formed",
    _KEY_HINT,
    lambda entries: all(re.fullmatch(_KEY, key, re.ASCII) for key in entries),
)

Labels = Annotated[dict[str, LabelValue], Field(max_length=64), Checked((_KEYS,))]
Annotations = Annotated[
    dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=64), Checked((_KEYS,))
]

Time = Annotated[str, Field(max_length=64)]
"""A moment as RFC 3339 text; empty: it has not come."""

TimeOfDay = Annotated[
    str,
    Field(max_length=5),
    Checked(
        (
            matches(
                r"^([01][0-9]|2[0-3]):[0-5][0-9]$",
                "is not a time of day",
                "write HH:MM, from 00:00 to 23:59",
            ),
        )
    ),
]


_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9+_/-]*", re.ASCII)


def _is_time_zone(name: str) -> bool:
    # ZoneInfo reads files by name, so only what looks like a zone may reach it.
    if not _ZONE.fullmatch(name):
        return False
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


TimeZone = Annotated[
    str,
    Field(max_length=64),
    Checked(
        (
            Rule(
                # Which zones exist, only Python is asked: API servers may carry no list of them.
                f"self.matches(r'^{_ZONE.pattern}$')",
                "is not a time zone",
                "write an IANA name such as Europe/Zurich, or UTC",
                _is_time_zone,
            ),
        )
    ),
]
