"""How often a process that serves looks for garbage in cycles, of which it makes next to none."""

from __future__ import annotations

import gc

_LOADING_THRESHOLD = 1_000_000
"""What is loaded until we serve stays for good: looking for garbage among it, again and again as it grows, was a third
of the time until the first sidecar is served; and one answer of an API server is half a million values, not one of them
garbage. Not switched off: a cluster may keep us waiting for long."""
_SERVING_THRESHOLDS = (100_000, 10, 20)
"""A change that concerns a thousand sidecars makes tens of thousands of objects that live until each has answered: to
look through them meanwhile was a twentieth of what it costs."""
_DEFAULT_THRESHOLDS = gc.get_threshold()


def while_loading() -> None:
    """Until `while_serving`."""
    gc.set_threshold(_LOADING_THRESHOLD)


def while_serving() -> None:
    """What is there by now is never looked at again."""
    gc.freeze()
    gc.set_threshold(*_SERVING_THRESHOLDS)


def as_usual() -> None:
    """As Python does it."""
    gc.set_threshold(*_DEFAULT_THRESHOLDS)
