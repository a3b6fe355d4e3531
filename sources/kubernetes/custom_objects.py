"""Objects of custom kinds as the source keeps them: parsed anew only when something of them differs that is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

import orjson

from model.problems import ObjectRef
from sources.kubernetes.events import Json
from sources.kubernetes.object_status import ObservedStatus, to_observed_status
from sources.kubernetes.objects import READ_METADATA, to_parsed
from sources.kubernetes.resources import Resource
from sources.manifests import Parsed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CustomObject:
    """`digest` is of all that parsing reads: the status and who wrote which field are not of it."""

    parsed: Parsed
    digest: bytes
    status: ObservedStatus


class CustomObjects:
    """Those of all kinds, by their file names."""

    def __init__(self) -> None:
        self._held: dict[str, CustomObject] = {}

    def read(self, resource: Resource, file: str, key: str, item: Json, mesh_config: ObjectRef) -> CustomObject:
        """The object in `item`; `parsed` is the very same as before if only its status changed. Keeps nothing."""
        digest = _digest(item)
        before = self._held.get(file)
        parsed = (
            before.parsed
            if before is not None and before.digest == digest
            else to_parsed(resource, key, item, mesh_config)
        )
        return CustomObject(parsed=parsed, digest=digest, status=to_observed_status(resource, item))

    def receive(
        self, values: Mapping[str, CustomObject | None]
    ) -> tuple[dict[str, Parsed | None], dict[ObjectRef, ObservedStatus | None]]:
        """Keeps what is there now, by file (None: gone). What differs for the store, and whose status was read."""
        files: dict[str, Parsed | None] = {}
        statuses: dict[ObjectRef, ObservedStatus | None] = {}
        for file, value in values.items():
            before = self._held.pop(file, None)
            if value is None:
                files[file] = None
                if before is not None:
                    statuses[before.status.ref] = None
                continue
            self._held[file] = value
            statuses[value.status.ref] = value.status
            if before is None or before.parsed is not value.parsed:
                files[file] = value.parsed
        return files, statuses


def _digest(item: Json) -> bytes:
    metadata = item["metadata"]
    read = {name: value for name, value in item.items() if name not in ("metadata", "status")}
    text = _spelled([read, {name: metadata.get(name) for name in READ_METADATA}])
    return blake2b(text, digest_size=16).digest()


def _spelled(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        # Half a surrogate pair, or a number without bound: as rare as the faster encoder's refusals are.
        return json.dumps(value).encode()
