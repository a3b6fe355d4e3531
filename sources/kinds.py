"""What a kind of object is to us: its names, how it is parsed, and the parsed object with its place.

A kind's file ends with `KIND = Kind(...)` (or several); `registry` lists them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from model.problems import ObjectRef, Position
from sources.fields import Fields
from sources.yaml_documents import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """An object's metadata. `created` is an aware instant, None where the manifest does not say."""

    ref: ObjectRef
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None
    uid: str = ""
    owner: str = ""
    """The name of the controller in `ownerReferences`, '' for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind. `parse` gets the whole object (metadata is read already) and answers its value, None after an error.

    `group` is '' for Kubernetes' core. `strict`: an unknown field is an error, else a warning. `parse` need not
    call `finish()` on the object it is handed, only on what it takes out of it. `parse_stand_in` answers the value to
    enforce while an object is refused and no good version of it is known (ADR 11), None for nothing; what it files is
    not shown.
    """

    group: str
    versions: tuple[str, ...]
    kind: str
    parse: Callable[[Fields, Metadata], object | None]
    namespaced: bool = True
    strict: bool = True
    parse_stand_in: Callable[[Fields, Metadata], object | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Object:
    """A parsed object and where it stands. `value` is of `model`, or of `sources` for kinds only a mesh is made of.

    `stand_in`: the object was refused, and `value` is `Kind.parse_stand_in`'s.
    """

    ref: ObjectRef
    position: Position
    value: object
    root: Node
    metadata: Metadata
    stand_in: bool = False

    def where(self, field: str = "") -> Position:
        """The place of a field (`spec.http[0].route[1].weight`), or of the deepest part of the path that is there."""
        node, line = self.root, self.position.line
        for name, index, quoted in _STEPS.findall(field):
            found: Node | None = None
            if index:
                if isinstance(node.value, tuple) and int(index) < len(node.value):
                    found = node.value[int(index)]
            elif isinstance(node.value, Mapping):
                found = node.value.get(name or quoted)
            if found is None:
                break
            node, line = found, found.line
        return Position(file=self.position.file, line=line)

    def find(self, field: str) -> Node | None:
        """The node of a field, None if it is not there."""
        node: Node | None = self.root
        for name, index, quoted in _STEPS.findall(field):
            held = node.value if node is not None else None
            if index and isinstance(held, tuple):
                node = held[int(index)] if int(index) < len(held) else None
            else:
                node = held.get(name or quoted) if isinstance(held, Mapping) else None
        return node


_STEPS = re.compile(r"([^.\[\]]+)|\[(?:([0-9]+)|'([^']*)')\]")
