"""Building and starting the control plane's programs, with stand-ins for them and for Go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from plimsoll_testenv import ControlPlane, Source, TestEnvError, binaries

NAMES = [program.name for program in binaries.PROGRAMS]
FAKE_GO = """
case " $* " in *" env GOVERSION "*) echo go1.26.0; exit 0;; esac
while [ "$1" != -o ]; do shift; done
basename "$2" >> "$(dirname "$0")/built"
[ "$(basename "$2")" != "$FAIL_ON" ] || { echo "cannot load package"; exit 1; }
sleep 0.1
echo binary > "$2"
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for stand-ins, alone on the PATH with the system's own, beside an empty cache."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(binaries, "POLL_SECONDS", 0.02)
    return folder


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def builds(tools: Path) -> list[str]:
    """The programs that the fake Go was asked for, in order."""
    log = tools / "built"
    names = log.read_text().split() if log.exists() else []
    return [name.removeprefix(".").removesuffix(".partial") for name in names]


def test_everything_is_built_once_and_progress_is_told(tools: Path) -> None:
    script(tools / "go", FAKE_GO)
    said: list[str] = []
    folder = binaries.build(said.append)
    assert folder == binaries.cache_directory()
    assert sorted(path.name for path in folder.glob("[!.]*")) == sorted(NAMES)
    assert "building kube-apiserver (2/6), usually 4-5 min" in said
    binaries.build(said.append)
    assert builds(tools) == NAMES


def test_the_kubelet_is_built_apart_from_the_control_plane(tools: Path) -> None:
    script(tools / "go", FAKE_GO)
    path = binaries.build_kubelet(lambda _: None)
    assert builds(tools) == ["kubelet"]
    assert path.read_text() == "binary\n"
    assert path.parent != binaries.cache_directory()
    assert binaries.build_kubelet(lambda _: None) == path
    assert len(binaries.missing()) == len(NAMES)
    assert builds(tools) == ["kubelet"]


def test_the_kubelet_is_of_the_control_planes_version() -> None:
    """Of every module of Kubernetes, or one project's two pins would drift apart."""

    def pins(module: str) -> set[str]:
        lines = (binaries.MODULES / module / "go.mod").read_text().splitlines()
        kept = (line.removesuffix(" // indirect").strip() for line in lines)
        return {line for line in kept if "=> k8s.io/" in line or "k8s.io/kubernetes v" in line}

    # The one line form and the block form of `require` are the same pin.
    kubelet = {line.removeprefix("require ") for line in pins("kubelet")}
    assert kubelet == pins("kubernetes")


def test_a_half_built_cache_is_completed(tools: Path) -> None:
    script(tools / "go", FAKE_GO)
    folder = binaries.build(lambda _: None, ["etcd"])
    (folder / ".kwok.partial").write_text("cut short")
    binaries.build(lambda _: None)
    assert builds(tools) == NAMES
    assert (folder / "kwok").read_text() == "binary\n"
    assert not list(folder.glob("*.partial"))


def test_a_failed_build_shows_why_and_the_next_goes_on_from_there(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tools / "go", FAKE_GO)
    monkeypatch.setenv("FAIL_ON", ".kubectl.partial")
    with pytest.raises(TestEnvError, match=r"building kubectl failed:\ncannot load package"):
        binaries.build(lambda _: None)
    assert not (binaries.cache_directory() / "kubectl").exists()
    monkeypatch.delenv("FAIL_ON")
    binaries.build(lambda _: None)
    assert builds(tools) == [*NAMES[:5], *NAMES[4:]]


def test_two_builders_at_once_build_each_program_once(tools: Path) -> None:
    script(tools / "go", FAKE_GO)
    command = [sys.executable, "-m", "plimsoll_testenv", "build"]
    env = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(sys.path)}
    both = [subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [builder.wait() for builder in both] == [0, 0]
    assert builds(tools) == NAMES


def test_without_go_it_says_which_and_what_else_would_do(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(TestEnvError, match=r"no `go` command. Go 1\.26\.0 or newer") as raised:
        binaries.build(lambda _: None)
    assert "PLIMSOLL_KUBECONFIG" in str(raised.value)


@pytest.mark.parametrize(
    "answer",
    ["echo go1.19.8", "echo 'go.mod requires go >= 1.26.0 (running go 1.24.1)' >&2; exit 1"],
    ids=["cannot switch", "may not switch"],
)
def test_a_go_too_old_is_refused_before_anything_is_built(tools: Path, answer: str) -> None:
    script(tools / "go", answer)
    with pytest.raises(TestEnvError, match=r"too old: go.*\nGo 1\.26\.0 or newer"):
        binaries.build(lambda _: None)


def test_a_failed_start_shows_the_log_of_what_failed(tools: Path) -> None:
    for name in NAMES:
        script(tools / name, "exec sleep 600")
    script(tools / "kube-apiserver", "echo 'unknown flag: --nonsense'; exit 3")
    with pytest.raises(
        TestEnvError, match=r"kube-apiserver ended with code 3; .*\nunknown flag: --nonsense"
    ):
        ControlPlane.start(env={"KUBEBUILDER_ASSETS": str(tools)}, say=lambda _: None)


def test_what_the_assets_lack_is_named_and_built(tools: Path) -> None:
    script(tools / "go", FAKE_GO)
    script(tools / "etcd", "exec sleep 600")
    script(tools / "kube-apiserver", "exit 3")
    said: list[str] = []
    with pytest.raises(TestEnvError, match="kube-apiserver ended"):
        ControlPlane.start(env={"KUBEBUILDER_ASSETS": str(tools)}, say=said.append)
    lacking = "kube-controller-manager, kube-scheduler, kubectl, kwok"
    assert f"{tools} holds no {lacking}: taken from the cache, or built" in said
    assert builds(tools) == lacking.split(", ")


def test_a_kind_cluster_has_a_name_of_its_own_and_is_deleted(tools: Path) -> None:
    cluster = {"clusters": [{"cluster": {"server": "https://127.0.0.1:6443"}}]}
    script(tools / "docker", "echo 28.0.1")
    script(tools / "kind", f'echo "$*" >> {tools}/calls')
    script(tools / "kubectl", f"echo '{json.dumps(cluster)}'")
    script(tools / "go", FAKE_GO)
    binaries.build(lambda _: None, ["kwok"])
    script(binaries.cache_directory() / "kwok", "exec sleep 600")
    with ControlPlane.start(env={"PATH": os.environ["PATH"]}, say=lambda _: None) as started:
        assert started.choice.source is Source.KIND
        assert started.server == "https://127.0.0.1:6443"
        created = (tools / "calls").read_text().split()
        name = created[created.index("--name") + 1]
        assert created[:2] == ["create", "cluster"]
        assert name.startswith("plimsoll-")
    deleted = (tools / "calls").read_text().splitlines()[1].split()
    assert deleted[:2] == ["delete", "cluster"]
    assert deleted[deleted.index("--name") + 1] == name
