"""The cursor: what it answers, what it reports, and where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum

import pytest

from model.problem_codes import ProblemCode
from model.problems import Position, Severity
from sources.fields import Fields, Report
from sources.yaml_documents import read_documents


class Mode(StrEnum):
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"


def cursor(text: str) -> Fields:
    (document,) = read_documents(text.encode())
    assert isinstance(document.root.value, Mapping)
    return Fields(document.root.value, document.root.line, Report(file="f.yaml"))


def said(fields: Fields) -> list[tuple[str, int, str]]:
    return [(p.code, p.position.line if p.position else 0, p.field) for p in fields.report.problems]


def test_reads() -> None:
    fields = cursor(
        "t: x\ni: 5\nj: 5.0\nq: 1.5\nb: true\nd: 1m\nc: SIMPLE\nl: [a, b]\n"
        "m: {z: '1', a: '2'}\np: [1, 2]\nnothing: null\n"
    )
    assert fields.text("t") == "x"
    assert fields.integer("i", minimum=5, maximum=5) == 5
    assert fields.integer("j") == 5
    assert fields.number("q") == 1.5
    assert fields.boolean("b") is True
    assert fields.duration("d") == timedelta(minutes=1)
    assert fields.choice("c", Mode) is Mode.SIMPLE
    assert fields.texts("l") == ("a", "b")
    assert list(fields.text_map("m").items()) == [("a", "2"), ("z", "1")]
    assert fields.integers("p") == (1, 2)
    assert fields.text("nothing", "default") == "default"
    fields.finish()
    assert fields.report.problems == []


def test_what_is_absent_has_its_default() -> None:
    fields = cursor("{}")
    assert (fields.text("a"), fields.integer("a", default=3), fields.number("a"), fields.boolean("a")) == (
        "",
        3,
        None,
        False,
    )
    assert fields.duration("a", default=timedelta(1)) == timedelta(1)
    assert fields.choice("a", Mode) is None
    assert fields.choice("a", ("x",), "x") == "x"
    assert (fields.texts("a"), fields.text_map("a"), fields.child("a"), fields.each("a")) == ((), {}, None, ())
    assert fields.report.problems == []


@pytest.mark.parametrize(
    ("value", "read", "found"),
    [
        ("5", lambda f: f.text("x"), "the number 5"),
        ("on", lambda f: f.text("x"), "the boolean true (written on)"),
        ("[a]", lambda f: f.text("x"), "a list"),
        ("'5'", lambda f: f.integer("x"), "the text '5'"),
        ("5.5", lambda f: f.integer("x"), "the number 5.5"),
        ("true", lambda f: f.integer("x"), "the boolean true"),
        ("{a: 1}", lambda f: f.number("x"), "a mapping"),
        ("'true'", lambda f: f.boolean("x"), "the text 'true'"),
        ("5", lambda f: f.duration("x"), "the number 5"),
        ("5", lambda f: f.choice("x", Mode), "the number 5"),
        ("a", lambda f: f.texts("x"), "the text 'a'"),
        ("a", lambda f: f.each("x"), "the text 'a'"),
        ("[a]", lambda f: f.child("x"), "a list"),
        ("[a]", lambda f: f.text_map("x"), "a list"),
        ("[a]", lambda f: f.entries("x"), "a list"),
    ],
)
def test_wrong_types_say_what_was_found(value: str, read: Callable[[Fields], object], found: str) -> None:
    fields = cursor(f"# first\nx: {value}\n")
    assert not read(fields)
    (problem,) = fields.report.problems
    assert problem.code == ProblemCode.WRONG_TYPE
    assert problem.severity is Severity.ERROR
    assert problem.position == Position(file="f.yaml", line=2)
    assert f"is {found};" in problem.message


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("0", lambda f: f.integer("x", minimum=1)),
        ("70000", lambda f: f.integer("x", maximum=65535)),
        ("-0.1", lambda f: f.number("x", minimum=0)),
        ("5", lambda f: f.text("x") or f.duration("x")),
        ("1x", lambda f: f.duration("x")),
        ("-1s", lambda f: f.duration("x")),
        ("0s", lambda f: f.duration("x", above=timedelta(0))),
        ("simple", lambda f: f.choice("x", Mode)),
    ],
)
def test_wrong_values_leave_the_default(value: str, read: Callable[[Fields], object]) -> None:
    fields = cursor(f"x: {value}\n")
    assert not read(fields)
    assert fields.report.failed


def test_a_wrong_choice_proposes_the_right_one() -> None:
    fields = cursor("x: simple\n")
    fields.choice("x", Mode)
    assert fields.report.problems[0].fix == "Did you mean SIMPLE?"


def test_places_and_paths() -> None:
    fields = cursor("a:\n  - b: 1\n  - b:\n      'c/d': 5\n  - 7\n")
    first, second = fields.each("a")
    first.text("b")
    inner = second.child("b")
    assert inner is not None
    inner.text("c/d")
    assert said(fields) == [
        (ProblemCode.WRONG_TYPE, 5, "a[2]"),
        (ProblemCode.WRONG_TYPE, 2, "a[0].b"),
        (ProblemCode.WRONG_TYPE, 4, "a[1].b['c/d']"),
    ]


def test_items_of_lists_have_places() -> None:
    fields = cursor("a:\n- x\n- 5\nb:\n- 1\n- 99\n- x\n")
    assert fields.texts("a") == ("x", "")
    assert fields.integers("b", maximum=10) == (1,)
    assert said(fields) == [
        (ProblemCode.WRONG_TYPE, 3, "a[1]"),
        (ProblemCode.INVALID_VALUE, 6, "b[1]"),
        (ProblemCode.WRONG_TYPE, 7, "b[2]"),
    ]


def test_what_is_missing_has_the_place_of_its_mapping() -> None:
    fields = cursor("a:\n  b: ''\n")
    inner = fields.child("a")
    assert inner is not None
    assert inner.required_text("c") == ""
    assert inner.required_text("b") == ""
    assert said(fields) == [(ProblemCode.MISSING_FIELD, 1, "a.c"), (ProblemCode.MISSING_FIELD, 2, "a.b")]


@pytest.mark.parametrize("unknown", list(Severity))
def test_fields_nobody_read(unknown: Severity) -> None:
    fields = cursor("timeout: 1s\ntimeuot: 1s\nother: 1\nfine: 1\n")
    fields.report.unknown = unknown
    fields.text("timeout")
    fields.text("retries")
    fields.ignore("fine")
    fields.finish()
    problems = fields.report.problems
    assert [(p.code, p.severity, p.field) for p in problems] == [
        (ProblemCode.UNKNOWN_FIELD, unknown, "timeuot"),
        (ProblemCode.UNKNOWN_FIELD, unknown, "other"),
    ]


def test_a_close_name_is_proposed() -> None:
    fields = cursor("retires: 1\n")
    fields.child("retries")
    fields.finish(("rewrite",))
    assert fields.report.problems[0].fix == "Did you mean retries?"


def test_the_closest_name_is_proposed_though_it_is_there_too() -> None:
    fields = cursor("egresss: 1\negress: 1\n")
    fields.number("egress", default=0)
    fields.child("ingress")
    fields.finish()
    assert [(p.field, p.fix) for p in fields.report.problems] == [("egresss", "Did you mean egress?")]


def test_later_fields_are_reported_if_present() -> None:
    fields = cursor("tls: {}\ntcp: []\n")
    fields.later("tls", "delegate")
    fields.later("tcp", severity=Severity.ERROR)
    fields.finish()
    assert [(p.code, p.severity, p.field) for p in fields.report.problems] == [
        (ProblemCode.NOT_IMPLEMENTED, Severity.WARNING, "tls"),
        (ProblemCode.NOT_IMPLEMENTED, Severity.ERROR, "tcp"),
    ]


def test_odd_field_names_have_a_place() -> None:
    fields = cursor("x: [1]\n'x[zz': 1\n'x[9]': 1\n'': 1\n")
    fields.finish()
    assert [line for _, line, _ in said(fields)] == [1, 2, 3, 4]


def test_entries_keep_their_keys() -> None:
    fields = cursor("ports:\n  8080: {mode: STRICT}\n  9090: {}\n")
    assert [key for key, _ in fields.entries("ports")] == ["8080", "9090"]
