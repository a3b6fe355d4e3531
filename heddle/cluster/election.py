"""Who leads, without I/O: what to make of a Lease that was read, what to write into it, and until when to lead.

Clocks of machines differ, so that no instant that another replica wrote is compared with anything. A Lease has run out
when it has not *changed* for its duration, by the monotonic clock of whoever looks. A leader counts from before its
last successful write was sent and stops sooner than anybody else can have waited long enough, so that clocks may also
run at somewhat different speeds. Every write replaces the version that was read, or fails.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds. `duration`: how long a Lease holds without a change. `renew_within`: a leader that could not renew for
    this long steps down. `retry`: between two attempts. Raises ValueError unless retry < renew_within < duration.

    Source: the defaults of Kubernetes' own components.
    """

    duration: float = 15.0
    renew_within: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.retry < self.renew_within < self.duration:
            raise ValueError("a lease needs 0 < retry < renew_within < duration")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What a Lease says. `holder` '' for nobody; `acquired` and `renewed` as its holder's clock had it, in words.

    `version` is the API server's, '' where there is no such object yet.
    """

    holder: str = ""
    duration_seconds: float = 0.0
    acquired: str = ""
    renewed: str = ""
    transitions: int = 0
    version: str = ""


class Election:
    """One contender. `at` is an instant of its own monotonic clock, in seconds, and never goes back."""

    def __init__(self, *, identity: str, times: Times) -> None:
        self._identity = identity
        self._times = times
        self._seen: Lease | None = None
        self._seen_at = 0.0
        self._known = False
        self._renewed_at: float | None = None

    @property
    def known(self) -> bool:
        """Whether the next bid can be made without reading the Lease first."""
        return self._known

    @property
    def holder(self) -> str:
        """Whom the Lease named when it was last seen."""
        return self._seen.holder if self._seen is not None else ""

    def observe(self, lease: Lease, at: float) -> None:
        """This is what the API server has; an absent one is a `Lease()`."""
        if lease != self._seen:
            self._seen, self._seen_at = lease, at
        self._known = True

    def forget(self) -> None:
        """The Lease may be another by now: it has to be read before the next bid."""
        self._known = False

    def bid(self, at: float, now: str) -> Lease | None:
        """What to write in place of what was seen; None while another one holds it. `now` is only written."""
        seen = self._seen
        if seen is None or not self._known:
            raise ValueError("a bid needs the Lease as it is")
        ours = seen.holder == self._identity
        if seen.holder and not ours and at < self._seen_at + (seen.duration_seconds or self._times.duration):
            return None
        return replace(
            seen,
            holder=self._identity,
            duration_seconds=self._times.duration,
            acquired=seen.acquired if ours and seen.acquired else now,
            renewed=now,
            transitions=seen.transitions if ours or not seen.version else seen.transitions + 1,
        )

    def won(self, lease: Lease, *, begun: float, at: float) -> None:
        """A bid, sent at `begun`, was written; `lease` is the answer."""
        self.observe(lease, at)
        self._renewed_at = begun

    def leads(self, at: float) -> bool:
        """Whether this contender may lead."""
        return self._renewed_at is not None and at < self._renewed_at + self._times.renew_within

    def leads_for(self, at: float) -> float:
        """How much longer it may lead if it cannot renew, in seconds."""
        return 0.0 if self._renewed_at is None else max(0.0, self._renewed_at + self._times.renew_within - at)

    def step_down(self) -> None:
        """It does not lead any more, whatever the Lease says."""
        self._renewed_at = None
        self._known = False

    def release(self, now: str) -> Lease | None:
        """What to write so that the next one need not wait; None if the Lease is not ours."""
        seen = self._seen
        if seen is None or not seen.version or seen.holder != self._identity:
            return None
        return replace(seen, holder="", duration_seconds=1.0, renewed=now)
