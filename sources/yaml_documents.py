"""Bytes to documents: YAML read as JSON would be, every node with its line.

Plain scalars mean what Kubernetes' own reader makes of them (sigs.k8s.io/yaml, which is go-yaml v2): `yes`, `no`,
`on`, `off` are booleans, `010` is octal, dates and `1:30` are text, keys become text whatever they were.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import yaml

from model.problem_codes import ProblemCode

MAX_ALIASES = 100
MAX_DEPTH = 64
MAX_DOCUMENT_BYTES = 1 << 20
MAX_NODES = 200_000
"""What a document may grow to once its aliases are followed."""

Scalar: TypeAlias = str | int | float | bool | None


class Node(NamedTuple):
    """A value and its place. `line` counts from 1: the line of its key in a mapping, of its first character elsewhere.

    `written` is a scalar as it stands in the file; `block`: it is a `|` or `>` text, which begins a line later.
    """

    value: Scalar | tuple[Node, ...] | Mapping[str, Node]
    line: int
    written: str = ""
    block: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something in a document that spoils the object in it, and only that."""

    code: ProblemCode
    line: int
    message: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document. `faults` not empty: its object must not come into force. `skipped`: `root` holds nothing of it."""

    root: Node
    faults: tuple[Fault, ...] = ()
    skipped: bool = False


class NotYaml(ValueError):
    """The text is no YAML. `line` counts from 1; `reason` is one line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


def read_documents(text: bytes) -> tuple[Document, ...]:
    """All documents that are not empty, in the order of the file. Raises NotYaml."""
    source = _join_surrogates(text) if text.lstrip()[:1] in (b"{", b"[") else text
    parser: Any = None  # types-PyYAML knows marks as optional; libyaml always gives them
    try:
        parser = yaml.CLoader(source)
        return tuple(_Reader(parser).documents())
    except yaml.reader.ReaderError as error:
        line = source[: error.position].count(b"\n") + 1
        raise NotYaml(line, f"{error.reason} (byte {error.position})") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise NotYaml(mark.line + 1 if mark else 1, _reason(error)) from None
    finally:
        if parser is not None:
            parser.dispose()


class _TooLarge(Exception):
    """A document that is skipped."""


class _Reader:
    """Builds nodes of libyaml's events; no recursion deeper than MAX_DEPTH."""

    def __init__(self, parser: Any) -> None:
        self._next = parser.get_event
        self._faults: list[Fault] = []
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._aliases = self._nodes = self._deepest = 0

    def documents(self) -> Iterator[Document]:
        event: Any
        while not isinstance(event := self._next(), yaml.StreamEndEvent):
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            start: Any = event.start_mark
            self._faults, self._anchors = [], {}
            self._aliases = self._nodes = self._deepest = 0
            skipped = False
            try:
                root = self._node(self._next(), 1)
                end = self._next()
            except _TooLarge as error:
                root, skipped = Node({}, start.line + 1), True
                self._fault(ProblemCode.TOO_LARGE, start.line + 1, str(error), "Split the document.")
                end = self._next()
                while not isinstance(end, yaml.DocumentEndEvent):
                    end = self._next()
            if end.end_mark.index - start.index > MAX_DOCUMENT_BYTES and not skipped:
                message = f"the document has more than {MAX_DOCUMENT_BYTES >> 20} MiB"
                self._fault(ProblemCode.TOO_LARGE, root.line, message, "Split the document.")
            if root.value is not None:
                yield Document(root=root, faults=tuple(self._faults), skipped=skipped)

    def _node(self, event: Any, depth: int) -> Node:
        self._nodes += 1
        if depth > self._deepest:
            self._deepest = depth
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        anchor = event.anchor
        if anchor is None:
            return self._value(event, depth)
        before, outer, self._deepest = self._nodes, self._deepest, depth
        node = self._value(event, depth)
        self._anchors[anchor] = (node, self._nodes - before, self._deepest - depth)
        self._deepest = max(outer, self._deepest)
        return node

    def _value(self, event: Any, depth: int) -> Node:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            return Node(self._scalar(event, line), line, event.value, event.style in ("|", ">"))
        if depth > MAX_DEPTH:
            raise _TooLarge(f"the document is nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(event := self._next(), yaml.SequenceEndEvent):
                items.append(self._node(event, depth + 1))
            return Node(tuple(items), line)
        return Node(self._mapping(depth), line)

    def _mapping(self, depth: int) -> dict[str, Node]:
        members: dict[str, Node] = {}
        merged: list[Node] = []
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            node = self._node(self._next(), depth + 1)
            if key.written == "<<" and not event.style:
                merged.append(node)
                continue
            name = self._key(key)
            if name in members:
                first = members[name].line
                message = f"the key {name!r} stands here a second time; the first is in line {first}"
                self._fault(ProblemCode.DUPLICATE_KEY, key.line, message, "Remove one of the two.")
                continue
            members[name] = Node(node.value, key.line, node.written, node.block)
        for node in merged:
            for source in node.value if isinstance(node.value, tuple) else (node,):
                if not isinstance(source.value, Mapping):
                    self._fault(ProblemCode.NOT_JSON, source.line, "`<<` merges no mapping", "Name a mapping's anchor.")
                    continue
                for name, member in source.value.items():
                    members.setdefault(name, member)
        return members

    def _key(self, key: Node) -> str:
        match key.value:
            case bool():
                return "true" if key.value else "false"
            case str():
                return key.value
            case int() | float():
                return str(key.value)
            case _:
                self._fault(ProblemCode.NOT_JSON, key.line, "a key must be text", "Write the key as text, in quotes.")
                return ""

    def _alias(self, event: Any, depth: int) -> Node:
        line = event.start_mark.line + 1
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise _TooLarge(f"the document has more than {MAX_ALIASES} aliases")
        if event.anchor not in self._anchors:
            raise NotYaml(line, f"the alias *{event.anchor} has no anchor before it")
        node, size, height = self._anchors[event.anchor]
        self._nodes += size
        self._deepest = max(self._deepest, depth + height)
        if self._nodes > MAX_NODES or self._deepest > MAX_DEPTH:
            raise _TooLarge("the document grows too large once its aliases are followed")
        return Node(node.value, line, node.written, node.block)

    def _scalar(self, event: Any, line: int) -> Scalar:
        text: str = event.value
        if event.style and event.tag is None:
            return text
        kind = _TAGS.get(event.tag)
        if kind is None:
            self._fault(ProblemCode.NOT_JSON, line, f"the tag {event.tag} means nothing here", "Remove the tag.")
            return None
        if kind == "str":
            return text
        value = resolve(text)
        if isinstance(value, float) and not math.isfinite(value):
            self._fault(ProblemCode.NOT_JSON, line, f"{text} is no number that JSON can hold", "Give a finite number.")
            return None
        if kind not in ("any", type(value).__name__):
            message = f"{text!r} is not what its tag {event.tag} says"
            self._fault(ProblemCode.NOT_JSON, line, message, "Remove the tag.")
        return value

    def _fault(self, code: ProblemCode, line: int, message: str, fix: str) -> None:
        self._faults.append(Fault(code=code, line=line, message=message, fix=fix))


_TAGS: Mapping[str | None, str] = {
    None: "any",
    "!": "str",
    "tag:yaml.org,2002:str": "str",
    "tag:yaml.org,2002:int": "int",
    "tag:yaml.org,2002:float": "float",
    "tag:yaml.org,2002:bool": "bool",
    "tag:yaml.org,2002:null": "NoneType",
}
_WORDS: Mapping[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_NUMBER_START = frozenset("+-.0123456789")
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SURROGATES = re.compile(rb"\\\\|\\u[dD]([89abAB][0-9a-fA-F]{2})\\u[dD]([c-fC-F][0-9a-fA-F]{2})")


def resolve(text: str) -> Scalar:
    """What a plain scalar means. Source: go-yaml v2, resolve.go."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_START:
        return text
    digits = text.replace("_", "")
    if found := _INTEGER.fullmatch(digits):
        sign, hexadecimal, binary, octal, decimal = found.groups()
        # Digits beyond 64 bits are a float to Go; the length bounds Python's quadratic conversion.
        if len(digits) <= 66:
            size = int(
                decimal or hexadecimal or octal or binary, 10 if decimal else 16 if hexadecimal else 8 if octal else 2
            )
            value = -size if sign == "-" else size
            if -(1 << 63) <= value < 1 << 64:
                return value
    if _FLOAT.fullmatch(digits):
        return float(digits)
    return text


def _join_surrogates(text: bytes) -> bytes:
    """JSON writes what lies beyond U+FFFF as two escapes, which YAML has no word for."""

    def joined(found: re.Match[bytes]) -> bytes:
        if found[1] is None:
            return found[0]
        high, low = int(found[1], 16), int(found[2], 16)
        return chr(0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF)).encode()

    return _SURROGATES.sub(joined, text)


def _reason(error: yaml.MarkedYAMLError) -> str:
    context = f"{error.context}: " if error.context else ""
    return f"{context}{error.problem or 'it is no YAML'}"
