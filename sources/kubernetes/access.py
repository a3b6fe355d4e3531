"""Where a cluster is and who we are to it: a kubeconfig, or the service account of the pod we run in."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config
from kubernetes.aio.config.incluster_config import (
    SERVICE_CERT_FILENAME,
    SERVICE_HOST_ENV_NAME,
    SERVICE_TOKEN_FILENAME,
)
from kubernetes.aio.config.kube_config import KubeConfigMerger

from sources.kubernetes.credential_program import Loader
from sources.kubernetes.proxy import proxy_for

_DEFAULT = "~/.kube/config"

LoadedConfiguration: TypeAlias = Any
"""A `kubernetes.aio.client.Configuration`, which has no types."""


class NoCluster(ValueError):
    """There is no usable configuration; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAccess:
    """`kubeconfig` None: $KUBECONFIG or ~/.kube/config. `context` '': the current one.

    Without any of these, a process in a pod takes the pod's own service account.
    """

    kubeconfig: Path | None = None
    context: str = ""


def is_in_cluster(exists: Callable[[str], bool] = os.path.isfile) -> bool:
    """Whether this process runs in a pod that has a service account."""
    return bool(os.environ.get(SERVICE_HOST_ENV_NAME)) and all(
        map(exists, (SERVICE_TOKEN_FILENAME, SERVICE_CERT_FILENAME))
    )


async def load_configuration(access: ClusterAccess) -> LoadedConfiguration:
    """The address, trust and credentials. Programs that a kubeconfig names are run. Raises NoCluster."""
    configuration = Configuration()
    # As Go does: the authorities of many clusters lack extensions that Python insists on from 3.13 on.
    configuration.disable_strict_ssl_verification = True
    try:
        if access.kubeconfig is None and not access.context and not os.environ.get("KUBECONFIG") and is_in_cluster():
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await _load_kubeconfig(access, configuration)
        configuration.proxy = configuration.proxy or proxy_for(configuration.host, os.environ)
        configuration.client_session_kwargs = {"trust_env": False}
        _check_addresses(configuration)
    except (ConfigException, OSError) as error:
        raise no_cluster(access, str(error)) from None
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError) as error:
        # The client takes a kubeconfig to have the shape it should.
        raise no_cluster(access, f"it is no kubeconfig: {error}") from None
    return configuration


def no_cluster(access: ClusterAccess, reason: str) -> NoCluster:
    """What to say when there is no way to the cluster."""
    where = access.kubeconfig or os.environ.get("KUBECONFIG") or _DEFAULT
    fix = "name a kubeconfig with --kubeconfig, and one of its contexts with --context"
    return NoCluster(f"{where} leads to no cluster: {reason}; {fix}")


async def _load_kubeconfig(access: ClusterAccess, configuration: LoadedConfiguration) -> None:
    named = str(access.kubeconfig) if access.kubeconfig is not None else os.environ.get("KUBECONFIG")
    files = (named or _DEFAULT).split(os.pathsep)
    if not any(os.path.exists(os.path.expanduser(file)) for file in files if file):
        raise ConfigException("there is no such file")
    merged = KubeConfigMerger(os.pathsep.join(files)).config  # type: ignore[no-untyped-call]
    loader: Any = Loader(config_dict=merged, active_context=access.context or None)  # type: ignore[no-untyped-call]
    await loader.load_and_set(configuration)


def _check_addresses(configuration: LoadedConfiguration) -> None:
    """Raises ConfigException for what the client would only notice in the middle of a request."""
    for address, what in ((configuration.host, "server"), (configuration.proxy, "proxy-url")):
        if address is not None and urlsplit(address).scheme not in ("http", "https"):
            raise ConfigException(f"{what} is {str(address)[:80]!r}, which is neither http:// nor https://")
