"""Label selectors as queries write them: ``app=web,tier in (a,b),!old``. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Test = Callable[[Mapping[str, str]], bool]

_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?"
_VALUE = r"[-A-Za-z0-9_.]*"
_REQUIREMENT = re.compile(
    rf"\s*(?:(?P<absent>!\s*{_NAME})"
    rf"|(?P<key>{_NAME})(?:\s*(?P<equality>==?|!=)\s*(?P<value>{_VALUE})"
    rf"|\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?)\s*(?:,|$)"
)


def parse_selector(text: str) -> Test:
    """The test of labels that a selector stands for; an empty one passes everything.

    Raises:
        ValueError: the text is no label selector.
    """
    tests: list[Test] = []
    at = 0
    while at < len(text):
        match = _REQUIREMENT.match(text, at)
        if match is None:
            raise ValueError(f"{text!r} is not a label selector, from {text[at:]!r} on")
        tests.append(_test(match))
        at = match.end()
    return lambda labels: all(test(labels) for test in tests)


def _test(match: re.Match[str]) -> Test:
    if match["absent"]:
        absent = match["absent"].lstrip("! \t")
        return lambda labels: absent not in labels
    key = match["key"]
    if match["equality"]:
        values, negated = {match["value"]}, match["equality"] == "!="
    elif match["set"]:
        values, negated = {v.strip() for v in match["values"].split(",")}, match["set"] == "notin"
    else:
        return lambda labels: key in labels
    if negated:  # as in Kubernetes, what lacks the label passes
        return lambda labels: labels.get(key) not in values
    return lambda labels: labels.get(key) in values
