"""When a certificate is renewed. Pure: time and chance are arguments.

Whoever acts on it compares with the wall clock at least once a minute: one long timer sleeps through a
suspended machine.
"""

from __future__ import annotations

from datetime import datetime, timedelta

RENEWAL_SHARE = 0.5
"""Of a certificate's life, as SPIRE and Istio do."""

JITTER_SHARE = 0.05
"""Of a certificate's life, to either side: sidecars that started together do not renew together.

So at least 0.45 of its life is left when a certificate is due: what an outage of the control plane may take.
"""

FIRST_RETRY = timedelta(milliseconds=100)
LONGEST_RETRY = timedelta(seconds=60)


def renew_at(*, issued_at: datetime, not_after: datetime, jitter: float) -> datetime:
    """The moment to replace a certificate: half its life after its issue, give or take a tenth of that half.

    `jitter` is from -1 to 1. Life counts from `issued_at`, not from the backdated `notBefore`, by which a
    certificate of a minute would be due from birth. Raises ValueError if `jitter` is out of range.
    """
    _check_jitter(jitter)
    return issued_at + (not_after - issued_at) * (RENEWAL_SHARE + JITTER_SHARE * jitter)


def retry_after(*, failures: int, jitter: float) -> timedelta:
    """How long to wait after the `failures`-th renewal in a row that failed: 100 ms, doubling, at most 60 s.

    `jitter`, from -1 to 1, takes off up to half of it: 1 waits the whole time. Raises ValueError if
    `failures` is below 1 or `jitter` out of range.
    """
    if failures < 1:
        raise ValueError("a retry follows at least one failure")
    _check_jitter(jitter)
    # Ten doublings of 100 ms pass the ceiling; the bound keeps the number small.
    delay = min(FIRST_RETRY * (1 << min(failures - 1, 10)), LONGEST_RETRY)
    return delay * (0.75 + 0.25 * jitter)


def _check_jitter(jitter: float) -> None:
    if not -1 <= jitter <= 1:
        raise ValueError(f"jitter is from -1 to 1, not {jitter}")
