"""A client and a server far apart, in virtual time: what either says arrives half a round trip later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from tests.protocol.conversation import BEGINNING, EDS, Heard, Talk

STEPS = 10
"""Of a round trip."""


@dataclass(slots=True)
class Far:
    """A client of endpoints that accepts every response when it comes. `step` is the time, and a `talk` the server."""

    talk: Talk
    round_trip: timedelta
    step: int = 0
    names: tuple[str, ...] = ()
    heard: Heard | None = None
    asked: dict[str, int] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=dict)
    crossed: int = 0
    """The requests for names that arrived after another response had left than the last that they knew of."""
    responses: int = 0
    _to_server: deque[tuple[int, Callable[[], None]]] = field(default_factory=deque)
    _to_client: deque[tuple[int, Heard]] = field(default_factory=deque)

    def asks(self, name: str) -> None:
        self.names = (*self.names, name)
        self.asked[name] = self.step
        known = self.heard
        says = self._sends(name)

        def arrives() -> None:
            self.crossed += known is not None and self.talk.last[EDS].nonce != known.nonce
            says()

        self._to_server.append((self.step + STEPS // 2, arrives))

    def passes(self) -> None:
        """One step, in which both ends see to what has arrived."""
        self.step += 1
        self.talk.passes(seconds=(BEGINNING + self.step * self.round_trip / STEPS - self.talk.now).total_seconds())
        while self._to_server and self._to_server[0][0] <= self.step:
            self._to_server.popleft()[1]()
        while (response := self.talk.next()) is not None:
            self.responses += 1
            self._to_client.append((self.step + STEPS // 2, response))
        while self._to_client and self._to_client[0][0] <= self.step:
            self.heard = self._to_client.popleft()[1]
            for name in self.heard.resources:
                self.served.setdefault(name, self.step)
            self._to_server.append((self.step + STEPS // 2, self._sends()))

    def _sends(self, *more: str) -> Callable[[], None]:
        """What it says now, with the nonce that it knows: which names it wants, or wants too (incremental)."""
        talk, names = self.talk, self.names
        nonce, version = (self.heard.nonce, self.heard.version) if self.heard else ("", "")
        if talk.delta:
            return lambda: talk.delta_says(EDS, *more, nonce=nonce)
        return lambda: talk.sotw_says(EDS, *names, nonce=nonce, version=version)


@pytest.mark.parametrize("milliseconds", [100, 1000])
@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
def test_r16_r17_names_are_served_though_there_is_a_push_every_round_trip(delta: bool, milliseconds: int) -> None:
    """For a minute, up to the last, which is asked for when the pushes end. That a request counts by itself though it
    crossed a push is shown where no answer follows it, which would repeat its names (test_answers.py)."""
    round_trip = timedelta(milliseconds=milliseconds)
    pushes = timedelta(minutes=1) // round_trip
    every = max(3, pushes // 50)
    world = {f"n{number}": "1" for number in range(pushes // every + 2)}
    far = Far(Talk(delta, {EDS: world}), round_trip)
    wanted = iter(world)
    far.asks(next(wanted))
    for _ in range(2 * STEPS):
        far.passes()
    for push in range(pushes):
        far.talk.becomes({EDS: {**world, "n0": f"push {push}"}})
        for step in range(STEPS):
            # The client's clock is another, so that it asks at any point between two pushes.
            if push % every == 0 and step == push // every % STEPS:
                far.asks(next(wanted))
            far.passes()
    quiet = far.step
    far.asks(last := next(wanted))
    for _ in range(2 * STEPS):
        far.passes()
    assert far.responses > pushes
    assert far.crossed > len(far.names) / 2
    assert far.served.keys() == far.asked.keys()
    assert max(far.served[name] - far.asked[name] for name in far.names) <= 2 * STEPS
    assert far.served[last] - quiet < 2 * STEPS
