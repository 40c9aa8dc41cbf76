"""The seed: a small ISO 9660 image from which cloud-init's source NoCloud reads."""

from __future__ import annotations

import importlib
import io
import json
from typing import Final

from plimsoll.hypervisors.contract import NotSupported

LABEL: Final = "cidata"
"""By which guests find it."""


def seed_image(user_data: str, uuid: str, name: str) -> bytes:
    """The image with ``user-data`` and ``meta-data``: the domain's UUID and the host name.

    The same input gives an image of the same files; times of writing differ.

    Raises:
        NotSupported: the library that writes it is not installed.
    """
    try:
        pycdlib = importlib.import_module("pycdlib")
    except ImportError as error:
        raise NotSupported(
            "the seed of a VM needs pycdlib, which is not installed: install "
            f"plimsoll-operator[libvirt]: {error}"
        ) from None
    meta_data = json.dumps({"instance-id": uuid, "local-hostname": name})  # JSON is YAML
    image = pycdlib.PyCdlib()
    # Joliet and Rock Ridge keep the names in lower case for every guest.
    image.new(interchange_level=3, vol_ident=LABEL, joliet=3, rock_ridge="1.09")
    try:
        for number, (file, text) in enumerate((("user-data", user_data), ("meta-data", meta_data))):
            content = text.encode()
            image.add_fp(
                io.BytesIO(content),
                len(content),
                f"/SEED{number}.;1",
                rr_name=file,
                joliet_path=f"/{file}",
            )
        written = io.BytesIO()
        image.write_fp(written)
    finally:
        image.close()
    return written.getvalue()
