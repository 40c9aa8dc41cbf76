"""The container image of the replicas, built here: a VM of the story reaches no registry."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from plimsoll_testenv.errors import TestEnvError

NAME: Final = "plimsoll.dev/worker:1"
_SOURCE: Final = Path(__file__).resolve().parents[1] / "worker"


def image() -> bytes:
    """Build the program and answer its image, a tar as `ctr images import` takes it.

    Raises:
        TestEnvError: Go is missing, or could not build it.
    """
    flags = ["-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid="]
    with TemporaryDirectory(prefix="plimsoll-worker-") as folder:
        program = Path(folder) / "worker"
        command = ["go", "-C", str(_SOURCE), "build", *flags, "-o", str(program), "."]
        env = os.environ | {"CGO_ENABLED": "0", "GOOS": "linux", "GOARCH": "amd64"}
        try:
            subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        except FileNotFoundError:
            raise TestEnvError("there is no `go` command, which builds the workers") from None
        except subprocess.CalledProcessError as error:
            raise TestEnvError(f"building the workers failed:\n{error.stderr.strip()}") from error
        return _archive(program.read_bytes())


def _archive(program: bytes) -> bytes:
    """An image with the program alone in it, as `docker save` writes one."""
    layer = _tar({"worker": (program, 0o755)})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/worker"], "User": "65534:65534"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]
    return _tar(
        {
            "config.json": (json.dumps(config).encode(), 0o644),
            "layer.tar": (layer, 0o644),
            "manifest.json": (json.dumps(manifest).encode(), 0o644),
        }
    )


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, (content, mode) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
