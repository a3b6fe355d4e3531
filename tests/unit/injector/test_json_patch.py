"""JSON patches (RFC 6902)."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from injector.json_patch import build_json_patch

SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.text("a/~0", max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text("ab/~", max_size=2), VALUES, max_size=4)


def apply(document: Any, patch: list[dict[str, Any]]) -> Any:
    """What an API server does with it."""
    document = copy.deepcopy(document)
    for operation in patch:
        steps = [step.replace("~1", "/").replace("~0", "~") for step in operation["path"].split("/")[1:]]
        holder = document
        for step in steps[:-1]:
            holder = holder[int(step)] if isinstance(holder, list) else holder[step]
        key: Any = int(steps[-1]) if isinstance(holder, list) else steps[-1]
        if operation["op"] == "remove":
            del holder[key]
        else:
            assert (operation["op"] == "replace") == (key in holder if isinstance(holder, dict) else True)
            holder[key] = operation["value"]
    return document


@given(OBJECTS, OBJECTS)
def test_it_turns_one_into_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert repr(sorted(apply(before, build_json_patch(before, after)).items())) == repr(sorted(after.items())) or (
        apply(before, build_json_patch(before, after)) == after
    )


@given(OBJECTS)
def test_nothing_for_equals(value: dict[str, Any]) -> None:
    assert build_json_patch(value, copy.deepcopy(value)) == []


def test_a_number_is_no_boolean() -> None:
    assert build_json_patch({"a": 1}, {"a": True}) == [{"op": "replace", "path": "/a", "value": True}]
