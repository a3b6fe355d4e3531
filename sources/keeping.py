"""Values that did not change keep their identity, so that "did it change" is `is` for whoever comes after."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress
from operator import is_, is_not
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def keep_equal(old: Mapping[Key, Value], new: dict[Key, Value]) -> Mapping[Key, Value]:
    """`new` with each value that equals its old one replaced by that; `old` itself if they are equal throughout.

    The order of the keys counts.
    """
    if _is_same(old, new):
        return old
    for key in list(compress(new, map(is_not, map(old.get, new), new.values()))):
        before = old.get(key)
        if before is not None and before == new[key]:
            new[key] = before
    return old if _is_same(old, new) else new


def _is_same(old: Mapping[Key, Value], new: Mapping[Key, Value]) -> bool:
    """Mostly so, and asked of every pod at every change of anything: by what runs as C."""
    return len(old) == len(new) and all(map(is_, old.values(), new.values())) and tuple(old) == tuple(new)


def same_objects(old: tuple[object, ...], new: tuple[object, ...]) -> bool:
    """Whether both hold the very same objects in the same order."""
    return len(old) == len(new) and all(map(is_, old, new))
