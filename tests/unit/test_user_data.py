"""What user data says, read back as cloud-init, kubelet and k3s would."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from plimsoll.api import VMNode
from plimsoll.api.bootstrap import PLACEHOLDERS, Bootstrap
from plimsoll.api.quantity import parse_bytes, parse_milli
from plimsoll.bootstrap import cluster, machine, tokens, userdata
from plimsoll.bootstrap.anchor import Anchor
from plimsoll.bootstrap.errors import BootstrapError
from plimsoll.bootstrap.tokens import Token
from plimsoll_testenv.certificates import Authority

CA = Authority("cluster").pair.certificate.decode()
CLUSTER = Anchor("https://10.1.2.3:6443", CA)
TOKEN = Token("abcdef", "0123456789abcdef")
LABELS = {
    "plimsoll.dev/pool": "web",
    "plimsoll.dev/host": "h1",
    "topology.kubernetes.io/zone": "z1",
    "example.org/tier": "web",
    "kubernetes.io/hostname": "web-1",
    "kubernetes.io/os": "linux",
    "kubernetes.io/arch": "amd64",
    "node-role.kubernetes.io/worker": "",
    "node-restriction.kubernetes.io/team": "a",
    "node.kubernetes.io/instance-type": "small",
}
MAY_SET = {
    "plimsoll.dev/pool",
    "plimsoll.dev/host",
    "topology.kubernetes.io/zone",
    "example.org/tier",
    "node.kubernetes.io/instance-type",
}
GIB = 1024**3


def record(**spec: Any) -> VMNode:
    taints = [{"key": "only", "value": "web", "effect": "NoSchedule"}]
    return VMNode.model_validate(
        {
            "metadata": {"name": "web-1", "uid": "u1"},
            "spec": {
                "pool": "web",
                "hypervisor": "rack",
                "size": {"cpu": 2, "memory": "4Gi"},
                "maxPods": 40,
                "template": {"taints": taints},
                **spec,
            },
        }
    )


def rendered(
    bootstrap: dict[str, Any] | None = None, provider_id: str = "libvirt://h1/u", **spec: Any
) -> str:
    vm = machine.of(record(**spec), LABELS, provider_id)
    return userdata.render(Bootstrap.model_validate(bootstrap or {}), vm, CLUSTER, TOKEN)


def parsed(text: str) -> Any:
    assert text.startswith("#cloud-config\n")
    return yaml.safe_load(text)


def files(text: str) -> dict[str, str]:
    return {item["path"]: item["content"] for item in parsed(text)["write_files"]}


def kubelet(**spec: Any) -> Any:
    return yaml.safe_load(files(rendered(**spec))["/etc/kubernetes/kubelet.yaml"])


def flags(text: str, variable: str = "KUBELET_ARGS") -> dict[str, str]:
    """Of kubelet, as systemd reads them from the environment file and splits them."""
    found = re.search(rf'^{variable}="(.*)"$', files(text)["/etc/default/kubelet"], re.MULTILINE)
    assert found
    pairs = (flag.removeprefix("--").partition("=") for flag in shlex.split(found[1]))
    return {name: value for name, _, value in pairs}


def labels_of(text: str) -> dict[str, str]:
    return dict(item.split("=", 1) for item in flags(text)["node-labels"].split(","))


def test_kubelet_gets_what_it_needs_to_ask_for_a_certificate() -> None:
    text = rendered()
    config = yaml.safe_load(files(text)["/etc/kubernetes/bootstrap-kubelet.conf"])
    cluster = config["clusters"][0]["cluster"]
    assert cluster["server"] == "https://10.1.2.3:6443"
    assert files(text)[cluster["certificate-authority"]] == CA
    assert config["users"][0]["user"] == {"token": "abcdef.0123456789abcdef"}
    context = next(c for c in config["contexts"] if c["name"] == config["current-context"])
    assert context["context"] == {
        "cluster": config["clusters"][0]["name"],
        "user": config["users"][0]["name"],
    }


@pytest.mark.parametrize("method", ["Kubelet", "K3s"])
def test_only_root_reads_the_token(method: str) -> None:
    for item in parsed(rendered({"method": method}))["write_files"]:
        private = TOKEN.secret in item["content"]
        assert item["permissions"] == ("0600" if private else "0644")
        assert item["owner"] == "root:root"


def test_kubelet_is_told_its_name_and_the_labels_that_it_may_set() -> None:
    text = rendered()
    assert parsed(text)["hostname"] == flags(text)["hostname-override"] == "web-1"
    assert labels_of(text) == {key: LABELS[key] for key in MAY_SET}
    assert flags(text, "KUBELET_EXTRA_ARGS") == {
        "config": "/etc/kubernetes/kubelet.yaml",
        **flags(text),
    }
    assert "node-labels" not in flags(
        userdata.render(Bootstrap(), machine.of(record(), {}, ""), CLUSTER, TOKEN)
    )


def test_the_configuration_of_kubelet() -> None:
    config = kubelet()
    assert config["kind"] == "KubeletConfiguration"
    assert config["maxPods"] == 40
    assert config["providerID"] == "libvirt://h1/u"
    assert config["registerWithTaints"] == [{"key": "only", "value": "web", "effect": "NoSchedule"}]
    assert config["rotateCertificates"] is config["serverTLSBootstrap"] is True
    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["authentication"]["x509"]["clientCAFile"] == "/etc/kubernetes/pki/ca.crt"
    assert config["authorization"] == {"mode": "Webhook"}
    assert config["cgroupDriver"] == "systemd"
    assert "clusterDNS" not in config
    dns = {"clusterDNS": ["10.96.0.10"], "clusterDomain": "example.org"}
    told = kubelet(bootstrap=dns)
    assert (told["clusterDNS"], told["clusterDomain"]) == (["10.96.0.10"], "example.org")
    assert "providerID" not in kubelet(provider_id="")


@pytest.mark.parametrize(
    ("memory", "shown"),
    # What Linux shows of a VM's memory; the difference is the kernel's own.
    [("1Gi", 981), ("2Gi", 1983), ("4Gi", 3915), ("8Gi", 7946), ("16Gi", 15990)],
)
def test_a_node_takes_no_less_than_was_planned_for(memory: str, shown: int) -> None:
    vm = record(size={"cpu": 2, "memory": memory}, reservedCpu="300m", reservedMemory="512Mi")
    config = kubelet(**vm.spec.model_dump(by_alias=True, exclude={"template"}, mode="json"))
    reserved, eviction = config["systemReserved"], config["evictionHard"]["memory.available"]
    allocatable = shown * 1024**2 - parse_bytes(reserved["memory"]) - parse_bytes(eviction)
    assert allocatable >= parse_bytes(memory) - 512 * 1024**2
    assert parse_milli(reserved["cpu"]) == 300
    # The reserve is not given away either.
    assert allocatable <= parse_bytes(memory) - 300 * 1024**2


def test_kubelet_evicts_before_the_kernel_kills_even_where_little_is_reserved() -> None:
    config = kubelet(reservedMemory="0")
    assert parse_bytes(config["evictionHard"]["memory.available"]) >= 50 * 1024**2
    assert parse_bytes(config["systemReserved"]["memory"]) == 0
    # What is not named there would be off.
    assert set(config["evictionHard"]) == {
        *("memory.available", "nodefs.available", "nodefs.inodesFree"),
        *("imagefs.available", "imagefs.inodesFree"),
    }


def test_a_k3s_agent_is_told_the_same() -> None:
    text = rendered({"method": "K3s"})
    config = yaml.safe_load(files(text)["/etc/rancher/k3s/config.yaml"])
    assert config["server"] == "https://10.1.2.3:6443"
    assert config["node-name"] == "web-1"
    assert dict(item.split("=", 1) for item in config["node-label"]) == {
        key: LABELS[key] for key in MAY_SET
    }
    assert config["node-taint"] == ["only=web:NoSchedule"]
    told = dict(item.split("=", 1) for item in config["kubelet-arg"])
    assert told["max-pods"] == "40"
    assert told["provider-id"] == "libvirt://h1/u"
    ours = kubelet()
    assert dict(i.split("=") for i in told["system-reserved"].split(",")) == ours["systemReserved"]
    assert dict(i.split("<") for i in told["eviction-hard"].split(",")) == ours["evictionHard"]
    digest = hashlib.sha256(CA.encode()).hexdigest()
    token = files(text)[config["token-file"]]
    assert token.strip() == f"K10{digest}::abcdef.0123456789abcdef"
    assert "k3s-agent" in str(parsed(text)["runcmd"][-1])


def test_a_bundle_of_several_certificates_is_known_by_its_root() -> None:
    root, other = Authority("root"), Authority("other")
    below = x509.load_pem_x509_certificate(root.issue("below").certificate)
    pem = below.public_bytes(serialization.Encoding.PEM).decode()
    bundle = pem + other.pair.certificate.decode() + root.pair.certificate.decode()
    der = x509.load_pem_x509_certificate(root.pair.certificate).public_bytes(
        serialization.Encoding.DER
    )
    assert Anchor("", bundle).bundle_hash == hashlib.sha256(der).hexdigest()
    unrelated = CA + other.pair.certificate.decode()
    assert Anchor("", unrelated).bundle_hash == hashlib.sha256(unrelated.encode()).hexdigest()


def test_the_custom_method_fills_in_every_name() -> None:
    template = "\n".join(f"{name}: ${{{name}}}" for name in PLACEHOLDERS) + "\ncost: $$5"
    text = rendered(
        {"method": "Custom", "userData": template, "clusterDNS": ["10.96.0.10", "fd00::a"]}
    )
    found = dict(line.split(": ", 1) for line in text.splitlines())
    assert found["name"] == "web-1"
    assert found["endpoint"] == "https://10.1.2.3:6443"
    assert found["token"] == "abcdef.0123456789abcdef"
    assert base64.b64decode(found["caData"]).decode() == CA
    assert re.fullmatch("sha256:[0-9a-f]{64}", found["caHash"])
    assert found["providerID"] == "libvirt://h1/u"
    assert set(found["labels"].split(",")) == {f"{key}={LABELS[key]}" for key in MAY_SET}
    assert found["taints"] == "only=web:NoSchedule"
    assert found["maxPods"] == "40"
    assert found["reservedCPU"] == kubelet()["systemReserved"]["cpu"]
    assert found["reservedMemory"] == kubelet()["systemReserved"]["memory"]
    assert found["clusterDNS"] == "10.96.0.10,fd00::a"
    assert found["clusterDomain"] == "cluster.local"
    assert found["cost"] == "$5"


@pytest.mark.parametrize("template", ["${nmae}", "$HOME", "100 $"])
def test_an_unknown_name_is_refused_where_it_stands(template: str) -> None:
    unchecked = Bootstrap.model_construct(
        method="Custom", user_data=template, cluster_dns=(), cluster_domain="cluster.local"
    )
    vm = machine.of(record(), {}, "")
    with pytest.raises(BootstrapError, match=r"^\.spec\.template\.bootstrap\.userData"):
        userdata.render(unchecked, vm, CLUSTER, TOKEN)


EXTRA = """#cloud-config
users: [{name: ops, ssh_authorized_keys: [ssh-ed25519 AAAA]}]
runcmd: [[touch, /before]]
write_files:
- {path: /etc/containerd/certs.d/mirror/hosts.toml, content: "x"}
"""


@pytest.mark.parametrize("method", ["Kubelet", "K3s"])
def test_a_persons_cloud_config_is_merged_in(method: str) -> None:
    plain, merged = (
        parsed(rendered({"method": method, "extraUserData": extra})) for extra in ("", EXTRA)
    )
    assert merged["users"][0]["name"] == "ops"
    # Ours has the last word.
    assert merged["runcmd"] == [["touch", "/before"], *plain["runcmd"]]
    assert merged["write_files"][1:] == plain["write_files"]
    assert merged["hostname"] == "web-1"


def test_a_persons_own_settings_of_kubelet_are_read_after_ours() -> None:
    extra = "write_files: [{path: /etc/kubernetes/kubelet.d/10-mine.conf, content: x}]"
    assert flags(rendered({"extraUserData": extra}))["config-dir"] == "/etc/kubernetes/kubelet.d/"
    assert "config-dir" not in flags(rendered())


PATH = r"^\.spec\.template\.bootstrap\.extraUserData"


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("a: [", rf"{PATH} is no YAML in line 1: "),
        ("ok: 1\n\tb: 2", rf"{PATH} is no YAML in line 2: "),
        ("- a", f"{PATH} is no cloud-config"),
        ("1: 2", f"{PATH} is no cloud-config"),
        ("#!/bin/sh\ntrue", f"{PATH} begins with '#!/bin/sh'"),
        ("## template: jinja\n#cloud-config", f"{PATH} begins with '## template: jinja'"),
        ("hostname: mine", rf"{PATH}\.hostname is set by Plimsoll"),
        ("runcmd: reboot", rf"{PATH}\.runcmd is no list"),
        ("write_files: [{content: x}]", rf"{PATH}\.write_files\[0\] has no path"),
        (
            "write_files: [{path: /a}, {path: /etc/kubernetes/kubelet.yaml}]",
            rf"{PATH}\.write_files\[1\]\.path: /etc/kubernetes/kubelet.yaml is set by Plimsoll",
        ),
    ],
)
def test_what_cannot_be_merged_is_refused_where_it_stands(extra: str, said: str) -> None:
    with pytest.raises(BootstrapError, match=said):
        rendered({"extraUserData": extra})


def test_a_comment_or_nothing_is_no_error() -> None:
    assert rendered({"extraUserData": "# nothing yet\n"}) == rendered()


def test_tokens_are_as_the_api_server_wants_them() -> None:
    made = [tokens.new_token() for _ in range(50)]
    assert all(re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", token.text) for token in made)
    assert len({token.secret for token in made}) == 50
    document = tokens.document(TOKEN, record(), "this", 1_800_000_000.0)
    assert document["metadata"]["name"] == "bootstrap-token-abcdef"
    assert document["stringData"]["expiration"] == "2027-01-15T08:00:00Z"
    assert document["stringData"]["usage-bootstrap-signing"] == "false"
    assert document["metadata"]["ownerReferences"][0]["uid"] == "u1"


def test_a_token_shows_no_secret() -> None:
    assert TOKEN.secret not in f"{TOKEN} {TOKEN!r} {[TOKEN]}"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("a.b", False)],
)
def test_no_vm_finds_an_api_server_on_its_own_loopback(host: str, loopback: bool) -> None:
    assert cluster._is_loopback(host) is loopback
