"""The core joined with a model client over queues: after any history, once all is quiet, the client holds what a fresh
process would give it. Rejected or underivable content leaves it on what it had."""

from __future__ import annotations

from collections import deque

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.protocol.conversation import BROKEN, CDS, EDS, LDS, VHDS, Talk
from tests.protocol.model_client import BAD, COMPLETE, ModelClient, Want
from xds.wire import parse_delta_request, parse_sotw_request

NAMES = {CDS: ("a", "b", "c"), EDS: ("a", "b", "c"), LDS: ("l", "m"), VHDS: ("80/a", "80/b", "81/a")}
CONTENTS = ("1", "2", "3", f"{BAD}1", f"{BAD}2", BROKEN)
STEPS = 40


class Machine(RuleBasedStateMachine):
    delta = True

    @initialize()
    def begin(self) -> None:
        self.talk = Talk(self.delta, {url: {} for url in NAMES})
        self.client = ModelClient(self.delta)
        self.inbox: deque[bytes] = deque()

    def urls(self) -> list[str]:
        return [url for url in NAMES if self.delta or url != VHDS]

    @rule(data=st.data(), content=st.sampled_from(CONTENTS) | st.none())
    def change(self, data: st.DataObject, content: str | None) -> None:
        url = data.draw(st.sampled_from(self.urls()))
        name = data.draw(st.sampled_from(NAMES[url]))
        contents = dict(self.talk.world.get(url, {}))
        contents.pop(name, None)
        if content is not None:
            contents[name] = content
        self.talk.becomes({url: contents})

    @rule(url=st.sampled_from((CDS, LDS, VHDS)))
    def open_wildcard(self, url: str) -> None:
        if url in self.urls():
            self.client.open_wildcard(url)

    @rule(data=st.data())
    def subscribe(self, data: st.DataObject) -> None:
        url = data.draw(st.sampled_from((CDS, EDS)))
        self.client.subscribe(url, data.draw(st.sampled_from(NAMES[url])))

    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        url = data.draw(st.sampled_from((CDS, EDS)))
        self.client.unsubscribe(url, data.draw(st.sampled_from(NAMES[url])))

    @rule()
    def server_reads(self) -> None:
        if self.client.outbox:
            raw = self.client.outbox.popleft()
            self.talk.stream.receive((parse_delta_request if self.delta else parse_sotw_request)(raw), self.talk.now)

    @rule()
    def server_sends(self) -> None:
        raw = self.talk.stream.next(self.talk.now)
        if raw is not None:
            self.inbox.append(raw)

    @rule()
    def client_reads(self) -> None:
        if self.inbox:
            self.client.hear(self.inbox.popleft())

    @rule(seconds=st.sampled_from([1, 6]))
    def time_passes(self, seconds: int) -> None:
        self.talk.passes(seconds=seconds)

    @precondition(lambda self: self.client.wants)
    @rule()
    def reconnect(self) -> None:
        self.inbox.clear()
        self.talk.reconnect()
        self.client.reconnect()

    @rule()
    def all_is_quiet(self) -> None:
        for _ in range(500):
            before = (len(self.client.outbox), len(self.inbox))
            while self.client.outbox:
                self.server_reads()
            self.server_sends()
            self.client_reads()
            if before == (0, 0) and not self.client.outbox and not self.inbox:
                break
        else:
            raise AssertionError("they never come to rest")
        self.talk.passes(seconds=6)
        if self.talk.stream.next(self.talk.now) is not None:
            raise AssertionError("something waited for time alone")
        self.compare()

    def compare(self) -> None:
        rejected = self.talk.stream.state().rejected
        routes_rejected = any(url in (LDS, VHDS) for url, _ in rejected)
        for url, want in self.client.wants.items():
            world = self.talk.world.get(url, {})
            if self.keeps_all(url):
                continue
            for name, content in world.items():
                if name not in want.names and not want.wildcard:
                    continue
                held = want.held.get(name, ("", ""))[1]
                if BAD in content:
                    assert BAD not in held
                    assert (url, name) in [(one, resource.name) for one, resource in rejected]
                elif content != BROKEN:
                    assert held == content, (url, name)
            self.compare_absent(url, want, routes_rejected=routes_rejected)

    def keeps_all(self, url: str) -> bool:
        """A client that came with a complete set keeps it while one is refused or cannot be derived."""
        came_with_a_set = self.client.wants[url].version and url not in self.client.proven
        unproven = not self.delta and url in COMPLETE and came_with_a_set
        return bool(unproven) and any(BAD in content or content == BROKEN for content in self.talk.world[url].values())

    def compare_absent(self, url: str, want: Want, *, routes_rejected: bool) -> None:
        if url == EDS or (url == CDS and routes_rejected):
            return
        gone = {name for name in want.held if name not in self.talk.world.get(url, {})}
        assert not gone, (url, gone)

    def teardown(self) -> None:
        if hasattr(self, "talk"):
            self.all_is_quiet()


class SotwMachine(Machine):
    delta = False


@pytest.mark.parametrize("machine", [Machine, SotwMachine], ids=["delta", "sotw"])
def test_the_client_ends_with_what_a_fresh_process_would_serve(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.soak
@pytest.mark.parametrize("machine", [Machine, SotwMachine], ids=["delta", "sotw"])
def test_the_client_ends_so_after_very_many_histories(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=500, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
