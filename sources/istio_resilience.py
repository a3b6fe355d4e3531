"""What happens to requests that fail, or shall fail: `http[].retries` and `http[].fault`."""

from __future__ import annotations

from model.problem_codes import ProblemCode
from model.problems import Severity
from model.routing import Abort, Delay, Fault, RetryPolicy
from sources.bounded import checked, one_of, percentage, span
from sources.fields import Fields

MAX_ATTEMPTS = 1000

CONDITIONS = frozenset(
    {
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    }
)
"""Envoy's, for HTTP and gRPC; it passes over others in silence."""

GRPC_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""By number."""


def parse_retries(fields: Fields, name: str = "retries") -> RetryPolicy | None:
    """The retry policy in one field, None if absent."""
    inner = fields.child(name)
    if inner is None:
        return None
    attempts = inner.integer("attempts", default=0, minimum=0, maximum=MAX_ATTEMPTS)
    fix = f"Use {', '.join(sorted(CONDITIONS))} or status codes."
    found = RetryPolicy(
        attempts=attempts,
        per_try_timeout=span(inner, "perTryTimeout"),
        retry_on=checked(inner, "retryOn", parse_retry_on, "", fix=fix),
        backoff=span(inner, "backoff"),
        remote_localities=inner.boolean("retryRemoteLocalities"),
        ignore_previous_hosts=inner.boolean("retryIgnorePreviousHosts", True),
    )
    if not inner.has("attempts") and inner.names():
        fix = "Add attempts, such as attempts: 2 (0 turns retries off)."
        inner.problem(ProblemCode.MISSING_FIELD, "without attempts there are no retries", fix, field="attempts")
    inner.finish()
    return found


def parse_retry_on(text: str) -> str:
    """The conditions and status codes of `retryOn`, joined by commas, each once.

    Raises ValueError for a condition that Envoy does not have, or a code outside 100 to 599.
    """
    found: dict[str, None] = {}
    for part in text.split(","):
        word = part.strip()
        is_code = word.isascii() and word.isdigit() and len(word) == 3 and 100 <= int(word) <= 599
        if not is_code and word not in CONDITIONS:
            raise ValueError(f"{word[:80]!r} is no retry condition")
        found[word] = None
    return ",".join(found)


def parse_fault(fields: Fields) -> Fault | None:
    """The field `fault`, None if absent."""
    inner = fields.child("fault")
    if inner is None:
        return None
    if not inner.has("delay") and not inner.has("abort"):
        inner.problem(ProblemCode.MISSING_FIELD, "fault says neither delay nor abort", "Add one of them.")
    found = Fault(delay=_delay(inner), abort=_abort(inner))
    inner.finish()
    return found


def _delay(outer: Fields) -> Delay | None:
    fields = outer.child("delay")
    if fields is None:
        return None
    fields.later("exponentialDelay", severity=Severity.ERROR)
    fields.required("fixedDelay")
    fixed = span(fields, "fixedDelay")
    share = percentage(fields, "percentage", "percent")
    if share is None:
        _no_share(fields, "delays")
    fields.finish()
    return Delay(fixed=fixed, percentage=share or 0.0) if fixed is not None else None


def _abort(outer: Fields) -> Abort | None:
    fields = outer.child("abort")
    if fields is None:
        return None
    fields.later("http2Error", severity=Severity.ERROR)
    one_of(fields, "httpStatus", "grpcStatus", "http2Error")
    http_status = fields.integer("httpStatus", minimum=200, maximum=599)
    grpc_status = checked(
        fields, "grpcStatus", _grpc_status, None, fix=f"Use one of {', '.join(GRPC_CODES)}, or a code's number."
    )
    share = percentage(fields, "percentage", "percent")
    if not any(fields.has(name) for name in ("httpStatus", "grpcStatus", "http2Error")):
        fields.problem(
            ProblemCode.MISSING_FIELD, "abort says no status", "Add httpStatus or grpcStatus.", field="httpStatus"
        )
    elif share is None:
        _no_share(fields, "aborts")
    fields.finish()
    return Abort(http_status=http_status, grpc_status=grpc_status, percentage=share or 0.0)


def _no_share(fields: Fields, does: str) -> None:
    if fields.has("percentage") or fields.has("percent"):
        return
    message, fix = f"a fault without percentage {does} nothing", "Add percentage: {value: 100}."
    fields.problem(ProblemCode.NEVER_MATCHES, message, fix, field="percentage", severity=Severity.WARNING)


def _grpc_status(text: str) -> int | None:
    if text in GRPC_CODES:
        return GRPC_CODES.index(text)
    if text.isascii() and text.isdigit() and len(text) <= 2 and int(text) < len(GRPC_CODES):
        return int(text)
    raise ValueError(f"{text[:80]!r} is no gRPC status")
