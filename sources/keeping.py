"""Values that did not change keep their identity, so that "did it change" is `is` for whoever comes after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def keep_equal(old: Mapping[Key, Value], new: dict[Key, Value]) -> Mapping[Key, Value]:
    """`new` with each value that equals its old one replaced by that; `old` itself if they are equal throughout.

    The order of the keys counts.
    """
    for key, value in new.items():
        before = old.get(key)
        if before is not None and before is not value and before == value:
            new[key] = before
    if len(old) != len(new):
        return new
    pairs = zip(old.items(), new.items(), strict=True)
    return old if all(a is b and left == right for (left, a), (right, b) in pairs) else new


def same_objects(old: tuple[object, ...], new: tuple[object, ...]) -> bool:
    """Whether both hold the very same objects in the same order."""
    return len(old) == len(new) and all(a is b for a, b in zip(old, new, strict=True))
