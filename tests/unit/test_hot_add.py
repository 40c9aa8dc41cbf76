"""The guest's hot-add script on a made-up sysfs, with a stand-in for systemctl."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from plimsoll_nodeimage import image

SCRIPT = image.FILES / "usr/lib/plimsoll/hot-add"


@dataclass
class Guest:
    """A machine made of files: `online` CPUs and memory blocks are a kernel's, told by tests."""

    root: Path
    tools: Path

    def __post_init__(self) -> None:
        for folder in ("sys/devices/system/cpu", "sys/devices/system/memory", "var/lib/kubelet"):
            (self.root / folder).mkdir(parents=True)
        for folder in ("etc/kubernetes", "etc/default"):
            (self.root / folder).mkdir(parents=True)
        self.tools.mkdir()
        self.has(cpus=2, online=2, blocks=["online"] * 8)
        self.program("systemctl", f'echo "$1" >>{self.root}/calls; exit 0')
        # A second of waiting is a millisecond here.
        self.program("sleep", "/bin/sleep 0.001")

    def program(self, name: str, body: str) -> None:
        path = self.tools / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def has(self, cpus: int, online: int, blocks: list[str]) -> None:
        self.write("sys/devices/system/cpu/present", f"0-{cpus - 1}\n")
        self.write("sys/devices/system/cpu/online", f"0-{online - 1}\n")
        for number in range(1, cpus):
            (self.root / f"sys/devices/system/cpu/cpu{number}").mkdir(exist_ok=True)
            state = "1" if number < online else "0"
            self.write(f"sys/devices/system/cpu/cpu{number}/online", f"{state}\n")
        for number, block in enumerate(blocks):
            (self.root / f"sys/devices/system/memory/memory{number}").mkdir(exist_ok=True)
            self.write(f"sys/devices/system/memory/memory{number}/state", f"{block}\n")

    def write(self, path: str, text: str) -> None:
        (self.root / path).write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", str(SCRIPT), *arguments],
            env={"PLIMSOLL_ROOT": str(self.root), "PATH": f"{self.tools}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )

    def restarts(self) -> int:
        calls = self.root / "calls"
        return calls.read_text().split().count("restart") if calls.exists() else 0


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    guest = Guest(tmp_path / "root", tmp_path / "tools")
    guest.run("record")
    return guest


def test_kubelet_is_restarted_once_for_what_was_added(guest: Guest) -> None:
    guest.has(cpus=4, online=4, blocks=["online"] * 16)
    done = guest.run()
    assert (done.returncode, guest.restarts()) == (0, 1)
    assert "cpus 0-3 memory-blocks 16" in done.stdout
    assert "cpus 0-1 memory-blocks 8" in done.stdout
    # Every further event of the burst, and every look of the timer, finds nothing to do.
    assert guest.run().stdout == ""
    assert guest.restarts() == 1


def test_nothing_added_is_nothing_done(guest: Guest) -> None:
    done = guest.run()
    assert (done.returncode, done.stdout, guest.restarts()) == (0, "", 0)


def test_memory_is_brought_online_first(guest: Guest) -> None:
    guest.has(cpus=2, online=2, blocks=["online"] * 8 + ["offline"] * 2)
    assert guest.run().returncode == 0
    assert guest.read("sys/devices/system/memory/memory9/state") == "online\n"
    assert guest.restarts() == 1


def test_a_cpu_is_waited_for_until_it_is_online(guest: Guest) -> None:
    """The kernel needs a while from the write to `online`."""
    guest.has(cpus=3, online=2, blocks=["online"] * 8)
    # The stand-in for waiting plays the kernel: CPU 2 comes up while the script waits.
    guest.program("sleep", f"echo 0-2 >{guest.root}/sys/devices/system/cpu/online")
    assert guest.run().returncode == 0
    assert guest.read("sys/devices/system/cpu/cpu2/online") == "1\n"
    assert guest.restarts() == 1


def test_what_comes_while_it_waits_is_waited_for_too(guest: Guest) -> None:
    guest.has(cpus=3, online=3, blocks=["online"] * 8)
    late = f"{guest.root}/sys/devices/system/memory/memory8"
    guest.program("sleep", f"mkdir -p {late}; [ -e {late}/state ] || echo offline >{late}/state")
    done = guest.run()
    assert guest.restarts() == 1
    assert "cpus 0-2 memory-blocks 9" in done.stdout


def test_a_cpu_that_stays_offline_leaves_kubelet_alone(guest: Guest) -> None:
    guest.has(cpus=3, online=2, blocks=["online"] * 8)
    done = guest.run()
    assert done.returncode == 1
    assert "not all is online" in done.stdout
    assert "present 0-2" in done.stdout
    assert guest.restarts() == 0


@pytest.mark.parametrize(
    ("path", "text", "policy"),
    [
        (
            "var/lib/kubelet/cpu_manager_state",
            '{"policyName":"static","defaultCpuSet":"0-1","checksum":1}',
            "static CPU manager",
        ),
        ("etc/kubernetes/kubelet.yaml", "cpuManagerPolicy: static\n", "static CPU manager"),
        ("etc/kubernetes/kubelet.yaml", '{"cpuManagerPolicy": "static"}', "static CPU manager"),
        ("etc/default/kubelet", "KUBELET_ARGS=--cpu-manager-policy=static", "static CPU manager"),
        (
            "var/lib/kubelet/memory_manager_state",
            '{"policyName":"Static","machineState":{},"checksum":1}',
            "Static memory manager",
        ),
        ("etc/kubernetes/kubelet.yaml", "memoryManagerPolicy: Static\n", "Static memory manager"),
    ],
)
def test_a_static_policy_refuses_and_says_so_once(
    guest: Guest, path: str, text: str, policy: str
) -> None:
    guest.write(path, text)
    guest.has(cpus=4, online=4, blocks=["online"] * 8)
    done = guest.run()
    assert (done.returncode, guest.restarts()) == (0, 0)
    assert f"under the {policy} policy" in done.stdout
    assert guest.run().stdout == ""


def test_policies_that_are_not_static_are_no_reason_to_refuse(guest: Guest) -> None:
    guest.write("var/lib/kubelet/cpu_manager_state", '{"policyName":"none"}')
    guest.write(
        "etc/kubernetes/kubelet.yaml", "# cpuManagerPolicy: static\ncpuManagerPolicy: none\n"
    )
    guest.has(cpus=4, online=4, blocks=["online"] * 8)
    guest.run()
    assert guest.restarts() == 1


def test_a_kubelet_that_does_not_run_is_not_started(guest: Guest) -> None:
    guest.program("systemctl", f'echo "$1" >>{guest.root}/calls; exit 3')
    guest.has(cpus=4, online=4, blocks=["online"] * 8)
    assert guest.run().returncode == 0
    assert guest.restarts() == 0


def test_a_failed_restart_is_tried_again_at_the_next_look(guest: Guest) -> None:
    guest.program("systemctl", f'echo "$1" >>{guest.root}/calls; [ "$1" = is-active ]')
    guest.has(cpus=4, online=4, blocks=["online"] * 8)
    assert guest.run().returncode != 0
    assert guest.run().returncode != 0
    assert guest.restarts() == 2
