"""Hosts over SSH: libvirt is told everything that it needs, and no more is left lying about."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from aio import run
from libvirt_bench import LibvirtBench

pytestmark = pytest.mark.xdist_group("libvirt")

SECRET = {"ssh-privatekey": b"not a key", "known_hosts": b"host-a ssh-ed25519 AAAA\n"}


def test_a_host_is_reached_through_the_ssh_command(
    bench: LibvirtBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``ssh`` is stood in for by a script that notes its arguments and runs the rest there."""
    host = bench.site.hosts[0]
    said = tmp_path / "said"
    fake = tmp_path / "ssh"
    fake.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >> {shlex.quote(str(said))}\n'
        'while [ "$1" != -- ]; do shift; done\nshift 2\n'
        f'exec nsenter -t {host.pids("libvirtd")[0]} -m sh -c "$*"\n'
    )
    fake.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin")

    async def scenario() -> None:
        hosts = [{"name": host.name, "uri": f"qemu+ssh://root@{host.name}/system"}]
        async with bench.connect(secret=SECRET, hosts=hosts) as provider:
            assert (await provider.listing()).silent == ()
            check_arguments(said.read_text().split("\n"), host.name)

    run(scenario())
    assert not key_in(said.read_text().split("\n")).parent.exists()


def check_arguments(arguments: list[str], host: str) -> None:
    key = key_in(arguments)
    assert key.read_bytes() == b"not a key\n"
    assert f"UserKnownHostsFile={key.with_name('known_hosts')}" in arguments
    assert "StrictHostKeyChecking=yes" in arguments
    assert host in arguments


def key_in(arguments: list[str]) -> Path:
    return Path(arguments[arguments.index("-i") + 1])
