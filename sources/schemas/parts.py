"""Schemas of single fields, as a CustomResourceDefinition takes them (OpenAPI v3, structural).

A schema never refuses what the parser takes: it is the first, coarse look. Bounds and enumerations come from the
parsers' own constants. Where a rule would be evaluated very often, `oneOf` stands in for CEL, which is charged for the
largest object that the bounds allow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

Schema: TypeAlias = Mapping[str, object]
Rule: TypeAlias = tuple[str, str]
"""A CEL expression about `self`, and what to tell whoever breaks it."""

MAX_DURATION = 200
"""Characters; the parser's bound too."""
_NUMBER = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)"
_DURATION = rf"^[+-]?(0|({_NUMBER}(ns|us|µs|μs|ms|s|m|h))+)$"
_NOT_BUILT = "Not built yet: accepted and reported."


def text(*, least: int = 0, most: int | None = None, pattern: str = "", rules: Iterable[Rule] = ()) -> Schema:
    """A text of `least` to `most` characters; `pattern` is RE2's."""
    return {
        "type": "string",
        **({"minLength": least} if least else {}),
        **({"maxLength": most} if most is not None else {}),
        **({"pattern": pattern} if pattern else {}),
        **_rules(rules),
    }


def integer(minimum: int | None = None, maximum: int | None = None) -> Schema:
    """A whole number within bounds, both included."""
    return {
        "type": "integer",
        **({"format": "int64"} if maximum is None or maximum >= 1 << 31 else {}),
        **({"minimum": minimum} if minimum is not None else {}),
        **({"maximum": maximum} if maximum is not None else {}),
    }


def number(minimum: float | None = None, maximum: float | None = None) -> Schema:
    """A number within bounds, both included."""
    return {
        "type": "number",
        "format": "double",
        **({"minimum": minimum} if minimum is not None else {}),
        **({"maximum": maximum} if maximum is not None else {}),
    }


def boolean() -> Schema:
    return {"type": "boolean"}


def choice(values: Iterable[object]) -> Schema:
    """One of some texts, as written."""
    return {"type": "string", "enum": [str(value) for value in values]}


def duration(at_least: str = "") -> Schema:
    """A span in Go's syntax, of at least `at_least` (`1ms`) if that is given."""
    rules = [(f"duration(self) >= duration('{at_least}')", f"must be at least {at_least}")] if at_least else []
    return text(most=MAX_DURATION + 1, pattern=_DURATION, rules=rules)


def items(each: Schema, *, least: int = 0, most: int | None = None, rules: Iterable[Rule] = ()) -> Schema:
    """A list."""
    return {
        "type": "array",
        "items": each,
        **({"minItems": least} if least else {}),
        **({"maxItems": most} if most is not None else {}),
        **_rules(rules),
    }


def by_key(each: Schema, *, most: int | None = None, rules: Iterable[Rule] = ()) -> Schema:
    """A mapping with keys of the user's own."""
    return {
        "type": "object",
        "additionalProperties": each,
        **({"maxProperties": most} if most is not None else {}),
        **_rules(rules),
    }


def record(
    fields: Mapping[str, Schema],
    *,
    required: Iterable[str] = (),
    at_most_one: Iterable[Iterable[str]] = (),
    least: int = 0,
    rules: Iterable[Rule] = (),
) -> Schema:
    """A mapping of known fields; `at_most_one` of each group may be there, `least` of all."""
    groups = [_at_most_one(tuple(group)) for group in at_most_one]
    needed = list(required)
    return {
        "type": "object",
        "properties": dict(fields),
        **({"required": needed} if needed else {}),
        **({"minProperties": least} if least else {}),
        **(groups[0] if len(groups) == 1 else {"allOf": groups} if groups else {}),
        **_rules(rules),
    }


def kept_record(
    fields: Mapping[str, Schema],
    *,
    required: Iterable[str] = (),
    least: int = 0,
    rules: Iterable[Rule] = (),
) -> Schema:
    """A mapping of known fields whose unknown ones are kept, so that the parser sees and refuses them.

    For policies: a rule without its misspelt `from` would admit everybody, a selector without labels select everything.
    """
    found = record(fields, required=required, least=least, rules=rules)
    return {**found, "x-kubernetes-preserve-unknown-fields": True}


def or_null(schema: Schema) -> Schema:
    """A value in a mapping of the user's own keys, or null, which an API server would otherwise drop with its key.

    Where a key less means more (requests that match, pods that are selected), the parser has to see and refuse it.
    """
    return {**schema, "nullable": True}


def unbuilt(schema: Schema) -> Schema:
    """A field of Istio's that Heddle does not do yet: it is kept, and the parser reports it."""
    return {"description": _NOT_BUILT, **schema}


def exactly_one(*names: str) -> Rule:
    """A rule for a record of which these are fields."""
    count = ", ".join(f"has(self.{name})" for name in names)
    return f"[{count}].filter(x, x).size() == 1", f"exactly one of {', '.join(names)} must be there"


def at_most(*names: str) -> Rule:
    """A rule for a record of which these are fields."""
    count = ", ".join(f"has(self.{name})" for name in names)
    return f"[{count}].filter(x, x).size() <= 1", f"{', '.join(names)} exclude each other"


def some_of(*names: str) -> Rule:
    """A rule for a record of which these are fields."""
    return " || ".join(f"has(self.{name})" for name in names), f"at least one of {', '.join(names)} must be there"


def _at_most_one(names: tuple[str, ...]) -> dict[str, object]:
    present = [{"required": [name]} for name in names]
    return {"oneOf": [{"not": {"anyOf": present}}, *present]}


def _rules(rules: Iterable[Rule]) -> dict[str, object]:
    found = [{"rule": rule, "message": message} for rule, message in rules]
    return {"x-kubernetes-validations": found} if found else {}
