"""The user's mistakes as values: what is wrong, where, and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a problem is. ERROR: the object, or the part named, is not in force."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ObjectRef:
    """The name of one object. `namespace` is empty for cluster-wide kinds. Prints as `Kind/namespace/name`."""

    kind: str
    namespace: str = ""
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Position:
    """A place in a manifest. `line` counts from 1; 0 where only the file is known."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing a user should mend.

    `code` is one of `model.problem_codes`, `field` the path within the object as one would write it
    (`spec.http[0].route[1].weight`), empty where the whole object is meant. `object` and `position`
    are None where unknown (a file that is no YAML has no object; an object of an API server no file).
    """

    severity: Severity
    code: str
    message: str
    fix: str
    object: ObjectRef | None = None
    position: Position | None = None
    field: str = ""
