"""Pods as plain JSON, and what of their shape everything else here relies on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
"""A JSON object. Pods come and go as JSON and have far more fields than we know: what we do not touch is kept."""

PROBES = ("readinessProbe", "livenessProbe", "startupProbe")

_MAX_DEPTH = 64


class MalformedPod(ValueError):
    """A pod that no API server would have passed on. `field` is the path of what is wrong."""

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field} is no {expected}")
        self.field = field
        self.expected = expected


def check_depth(value: object, field: str) -> None:
    """Raises MalformedPod for what is nested deeper than any pod, before something follows it all the way down."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            item
            for holder in level
            if isinstance(holder, dict | list)
            for item in (holder.values() if isinstance(holder, dict) else holder)
        ]
        if not level:
            return
    raise MalformedPod(field, f"pod: it is nested deeper than {_MAX_DEPTH} levels")


def check_shape(pod: object) -> Json:
    """The same pod, if every part that is read here has the type it should. Raises MalformedPod."""
    check_depth(pod, "the pod")
    checked = _mapping(pod, "the pod")
    metadata = _mapping(checked.get("metadata") or {}, "metadata")
    for name in ("labels", "annotations"):
        for key, value in _mapping(metadata.get(name) or {}, f"metadata.{name}").items():
            _text(value, f"metadata.{name}['{key}']")
    spec = _mapping(checked.get("spec"), "spec")
    _text(spec.get("restartPolicy") or "", "spec.restartPolicy")
    _text(_mapping(spec.get("os") or {}, "spec.os").get("name") or "", "spec.os.name")
    _mapping(spec.get("securityContext") or {}, "spec.securityContext")
    _mapping(spec.get("nodeSelector") or {}, "spec.nodeSelector")
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and not _is_number(grace):
        raise MalformedPod("spec.terminationGracePeriodSeconds", "number")
    for number, volume in enumerate(_list(spec.get("volumes"), "spec.volumes")):
        _text(_mapping(volume, f"spec.volumes[{number}]").get("name"), f"spec.volumes[{number}].name")
    for kind in ("initContainers", "containers"):
        for number, container in enumerate(_list(spec.get(kind), f"spec.{kind}")):
            _check_container(container, f"spec.{kind}[{number}]")
    return checked


def annotations_of(pod: Json) -> Mapping[str, str]:
    """A pod's annotations, empty if it has none."""
    return (pod.get("metadata") or {}).get("annotations") or {}


def labels_of(pod: Json) -> Mapping[str, str]:
    """A pod's labels, empty if it has none."""
    return (pod.get("metadata") or {}).get("labels") or {}


def containers_of(pod: Json, kind: str = "containers") -> list[Json]:
    """The containers in one of a pod's two lists, which is `containers` or `initContainers`."""
    return list(pod["spec"].get(kind) or [])


def all_containers(pod: Json) -> Iterator[tuple[str, Json]]:
    """Every container with its path."""
    for kind in ("initContainers", "containers"):
        for number, container in enumerate(containers_of(pod, kind)):
            yield f"spec.{kind}[{number}]", container


def _check_container(container: object, path: str) -> None:
    checked = _mapping(container, path)
    _text(checked.get("name"), f"{path}.name")
    _text(checked.get("image") or "", f"{path}.image")
    _mapping(checked.get("securityContext") or {}, f"{path}.securityContext")
    _mapping(checked.get("lifecycle") or {}, f"{path}.lifecycle")
    for name in ("env", "volumeMounts"):
        for number, entry in enumerate(_list(checked.get(name), f"{path}.{name}")):
            _text(_mapping(entry, f"{path}.{name}[{number}]").get("name"), f"{path}.{name}[{number}].name")
    for number, port in enumerate(_list(checked.get("ports"), f"{path}.ports")):
        _mapping(port, f"{path}.ports[{number}]")
    for name in PROBES:
        probe = _mapping(checked.get(name) or {}, f"{path}.{name}")
        for field in ("periodSeconds", "timeoutSeconds"):
            if not _is_number(probe.get(field) or 0):
                raise MalformedPod(f"{path}.{name}.{field}", "number")
        for check in ("httpGet", "tcpSocket", "grpc"):
            _mapping(probe.get(check) or {}, f"{path}.{name}.{check}")
        _text((probe.get("httpGet") or {}).get("path") or "", f"{path}.{name}.httpGet.path")
        _text((probe.get("grpc") or {}).get("service") or "", f"{path}.{name}.grpc.service")


def _mapping(value: object, field: str) -> Json:
    if not isinstance(value, dict):
        raise MalformedPod(field, "mapping")
    return value


def _list(value: object, field: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise MalformedPod(field, "list")
    return value


def _text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise MalformedPod(field, "text")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31
