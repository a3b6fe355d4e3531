"""Values of the chart: joined, assigned, and what the schema says of them."""

from __future__ import annotations

from typing import Any

import pytest

from heddle.cluster.chart_values import merged, parse_assignments
from heddle.cluster.value_schema import find_faults

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
        "mode": {"enum": ["auto", True, False]},
        "list": {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"type": "string"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {"type": "object"},
    },
}


def test_mappings_are_joined_and_null_takes_away() -> None:
    below = {"a": {"b": 1, "c": 2}, "d": [1], "e": {"f": 1}}
    assert merged(below, {"a": {"c": None, "x": 3}, "d": [2], "e": None}) == {"a": {"b": 1, "x": 3}, "d": [2]}
    assert merged(below, {"e": {"f": None}}, keep_null=True)["e"] == {"f": None}
    assert below["a"] == {"b": 1, "c": 2}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1", {"a": 1}),
        ("a.b=x,c=true", {"a": {"b": "x"}, "c": True}),
        ("a={}", {"a": []}),
        ("a={x,1}", {"a": ["x", 1]}),
        ("a[1].b=x", {"a": [None, {"b": "x"}]}),
        (r"a.b\.c=x\,y", {"a": {"b.c": "x,y"}}),
        ("a=007", {"a": "007"}),
        ("a=null", {"a": None}),
        ("a=b=c", {"a": "b=c"}),
        ("a=", {"a": ""}),
    ],
)
def test_an_assignment(text: str, expected: dict[str, Any]) -> None:
    assert parse_assignments(text, {}) == expected


@pytest.mark.parametrize("text", ["a", "=1", "[0]=1", "a.=1", "a[x]=1", "a..b=1"])
def test_no_assignment(text: str) -> None:
    with pytest.raises(ValueError, match="--set"):
        parse_assignments(text, {})


def test_an_assignment_changes_no_other_value() -> None:
    values = {"a": {"b": [1, 2]}}
    assert parse_assignments("a.b[0]=9", values) == {"a": {"b": [9, 2]}}
    assert values == {"a": {"b": [1, 2]}}


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"count": "x"}, "count must be an integer, not 'x'"),
        ({"count": True}, "count must be an integer, not true"),
        ({"count": 0}, "count must be from 1 to 9, not 0"),
        ({"name": "A"}, "name must match ^[a-z]+$, not 'A'"),
        ({"name": "a\n"}, "name must match ^[a-z]+$, not 'a\\n'"),
        ({"name": "abcdef"}, "name has 6 characters, which is too many"),
        ({"mode": 1}, "mode must be one of 'auto', true, false, not 1"),
        ({"list": []}, "list must have at least 1 entries"),
        ({"list": ["a", "a"]}, "list names something twice"),
        ({"list": [1]}, "list[0] must be a string, not 1"),
        ({"labels": {"a": 1}}, "labels.a must be a string, not 1"),
        ({"cout": 1}, "cout is no value of this chart; count is"),
    ],
)
def test_a_fault_names_the_value(values: dict[str, Any], fault: str) -> None:
    assert list(find_faults(SCHEMA, values)) == [fault]


def test_good_values_have_no_fault() -> None:
    good = {"count": 1, "name": "a", "mode": False, "list": ["a", "b"], "labels": {"a": "b"}, "free": {"x": [1]}}
    assert list(find_faults(SCHEMA, good)) == []
    with pytest.raises(ValueError, match="uses oneOf"):
        list(find_faults({"oneOf": []}, 1))
