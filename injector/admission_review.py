"""The conversation of an admission webhook (admission.k8s.io/v1) without its sockets, and the answer about pods.

Bytes in, an answer out; what is answered about objects of other kinds is in `validation_review`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from injector.decide import Decision, decide
from injector.inject_pod import inject_pod
from injector.json_patch import build_json_patch
from injector.pod_security import pod_security_warnings
from injector.pod_values import Json, MalformedPod, check_depth, check_shape
from injector.record import original_pod
from injector.settings import InjectionSettings
from model.problems import Problem, Severity

API_VERSION: Final = "admission.k8s.io/v1"
_UID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_MAX_WARNING: Final = 256
_MAX_WARNINGS: Final = 15
"""An API server cuts a warning at 256 characters, and drops them all where they have more than 4096 together."""

_MAX_MESSAGE: Final = 4096
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")


class BadReview(ValueError):
    """What came is no AdmissionReview that could be answered: there is nobody to name in an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRequest:
    """What an API server asks. `pod` is None where nothing is to be done: not a Pod that is being created.

    `value` is the object, and `before` what it was before an UPDATE, None where there is none. `operation` is the API
    server's word (CREATE, UPDATE, DELETE, CONNECT), `subresource` '' for the object itself. `size` is the body's, in
    bytes.
    """

    uid: str
    namespace: str
    pod: Json | None
    kind: str
    name: str = ""
    operation: str = ""
    subresource: str = ""
    value: Any = None
    before: Any = None
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewAnswer:
    """What it is told. `patch` turns the pod into the injected one. `code` and `message` say why it is not allowed."""

    uid: str
    allowed: bool = True
    patch: tuple[Json, ...] = ()
    warnings: tuple[str, ...] = ()
    code: int = HTTPStatus.OK
    message: str = ""
    decision: Decision | None = None


def parse_review(body: bytes) -> ReviewRequest:
    """Raises BadReview, whose text says what is wrong."""
    try:
        review: Any = json.loads(body)
        check_depth(review, "the review")
    except (ValueError, RecursionError):
        raise BadReview("the body is no JSON, or is nested too deep") from None
    if not isinstance(review, dict) or review.get("kind") != "AdmissionReview":
        raise BadReview("the body is no AdmissionReview")
    if review.get("apiVersion") != API_VERSION:
        raise BadReview(f"the review is not of the version {API_VERSION}")
    request = review.get("request")
    if not isinstance(request, dict):
        raise BadReview("the review has no request")
    uid, kind, namespace = request.get("uid"), request.get("kind"), request.get("namespace")
    if not isinstance(uid, str) or not _UID.fullmatch(uid):
        raise BadReview("the request has no uid")
    if not isinstance(kind, dict) or not isinstance(kind.get("kind"), str):
        raise BadReview("the request has no kind")
    operation, subresource = _text(request.get("operation")), _text(request.get("subResource"))
    return ReviewRequest(
        uid=uid,
        kind="Pod" if (kind.get("group"), kind["kind"]) == ("", "Pod") else kind["kind"][:63],
        namespace=_text(namespace),
        pod=request.get("object") if operation == "CREATE" and not subresource else None,
        name=_text(request.get("name")),
        operation=operation,
        subresource=subresource,
        value=request.get("object"),
        before=request.get("oldObject"),
        size=len(body),
    )


def answer_review(
    request: ReviewRequest, namespace_labels: Mapping[str, str] | None, settings: InjectionSettings
) -> ReviewAnswer:
    """The answer. `namespace_labels` None: the namespace is not known (yet), so that nothing can be decided."""
    if request.kind != "Pod":
        return refuse(request, HTTPStatus.BAD_REQUEST, f"this webhook is for Pods, and not for the kind {request.kind}")
    if request.pod is None:
        return ReviewAnswer(uid=request.uid)
    if namespace_labels is None:
        message = f"the namespace {request.namespace} is not known to the injector yet: try again"
        return refuse(request, HTTPStatus.SERVICE_UNAVAILABLE, message)
    try:
        pod = check_shape(request.pod)
        decision = decide(
            original_pod(pod), namespace=request.namespace, namespace_labels=namespace_labels, settings=settings
        )
        if not decision.inject:
            warnings = (f"no sidecar: {decision.message}. {decision.fix}",) if decision.surprising else ()
            return ReviewAnswer(uid=request.uid, warnings=tidy_warnings(warnings), decision=decision)
        injected = inject_pod(pod, settings)
    except MalformedPod as malformed:
        return refuse(request, HTTPStatus.BAD_REQUEST, str(malformed))
    texts = {
        severity: [to_text(problem) for problem in injected.problems if problem.severity is severity]
        for severity in Severity
    }
    if injected.pod is None:
        return refuse(request, HTTPStatus.BAD_REQUEST, "no sidecar can be added: " + "; ".join(texts[Severity.ERROR]))
    return ReviewAnswer(
        uid=request.uid,
        patch=tuple(build_json_patch(pod, injected.pod)),
        warnings=tidy_warnings([*pod_security_warnings(injected.pod, namespace_labels), *texts[Severity.WARNING]]),
        decision=decision,
    )


def to_json(answer: ReviewAnswer) -> bytes:
    """The answer as the API server reads it."""
    response: Json = {"uid": answer.uid, "allowed": answer.allowed}
    if answer.patch:
        patch = json.dumps(answer.patch, separators=(",", ":")).encode()
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch).decode()}
    if answer.warnings:
        response["warnings"] = list(answer.warnings)
    if not answer.allowed:
        response["status"] = {"code": int(answer.code), "message": answer.message}
    return json.dumps({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}).encode()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def refuse(request: ReviewRequest, code: HTTPStatus, message: str) -> ReviewAnswer:
    """The answer that the object is not allowed, and why."""
    return ReviewAnswer(uid=request.uid, allowed=False, code=code, message=message[:_MAX_MESSAGE])


def to_text(problem: Problem) -> str:
    """A problem in one line: the field, what is wrong, what to do."""
    said = ". ".join(part.rstrip(".") for part in (problem.message, problem.fix) if part)
    return f"{problem.field + ': ' if problem.field else ''}{said}."


def tidy_warnings(warnings: Iterable[str]) -> tuple[str, ...]:
    """As many warnings as an API server passes on, each as long as it may be, in one line."""
    return tuple(_CONTROL.sub(" ", warning)[:_MAX_WARNING] for warning in warnings)[:_MAX_WARNINGS]
