"""Probes of the application, turned to the sidecar, which still tells the application's own health.

A probe of a kind that works as it is (`exec`), or that asks somebody else than the pod (`host`), is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import quote

from injector.names import SIDECAR
from injector.pod_values import Json, containers_of
from translators.app_probes import NAME, AppProbe, GrpcAppProbe, HttpAppProbe, TcpAppProbe
from translators.well_known_ports import PROBES as PROBE_PORT

_ENDINGS: Final = {"readinessProbe": "readyz", "livenessProbe": "livez", "startupProbe": "startupz"}
_CHECKS: Final = ("httpGet", "tcpSocket", "grpc")
_SAFE: Final = "/?:@!$&'()*+,;=-._~%[]"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]|[\ud800-\udfff]")
_MAX_INTERVAL: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class RewrittenProbe:
    """One probe: whose it is, what the pod says from now on, and what the sidecar must know."""

    container: str
    field: str
    probe: Json
    answered: AppProbe


def rewrite_probes(pod: Json) -> tuple[RewrittenProbe, ...]:
    """The probes that change, in the order of the pod. The pod itself is not changed."""
    return tuple(_rewritten(pod))


def restore_probe(container: Json, field: str, before: Json) -> None:
    """Asks the application again as `before` did, unless the probe has become another one since it was rewritten."""
    now = container.get(field) or {}
    if (now.get("httpGet") or {}).get("path") == _path(container, field):
        checks = {name: value for name, value in before.items() if name in _CHECKS}
        container[field] = {name: value for name, value in now.items() if name not in _CHECKS} | checks


def _rewritten(pod: Json) -> Iterator[RewrittenProbe]:
    for kind in ("initContainers", "containers"):
        for container in containers_of(pod, kind):
            if container["name"] == SIDECAR:
                continue
            for field in _ENDINGS:
                probe: Json = container.get(field) or {}
                path = _path(container, field)
                answered = _answered(probe, path, container) if probe else None
                if answered is not None:
                    changed = {name: value for name, value in probe.items() if name not in _CHECKS}
                    get = {"path": path, "port": PROBE_PORT, "scheme": "HTTP"}
                    headers = (probe.get("httpGet") or {}).get("httpHeaders")
                    changed["httpGet"] = get | ({"httpHeaders": headers} if headers else {})
                    yield RewrittenProbe(container=container["name"], field=field, probe=changed, answered=answered)


def _path(container: Json, field: str) -> str:
    return f"/{NAME}/{container['name']}/{_ENDINGS[field]}"


def _answered(probe: Json, path: str, container: Json) -> AppProbe | None:
    timeout = timedelta(seconds=probe.get("timeoutSeconds") or 1)
    interval = _interval(timedelta(seconds=probe.get("periodSeconds") or 10))
    if get := probe.get("httpGet"):
        port = _number(get.get("port"), container)
        if port is None or get.get("host") or _CONTROL.search(get.get("path") or ""):
            return None
        tls = get.get("scheme") == "HTTPS"
        return HttpAppProbe(path=path, port=port, app_path=_app_path(get.get("path") or ""), timeout=timeout, tls=tls)
    if socket := probe.get("tcpSocket"):
        port = _number(socket.get("port"), container)
        if port is None or socket.get("host"):
            return None
        return TcpAppProbe(path=path, port=port, timeout=timeout, interval=interval)
    if grpc := probe.get("grpc"):
        port = _number(grpc.get("port"), container)
        if port is None:
            return None
        service = grpc.get("service") or ""
        return GrpcAppProbe(path=path, port=port, timeout=timeout, interval=interval, service=service)
    return None


def _interval(period: timedelta) -> timedelta:
    """Twice a period, so that the kubelet's question is answered with something fresh; at least once in ten seconds."""
    return max(timedelta(seconds=1), min(period / 2, _MAX_INTERVAL))


def _app_path(path: str) -> str:
    """As a kubelet would ask: from the root, without a fragment, what no URL may hold encoded."""
    without = quote(path.partition("#")[0], safe=_SAFE)
    return without if without.startswith("/") else f"/{without}"


def _number(port: object, container: Json) -> int | None:
    """The port's number; of a name that the container does not declare, and of no port, None."""
    if isinstance(port, str) and port.isascii() and port.isdigit() and len(port) <= 5:
        port = int(port)
    if isinstance(port, str):
        port = next((own.get("containerPort") for own in container.get("ports") or () if own.get("name") == port), None)
    return port if isinstance(port, int) and not isinstance(port, bool) and 1 <= port <= 65535 else None
