"""A bounded rate: so many at once, so many a second."""

from __future__ import annotations


class TokenBucket:
    """`at` is an instant of a monotonic clock in seconds. Raises ValueError unless both figures are positive."""

    __slots__ = ("_burst", "_filled_at", "_held", "_per_second")

    def __init__(self, *, per_second: float, burst: float) -> None:
        if per_second <= 0 or burst < 1:
            raise ValueError("a bucket needs a positive rate and holds at least one")
        self._per_second = per_second
        self._burst = burst
        self._held = burst
        self._filled_at: float | None = None

    def take(self, at: float) -> float:
        """Takes one, and says how many seconds to wait before it may be used."""
        self._fill(at)
        self._held -= 1
        return max(0.0, -self._held / self._per_second)

    def take_now(self, at: float) -> bool:
        """Takes one if there is one. Whether there was; nothing is owed otherwise."""
        self._fill(at)
        if self._held < 1:
            return False
        self._held -= 1
        return True

    def _fill(self, at: float) -> None:
        passed = 0.0 if self._filled_at is None else max(0.0, at - self._filled_at)
        self._held = min(self._burst, self._held + passed * self._per_second)
        self._filled_at = at
