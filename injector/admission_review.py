"""The conversation of a mutating webhook (admission.k8s.io/v1) without its sockets: bytes in, an answer out."""

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
from injector.pod_values import Json, MalformedPod, check_depth, check_shape
from injector.record import original_pod
from injector.settings import InjectionSettings
from model.problems import Problem, Severity

API_VERSION: Final = "admission.k8s.io/v1"
_UID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_MAX_WARNING: Final = 256
_MAX_WARNINGS: Final = 15
"""An API server cuts a warning at 256 characters, and drops them all where they have more than 4096 together."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")


class BadReview(ValueError):
    """What came is no AdmissionReview that could be answered: there is nobody to name in an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRequest:
    """What an API server asks. `pod` is None where nothing is to be done: not a Pod that is being created."""

    uid: str
    namespace: str
    pod: Json | None
    kind: str


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
    creates = request.get("operation") == "CREATE" and not request.get("subResource")
    return ReviewRequest(
        uid=uid,
        kind="Pod" if (kind.get("group"), kind["kind"]) == ("", "Pod") else kind["kind"][:63],
        namespace=namespace if isinstance(namespace, str) else "",
        pod=request.get("object") if creates else None,
    )


def answer_review(
    request: ReviewRequest, namespace_labels: Mapping[str, str] | None, settings: InjectionSettings
) -> ReviewAnswer:
    """The answer. `namespace_labels` None: the namespace is not known (yet), so that nothing can be decided."""
    if request.kind != "Pod":
        return _refuse(
            request, HTTPStatus.BAD_REQUEST, f"this webhook is for Pods, and not for the kind {request.kind}"
        )
    if request.pod is None:
        return ReviewAnswer(uid=request.uid)
    if namespace_labels is None:
        message = f"the namespace {request.namespace} is not known to the injector yet: try again"
        return _refuse(request, HTTPStatus.SERVICE_UNAVAILABLE, message)
    try:
        pod = check_shape(request.pod)
        decision = decide(
            original_pod(pod), namespace=request.namespace, namespace_labels=namespace_labels, settings=settings
        )
        if not decision.inject:
            warnings = (f"no sidecar: {decision.message}. {decision.fix}",) if decision.surprising else ()
            return ReviewAnswer(uid=request.uid, warnings=_tidy(warnings), decision=decision)
        injected = inject_pod(pod, settings)
    except MalformedPod as malformed:
        return _refuse(request, HTTPStatus.BAD_REQUEST, str(malformed))
    texts = {
        severity: [_to_text(problem) for problem in injected.problems if problem.severity is severity]
        for severity in Severity
    }
    if injected.pod is None:
        return _refuse(request, HTTPStatus.BAD_REQUEST, "no sidecar can be added: " + "; ".join(texts[Severity.ERROR]))
    return ReviewAnswer(
        uid=request.uid,
        patch=tuple(build_json_patch(pod, injected.pod)),
        warnings=_tidy(texts[Severity.WARNING]),
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


def _refuse(request: ReviewRequest, code: HTTPStatus, message: str) -> ReviewAnswer:
    return ReviewAnswer(uid=request.uid, allowed=False, code=code, message=message[:1024])


def _to_text(problem: Problem) -> str:
    return " ".join(
        part for part in (f"{problem.field}:" if problem.field else "", problem.message, problem.fix) if part
    )


def _tidy(warnings: Iterable[str]) -> tuple[str, ...]:
    return tuple(_CONTROL.sub(" ", warning)[:_MAX_WARNING] for warning in warnings)[:_MAX_WARNINGS]
