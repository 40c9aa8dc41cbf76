"""Which control plane to use. Looks only; starts and builds nothing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from plimsoll_testenv.errors import TestEnvError

DOCKER_TIMEOUT_SECONDS = 10
REQUIRED_ASSETS = ("etcd", "kube-apiserver")


class Source(StrEnum):
    """Where a control plane comes from, in the order of preference."""

    EXISTING = "existing"
    ASSETS = "assets"
    KIND = "kind"
    BUILT = "built"


@dataclass(frozen=True)
class Choice:
    """A source and why it was chosen.

    `path` is the kubeconfig for EXISTING and the folder of binaries for ASSETS.
    """

    source: Source
    reason: str
    path: Path | None = None

    def __str__(self) -> str:
        return f"{self.source} ({self.reason})"


def discover(env: Mapping[str, str]) -> Choice:
    """Choose by environment and by what is installed.

    Raises:
        TestEnvError: what the environment names does not exist. What somebody asked for is never
            silently replaced by something else.
    """
    if named := env.get("PLIMSOLL_KUBECONFIG"):
        return Choice(
            Source.EXISTING,
            f"PLIMSOLL_KUBECONFIG={named}",
            _kubeconfig(named, "PLIMSOLL_KUBECONFIG"),
        )
    if env.get("USE_EXISTING_CLUSTER", "").lower() == "true":
        # Of several files only the first is taken: one file must be handed to every client.
        current = env.get("KUBECONFIG", "").split(":")[0] or str(_home(env) / ".kube" / "config")
        path = _kubeconfig(current, "USE_EXISTING_CLUSTER=true means the current kubeconfig, which")
        return Choice(Source.EXISTING, f"USE_EXISTING_CLUSTER=true, {path}", path)
    if assets := env.get("KUBEBUILDER_ASSETS"):
        folder = Path(assets).expanduser().absolute()
        missing = [name for name in REQUIRED_ASSETS if not (folder / name).is_file()]
        if missing:
            raise TestEnvError(
                f"KUBEBUILDER_ASSETS={assets} holds no {' and no '.join(missing)}: "
                "name a folder with both, or unset it"
            )
        return Choice(Source.ASSETS, f"KUBEBUILDER_ASSETS={assets}", folder)
    path_variable = env.get("PATH")
    if shutil.which("kind", path=path_variable) is None:
        return Choice(Source.BUILT, "no cluster or binaries are named, and there is no kind")
    if not _docker_answers(path_variable):
        return Choice(
            Source.BUILT, "no cluster or binaries are named, and no Docker engine answers kind"
        )
    return Choice(Source.KIND, "kind is installed and a Docker engine answers")


def _kubeconfig(name: str, asked_by: str) -> Path:
    path = Path(name).expanduser().absolute()
    if not path.is_file():
        raise TestEnvError(f"{asked_by} names no file: {path}")
    return path


def _home(env: Mapping[str, str]) -> Path:
    return Path(env["HOME"]) if env.get("HOME") else Path.home()


def _docker_answers(path_variable: str | None) -> bool:
    docker = shutil.which("docker", path=path_variable)
    if docker is None:
        return False
    try:
        asked = subprocess.run(
            [docker, "info", "--format", "{{.ServerVersion}}"],
            capture_output=True,
            timeout=DOCKER_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    # Some versions of the client end with 0 although no engine answered.
    return asked.returncode == 0 and bool(asked.stdout.strip())
