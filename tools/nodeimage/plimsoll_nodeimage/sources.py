"""The package sources of the image: those that the building machine itself installs from."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping

from plimsoll_nodeimage.errors import NodeImageError

SUITE = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def lines() -> list[str]:
    """One-line apt sources of Debian's SUITE and its updates, as this machine has them.

    Raises:
        NodeImageError: it has none.
    """
    asked = subprocess.run(
        ["apt-get", "indextargets", "Created-By: Packages", "Origin: Debian"],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode != 0:
        raise NodeImageError(f"apt-get indextargets failed: {asked.stderr.strip()}")
    found = of_targets(parsed(asked.stdout))
    if not found:
        raise NodeImageError(
            f"this machine has no package source of Debian {SUITE}, which the image is made of: "
            f"add one to /etc/apt/sources.list.d/ and run apt-get update"
        )
    return found


def parsed(text: str) -> list[dict[str, str]]:
    """The stanzas of `apt-get indextargets`, each as field and value."""
    stanzas = (stanza.splitlines() for stanza in text.strip().split("\n\n"))
    return [
        {key: value.strip() for key, _, value in (line.partition(":") for line in stanza)}
        for stanza in stanzas
    ]


def of_targets(targets: Iterable[Mapping[str, str]]) -> list[str]:
    """One source line for each release of SUITE among these index targets."""
    components: dict[tuple[str, str], list[str]] = {}
    for target in targets:
        codename = target.get("Codename", "")
        if codename != SUITE and not codename.startswith(f"{SUITE}-"):
            continue
        of_release = components.setdefault((target["Repo-URI"], target["Release"]), [])
        if target["Component"] not in of_release:
            of_release.append(target["Component"])
    return [
        f"deb [signed-by={KEYRING}] {uri} {release} {' '.join(names)}"
        for (uri, release), names in components.items()
    ]


def fetching_options() -> str:
    """How this machine's apt reaches its sources (proxies, date checks), as apt configuration."""
    dumped = subprocess.run(
        ["apt-config", "dump", "--no-empty"], capture_output=True, text=True, check=True
    )
    kept = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")
    return "".join(f"{line}\n" for line in dumped.stdout.splitlines() if line.startswith(kept))
