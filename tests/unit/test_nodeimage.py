"""The node image's parts that need neither packages nor a VM: its files, sources and image tars."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

import pytest
import yaml

from plimsoll_nodeimage import disk, host, image, pause, rootfs, sources
from plimsoll_nodeimage.errors import NodeImageError

TARGETS = """\
MetaKey: main/binary-amd64/Packages
Codename: bookworm
Origin: Debian
Component: main
Release: bookworm
Repo-URI: http://mirror.example/debian/

MetaKey: contrib/binary-amd64/Packages
Codename: bookworm
Origin: Debian
Component: contrib
Release: bookworm
Repo-URI: http://mirror.example/debian/

Codename: bookworm-security
Origin: Debian
Component: main
Release: bookworm-security
Repo-URI: http://mirror.example/security/

Codename: trixie
Origin: Debian
Component: main
Release: trixie
Repo-URI: http://mirror.example/debian/
"""


def contents(tar: bytes) -> dict[str, bytes]:
    """Each file of a tar, by name."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        read = {member.name: opened.extractfile(member) for member in opened}
        return {name: file.read() for name, file in read.items() if file is not None}


def test_the_image_installs_from_the_sources_of_the_building_machine() -> None:
    key = f"deb [signed-by={sources.KEYRING}]"
    assert sources.of_targets(sources.parsed(TARGETS)) == [
        f"{key} http://mirror.example/debian/ bookworm main contrib",
        f"{key} http://mirror.example/security/ bookworm-security main",
    ]


def test_a_machine_without_the_programs_is_told_which_packages_to_install(tmp_path: Path) -> None:
    for program in set(host.PACKAGES) - {"mkfs.ext4", "debugfs", "qemu-img"}:
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    assert {"e2fsprogs", "qemu-utils"} <= set(host.missing_packages(str(tmp_path)))
    assert "mtools" not in host.missing_packages(str(tmp_path))
    with pytest.raises(NodeImageError, match=r"apt-get install .*e2fsprogs qemu-utils"):
        host.require(str(tmp_path))


def test_the_pause_image_is_what_containerd_looks_for(tmp_path: Path) -> None:
    files = contents(pause.oci_tar(b"program", image.EPOCH))

    def blob(of: dict[str, str]) -> bytes:
        return files[f"blobs/{of['digest'].replace(':', '/')}"]

    index = json.loads(files["index.json"])
    described = index["manifests"][0]
    manifest = json.loads(blob(described))
    config = json.loads(blob(manifest["config"]))
    layer = blob(manifest["layers"][0])
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    assert config["config"]["Entrypoint"] == ["/pause"]
    assert contents(layer) == {"pause": b"program"}
    wanted = re.search(
        r'sandbox_image = "(.*)"', (image.FILES / "etc/containerd/config.toml").read_text()
    )
    assert wanted is not None
    assert described["annotations"]["io.containerd.image.name"] == wanted[1]


def test_files_are_packed_the_same_whenever_and_by_whomever(tmp_path: Path) -> None:
    script, plain = tmp_path / "script", tmp_path / "plain"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o700)
    plain.write_text("x")
    files = {"usr/b": plain, "usr/a": script}
    rootfs.pack(tmp_path / "one.tar", files, image.EPOCH)
    plain.touch()
    plain.chmod(0o600)
    rootfs.pack(tmp_path / "two.tar", dict(reversed(files.items())), image.EPOCH)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as tar:
        assert {member.name: member.mode for member in tar} == {"usr/a": 0o755, "usr/b": 0o644}


def test_another_input_is_another_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "TOOL", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    script = tmp_path / "hook"
    script.write_text("one")
    first = image.image_path()
    assert image.image_path() == first
    script.write_text("two")
    second = image.image_path()
    script.chmod(0o755)
    assert len({first, second, image.image_path()}) == 3


def test_the_root_file_system_is_found_by_the_label_it_gets() -> None:
    label = f"LABEL={disk.ROOT_LABEL}"
    assert f"root={label} " in disk.SYSLINUX
    assert (image.FILES / "etc/fstab").read_text().startswith(f"{label} / ext4 ")


def test_the_seed_is_read_and_nothing_is_asked_on_the_network() -> None:
    settings = yaml.safe_load((image.FILES / "etc/cloud/cloud.cfg.d/90-plimsoll.cfg").read_text())
    assert settings["datasource_list"] == ["NoCloud", "None"]
    assert "write-files" in settings["cloud_init_modules"]
    assert "runcmd" in settings["cloud_config_modules"]
    assert "scripts-user" in settings["cloud_final_modules"]


def test_kubelet_starts_only_with_what_user_data_writes() -> None:
    unit = (image.FILES / "usr/lib/systemd/system/kubelet.service").read_text()
    assert "ConditionPathExists=/etc/kubernetes/kubelet.yaml\n" in unit
    for flag in (
        "--config=/etc/kubernetes/kubelet.yaml",
        "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf",
        "--kubeconfig=/etc/kubernetes/kubelet.conf",
        "$KUBELET_ARGS",
    ):
        assert flag in unit
