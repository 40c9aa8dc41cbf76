"""Files and arguments of a control plane's processes. File names are relative to its directory."""

from __future__ import annotations

import json
from pathlib import Path

from plimsoll_testenv.certificates import Authority, new_key, private_pem, public_pem
from plimsoll_testenv.kubeconfig import write_private

ADDRESS = "127.0.0.1"
HOSTS = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
SERVICE_CIDR = "10.96.0.0/16"
POD_CIDR = "10.244.0.0/16"
KWOK_PARALLELISM = 8
NODE_MONITOR_PERIOD_SECONDS = 5.0  # kube-controller-manager's own default
FRONT_PROXY = "front-proxy"
MANAGED_NODES = "kwok.x-k8s.io/node=fake"
STAGES = Path(__file__).with_name("stages")

# Tests create in seconds what a cluster creates in days; the default, 20 a second, is in the way.
CLIENT_QPS = 500
CLIENT_BURST = 1000


def lay_out(directory: Path, address: str = ADDRESS) -> Authority:
    """Write keys and certificates for an API server; return the CA that clients trust."""
    authority = Authority("plimsoll-testenv")
    write_private(directory / "ca.crt", authority.pair.certificate)
    write_private(directory / "ca.key", authority.pair.key)
    serving = authority.issue("kube-apiserver", hosts=[address, *HOSTS])
    write_private(directory / "apiserver.crt", serving.certificate)
    write_private(directory / "apiserver.key", serving.key)
    # As which the API server asks kubelets for logs and the like; kubelets ask it what it may.
    kubelets = authority.issue("kube-apiserver-kubelet-client", groups=["system:masters"])
    write_private(directory / "kubelet-client.crt", kubelets.certificate)
    write_private(directory / "kubelet-client.key", kubelets.key)
    # Aggregated API servers trust this CA alone to tell them who a request's user is.
    # (Named apart from its client: OpenSSL takes equal names for a self-signed certificate.)
    front_proxy = Authority(f"{FRONT_PROXY}-ca")
    client = front_proxy.issue(FRONT_PROXY)
    write_private(directory / "front-proxy-ca.crt", front_proxy.pair.certificate)
    write_private(directory / "front-proxy.crt", client.certificate)
    write_private(directory / "front-proxy.key", client.key)
    tokens = new_key()
    write_private(directory / "tokens.key", private_pem(tokens))
    write_private(directory / "tokens.pub", public_pem(tokens))
    return authority


def etcd() -> list[str]:
    """Arguments of etcd: it listens on a socket file, so no port can clash and nobody else ask."""
    return [
        "--data-dir=etcd",
        "--listen-client-urls=unix://etcd.sock",
        "--advertise-client-urls=unix://etcd.sock",
        f"--listen-peer-urls=http://{ADDRESS}:0",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def kube_apiserver(port: int, address: str = ADDRESS) -> list[str]:
    """Arguments of kube-apiserver on a port that the caller has reserved (see `reserve_port`)."""
    return [
        "--etcd-servers=unix://etcd.sock",
        f"--bind-address={address}",
        f"--secure-port={port}",
        "--permit-port-sharing",
        # The `kubernetes` Service gets no endpoints: an address of loopback is not allowed there.
        f"--advertise-address={address}",
        "--endpoint-reconciler-type=none",
        "--tls-cert-file=apiserver.crt",
        "--tls-private-key-file=apiserver.key",
        "--client-ca-file=ca.crt",
        # As kubeadm has it: a kubelet may do what concerns its own node, and no more.
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--enable-bootstrap-token-auth",
        "--allow-privileged",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-signing-key-file=tokens.key",
        "--service-account-key-file=tokens.pub",
        "--requestheader-client-ca-file=front-proxy-ca.crt",
        f"--requestheader-allowed-names={FRONT_PROXY}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--proxy-client-cert-file=front-proxy.crt",
        "--proxy-client-key-file=front-proxy.key",
        "--kubelet-client-certificate=kubelet-client.crt",
        "--kubelet-client-key=kubelet-client.key",
        "--kubelet-certificate-authority=ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        "--profiling=false",
    ]


def kube_controller_manager(node_monitor_grace_period: float) -> list[str]:
    """Arguments of kube-controller-manager; the period is in seconds."""
    monitor = min(NODE_MONITOR_PERIOD_SECONDS, node_monitor_grace_period / 4)
    return [
        "--kubeconfig=kubeconfig",
        "--leader-elect=false",
        "--secure-port=0",
        # The last two are off by default, and kubeadm's clusters have them.
        "--controllers=*,bootstrapsigner,tokencleaner",
        f"--kube-api-qps={CLIENT_QPS}",
        f"--kube-api-burst={CLIENT_BURST}",
        f"--node-monitor-period={milliseconds(monitor)}",
        f"--node-monitor-grace-period={milliseconds(node_monitor_grace_period)}",
        "--root-ca-file=ca.crt",
        "--service-account-private-key-file=tokens.key",
        "--cluster-signing-cert-file=ca.crt",
        "--cluster-signing-key-file=ca.key",
        "--profiling=false",
    ]


def kube_scheduler(directory: Path) -> list[str]:
    """Write the scheduler's configuration; return its arguments."""
    config = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {
            "kubeconfig": "kubeconfig",
            "qps": CLIENT_QPS,
            "burst": CLIENT_BURST,
        },
        "leaderElection": {"leaderElect": False},
        # A pod that waits for a VM is to be looked at again soon after the VM has joined.
        "podMaxBackoffSeconds": 2,
    }
    (directory / "kube-scheduler.json").write_text(json.dumps(config, indent=2))
    return ["--config=kube-scheduler.json", "--secure-port=0"]


def kwok(directory: Path, kubeconfig: Path, node_monitor_grace_period: float) -> list[str]:
    """Write kwok's configuration; return its arguments.

    Nodes are chosen by label, not by kwok's customary annotation: kwok hears that a node has
    lost a label, and lets go of its lease and its pods, whereas it never notices that an
    annotation has changed and keeps such a node alive for ever.
    """
    config = {
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokConfiguration",
        "options": {
            "manageNodesWithLabelSelector": MANAGED_NODES,
            # kwok renews a lease four times in its duration.
            "nodeLeaseDurationSeconds": max(1, round(node_monitor_grace_period)),
            # Given a file of options, kwok has no defaults for those that the file leaves out.
            "nodeLeaseParallelism": KWOK_PARALLELISM,
            "nodePlayStageParallelism": KWOK_PARALLELISM,
            "podPlayStageParallelism": KWOK_PARALLELISM,
            "podsOnNodeSyncParallelism": KWOK_PARALLELISM,
            "cidr": POD_CIDR,
        },
    }
    (directory / "kwok.json").write_text(json.dumps(config, indent=2))
    files = ["kwok.json", *sorted(str(stage) for stage in STAGES.glob("*.yaml"))]
    return [f"--kubeconfig={kubeconfig}", "--v=WARN", *(f"--config={file}" for file in files)]


def milliseconds(seconds: float) -> str:
    """A duration as Go's flags read it."""
    return f"{round(seconds * 1000)}ms"
