"""What a VM says of itself: its console and its addresses. Runs in the host's thread."""

from __future__ import annotations

import ipaddress
import xml.etree.ElementTree as ET

from plimsoll.hypervisors.contract import Invalid
from plimsoll.hypervisors.libvirt.connection import Session
from plimsoll.hypervisors.libvirt.domainxml import GUEST_AGENT
from plimsoll.hypervisors.libvirt.library import Domain
from plimsoll.hypervisors.libvirt.mark import Mark, VolumeNames
from plimsoll.hypervisors.libvirt.volumes import find_volume, open_pool, read_tail

_AGENT_TIMEOUT = 2
"""Seconds that a guest's agent may take to answer."""


def console_tail(session: Session, mark: Mark, uuid: str, names: VolumeNames) -> str:
    """The end of the VM's console log; empty where there is none."""
    try:
        pool = open_pool(session, mark.storage_pool)
    except Invalid:
        return ""
    session.step("reading a console")
    volume = find_volume(session, pool, names.console(uuid))
    if volume is None:
        return ""
    return read_tail(session, volume).decode(errors="replace")


def addresses(session: Session, domain: Domain) -> tuple[str, ...]:
    """IP addresses of a running domain, as far as libvirt or the guest's agent knows them."""
    api = session.api
    root = ET.fromstring(domain.XMLDesc(0))
    sources = []
    agent = root.find(f"devices/channel/target[@name='{GUEST_AGENT}']")
    if agent is not None and agent.get("state") == "connected":
        domain.agentSetResponseTimeout(_AGENT_TIMEOUT, 0)
        sources.append(api.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)
    if root.find("devices/interface[@type='network']") is not None:
        sources.append(api.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE)
    if root.find("devices/interface[@type='bridge']") is not None:
        sources.append(api.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP)
    for source in sources:
        session.step("asking for addresses")
        try:
            answer = domain.interfaceAddresses(source, 0)
        except api.libvirtError:
            continue  # best effort: an agent that went away, a driver without ARP tables
        found = _usable(answer)
        if found:
            return found
    return ()


def _usable(answer: dict[str, dict[str, list[dict[str, str]] | None]]) -> tuple[str, ...]:
    found = set()
    for interface in answer.values():
        for entry in interface.get("addrs") or ():
            address = ipaddress.ip_address(entry["addr"])
            if not (address.is_loopback or address.is_link_local):
                found.add(str(address))
    return tuple(sorted(found))
