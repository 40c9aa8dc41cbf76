"""The documents are true: links lead somewhere, examples are accepted, commands run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from plimsoll.api.validate import validate
from plimsoll.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
DATA = "tests/data"
FILES = {
    "-": f"{DATA}/dump.json",
    "dump.json": f"{DATA}/dump.json",
    "equal.json": f"{DATA}/dump.json",
    "manifests/samples": "manifests/samples",
}
"""What stands for the files that the reader brings along."""
SHOP = f"{DATA}/shop.yaml"


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", names(PAGES))
def test_links_lead_somewhere(page: str) -> None:
    dead = []
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def examples() -> Iterator[dict[str, Any]]:
    """Objects of our kinds that the documents show."""
    for page in PAGES:
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            for document in yaml.safe_load_all(block):
                if str(document.get("apiVersion", "")).startswith("plimsoll.dev/"):
                    yield document


def test_examples_of_our_kinds_are_accepted() -> None:
    """As the API server would: the CRDs' rules are those of ``validate``."""
    accepted = {validate(document).kind for document in examples()}
    assert accepted >= {"VMPool", "ContainerWorkload"}


def commands() -> list[str]:
    """Every command line of the documents that starts Plimsoll."""
    found = []
    for page in PAGES:
        for line in re.findall(r"^(?:\$ |    )(.+)$", page.read_text(), re.MULTILINE):
            called = re.search(r"(?:^|\| |/)plimsoll ([a-z][^|#]*)", line)
            if called:
                found.append(called[1].strip())
    return sorted(set(found))


@pytest.mark.parametrize("command", commands())
def test_commands_run(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(command)
    if "-f" not in words:
        # It speaks to a cluster: that its words are understood must do.
        assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0
        return
    for number, word in enumerate(words):
        if words[number - 1] == "-f":
            words[number] = SHOP if "shop" in words else FILES.get(word, word)
        elif words[number - 1] == "--html":
            words[number] = str(tmp_path / word)
    outcome = CliRunner().invoke(app, words)
    assert outcome.exit_code in {0, 3}, outcome.output
    assert outcome.stdout


def test_there_are_commands_of_every_sort() -> None:
    assert {command.split()[0] for command in commands()} >= {
        "plan",
        "explain",
        "compare",
        "run",
        "simulate",
    }


def test_make_targets_are_there() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = {
        target
        for page in PAGES
        for target in re.findall(r"(?:`|\$ |^    )make ([a-z][a-z0-9-]*)", page.read_text(), re.M)
    }
    assert "demo" in told
    assert told - targets == set()


def test_every_file_of_the_deciding_part_is_told_and_there() -> None:
    page = (ROOT / "docs/concepts/decisions.md").read_text()
    files = {file.name for file in (ROOT / "operator/plimsoll/decide").glob("*.py")}
    assert set(re.findall(r"`decide/(\w+\.py)`", page)) == files - {"__init__.py"}
