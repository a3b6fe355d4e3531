"""How log lines look: one event a line on standard error, as text or as JSON."""

from __future__ import annotations

import logging
import sys
from typing import Final

import structlog

AUDITED: Final = frozenset({"identity.issued"})
"""What a process that keeps an audit log writes however little it says otherwise."""


def configure_logging(*, json_lines: bool, verbose: bool, audit: bool = False) -> None:
    """Once, at the start of a process that serves. Without `verbose` only warnings and worse are written, and, with
    `audit`, the events of `AUDITED`."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if json_lines else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            *(() if verbose else (_drop_details,)),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO if verbose or audit else logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )


def _drop_details(
    logger: structlog.typing.WrappedLogger, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """See `structlog.typing.Processor`."""
    if method == "info" and event["event"] not in AUDITED:
        raise structlog.DropEvent
    return event
