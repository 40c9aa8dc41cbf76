"""A kind cluster of our own, where a Docker engine runs it."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from pathlib import Path

from plimsoll_testenv.errors import TestEnvError
from plimsoll_testenv.processes import Processes

READY_TIMEOUT = "120s"


def create_cluster(processes: Processes, kubeconfig: Path) -> None:
    """Create a cluster under a name of its own that the supervisor deletes at the end."""
    kind = shutil.which("kind")
    assert kind is not None, "discovery chose kind because it is installed"
    name = f"plimsoll-{uuid.uuid4().hex[:8]}"
    # Registered before the cluster exists: a creation cut short leaves containers behind too.
    processes.on_stop([kind, "delete", "cluster", "--name", name, "--kubeconfig", str(kubeconfig)])
    create = [kind, "create", "cluster", "--name", name, "--wait", READY_TIMEOUT]
    done = subprocess.run(
        [*create, "--kubeconfig", str(kubeconfig)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise TestEnvError(f"kind could not create a cluster:\n{done.stderr.strip()}")
