"""The difference of two JSON values as a JSON patch (RFC 6902)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from injector.pod_values import Json


def build_json_patch(before: Json, after: Json) -> list[Json]:
    """Operations that turn `before` into `after`; empty if they are equal."""
    return list(_differences("", before, after))


def _differences(path: str, before: Any, after: Any) -> Iterator[Json]:
    if _same(before, after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before:
            if name not in after:
                yield {"op": "remove", "path": f"{path}/{_escaped(name)}"}
        for name, value in after.items():
            step = f"{path}/{_escaped(name)}"
            if name in before:
                yield from _differences(step, before[name], value)
            else:
                yield {"op": "add", "path": step, "value": value}
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differences(f"{path}/{number}", old, new)
    else:
        yield {"op": "replace", "path": path, "value": after}


def _same(before: Any, after: Any) -> bool:
    """Equal, and not just to Python, to whom 1 is True."""
    if isinstance(before, bool) is not isinstance(after, bool):
        return False
    return not isinstance(before, dict | list) and not isinstance(after, dict | list) and bool(before == after)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
