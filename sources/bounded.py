"""Reads of a field whose bounds many kinds share: spans, percentages, ports, text that Envoy will take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

from model.problem_codes import ProblemCode
from model.problems import Severity
from sources.fields import Fields
from sources.header_values import check_plain

MAX_SPAN = timedelta(days=3650)
"""Far beyond any use, far below what overflows Envoy's nanoseconds (292 years)."""

MAX_PORT = 65535
MAX_COUNT = (1 << 31) - 1
"""Istio's counts are signed 32-bit numbers."""

_MILLISECOND = timedelta(milliseconds=1)

Read = TypeVar("Read")


def checked(
    fields: Fields,
    name: str,
    check: Callable[[str], Read],
    default: Read,
    *,
    fix: str,
    code: ProblemCode = ProblemCode.INVALID_VALUE,
) -> Read:
    """The text of a field after `check`, whose ValueError becomes the problem; `default` if absent or wrong."""
    node = fields.node(name)
    if node is None:
        return default
    if not isinstance(node.value, str):
        fields.text(name)
        return default
    try:
        return check(node.value)
    except ValueError as error:
        fields.problem(code, f"{name}: {error}", fix, field=name)
        return default


def checked_texts(
    fields: Fields,
    name: str,
    check: Callable[[str], Read],
    *,
    fix: str,
    code: ProblemCode = ProblemCode.INVALID_VALUE,
) -> tuple[Read, ...]:
    """The texts of a list, each after `check`; the ones it refuses are reported and left out."""
    found = []
    for index, text in listed_texts(fields, name):
        try:
            found.append(check(text))
        except ValueError as error:
            field = f"{name}[{index}]"
            fields.problem(code, f"{field}: {error}", fix, field=field)
    return tuple(found)


def listed_texts(fields: Fields, name: str) -> Iterator[tuple[int, str]]:
    """(index, text) of the texts in a list; items of another type are reported and left out."""
    node = fields.node(name)
    items = node.value if node is not None and isinstance(node.value, tuple) else ()
    texts = fields.texts(name)
    return ((index, texts[index]) for index, item in enumerate(items) if isinstance(item.value, str))


def plain_text(fields: Fields, name: str) -> str:
    """A text without control characters, '' if absent."""
    return checked(fields, name, check_plain, "", fix="Remove the character.")


def span(fields: Fields, name: str, *, minimum: timedelta = _MILLISECOND) -> timedelta | None:
    """A duration of whole milliseconds from `minimum` to ten years. Istio takes no finer ones."""
    value = fields.duration(name)
    if value is None:
        return None
    if value < minimum:
        fix = f"Give at least {in_words(minimum)}, or leave {name} out."
        fields.problem(
            ProblemCode.INVALID_VALUE, f"{name} is shorter than {in_words(minimum)}, its least value", fix, field=name
        )
        return None
    if value % _MILLISECOND:
        fix = "Give whole milliseconds."
        fields.problem(ProblemCode.INVALID_VALUE, f"{name} is finer than a millisecond", fix, field=name)
        return None
    if value > MAX_SPAN:
        fix = "Give a shorter span."
        fields.problem(ProblemCode.INVALID_VALUE, f"{name} is longer than ten years", fix, field=name)
        return None
    return value


def in_words(span: timedelta) -> str:
    """`1s`, `1ms`: a span as a manifest writes it."""
    milliseconds = span // _MILLISECOND
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def port_number(fields: Fields, name: str) -> int | None:
    """A port, 1 to 65535."""
    return fields.integer(name, minimum=1, maximum=MAX_PORT)


def count(fields: Fields, name: str) -> int | None:
    """A number of things; 0 is read as not set, as Istio reads it."""
    return fields.integer(name, minimum=0, maximum=MAX_COUNT) or None


def percentage(fields: Fields, name: str, deprecated: str = "") -> float | None:
    """`{value: 0..100}`, or the whole number in the field `deprecated`. None if neither is there."""
    if deprecated:
        old = fields.integer(deprecated, minimum=0, maximum=100)
        if fields.has(deprecated):
            deprecate(fields, deprecated, f"{name}.value")
            if not fields.has(name):
                return None if old is None else float(old)
    child = fields.child(name)
    if child is None:
        return None
    value = child.number("value", default=0.0, minimum=0.0, maximum=100.0)
    child.finish()
    return value


def deprecate(fields: Fields, name: str, instead: str, *, why: str = "") -> None:
    """Says that a field was read and has a newer name; `why` is put behind it."""
    fields.problem(
        ProblemCode.DEPRECATED_FIELD,
        f"{name} is deprecated; it is read as {instead}{why}",
        f"Write {instead} instead.",
        field=name,
        severity=Severity.INFO,
    )


def one_of(fields: Fields, *names: str) -> None:
    """Reports if more than one of these fields is there."""
    present = [name for name in names if fields.has(name)]
    if len(present) > 1:
        fields.problem(
            ProblemCode.CONFLICTING_FIELDS,
            f"{' and '.join(present)} exclude each other",
            f"Keep one of {', '.join(present)}.",
            field=present[1],
        )
