"""What an API server is told of Istio's objects."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from injector.admission_review import ReviewAnswer, parse_review, to_json
from injector.validation_review import add_warnings, judge
from injector.validation_settings import OnError, ValidationSettings
from model.problem_codes import ProblemCode
from model.problems import Problem, Severity

ROUTE: dict[str, Any] = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "users", "namespace": "shop", "uid": "u", "managedFields": [{"manager": "kubectl"}]},
    "spec": {"hosts": ["users"], "http": [{"route": [{"destination": {"host": "users"}}]}]},
}


def route(**spec: Any) -> dict[str, Any]:
    return {**copy.deepcopy(ROUTE), "spec": {**copy.deepcopy(ROUTE["spec"]), **spec}}


BAD = route(http=[{"route": [{"destination": {"host": "users"}, "weight": "many"}]}])


def review(value: Any, **fields: Any) -> bytes:
    request = {
        "uid": "1",
        "kind": {"group": "networking.istio.io", "version": "v1", "kind": "VirtualService"},
        "name": "users",
        "namespace": "shop",
        "operation": "CREATE",
        "object": value,
        **fields,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def answer(value: Any, on_error: OnError = OnError.REFUSE, **fields: Any) -> ReviewAnswer:
    return judge(parse_review(review(value, **fields)), ValidationSettings(on_error=on_error)).answer


def test_a_right_object_passes_without_a_word() -> None:
    told = answer(ROUTE)
    assert (told.allowed, told.warnings) == (True, ())
    assert json.loads(to_json(told))["response"] == {"uid": "1", "allowed": True}


def test_a_mistake_is_refused_with_its_field_and_what_to_do() -> None:
    told = answer(BAD)
    assert (told.allowed, told.code) == (False, 400)
    assert told.message.startswith("spec.http[0].route[0].weight: ")
    assert "a whole number" in told.message
    assert "\n" not in told.message


def test_all_mistakes_are_named_but_not_without_end() -> None:
    told = answer(route(http=[{"route": [{"destination": {"host": "h"}, "weight": "w"}]} for _ in range(50)]))
    assert "spec.http[0]" in told.message
    assert "spec.http[9]" in told.message
    assert told.message.endswith("and 40 more")


def test_what_is_known_and_not_done_is_a_warning() -> None:
    value = route()
    value["spec"]["http"][0]["rout"] = []
    told = answer(value)
    assert told.allowed is False or told.warnings
    later = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "s"}, "spec": {}}
    told = answer(later)
    assert told.allowed
    assert "not implemented" in told.warnings[0]


def test_beside_istio_mistakes_are_only_told() -> None:
    told = answer(BAD, OnError.WARN)
    assert told.allowed
    assert told.warnings[0].startswith("spec.http[0].route[0].weight: ")


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        (BAD, {"operation": "UPDATE", "oldObject": {**BAD, "metadata": {"name": "users"}}}),
        ({**BAD, "status": {"conditions": []}}, {"operation": "UPDATE", "oldObject": BAD}),
        (
            {**BAD, "metadata": {"name": "users", "deletionTimestamp": "2026-01-01T00:00:00Z"}},
            {"operation": "UPDATE", "oldObject": ROUTE},
        ),
        (BAD, {"operation": "UPDATE", "subResource": "status", "oldObject": ROUTE}),
        (None, {"operation": "DELETE", "oldObject": BAD}),
        (None, {"operation": "CONNECT"}),
    ],
)
def test_what_was_wrong_before_can_be_labelled_finished_and_deleted(value: Any, fields: dict[str, Any]) -> None:
    told = answer(value, **fields)
    assert (told.allowed, told.warnings) == (True, ())


def test_a_change_for_the_worse_is_refused_and_one_for_the_better_is_not() -> None:
    assert not answer(BAD, operation="UPDATE", oldObject=ROUTE).allowed
    assert answer(ROUTE, operation="UPDATE", oldObject=BAD).allowed
    assert not answer(BAD, operation="UPDATE", oldObject=None).allowed


def test_a_name_may_be_still_to_come() -> None:
    value = {**ROUTE, "metadata": {"generateName": "users-"}}
    assert answer(value, name="").allowed


def test_what_kubectl_remembers_is_no_part_of_it() -> None:
    value = copy.deepcopy(ROUTE)
    value["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{" * 1000}
    assert answer(value).warnings == ()


def test_what_is_judged_beside_the_others_is_what_was_admitted() -> None:
    created = "2026-01-02T03:04:05Z"
    value = {**ROUTE, "metadata": {**ROUTE["metadata"], "creationTimestamp": created}}
    found = judge(parse_review(review(value)), ValidationSettings()).admitted
    assert found is not None
    assert (str(found.ref), found.metadata.created) == (
        "VirtualService/shop/users",
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
    for bad in (BAD, None):
        assert judge(parse_review(review(bad)), ValidationSettings()).admitted is None
    labelled = {**ROUTE, "metadata": {"name": "users", "labels": {"a": "b"}}}
    again = parse_review(review(labelled, operation="UPDATE", oldObject=ROUTE))
    assert judge(again, ValidationSettings()).admitted is None


def test_problems_among_objects_are_warnings_whatever_they_are_and_not_without_end() -> None:
    def problem(number: int, severity: Severity = Severity.ERROR, message: str = "") -> Problem:
        return Problem(severity=severity, code=ProblemCode.UNKNOWN_HOST, message=message or f"no {number}", fix="Do.")

    told = add_warnings(answer(ROUTE), [problem(1), problem(1), problem(2, Severity.INFO), problem(3)])
    assert (told.allowed, told.warnings) == (True, ("no 1. Do.", "no 3. Do."))
    assert len(add_warnings(told, map(problem, range(50))).warnings) == 15
    (long,) = add_warnings(answer(ROUTE), [problem(1, message="x" * 999)]).warnings
    assert len(long) == 256


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.sampled_from(["CREATE", "UPDATE", "DELETE", "ODD"]), JSON)
def test_any_object(value: Any, operation: str, before: Any) -> None:
    told = answer(value, operation=operation, oldObject=before)
    assert told.allowed or (told.message and told.code == 400)


@given(st.sampled_from(["apiVersion", "kind", "metadata", "spec", "status"]), JSON)
def test_any_part(part: str, value: Any) -> None:
    told = answer({**ROUTE, part: value})
    assert told.allowed or told.message
