"""Which control plane the tests take: the first of a fixed order, never a silent substitute."""

from __future__ import annotations

from pathlib import Path

import pytest

from plimsoll_testenv import Source, TestEnvError, discover


@pytest.fixture
def everything(tmp_path: Path) -> dict[str, str]:
    """An environment in which every source is available."""
    for name in ("named.yaml", "current.yaml"):
        (tmp_path / name).write_text("{}")
    for name in ("etcd", "kube-apiserver", "kind"):
        executable(tmp_path / name, "exit 0")
    executable(tmp_path / "docker", "echo 28.0.1")
    return {
        "PLIMSOLL_KUBECONFIG": str(tmp_path / "named.yaml"),
        "USE_EXISTING_CLUSTER": "true",
        "KUBECONFIG": str(tmp_path / "current.yaml"),
        "KUBEBUILDER_ASSETS": str(tmp_path),
        "PATH": str(tmp_path),
        "HOME": str(tmp_path),
    }


def executable(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def without(env: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in env.items() if name not in names}


def test_a_named_kubeconfig_comes_first(everything: dict[str, str], tmp_path: Path) -> None:
    choice = discover(everything)
    assert (choice.source, choice.path) == (Source.EXISTING, tmp_path / "named.yaml")
    assert "PLIMSOLL_KUBECONFIG" in choice.reason


def test_then_the_current_kubeconfig_if_asked(everything: dict[str, str], tmp_path: Path) -> None:
    choice = discover(without(everything, "PLIMSOLL_KUBECONFIG"))
    assert (choice.source, choice.path) == (Source.EXISTING, tmp_path / "current.yaml")
    assert "USE_EXISTING_CLUSTER" in choice.reason


def test_the_current_kubeconfig_defaults_to_the_home_folder(
    everything: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text("{}")
    choice = discover(without(everything, "PLIMSOLL_KUBECONFIG", "KUBECONFIG"))
    assert choice.path == tmp_path / ".kube" / "config"


def test_a_cluster_is_not_used_unless_asked(everything: dict[str, str], tmp_path: Path) -> None:
    env = without(everything, "PLIMSOLL_KUBECONFIG") | {"USE_EXISTING_CLUSTER": "false"}
    choice = discover(env)
    assert (choice.source, choice.path) == (Source.ASSETS, tmp_path)


def test_then_kind_where_docker_answers(everything: dict[str, str]) -> None:
    env = without(everything, "PLIMSOLL_KUBECONFIG", "USE_EXISTING_CLUSTER", "KUBEBUILDER_ASSETS")
    assert discover(env).source is Source.KIND


@pytest.mark.parametrize("docker", ["exit 1", "exit 0"], ids=["fails", "names no server"])
def test_kind_without_a_docker_engine_is_passed_over(
    everything: dict[str, str], tmp_path: Path, docker: str
) -> None:
    executable(tmp_path / "docker", docker)
    env = without(everything, "PLIMSOLL_KUBECONFIG", "USE_EXISTING_CLUSTER", "KUBEBUILDER_ASSETS")
    choice = discover(env)
    assert choice.source is Source.BUILT
    assert "Docker" in choice.reason


def test_with_nothing_at_hand_it_is_built(tmp_path: Path) -> None:
    choice = discover({"PATH": str(tmp_path), "HOME": str(tmp_path)})
    assert choice.source is Source.BUILT
    assert str(choice) == "built (no cluster or binaries are named, and there is no kind)"


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        ({"PLIMSOLL_KUBECONFIG": "/nowhere/config"}, "PLIMSOLL_KUBECONFIG names no file"),
        ({"USE_EXISTING_CLUSTER": "TRUE", "HOME": "/nowhere"}, "/nowhere/.kube/config"),
        ({"KUBEBUILDER_ASSETS": "/nowhere"}, "holds no etcd and no kube-apiserver"),
    ],
)
def test_what_is_named_must_exist(env: dict[str, str], complaint: str) -> None:
    with pytest.raises(TestEnvError, match=complaint):
        discover(env)
