"""One libvirt host: a machine that can be booted, broken and powered off."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from plimsoll_site import procfs
from plimsoll_site.errors import SiteError
from plimsoll_site.layout import IMAGES, PLACES, POOL, Layout
from plimsoll_site.requirements import program
from plimsoll_site.wires import Wire, run
from plimsoll_testenv.processes import Processes

_INIT: Final = Path(__file__).with_name("init.py")
_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_DAEMON, _LOGGER, _QEMU = "libvirtd", "virtlogd", "qemu-system-x86_64"


class Host:
    """A set of namespaces with libvirtd in it. Made by `Site`.

    Attributes:
        name: its host name, as libvirt tells it.
        uri: where its libvirtd listens, whether it runs or not.
        layout: its files, as this machine sees them.
        kvm: whether its guests may use this machine's /dev/kvm.
    """

    def __init__(
        self, name: str, wire: Wire, processes: Processes, *, pool_bytes: int, kvm: bool
    ) -> None:
        self.name = name
        self.layout = Layout(processes.directory / name)
        self.layout.write(wire.guests)
        self.uri = f"qemu+unix:///system?socket={quote(str(self.layout.socket))}"
        self.kvm = kvm
        self._wire = wire
        self._processes = processes
        self._pool_bytes = pool_bytes
        self._images: dict[str, Path] = {}
        self._init = 0
        self._namespace = ""

    @property
    def gateway(self) -> str:
        """The host as its guests see it."""
        return f"{self._wire.guests}.1"

    @property
    def running(self) -> bool:
        """Whether the machine is on, with or without its libvirtd."""
        return bool(self._init) and self._init in procfs.members(self._namespace)

    # The machine

    def boot(self) -> None:
        """Switch it on, and wait until its libvirtd answers. Disks and definitions are as before.

        Raises:
            SiteError: it does not come up; with the end of the log.
        """
        if self.running:
            raise SiteError(f"{self.name} is on already")
        self._empty_run_directory()
        settings = {
            "name": self.name,
            "ready": str(self.layout.ready),
            "hosts": str(self.layout.directory / "hosts"),
            "links": [[str(self.layout.directory / name), place] for name, place in PLACES.items()],
            "pool": f"{PLACES['lib']}/{IMAGES}",
            "poolBytes": self._pool_bytes,
            "images": [[str(path), _in_pool(name)] for name, path in self._images.items()],
            "kvm": self.kvm,
        }
        namespaces = ["--net", "--mount", "--pid", "--uts", "--ipc", "--mount-proc"]
        unshare = self._processes.start(
            self.name,
            [program("unshare"), *namespaces, "--fork", "--kill-child",
             sys.executable, "-I", str(_INIT), json.dumps(settings)],
        )  # fmt: skip
        self._wait("its namespaces", self.name, self.layout.ready.exists)
        (self._init,) = procfs.children(unshare)
        self._namespace = procfs.namespace(self._init)
        self._wire.lay(self._init)
        self._start_inside(_LOGGER)
        self.start_daemon()

    def power_off(self) -> None:
        """Cut its power: libvirtd, QEMU and all end at once, and it is gone when this returns."""
        if not self.running:
            return
        os.kill(self._init, signal.SIGKILL)
        self._wait("its end", self.name, lambda: not procfs.members(self._namespace))
        self._wire.cut()
        self._init = 0

    def unplug(self) -> None:
        """Cut its network: guests and this machine no longer reach each other.

        Its libvirtd stays reachable, as over a network for management.
        """
        self._wire.unplug(self._init)

    def plug(self) -> None:
        """Undo `unplug`."""
        self._wire.plug(self._init)

    # The daemon

    def start_daemon(self) -> None:
        """Start libvirtd and wait until it answers; VMs that run are found again by it."""
        if self.pids(_DAEMON):
            raise SiteError(f"libvirtd of {self.name} runs already")
        self._start_inside(_DAEMON)
        self._wait("libvirtd's answer", f"{self.name}-{_DAEMON}", self._answers)

    def kill_daemon(self) -> None:
        """End libvirtd at once. VMs run on."""
        self._signal(_DAEMON, signal.SIGKILL)
        self._wait("the end of libvirtd", self.name, lambda: not self.pids(_DAEMON))

    def freeze_daemon(self) -> None:
        """Make libvirtd hang: it takes connections and answers nothing. VMs run on."""
        self._signal(_DAEMON, signal.SIGSTOP)

    def thaw_daemon(self) -> None:
        """Undo `freeze_daemon`."""
        for pid in self._running(_DAEMON):
            # nsenter, its parent, stops and goes on with it.
            os.killpg(os.getpgid(pid), signal.SIGCONT)

    def virsh(self, *arguments: str) -> str:
        """Run virsh on this host and return its output.

        Raises:
            SiteError: with what virsh wrote to standard error.
        """
        return run([program("virsh"), "--quiet", "--connect", self.uri, *arguments])

    # Its VMs

    def domains(self) -> list[str]:
        """Names of all domains that are defined, whoever made them."""
        return self.virsh("list", "--all", "--name").split()

    def volumes(self) -> list[str]:
        """Names of all volumes in the storage pool, base images among them."""
        self.virsh("pool-refresh", POOL)
        return [line.split()[0] for line in self.virsh("vol-list", POOL).splitlines() if line]

    def vm_pid(self, name: str) -> int:
        """QEMU's process of a running domain, also while no libvirtd runs; 0: there is none."""
        wanted = f"guest={name},"
        for pid in self.pids(_QEMU):
            if any(argument.startswith(wanted) for argument in procfs.command_line(pid)):
                return pid
        return 0

    def kill_vm(self, name: str) -> None:
        """End the QEMU of a running domain at once, as a crash would."""
        pid = self.vm_pid(name)
        if not pid:
            raise SiteError(f"no QEMU on {self.name} runs {name}")
        os.kill(pid, signal.SIGKILL)
        self._wait(f"the end of {name}", self.name, lambda: not procfs.command_line(pid))

    def pids(self, name: str) -> list[int]:
        """Processes of a program in this host, numbered as this machine does."""
        if not self.running:
            return []
        return [
            pid
            for pid in procfs.members(self._namespace)
            if (command := procfs.command_line(pid)) and Path(command[0]).name == name
        ]

    # Its storage pool

    def add_image(self, name: str, path: Path) -> None:
        """Put a file of this machine into the storage pool as a volume that cannot be written.

        It is mounted there, not copied. Under a name that is taken it replaces what was there.
        """
        self._images[name] = path.resolve(strict=True)
        if self.running:
            target = _in_pool(name)
            inside = [program("nsenter"), "-t", str(self._init), "-m"]
            run([*inside, "touch", target])
            run([*inside, "mount", "--bind", "-o", "ro", str(self._images[name]), target])
            self.virsh("pool-refresh", POOL)

    def inside(self, *command: str) -> str:
        """Run a command on the host, as its root would, and return its output.

        Raises:
            SiteError: it failed; with what it wrote to standard error.
        """
        namespaces = ["-t", str(self._init), "-m", "-n", "-p", "-u", "-i"]
        return run([program("nsenter"), *namespaces, program(command[0]), *command[1:]])

    def _start_inside(self, name: str) -> None:
        namespaces = ["-t", str(self._init), "-m", "-n", "-p", "-u", "-i"]
        # Root's PATH: libvirtd looks up dnsmasq, qemu-img and others.
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        # The usual place is in /run itself, which the hosts share.
        pid_file = f"{PLACES['run']}/{name}.pid"
        self._processes.start(
            f"{self.name}-{name}",
            [program("nsenter"), *namespaces, program(name), f"--pid-file={pid_file}"],
            {"PATH": path, "HOME": "/root"},
        )

    def _answers(self) -> bool:
        if not self.layout.socket.exists():
            return False
        with suppress(SiteError):
            self.virsh("pool-refresh", POOL)
            return True
        return False

    def _signal(self, name: str, number: signal.Signals) -> None:
        for pid in self._running(name):
            os.kill(pid, number)

    def _running(self, name: str) -> list[int]:
        found = self.pids(name)
        if not found:
            raise SiteError(f"{name} of {self.name} does not run")
        return found

    def _wait(self, what: str, log: str, done: Callable[[], object]) -> None:
        deadline = time.monotonic() + _SECONDS
        while not done():
            ended = log in self._processes.exited() and not done()
            if ended or time.monotonic() > deadline:
                raise SiteError(
                    f"{self.name}: waited for {what} in vain; the end of {log}.log:\n"
                    f"{self._processes.log_tail(log)}"
                )
            time.sleep(_POLL_SECONDS)

    def _empty_run_directory(self) -> None:
        """Memory is lost at power-off: /run begins empty."""
        self.layout.ready.unlink(missing_ok=True)
        directory = self.layout.directory / "run"
        shutil.rmtree(directory)
        directory.mkdir()


def _in_pool(name: str) -> str:
    return f"{PLACES['lib']}/{IMAGES}/{name}"
