"""Builds the control plane's programs from the pinned Go modules, once, into a cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from plimsoll_testenv.errors import TestEnvError
from plimsoll_testenv.processes import Processes

Say = Callable[[str], None]

MODULES = Path(__file__).resolve().parents[2] / "controlplane"
POLL_SECONDS = 0.5
PLAIN_PROGRESS_SECONDS = 30
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Program:
    """One program: its name, its package, the module that pins it, how long a build takes."""

    name: str
    package: str
    module: str
    usually: str


PROGRAMS = (
    Program("etcd", "go.etcd.io/etcd/server/v3", "kubernetes", "under 1 min"),
    Program("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", "kubernetes", "4-5 min"),
    Program(
        "kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kubernetes",
        "1 min",
    ),
    Program("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", "kubernetes", "1 min"),
    Program("kubectl", "k8s.io/kubernetes/cmd/kubectl", "kubernetes", "under 1 min"),
    Program("kwok", "sigs.k8s.io/kwok/cmd/kwok", "kwok", "1-2 min"),
)
# For real nodes only: each in a module, and so in a folder, of its own.
METRICS_SERVER = Program(
    "metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server", "metrics-server", "2 min"
)
KUBELET = Program("kubelet", "k8s.io/kubernetes/cmd/kubelet", "kubelet", "1-3 min")


def kubernetes_version() -> str:
    """The pinned version of Kubernetes, such as v1.37.2."""
    go_mod = (MODULES / "kubernetes" / "go.mod").read_text()
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise TestEnvError(f"{MODULES}/kubernetes/go.mod requires no k8s.io/kubernetes")
    return found.group(1)


def cache_directory(programs: Collection[Program] = PROGRAMS) -> Path:
    """Where the programs of these very pins, flags and this platform are kept."""
    key = hashlib.sha256()
    for module in sorted({program.module for program in programs}):
        for name in ("go.mod", "go.sum"):
            key.update((MODULES / module / name).read_bytes())
        key.update(" ".join(_build_flags(module)).encode())
    key.update("/".join(_platform()).encode())
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "plimsoll" / "controlplane" / key.hexdigest()[:16]


def missing(names: Collection[str] | None = None) -> list[Program]:
    """The programs (of `names`, else of all) that are not in the cache."""
    folder = cache_directory()
    wanted = [program for program in PROGRAMS if names is None or program.name in names]
    return [program for program in wanted if not (folder / program.name).exists()]


def build(say: Say, names: Collection[str] | None = None) -> Path:
    """Build whatever is missing (of `names`, else of all) and return the cache's folder.

    Safe to interrupt, to repeat and to run twice at once.

    Raises:
        TestEnvError: Go is missing or too old, or a build failed.
    """
    folder = cache_directory()
    _build_missing(folder, lambda: missing(names), say)
    return folder


def build_kubelet(say: Say) -> Path:
    """Build the kubelet unless the cache has it, and return its path.

    Raises:
        TestEnvError: Go is missing or too old, or the build failed.
    """
    return _build_alone(KUBELET, say)


def build_metrics_server(say: Say) -> Path:
    """Build the metrics server unless the cache has it, and return its path.

    Raises:
        TestEnvError: Go is missing or too old, or the build failed.
    """
    return _build_alone(METRICS_SERVER, say)


def _build_alone(program: Program, say: Say) -> Path:
    folder = cache_directory([program])
    path = folder / program.name
    _build_missing(folder, lambda: [] if path.exists() else [program], say)
    return path


def _build_missing(folder: Path, lacking: Callable[[], list[Program]], say: Say) -> None:
    if not lacking():
        return
    go = _require_go()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock", say):
        for leftover in folder.glob(".*.partial"):
            leftover.unlink()
        # Asked again: who held the lock until now may have built them.
        todo = lacking()
        programs = "program" if len(todo) == 1 else "programs"
        say(f"{len(todo)} {programs} to build, once, into {folder}")
        for number, program in enumerate(todo, start=1):
            _build_one(go, program, folder, f"({number}/{len(todo)})", say)


def _build_one(go: str, program: Program, folder: Path, count: str, say: Say) -> None:
    partial = folder / f".{program.name}.partial"
    goos, goarch = _platform()
    # Everything Go was told by the user (proxy, toolchain, caches) holds, but not the target.
    env = dict(os.environ) | {"CGO_ENABLED": "0", "GOOS": goos, "GOARCH": goarch}
    flags = _build_flags(program.module)
    argv = [go, "-C", str(MODULES / program.module), "build", *flags, "-o", str(partial)]
    with Progress(f"building {program.name} {count}, usually {program.usually}", say) as progress:
        processes = Processes("plimsoll-build-")
        try:
            env["GOTMPDIR"] = str(processes.directory)
            processes.start("go", [*argv, program.package], env)
            while not (ended := processes.exited()):
                time.sleep(POLL_SECONDS)
                progress.tick()
            if ended["go"] != 0:
                raise TestEnvError(f"building {program.name} failed:\n{processes.log_tail('go')}")
        finally:
            processes.stop()
    partial.rename(folder / program.name)


def _build_flags(module: str) -> list[str]:
    linker = ["-s", "-w"]
    if module in ("kubernetes", "kubelet"):
        version = kubernetes_version()
        major, minor, _ = version.removeprefix("v").split(".", 2)
        for name, value in (("Version", version), ("Major", major), ("Minor", minor)):
            linker += ["-X", f"k8s.io/component-base/version.git{name}={value}"]
    return ["-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", " ".join(linker)]


def _platform() -> tuple[str, str]:
    machine = platform.machine().lower()
    return sys.platform, ARCHITECTURES.get(machine, machine)


def _require_go() -> str:
    """The go command, if it is or can become (GOTOOLCHAIN=auto) new enough for the modules."""
    go_mod = (MODULES / "kubernetes" / "go.mod").read_text()
    found = re.search(r"^go (\S+)", go_mod, re.MULTILINE)
    needed = found.group(1) if found else "1.26"
    advice = (
        f"Go {needed} or newer builds the test control plane, once.\n"
        f"  - Install it from https://go.dev/dl/ or with your package manager; a Go of 1.21 or\n"
        f"    newer fetches the right version by itself where GOTOOLCHAIN=auto is set.\n"
        f"  - Or do without it: set PLIMSOLL_KUBECONFIG to the kubeconfig of a cluster, or start\n"
        f"    a Docker engine and install kind."
    )
    go = shutil.which("go")
    if go is None:
        raise TestEnvError(f"there is no `go` command. {advice}")
    # Asked inside the module, Go selects (and if need be fetches) the toolchain that it requires.
    asked = subprocess.run(
        [go, "env", "GOVERSION"],
        cwd=MODULES / "kubernetes",
        capture_output=True,
        text=True,
        check=False,
    )
    version = tuple(int(part) for part in re.findall(r"\d+", asked.stdout)[:2])
    if asked.returncode != 0 or version < tuple(int(part) for part in needed.split(".")[:2]):
        said = (asked.stderr or asked.stdout).strip()
        raise TestEnvError(f"the `go` command at {go} is too old: {said}\n{advice}")
    return go


@contextlib.contextmanager
def locked(path: Path, say: Say) -> Iterator[None]:
    """Hold the lock of a cache; wait, and say so, while another build holds it."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build of the same is under way; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Progress:
    """Tells that one long step is alive: a counting line on a terminal, a plain line otherwise."""

    def __init__(self, what: str, say: Say) -> None:
        self._what = what
        self._say = say
        self._began = time.monotonic()
        self._next_plain = PLAIN_PROGRESS_SECONDS

    def __enter__(self) -> Progress:
        if not sys.stderr.isatty():
            self._say(self._what)
        return self

    def tick(self) -> None:
        """Show how many seconds it has taken so far."""
        seconds = int(time.monotonic() - self._began)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{self._what}: {seconds} s ")
            sys.stderr.flush()
        elif seconds >= self._next_plain:
            self._next_plain += PLAIN_PROGRESS_SECONDS
            self._say(f"{self._what}: {seconds} s so far")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")
        if kind is None:
            self._say(f"{self._what}: done in {int(time.monotonic() - self._began)} s")
