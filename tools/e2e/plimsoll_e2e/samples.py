"""The samples of the documentation, fitted to where the story takes place: addresses and URIs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from plimsoll_site import Site

ROOT: Final = Path(__file__).resolve().parents[3]
FOLDER: Final = "manifests/samples/libvirt"
IMAGE: Final = "plimsoll-node.qcow2"
_ENDPOINT: Final = "https://192.168.122.1:6443"
_OFFICE: Final = "http://192.168.122.1:8000"


def fitted(site: Site, server: str, office: str, target: Path, acceleration: str) -> Path:
    """Write the samples into a folder `target` with the story's own addresses; answer it.

    Args:
        site: whose hosts take the place of those in the sample.
        server: URL of the API server.
        office: URL of who gives the containers work.
        target: the folder to make.
        acceleration: for the VMs: Auto, KVM or Software.
    """
    target.mkdir()
    for path in sorted((ROOT / FOLDER).glob("*.yaml")):
        text = path.read_text().replace(_ENDPOINT, server).replace(_OFFICE, office)
        obj: dict[str, Any] = yaml.safe_load(text)
        if obj["kind"] == "Hypervisor":
            obj["spec"]["libvirt"]["hosts"] = [
                {"name": host.name, "uri": host.uri} for host in site.hosts
            ]
        if obj["kind"] == "VMPool":
            obj["spec"]["template"]["libvirt"]["acceleration"] = acceleration
        (target / path.name).write_text(yaml.safe_dump(obj, sort_keys=False))
    return target
