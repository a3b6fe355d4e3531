"""What is answered about an object of the mesh's configuration that somebody writes to the API server.

The parser is the one that everything else uses, so that what is admitted comes into force, and what is refused would
not have. An object is judged alone: what it refers to may be written later, and is worth a warning at most.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from injector.admission_review import ReviewAnswer, ReviewRequest, refuse, tidy_warnings, to_text
from injector.pod_values import Json
from injector.validation_settings import OnError, ValidationSettings
from model.problems import Problem, Severity
from sources.kinds import Object
from sources.manifests import parse_value

_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_METADATA: Final = ("name", "namespace", "labels", "annotations", "creationTimestamp")
_ASIDE: Final = ("metadata", "status")
"""Who changes nothing but these never waits for a mistake to be mended: finalizers, labels and conditions are kept."""

_MAX_ERRORS: Final = 10
_MAX_LENGTH: Final = 400
"""Characters of one error, so that all of them fit into one message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The answer about an object by itself; `admitted` is the object if it would come into force anew."""

    answer: ReviewAnswer
    admitted: Object | None = None


def judge(request: ReviewRequest, settings: ValidationSettings) -> Judgement:
    """Whether the object may be written, and what kubectl is to print about it. Takes time with the object's size."""
    if request.operation not in ("CREATE", "UPDATE") or request.subresource:
        return Judgement(answer=ReviewAnswer(uid=request.uid))
    if not isinstance(request.value, dict):
        return Judgement(answer=refuse(request, HTTPStatus.BAD_REQUEST, "the review has no object"))
    if _is_aside(request):
        return Judgement(answer=ReviewAnswer(uid=request.uid))
    parsed = parse_value(request.name or "the object", _to_manifest(request))
    errors = [problem for problem in parsed.problems if problem.severity is Severity.ERROR]
    if errors and settings.on_error is OnError.REFUSE:
        return Judgement(answer=refuse(request, HTTPStatus.BAD_REQUEST, _listed(errors)))
    answer = add_warnings(ReviewAnswer(uid=request.uid), parsed.problems)
    return Judgement(answer=answer, admitted=next(iter(parsed.objects), None))


def add_warnings(answer: ReviewAnswer, problems: Iterable[Problem]) -> ReviewAnswer:
    """The answer with problems as warnings, errors among them, after those that it has."""
    told = (to_text(problem) for problem in problems if problem.severity is not Severity.INFO)
    return replace(answer, warnings=tidy_warnings(dict.fromkeys((*answer.warnings, *tidy_warnings(told)))))


def _is_aside(request: ReviewRequest) -> bool:
    """Whether nothing that has a meaning to the mesh changes, or the object is going away."""
    if request.operation != "UPDATE" or not isinstance(request.before, dict):
        return False
    metadata = request.value.get("metadata")
    if isinstance(metadata, dict) and metadata.get("deletionTimestamp"):
        return True
    return _content(request.value) == _content(request.before)


def _content(value: Json) -> Json:
    return {name: member for name, member in value.items() if name not in _ASIDE}


def _to_manifest(request: ReviewRequest) -> Json:
    """The object as its author wrote it. One that is to get a generated name has none yet."""
    value: Json = request.value
    given = value.get("metadata")
    if not isinstance(given, dict):
        return value
    metadata = {name: given[name] for name in _METADATA if given.get(name) is not None}
    metadata.setdefault("name", request.name or "generated")
    if request.namespace:
        metadata.setdefault("namespace", request.namespace)
    annotations = metadata.get("annotations")
    if isinstance(annotations, dict):
        metadata["annotations"] = {name: text for name, text in annotations.items() if name != _LAST_APPLIED}
    return {**_content(value), "metadata": metadata}


def _listed(errors: list[Problem]) -> str:
    lines = list(dict.fromkeys(to_text(problem)[:_MAX_LENGTH] for problem in errors))
    more = f"; and {len(lines) - _MAX_ERRORS} more" if len(lines) > _MAX_ERRORS else ""
    return "; ".join(line.removesuffix(".") for line in lines[:_MAX_ERRORS]) + more
