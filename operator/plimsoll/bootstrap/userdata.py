"""User data: what makes a fresh VM a node, by each of the three methods. Pure."""

from __future__ import annotations

import base64
from string import Template
from typing import Final

from plimsoll.api.bootstrap import Bootstrap
from plimsoll.bootstrap import cloudconfig
from plimsoll.bootstrap.anchor import Anchor
from plimsoll.bootstrap.cloudconfig import Document, file
from plimsoll.bootstrap.errors import BootstrapError
from plimsoll.bootstrap.machine import Machine
from plimsoll.bootstrap.tokens import Token

CA_FILE: Final = "/etc/kubernetes/pki/ca.crt"
BOOTSTRAP_KUBECONFIG: Final = "/etc/kubernetes/bootstrap-kubelet.conf"
KUBELET_CONFIG: Final = "/etc/kubernetes/kubelet.yaml"
KUBELET_DROP_INS: Final = "/etc/kubernetes/kubelet.d/"
"""A person's own files for kubelet; read after ours, if there are any."""
KUBELET_FLAGS: Final = "/etc/default/kubelet"
K3S_CONFIG: Final = "/etc/rancher/k3s/config.yaml"
K3S_TOKEN: Final = "/etc/rancher/k3s/agent-token"
CONTAINER_RUNTIME: Final = "unix:///run/containerd/containerd.sock"
_CUSTOM: Final = ".spec.template.bootstrap.userData"


def render(bootstrap: Bootstrap, machine: Machine, cluster: Anchor, token: Token) -> str:
    """The user data of one VM. It is secret: it holds the token.

    Raises:
        BootstrapError: what a person wrote cannot be merged or filled in; says where.
    """
    if bootstrap.method == "Custom":
        return _custom(bootstrap, machine, cluster, token)
    extra = cloudconfig.parse(bootstrap.extra_user_data)
    if bootstrap.method == "K3s":
        ours = _k3s(machine, cluster, token)
    else:
        ours = _kubelet(bootstrap, machine, cluster, token, drop_ins=_has_drop_ins(extra))
    return cloudconfig.render(cloudconfig.merge(ours, extra))


def _kubelet(
    bootstrap: Bootstrap, machine: Machine, cluster: Anchor, token: Token, *, drop_ins: bool
) -> Document:
    """kubelet's TLS bootstrap: the files that `kubeadm join` would write."""
    flags = [f"--hostname-override={machine.name}"]
    if machine.labels:
        flags.append(f"--node-labels={machine.node_labels}")
    if drop_ins:
        flags.append(f"--config-dir={KUBELET_DROP_INS}")
    # KUBELET_ARGS is read by the unit of our image, KUBELET_EXTRA_ARGS by that of Kubernetes'
    # packages, whose own --config comes before and is overruled.
    environment = "".join(
        (
            f'KUBELET_ARGS="{" ".join(flags)}"\n',
            f'KUBELET_EXTRA_ARGS="--config={KUBELET_CONFIG} {" ".join(flags)}"\n',
        )
    )
    return {
        "hostname": machine.name,
        "write_files": [
            file(CA_FILE, cluster.ca),
            file(BOOTSTRAP_KUBECONFIG, _kubeconfig(cluster, token), private=True),
            file(KUBELET_CONFIG, cloudconfig.dump(kubelet_configuration(bootstrap, machine))),
            file(KUBELET_FLAGS, environment),
        ],
        "runcmd": [_start("kubelet")],
    }


def kubelet_configuration(bootstrap: Bootstrap, machine: Machine) -> Document:
    """``KubeletConfiguration`` (kubelet.config.k8s.io/v1beta1) of this VM."""
    config: Document = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": CA_FILE},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "systemd",
        "containerRuntimeEndpoint": CONTAINER_RUNTIME,
        "clusterDomain": bootstrap.cluster_domain,
        "maxPods": machine.max_pods,
        "systemReserved": machine.reserved,
        "evictionHard": machine.eviction_hard,
        "rotateCertificates": True,
        "serverTLSBootstrap": True,
    }
    if bootstrap.cluster_dns:
        config["clusterDNS"] = list(bootstrap.cluster_dns)
    if machine.provider_id:
        config["providerID"] = machine.provider_id
    if machine.taints:
        config["registerWithTaints"] = [
            t.model_dump(mode="json", by_alias=True) for t in machine.taints
        ]
    return config


def _kubeconfig(cluster: Anchor, token: Token) -> str:
    name = "plimsoll"
    return cloudconfig.dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": name,
                    "cluster": {"server": cluster.endpoint, "certificate-authority": CA_FILE},
                }
            ],
            "users": [{"name": name, "user": {"token": token.text}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
    )


def _k3s(machine: Machine, cluster: Anchor, token: Token) -> Document:
    """A k3s agent, which reads all of it from its configuration file."""
    reserved = ",".join(f"{key}={value}" for key, value in machine.reserved.items())
    eviction = ",".join(f"{key}<{value}" for key, value in machine.eviction_hard.items())
    kubelet = [
        f"max-pods={machine.max_pods}",
        f"system-reserved={reserved}",
        f"eviction-hard={eviction}",
    ]
    if machine.provider_id:
        kubelet.append(f"provider-id={machine.provider_id}")
    config: Document = {
        "server": cluster.endpoint,
        "token-file": K3S_TOKEN,
        "node-name": machine.name,
        "kubelet-arg": kubelet,
    }
    if machine.labels:
        config["node-label"] = [f"{key}={value}" for key, value in machine.labels.items()]
    if machine.taints:
        config["node-taint"] = machine.node_taints
    return {
        "hostname": machine.name,
        "write_files": [
            file(K3S_CONFIG, cloudconfig.dump(config)),
            file(K3S_TOKEN, f"K10{cluster.bundle_hash}::{token.text}\n", private=True),
        ],
        "runcmd": [_start("k3s-agent")],
    }


def _custom(bootstrap: Bootstrap, machine: Machine, cluster: Anchor, token: Token) -> str:
    values = {
        "name": machine.name,
        "endpoint": cluster.endpoint,
        "token": token.text,
        "caData": base64.b64encode(cluster.ca.encode()).decode(),
        "caHash": cluster.key_hash,
        "providerID": machine.provider_id,
        "labels": machine.node_labels,
        "taints": ",".join(machine.node_taints),
        "maxPods": str(machine.max_pods),
        "reservedCPU": machine.reserved["cpu"],
        "reservedMemory": machine.reserved["memory"],
        "clusterDNS": ",".join(bootstrap.cluster_dns),
        "clusterDomain": bootstrap.cluster_domain,
    }
    try:
        return Template(bootstrap.user_data).substitute(values)
    except KeyError as error:
        known = ", ".join(f"${{{name}}}" for name in values)
        raise BootstrapError(
            f"{_CUSTOM} asks for ${{{error.args[0]}}}, which is not known: write one of {known}"
        ) from error
    except ValueError as error:
        raise BootstrapError(f"{_CUSTOM}: {error}: write $$ for a dollar sign") from error


def _has_drop_ins(extra: Document) -> bool:
    files = extra.get("write_files")
    return isinstance(files, list) and any(
        isinstance(item, dict) and str(item.get("path", "")).startswith(KUBELET_DROP_INS)
        for item in files
    )


def _start(unit: str) -> list[str]:
    """Has systemd start the unit with what was written, unless it has done so already.

    Where the unit waits for cloud-init's files, it runs; a restart would only cost time.
    """
    return ["sh", "-c", f"systemctl is-active --quiet {unit} || systemctl restart {unit}"]
