"""What an injected pod remembers of itself, so that injecting it again begins with what it was.

Every change that is not an addition under a name of ours is in the record: probes, preStop hooks, the grace period, a
gateway's own container. So `original_pod` undoes an injection, by this version or an older one, and injecting twice
gives what injecting once gave.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from injector.drain import DEFAULT_GRACE, grace_seconds, remove_wait
from injector.names import ANNOTATIONS, CAPTURE, RECORD, SIDECAR, VOLUMES
from injector.pod_values import PROBES, Json, MalformedPod, all_containers, annotations_of, check_depth, check_shape
from injector.probes import restore_probe

_MAX_RECORD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What was there before. `probes` are by container, then by field; `grace` in seconds, None if it was not given.

    `waits` are the containers that were given a preStop hook, `gateway` is a gateway's container before it was
    filled in, None of a sidecar.
    """

    revision: str
    probes: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    waits: tuple[str, ...] = ()
    grace: int | None = None
    gateway: Json | None = None


def write_record(record: Record) -> str:
    """The annotation's value: JSON, the same for the same record."""
    values: Json = {"revision": record.revision}
    if record.probes:
        values["probes"] = record.probes
    if record.waits:
        values |= {"waits": list(record.waits), "grace": record.grace}
    if record.gateway is not None:
        values["gateway"] = record.gateway
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


def original_pod(pod: Json) -> Json:
    """A copy of the pod as it was before it was injected; of one that was not, just a copy.

    What somebody has changed since then stays changed. Raises MalformedPod if its record is not one of ours.
    """
    original = copy.deepcopy(pod)
    text = annotations_of(original).get(RECORD)
    if text is None:
        return original
    record = _read(text)
    spec = original["spec"]
    for name in ANNOTATIONS:
        original["metadata"]["annotations"].pop(name, None)
    _prune(original["metadata"], "annotations")
    _drop(spec, "initContainers", (CAPTURE, SIDECAR))
    _drop(spec, "volumes", VOLUMES)
    waited = 0
    for _, container in all_containers(original):
        for field_name, before in record.probes.get(container["name"], {}).items():
            restore_probe(container, field_name, before)
        if container["name"] in record.waits:
            waited = max(waited, remove_wait(container))
    _restore_grace(original, record.grace, waited)
    if record.gateway is not None:
        spec["containers"] = [
            copy.deepcopy(record.gateway) if container["name"] == SIDECAR else container
            for container in spec.get("containers") or ()
        ]
    return check_shape(original)


def _restore_grace(pod: Json, before: int | None, waited: int) -> None:
    spec = pod["spec"]
    if not waited or grace_seconds(pod) != (DEFAULT_GRACE if before is None else before) + waited:
        return
    if before is None:
        del spec["terminationGracePeriodSeconds"]
    else:
        spec["terminationGracePeriodSeconds"] = before


def _read(text: str) -> Record:
    try:
        if len(text) > _MAX_RECORD_BYTES:
            raise ValueError("too long")
        values: Any = json.loads(text)
        check_depth(values, RECORD)
        record = Record(
            revision=values["revision"],
            probes=values.get("probes", {}),
            waits=tuple(values.get("waits", ())),
            grace=values.get("grace"),
            gateway=values.get("gateway"),
        )
        for fields in record.probes.values():
            if not fields.keys() <= set(PROBES) or not all(isinstance(probe, dict) for probe in fields.values()):
                raise ValueError("no probe")
        if record.grace is not None and type(record.grace) is not int:
            raise ValueError("no number")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise MalformedPod(f"metadata.annotations['{RECORD}']", "record of an injection") from None
    return record


def _drop(spec: Json, kind: str, names: tuple[str, ...]) -> None:
    if spec.get(kind):
        spec[kind] = [entry for entry in spec[kind] if entry["name"] not in names]
        _prune(spec, kind)


def _prune(holder: Json, name: str) -> None:
    """An empty list or mapping may as well not be there."""
    if not holder.get(name):
        holder.pop(name, None)
