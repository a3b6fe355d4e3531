"""The only file that reads the clock and throws dice: everybody else is handed the time and the chance."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime


def now() -> datetime:
    """The present instant, aware, UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds of a clock that is never set, since some moment."""
    return time.monotonic()


def seconds() -> float:
    """A count of seconds that never goes back, for intervals."""
    return time.monotonic()


def jitter() -> float:
    """A number from -1 to 1, evenly spread."""
    return random.uniform(-1, 1)
