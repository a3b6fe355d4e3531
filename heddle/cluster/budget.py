"""A bound on what may be asked of an API server on behalf of others: so many a second, so many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Spent(Exception):
    """Nothing is left at this moment."""


class Budget:
    """At most `per_second` in any second once the first `per_second` are gone, at most `at_once` at a time.

    Whoever comes beyond that is turned away and not kept waiting: it comes again, and a queue would only grow.
    `seconds` is a clock that never goes back.
    """

    def __init__(self, *, per_second: float, at_once: int, seconds: Callable[[], float]) -> None:
        self._per_second = per_second
        self._free = at_once
        self._seconds = seconds
        self._left = per_second
        self._filled = seconds()

    @contextmanager
    def spend(self) -> Iterator[None]:
        """One request, for the length of the block. Raises Spent."""
        now = self._seconds()
        self._left = min(self._per_second, self._left + (now - self._filled) * self._per_second)
        self._filled = now
        if self._left < 1 or self._free < 1:
            raise Spent
        self._left -= 1
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1
