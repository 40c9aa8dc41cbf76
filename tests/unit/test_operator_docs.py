"""The reference names every metric and every setting, and none that there is not."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from plimsoll.settings import PREFIX, Settings
from plimsoll.telemetry import Telemetry

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def first_column(document: str, pattern: str) -> set[str]:
    text = (REFERENCE / document).read_text()
    return set(re.findall(rf"^\| `({pattern})` \|", text, re.MULTILINE))


def test_every_metric_is_documented() -> None:
    served = {
        metric.name + ("_total" if metric.type == "counter" else "")
        for metric in Telemetry().registry.collect()
    }
    assert first_column("metrics.md", r"plimsoll_\w+") == served


def test_every_setting_is_documented() -> None:
    known = {PREFIX + field.name.upper() for field in fields(Settings)}
    assert first_column("operator.md", r"PLIMSOLL_\w+") == known
