"""What differs between two snapshots, in the words in which a `View` records what it read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from itertools import compress
from operator import is_, is_not
from typing import TypeAlias

from model.mesh import Mesh
from model.recorded_reads import Key

Slot: TypeAlias = tuple[str, Key]
"""A question and its argument: a key of `View.reads`."""

_KEYS_AS_QUESTIONS = {"services": "hosts", "hosts_on_port": "ports", "virtual_services": "routed_hosts"}
"""The questions that are about the keys of a mapping alone."""


def changed_slots(before: Mesh, after: Mesh) -> frozenset[Slot]:
    """Every question that the two snapshots answer differently. What they share as one object is not looked into."""
    changed: set[Slot] = set()
    for field in fields(Mesh):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if old is new:
            continue
        if not isinstance(old, Mapping) or not isinstance(new, Mapping):
            if old != new:
                changed.add((field.name, None))
            continue
        changed.update((field.name, key) for key in _changed_keys(old, new))
        if field.name in _KEYS_AS_QUESTIONS and tuple(old) != tuple(new):
            changed.add((_KEYS_AS_QUESTIONS[field.name], None))
    return frozenset(changed)


def _changed_keys(old: Mapping[Key, object], new: Mapping[Key, object]) -> set[Key]:
    # Mostly a few values of many thousands: they are found by what runs as C.
    if len(old) == len(new) and all(map(is_, old, new)):
        others = compress(new, map(is_not, old.values(), new.values()))
        return {key for key in others if old[key] != new[key]}
    others = compress(new, map(is_not, map(old.get, new), new.values()))
    changed = {key for key in others if old.get(key) != new[key]}
    changed.update(old.keys() - new.keys())
    return changed
