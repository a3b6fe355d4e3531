"""What an installation decides about the pods it injects."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from injector.capture import IpVersion

REVISION: Final = "heddle"
SYSTEM_NAMESPACE: Final = "heddle-system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a container asks for and may use, as Kubernetes quantities; '' leaves it out."""

    cpu: str = ""
    memory: str = ""
    cpu_limit: str = ""
    memory_limit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectionSettings:
    """One revision of Heddle, as its injector sees it.

    `revision` is the value of `istio.io/rev` that asks for it: `heddle`, or `heddle-canary` and the like.
    `is_default`: the revision that also answers to `heddle.io/inject`, and to `istio-injection` and
    `sidecar.istio.io/inject: "true"` if `take_over_istio_injection`. Pods in `system_namespace` and
    `excluded_namespaces` are never injected.

    `root_config_map` is in every injected namespace and holds the roots in PEM under `root.pem`. `drain` is how long
    an application is kept from ending while its callers learn that it is going; 0 for not at all.
    `concurrency` 0: a worker for each core of the node. `ip_version` is that of a pod's first address.
    """

    revision: str = REVISION
    is_default: bool = True
    take_over_istio_injection: bool = False
    system_namespace: str = SYSTEM_NAMESPACE
    excluded_namespaces: tuple[str, ...] = ("kube-system", "kube-public", "kube-node-lease")
    proxy_image: str = "docker.io/envoyproxy/envoy:distroless-v1.40.0"
    init_image: str = "heddle:0.1.0"
    image_pull_policy: str = "IfNotPresent"
    xds_host: str = "heddle.heddle-system.svc"
    xds_port: int = 15012
    server_name: str = "heddle.heddle-system.svc"
    root_config_map: str = "heddle-root"
    token_life: timedelta = timedelta(hours=1)
    resources: Resources = field(
        default_factory=lambda: Resources(cpu="50m", memory="64Mi", cpu_limit="2", memory_limit="1Gi")
    )
    concurrency: int = 2
    log_level: str = "warning"
    drain: timedelta = timedelta(seconds=5)
    ip_version: IpVersion = 4
