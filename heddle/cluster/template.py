"""Renders templates (`template_syntax`) as Helm would: the same values, the same text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, assert_never

import yaml

from heddle.cluster.template_syntax import (
    ROOT,
    Branch,
    Call,
    Expression,
    Literal,
    Lookup,
    Node,
    Output,
    Range,
    Template,
    TemplateError,
    Text,
)

Value: TypeAlias = Any
"""What YAML and JSON have: text, numbers, truth, None, lists, and mappings by text."""

_DEEPEST: Final = 50


def render(templates: Mapping[str, Template], name: str, data: Mapping[str, Value]) -> str:
    """The text of one template. `templates` by name, `data` is its dot. Raises TemplateError."""
    return _Rendering(templates).render(name, data)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    dot: Value
    variables: Mapping[str, Value]


class _Rendering:
    def __init__(self, templates: Mapping[str, Template]) -> None:
        self._templates = templates
        self._depth = 0
        self._at = ("", 0)

    def render(self, name: str, data: Value) -> str:
        template = self._templates.get(name)
        if template is None:
            raise self._error(f"there is no template {name!r}")
        if self._depth >= _DEEPEST:
            raise self._error(f"{name} includes itself")
        before, self._depth = self._at, self._depth + 1
        scope = _Scope(dot=data, variables={ROOT: data})
        text = self._nodes(template.nodes, scope, template.file)
        self._at, self._depth = before, self._depth - 1
        return text

    def _nodes(self, nodes: Sequence[Node], scope: _Scope, file: str) -> str:
        return "".join(self._node(node, scope, file) for node in nodes)

    def _node(self, node: Node, scope: _Scope, file: str) -> str:
        match node:
            case Text():
                return node.text
            case Output():
                self._at = (file, node.line)
                return self._text(self._value(node.value, scope))
            case Branch():
                self._at = (file, node.line)
                value = self._value(node.condition, scope)
                if is_empty(value):
                    return self._nodes(node.otherwise, scope, file)
                inner = _Scope(dot=value, variables=scope.variables) if node.moves_dot else scope
                return self._nodes(node.body, inner, file)
            case Range():
                self._at = (file, node.line)
                return self._range(node, scope, file)
            case _:
                assert_never(node)

    def _range(self, node: Range, scope: _Scope, file: str) -> str:
        items = self._value(node.items, scope)
        if is_empty(items):
            return self._nodes(node.otherwise, scope, file)
        if isinstance(items, Mapping):
            pairs = sorted(items.items())
        elif isinstance(items, list):
            pairs = list(enumerate(items))
        else:
            raise self._error(f"range goes through no {_kind(items)}")
        written = []
        for key, value in pairs:
            named = {name: held for name, held in ((node.key, key), (node.value, value)) if name}
            inner = _Scope(dot=value, variables={**scope.variables, **named})
            written.append(self._nodes(node.body, inner, file))
        return "".join(written)

    def _value(self, expression: Expression, scope: _Scope) -> Value:
        match expression:
            case Literal():
                return expression.value
            case Lookup():
                return self._lookup(expression, scope)
            case Call():
                return self._call(expression, scope)
            case _:
                assert_never(expression)

    def _lookup(self, lookup: Lookup, scope: _Scope) -> Value:
        if lookup.variable and lookup.variable not in scope.variables:
            raise self._error(f"there is no variable {lookup.variable}")
        value = scope.variables[lookup.variable] if lookup.variable else scope.dot
        for at, name in enumerate(lookup.path):
            if not isinstance(value, Mapping):
                path = ".".join(("", *lookup.path[:at]))
                raise self._error(f"{path} is a {_kind(value)} and has no {name}")
            value = value.get(name)
        return value

    def _call(self, call: Call, scope: _Scope) -> Value:
        if call.function in ("and", "or"):
            # Whatever decides is the result; what comes after it is not looked at.
            value = None
            for argument in call.arguments:
                value = self._value(argument, scope)
                if is_empty(value) == (call.function == "and"):
                    break
            return value
        arguments = [self._value(argument, scope) for argument in call.arguments]
        if call.function == "include":
            name, data = self._two(arguments)
            return self.render(name, data)
        function = _FUNCTIONS.get(call.function)
        if function is None:
            raise self._error(f"{call.function} is beyond what charts here may use")
        try:
            return function(*arguments)
        except (TypeError, ValueError) as error:
            raise self._error(f"{call.function}: {error}") from None

    def _two(self, arguments: Sequence[Value]) -> tuple[str, Value]:
        if len(arguments) != 2 or not isinstance(arguments[0], str):
            raise self._error("include takes a name and a dot")
        return arguments[0], arguments[1]

    def _text(self, value: Value) -> str:
        try:
            return to_text(value)
        except ValueError as error:
            raise self._error(str(error)) from None

    def _error(self, text: str) -> TemplateError:
        file, line = self._at
        return TemplateError(f"{file}:{line}: {text}")


def is_empty(value: Value) -> bool:
    """What Go's templates take for false."""
    return value is None or value is False or value in (0, "") or (isinstance(value, Mapping | list) and not value)


def to_text(value: Value) -> str:
    """As an action prints it; what is not there is nothing. Raises ValueError for lists and mappings."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str() | int():
            return str(value)
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
        case _:
            raise ValueError(f"a {_kind(value)} is no text; toYaml makes one of it")


def _kind(value: Value) -> str:
    names = ((bool, "truth value"), (str, "text"), (Mapping, "mapping"), (list, "list"), (type(None), "nothing"))
    return next((name for kind, name in names if isinstance(value, kind)), "number")


def _to_yaml(value: Value) -> str:
    written: str = yaml.safe_dump(value, default_flow_style=False, width=10**6, allow_unicode=True)
    return written.removesuffix("\n").removesuffix("\n...")


def _indented(count: int, text: str) -> str:
    return "\n".join(" " * count + line for line in text.split("\n"))


def _quoted(value: Value) -> str:
    return "" if value is None else json.dumps(to_text(value), ensure_ascii=False)


def _equal(one: Value, *others: Value) -> bool:
    kinds = {_kind(value) for value in (one, *others)}
    if len(kinds) > 1:
        raise ValueError(f"{' and '.join(sorted(kinds))} are not compared")
    return one in others


def _fail(text: str) -> Value:
    raise ValueError(text)


def _print_formatted(format_text: str, *values: Value) -> str:
    if format_text.count("%") != len(values) or format_text.count("%s") != len(values):
        raise ValueError("only %s, and one value for each")
    return format_text % tuple(map(to_text, values))


_FUNCTIONS: Final[Mapping[str, Callable[..., Value]]] = {
    "default": lambda fallback, value: fallback if is_empty(value) else value,
    "empty": is_empty,
    "eq": _equal,
    "fail": _fail,
    "gt": lambda one, other: int(one) > int(other),
    "hasPrefix": lambda prefix, text: text.startswith(prefix),
    "hasSuffix": lambda suffix, text: text.endswith(suffix),
    "int": int,
    "ne": lambda one, other: not _equal(one, other),
    "nindent": lambda count, text: "\n" + _indented(count, text),
    "not": is_empty,
    "printf": _print_formatted,
    "quote": _quoted,
    "sha256sum": lambda text: hashlib.sha256(text.encode()).hexdigest(),
    "toString": to_text,
    "toYaml": _to_yaml,
}
"""What templates may call, besides `include`, `and` and `or`. As in Go and in Sprig, for the arguments that we use."""
