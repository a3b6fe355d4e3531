"""Renewal at half of life, counted from the issue."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.identity import SpiffeId
from sds.authority import NewAuthority
from sds.renewal import renew_at, retry_after
from sds.signing import issue_workload

jitters = st.floats(min_value=-1, max_value=1)


@pytest.mark.parametrize(("jitter", "share"), [(-1, 0.45), (0, 0.5), (1, 0.55)])
def test_half_of_life_give_or_take_a_tenth_of_it(now: datetime, jitter: float, share: float) -> None:
    life = timedelta(hours=24)
    due = renew_at(issued_at=now, not_after=now + life, jitter=jitter)
    assert due - now == pytest.approx(life * share, abs=timedelta(milliseconds=1))


def test_a_backdated_certificate_of_a_minute_is_not_due_at_birth(
    new_authority: NewAuthority, now: datetime, identity: SpiffeId
) -> None:
    svid = issue_workload(new_authority.authority, identity=identity, now=now, life=timedelta(seconds=60))
    for jitter in (-1.0, 0.0, 1.0):
        due = renew_at(issued_at=svid.issued_at, not_after=svid.not_after, jitter=jitter)
        assert timedelta(seconds=26) < due - now < timedelta(seconds=34)


@settings(deadline=None)
@given(jitter=jitters, life=st.timedeltas(min_value=timedelta(seconds=10), max_value=timedelta(days=90)))
def test_the_outage_budget_is_always_left(jitter: float, life: timedelta) -> None:
    born = datetime.fromisoformat("2027-03-01T00:00:00+00:00")
    due = renew_at(issued_at=born, not_after=born + life, jitter=jitter)
    assert born + life - due >= life * 0.45 - timedelta(microseconds=2)
    assert due > born


def test_retries_double_to_a_minute() -> None:
    waits = [retry_after(failures=count, jitter=1).total_seconds() for count in range(1, 13)]
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60, 60])


@settings(deadline=None)
@given(failures=st.integers(min_value=1, max_value=10**9), jitter=jitters)
def test_retries_are_spread_over_the_upper_half(failures: int, jitter: float) -> None:
    longest = retry_after(failures=failures, jitter=1)
    assert longest / 2 <= retry_after(failures=failures, jitter=jitter) <= longest


@pytest.mark.parametrize("jitter", [-1.01, 1.01, float("nan")])
def test_jitter_out_of_range(now: datetime, jitter: float) -> None:
    with pytest.raises(ValueError, match="jitter"):
        renew_at(issued_at=now, not_after=now + timedelta(hours=1), jitter=jitter)
    with pytest.raises(ValueError, match="jitter"):
        retry_after(failures=1, jitter=jitter)


def test_no_retry_without_a_failure() -> None:
    with pytest.raises(ValueError, match="failure"):
        retry_after(failures=0, jitter=0)
