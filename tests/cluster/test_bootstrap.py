"""How a VM becomes a node, on a real API server: tokens, certificates, and who gets none.

The operator's side has the rights of its service account and no more. The VM's side is
a kubelet reduced to its bootstrap, which knows nothing but the user data.
"""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from cryptography import x509

from aio import background, run
from kubeletlike import CLIENT, CLIENT_USAGES, SERVING, SERVING_USAGES, Credentials, document, pem
from plimsoll.act.providers import Providers
from plimsoll.api import VMNode
from plimsoll.apierrors import Conflict, Forbidden, Invalid, NotFound, Unauthorized
from plimsoll.bootstrap.approver import Approver
from plimsoll.bootstrap.errors import BootstrapError
from plimsoll.bootstrap.service import Bootstrapper
from plimsoll.events import Recorder
from plimsoll.hypervisors.contract import Retryable
from plimsoll.kube import Json, Kube
from plimsoll.resources import (
    CERTIFICATESIGNINGREQUESTS,
    HYPERVISORS,
    NODES,
    PODS,
    SECRETS,
    VMNODES,
)
from plimsoll.world.stores import World
from plimsoll.world.vms import PowerState, VmInfo
from plimsoll_testenv import ControlPlane, binaries
from stage import NAMESPACE, operator_kubeconfig, prepare

SYSTEM = "kube-system"
LAUNCH_TIMEOUT = 120.0
TIMEOUT = 30.0


class Hypervisor:
    """Tells the addresses of VMs, and nothing else."""

    def __init__(self) -> None:
        self.addresses: dict[str, tuple[str, ...]] = {}
        self.silent = False

    async def describe(self, identity: str) -> VmInfo:
        if self.silent:
            raise Retryable("does not answer")
        return VmInfo(
            uuid=identity,
            name="",
            owner_uid="",
            cluster="",
            host="",
            power=PowerState.RUNNING,
            cpu=2,
            memory=2**32,
            provider_id="",
            created=0.0,
            addresses=self.addresses.get(identity, ()),
        )

    async def close(self) -> None:
        pass


class Site:
    """A cluster with the operator's bootstrap at work."""

    def __init__(self, control_plane: ControlPlane, admin: Kube, folder: Path) -> None:
        self.control_plane = control_plane
        self.admin = admin
        self.folder = folder
        self.name = f"boot-{uuid.uuid4().hex[:6]}"
        self.hypervisor = Hypervisor()
        self.kube: Kube
        """The operator's, with its own rights."""
        self.bootstrapper: Bootstrapper
        self._files = 0

    async def vm(self, number: int, phase: str = "Joining", **bootstrap: Any) -> VMNode:
        """A VMNode whose VM exists."""
        name = f"{self.name}-{number}"
        template = {"bootstrap": {"endpoint": self.control_plane.server, **bootstrap}}
        await self.admin.create(
            {
                "apiVersion": "plimsoll.dev/v1alpha1",
                "kind": "VMNode",
                "metadata": {"name": name},
                "spec": {
                    "pool": self.name,
                    "hypervisor": self.name,
                    "size": {"cpu": 2, "memory": "4Gi"},
                    "template": template,
                },
            }
        )
        identity = {"uuid": str(uuid.uuid4())}
        status = {"phase": phase, "identity": identity}
        return VMNode.model_validate(await self.admin.patch_status(VMNODES, name, status))

    async def now(self, record: VMNode) -> VMNode:
        return VMNode.model_validate(await self.admin.get(VMNODES, record.metadata.name))

    async def token_secret(self, token_id: str) -> Json | None:
        try:
            return await self.admin.get(SECRETS, f"bootstrap-token-{token_id}", SYSTEM)
        except NotFound:
            return None

    @asynccontextmanager
    async def as_kubelet(self, credentials: Credentials) -> AsyncIterator[Kube]:
        self._files += 1
        path = self.folder / f"kubelet-{self._files}"
        path.write_text(json.dumps(credentials.kubeconfig))
        async with Kube.from_environment(str(path)) as kube:
            yield kube

    async def ask(
        self, kube: Kube, request: bytes, signer: str = CLIENT, usages: tuple[str, ...] = ()
    ) -> str:
        """Makes a signing request; answers its name."""
        self._files += 1
        name = f"{self.name}-{self._files}"
        usual = CLIENT_USAGES if signer == CLIENT else SERVING_USAGES
        await kube.create(document(name, request, signer, usages or usual))
        return name

    async def until(self, found: Callable[[], Awaitable[Any]], what: str) -> Any:
        try:
            async with asyncio.timeout(TIMEOUT):
                while not (answer := await found()):  # noqa: ASYNC110 (it may depend on anything)
                    await asyncio.sleep(0.05)
                return answer
        except TimeoutError:
            raise AssertionError(f"not in time: {what}") from None

    async def decided(self, request: str) -> Json:
        """The condition that tells how a signing request was decided."""

        async def found() -> Json | None:
            csr = await self.admin.get(CERTIFICATESIGNINGREQUESTS, request)
            return next(iter(csr["status"].get("conditions", [])), None)

        condition: Json = await self.until(found, f"{request} is decided")
        return condition

    async def signed(self, kube: Kube, request: str) -> bytes:
        """The certificate, as kubelet waits for it."""

        async def found() -> str | None:
            csr = await kube.get(CERTIFICATESIGNINGREQUESTS, request)
            return csr["status"].get("certificate")

        return base64.b64decode(await self.until(found, f"{request} is signed"))

    async def refusals(self, record: VMNode) -> list[str]:
        """Messages of the Events about a VM that somebody was refused."""
        path = (
            "/api/v1/namespaces/default/events?fieldSelector=reason=BootstrapRefused,"
            f"involvedObject.uid={record.metadata.uid}"
        )
        events = json.loads(await self.admin.raw("GET", path))["items"]
        return [event["message"] for event in events]


@pytest.fixture(scope="module")
def cluster(control_plane: ControlPlane) -> ControlPlane:
    """A control plane with our kinds and rights."""
    prepare(control_plane)
    return control_plane


def site(test: Callable[[Site], Awaitable[None]], control_plane: ControlPlane) -> None:
    """Runs a test with the operator's bootstrap at work, and leaves nothing behind."""

    async def story() -> None:
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            admin = await stack.enter_async_context(
                Kube.from_environment(str(control_plane.kubeconfig))
            )
            here = Site(control_plane, admin, folder)
            config = await operator_kubeconfig(admin, control_plane, folder)
            kube = here.kube = await stack.enter_async_context(Kube.from_environment(str(config)))
            await set_up(here)
            world, recorder = World(kube), Recorder(kube)
            providers = Providers(
                kube,
                "this",
                NAMESPACE,
                factory=lambda *_: here.hypervisor,  # type: ignore[arg-type]
            )
            here.bootstrapper = Bootstrapper(kube, "this", NAMESPACE)
            approver = Approver(kube, world, providers, recorder)
            for work in (world.run(), recorder.run(), approver.run()):
                await stack.enter_async_context(background(work))
            try:
                await test(here)
            finally:
                await tear_down(here)

    run(story(), 120.0)


async def set_up(here: Site) -> None:
    await here.admin.create(
        {
            "apiVersion": "plimsoll.dev/v1alpha1",
            "kind": "Hypervisor",
            "metadata": {"name": here.name},
            "spec": {
                "provider": "simulated",
                "simulated": {"hosts": [{"name": "h1", "cpu": 8, "memory": "16Gi"}]},
            },
        }
    )
    capable = {"capabilities": {"bootstrap": True}}
    await here.admin.patch_status(HYPERVISORS, here.name, capable)

    async def confined() -> bool:
        try:
            await here.kube.create(secret("plain", "Opaque", {}))
        except Invalid:
            return True
        await here.admin.delete(SECRETS, "plain", SYSTEM)
        return False

    # The policy takes effect a moment after it was applied for the first time.
    await here.until(confined, "the policy of manifests/rbac.yaml is in force")


async def tear_down(here: Site) -> None:
    for record in await here.admin.list_all(VMNODES):
        name = record["metadata"]["name"]
        if name.startswith(here.name):
            await here.admin.delete(VMNODES, name)
            for node in await here.admin.list_all(NODES, field_selector=f"metadata.name={name}"):
                await here.admin.delete(NODES, node["metadata"]["name"])
    for csr in await here.admin.list_all(CERTIFICATESIGNINGREQUESTS):
        if csr["metadata"]["name"].startswith(here.name):
            await here.admin.delete(CERTIFICATESIGNINGREQUESTS, csr["metadata"]["name"])
    await here.admin.delete(HYPERVISORS, here.name)


def secret(name: str, kind: str, data: dict[str, str], **labels: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": SYSTEM, "labels": labels},
        "type": kind,
        "stringData": data,
    }


def node_document(name: str, system_uuid: str, address: str) -> tuple[Json, Json]:
    """The Node as a kubelet registers it, and its status."""
    unused = (
        *("machineID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion"),
        *("kubeletVersion", "kubeProxyVersion", "operatingSystem", "architecture"),
    )
    status = {
        "addresses": [
            {"type": "InternalIP", "address": address},
            {"type": "Hostname", "address": name},
        ],
        "nodeInfo": {**dict.fromkeys(unused, "x"), "systemUUID": system_uuid},
    }
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}, status


def test_a_vm_becomes_a_node(cluster: ControlPlane) -> None:
    async def story(here: Site) -> None:
        record = await here.vm(1)
        name = record.metadata.name
        prepared = await here.bootstrapper.prepare(record, {"plimsoll.dev/pool": "web"}, 120.0)
        assert prepared.record == await here.now(record)
        assert prepared.record.status is not None
        token_id = prepared.record.status.bootstrap_token
        stored = await here.token_secret(token_id)
        assert stored is not None
        assert stored["type"] == "bootstrap.kubernetes.io/token"

        # The VM boots: all that it knows is its user data.
        by_token = Credentials.of_user_data(prepared.user_data)
        async with here.as_kubelet(by_token) as kube:
            asked = await here.ask(kube, pem(f"system:node:{name}"))
            certificate = await here.signed(kube, asked)
        condition = await here.decided(asked)
        assert (condition["type"], condition["reason"]) == ("Approved", "VMIdentified")

        # It registers as a node, and asks for what it serves with.
        async with here.as_kubelet(by_token.with_certificate(certificate)) as kube:
            assert record.status is not None
            assert record.status.identity is not None
            node, status = node_document(name, record.status.identity.uuid, "10.0.2.15")
            await kube.create(node)
            await kube.patch_status(NODES, name, status)
            wish = pem(f"system:node:{name}", dns=[name], ips=["10.0.2.15"])
            asked = await here.ask(kube, wish, SERVING)
            serving = x509.load_pem_x509_certificate(await here.signed(kube, asked))
            names = serving.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert names.get_values_for_type(x509.DNSName) == [name]
            # The hypervisor knows no address of the VM, so what the node says must do.
            assert (await here.decided(asked))["reason"] == "VMIdentifiedByItself"

            here.hypervisor.addresses[record.status.identity.uuid] = ("10.0.2.15",)
            asked = await here.ask(kube, wish, SERVING)
            assert (await here.decided(asked))["reason"] == "VMIdentified"
            renewed = await here.ask(kube, pem(f"system:node:{name}"))
            assert (await here.decided(renewed))["type"] == "Approved"

        await here.bootstrapper.forget(await here.now(record))
        assert await here.token_secret(token_id) is None
        await here.bootstrapper.forget(await here.now(record))  # once more does no harm
        assert not await here.refusals(record)
        async with here.as_kubelet(by_token) as kube:

            async def refused() -> bool:
                try:
                    await kube.list_all(CERTIFICATESIGNINGREQUESTS)
                except Unauthorized:
                    return True
                return False

            await here.until(refused, "the token no longer opens anything")

    site(story, cluster)


def test_a_token_serves_to_ask_for_a_certificate_and_nothing_else(
    cluster: ControlPlane,
) -> None:
    async def story(here: Site) -> None:
        record = await here.vm(1)
        prepared = await here.bootstrapper.prepare(record, {}, LAUNCH_TIMEOUT)
        async with here.as_kubelet(Credentials.of_user_data(prepared.user_data)) as kube:
            for resource in (NODES, PODS, SECRETS, VMNODES):
                with pytest.raises(Forbidden):
                    await kube.list_all(resource)
            node, _ = node_document(record.metadata.name, "x", "10.0.0.1")
            with pytest.raises(Forbidden):
                await kube.create(node)
            asked = await here.ask(kube, pem(f"system:node:{record.metadata.name}"))
            with pytest.raises(Forbidden):
                await kube.patch_subresource(
                    CERTIFICATESIGNINGREQUESTS, asked, "approval", {"status": {}}, kind="merge"
                )

    site(story, cluster)


def test_who_claims_another_vms_name_is_refused_and_reported(cluster: ControlPlane) -> None:
    async def story(here: Site) -> None:
        robbed, thief = await here.vm(1), await here.vm(2)
        await here.bootstrapper.prepare(robbed, {}, LAUNCH_TIMEOUT)
        prepared = await here.bootstrapper.prepare(thief, {}, LAUNCH_TIMEOUT)
        by_token = Credentials.of_user_data(prepared.user_data)
        async with here.as_kubelet(by_token) as kube:
            asked = await here.ask(kube, pem(f"system:node:{robbed.metadata.name}"))
        condition = await here.decided(asked)
        assert (condition["type"], condition["reason"]) == ("Denied", "BootstrapRefused")
        for record in (robbed, thief):
            messages = await here.until(
                lambda record=record: here.refusals(record), "both are told"
            )
            assert f"VM {thief.metadata.name} claims" in messages[0]

        # The same by somebody with a token that is no VM's.
        token = secret(
            "bootstrap-token-person",
            "bootstrap.kubernetes.io/token",
            {
                "token-id": "person",
                "token-secret": "0123456789abcdef",
                "usage-bootstrap-authentication": "true",
                "auth-extra-groups": "system:bootstrappers:plimsoll",
            },
        )
        await here.admin.create(token)
        try:
            async with here.as_kubelet(by_token.with_token("person.0123456789abcdef")) as kube:
                asked = await here.ask(kube, pem(f"system:node:{robbed.metadata.name}"))
                assert (await here.decided(asked))["type"] == "Denied"
                foreign = await here.ask(kube, pem(f"system:node:{here.name}-stranger"))
        finally:
            await here.admin.delete(SECRETS, "bootstrap-token-person", SYSTEM)

        # What came before that, and concerns no VM of ours, nobody has touched.
        csr = await here.admin.get(CERTIFICATESIGNINGREQUESTS, foreign)
        assert not csr["status"].get("conditions")

    site(story, cluster)


def test_a_request_waits_until_the_vm_can_be_told(cluster: ControlPlane) -> None:
    async def story(here: Site) -> None:
        record = await here.vm(1, phase="Creating")
        name = record.metadata.name
        prepared = await here.bootstrapper.prepare(record, {}, LAUNCH_TIMEOUT)
        async with here.as_kubelet(Credentials.of_user_data(prepared.user_data)) as kube:
            early = await here.ask(kube, pem(f"system:node:{name}"))
            wrong = await here.ask(kube, pem("system:node:else"))
            await here.decided(wrong)
            csr = await here.admin.get(CERTIFICATESIGNINGREQUESTS, early)
            assert not csr["status"].get("conditions")
            await here.admin.patch_status(VMNODES, name, {"phase": "Booting"})
            assert (await here.decided(early))["type"] == "Approved"

    site(story, cluster)


def test_a_silent_hypervisor_only_delays(cluster: ControlPlane) -> None:
    async def story(here: Site) -> None:
        record = await here.vm(1, phase="Ready")
        assert record.status is not None
        assert record.status.identity is not None
        name, identity = record.metadata.name, record.status.identity.uuid
        node, status = node_document(name, identity, "10.0.0.5")
        await here.admin.create(node)
        await here.admin.patch_status(NODES, name, status)
        here.hypervisor.silent = True
        as_node = await asyncio.to_thread(
            here.control_plane.kubeconfig_for, f"system:node:{name}", ["system:nodes"]
        )
        async with Kube.from_environment(str(as_node)) as kube:
            wish = pem(f"system:node:{name}", dns=[name], ips=["10.0.0.5"])
            asked = await here.ask(kube, wish, SERVING)
            other = await here.ask(kube, pem(f"system:node:{name}"))
            assert (await here.decided(other))["type"] == "Approved"
            csr = await here.admin.get(CERTIFICATESIGNINGREQUESTS, asked)
            assert not csr["status"].get("conditions")
            here.hypervisor.addresses[identity] = ("10.0.0.5",)
            here.hypervisor.silent = False
            assert (await here.decided(asked))["reason"] == "VMIdentified"

    site(story, cluster)


def test_a_token_is_recorded_before_it_is_made_and_replaced_when_its_secret_is_lost(
    cluster: ControlPlane,
) -> None:
    async def story(here: Site) -> None:
        record = await here.vm(1, phase="Creating")
        first = await here.bootstrapper.prepare(record, {}, LAUNCH_TIMEOUT)
        assert first.record.status is not None
        again = await here.bootstrapper.prepare(first.record, {}, LAUNCH_TIMEOUT)
        assert again == first

        # Somebody who saw the VMNode before that makes nothing.
        with pytest.raises(Conflict):
            await Bootstrapper(here.kube, "this", NAMESPACE).prepare(record, {}, LAUNCH_TIMEOUT)
        tokens = await vm_tokens(here, record)
        assert tokens == [first.record.status.bootstrap_token]

        # A new process does not know the secret, and nobody can read it.
        anew = await Bootstrapper(here.kube, "this", NAMESPACE).prepare(
            first.record, {}, LAUNCH_TIMEOUT
        )
        assert anew.record.status is not None
        assert anew.record.status.bootstrap_token != first.record.status.bootstrap_token
        assert await vm_tokens(here, record) == [anew.record.status.bootstrap_token]

        # Garbage collection takes the token of a VMNode that was removed by force.
        await here.admin.delete(VMNODES, record.metadata.name)

        async def collected() -> bool:
            return not await vm_tokens(here, record)

        await here.until(collected, "the token is gone with its VMNode")

    site(story, cluster)


async def vm_tokens(here: Site, record: VMNode) -> list[str]:
    """Ids of the tokens that exist for a VM."""
    selector = f"plimsoll.dev/vmnode={record.metadata.name}"
    found = await here.admin.list_all(SECRETS, SYSTEM, label_selector=selector)
    return [base64.b64decode(item["data"]["token-id"]).decode() for item in found]


def test_the_operator_reaches_no_secret_but_its_tokens(cluster: ControlPlane) -> None:
    async def story(here: Site) -> None:
        kind, ours = "bootstrap.kubernetes.io/token", {"plimsoll.dev/vmnode": "web-1"}
        good = {
            "token-id": "abcdef",
            "token-secret": "0123456789abcdef",
            "expiration": "2999-01-01T00:00:00Z",
            "auth-extra-groups": "system:bootstrappers:plimsoll",
        }
        name = "bootstrap-token-abcdef"
        kubeadms = {"auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token"}
        for bad in (
            secret(name, kind, good),  # without our label
            secret(name, "Opaque", good, **ours),
            secret(name, kind, good | kubeadms, **ours),
            secret(name, kind, good | {"usage-bootstrap-signing": "true"}, **ours),
            secret(name, kind, {k: v for k, v in good.items() if k != "expiration"}, **ours),
        ):
            with pytest.raises(Invalid, match=r"plimsoll-tokens.*denied"):
                await here.kube.create(bad)
            await here.admin.create(bad)  # as somebody else's it is fine
            try:
                with pytest.raises(Forbidden):
                    await here.kube.get(SECRETS, name, SYSTEM)
                if bad["metadata"]["labels"] != ours or bad["type"] != kind:
                    with pytest.raises(Invalid, match=r"plimsoll-tokens.*denied"):
                        await here.kube.delete(SECRETS, name, SYSTEM)
            finally:
                await here.admin.delete(SECRETS, name, SYSTEM)
        with pytest.raises(Forbidden):
            await here.kube.list_all(SECRETS, SYSTEM)
        elsewhere = secret(name, kind, good, **ours)
        elsewhere["metadata"]["namespace"] = "default"
        with pytest.raises(Forbidden):
            await here.kube.create(elsewhere)
        await here.kube.create(secret(name, kind, good, **ours))
        await here.kube.delete(SECRETS, name, SYSTEM)

    site(story, cluster)


def test_the_secret_of_a_token_is_nowhere_else(cluster: ControlPlane) -> None:
    async def story(here: Site) -> None:
        record = await here.vm(1)
        prepared = await here.bootstrapper.prepare(record, {}, LAUNCH_TIMEOUT)
        hidden = Credentials.of_user_data(prepared.user_data).token.partition(".")[2]
        assert len(hidden) == 16
        assert hidden not in repr(prepared)
        assert hidden not in json.dumps(await here.admin.get(VMNODES, record.metadata.name))
        events = await here.admin.raw("GET", "/api/v1/events")
        assert hidden.encode() not in events

    site(story, cluster)


def test_user_data_tells_the_api_server_by_the_address_and_the_ca_that_vms_know(
    cluster: ControlPlane,
) -> None:
    async def story(here: Site) -> None:
        with pytest.raises(BootstrapError, match=r"no VM finds it.*bootstrap\.endpoint"):
            await here.bootstrapper.prepare(await here.vm(1, endpoint=""), {}, LAUNCH_TIMEOUT)
        prepared = await here.bootstrapper.prepare(await here.vm(2), {}, LAUNCH_TIMEOUT)
        files = {f["path"]: f["content"] for f in yaml.safe_load(prepared.user_data)["write_files"]}
        view = here.control_plane.run_kubectl("config", "view", "--raw", "-o", "json")
        cluster = json.loads(view)["clusters"][0]["cluster"]
        ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
        assert files["/etc/kubernetes/pki/ca.crt"] == ca

    site(story, cluster)


KUBELET = binaries.cache_directory([binaries.KUBELET]) / binaries.KUBELET.name


def lay_out(folder: Path, user_data: str, runtime: Path) -> list[str]:
    """Writes the files as cloud-init would, but below a folder; answers kubelet's command."""
    text = user_data.replace("/etc/", f"{folder}/etc/")
    # It may be a host of the old cgroups, and its own containerd is left alone.
    text = text.replace("/run/containerd/containerd.sock", str(runtime))
    for item in yaml.safe_load(text)["write_files"]:
        path = Path(item["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(item["content"])
    etc = folder / "etc/kubernetes"
    with (etc / "kubelet.yaml").open("a") as config:
        config.write("failCgroupV1: false\n")
    environment = (folder / "etc/default/kubelet").read_text()
    flags = environment.partition('KUBELET_ARGS="')[2].partition('"')[0].split()
    return [
        *(str(KUBELET), f"--config={etc}/kubelet.yaml", f"--kubeconfig={etc}/kubelet.conf"),
        f"--bootstrap-kubeconfig={etc}/bootstrap-kubelet.conf",
        *(f"--cert-dir={folder}/pki", f"--root-dir={folder}/lib", *flags),
    ]


async def run_kubelet(command: list[str]) -> bytes:
    """Runs it until it gives up on its container runtime; answers what it said."""
    kubelet = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        _, said = await kubelet.communicate()
    finally:
        if kubelet.returncode is None:
            kubelet.kill()
            await kubelet.wait()
    return said


@pytest.mark.skipif(not KUBELET.exists(), reason="no kubelet: `make node-image` builds it")
def test_a_real_kubelet_understands_its_files_and_gets_its_certificate(
    cluster: ControlPlane,
) -> None:
    async def story(here: Site) -> None:
        record = await here.vm(1)
        labels = {"plimsoll.dev/pool": "web", "topology.kubernetes.io/zone": "z1"}
        prepared = await here.bootstrapper.prepare(record, labels, LAUNCH_TIMEOUT, "x://1")
        runtime, current = here.folder / "cri.sock", here.folder / "pki/kubelet-client-current.pem"
        command = await asyncio.to_thread(lay_out, here.folder, prepared.user_data, runtime)
        silent: list[asyncio.StreamWriter] = []  # while it is open, kubelet waits for an answer

        async def certificate() -> bytes | None:
            # Flags and configuration are good if it gets as far as to miss its runtime.
            assert b"validate CRI v1 runtime API" in await run_kubelet(command)
            return current.read_bytes() if current.exists() else None

        server = await asyncio.start_unix_server(lambda _, writer: silent.append(writer), runtime)
        pem = await here.until(certificate, "kubelet has its certificate")
        server.close()
        for writer in silent:
            writer.close()
        subject = x509.load_pem_x509_certificate(pem).subject.rfc4514_string()
        assert f"CN=system:node:{record.metadata.name}" in subject
        requests = await here.admin.list_all(CERTIFICATESIGNINGREQUESTS)
        mine = [r for r in requests if r["spec"]["username"] == by_token_of(prepared.record)]
        for request in mine:
            name = request["metadata"]["name"]
            assert (await here.decided(name))["reason"] == "VMIdentified"
            await here.admin.delete(CERTIFICATESIGNINGREQUESTS, name)
        assert mine

    site(story, cluster)


def by_token_of(record: VMNode) -> str:
    """The user as whom a VM's token lets somebody in."""
    assert record.status is not None
    return f"system:bootstrap:{record.status.bootstrap_token}"
