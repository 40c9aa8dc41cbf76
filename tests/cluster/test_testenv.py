"""The test control plane itself: what it offers, and that nothing of it stays behind."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from plimsoll_testenv import ControlPlane, Source, TestEnvError
from plimsoll_testenv.certificates import Authority
from plimsoll_testenv.kubeconfig import encode

WAIT_SECONDS = 60.0
GROUP_VERSION = "echo.plimsoll.dev/v1"


def await_true(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {WAIT_SECONDS:.0f} s: {what}"
        time.sleep(0.1)


def create(control_plane: ControlPlane, *objects: dict[str, Any]) -> None:
    for item in objects:
        control_plane.run_kubectl("create", "-f", "-", stdin=json.dumps(item))


def get(control_plane: ControlPlane, *arguments: str) -> Any:
    return json.loads(control_plane.run_kubectl("get", *arguments, "-o", "json"))


def bare_environment() -> dict[str, str]:
    """No tools, but the cache, wherever it is: nothing is built here."""
    cache = {k: v for k, v in os.environ.items() if k == "XDG_CACHE_HOME"}
    path = os.pathsep.join(sys.path)
    return {"PATH": "/nowhere", "HOME": str(Path.home()), "PYTHONPATH": path, **cache}


def processes_of(directory: Path) -> list[int]:
    """Pids whose working directory or command line is of this control plane's directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            here = (process / "cwd").readlink() == directory
            named = str(directory).encode() in (process / "cmdline").read_bytes()
        except (OSError, FileNotFoundError):
            continue
        if (here or named) and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found


@pytest.fixture
def namespace(control_plane: ControlPlane, request: pytest.FixtureRequest) -> str:
    name = request.node.name.replace("_", "-").lower()[:63].strip("-")
    control_plane.run_kubectl("create", "namespace", name)
    await_true(
        lambda: bool(get(control_plane, "serviceaccounts", "-n", name)["items"]),
        "the namespace has its service account",
    )
    return name


@pytest.fixture
def node(control_plane: ControlPlane, namespace: str) -> Iterator[str]:
    """A Ready node, named like the test's namespace, that takes only pods that select it."""
    resources = {"cpu": "4", "memory": "8Gi", "pods": "20"}
    create(
        control_plane,
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": namespace,
                "labels": {"kwok.x-k8s.io/node": "fake", "kubernetes.io/hostname": namespace},
            },
            "spec": {"providerID": f"simulated://rack/{namespace}"},
            "status": {
                "capacity": resources,
                "allocatable": resources | {"cpu": "3800m"},
                "nodeInfo": {"systemUUID": "5f1c", "kubeletVersion": "v1.37.2"}
                | dict.fromkeys(
                    (
                        "machineID",
                        "bootID",
                        "kernelVersion",
                        "osImage",
                        "containerRuntimeVersion",
                        "kubeProxyVersion",
                        "operatingSystem",
                        "architecture",
                    ),
                    "",
                ),
            },
        },
    )
    control_plane.run_kubectl("wait", "--for=condition=Ready", f"node/{namespace}")
    yield namespace
    control_plane.run_kubectl("delete", "node", namespace)


def pod_on(node: str, **container: Any) -> dict[str, Any]:
    resources = {"requests": {"cpu": "100m", "memory": "64Mi"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": node},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": node},
            "containers": [
                {"name": "httpd", "image": "httpd", "resources": resources} | container,
                {"name": "sidecar", "image": "sidecar"},
            ],
        },
    }


def resize(control_plane: ControlPlane, namespace: str, **requests: str) -> dict[str, Any]:
    """Resize the container httpd of pod web; return its status once that shows the new size."""
    patch = {"spec": {"containers": [{"name": "httpd", "resources": {"requests": requests}}]}}
    command = ["patch", "pod", "web", "-n", namespace, "--subresource=resize"]
    control_plane.run_kubectl(*command, "--patch", json.dumps(patch))

    def httpd() -> dict[str, Any]:
        statuses = get(control_plane, "pod", "web", "-n", namespace)["status"]["containerStatuses"]
        return next(status for status in statuses if status["name"] == "httpd")

    await_true(lambda: requests.items() <= httpd()["resources"]["requests"].items(), "resized")
    return httpd()


def test_it_is_ready_and_of_the_pinned_version(control_plane: ControlPlane) -> None:
    assert control_plane.run_kubectl("get", "--raw", "/readyz") == "ok"
    if control_plane.choice.source is Source.BUILT:
        version = json.loads(control_plane.run_kubectl("version", "-o", "json"))
        assert version["serverVersion"]["gitVersion"] == "v1.37.2"
        assert version["clientVersion"]["gitVersion"] == "v1.37.2"


def test_two_at_once_are_apart_and_an_exception_leaves_nothing(control_plane: ControlPlane) -> None:
    def fail_inside() -> None:
        with ControlPlane.start(env={"PATH": "/nowhere"}) as second:
            seen.append(second.directory)
            second.run_kubectl("create", "configmap", "only-here")
            with pytest.raises(TestEnvError, match="NotFound"):
                control_plane.run_kubectl("get", "configmap", "only-here")
            assert processes_of(second.directory)
            raise RuntimeError("of the test")

    seen: list[Path] = []
    with pytest.raises(RuntimeError, match="of the test"):
        fail_inside()
    assert processes_of(seen[0]) == []
    assert not seen[0].exists()
    assert control_plane.run_kubectl("get", "--raw", "/readyz") == "ok"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_it_however_its_parent_ends(ending: signal.Signals) -> None:
    command = [sys.executable, "-m", "plimsoll_testenv", "up"]
    env = bare_environment()
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        exported = parent.stdout.readline()
        assert exported.startswith("export KUBECONFIG=")
        directory = Path(exported.strip().partition("=")[2]).parent
        assert len(processes_of(directory)) == 6  # five components and their supervisor
        parent.send_signal(ending)
        try:
            code = parent.wait(timeout=60)
        finally:
            parent.kill()
    assert code == (-signal.SIGKILL if ending is signal.SIGKILL else 0)
    await_true(lambda: processes_of(directory) == [], "all its processes are gone")
    await_true(lambda: not directory.exists(), "its files are gone")


def test_nothing_is_left_when_a_fork_outlives_the_parent() -> None:
    """The fork holds the parent's end of the supervisor's pipe open."""
    program = (
        "import os, signal\n"
        "from plimsoll_testenv import ControlPlane\n"
        "started = ControlPlane.start()\n"
        "fork = os.fork()\n"
        "if fork: print(started.directory, fork, flush=True)\n"
        "signal.pause()\n"
    )
    env = bare_environment()
    with subprocess.Popen(
        [sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        name, fork = parent.stdout.readline().split()
        parent.kill()
        try:
            await_true(lambda: processes_of(Path(name)) == [], "all its processes are gone")
        finally:
            os.kill(int(fork), signal.SIGKILL)


def test_nothing_is_left_when_the_supervisor_is_killed() -> None:
    with ControlPlane.start(env={"PATH": "/nowhere"}) as doomed:
        for process in processes_of(doomed.directory):
            if b"supervisor.py" in Path(f"/proc/{process}/cmdline").read_bytes():
                os.kill(process, signal.SIGKILL)
        await_true(lambda: processes_of(doomed.directory) == [], "all its processes are gone")
    assert not doomed.directory.exists()


def test_a_user_has_only_the_rights_that_are_given(control_plane: ControlPlane) -> None:
    kubeconfig = control_plane.kubeconfig_for("alice", groups=["plimsoll:readers"])

    def as_alice(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(control_plane.kubectl), f"--kubeconfig={kubeconfig}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    refused = as_alice("get", "--raw", "/api/v1/nodes")
    assert refused.returncode != 0
    assert 'User "alice" cannot list resource "nodes"' in refused.stderr
    bind = ["create", "clusterrolebinding", "readers", "--clusterrole=view"]
    control_plane.run_kubectl(*bind, "--group=plimsoll:readers")
    await_true(lambda: as_alice("get", "pods").returncode == 0, "alice may list pods")
    assert as_alice("create", "namespace", "hers").returncode != 0


def test_a_running_cluster_is_joined_and_left_running(control_plane: ControlPlane) -> None:
    env = {"PLIMSOLL_KUBECONFIG": str(control_plane.kubeconfig)}
    with ControlPlane.start(env=env) as joined:
        assert joined.choice.source is Source.EXISTING
        assert joined.server == control_plane.server
        kubeconfig = joined.kubeconfig_for("bob", groups=["team"])
        who = ["auth", "whoami", "-o", "json"]
        command = [str(joined.kubectl), f"--kubeconfig={kubeconfig}", *who]
        bob = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert bob["status"]["userInfo"]["username"] == "bob"
        assert "team" in bob["status"]["userInfo"]["groups"]
    assert processes_of(joined.directory) == []
    assert control_plane.run_kubectl("get", "--raw", "/readyz") == "ok"


def test_a_node_becomes_ready_with_what_its_creator_said(
    control_plane: ControlPlane, node: str
) -> None:
    seen = get(control_plane, "node", node)
    assert seen["status"]["capacity"] == {"cpu": "4", "memory": "8Gi", "pods": "20"}
    assert seen["status"]["allocatable"] == {"cpu": "3800m", "memory": "8Gi", "pods": "20"}
    assert seen["status"]["nodeInfo"]["systemUUID"] == "5f1c"
    assert seen["status"]["nodeInfo"]["kubeletVersion"] == "v1.37.2"


def test_a_pod_runs_and_leaves(control_plane: ControlPlane, node: str) -> None:
    create(control_plane, pod_on(node))
    control_plane.run_kubectl("wait", "--for=condition=Ready", "pod/web", "-n", node)
    status = get(control_plane, "pod", "web", "-n", node)["status"]
    assert status["phase"] == "Running"
    assert status["containerStatuses"][0]["resources"] == {
        "requests": {"cpu": "100m", "memory": "64Mi"}
    }
    control_plane.run_kubectl("delete", "pod", "web", "-n", node, "--timeout=10s")


def test_a_pod_is_resized_in_place_without_a_restart(
    control_plane: ControlPlane, node: str
) -> None:
    create(control_plane, pod_on(node))
    control_plane.run_kubectl("wait", "--for=condition=Ready", "pod/web", "-n", node)
    before = get(control_plane, "pod", "web", "-n", node)
    resized = resize(control_plane, node, cpu="750m", memory="128Mi")
    assert resized["allocatedResources"] == {"cpu": "750m", "memory": "128Mi"}
    assert resized["restartCount"] == 0
    after = get(control_plane, "pod", "web", "-n", node)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["observedGeneration"] == after["metadata"]["generation"] == 2
    others = [status["containerStatuses"][1] for status in (before["status"], after["status"])]
    assert others[0] == others[1]


def test_a_resize_restarts_where_the_container_asks_for_it(
    control_plane: ControlPlane, node: str
) -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    create(control_plane, pod_on(node, resizePolicy=policy))
    control_plane.run_kubectl("wait", "--for=condition=Ready", "pod/web", "-n", node)
    assert resize(control_plane, node, cpu="200m")["restartCount"] == 0
    assert resize(control_plane, node, memory="96Mi")["restartCount"] == 1


def test_a_node_without_its_label_dies_and_comes_back(
    control_plane: ControlPlane, node: str
) -> None:
    create(control_plane, pod_on(node))
    control_plane.run_kubectl("wait", "--for=condition=Ready", "pod/web", "-n", node)
    label = ["label", "node", node, "--overwrite"]
    control_plane.run_kubectl(*label, "kwok.x-k8s.io/node=lost")
    wait = ["wait", f"--timeout={WAIT_SECONDS:.0f}s"]
    control_plane.run_kubectl(*wait, "--for=condition=Ready=Unknown", f"node/{node}")
    control_plane.run_kubectl(*wait, "--for=condition=Ready=False", "pod/web", "-n", node)
    control_plane.run_kubectl(*label, "kwok.x-k8s.io/node=fake")
    control_plane.run_kubectl(*wait, "--for=condition=Ready", f"node/{node}")
    control_plane.run_kubectl(*wait, "--for=condition=Ready", "pod/web", "-n", node)


class WhoIsAsking(BaseHTTPRequestHandler):
    """An API that answers who the API server says is asking."""

    def do_GET(self) -> None:
        answer = json.dumps({"user": self.headers.get("X-Remote-User")}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Tests do not print requests."""


def test_an_aggregated_api_behind_an_external_name_knows_who_asks(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    if control_plane.choice.source in (Source.EXISTING, Source.KIND):
        pytest.skip("an API server elsewhere cannot reach this process by the name localhost")
    authority = Authority("echo")
    pair = authority.issue("echo", hosts=["echo.default.svc"])
    (tmp_path / "serving.pem").write_bytes(pair.certificate + pair.key)
    config = get(control_plane, "configmap", "extension-apiserver-authentication", "-n=kube-system")
    tls = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cadata=config["data"]["requestheader-client-ca-file"]
    )
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(tmp_path / "serving.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), WhoIsAsking) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        service = {"name": "echo", "namespace": "default"}
        try:
            create(
                control_plane,
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": service,
                    "spec": {"type": "ExternalName", "externalName": "localhost"},
                },
                {
                    "apiVersion": "apiregistration.k8s.io/v1",
                    "kind": "APIService",
                    "metadata": {"name": "v1.echo.plimsoll.dev"},
                    "spec": {
                        "group": "echo.plimsoll.dev",
                        "version": "v1",
                        "groupPriorityMinimum": 100,
                        "versionPriority": 10,
                        "service": service | {"port": server.server_address[1]},
                        "caBundle": encode(authority.pair.certificate),
                    },
                },
            )
            available = "--for=condition=Available"
            control_plane.run_kubectl("wait", available, "apiservice/v1.echo.plimsoll.dev")
            answer = control_plane.run_kubectl("get", "--raw", f"/apis/{GROUP_VERSION}/whoami")
            assert json.loads(answer) == {"user": "plimsoll-testenv-admin"}
        finally:
            control_plane.run_kubectl("delete", "apiservice", "v1.echo.plimsoll.dev")
            control_plane.run_kubectl("delete", "service", "echo")
            server.shutdown()
            thread.join()
