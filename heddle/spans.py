"""Spans of time as command-line arguments: `60s`, `1h30m`, as manifests write them."""

from __future__ import annotations

import argparse
from datetime import timedelta

from sources.durations import parse_duration


def span(text: str) -> timedelta:
    """For argparse's `type`. A bare number is refused: it has no unit."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no span of time (60s, 5m, 1h30m): {error}") from error
