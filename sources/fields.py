"""A cursor over one object: every read is checked, every mistake becomes a `Problem` with its place.

A parser reads each field it knows once and ends with `finish()`, which reports the fields nobody read. A read that
fails files a problem and answers with the default, so that one pass finds every mistake of an object.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import TypeVar, overload

from model.problem_codes import ProblemCode
from model.problems import ObjectRef, Position, Problem, Severity
from sources.durations import parse_duration
from sources.yaml_documents import Node

Choice = TypeVar("Choice", bound=StrEnum)

_PLAIN_STEP = re.compile(r"[A-Za-z0-9_-]+")
_MAX_UNKNOWN = 100
"""How many unknown fields of one mapping are named: nobody reads more, and each costs time."""
_DURATION_FIX = "Write a number with its unit, such as 1.5s, 300ms or 1h30m."


class Report:
    """Collects the problems of one object. `unknown` is how bad a field is that the kind does not have.

    `regex_size` counts the instructions of the regular expressions met so far.
    """

    def __init__(self, *, file: str, ref: ObjectRef | None = None, unknown: Severity = Severity.ERROR) -> None:
        self.file = file
        self.ref = ref
        self.unknown = unknown
        self.problems: list[Problem] = []
        self.regex_size = 0

    @property
    def failed(self) -> bool:
        """Whether the object must not come into force."""
        return any(problem.severity is Severity.ERROR for problem in self.problems)

    def add(self, severity: Severity, code: ProblemCode, message: str, fix: str, line: int, field: str = "") -> None:
        """Files one problem."""
        position = Position(file=self.file, line=line)
        self.problems.append(
            Problem(
                severity=severity, code=code, message=message, fix=fix, object=self.ref, position=position, field=field
            )
        )


class Fields:
    """One mapping of an object. Names are field names as the manifest has them; null counts as absent."""

    __slots__ = ("_line", "_members", "_parent", "_seen", "_step", "report")

    def __init__(
        self, members: Mapping[str, Node], line: int, report: Report, parent: Fields | None = None, step: str = ""
    ) -> None:
        self._members = members
        self._line = line
        self._parent = parent
        self._step = step
        self._seen: set[str] = set()
        self.report = report

    # Where we are

    @property
    def path(self) -> str:
        """The path of this mapping within the object, '' for the object itself."""
        return join_path(self._parent.path, self._step) if self._parent else self._step

    def path_of(self, name: str) -> str:
        """The path of one field: `spec.http[0].timeout`."""
        return join_path(self.path, name) if name else self.path

    def line_of(self, name: str) -> int:
        """The line of a field's key, or of this mapping if it has no such field. `ports[1]` names an item."""
        if name in self._members:
            return self._members[name].line
        list_name, _, index = name.partition("[")
        items = self._members.get(list_name)
        if items is None or not isinstance(items.value, tuple):
            return self._line
        return int(items.value[int(index.removesuffix("]"))].line)

    def where(self, name: str = "") -> Position:
        """The place of a field."""
        return Position(file=self.report.file, line=self.line_of(name))

    def has(self, name: str) -> bool:
        """Whether the field is there and not null. Does not count as a read."""
        node = self._members.get(name)
        return node is not None and node.value is not None

    def names(self) -> tuple[str, ...]:
        """The names of the fields that are there, in the order of the file."""
        return tuple(self._members)

    def node(self, name: str) -> Node | None:
        """The node of a field as it stands, None if absent or null. Counts as a read."""
        self._seen.add(name)
        found = self._members.get(name)
        return None if found is None or found.value is None else found

    # Scalars

    def text(self, name: str, default: str = "") -> str:
        """A text field."""
        node = self.node(name)
        if node is None:
            return default
        return node.value if isinstance(node.value, str) else self._mismatch(name, node, "a text", default)

    def required_text(self, name: str) -> str:
        """A text that must be there and not be empty. '' after a problem."""
        if not self.required(name):
            return ""
        text = self.text(name)
        if not text and isinstance(self._members[name].value, str):
            self.problem(ProblemCode.MISSING_FIELD, f"{name} is empty", f"Give {name} a value.", field=name)
        return text

    def required(self, name: str) -> bool:
        """Whether the field is there; files a problem if not."""
        if self.has(name):
            return True
        self._seen.add(name)
        self.problem(ProblemCode.MISSING_FIELD, f"{name} is missing", f"Add {name}.", field=name)
        return False

    @overload
    def integer(self, name: str, *, default: int, minimum: int | None = None, maximum: int | None = None) -> int: ...
    @overload
    def integer(
        self, name: str, *, default: None = None, minimum: int | None = None, maximum: int | None = None
    ) -> int | None: ...
    def integer(
        self, name: str, *, default: int | None = None, minimum: int | None = None, maximum: int | None = None
    ) -> int | None:
        """A whole number within bounds (both included)."""
        node = self.node(name)
        if node is None:
            return default
        value = node.value
        if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            return self._mismatch(name, node, "a whole number", default)
        return value if self._within(name, value, minimum, maximum) else default

    @overload
    def number(
        self, name: str, *, default: float, minimum: float | None = None, maximum: float | None = None
    ) -> float: ...
    @overload
    def number(
        self, name: str, *, default: None = None, minimum: float | None = None, maximum: float | None = None
    ) -> float | None: ...
    def number(
        self, name: str, *, default: float | None = None, minimum: float | None = None, maximum: float | None = None
    ) -> float | None:
        """A number within bounds (both included)."""
        node = self.node(name)
        if node is None:
            return default
        value = node.value
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return self._mismatch(name, node, "a number", default)
        return float(value) if self._within(name, value, minimum, maximum) else default

    @overload
    def boolean(self, name: str, default: bool = False) -> bool: ...
    @overload
    def boolean(self, name: str, default: None) -> bool | None: ...
    def boolean(self, name: str, default: bool | None = False) -> bool | None:
        """true or false."""
        node = self.node(name)
        if node is None:
            return default
        return node.value if isinstance(node.value, bool) else self._mismatch(name, node, "true or false", default)

    @overload
    def duration(
        self, name: str, *, default: timedelta, minimum: timedelta = timedelta(0), above: timedelta | None = None
    ) -> timedelta: ...
    @overload
    def duration(
        self, name: str, *, default: None = None, minimum: timedelta = timedelta(0), above: timedelta | None = None
    ) -> timedelta | None: ...
    def duration(
        self,
        name: str,
        *,
        default: timedelta | None = None,
        minimum: timedelta = timedelta(0),
        above: timedelta | None = None,
    ) -> timedelta | None:
        """A span in Go's syntax, at least `minimum` and, if given, more than `above`."""
        node = self.node(name)
        if node is None:
            return default
        if not isinstance(node.value, str):
            return self._mismatch(name, node, "a duration such as 1.5s", default)
        try:
            value = parse_duration(node.value)
        except ValueError as error:
            self.problem(ProblemCode.INVALID_VALUE, f"{name}: {error}", _DURATION_FIX, field=name)
            return default
        if value < minimum or (above is not None and value <= above):
            bound = (
                "not be negative" if minimum == timedelta(0) and above is None else f"be more than {above or minimum}"
            )
            self.problem(ProblemCode.INVALID_VALUE, f"{name} must {bound}", "Give a longer span.", field=name)
            return default
        return value

    @overload
    def choice(self, name: str, choices: type[Choice], default: Choice) -> Choice: ...
    @overload
    def choice(self, name: str, choices: type[Choice], default: None = None) -> Choice | None: ...
    @overload
    def choice(self, name: str, choices: Sequence[str], default: str = "") -> str: ...
    def choice(
        self, name: str, choices: type[Choice] | Sequence[str], default: Choice | str | None = None
    ) -> Choice | str | None:
        """One of the values of a StrEnum (the member is answered), or of some texts; exactly as written."""
        node = self.node(name)
        allowed = [str(value) for value in choices]
        fallback = default if isinstance(choices, type) else default or ""
        if node is None:
            return fallback
        if not isinstance(node.value, str):
            return self._mismatch(name, node, f"one of {', '.join(allowed)}", fallback)
        if node.value in allowed:
            return choices(node.value) if isinstance(choices, type) else node.value
        close = difflib.get_close_matches(node.value.upper(), [value.upper() for value in allowed], 1)
        meant = [value for value in allowed if close and value.upper() == close[0]]
        fix = f"Did you mean {meant[0]}?" if meant else f"Use one of {', '.join(allowed)}."
        message = f"{name} is {node.value[:80]!r}, which is none of {', '.join(allowed)}"
        self.problem(ProblemCode.INVALID_VALUE, message, fix, field=name)
        return fallback

    def defaulted_choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """As `choice`, for a field of Kubernetes, where an empty text is the default."""
        node = self.node(name)
        return default if node is not None and node.value == "" else self.choice(name, choices, default)

    # Lists and mappings

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; items of another type are reported and left out."""
        return tuple(
            item.value if isinstance(item.value, str) else self._mismatch(f"{name}[{index}]", item, "a text", "")
            for index, item in enumerate(self._items(name))
        )

    def integers(self, name: str, *, minimum: int | None = None, maximum: int | None = None) -> tuple[int, ...]:
        """A list of whole numbers within bounds; others are reported and left out."""
        found = []
        for index, item in enumerate(self._items(name)):
            field = f"{name}[{index}]"
            if not isinstance(item.value, int) or isinstance(item.value, bool):
                self._mismatch(field, item, "a whole number", None)
            elif self._within(field, item.value, minimum, maximum):
                found.append(item.value)
        return tuple(found)

    def text_map(self, name: str) -> dict[str, str]:
        """A mapping of texts, in the order of its keys; values of another type are reported and left out."""
        inner = self.child(name)
        if inner is None:
            return {}
        found = {key: inner.text(key) for key in sorted(inner._members) if inner.has(key)}
        inner._seen.update(inner._members)
        return found

    def child(self, name: str) -> Fields | None:
        """The mapping in a field, None if absent. The caller finishes it."""
        node = self.node(name)
        if node is None:
            return None
        if not isinstance(node.value, Mapping):
            return self._mismatch(name, node, "a mapping", None)
        return Fields(node.value, node.line, self.report, self, name)

    def each(self, name: str) -> tuple[Fields, ...]:
        """The mappings of a list; the caller finishes each. Items of another type are reported and left out."""
        found = []
        for index, item in enumerate(self._items(name)):
            step = f"{name}[{index}]"
            if isinstance(item.value, Mapping):
                found.append(Fields(item.value, item.line, self.report, self, step))
            else:
                self._mismatch(step, item, "a mapping", None)
        return tuple(found)

    def entries(self, name: str) -> tuple[tuple[str, Fields], ...]:
        """The mappings in a mapping, with their keys, in the order of the file; the caller finishes each."""
        outer = self.child(name)
        if outer is None:
            return ()
        found = []
        for key in outer._members:
            inner = outer.child(key)
            if inner is not None:
                found.append((key, inner))
        return tuple(found)

    # What is not read

    def later(self, *names: str, severity: Severity = Severity.WARNING) -> None:
        """Fields that exist and are not implemented yet: reported if present."""
        for name in names:
            if self.node(name) is not None:
                message = f"{name} is not implemented yet" + (
                    "" if severity is Severity.ERROR else " and has no effect"
                )
                fix = f"Remove {name}, or expect the object to work as if it were not there."
                if severity is Severity.ERROR:
                    # What is in force meanwhile is for the store to say: see `sources/outcomes.py`.
                    fix = f"Remove {name}."
                self.problem(ProblemCode.NOT_IMPLEMENTED, message, fix, field=name, severity=severity)

    def ignore(self, *names: str) -> None:
        """Fields that exist and rightly have no effect here."""
        self._seen.update(names)

    def problem(
        self, code: ProblemCode, message: str, fix: str, *, field: str = "", severity: Severity = Severity.ERROR
    ) -> None:
        """Files a problem at one field of this mapping (`route[1]` names an item), or at the mapping itself."""
        self.report.add(severity, code, message, fix, self.line_of(field), self.path_of(field))

    def finish(self, ignored: Iterable[str] = ()) -> None:
        """Reports every field that nobody read, but for `ignored`; the closest of the known ones is proposed.

        Also one that is there too: `egresss` beside `egress` is that, and not `ingress`.
        """
        if self._members.keys() <= self._seen:
            return
        known = self._seen | set(ignored)
        unknown = [name for name in self._members if name not in known]
        candidates = sorted(known)
        for index, name in enumerate(unknown[:_MAX_UNKNOWN]):
            close = difflib.get_close_matches(name[:80], candidates, 1)
            fix = f"Did you mean {close[0]}?" if close else "Remove it, or move it to where it belongs."
            message = f"there is no field {name[:80]!r} in {self.path or 'this kind'}"
            if index == _MAX_UNKNOWN - 1 and len(unknown) > _MAX_UNKNOWN:
                message += f", and {len(unknown) - _MAX_UNKNOWN} more like it"
            self.problem(ProblemCode.UNKNOWN_FIELD, message, fix, field=name, severity=self.report.unknown)

    # Within

    def _items(self, name: str) -> tuple[Node, ...]:
        node = self.node(name)
        if node is None:
            return ()
        return node.value if isinstance(node.value, tuple) else self._mismatch(name, node, "a list", ())

    _Default = TypeVar("_Default")

    def _mismatch(self, name: str, node: Node, expected: str, default: _Default) -> _Default:
        message = f"{name} is {describe(node)}; {expected} is expected"
        quote = expected in ("a text",) and not isinstance(node.value, (tuple, Mapping))
        fix = f'Put it in quotes: "{node.written}".' if quote else f"Write {expected}."
        self.problem(ProblemCode.WRONG_TYPE, message, fix, field=name)
        return default

    def _within(self, name: str, value: float, minimum: float | None, maximum: float | None) -> bool:
        if (minimum is None or value >= minimum) and (maximum is None or value <= maximum):
            return True
        bounds = (
            f"between {minimum} and {maximum}"
            if minimum is not None and maximum is not None
            else f"at least {minimum}"
            if minimum is not None
            else f"at most {maximum}"
        )
        message = f"{name} is {value}; it must be {bounds}"
        self.problem(ProblemCode.INVALID_VALUE, message, f"Give a value {bounds}.", field=name)
        return False


def join_path(path: str, step: str) -> str:
    """`path` and one more step: `a.b`, `a[3]`, `a['odd/key']`."""
    name = step.partition("[")[0]
    if not _PLAIN_STEP.fullmatch(name):
        return f"{path}['{step}']"
    return f"{path}.{step}" if path else step


def describe(node: Node) -> str:
    """What a node is, in words: `the text '80'`, `the boolean true (written on)`, `a list`."""
    match node.value:
        case None:
            return "null"
        case bool():
            word = "true" if node.value else "false"
            return f"the boolean {word}" + (f" (written {node.written})" if node.written != word else "")
        case str():
            return f"the text {node.value[:60]!r}"
        case int() | float():
            return f"the number {node.written[:60]}"
        case tuple():
            return "a list"
        case _:
            return "a mapping"
