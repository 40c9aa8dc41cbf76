"""The image of a pod's first process, built here because a node may reach no registry."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from plimsoll_nodeimage.errors import NodeImageError

NAME = "plimsoll.dev/pause:1"
SOURCE = Path(__file__).resolve().parents[1] / "pause"


def make(target: Path, epoch: int) -> None:
    """Build the program and write its image as an OCI layout in a tar.

    Raises:
        NodeImageError: Go could not build the program.
    """
    program = target.with_name("pause")
    flags = ["-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid="]
    built = subprocess.run(
        ["go", "-C", str(SOURCE), "build", *flags, "-o", str(program), "."],
        env=dict(os.environ) | {"CGO_ENABLED": "0", "GOOS": "linux", "GOARCH": "amd64"},
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0:
        raise NodeImageError(f"building the pause program failed:\n{built.stderr.strip()}")
    target.write_bytes(oci_tar(program.read_bytes(), epoch))


def oci_tar(program: bytes, epoch: int) -> bytes:
    """A tar of an OCI layout with one image, whose one layer is the program at /pause."""
    layer = _tar({"pause": (program, 0o755)}, epoch)
    blobs: dict[str, bytes] = {}
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _add(blobs, "application/vnd.oci.image.config.v1+json", _json(config)),
        "layers": [_add(blobs, "application/vnd.oci.image.layer.v1.tar", layer)],
    }
    described = _add(blobs, "application/vnd.oci.image.manifest.v1+json", _json(manifest))
    described["annotations"] = {
        "io.containerd.image.name": NAME,
        "org.opencontainers.image.ref.name": NAME.partition(":")[2],
    }
    index = {"schemaVersion": 2, "manifests": [described]}
    files = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json(index),
        **{f"blobs/sha256/{digest}": content for digest, content in blobs.items()},
    }
    return _tar({name: (content, 0o644) for name, content in files.items()}, epoch)


def _add(blobs: dict[str, bytes], kind: str, content: bytes) -> dict[str, Any]:
    digest = _digest(content)
    blobs[digest.removeprefix("sha256:")] = content
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _tar(files: dict[str, tuple[bytes, int]], epoch: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in sorted(files):
            content, mode = files[name]
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), mode, epoch
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
