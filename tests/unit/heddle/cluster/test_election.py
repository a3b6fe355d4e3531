"""Who leads, by a clock that the test moves."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.cluster.election import Election, Lease, Times

TIMES = Times()


@dataclass
class Board:
    """The API server's part: one Lease, replaced only by who knows its version."""

    lease: Lease = field(default_factory=Lease)
    writes: int = 0

    def write(self, bid: Lease) -> Lease | None:
        if bid.version != self.lease.version:
            return None
        self.writes += 1
        self.lease = replace(bid, version=str(self.writes))
        return self.lease


def contend(election: Election, board: Board, at: float, *, answer_after: float = 0.0) -> bool:
    """One attempt, as the pump makes it; whether the contender leads after it."""
    if not election.known:
        election.observe(board.lease, at)
    bid = election.bid(at, "now")
    written = board.write(bid) if bid is not None else None
    if written is not None:
        election.won(written, begun=at, at=at + answer_after)
    else:
        election.forget()
    return election.leads(at + answer_after)


def contenders(*names: str) -> tuple[Election, ...]:
    return tuple(Election(identity=name, times=TIMES) for name in names)


def test_the_first_to_write_leads_and_the_other_waits() -> None:
    board, (a, b) = Board(), contenders("a", "b")
    assert contend(a, board, 0.0)
    assert not contend(b, board, 0.1)
    assert (board.lease.holder, board.lease.transitions, b.holder) == ("a", 0, "a")


def test_a_lease_that_is_renewed_never_runs_out() -> None:
    board, (a, b) = Board(), contenders("a", "b")
    for second in range(0, 100, 2):
        assert contend(a, board, float(second))
        assert not contend(b, board, second + 0.5)
    assert board.lease.acquired == "now"
    assert board.lease.transitions == 0


def test_it_runs_out_when_it_has_not_changed_for_its_duration_as_the_other_saw_it() -> None:
    board, (a, b) = Board(), contenders("a", "b")
    contend(a, board, 0.0)
    assert not contend(b, board, 5.0)
    assert not contend(b, board, 19.9)
    assert contend(b, board, 20.0)
    assert (board.lease.holder, board.lease.transitions) == ("b", 1)


def test_the_duration_that_counts_is_the_holders() -> None:
    board, (b,) = Board(Lease(holder="a", duration_seconds=60.0, version="0")), contenders("b")
    contend(b, board, 0.0)
    assert not contend(b, board, 59.0)
    assert contend(b, board, 60.0)


def test_who_cannot_renew_leads_until_ten_seconds_after_its_last_write_was_sent() -> None:
    board, (a,) = Board(), contenders("a")
    assert contend(a, board, 100.0, answer_after=3.0)
    assert a.leads(109.9)
    assert a.leads_for(104.0) == 6.0
    assert not a.leads(110.0)
    assert a.leads_for(120.0) == 0.0


def test_an_answer_that_comes_too_late_makes_no_leader() -> None:
    board, (a,) = Board(), contenders("a")
    assert not contend(a, board, 0.0, answer_after=10.0)


def test_who_stepped_down_reads_before_it_bids() -> None:
    board, (a, b) = Board(), contenders("a", "b")
    contend(a, board, 0.0)
    contend(b, board, 0.0)
    a.step_down()
    assert not a.known
    assert contend(b, board, 16.0)
    assert not contend(a, board, 17.0)
    with pytest.raises(ValueError, match="needs the Lease"):
        Election(identity="c", times=TIMES).bid(0.0, "now")


def test_of_two_who_saw_the_same_only_one_wins() -> None:
    board, (a, b) = Board(), contenders("a", "b")
    a.observe(board.lease, 0.0)
    b.observe(board.lease, 0.0)
    assert contend(a, board, 0.0)
    assert not contend(b, board, 0.0)


def test_a_released_lease_is_free_at_once() -> None:
    board, (a, b) = Board(), contenders("a", "b")
    contend(a, board, 0.0)
    contend(b, board, 0.0)
    released = a.release("now")
    assert released is not None
    board.write(released)
    a.step_down()
    assert contend(b, board, 0.1)
    assert a.release("now") is not None, "what it saw last was its own"
    assert board.write(released) is None, "but that is an old version by now"


def test_a_process_that_comes_back_takes_its_own_lease() -> None:
    board, (a, again) = Board(), contenders("a", "a")
    contend(a, board, 0.0)
    assert contend(again, board, 1.0)
    assert board.lease.transitions == 0


@pytest.mark.parametrize("times", [(15, 16, 2), (15, 10, 11), (15, 10, 0)])
def test_times_that_cannot_hold_are_refused(times: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="retry < renew_within < duration"):
        Times(duration=times[0], renew_within=times[1], retry=times[2])


class Attempts:
    """One contender that tries again and again. Each `step` is the next of: read and ask, be written, hear of it."""

    def __init__(self, name: str, board: Board) -> None:
        (self.election,) = contenders(name)
        self._board = board
        self._steps = self._all()
        next(self._steps)

    def step(self, at: float, *, lost: bool) -> None:
        """`at` by its own clock. `lost`: an answer does not arrive."""
        self._steps.send((at, lost))

    def _all(self) -> Generator[None, tuple[float, bool], None]:
        at, _ = yield
        while True:
            if not self.election.known:
                self.election.observe(self._board.lease, at)
            begun, bid = at, self.election.bid(at, "now")
            if bid is None:
                self.election.forget()
                at, _ = yield
                continue
            yield
            written = self._board.write(bid)
            at, lost = yield
            if written is None or lost:
                self.election.forget()
            else:
                self.election.won(written, begun=begun, at=at)
            at, _ = yield


# Mostly at once, and else just on either side of the times that count, with clocks a tenth slower and faster.
PASSED = st.one_of(st.floats(0.01, 1.0), st.sampled_from((0.01, 0.01, 5.0, 8.9, 12.0, 13.7, 14.0, 15.5)))


@given(
    st.lists(
        st.tuples(st.integers(0, 2), PASSED, st.sampled_from((False, False, False, True))), min_size=40, max_size=60
    ),
    st.tuples(*[st.floats(-1000, 1000)] * 3),
    st.tuples(*[st.sampled_from((0.9, 1.0, 1.1))] * 3),
)
@settings(max_examples=300, deadline=None)
def test_there_is_never_more_than_one_leader(
    steps: list[tuple[int, float, bool]], offsets: tuple[float, ...], speeds: tuple[float, ...]
) -> None:
    """Whoever is cut off, slow in either direction, or has a clock of another time and a somewhat different speed."""
    board, true = Board(), 0.0
    all_of_them = [Attempts(name, board) for name in "abc"]

    def ticks(who: int, at: float) -> float:
        return at * speeds[who] + offsets[who]

    for who, passed, lost in steps:
        true += passed
        all_of_them[who].step(ticks(who, true), lost=lost)
        for instant in (true, true + 1.0, true + 5.0, true + 9.0):
            leading = [each.election.leads(ticks(number, instant)) for number, each in enumerate(all_of_them)]
            assert sum(leading) <= 1
