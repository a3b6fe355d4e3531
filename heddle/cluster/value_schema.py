"""The part of JSON Schema that the chart's `values.schema.json` uses: what is wrong with values, in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
}
_ANNOTATIONS: Final = frozenset({"$schema", "title", "description"})
_KEYWORDS: Final = frozenset(
    {
        "type",
        "enum",
        "pattern",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "items",
        "minItems",
        "uniqueItems",
        "properties",
        "additionalProperties",
    }
)


def find_faults(schema: Mapping[str, Any], value: object, path: str = "") -> Iterator[str]:
    """What is wrong, one sentence each, empty if nothing is. `path` names the value.

    Raises ValueError if the schema uses what this does not know: then it would let through what Helm refuses.
    """
    unknown = schema.keys() - _KEYWORDS - _ANNOTATIONS
    if unknown:
        raise ValueError(f"the schema of {path or 'the values'} uses {', '.join(sorted(unknown))}")
    kind = schema.get("type")
    if kind is not None and not _is(kind, value):
        article = "an" if kind[0] in "aio" else "a"
        yield f"{path or 'the whole'} must be {article} {kind}, not {_shown(value)}"
        return
    allowed = schema.get("enum")
    if allowed is not None and not any(type(one) is type(value) and one == value for one in allowed):
        yield f"{path} must be one of {', '.join(map(_shown, allowed))}, not {_shown(value)}"
    match value:
        case bool() | None:
            pass
        case str():
            yield from _text_faults(schema, value, path)
        case int():
            lowest, highest = schema.get("minimum", value), schema.get("maximum", value)
            if not lowest <= value <= highest:
                yield f"{path} must be from {lowest} to {highest}, not {value}"
        case list():
            yield from _list_faults(schema, value, path)
        case dict():
            yield from _mapping_faults(schema, value, path)
        case _:
            # A float: no value of the chart is one, and `type` says so.
            pass


def _text_faults(schema: Mapping[str, Any], value: str, path: str) -> Iterator[str]:
    pattern = schema.get("pattern")
    if pattern is not None and re.search(pattern.replace("$", r"\Z"), value) is None:
        yield f"{path} must match {pattern}, not {_shown(value)}"
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        yield f"{path} has {len(value)} characters, which is too {'many' if value else 'few'}"


def _list_faults(schema: Mapping[str, Any], value: list[object], path: str) -> Iterator[str]:
    if len(value) < schema.get("minItems", 0):
        yield f"{path} must have at least {schema['minItems']} entries"
    if schema.get("uniqueItems") and len({repr(one) for one in value}) < len(value):
        yield f"{path} names something twice"
    for index, one in enumerate(value):
        yield from find_faults(schema.get("items", {}), one, f"{path}[{index}]")


def _mapping_faults(schema: Mapping[str, Any], value: dict[str, object], path: str) -> Iterator[str]:
    known = schema.get("properties", {})
    other = schema.get("additionalProperties", True)
    for name, one in value.items():
        place = f"{path}.{name}" if path else str(name)
        if name in known:
            yield from find_faults(known[name], one, place)
        elif other is False:
            yield f"{place} is no value of this chart{_nearest(str(name), known)}"
        elif isinstance(other, Mapping):
            yield from find_faults(other, one, place)


def _nearest(name: str, known: Mapping[str, object]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, 1)
    return f"; {close[0]} is" if close else f"; there are {', '.join(sorted(known))}" if known else ""


def _is(kind: str, value: object) -> bool:
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind]) and not (kind == "integer" and isinstance(value, bool))


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, bool) and value is not None else str(value).lower()
    return text if len(text) < 60 else text[:57] + "..."
