"""When a failed request is sent again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from envoy_data_plane.envoy.config.route.v3 import (
    RetryPolicy,
    RetryPolicyRetryBackOff,
    RetryPolicyRetryHostPredicate,
    RetryPolicyRetryPriority,
)
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.extensions.retry.priority.previous_priorities.v3 import PreviousPrioritiesConfig

from model.routing import RetryPolicy as RetryRule
from model.settings import DEFAULT_RETRY_ON
from protos.encoder import to_any

HOST_ATTEMPTS = 5
"""How often another host is looked for before the same one is taken again. Istio's number."""

RETRIABLE_STATUS_CODES = "retriable-status-codes"

SHORTEST_BACKOFF = timedelta(milliseconds=1)
"""Envoy counts back-off in whole milliseconds and refuses 0."""


def build_retry_policy(rule: RetryRule, *, sticky: bool) -> RetryPolicy | None:
    """None if there are no retries. `sticky`: a consistent hash chooses the endpoint, so a retry may go there again."""
    if rule.attempts <= 0:
        return None
    conditions, codes = _conditions(rule.retry_on or DEFAULT_RETRY_ON)
    predicate = RetryPolicyRetryHostPredicate(
        name="envoy.retry_host_predicates.previous_hosts", typed_config=to_any(PreviousHostsPredicate())
    )
    priority = RetryPolicyRetryPriority(
        name="envoy.retry_priorities.previous_priorities",
        typed_config=to_any(PreviousPrioritiesConfig(update_frequency=2)),
    )
    return RetryPolicy(
        retry_on=",".join(conditions),
        retriable_status_codes=codes,
        num_retries=rule.attempts,
        per_try_timeout=rule.per_try_timeout,
        retry_back_off=_back_off(rule.backoff),
        retry_host_predicate=[predicate] if rule.ignore_previous_hosts and not sticky else [],
        retry_priority=priority if rule.remote_localities else None,
        host_selection_retry_max_attempts=HOST_ATTEMPTS,
    )


def _conditions(retry_on: str) -> tuple[list[str], list[int]]:
    """Envoy's conditions, and the status codes that Istio lets stand among them (`503,reset`)."""
    parts = [part.strip() for part in retry_on.split(",") if part.strip()]
    codes = [int(part) for part in parts if _is_status(part)]
    conditions = dict.fromkeys(part for part in parts if not _is_status(part))
    if codes:
        conditions[RETRIABLE_STATUS_CODES] = None
    return list(conditions), _distinct(codes)


def _is_status(text: str) -> bool:
    return text.isascii() and text.isdigit() and 100 <= int(text) <= 599


def _distinct(codes: Iterable[int]) -> list[int]:
    return list(dict.fromkeys(codes))


def _back_off(base: timedelta | None) -> RetryPolicyRetryBackOff | None:
    return None if base is None else RetryPolicyRetryBackOff(base_interval=max(base, SHORTEST_BACKOFF))
