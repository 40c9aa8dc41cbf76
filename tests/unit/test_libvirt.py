"""The provider ``libvirt``, as far as it needs no daemon."""

from __future__ import annotations

import asyncio
import io
import json
import os
import stat
import subprocess
import threading
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from aio import run
from plimsoll.api.libvirt import LibvirtTemplate
from plimsoll.hypervisors.contract import (
    HypervisorError,
    Intent,
    Invalid,
    NoCapacity,
    NotSupported,
    PowerState,
    Retryable,
    VmInfo,
)
from plimsoll.hypervisors.libvirt import errors, facts, sweeping
from plimsoll.hypervisors.libvirt.credentials import Credentials
from plimsoll.hypervisors.libvirt.devices import extra_devices
from plimsoll.hypervisors.libvirt.domainxml import Paths, domain_xml, ejected_xml
from plimsoll.hypervisors.libvirt.mark import Mark, VolumeNames, mark_in
from plimsoll.hypervisors.libvirt.reading import Seen
from plimsoll.hypervisors.libvirt.seed import LABEL, seed_image
from plimsoll.hypervisors.libvirt.sightings import Sightings
from plimsoll.hypervisors.libvirt.survey import survey
from plimsoll.hypervisors.libvirt.worker import Job, Overrun, Silent, Worker

GIB = 1024**3
UUID = "6a5e1b9c-0000-4000-8000-00000000000a"
MARK = Mark(
    cluster="c<1>",
    owner_uid='o"1',
    name="web-a1",
    pool="web",
    storage_pool="default",
    created=1234.5,
    max_cpu=4,
    max_memory=8 * GIB,
)
PLATFORM = facts.Platform(
    domain_type="kvm",
    arch="x86_64",
    machine="pc-q35-7.2",
    cpu_mode="host-passthrough",
    max_cpu=255,
)
PATHS = Paths(disk="/pool/disk", seed="/pool/seed", console="/pool/log")


def intent(**changes: Any) -> Intent:
    given: dict[str, Any] = {
        "uid": "o-1",
        "name": "web-a1",
        "pool": "web",
        "host": "k1",
        "cpu": 2,
        "memory": 2 * GIB,
        "allocatable_cpu": 1900,
        "allocatable_memory": GIB,
        "max_pods": 110,
        "labels": {},
        "annotations": {},
        "taints": (),
        "max_cpu": 4,
        "max_memory": 8 * GIB,
    }
    return Intent(**given | changes)


def rendered(
    wanted: Intent, platform: facts.Platform = PLATFORM, paths: Paths = PATHS, **template: Any
) -> ET.Element:
    given = LibvirtTemplate.model_validate({"image": "base.qcow2", **template})
    return ET.fromstring(domain_xml(wanted, given, platform, MARK, UUID, paths))


class TestDomainXml:
    def test_names_the_vm_and_carries_the_mark(self) -> None:
        domain = rendered(intent())
        assert (domain.findtext("name"), domain.findtext("uuid")) == ("web-a1", UUID)
        assert mark_in(domain) == MARK

    def test_room_to_grow_is_a_numa_cell_slots_and_spare_cpus(self) -> None:
        domain = rendered(intent())
        vcpu, most = domain.find("vcpu"), domain.find("maxMemory")
        cell = domain.find("cpu/numa/cell")
        assert vcpu is not None
        assert most is not None
        assert cell is not None
        assert (vcpu.get("current"), vcpu.text) == ("2", "4")
        assert (most.text, most.get("slots")) == (str(8 * 1024**2), "48")
        assert (cell.get("cpus"), cell.get("memory")) == ("0-3", domain.findtext("memory"))

    def test_software_emulation_keeps_one_cpu_that_is_never_added(self) -> None:
        software = facts.Platform(
            domain_type="qemu",
            arch="x86_64",
            machine="pc-q35-7.2",
            cpu_mode="maximum",
            max_cpu=255,
        )
        assert rendered(intent(), software).findtext("vcpu") == "5"
        assert rendered(intent(max_cpu=0), software).findtext("vcpu") == "2"

    def test_a_vm_of_fixed_size_has_neither_slots_nor_cells(self) -> None:
        domain = rendered(intent(max_cpu=0, max_memory=0))
        assert domain.find("maxMemory") is None
        assert domain.find("cpu/numa") is None
        assert domain.findtext("vcpu") == "2"

    def test_more_cpus_than_the_machine_can_have_are_refused(self) -> None:
        with pytest.raises(NotSupported, match=r"size\.cpu\.max"):
            rendered(intent(max_cpu=256))

    def test_without_user_data_there_is_no_drive(self) -> None:
        domain = rendered(intent(), paths=Paths(disk="/pool/disk"))
        assert domain.find("devices/disk[@device='cdrom']") is None
        assert domain.find("devices/serial/log") is None

    def test_an_ejected_drive_is_the_same_drive_without_a_disc(self) -> None:
        drive = rendered(intent()).find("devices/disk[@device='cdrom']")
        assert drive is not None
        empty = ET.fromstring(ejected_xml(drive))
        assert empty.find("source") is None
        assert (empty.get("device"), empty.find("target") is not None) == ("cdrom", True)
        assert drive.find("source") is not None

    @pytest.mark.parametrize(
        ("network", "kind", "source"),
        [
            ({"network": "lan"}, "network", {"network": "lan"}),
            ({"bridge": "br0"}, "bridge", {"bridge": "br0"}),
            ({"user": True}, "user", None),
        ],
    )
    def test_networks(
        self, network: dict[str, Any], kind: str, source: dict[str, str] | None
    ) -> None:
        interface = rendered(intent(), network=network).find("devices/interface")
        assert interface is not None
        assert interface.get("type") == kind
        found = interface.find("source")
        assert (None if found is None else found.attrib) == source

    def test_firmware_and_further_devices(self) -> None:
        domain = rendered(intent(), firmware="UEFI", extraDevices=["<watchdog model='i6300esb'/>"])
        os_element = domain.find("os")
        assert os_element is not None
        assert os_element.get("firmware") == "efi"
        assert domain.find("devices/watchdog") is not None

    @pytest.mark.parametrize(
        "text",
        [
            "<disk/>",
            "<serial/>",
            "<rng/><rng/>",
            "<rng>",
            "plain",
            "<!DOCTYPE x [<!ENTITY a 'b'>]><rng>&a;</rng>",
            "<?xml version='1.0'?><rng/>",
        ],
    )
    def test_devices_that_are_not_one_harmless_element_are_refused(self, text: str) -> None:
        with pytest.raises(Invalid, match=r"extraDevices\[1\]"):
            extra_devices(("<rng model='virtio'/>", text))


CAPABILITIES = """<domainCapabilities><domain>{kind}</domain><machine>pc-q35-7.2</machine>
<arch>x86_64</arch><vcpu max='288'/><os><enum name='firmware'>{firmware}</enum></os><cpu>
<mode name='host-passthrough' supported='{passthrough}'/><mode name='maximum' supported='{most}'/>
<mode name='custom' supported='yes'><model usable='yes'>EPYC</model></mode></cpu>
</domainCapabilities>"""


class LibvirtError(Exception):
    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code

    def get_error_code(self) -> int:
        return self.code


class TestPlatform:
    def session(self, kvm: bool, most: str = "yes", firmware: str = "") -> Any:
        def ask(_emulator: Any, _arch: Any, machine: str, kind: str, _flags: int) -> str:
            if kind == "kvm" and not kvm:
                raise LibvirtError("the accel 'kvm' is not supported")
            passthrough = "yes" if kind == "kvm" else "no"
            return CAPABILITIES.format(
                kind=kind, passthrough=passthrough, most=most, firmware=firmware
            )

        return SimpleNamespace(
            host="k1",
            step=lambda doing: None,
            api=SimpleNamespace(libvirtError=LibvirtError),
            conn=SimpleNamespace(getDomainCapabilities=ask),
        )

    def template(self, **changes: Any) -> LibvirtTemplate:
        return LibvirtTemplate.model_validate({"image": "base", **changes})

    def test_auto_takes_kvm_where_it_is_and_else_emulates(self) -> None:
        found = facts.platform_for(self.session(kvm=True), self.template())
        assert (found.domain_type, found.cpu_mode) == ("kvm", "host-passthrough")
        assert found.machine == "pc-q35-7.2"
        found = facts.platform_for(self.session(kvm=False), self.template())
        assert (found.domain_type, found.cpu_mode, found.max_cpu) == ("qemu", "maximum", 288)

    def test_an_old_libvirt_emulates_the_model_max(self) -> None:
        found = facts.platform_for(self.session(kvm=False, most="no"), self.template())
        assert (found.cpu_mode, found.cpu_model) == ("custom", "max")

    def test_kvm_that_is_asked_for_and_not_there_is_refused(self) -> None:
        with pytest.raises(Invalid, match=r"host k1 .* acceleration KVM: kvm: the accel"):
            facts.platform_for(self.session(kvm=False), self.template(acceleration="KVM"))

    def test_uefi_needs_its_firmware(self) -> None:
        with pytest.raises(Invalid, match="ovmf"):
            facts.platform_for(self.session(kvm=True), self.template(firmware="UEFI"))
        session = self.session(kvm=True, firmware="<value>efi</value>")
        assert facts.platform_for(session, self.template(firmware="UEFI")).arch == "x86_64"


class TestMark:
    @pytest.mark.parametrize(
        "text",
        [
            "<domain/>",
            "<domain><metadata/></domain>",
            "<domain><metadata><vm xmlns='https://plimsoll.dev/xmlns/libvirt/1'/></metadata>"
            "</domain>",
        ],
    )
    def test_what_carries_none_or_a_damaged_one_is_not_ours(self, text: str) -> None:
        assert mark_in(ET.fromstring(text)) is None

    def test_volume_names_tell_cluster_hypervisor_and_vm(self) -> None:
        names = VolumeNames("c1", "rack")
        assert [names.uuid_in(name) for name in names.all_of(UUID)] == [UUID] * 3
        for other in (VolumeNames("c2", "rack"), VolumeNames("c1", "rack-b")):
            assert not any(other.uuid_in(name) for name in names.all_of(UUID))
        for name in (f"x{names.disk(UUID)}", f"{names.disk(UUID)}x", "base.qcow2"):
            assert names.uuid_in(name) is None


class TestSeed:
    def test_the_image_has_label_and_files_as_cloud_init_wants_them(self) -> None:
        pycdlib = pytest.importorskip("pycdlib", reason="plimsoll-operator[libvirt] is missing")
        user_data = "#cloud-config\n# ünïcode\n" + "# padding\n" * 1000
        image = pycdlib.PyCdlib()
        image.open_fp(io.BytesIO(seed_image(user_data, UUID, "web-a1")))
        found = {}
        for path in ("/user-data", "/meta-data"):
            content = io.BytesIO()
            image.get_file_from_iso_fp(content, rr_path=path)
            found[path] = content.getvalue().decode()
        assert found["/user-data"] == user_data
        assert json.loads(found["/meta-data"]) == {"instance-id": UUID, "local-hostname": "web-a1"}
        assert image.pvd.volume_identifier.decode().strip() == LABEL
        image.close()


class TestErrors:
    API = SimpleNamespace(VIR_ERR_NO_DOMAIN=42, VIR_ERR_XML_ERROR=27, VIR_ERR_NO_SUPPORT=3)

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (LibvirtError("bad element", 27), Invalid),
            (LibvirtError("not here", 3), NotSupported),
            (LibvirtError("cannot write: No space left on device", 38), NoCapacity),
            (LibvirtError("Cannot allocate memory", 38), NoCapacity),
            (LibvirtError("authentication failed", 45), Retryable),
            (LibvirtError("end of file", 39), Retryable),
            (LibvirtError("whatever"), Retryable),
        ],
    )
    def test_one_table(self, error: LibvirtError, kind: type[HypervisorError]) -> None:
        found = errors.typed(self.API, error, "host k1: doing it")
        assert type(found) is kind
        assert str(found) == f"host k1: doing it: {error}"


class TestCredentials:
    SSH = {"ssh-privatekey": b"key", "known_hosts": b"k1 ssh-ed25519 AAAA\n"}

    def test_ssh_is_authenticated_both_ways_and_bounded_in_time(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        credentials = Credentials(self.SSH, 20.0)
        uri = credentials.uri("qemu+ssh://root@k1/system?port=2222")
        query = {key: value for key, (value,) in parse_qs(urlsplit(uri).query).items()}
        assert (query["port"], query["no_tty"]) == ("2222", "1")
        key = Path(query["keyfile"])
        assert key.read_bytes() == b"key\n"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
        fake = tmp_path / "ssh"
        fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        fake.chmod(0o700)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        said = subprocess.run(
            [query["command"], "-T", "k1"], capture_output=True, text=True, check=True
        ).stdout.split("\n")
        assert "StrictHostKeyChecking=yes" in said
        assert f"UserKnownHostsFile={key.parent / 'known_hosts'}" in said
        assert "ConnectTimeout=20" in said
        assert said[-3:-1] == ["-T", "k1"]
        credentials.close()
        assert not key.parent.exists()

    def test_tls_has_its_files_by_either_name(self) -> None:
        by_kubernetes = {"ca.crt": b"a", "tls.crt": b"b", "tls.key": b"c"}
        by_libvirt = {"cacert.pem": b"a", "clientcert.pem": b"b", "clientkey.pem": b"c"}
        for secret in (by_kubernetes, by_libvirt):
            credentials = Credentials(secret, 20.0)
            uri = credentials.uri("qemu+tls://k1/system")
            (path,) = parse_qs(urlsplit(uri).query)["pkipath"]
            assert {file.name: file.read_bytes() for file in Path(path).iterdir()} == by_libvirt
            credentials.close()

    @pytest.mark.parametrize(
        ("uri", "secret", "missing"),
        [
            ("qemu+ssh://k1/system", {"ssh-privatekey": b"x"}, "known_hosts"),
            ("qemu+ssh://k1/system", {"known_hosts": b"x"}, "ssh-privatekey"),
            ("qemu+tls://k1/system", {"tls.key": b"x"}, "cacert.pem and clientcert.pem"),
        ],
    )
    def test_what_the_secret_lacks_is_named(
        self, uri: str, secret: dict[str, bytes], missing: str
    ) -> None:
        credentials = Credentials(secret, 20.0)
        with pytest.raises(Invalid, match=missing):
            credentials.uri(uri)
        credentials.close()

    def test_a_local_uri_stays_as_it_is(self) -> None:
        credentials = Credentials(self.SSH, 20.0)
        assert credentials.uri("qemu:///system") == "qemu:///system"
        credentials.close()


def leftover(host: str = "k1", uuid: str = UUID) -> sweeping.Leftover:
    return sweeping.Leftover(host=host, pool="default", volume=f"v-{uuid}", uuid=uuid)


class TestSweeping:
    def test_what_any_host_has_or_uses_is_no_leftover(self) -> None:
        found = ((leftover(), "/shared/v"),)
        holder = sweeping.Stock(volumes=found)
        assert sweeping.leftovers([holder]) == (leftover(),)
        for other in (
            sweeping.Stock(uuids=frozenset({UUID})),
            sweeping.Stock(used=frozenset({"/shared/v"})),
        ):
            assert sweeping.leftovers([holder, other]) == ()

    def test_two_looks_a_grace_apart_and_few_at_once(self) -> None:
        many = [leftover(uuid=f"{number:08x}{UUID[8:]}") for number in range(10)]
        remove, seen = sweeping.due(many, {}, 100.0, 60.0)
        assert remove == ()
        remove, seen = sweeping.due(many, seen, 159.0, 60.0)
        assert remove == ()
        remove, seen = sweeping.due(many, seen, 160.0, 60.0)
        assert len(remove) == sweeping.AT_ONCE
        # One that was in use in the meantime begins anew.
        remove, seen = sweeping.due(many[1:], seen, 170.0, 60.0)
        remove, seen = sweeping.due(many[:1], seen, 180.0, 60.0)
        assert remove == ()


class TestSurvey:
    def seen(self, uuid: str, owner: str) -> Seen:
        return Seen(
            uuid=uuid,
            name=f"vm-{uuid}",
            active=True,
            power=PowerState.RUNNING,
            cpu=1,
            memory=GIB,
            mark=Mark(
                cluster="ours",
                owner_uid=owner,
                name=f"vm-{uuid}",
                pool="p",
                storage_pool="default",
                created=1.0,
                max_cpu=1,
                max_memory=GIB,
            ),
            files=(),
        )

    def test_a_vm_that_moved_away_from_a_host_now_silent_is_told_once(self) -> None:
        sightings = Sightings()
        survey("r", "ours", {"k1": [self.seen("1", "o1")], "k2": []}, sightings)
        silent = Retryable("k1 is silent")
        moved = survey("r", "ours", {"k1": silent, "k2": [self.seen("1", "o1")]}, sightings)
        assert [(vm.host, vm.power) for vm in moved.vms] == [("k2", PowerState.RUNNING)]
        gone = survey("r", "ours", {"k1": silent, "k2": []}, sightings)
        assert gone.vms == ()
        with pytest.raises(Retryable, match="k1 is silent"):
            gone.complete()

    def test_only_the_host_of_the_intent_must_have_answered(self) -> None:
        silent = Retryable("k1 is silent")
        found = survey("r", "ours", {"k1": silent, "k2": [self.seen("1", "o1")]}, Sightings())
        assert [vm.uuid for vm in found.owned_by("o1", "k2")] == ["1"]
        assert found.owned_by("o2", "k2") == ()
        for host in ("k1", "", "k9"):
            with pytest.raises(Retryable):
                found.owned_by("o2", host)


class TestWorker:
    def test_a_hung_job_is_given_up_and_touches_nothing_more(self) -> None:
        hang, went_on, released = threading.Event(), threading.Event(), threading.Event()

        def work(job: Job[None]) -> None:
            job.step("hanging")
            hang.wait(30)
            job.step("going on")
            went_on.set()

        async def scenario() -> None:
            worker = Worker("test", released.set)
            first = asyncio.ensure_future(worker.carry_out(work, 2.0))
            behind = asyncio.ensure_future(worker.carry_out(lambda job: "never", 30.0))
            with pytest.raises(Overrun, match="while hanging"):
                await first
            worker.abandon()
            with pytest.raises(Silent):
                await behind
            with pytest.raises(Silent):
                await worker.carry_out(lambda job: "never", 1.0)
            hang.set()
            await asyncio.to_thread(released.wait, 30)
            assert released.is_set()
            assert not went_on.is_set()

        run(scenario())

    def test_each_step_has_the_whole_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 100.0
        monkeypatch.setattr(
            "plimsoll.hypervisors.libvirt.worker.time", SimpleNamespace(monotonic=lambda: now)
        )
        job: Job[None] = Job(lambda job: None)
        job.step("first")
        now += 15.0
        assert job.left(20.0) == 5.0
        job.step("second")
        assert job.left(20.0) == 20.0

    def test_errors_arrive_without_what_hangs_on_them(self) -> None:
        def work(job: Job[None]) -> None:
            try:
                raise KeyError("libvirt's")
            except KeyError as error:
                raise NoCapacity("full") from error

        async def scenario() -> None:
            worker = Worker("test", lambda: None)
            with pytest.raises(NoCapacity, match="full") as raised:
                await worker.carry_out(work, 10.0)
            assert raised.value.__cause__ is None
            assert raised.value.__context__ is None
            await worker.stop(10.0)

        run(scenario())


def test_sightings_prove_nothing_but_remember_what_a_silent_host_had() -> None:
    sightings = Sightings()
    vm = VmInfo(
        uuid="1", name="a", owner_uid="o", cluster="c", host="k1", power=PowerState.RUNNING,
        cpu=1, memory=1, provider_id="", created=0.0, addresses=("10.0.0.1",),
    )  # fmt: skip
    sightings.note(vm)
    (last,) = sightings.on(["k1"], without=[])
    assert (last.power, last.addresses) == (PowerState.UNKNOWN, ())
    sightings.listed("k1", [])
    assert sightings.last("1") is None
