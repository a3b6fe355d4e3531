"""How log lines look: one event a line on standard error, as text or as JSON."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logging(*, json_lines: bool, verbose: bool) -> None:
    """Once, at the start of a process that serves. Without `verbose` only warnings and worse are written."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if json_lines else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO if verbose else logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
