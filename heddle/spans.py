"""Spans of time as command-line arguments: `60s`, `1h30m`, as manifests write them."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta

from sources.durations import parse_duration

_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")


def span(text: str) -> timedelta:
    """For argparse's `type`. A bare number is refused: it has no unit."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no span of time (60s, 5m, 1h30m): {error}") from error


def wait_seconds(text: str) -> float:
    """For argparse's `type`, of how long to wait: a span, or a bare number of seconds. At least 0."""
    try:
        found = float(text) if _NUMBER.fullmatch(text) else parse_duration(text).total_seconds()
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no span of time (60s, 5m, 1h30m, or 60): {error}") from error
    if found < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is less than nothing: give a span such as 60s")
    return found
