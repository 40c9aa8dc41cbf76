"""Good objects of each kind, and what is wrong with bad ones: one table for validate() and server.

A good object fills every field of its spec, so that every rule has a value to
look at. A bad one differs from it in what its case says and in nothing else.
"""

from __future__ import annotations

import copy
import re
from typing import Any, NamedTuple

import pytest

from plimsoll.api.base import API_VERSION

Document = dict[str, Any]

HYPERVISOR: Document = {
    "apiVersion": API_VERSION,
    "kind": "Hypervisor",
    "metadata": {"name": "rack-a"},
    "spec": {
        "provider": "simulated",
        "simulated": {
            "hosts": [
                {"name": "h1", "zone": "z1", "cpu": 16, "memory": "64Gi", "state": "Up"},
                {"name": "h2", "zone": "z2", "cpu": 16, "memory": 68719476736, "state": "Down"},
            ],
            "bootTime": "2s",
            "hotAddTime": "500ms",
            "deleteTime": "0s",
            "restartTime": "1h30m",
            "highAvailability": False,
            "hotAdd": False,
            "hotRemove": True,
            "faults": [{"operation": "ensure", "error": "", "delay": "1s", "host": "h1"}],
        },
        "credentialsSecretRef": {"name": "rack-a.credentials"},
        "cpuOvercommitPercent": 400,
        "restartWindow": "1m",
        "inventoryInterval": "1s",
    },
}

LIBVIRT: Document = {
    "apiVersion": API_VERSION,
    "kind": "Hypervisor",
    "metadata": {"name": "rack-b"},
    "spec": {
        "provider": "libvirt",
        "libvirt": {
            "hosts": [
                {"name": "k1", "zone": "z1", "uri": "qemu:///system", "maintenance": False},
                {
                    "name": "k2",
                    "zone": "z2",
                    "uri": "qemu+ssh://root@k2.example/system?port=2222",
                    "maintenance": True,
                },
            ],
            "callTimeout": "10s",
        },
        "credentialsSecretRef": {"name": "rack-b.ssh"},
        "cpuOvercommitPercent": 200,
        "restartWindow": "1m",
        "inventoryInterval": "5s",
    },
}
"""A Hypervisor of libvirt hosts."""

VMPOOL: Document = {
    "apiVersion": API_VERSION,
    "kind": "VMPool",
    "metadata": {"name": "web"},
    "spec": {
        "hypervisor": "rack-a",
        "replicas": 3,
        "nodes": {"min": 2, "max": 20},
        "size": {
            "cpu": {"min": 2, "max": 16, "step": 2},
            "memory": {"min": "1.5Gi", "max": "64Gi", "step": "512Mi"},
            "memoryPerCPU": "2Gi",
        },
        "density": {
            "pods": {"min": 20, "max": 110, "perCPU": 10},
            "loadLinePercent": 80,
            "reserved": {"cpu": "0.1", "memory": 268435456},
        },
        "cost": {"perVM": 4, "perCPU": "1", "perGiB": "250m"},
        "zones": ["z1", "z2"],
        "survive": {"hosts": 1},
        "disruption": {
            "maxUnavailable": 2,
            "consolidateAfter": "5m",
            "drainTimeout": "10m",
            "onDrainTimeout": "Force",
            "windows": [
                {
                    "days": ["Sat", "Sun"],
                    "start": "22:30",
                    "duration": "4h",
                    "timeZone": "Europe/Zurich",
                }
            ],
        },
        "maxLaunching": 3,
        "launchTimeout": "5m",
        "phaseTimeouts": {"creating": "1m", "booting": "2m", "joining": "3m"},
        "whenOff": "Replace",
        "updateStrategy": "OnDelete",
        "template": {
            "labels": {"example.org/tier": "web", "plain": ""},
            "annotations": {"example.org/note": "any text"},
            "taints": [
                {"key": "example.org/only", "value": "web", "effect": "NoSchedule"},
                {"key": "example.org/only", "value": "web", "effect": "NoExecute"},
            ],
            "runtimeClasses": ["runc", "kata"],
            "libvirt": {
                "image": "debian-12.qcow2",
                "storagePool": "vms",
                "diskSize": "20Gi",
                "network": {"network": "", "bridge": "br0", "user": False},
                "machine": "pc-q35-7.2",
                "cpuModel": "host-model",
                "acceleration": "KVM",
                "firmware": "UEFI",
                "extraDevices": ["<watchdog model='i6300esb' action='reset'/>"],
            },
            "bootstrap": {
                "method": "Custom",
                "endpoint": "https://10.0.0.1:6443",
                "userData": "#!/bin/sh\necho ${name}\n",
                "extraUserData": "",
                "clusterDNS": ["10.96.0.10", "fd00::a"],
                "clusterDomain": "cluster.example",
            },
        },
    },
}

VMNODE: Document = {
    "apiVersion": API_VERSION,
    "kind": "VMNode",
    "metadata": {"name": "web-x7k2p"},
    "spec": {
        "pool": "web",
        "hypervisor": "rack-a",
        "host": "h1",
        "zone": "z1",
        "size": {"cpu": 2, "memory": "4Gi"},
        "maxSize": {"cpu": 16, "memory": "64Gi"},
        "maxPods": 110,
        "reservedCpu": "200m",
        "reservedMemory": "512Mi",
        "berths": 20,
        "template": copy.deepcopy(VMPOOL["spec"]["template"]),
        "retire": {"reason": "its pods fit elsewhere", "since": "2026-01-31T12:00:00Z"},
    },
}

STEERING: Document = {
    "apiVersion": API_VERSION,
    "kind": "ContainerWorkload",
    "metadata": {"name": "tomcat", "namespace": "default"},
    "spec": {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "tomcat"},
        "replicas": 3,
        "scaleUp": {
            "cpu": {"min": "250m", "max": 2},
            "memory": {"min": "256Mi", "max": "2Gi"},
            "container": "tomcat",
        },
        "scaleOut": {"min": 2, "max": 40},
        "redundancy": {"survive": 1, "across": "zone"},
        "targetUtilization": {"cpuPercent": 60, "memoryPercent": 70},
        "scaleDownAfter": "0s",
        "disruptionBudget": {"maxUnavailable": 1},
    },
}

OWNING: Document = copy.deepcopy(STEERING)
"""A ContainerWorkload with a pod template of its own."""
OWNING["metadata"]["name"] = "httpd"
OWNING["spec"]["scaleUp"]["container"] = "httpd"
del OWNING["spec"]["targetRef"]
OWNING["spec"]["template"] = {
    "metadata": {"labels": {"app": "httpd"}, "creationTimestamp": None},
    "spec": {
        "containers": [{"name": "httpd", "image": "httpd:2.4", "ports": [{"containerPort": 80}]}]
    },
}

STATIC: Document = {
    "apiVersion": API_VERSION,
    "kind": "Hypervisor",
    "metadata": {"name": "metal"},
    "spec": {
        "provider": "static",
        "static": {
            "machines": [
                {
                    "node": "metal-1",
                    "systemUUID": "4C4C4544-0042-3510-8052-B4C04F334A32",
                    "cpu": 16,
                    "memory": "64Gi",
                    "host": "metal-1",
                    "zone": "z1",
                    "maintenance": True,
                },
                {
                    "node": "metal-2",
                    "systemUUID": "4C4C4544-0042-3510-8052-B4C04F334A33",
                    "cpu": 8,
                    "memory": "32Gi",
                    "host": "metal-2",
                    "zone": "z2",
                    "maintenance": False,
                },
            ]
        },
        "cpuOvercommitPercent": 200,
        "restartWindow": "1m",
        "inventoryInterval": "5s",
    },
}

GOOD: dict[str, Document] = {
    "hypervisor": HYPERVISOR,
    "static": STATIC,
    "libvirt": LIBVIRT,
    "vmpool": VMPOOL,
    "vmnode": VMNODE,
    "steering": STEERING,
    "owning": OWNING,
}

REMOVED = object()
"""As a value of a change: the field is not there."""


def changed(document: Document, changes: dict[str, Any]) -> Document:
    """A copy with the values at JSON paths (``.spec.zones[0]``) set or removed."""
    document = copy.deepcopy(document)
    for path, value in changes.items():
        *parents, last = (
            int(step[1:-1]) if step.startswith("[") else step
            for step in re.findall(r"[^.\[\]]+|\[\d+\]", path)
        )
        node: Any = document
        for step in parents:
            node = node[step] if isinstance(step, int) else node.setdefault(step, {})
        if value is REMOVED:
            del node[last]
        else:
            node[last] = copy.deepcopy(value)
    return document


class Case(NamedTuple):
    """A bad object: what is changed, which field is to blame, and the words that say why."""

    good: str
    changes: dict[str, Any]
    path: str
    server: str
    """Words of the API server's message."""
    local: str = ""
    """Words of validate(), where the API server says it in words of its own."""

    @property
    def bad(self) -> Document:
        return changed(GOOD[self.good], self.changes)


def _case(
    good: str, path: str, value: Any, server: str, local: str = "", blamed: str = "", **more: Any
) -> Any:
    """A case, named after what it changes; ``more`` are further changes of the spec."""
    changes = {path: value, **{f".spec.{name}": extra for name, extra in more.items()}}
    shown = "removed" if value is REMOVED else repr(value)[:40]
    return pytest.param(
        Case(good, changes, blamed or path, server, local), id=f"{good}{path}={shown}"
    )


_CPU, _MEMORY = ".spec.size.cpu", ".spec.size.memory"
_HOST = ".spec.simulated.hosts"
_WINDOW = ".spec.disruption.windows[0]"
_SCALE_UP = ".spec.scaleUp"
_LIBVIRT = ".spec.libvirt.hosts"
_MACHINE = ".spec.static.machines[0]"
_VM = ".spec.template.libvirt"
_BOOTSTRAP = ".spec.template.bootstrap"
_ONE_NETWORK = "needs exactly one of network, bridge and user"
_OWN_USER_DATA = "userData belongs to the method Custom"

SPANNING = [
    # min, max and step
    _case("vmpool", ".spec.nodes.min", 21, "min must not be greater than max"),
    _case("vmpool", f"{_CPU}.min", 18, "min must not be greater than max"),
    _case("vmpool", f"{_MEMORY}.min", "65Gi", "min must not be greater than max"),
    _case("vmpool", f"{_MEMORY}.min", "68719476737", "min must not be greater than max"),
    _case("vmpool", ".spec.density.pods.min", 111, "min must not be greater than max"),
    _case("steering", ".spec.scaleOut.min", 41, "min must not be greater than max"),
    _case("steering", f"{_SCALE_UP}.cpu.min", "2001m", "min must not be greater than max"),
    _case("steering", f"{_SCALE_UP}.memory.min", "3Gi", "min must not be greater than max"),
    _case("vmpool", f"{_CPU}.max", 15, "max is not min plus a multiple of step"),
    _case("vmpool", f"{_MEMORY}.max", "64.25Gi", "max is not min plus a multiple of step"),
    _case("vmpool", f"{_MEMORY}.max", 68719476737, "max is not min plus a multiple of step"),
    # memory that follows the CPUs
    _case("vmpool", ".spec.size.memoryPerCPU", "33Gi", "no number of CPUs gives a memory within"),
    _case("vmpool", ".spec.size.memoryPerCPU", "10Mi", "no number of CPUs gives a memory within"),
    # counts set by hand
    _case("vmpool", ".spec.replicas", 1, "replicas must lie between nodes.min and nodes.max"),
    _case("vmpool", ".spec.replicas", 21, "replicas must lie between nodes.min and nodes.max"),
    _case("steering", ".spec.replicas", 1, "replicas must lie between scaleOut.min and"),
    _case("steering", ".spec.replicas", 41, "replicas must lie between scaleOut.min and"),
    # promises that cannot be kept
    _case("vmpool", ".spec.survive.hosts", 20, "nodes.max must be greater than survive.hosts"),
    _case(
        "steering",
        ".spec.redundancy.survive",
        40,
        "redundancy.survive must be less than scaleOut.max",
    ),
    # a VM with nothing left for pods
    _case(
        "vmpool",
        ".spec.density.reserved.cpu",
        2,
        "density.reserved.cpu must be less than size.cpu.min",
    ),
    _case(
        "vmpool",
        ".spec.density.reserved.memory",
        "1.5Gi",
        "density.reserved.memory must be less than size.memory.min",
    ),
    _case("vmnode", ".spec.berths", 111, "berths must not be greater than maxPods"),
    # references
    _case(
        "hypervisor", ".spec.simulated", REMOVED, "provider simulated needs the section simulated"
    ),
    _case("static", ".spec.static", REMOVED, "provider static needs the section static"),
    _case("libvirt", ".spec.libvirt", REMOVED, "provider libvirt needs the section libvirt"),
    _case("vmpool", f"{_VM}.network.bridge", "", _ONE_NETWORK, blamed=f"{_VM}.network"),
    _case("vmpool", f"{_VM}.network.user", True, _ONE_NETWORK, blamed=f"{_VM}.network"),
    _case("vmnode", f"{_VM}.network.network", "default", _ONE_NETWORK, blamed=f"{_VM}.network"),
    _case(
        "vmpool", f"{_BOOTSTRAP}.method", "Kubelet", _OWN_USER_DATA, blamed=f"{_BOOTSTRAP}.userData"
    ),
    _case("vmnode", f"{_BOOTSTRAP}.userData", "", _OWN_USER_DATA),
    *(
        case
        for good in ("vmpool", "vmnode")
        for case in (
            _case(
                good,
                f"{_BOOTSTRAP}.extraUserData",
                "runcmd: []",
                "extraUserData does not belong to the method Custom",
            ),
            _case(
                good,
                f"{_BOOTSTRAP}.method",
                "K3s",
                "clusterDNS does not belong to the method K3s",
                blamed=f"{_BOOTSTRAP}.clusterDNS",
                **{"template.bootstrap.userData": ""},
            ),
        )
    ),
    _case(
        "steering",
        ".spec.targetRef",
        REMOVED,
        "either targetRef or template, not both and not neither",
        blamed=".spec",
    ),
    _case(
        "steering",
        ".spec.template",
        OWNING["spec"]["template"],
        "either targetRef or template, not both and not neither",
        blamed=".spec",
        scaleUp=REMOVED,
    ),
    _case(
        "owning",
        f"{_SCALE_UP}.container",
        "sidecar",
        "scaleUp.container is not a container of template",
    ),
    # names and labels that others depend on
    _case("vmpool", ".metadata.name", "a" * 53, "longer than 52 characters or has a dot"),
    _case("vmpool", ".metadata.name", "web.eu", "longer than 52 characters or has a dot"),
    _case("vmnode", ".metadata.name", "web.eu", "longer than 63 characters or has a dot"),
    _case("vmnode", ".metadata.name", "a" * 64, "longer than 63 characters or has a dot"),
    _case("hypervisor", ".metadata.name", "a" * 64, "longer than 63 characters"),
    _case("steering", ".metadata.name", "a" * 64, "longer than 63 characters"),
    _case(
        "vmpool",
        ".spec.template.labels",
        {"plimsoll.dev/pool": "mine"},
        "must not have keys of plimsoll.dev/",
    ),
    _case(
        "vmpool",
        ".spec.template.labels",
        {"kubernetes.io/hostname": "mine"},
        "or kubernetes.io/hostname",
    ),
    _case("vmpool", ".spec.template.labels", {"a b": ""}, "a key that is not well-formed"),
    _case("vmpool", ".spec.template.labels", {"n" * 64: ""}, "a key that is not well-formed"),
    _case("vmpool", ".spec.template.annotations", {"/x": ""}, "a key that is not well-formed"),
]
"""Rules that look at more than one value."""

VALUES = [
    # quantities
    _case("vmpool", f"{_MEMORY}.min", "four", "is not a quantity: write a number"),
    _case("vmpool", f"{_MEMORY}.min", "4 Gi", "is not a quantity: write a number"),
    _case("vmpool", f"{_MEMORY}.min", "4GiB", "is not a quantity: write a number"),
    _case("vmpool", f"{_MEMORY}.min", "", "is not a quantity: write a number"),
    _case("vmpool", f"{_MEMORY}.min", 0, "must be greater than zero"),
    _case("vmpool", f"{_MEMORY}.min", "-4Gi", "must be greater than zero"),
    _case("vmpool", f"{_MEMORY}.step", "0", "must be greater than zero"),
    _case("vmpool", f"{_MEMORY}.max", "9223372036854775808", "is too large: give less than 1P"),
    _case("vmpool", f"{_MEMORY}.max", "100E", "is too large: give less than 1P"),
    _case("vmpool", f"{_MEMORY}.max", "1e30", "is too large: give less than 1P"),
    _case("vmpool", f"{_MEMORY}.min", "4096m", "is not a whole number of bytes"),
    _case("vmpool", f"{_MEMORY}.min", "4294967296.5", "is not a whole number of bytes"),
    _case(
        "vmpool",
        f"{_MEMORY}.min",
        1.5,
        "must be of type integer",
        "must be of type integer or string: put a number with a decimal point in quotes",
    ),
    _case(
        "vmpool", f"{_MEMORY}.min", True, "must be of type integer", "must be of type integer or"
    ),
    _case("vmpool", f"{_MEMORY}.min", "1" * 33, "Too long", "is not a quantity"),
    _case("vmpool", ".spec.density.reserved.cpu", "-1m", "must not be negative"),
    _case("vmpool", ".spec.density.reserved.cpu", "200 m", "is not a quantity"),
    _case("vmpool", ".spec.density.reserved.memory", "-1", "must not be negative"),
    _case("vmpool", ".spec.cost.perVM", "4 EUR", "is not a quantity"),
    _case("vmpool", ".spec.cost.perCPU", -1, "must not be negative"),
    _case("vmpool", ".spec.cost.perGiB", "9223372036854775807", "is too large"),
    _case("vmnode", ".spec.reservedCpu", "-1", "must not be negative"),
    _case("vmnode", ".spec.reservedMemory", "512m", "is not a whole number of bytes"),
    _case("vmnode", ".spec.size.memory", "0", "must be greater than zero"),
    _case("hypervisor", f"{_HOST}[1].memory", "0Gi", "must be greater than zero"),
    _case("steering", f"{_SCALE_UP}.cpu.min", "0", "must be greater than zero"),
    _case("steering", f"{_SCALE_UP}.cpu.min", "-250m", "must be greater than zero"),
    _case("steering", f"{_SCALE_UP}.cpu.max", "2 cores", "is not a quantity"),
    _case("steering", f"{_SCALE_UP}.memory.max", "1Ei", "is too large"),
    # durations
    _case("vmpool", ".spec.launchTimeout", "10 minutes", "is not a duration: write whole numbers"),
    _case("vmpool", ".spec.launchTimeout", "10", "is not a duration: write whole numbers"),
    _case("vmpool", ".spec.launchTimeout", "-10m", "is not a duration: write whole numbers"),
    _case("vmpool", ".spec.launchTimeout", "999999h", "is not a duration: write whole numbers"),
    _case("vmpool", ".spec.launchTimeout", "0s", "is too short: give 1s or more"),
    _case("vmpool", ".spec.phaseTimeouts.booting", "0s", "is too short: give 1s or more"),
    _case("vmpool", f"{_WINDOW}.duration", "999ms", "is too short: give 1s or more"),
    _case("hypervisor", ".spec.inventoryInterval", "0s", "is too short: give 1s or more"),
    _case("steering", ".spec.scaleDownAfter", "5 m", "is not a duration"),
    _case("vmpool", ".spec.launchTimeout", 600, "must be of type string", "is not a duration"),
    # times of day
    _case("vmpool", f"{_WINDOW}.start", "24:00", "is not a time of day: write HH:MM"),
    _case("vmpool", f"{_WINDOW}.start", "9:30", "is not a time of day: write HH:MM"),
    _case("vmpool", f"{_WINDOW}.timeZone", "../etc", "is not a time zone"),
    # names
    _case("vmpool", ".spec.hypervisor", "Rack_A", "is not a name of a Kubernetes object"),
    _case("vmpool", ".spec.hypervisor", "rack-", "is not a name of a Kubernetes object"),
    _case("vmpool", ".spec.hypervisor", "", "at least 1 chars long", "is empty"),
    _case("steering", ".spec.targetRef.name", "tom cat", "is not a name of a Kubernetes object"),
    _case("hypervisor", f"{_HOST}[0].name", "host 1", "is not a label value"),
    _case("vmpool", ".spec.zones[1]", "z/2", "is not a label value"),
    _case("vmpool", ".spec.zones[1]", "", "at least 1 chars long", "is empty"),
    _case("vmpool", ".spec.template.labels.plain", "a b", "is not a label value"),
    _case("vmpool", ".spec.template.taints[0].key", "no key", "is not a well-formed key"),
    _case("vmpool", ".spec.template.taints[0].value", "a b", "is not a label value"),
    # libvirt
    _case("static", f"{_MACHINE}.node", "metal-1.rack", "is not a node name of one label"),
    _case("static", f"{_MACHINE}.systemUUID", "unknown?", "is not a system UUID"),
    _case("static", f"{_MACHINE}.cpu", 0, "greater than or equal to 1", "is too small"),
    _case("libvirt", f"{_LIBVIRT}[0].uri", "xen:///system", "is not a libvirt URI of QEMU/KVM"),
    _case("libvirt", f"{_LIBVIRT}[1].uri", "qemu+ssh://a b/system", "is not a libvirt URI of QEMU"),
    _case("libvirt", f"{_LIBVIRT}[0].uri", "", "at least 1 chars long", "is empty"),
    _case("libvirt", f"{_LIBVIRT}[0].name", "host 1", "is not a label value"),
    _case("libvirt", ".spec.libvirt.callTimeout", "0s", "is too short: give 1s or more"),
    _case("vmpool", f"{_VM}.image", "images/base", "is not a name of a libvirt volume"),
    _case("vmnode", f"{_VM}.image", "../base", "is not a name of a libvirt volume"),
    _case("vmpool", f"{_VM}.storagePool", "my pool", "is not a name of a libvirt storage pool"),
    _case("vmpool", f"{_VM}.diskSize", "0", "must be greater than zero"),
    _case("vmpool", f"{_VM}.network.bridge", "br 0", "has wrong characters"),
    _case("vmpool", f"{_VM}.machine", "q35'", "has wrong characters"),
    _case("vmpool", f"{_VM}.cpuModel", "<host/>", "has wrong characters"),
    _case("vmpool", f"{_BOOTSTRAP}.endpoint", "http://a", "is not an address of an API server"),
    _case("vmnode", f"{_BOOTSTRAP}.endpoint", "https://", "is not an address of an API server"),
    _case("vmpool", f"{_BOOTSTRAP}.userData", "echo $HOME", "has a $ that begins nothing known"),
    _case("vmpool", f"{_BOOTSTRAP}.userData", "${secret}", "has a $ that begins nothing known"),
    _case("vmpool", f"{_BOOTSTRAP}.clusterDNS[1]", "010.0.0.1", "is not an IP address"),
    _case("vmpool", f"{_BOOTSTRAP}.clusterDNS[1]", "fe80::1%eth0", "is not an IP address"),
    _case("vmnode", f"{_BOOTSTRAP}.clusterDomain", "a..b", "is not a name of a Kubernetes object"),
    # what must not occur twice
    _case("hypervisor", f"{_HOST}[1].name", "h1", "Duplicate value", "same name", f"{_HOST}[1]"),
    _case("libvirt", f"{_LIBVIRT}[1].name", "k1", "Duplicate value", "same name", f"{_LIBVIRT}[1]"),
    _case("vmpool", ".spec.zones[1]", "z1", "Duplicate value", "same value"),
    _case(
        "vmpool",
        ".spec.template.taints[1].effect",
        "NoSchedule",
        "Duplicate value",
        "same key and effect",
        ".spec.template.taints[1]",
    ),
    _case("vmpool", f"{_WINDOW}.days[1]", "Sat", "Duplicate value", "same value"),
    # choices
    _case("hypervisor", ".spec.provider", "libvrt", "Unsupported value", "did you mean libvirt?"),
    _case("hypervisor", f"{_HOST}[0].state", "up", "Unsupported value", "did you mean Up?"),
    _case(
        "hypervisor",
        ".spec.simulated.faults[0].operation",
        "destroy",
        "Unsupported value",
        "choose one of hosts, ensure",
    ),
    _case(
        "vmpool",
        ".spec.disruption.onDrainTimeout",
        "Froce",
        "Unsupported value",
        "did you mean Force?",
    ),
    _case("vmpool", ".spec.updateStrategy", "Rolling", "Unsupported value", "did you mean"),
    _case("vmpool", ".spec.whenOff", "restart", "Unsupported value", "did you mean Restart?"),
    _case("vmpool", f"{_WINDOW}.days[0]", "Saturday", "Unsupported value", '"Saturday" is not'),
    _case(
        "steering",
        ".spec.targetRef.kind",
        "DaemonSet",
        "Unsupported value",
        '"DaemonSet" is not allowed',
    ),
    _case("steering", ".spec.redundancy.across", "rack", "Unsupported value", '"rack" is not'),
    _case("vmpool", f"{_VM}.firmware", "Bios", "Unsupported value", "did you mean BIOS?"),
    _case("vmpool", f"{_VM}.acceleration", "kvm", "Unsupported value", "did you mean KVM?"),
    _case("vmpool", f"{_BOOTSTRAP}.method", "Ansible", "Unsupported value", "choose one of Kub"),
    # pod templates
    _case("owning", ".spec.template.spec", REMOVED, "Required value", "is missing"),
    _case("owning", ".spec.template.spec.containers", [], "at least 1 items", "has too few items"),
    _case(
        "owning",
        ".spec.template.spec.containers[0].name",
        REMOVED,
        "Required value",
        "is missing",
        scaleUp=REMOVED,
    ),
]
"""Rules of single values."""

UNKNOWN = [
    _case("vmpool", ".spec.nodes.mim", 2, "unknown field", "did you mean min?"),
    _case("vmpool", ".spec.loadLinePercent", 85, "unknown field", "it belongs in .spec.density"),
    _case(
        "vmpool",
        ".spec.density.load_line_percent",
        85,
        "unknown field",
        "did you mean loadLinePercent?",
    ),
    _case("steering", ".spec.colour", "red", "unknown field", "choose one of targetRef, template"),
]
"""Fields that do not exist. The API server says so when asked to be strict, as kubectl asks it."""

UPDATES = [
    _case("vmpool", ".spec.hypervisor", "rack-b", "hypervisor cannot be changed: create another"),
    _case("vmnode", ".spec.pool", "db", "pool cannot be changed"),
    _case("vmnode", ".spec.hypervisor", "rack-b", "hypervisor cannot be changed: retire this VM"),
    _case(
        "steering",
        ".spec.targetRef.name",
        "httpd",
        "targetRef cannot be changed",
        blamed=".spec.targetRef",
    ),
    _case(
        "steering",
        ".spec.targetRef.kind",
        "StatefulSet",
        "targetRef cannot be changed",
        blamed=".spec.targetRef",
    ),
    _case(
        "steering",
        ".spec.targetRef",
        REMOVED,
        "targetRef cannot be changed",
        template=OWNING["spec"]["template"],
        scaleUp=REMOVED,
    ),
    _case(
        "owning",
        ".spec.template",
        REMOVED,
        "targetRef cannot be changed",
        blamed=".spec.targetRef",
        targetRef=STEERING["spec"]["targetRef"],
    ),
]
"""Objects that are good in themselves, but not as an update of the good one: files have no past."""

STATUS: dict[str, Document] = {
    "hypervisor": {
        "observedGeneration": 1,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Listed",
                "message": "",
                "observedGeneration": 1,
                "lastTransitionTime": "2026-01-31T12:00:00Z",
            },
            {
                "type": "Reconciling",
                "status": "True",
                "reason": "Listing",
                "lastTransitionTime": "2026-01-31T12:00:00Z",
            },
        ],
        "hosts": [
            {"name": "h1", "state": "Up", "cpu": "64", "memory": "2Pi"},
            {"name": "h2", "state": "Unknown", "cpu": "16", "memory": "64Gi"},
        ],
        "capabilities": {"hotAddCpu": True},
        "lastInventory": "2026-01-31T12:00:00Z",
    },
    "vmpool": {"replicas": 3, "readyReplicas": 2, "selector": "plimsoll.dev/pool=web", "cpu": "6"},
    "vmnode": {
        "phase": "Joining",
        "identity": {"uuid": "11111111-1111-1111-1111-111111111111"},
        "size": {"cpu": 2, "memory": "4Gi"},
    },
    "steering": {"replicas": 3, "selector": "app=tomcat", "demandCpu": "1500m"},
}

_CONDITIONS = ".status.conditions"
BAD_STATUS = [
    _case("hypervisor", f"{_CONDITIONS}[0].reason", "not one word", "is not a condition's reason"),
    _case("hypervisor", f"{_CONDITIONS}[0].type", "All good", "is not a well-formed key"),
    _case("hypervisor", f"{_CONDITIONS}[0].status", "true", "Unsupported value", "mean True?"),
    _case("hypervisor", f"{_CONDITIONS}[1].reason", REMOVED, "Required value", "is missing"),
    _case(
        "hypervisor",
        f"{_CONDITIONS}[1].type",
        "Ready",
        "Duplicate value",
        "same type",
        f"{_CONDITIONS}[1]",
    ),
    _case(
        "hypervisor",
        ".status.hosts[1].name",
        "h1",
        "Duplicate value",
        "same name",
        ".status.hosts[1]",
    ),
    _case("hypervisor", ".status.hosts[0].memory", "-1", "must not be negative"),
    _case("hypervisor", ".status.hosts[0].cpu", "many", "is not a quantity"),
    _case("vmpool", ".status.replicas", -1, "greater than or equal to 0", "is too small"),
    _case("vmnode", ".status.phase", "Booted", "Unsupported value", "did you mean Booting?"),
    _case("vmnode", ".status.identity.uuid", "", "at least 1 chars long", "is empty"),
    _case("steering", ".status.demandCpu", "1.5 cores", "is not a quantity"),
]
"""Bad statuses; the good object is the good spec with the good status."""


def with_status(good: str) -> Document:
    """The good object with its good status."""
    return {**GOOD[good], "status": STATUS[good]}
