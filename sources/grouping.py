"""Values in groups, kept up to date: only the groups of values that came, went or changed are put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress
from operator import is_, is_not
from typing import Any, TypeVar

Name = TypeVar("Name")
Key = TypeVar("Key", bound=Any)
Value = TypeVar("Value")

Groups = Mapping[Key, tuple[Value, ...]]


def differences(before: Mapping[Name, Value], after: Mapping[Name, Value]) -> tuple[list[Value], list[Value]]:
    """What is gone and what has come; a value that changed is in both. Compared by identity, by what runs as C."""
    if before is after:
        return [], []
    if len(before) == len(after) and all(map(is_, before, after)):
        # Mostly so: one value was put in another's place.
        others = [*map(is_not, before.values(), after.values())]
        return list(compress(before.values(), others)), list(compress(after.values(), others))
    gone = compress(before.values(), map(is_not, map(after.get, before), before.values()))
    come = compress(after.values(), map(is_not, map(before.get, after), after.values()))
    return list(gone), list(come)


def regroup(
    groups: Groups[Key, Value],
    gone: Sequence[Value],
    come: Sequence[Value],
    *,
    keys: Callable[[Value], Iterable[Key]],
    order: Callable[[Value], Any],
) -> Groups[Key, Value]:
    """The groups without what is gone, and with what has come: by sorted keys, each in its `order`.

    A group with the same members as before is the same object, and so is the whole if all are. `keys` gives each once.
    """
    touched: dict[Key, list[Value]] = {}
    for value in gone:
        for key in keys(value):
            touched.setdefault(key, [*groups[key]]).remove(value)
    for value in come:
        for key in keys(value):
            touched.setdefault(key, [*groups.get(key, ())]).append(value)
    fresh = {key: tuple(sorted(values, key=order)) for key, values in touched.items()}
    fresh = {key: values for key, values in fresh.items() if values != groups.get(key, ())}
    if not fresh:
        return groups
    whole = {**groups, **fresh}
    if all(fresh.values()) and len(whole) == len(groups):
        return whole
    return {key: whole[key] for key in sorted(whole) if whole[key]}
