"""Events of the discovery server as log lines."""

from __future__ import annotations

from typing import assert_never

import structlog

from heddle.reasons import concise
from xds.events import (
    AskedTooMuch,
    DerivationFailed,
    Event,
    Rejected,
    SecretFailed,
    StreamClosed,
    StreamFailed,
    StreamOpened,
)

_log = structlog.get_logger()


def log_event(event: Event) -> None:
    """Writes one event; the names are constant, the values are keys."""
    match event:
        case StreamOpened():
            _log.info("xds.stream_opened", stream=event.stream, node=event.node)
        case StreamClosed():
            _log.info("xds.stream_closed", stream=event.stream, node=event.node, reason=event.reason)
        case AskedTooMuch():
            _log.warning(
                "xds.asked_too_much",
                node=event.node,
                effect="it gets the eager configuration from now on, every service in its scope",
                fix="See which hosts its application calls that nobody has; a Sidecar bounds what is in its scope.",
            )
        case Rejected():
            _log.warning(
                "xds.rejected",
                node=event.node,
                type=event.type_url,
                resources=event.names[:10],
                reason=concise(event.message),
                culprit_known=event.final,
            )
        case DerivationFailed():
            _log.error("xds.derivation_failed", type=event.type_url, resource=event.name, exc_info=event.error)
        case SecretFailed():
            _log.error("sds.secret_failed", node=event.node, secret=event.name, reason=repr(event.error))
        case StreamFailed():
            _log.error("xds.stream_failed", node=event.node, exc_info=event.error)
        case _:
            assert_never(event)
