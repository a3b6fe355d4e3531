"""Values of a chart: files and `--set` on top of its defaults, as Helm joins them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

Values: TypeAlias = dict[str, Any]

_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,17}")
_STEP: Final = re.compile(r"((?:[^.\[\]=,\\]|\\.)+)|\[([0-9]{1,4})\]")
_CONSTANTS: Final = {"true": True, "false": False, "null": None}


def merged(below: Mapping[str, Any], above: Mapping[str, Any], *, keep_null: bool = False) -> Values:
    """`above` wins; mappings are joined, lists are not. A null takes away what is below it.

    `keep_null`: it stays, to take away what is below both.
    """
    joined = dict(below)
    for name, value in above.items():
        held = joined.get(name)
        if value is None and not keep_null:
            joined.pop(name, None)
        elif isinstance(value, Mapping):
            joined[name] = merged(held if isinstance(held, Mapping) else {}, value, keep_null=keep_null)
        else:
            joined[name] = value
    return joined


def parse_assignments(text: str, values: Mapping[str, Any]) -> Values:
    r"""`values` after `--set TEXT`: `a.b=c,list[0]=d,names={x,y}`; `\` makes the next character an ordinary one.

    true, false, null and integers are themselves, everything else is text. Raises ValueError.
    """
    changed: Values = _copied(values)
    for part in _split(text):
        path, equals, value = _at_equals(part)
        if not equals:
            raise ValueError(f"--set {part!r}: write NAME=VALUE, such as replicas=3")
        _put(changed, _steps(path, part), _parse_value(value))
    return changed


def _parse_value(text: str) -> object:
    if text.startswith("{") and text.endswith("}"):
        inner = text[1:-1]
        return [_parse_scalar(one) for one in _split(inner)] if inner else []
    return _parse_scalar(text)


def _parse_scalar(text: str) -> object:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return re.sub(r"\\(.)", r"\1", text)


def _steps(path: str, part: str) -> list[str | int]:
    steps: list[str | int] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            raise ValueError(f"--set {part!r}: {path!r} names no value")
        steps.append(re.sub(r"\\(.)", r"\1", match[1]) if match[1] is not None else int(match[2]))
        at = match.end()
        if path[at : at + 1] == ".":
            at += 1
            if at == len(path):
                raise ValueError(f"--set {part!r}: {path!r} names no value")
    if not steps or isinstance(steps[0], int):
        raise ValueError(f"--set {part!r}: {path!r} names no value")
    return steps


def _put(values: Any, steps: list[str | int], value: object) -> None:
    step, *rest = steps
    fresh: Any = [] if rest and isinstance(rest[0], int) else {}
    if isinstance(step, int):
        if not isinstance(values, list):
            raise ValueError(f"--set: [{step}] is of something that is no list")
        values += [None] * (step + 1 - len(values))
        held = values[step]
    else:
        if not isinstance(values, dict):
            raise ValueError(f"--set: {step} is of something that has no fields")
        held = values.get(step)
    if rest:
        values[step] = held if isinstance(held, type(fresh)) else fresh
        _put(values[step], rest, value)
    else:
        values[step] = value


def _split(text: str) -> list[str]:
    """At the commas that are neither escaped nor in braces."""
    parts, depth, current, at = [], 0, "", 0
    while at < len(text):
        character = text[at]
        if character == "\\" and at + 1 < len(text):
            current += text[at : at + 2]
            at += 2
            continue
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
        at += 1
    return [*parts, current]


def _at_equals(part: str) -> tuple[str, str, str]:
    match = re.match(r"((?:[^=\\]|\\.)*)(=?)(.*)", part, re.DOTALL)
    assert match is not None
    return match[1], match[2], match[3]


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copied(one) for name, one in value.items()}
    return [_copied(one) for one in value] if isinstance(value, list) else value
