"""The further devices of a template: checked, so that they change nothing that is ours."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Final

from plimsoll.hypervisors.contract import Invalid

_OURS: Final = frozenset(
    {"console", "disk", "emulator", "filesystem", "memballoon", "memory", "serial"}
)
"""Elements on which identity, disks, size or console of a VM rest."""


def extra_devices(texts: tuple[str, ...]) -> list[ET.Element]:
    """The elements, each well-formed and none of those that are Plimsoll's to write.

    Raises:
        Invalid: one is not; the message has its index.
    """
    return [_device(index, text) for index, text in enumerate(texts)]


def _device(index: int, text: str) -> ET.Element:
    where = f"template.libvirt.extraDevices[{index}]"
    if "<!" in text or "<?" in text:
        raise Invalid(f"{where}: has a declaration, comment or CDATA: write one plain element")
    try:
        element = ET.fromstring(text)
    except ET.ParseError as error:
        raise Invalid(f"{where}: is not one element of XML: {error}") from None
    if element.tag in _OURS:
        raise Invalid(f"{where}: <{element.tag}> is written by Plimsoll itself: remove it")
    return element
