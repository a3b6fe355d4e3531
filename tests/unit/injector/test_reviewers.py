"""Who is asked for what on the webhooks' paths."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from injector.admission_review import parse_review
from injector.decide import Why
from injector.reviewers import InjectionReviewer, ValidationReviewer
from injector.server import LARGE
from injector.settings import InjectionSettings
from injector.validation_settings import ValidationSettings
from model.problem_codes import ProblemCode
from model.problems import Problem, Severity
from sources.kinds import Object
from tests.unit.injector import test_validation_review as objects
from tests.unit.injector.pods import pod
from tests.unit.injector.test_admission_review import review

ENABLED = {"heddle.io/inject": "enabled"}


@dataclass
class Labels:
    """Of all namespaces: what is known, and what is newest."""

    known: Mapping[str, str] | None
    newest: Mapping[str, str] | None = None
    asked: list[bool] = field(default_factory=list)

    async def labels_of(self, namespace: str, *, newest: bool = False) -> Mapping[str, str] | None:
        self.asked.append(newest)
        return self.newest if newest else self.known


async def test_a_namespace_that_was_labelled_a_moment_ago() -> None:
    labels = Labels(known={}, newest=ENABLED)
    told = await InjectionReviewer(InjectionSettings, labels).review(parse_review(review(pod())))
    assert told.patch
    assert labels.asked == [False, True]


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ({}, Why.NOT_ASKED),
        ({"istio.io/rev": "heddle-canary"}, Why.OTHER_REVISION),
        ({"istio-injection": "enabled"}, Why.ISTIO),
        ({"istio-injection": "disabled"}, Why.NAMESPACE_DISABLED),
        ({"heddle.io/inject": "disabled"}, Why.NAMESPACE_DISABLED),
        ({"heddle.io/inject": "maybe"}, Why.UNKNOWN_VALUE),
    ],
)
async def test_every_no_of_a_namespaces_labels_is_asked_again(known: Mapping[str, str], why: Why) -> None:
    # As docs/migrating-from-istio.md moves a namespace, and restarts what runs in it at once.
    moved = {"istio-injection": "disabled", "heddle.io/inject": "enabled"}
    labels = Labels(known=known, newest=moved)
    told = await InjectionReviewer(InjectionSettings, labels).review(parse_review(review(pod())))
    assert told.patch
    assert labels.asked == [False, True]
    told = await InjectionReviewer(InjectionSettings, Labels(known=known)).review(parse_review(review(pod())))
    assert told.decision is not None
    assert told.decision.why is why


async def test_what_is_known_is_enough_where_newer_labels_change_nothing() -> None:
    declining = pod(annotations={"sidecar.istio.io/inject": "false"})
    for known, given in ((ENABLED, pod()), (ENABLED, declining), ({}, declining)):
        labels = Labels(known=known)
        await InjectionReviewer(InjectionSettings, labels).review(parse_review(review(given)))
        assert labels.asked == [False]


async def test_without_anything_newer_the_answer_stays() -> None:
    labels = Labels(known={}, newest=None)
    told = await InjectionReviewer(InjectionSettings, labels).review(parse_review(review(pod())))
    assert (told.allowed, told.patch) == (True, ())


async def test_settings_are_those_of_the_moment() -> None:
    current = [InjectionSettings()]
    reviewer = InjectionReviewer(lambda: current[0], Labels(known=ENABLED))
    first = await reviewer.review(parse_review(review(pod())))
    current[0] = InjectionSettings(proxy_image="own:2")
    second = await reviewer.review(parse_review(review(pod())))
    assert ("own:2" in str(first.patch), "own:2" in str(second.patch)) == (False, True)


async def test_large_objects_are_parsed_elsewhere() -> None:
    asked_in: list[bool] = []

    def settings() -> ValidationSettings:
        return ValidationSettings()

    found = Problem(severity=Severity.ERROR, code=ProblemCode.UNKNOWN_HOST, message="no service", fix="Make it.")

    async def findings(entry: Object) -> Iterable[Problem]:
        asked_in.append(threading.current_thread() is threading.main_thread())
        return (found,)

    headers = {f"h{number}": {"exact": "x" * 40} for number in range(1500)}
    route = objects.ROUTE["spec"]["http"][0]
    large: dict[str, Any] = objects.route(http=[{"match": [{"headers": headers}], **route}, route])
    reviewer = ValidationReviewer(settings, findings)
    asked = parse_review(objects.review(large))
    assert asked.size > LARGE
    for each in (asked, parse_review(objects.review(objects.ROUTE))):
        told = await reviewer.review(each)
        assert (told.allowed, told.warnings) == (True, ("no service. Make it.",))
    # What is found among objects is looked up where the store is written, and not for what is refused.
    assert asked_in == [True, True]
    told = await reviewer.review(parse_review(objects.review(objects.BAD)))
    assert (told.allowed, told.warnings, len(asked_in)) == (False, (), 2)
