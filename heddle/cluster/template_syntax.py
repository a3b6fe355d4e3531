"""The part of Go's template language that the chart keeps to: text to a tree. No evaluation."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

ROOT: Final = "$"
"""The variable that holds what a template was given."""


class TemplateError(ValueError):
    """A template that cannot be read or rendered; the text names file and line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal:
    value: str | int | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """`.a.b`, `$.a.b`, `$name.a`. `variable` '' is the dot."""

    variable: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A function. What a pipe hands over is the last of the arguments."""

    function: str
    arguments: tuple[Expression, ...]


Expression: TypeAlias = Literal | Lookup | Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    value: Expression
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """`if`, or `with`, which also moves the dot. `otherwise` is that of `else`, `else if` included."""

    condition: Expression
    moves_dot: bool
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """`key` and `value` are names of variables, '' for none. `otherwise` is for nothing to go through."""

    items: Expression
    key: str
    value: str
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]
    line: int


Node: TypeAlias = Text | Output | Branch | Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One file, or what stands between `define` and `end` in one."""

    name: str
    file: str
    nodes: tuple[Node, ...]


_ACTION: Final = re.compile(
    r"\{\{(-(?=\s))?\s*(/\*.*?\*/|(?:\"(?:[^\"\\]|\\.)*\"|[^\"])*?)\s*((?<=\s)-)?\}\}", re.DOTALL
)
_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<text>"(?:[^"\\\n]|\\.)*")
      | (?P<number>-?[0-9]+(?![\w.]))
      | (?P<lookup>\$?[A-Za-z_]*(?:\.[A-Za-z_]\w*)+|\$[A-Za-z_]*|\.)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<sign>:=|[|(),])
    )""",
    re.VERBOSE,
)
_CONSTANTS: Final = {"true": True, "false": False, "nil": None}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class _Action:
    tokens: tuple[_Token, ...]
    line: int

    @property
    def keyword(self) -> str:
        first = self.tokens[0]
        return first.text if first.kind == "word" else ""


def parse_template(text: str, file: str) -> tuple[Template, ...]:
    """The file itself (its name is `file`), and all that it defines. Raises TemplateError."""
    parser = _Parser(_pieces(text, file), file)
    return parser.parse()


def _pieces(text: str, file: str) -> list[str | _Action]:
    """Text and actions in turn, with the white space gone that they trim. Comments are nothing."""
    pieces: list[str | _Action] = []
    at, trims_next = 0, False
    for match in _ACTION.finditer(text):
        before = text[at : match.start()]
        before = before.lstrip(" \t\r\n") if trims_next else before
        pieces.append(before.rstrip(" \t\r\n") if match[1] else before)
        if not match[2].startswith("/*"):
            line = text.count("\n", 0, match.start()) + 1
            pieces.append(_Action(_tokens(match[2], file, line), line))
        at, trims_next = match.end(), bool(match[3])
    rest = text[at:]
    if "{{" in rest:
        line = text.count("\n", 0, at + rest.index("{{")) + 1
        raise TemplateError(f"{file}:{line}: an action without an end")
    pieces.append(rest.lstrip(" \t\r\n") if trims_next else rest)
    return [piece for piece in pieces if piece != ""]


def _tokens(action: str, file: str, line: int) -> tuple[_Token, ...]:
    found: list[_Token] = []
    at = 0
    while at < len(action):
        match = _TOKEN.match(action, at)
        if match is None or match.end() == at:
            raise TemplateError(f"{file}:{line}: {action[at:].strip()[:40]!r} is beyond what charts here may use")
        assert match.lastgroup is not None
        found.append(_Token(match.lastgroup, match[match.lastgroup]))
        at = match.end()
    if not found:
        raise TemplateError(f"{file}:{line}: an empty action")
    return tuple(found)


class _Parser:
    def __init__(self, pieces: list[str | _Action], file: str) -> None:
        self._pieces = pieces
        self._at = 0
        self._file = file
        self._templates: list[Template] = []

    def parse(self) -> tuple[Template, ...]:
        nodes, end = self._body(top=True)
        if end is not None:
            raise self._error(end, f"{end.keyword} without a beginning")
        return (Template(name=self._file, file=self._file, nodes=nodes), *self._templates)

    def _body(self, *, top: bool = False) -> tuple[tuple[Node, ...], _Action | None]:
        """Nodes up to an `else` or an `end`, which comes second, None at the end of the file."""
        nodes: list[Node] = []
        while self._at < len(self._pieces):
            piece = self._pieces[self._at]
            self._at += 1
            if isinstance(piece, str):
                nodes.append(Text(text=piece))
                continue
            match piece.keyword:
                case "else" | "end":
                    return tuple(nodes), piece
                case "if" | "with":
                    nodes.append(self._branch(piece, piece.tokens[1:], moves_dot=piece.keyword == "with"))
                case "range":
                    nodes.append(self._range(piece))
                case "define":
                    if not top:
                        raise self._error(piece, "define inside of something")
                    self._define(piece)
                case "template" | "block" | "break" | "continue":
                    raise self._error(piece, f"{piece.keyword} is beyond what charts here may use")
                case _:
                    nodes.append(Output(value=self._pipeline(piece, piece.tokens), line=piece.line))
        return tuple(nodes), None

    def _branch(self, action: _Action, tokens: tuple[_Token, ...], *, moves_dot: bool) -> Branch:
        condition = self._pipeline(action, tokens)
        body, end = self._body()
        otherwise: tuple[Node, ...] = ()
        if end is not None and end.keyword == "else":
            if len(end.tokens) > 1:
                if end.tokens[1].text != "if":
                    raise self._error(end, "after else there is if or nothing")
                otherwise = (self._branch(end, end.tokens[2:], moves_dot=False),)
                return Branch(
                    condition=condition, moves_dot=moves_dot, body=body, otherwise=otherwise, line=action.line
                )
            otherwise, end = self._body()
        self._must_end(action, end)
        return Branch(condition=condition, moves_dot=moves_dot, body=body, otherwise=otherwise, line=action.line)

    def _range(self, action: _Action) -> Range:
        tokens, key, value = action.tokens[1:], "", ""
        words = [token.text for token in tokens]
        if ":=" in words:
            at = words.index(":=")
            names = [token.text for token in tokens[:at] if token.kind == "lookup"]
            if not 1 <= len(names) <= 2 or any(not name.startswith("$") or "." in name for name in names):
                raise self._error(action, "range names one or two variables")
            key, value = ("", names[0]) if len(names) == 1 else (names[0], names[1])
            tokens = tokens[at + 1 :]
        items = self._pipeline(action, tokens)
        body, end = self._body()
        otherwise: tuple[Node, ...] = ()
        if end is not None and end.keyword == "else":
            otherwise, end = self._body()
        self._must_end(action, end)
        return Range(items=items, key=key, value=value, body=body, otherwise=otherwise, line=action.line)

    def _define(self, action: _Action) -> None:
        if len(action.tokens) != 2 or action.tokens[1].kind != "text":
            raise self._error(action, "define takes one name")
        nodes, end = self._body()
        self._must_end(action, end)
        self._templates.append(Template(name=_unquoted(action.tokens[1]), file=self._file, nodes=nodes))

    def _must_end(self, action: _Action, end: _Action | None) -> None:
        if end is None or end.keyword != "end" or len(end.tokens) > 1:
            raise self._error(action, f"{action.keyword} without an end")

    def _pipeline(self, action: _Action, tokens: Sequence[_Token]) -> Expression:
        value: Expression | None = None
        for part in _split(tokens):
            terms = self._terms(action, part)
            if not terms:
                raise self._error(action, "an empty pipeline")
            first, *rest = terms
            if isinstance(first, Call) and first.function and not first.arguments and part[0].kind == "word":
                handed = () if value is None else (value,)
                value = Call(function=first.function, arguments=(*rest, *handed))
            elif rest or value is not None:
                raise self._error(action, "only functions take arguments")
            else:
                value = first
        if value is None:
            raise self._error(action, "an empty pipeline")
        return value

    def _terms(self, action: _Action, tokens: Sequence[_Token]) -> list[Expression]:
        terms: list[Expression] = []
        at = 0
        while at < len(tokens):
            token = tokens[at]
            at += 1
            match token.kind:
                case "text":
                    terms.append(Literal(value=_unquoted(token)))
                case "number":
                    terms.append(Literal(value=int(token.text)))
                case "lookup":
                    variable, _, path = token.text.partition(".")
                    terms.append(Lookup(variable=variable, path=tuple(path.split(".")) if path else ()))
                case "word" if token.text in _CONSTANTS:
                    terms.append(Literal(value=_CONSTANTS[token.text]))
                case "word":
                    terms.append(Call(function=token.text, arguments=()))
                case "sign" if token.text == "(":
                    close = _closing(tokens, at)
                    if close is None:
                        raise self._error(action, "a parenthesis without an end")
                    terms.append(self._pipeline(action, tokens[at:close]))
                    at = close + 1
                case _:
                    raise self._error(action, f"{token.text!r} has no place there")
        return terms

    def _error(self, action: _Action, text: str) -> TemplateError:
        return TemplateError(f"{self._file}:{action.line}: {text}")


def _split(tokens: Sequence[_Token]) -> list[Sequence[_Token]]:
    """At the pipes that are in no parentheses."""
    parts: list[Sequence[_Token]] = []
    depth = start = 0
    for at, token in enumerate(tokens):
        if token.kind != "sign":
            continue
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if token.text == "|" and depth == 0:
            parts.append(tokens[start:at])
            start = at + 1
    return [*parts, tokens[start:]]


def _closing(tokens: Sequence[_Token], start: int) -> int | None:
    depth = 1
    for at in range(start, len(tokens)):
        if tokens[at].kind == "sign":
            depth += {"(": 1, ")": -1}.get(tokens[at].text, 0)
            if depth == 0:
                return at
    return None


def _unquoted(token: _Token) -> str:
    text: str = json.loads(token.text)
    return text
