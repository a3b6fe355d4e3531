"""YAML read as JSON would be: what each spelling means, and where everything stands."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.problem_codes import ProblemCode
from sources.yaml_documents import MAX_ALIASES, MAX_DEPTH, Node, NotYaml, read_documents, resolve


def plain(node: Node) -> object:
    if isinstance(node.value, Mapping):
        return {key: plain(value) for key, value in node.value.items()}
    if isinstance(node.value, tuple):
        return [plain(item) for item in node.value]
    return node.value


def read(text: str | bytes) -> object:
    (document,) = read_documents(text.encode() if isinstance(text, str) else text)
    assert document.faults == ()
    return plain(document.root)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("on", True),
        ("n", False),
        ("Off", False),
        ("true", True),
        ("tRue", "tRue"),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("+3", 3),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0b101", 5),
        ("010", 8),
        ("0o10", 8),
        ("08", 8.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("18446744073709551615", 18446744073709551615),
        ("18446744073709551616", 18446744073709551616.0),
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z"),
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("1.2.3", "1.2.3"),
        ("10.0.0.1", "10.0.0.1"),
        ("5s", "5s"),
        ("-", "-"),
        ("=", "="),
    ],
)
def test_a_plain_scalar_means_what_kubernetes_reads(text: str, value: object) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


def test_quoted_and_tagged_scalars_are_text() -> None:
    assert read("a: 'on'\nb: \"5\"\nc: !!str 5\nd: |\n  true\ne: ! 7\n") == {
        "a": "on",
        "b": "5",
        "c": "5",
        "d": "true\n",
        "e": "7",
    }


def test_keys_become_text() -> None:
    assert read("8080: a\non: b\n1.5: c\n") == {"8080": "a", "true": "b", "1.5": "c"}


def test_merge_keys_fill_what_is_not_there() -> None:
    assert read("a: &a {x: 1, y2: 2}\nb:\n  <<: *a\n  x: 3\n") == {"a": {"x": 1, "y2": 2}, "b": {"x": 3, "y2": 2}}


@pytest.mark.parametrize(
    "text",
    [
        b"a: 1\r\nb: [x]\r\n",
        b"\xef\xbb\xbfa: 1\nb: [x]\n",
        b'{\n\t"a": 1,\n\t"b": ["x"]\n}\n',
        "a: 1\nb: [x]".encode("utf-16"),
    ],
    ids=["crlf", "byte order mark", "json with tabs", "utf-16"],
)
def test_forms_of_files(text: bytes) -> None:
    assert read(text) == {"a": 1, "b": ["x"]}


def test_lines_are_those_of_keys_and_items() -> None:
    (document,) = read_documents(b"# c\na: 1\nb:\n  - x\n  - k: |\n      text\n    l: 2\n")
    root = document.root.value
    assert isinstance(root, Mapping)
    items = root["b"].value
    assert isinstance(items, tuple)
    assert (document.root.line, root["a"].line, root["b"].line) == (2, 2, 3)
    assert [item.line for item in items] == [4, 5]
    inner = items[1].value
    assert isinstance(inner, Mapping)
    assert (inner["k"].line, inner["k"].block, inner["l"].line) == (5, True, 7)


def test_several_documents_and_empty_ones() -> None:
    documents = read_documents(b"---\n---\na: 1\n---\n# nothing\n---\nb: 2\n...\n")
    assert [(plain(document.root), document.root.line) for document in documents] == [({"a": 1}, 3), ({"b": 2}, 7)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"a: 1\n b: 2\n", 2),
        (b"a: [1\n", 2),
        (b"a: 1\n\tb: 2\n", 2),
        (b"a: 1\nb: \x07\n", 2),
        (b"a: 1\nb: \xff\n", 2),
        (b"a: 1\nb: *none\n", 2),
        (b"a: [fd00::]\n", 1),
    ],
    ids=["indentation", "open list", "tab", "control character", "no utf-8", "unknown alias", "bare ipv6 in a list"],
)
def test_what_is_no_yaml_names_its_line(text: bytes, line: int) -> None:
    with pytest.raises(NotYaml) as raised:
        read_documents(text)
    assert raised.value.line == line
    assert raised.value.reason


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", ProblemCode.DUPLICATE_KEY, 5),
        ("a: 1\n'1': 1\n1: 2\n", ProblemCode.DUPLICATE_KEY, 3),
        ("a: .nan\n", ProblemCode.NOT_JSON, 1),
        ("a: 1\nb: " + "9" * 400 + "\n", ProblemCode.NOT_JSON, 2),
        ("a: !thing 5\n", ProblemCode.NOT_JSON, 1),
        ("a: !!int x\n", ProblemCode.NOT_JSON, 1),
        ("? [1, 2]\n: 3\n", ProblemCode.NOT_JSON, 1),
        ("a:\n  <<: 5\n", ProblemCode.NOT_JSON, 2),
        ("a: &a [x]\nb: [" + "*a, " * (MAX_ALIASES + 1) + "]\n", ProblemCode.TOO_LARGE, 1),
        ("x: " + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "\n", ProblemCode.TOO_LARGE, 1),
        ("x: " + "{a: " * 5000 + "1" + "}" * 5000 + "\n", ProblemCode.TOO_LARGE, 1),
        ("a: " + "x" * (1 << 20) + "\n", ProblemCode.TOO_LARGE, 1),
    ],
    ids=lambda value: value[:12].strip() if isinstance(value, str) and not isinstance(value, ProblemCode) else None,
)
def test_a_fault_spoils_its_document_alone(text: str, code: ProblemCode, line: int) -> None:
    first, last = read_documents((text + "---\nfine: 1\n").encode())
    assert [(fault.code, fault.line) for fault in first.faults] == [(code, line)]
    assert last.faults == ()
    assert plain(last.root) == {"fine": 1}


def test_aliases_that_multiply_are_stopped() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    (document,) = read_documents("\n".join(lines).encode())
    assert [fault.code for fault in document.faults] == [ProblemCode.TOO_LARGE]


def test_aliases_cannot_nest_deeper_than_the_limit() -> None:
    lines = ["a0: &a0 " + "[" * 20 + "]" * 20]
    lines += [f"a{n}: &a{n} " + "[" * 20 + f"*a{n - 1}" + "]" * 20 for n in range(1, 5)]
    (document,) = read_documents("\n".join(lines).encode())
    assert [fault.code for fault in document.faults] == [ProblemCode.TOO_LARGE]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcxyz-./", max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(json_values.filter(lambda value: value is not None))
def test_json_reads_as_json(value: object) -> None:
    (document,) = read_documents(
        json.dumps(value).encode() if isinstance(value, (dict, list)) else b"[" + json.dumps(value).encode() + b"]"
    )
    assert document.faults == ()
    assert plain(document.root) == (value if isinstance(value, (dict, list)) else [value])
