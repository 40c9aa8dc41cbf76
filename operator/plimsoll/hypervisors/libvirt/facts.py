"""What one host can run: its kind of acceleration, machine types, CPU modes and firmware."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Final

from plimsoll.api.libvirt import LibvirtTemplate
from plimsoll.hypervisors.contract import Invalid
from plimsoll.hypervisors.libvirt.connection import Session
from plimsoll.world.snapshot import Frozen

_NEEDS: Final = {"KVM": ("kvm",), "Software": ("qemu",), "Auto": ("kvm", "qemu")}


class Platform(Frozen, frozen=True, kw_only=True):
    """How this host runs a VM of some template."""

    domain_type: str
    """``kvm``, or ``qemu``: software emulation."""
    arch: str
    machine: str
    """Canonical: an alias such as q35 means another machine after an upgrade of QEMU."""
    cpu_mode: str
    """A mode of libvirt, or ``custom``."""
    cpu_model: str = ""
    """With the mode ``custom``."""
    max_cpu: int


def platform_for(session: Session, template: LibvirtTemplate) -> Platform:
    """What the host makes of the template.

    Raises:
        Invalid: it cannot run such a VM; the message says why, and what it has.
    """
    session.step("asking what the host can run")
    refusals = []
    for kind in _NEEDS[template.acceleration]:
        try:
            answer = session.conn.getDomainCapabilities(None, None, template.machine, kind, 0)
        except session.api.libvirtError as error:
            refusals.append(f"{kind}: {error}")
            continue
        return _platform(session, template, kind, ET.fromstring(answer))
    raise Invalid(
        f"host {session.host} cannot run machine {template.machine!r} with acceleration "
        f"{template.acceleration}: {'; '.join(refusals)}"
    )


def _platform(
    session: Session, template: LibvirtTemplate, kind: str, found: ET.Element
) -> Platform:
    modes = {
        mode.get("name"): mode
        for mode in found.findall("cpu/mode")
        if mode.get("supported") == "yes"
    }
    wanted = template.cpu_model or ("host-passthrough" if kind == "kvm" else "maximum")
    model = ""
    if wanted not in ("host-passthrough", "host-model", "maximum"):
        wanted, model = "custom", wanted
        models = {item.text for item in found.findall("cpu/mode[@name='custom']/model")}
        if models and model not in models:
            raise Invalid(
                f"host {session.host} does not know CPU model {model!r}: set cpuModel to one that "
                "`virsh domcapabilities` there lists, or leave it empty"
            )
    elif wanted == "maximum" and wanted not in modes:
        wanted, model = "custom", "max"  # libvirt before 7.1 does not have the mode
    elif wanted not in modes:
        raise Invalid(f"host {session.host} does not offer CPU mode {wanted} with {kind}")
    if template.firmware == "UEFI":
        values = {item.text for item in found.findall("os/enum[@name='firmware']/value")}
        if "efi" not in values:
            raise Invalid(
                f"host {session.host} has no UEFI firmware for {template.machine}: install it "
                "(on Debian the package ovmf), or set firmware to BIOS"
            )
    return Platform(
        domain_type=found.findtext("domain") or kind,
        arch=found.findtext("arch") or "x86_64",
        machine=found.findtext("machine") or template.machine,
        cpu_mode=wanted,
        cpu_model=model,
        max_cpu=int(vcpu.get("max", "0")) if (vcpu := found.find("vcpu")) is not None else 0,
    )
