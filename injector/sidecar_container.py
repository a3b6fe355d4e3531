"""The sidecar itself: a stock Envoy in a native sidecar container, with what it reads and writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from injector.capture import SIDECAR_USER
from injector.names import (
    RUN_FOLDER,
    RUN_VOLUME,
    SECRETS_FOLDER,
    SECRETS_VOLUME,
    SIDECAR,
    TOKEN_FILE,
    TOKEN_SECRET,
)
from injector.pod_values import Json
from injector.settings import InjectionSettings, Resources
from injector.sidecar_options import SidecarOptions
from sds.tokens import AUDIENCE
from translators.bootstrap_listeners import READY_PATH
from translators.control_plane_cluster import token_secret_document
from translators.well_known_ports import METRICS, READINESS

_STARTS_WITHIN: Final = 600
"""Seconds: as long as a control plane may take to be there. Until then the application waits too."""

_FIELDS: Final = (
    ("POD_NAME", "metadata.name"),
    ("POD_NAMESPACE", "metadata.namespace"),
    ("INSTANCE_IP", "status.podIP"),
    ("SERVICE_ACCOUNT", "spec.serviceAccountName"),
)


def build_sidecar_container(
    options: SidecarOptions, settings: InjectionSettings, *, bootstrap: str, workload: str
) -> Json:
    """`istio-proxy` as a native sidecar. `bootstrap` is escaped for the kubelet already."""
    container = build_proxy_container(options, settings, bootstrap=bootstrap, workload=workload)
    container["restartPolicy"] = "Always"
    if options.proxy.hold_application:
        container["startupProbe"] = _probe(period=1, failures=_STARTS_WITHIN, timeout=1)
    return container


def build_proxy_container(
    options: SidecarOptions, settings: InjectionSettings, *, bootstrap: str, workload: str
) -> Json:
    """What sidecars and gateways have in common."""
    return {
        "name": SIDECAR,
        "image": options.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["envoy"],
        "args": _arguments(options, bootstrap),
        "env": [
            *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in _FIELDS),
            {"name": "WORKLOAD_NAME", "value": workload},
        ],
        "ports": [{"containerPort": METRICS, "name": "http-envoy-prom", "protocol": "TCP"}],
        "readinessProbe": _probe(
            period=options.ready_period, failures=options.ready_failures, timeout=3, delay=options.ready_delay
        ),
        "resources": _resources(options.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsGroup": SIDECAR_USER,
            "runAsNonRoot": True,
            "runAsUser": SIDECAR_USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"mountPath": SECRETS_FOLDER, "name": SECRETS_VOLUME, "readOnly": True},
            {"mountPath": RUN_FOLDER, "name": RUN_VOLUME},
        ],
    }


def build_volumes(settings: InjectionSettings) -> list[Json]:
    """The token, the roots and where the token is, replaced as one; and room for the admin socket."""
    token, roots, place = (path.rpartition("/")[2] for path in (TOKEN_FILE, "root.pem", "token-secret.json"))
    sources: Sequence[Json] = (
        {
            "serviceAccountToken": {
                "audience": AUDIENCE,
                "expirationSeconds": round(settings.token_life.total_seconds()),
                "path": token,
            }
        },
        {"configMap": {"name": settings.root_config_map, "items": [{"key": "root.pem", "path": roots}]}},
        {
            "downwardAPI": {
                "items": [{"fieldRef": {"fieldPath": f"metadata.annotations['{TOKEN_SECRET}']"}, "path": place}]
            }
        },
    )
    return [
        {"name": SECRETS_VOLUME, "projected": {"sources": list(sources)}},
        {"name": RUN_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]


def token_secret() -> str:
    """The value of the annotation that becomes the file beside the token."""
    return json.dumps(json.loads(token_secret_document(TOKEN_FILE)), separators=(",", ":"))


def _arguments(options: SidecarOptions, bootstrap: str) -> list[str]:
    arguments = ["--config-yaml", bootstrap, "--log-level", options.log_level]
    if options.component_log_level:
        arguments += ["--component-log-level", options.component_log_level]
    if options.proxy.concurrency:
        arguments += ["--concurrency", str(options.proxy.concurrency)]
    drain = round(options.proxy.drain.total_seconds())
    # Nothing replaces this process in place; shared memory for that would need a writable file system.
    return [*arguments, "--disable-hot-restart", "--drain-time-s", str(drain), "--drain-strategy", "immediate"]


def _probe(*, period: int, failures: int, timeout: int, delay: int = 0) -> Json:
    probe: Json = {
        "failureThreshold": failures,
        "httpGet": {"path": READY_PATH, "port": READINESS, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
    }
    return probe | ({"initialDelaySeconds": delay} if delay else {})


def _resources(resources: Resources) -> Json:
    requests = {"cpu": resources.cpu, "memory": resources.memory}
    limits = {"cpu": resources.cpu_limit, "memory": resources.memory_limit}
    return {
        kind: given
        for kind, amounts in (("requests", requests), ("limits", limits))
        if (given := {name: amount for name, amount in amounts.items() if amount})
    }
