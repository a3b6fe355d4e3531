"""Names of pods as Kubernetes makes them: `users-v1-7c9d8f6b5d-x2x4z`, `web-0`."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from enum import Enum
from typing import Final

_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own choice: no vowels, no 0, 1, 3, so that chance spells no words."""

_REVISION_LENGTH: Final = 10
_SUFFIX_LENGTH: Final = 5
_LONGEST: Final = 63


def revision_of(value: object) -> str:
    """Ten letters that differ when the value does: a template's hash. The same in every process."""
    digest = hashlib.sha256(json.dumps(_to_plain(value)).encode()).digest()
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:_REVISION_LENGTH])


def replica_name(workload: str, revision: str, *, chance: random.Random) -> str:
    """The name of one of a Deployment's pods, at most 63 letters, so that it is a host name too."""
    suffix = "".join(chance.choice(_LETTERS) for _ in range(_SUFFIX_LENGTH))
    return f"{f'{workload}-{revision}-'[: _LONGEST - _SUFFIX_LENGTH]}{suffix}"


def ordinal_name(workload: str, ordinal: int) -> str:
    """The name of a StatefulSet's pod."""
    return f"{workload}-{ordinal}"


def _to_plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, *(_to_plain(getattr(value, field.name)) for field in fields(value))]
    if isinstance(value, Mapping):
        return {str(key): _to_plain(value[key]) for key in sorted(value)}
    if isinstance(value, tuple | list):
        return [_to_plain(item) for item in value]
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"no revision of a {type(value).__name__}")
