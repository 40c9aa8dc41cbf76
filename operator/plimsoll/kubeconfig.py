"""Finds and loads the credentials for one cluster, by the official client."""

from __future__ import annotations

import os
from typing import Any

import yaml


class NoCluster(Exception):
    """The environment names no cluster, or its kubeconfig cannot be used."""


async def load(kubeconfig: str | None, context: str | None) -> Any:
    """A ``kubernetes.aio`` configuration.

    In this order: ``kubeconfig`` (a path), ``$KUBECONFIG``, the service account
    of the pod, ``~/.kube/config``. ``context`` None: the current one of the file.

    Raises:
        NoCluster: nothing is found, or it is malformed.
    """
    import kubernetes.aio.config as package  # slow to import, and not needed offline
    from kubernetes.aio.client import Configuration

    config: Any = package  # it has no annotations
    result: Any = Configuration()
    path = kubeconfig or os.environ.get("KUBECONFIG")
    if not path and os.environ.get("KUBERNETES_SERVICE_HOST"):
        try:
            config.load_incluster_config(client_configuration=result)
        except config.ConfigException as error:
            raise NoCluster(f"the pod's service account cannot be used: {error}") from error
        return result
    path = path or "~/.kube/config"
    if not _exists(path):
        raise NoCluster(
            f"{path} does not exist, and this is no pod with a service account: "
            "set KUBECONFIG or name a file"
        )
    try:
        loader: Any = await config.load_kube_config(
            config_file=path, context=context, client_configuration=result, persist_config=False
        )
    except (config.ConfigException, yaml.YAMLError, OSError, TypeError, AttributeError) as error:
        # The loader meets a malformed file with whatever its code runs into.
        raise NoCluster(f"kubeconfig {path} cannot be used: {error}") from error
    if hasattr(loader, "exec_plugin_expiry"):

        async def refresh(configuration: Any) -> None:
            await loader.load_from_exec_plugin()  # runs the plugin only after expiry
            configuration.api_key["BearerToken"] = loader.token

        result.refresh_api_key_hook = refresh
    return result


def _exists(paths: str) -> bool:
    return any(os.path.exists(os.path.expanduser(path)) for path in paths.split(os.pathsep))
