"""The domain XML of a new VM."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Final

from plimsoll.api.libvirt import LibvirtNetwork, LibvirtTemplate
from plimsoll.hypervisors.contract import Intent, Invalid, NotSupported
from plimsoll.hypervisors.libvirt.devices import extra_devices
from plimsoll.hypervisors.libvirt.facts import Platform
from plimsoll.hypervisors.libvirt.mark import Mark
from plimsoll.world.snapshot import Frozen

KIB: Final = 1024
MIB: Final = 1024**2
DIMM_STEP: Final = 128 * MIB
"""Guests take memory in blocks of this size; a smaller rest stays offline in them."""
SLOTS_MAX: Final = 64
"""DIMMs that a VM can be given, at most: one for each growth, kept over a power cycle."""
GUEST_AGENT: Final = "org.qemu.guest_agent.0"
SEED_TARGET: Final = "sda"


class Paths(Frozen, frozen=True, kw_only=True):
    """Where the volumes of a VM lie on its host. Empty: there is none."""

    disk: str
    seed: str = ""
    console: str = ""


def domain_xml(
    intent: Intent,
    template: LibvirtTemplate,
    platform: Platform,
    mark: Mark,
    uuid: str,
    paths: Paths,
) -> str:
    """The XML of the domain, for ``virDomainDefineXML``.

    Raises:
        Invalid: a size or device of the intent cannot be had.
        NotSupported: the host cannot run so many CPUs.
    """
    domain = ET.Element("domain", type=platform.domain_type)
    _sub(domain, "name", intent.name)
    _sub(domain, "uuid", uuid)
    _sub(domain, "title", f"Plimsoll: VM node {intent.name} of pool {intent.pool}")
    _sub(domain, "metadata").append(mark.element())
    _size(domain, intent, platform)
    os = _sub(domain, "os")
    if template.firmware == "UEFI":
        os.set("firmware", "efi")
    elif platform.arch == "x86_64":
        _sub(os, "bios", useserial="yes")  # what the firmware says is on the console, too
    _sub(os, "type", "hvm", arch=platform.arch, machine=platform.machine)
    _sub(os, "boot", dev="hd")
    features = _sub(domain, "features")
    _sub(features, "acpi")  # hot-add is told to guests by ACPI
    if platform.arch in ("x86_64", "i686"):
        _sub(features, "apic")
    _sub(domain, "clock", offset="utc")
    _sub(domain, "on_poweroff", "destroy")
    _sub(domain, "on_reboot", "restart")
    # A crashed VM is off, which everybody can see; the life cycle starts it again.
    _sub(domain, "on_crash", "destroy")
    devices = _sub(domain, "devices")
    _disks(devices, paths)
    _interface(devices, template.network)
    _console(devices, paths)
    _sub(_sub(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")
    # Memory is given and added as a whole; a balloon would only blur what a VM has.
    _sub(devices, "memballoon", model="none")
    if platform.arch == "x86_64":
        _sub(devices, "panic", model="isa")
    devices.extend(extra_devices(template.extra_devices))
    return ET.tostring(domain, encoding="unicode")


def dimm_xml(size: int) -> str:
    """A memory module of so many bytes, for ``virDomainAttachDeviceFlags``."""
    memory = ET.Element("memory", model="dimm")
    target = _sub(memory, "target")
    _sub(target, "size", str(size // KIB), unit="KiB")
    _sub(target, "node", "0")
    return ET.tostring(memory, encoding="unicode")


def ejected_xml(cdrom: ET.Element) -> str:
    """The same drive without a disc, for ``virDomainUpdateDeviceFlags``."""
    empty = ET.fromstring(ET.tostring(cdrom))
    for source in empty.findall("source") + empty.findall("backingStore"):
        empty.remove(source)
    return ET.tostring(empty, encoding="unicode")


def _size(domain: ET.Element, intent: Intent, platform: Platform) -> None:
    if intent.memory % MIB:
        raise Invalid(
            f"VM {intent.name}: memory of {intent.memory} bytes is not a whole number of MiB, "
            "which QEMU needs: change size.memory of the pool"
        )
    max_cpu = max(intent.cpu, intent.max_cpu)
    if max_cpu > intent.cpu and platform.domain_type == "qemu":
        # QEMU 7.2 in software emulation died when the last CPU it could have was added.
        max_cpu += 1
    if platform.max_cpu and max_cpu > platform.max_cpu:
        raise NotSupported(
            f"VM {intent.name}: {max_cpu} CPUs are more than the {platform.max_cpu} that machine "
            f"{platform.machine} can have: lower size.cpu.max of the pool"
        )
    grows = intent.max_memory - intent.memory >= DIMM_STEP
    if grows:
        slots = min(SLOTS_MAX, (intent.max_memory - intent.memory) // DIMM_STEP)
        size = str(intent.max_memory // KIB)
        _sub(domain, "maxMemory", size, slots=str(slots), unit="KiB")
    _sub(domain, "memory", str(intent.memory // KIB), unit="KiB")
    _sub(domain, "vcpu", str(max_cpu), placement="static", current=str(intent.cpu))
    cpu = ET.Element("cpu", mode=platform.cpu_mode)
    if platform.cpu_mode == "custom":
        cpu.attrib |= {"match": "exact", "check": "none"}
        _sub(cpu, "model", platform.cpu_model, fallback="forbid")
    if grows:
        # Memory can be added only to a NUMA cell.
        cell = {"id": "0", "cpus": f"0-{max_cpu - 1}" if max_cpu > 1 else "0"}
        numa = _sub(cpu, "numa")
        _sub(numa, "cell", memory=str(intent.memory // KIB), unit="KiB", **cell)
    domain.append(cpu)


def _disks(devices: ET.Element, paths: Paths) -> None:
    disk = _sub(devices, "disk", type="file", device="disk")
    _sub(disk, "driver", name="qemu", type="qcow2", discard="unmap")
    _sub(disk, "source", file=paths.disk)
    _sub(disk, "target", dev="vda", bus="virtio")
    if paths.seed:
        # SCSI over virtio: kernels made for clouds have no driver of SATA or IDE.
        _sub(devices, "controller", type="scsi", model="virtio-scsi")
        seed = _sub(devices, "disk", type="file", device="cdrom")
        _sub(seed, "driver", name="qemu", type="raw")
        _sub(seed, "source", file=paths.seed)
        _sub(seed, "target", dev=SEED_TARGET, bus="scsi")
        _sub(seed, "readonly")


def _interface(devices: ET.Element, network: LibvirtNetwork) -> None:
    if network.user:
        interface = _sub(devices, "interface", type="user")
    elif network.bridge:
        interface = _sub(devices, "interface", type="bridge")
        _sub(interface, "source", bridge=network.bridge)
    else:
        interface = _sub(devices, "interface", type="network")
        _sub(interface, "source", network=network.network)
    _sub(interface, "model", type="virtio")


def _console(devices: ET.Element, paths: Paths) -> None:
    serial = _sub(devices, "serial", type="pty")
    if paths.console:
        _sub(serial, "log", file=paths.console, append="on")
    _sub(serial, "target", port="0")
    channel = _sub(devices, "channel", type="unix")
    _sub(channel, "target", type="virtio", name=GUEST_AGENT)


def _sub(parent: ET.Element, tag: str, text: str = "", /, **attributes: str) -> ET.Element:
    child = ET.SubElement(parent, tag, attributes)
    if text:
        child.text = text
    return child
