"""Spans of time as command-line arguments: `60s`, `1h30m`, as manifests write them, or a number of seconds."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta

from sources.durations import parse_duration

_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")


def span(text: str) -> timedelta:
    """For argparse's `type`. A bare number, at least 0, is of seconds."""
    try:
        return timedelta(seconds=float(text)) if _NUMBER.fullmatch(text) else parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no span of time (60s, 5m, 1h30m, or 60): {error}") from error


def wait_seconds(text: str) -> float:
    """For argparse's `type`, of how long to wait: as `span`, and at least 0."""
    found = span(text).total_seconds()
    if found < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is less than nothing: give a span such as 60s")
    return found
