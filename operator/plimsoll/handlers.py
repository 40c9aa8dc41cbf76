"""kopf's side of the operator: which of our objects are kept, and when they may go.

Thin on purpose: kopf watches our kinds, keeps one daemon for each VMNode and
Hypervisor, and holds deleted objects by the finalizer until a handler here
returns. ``kopf run operator/plimsoll/handlers.py --all-namespaces`` works, too.
"""

from __future__ import annotations

from typing import Any, Final

import kopf

from plimsoll import kubeconfig
from plimsoll.api import labels
from plimsoll.api.base import GROUP, VERSION
from plimsoll.kube import Kube
from plimsoll.preflight import PreflightError, check
from plimsoll.runtime import Operator
from plimsoll.settings import Settings

_GRACE: Final = 10.0
"""Seconds that a step may take to end when its daemon is stopped, before it is cut off."""


class _NoDiffBase(kopf.DiffBaseStorage):
    """Remembers nothing on objects: nothing here depends on what changed since when."""

    def fetch(self, *, body: kopf.Body) -> None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        return None


def configure(settings: kopf.OperatorSettings) -> None:
    """kopf's settings: our finalizer, no annotations of its own where they can be avoided."""
    settings.persistence.finalizer = labels.VM_FINALIZER
    settings.persistence.diffbase_storage = _NoDiffBase()
    # Written only when a handler fails or a daemon does not stop in time.
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP, v1=False)
    settings.posting.enabled = False  # Events are posted by our own recorder
    settings.peering.standalone = True
    settings.scanning.disabled = True  # the preflight has looked; no right to watch CRDs is needed
    settings.watching.server_timeout = 300  # an int: the API server reads no decimals
    settings.watching.connect_timeout = 30.0
    settings.networking.request_timeout = 30.0
    settings.background.instant_exit_timeout = 1.0
    settings.execution.default_backoff = 5.0


@kopf.on.startup()
async def startup(settings: kopf.OperatorSettings, memo: kopf.Memo, **_: Any) -> None:
    configure(settings)
    ours = memo.get("settings")
    if ours is None:  # started by `kopf run`: nobody has looked yet
        ours = Settings.load()
        async with Kube.from_environment(ours.kubeconfig, ours.context) as kube:
            try:
                await check(kube, ours.namespace)
            except PreflightError as error:
                raise kopf.PermanentError(str(error)) from None
    memo.operator = Operator(ours, memo.get("on_failure", lambda: None))
    await memo.operator.start()


@kopf.on.cleanup()
async def cleanup(memo: kopf.Memo, **_: Any) -> None:
    await memo.operator.stop()


@kopf.on.login()
async def login(memo: kopf.Memo, **_: Any) -> kopf.ConnectionInfo:
    """The same credentials as our own client uses."""
    ours = memo.get("settings") or Settings.load()
    found = await kubeconfig.load(ours.kubeconfig, ours.context)
    header: str = await found.get_api_key_with_prefix("BearerToken") or ""
    scheme, token = header.split(" ", 1) if header else (None, None)
    return kopf.ConnectionInfo(
        server=found.host,
        ca_path=found.ssl_ca_cert,
        insecure=not found.verify_ssl,
        certificate_path=found.cert_file,
        private_key_path=found.key_file,
        scheme=scheme,
        token=token,
    )


@kopf.daemon(GROUP, VERSION, "vmnodes", cancellation_timeout=_GRACE)
async def keep_vmnode(name: str, stopped: kopf.DaemonStopped, memo: kopf.Memo, **_: Any) -> None:
    await memo.operator.keep_vmnode(name, stopped)


@kopf.on.delete(GROUP, VERSION, "vmnodes")
async def release_vmnode(name: str, memo: kopf.Memo, **_: Any) -> None:
    # Also for VMNodes that were being deleted when the operator started: kopf starts
    # no daemon for those.
    await memo.operator.release_vmnode(name)


@kopf.daemon(GROUP, VERSION, "hypervisors", cancellation_timeout=_GRACE)
async def keep_hypervisor(
    name: str, stopped: kopf.DaemonStopped, memo: kopf.Memo, **_: Any
) -> None:
    await memo.operator.keep_hypervisor(name, stopped)


@kopf.on.delete(GROUP, VERSION, "hypervisors")
async def release_hypervisor(name: str, uid: str, memo: kopf.Memo, **_: Any) -> None:
    await memo.operator.release_hypervisor(name, uid)


@kopf.on.delete(GROUP, VERSION, "vmpools")
async def release_vmpool(name: str, memo: kopf.Memo, **_: Any) -> None:
    await memo.operator.release_vmpool(name)
