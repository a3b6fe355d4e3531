"""The core joined with model clients over queues that delay, drop, and reorder across streams.

After any history, once all is quiet, each client holds what a fresh process would give it; rejected or underivable
content leaves it on what it had. At every step: one push of a type is on its way; no refused set of versions comes
again; nothing refers to what was not sent, or is taken away while something refers to it; nothing comes that is not the
asker's; and without a change, nothing at all.
"""

from __future__ import annotations

from collections import defaultdict, deque
from datetime import datetime

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from model.asker import Asker
from tests.protocol.conversation import (
    BROKEN,
    CDS,
    EDS,
    LDS,
    LEADS,
    MEMO_LIMITS,
    RDS,
    VHDS,
    Heard,
    Talk,
    hear,
    is_for,
)
from tests.protocol.model_client import BAD, COMPLETE, ModelClient, Want
from xds.gates import PATIENCE
from xds.protocol import ANSWER_WITHIN
from xds.wire import DeltaRequest, SotwRequest, parse_delta_request, parse_sotw_request

NAMES = {
    CDS: ("a", "b", "c~a", "c~b"),
    EDS: ("a", "b", "c~a"),
    LDS: ("l", "m"),
    RDS: ("80", "81"),
    VHDS: ("80/a", "80/b", "81/a"),
}
CONTENTS = ("1", "2", "3", f"{BAD}1", f"{BAD}2", BROKEN)
ROUTES = ("to a", "to b", f"{BAD}1", BROKEN)
"""What routes say: the cluster that they lead to."""
STEPS = 40


def contents(heard: Heard) -> dict[str, str]:
    """What a response says, by name; nothing of what there is not."""
    return heard.resources | dict.fromkeys(heard.missing, "")


class Side:
    """One client, its stream, and what passed between them on it."""

    def __init__(self, delta: bool, app: str, talk: Talk) -> None:
        self.talk = talk
        self.app = app
        self.client = ModelClient(delta)
        self.inbox: deque[bytes] = deque()
        self.unsure = False
        """Whether something was answered too late, or the client came back: what it has may not be known."""
        self.hurried = False
        """Whether so much time has passed that nothing need be waited for."""
        self.came_back = False
        self.begin()

    def begin(self) -> None:
        self.inbox.clear()
        self.on_the_way: dict[str, tuple[Heard, datetime]] = {}
        self.refused: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
        self.sent_clusters: set[str] = set()
        self.known: defaultdict[str, set[str]] = defaultdict(set)
        """What it was sent on this stream, by type."""

    def server_reads(self) -> None:
        if not self.client.outbox:
            return
        request = self.parse(self.client.outbox.popleft())
        self.heed(request)
        self.talk.stream.receive(request, self.talk.now)

    def heed(self, request: DeltaRequest | SotwRequest) -> None:
        if request.type_url not in self.on_the_way:
            return
        heard, _ = self.on_the_way[request.type_url]
        if request.nonce == heard.nonce:
            del self.on_the_way[request.type_url]
            if request.error is not None:
                self.refused[request.type_url].append(contents(heard))

    def server_sends(self) -> bool:
        raw = self.talk.stream.next(self.talk.now)
        if raw is None:
            return False
        heard = hear(raw, delta=self.talk.delta)
        self.check(heard)
        self.on_the_way[heard.type_url] = (heard, self.talk.now)
        self.inbox.append(raw)
        return True

    def check(self, heard: Heard) -> None:
        url, now = heard.type_url, self.talk.now
        before = self.on_the_way.get(url)
        assert before is None or now - before[1] >= ANSWER_WITHIN, "two of a type on their way"
        assert contents(heard) not in self.refused[url] or not heard.resources, "a refused set of versions again"
        assert all(is_for(name, self.app) for name in heard.resources), "what is another asker's"
        want = self.client.wants[url]
        known = self.known[url] | want.names | want.held.keys() | self.asked_lately(url)
        # A name that is taken back while the wildcard stays is answered.
        assert want.wildcard or set(heard.removed) <= known, "the removal of what it never had and does not ask for"
        self.known[url] |= heard.resources.keys()
        if not want.wildcard:
            asked = want.names | self.asked_lately(url)
            assert heard.resources.keys() <= asked, "what nobody asked for"
        if url == CDS:
            self.check_removals(heard)
            self.sent_clusters |= heard.resources.keys()
        if url in (RDS, LDS, VHDS):
            self.check_references(heard)

    def asked_lately(self, url: str) -> set[str]:
        """What the server may think is wanted still: it has not read the newest requests, or they crossed a response
        (state of the world)."""
        return set(NAMES[url]) if self.client.outbox or (self.inbox and not self.talk.delta) else set()

    def check_references(self, heard: Heard) -> None:
        clusters = self.client.wants.get(CDS)
        if clusters is None or not clusters.wildcard or clusters.named or CDS not in self.client.begun:
            return
        if any(self.parse(raw).type_url == CDS for raw in self.client.outbox):
            return
        if self.keeps_a_set_of(CDS) and BROKEN in self.talk.world[CDS].values():
            return  # clusters come all or not at all, and routes do not wait for our mistakes
        warming = self.on_the_way.get(CDS)
        if warming is not None and self.talk.now - warming[1] >= PATIENCE:
            return
        refused = {resource.name for _, resource in self.talk.stream.state().rejected}
        for content in heard.resources.values():
            target = content.removeprefix(LEADS)
            if content != target and self.talk.world[CDS].get(target, BROKEN) != BROKEN and target not in refused:
                assert target in self.sent_clusters | clusters.held.keys(), f"{heard.type_url} before {target}"

    def check_removals(self, heard: Heard) -> None:
        if self.hurried or self.keeps_a_set_of(CDS):
            return
        held = self.client.wants[CDS].held.keys()
        removed = held & set(heard.removed) if self.talk.delta else held - heard.resources.keys()
        for url in (RDS, VHDS):
            world = self.talk.world.get(url, {})
            for name, (_, content) in self.client.wants.get(url, Want()).held.items():
                now = world.get(name)
                # Else it leads there all the same, or nobody can tell where, or (state of the world) that it goes.
                if now not in (content, BROKEN) and (now is not None or self.talk.delta):
                    assert content.removeprefix(LEADS) not in removed, f"a cluster before {name} that leads to it"

    def keeps_a_set_of(self, url: str) -> bool:
        """Whether the client came with a complete set of which nothing is known."""
        came_with_a_set = bool(self.client.wants[url].version) and url not in self.client.proven
        return not self.talk.delta and url in COMPLETE and came_with_a_set

    def parse(self, raw: bytes) -> DeltaRequest | SotwRequest:
        return (parse_delta_request if self.talk.delta else parse_sotw_request)(raw)

    def client_reads(self) -> None:
        if self.inbox:
            self.client.hear(self.inbox.popleft())

    def reconnect(self, *, to_another: bool) -> None:
        self.begin()
        self.unsure = self.came_back = True
        self.talk.reconnect(to_another=to_another)
        self.client.reconnect()


class Machine(RuleBasedStateMachine):
    delta = True

    @initialize(memo_limits=st.sampled_from(MEMO_LIMITS), at_once=st.sampled_from((1, 100)))
    def begin(self, memo_limits: dict[str, int], at_once: int) -> None:
        first = Talk(self.delta, {url: {} for url in NAMES}, memo_limits=memo_limits, looks_at_once=at_once)
        other = Asker(namespace="n", pod="q", service_account="s", labels={"app": "b"})
        second = Talk(self.delta, first.world, asker=other, memo_of=first, looks_at_once=at_once)
        self.sides = [Side(self.delta, "a", first), Side(self.delta, "b", second)]
        self.talks = [first, second]
        client = self.sides[0].client
        client.open_wildcard(CDS)
        for name in NAMES[RDS]:
            client.subscribe(RDS, name)
        if self.delta:
            client.open_wildcard(VHDS)

    def urls(self) -> list[str]:
        return [url for url in NAMES if self.delta or url != VHDS]

    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        url = data.draw(st.sampled_from(self.urls()))
        name = data.draw(st.sampled_from(NAMES[url]))
        content = data.draw(st.sampled_from(ROUTES if url in (RDS, VHDS) else CONTENTS) | st.none())
        contents = dict(self.talks[0].world.get(url, {}))
        contents.pop(name, None)
        if content is not None:
            contents[name] = content
        self.becomes({url: contents})
        for side in self.sides:  # what is refused once may come again if it was something else meanwhile
            whole = not self.delta and url in COMPLETE  # a set in which something is left out is another too
            side.refused[url] = [] if whole else [one for one in side.refused[url] if name not in one]

    @rule(url=st.sampled_from((RDS, VHDS)), data=st.data(), cluster=st.sampled_from("ab"), settled=st.booleans())
    def lead_to_a_new_cluster(self, url: str, data: st.DataObject, cluster: str, settled: bool) -> None:
        """A cluster comes, and a route to it, in one snapshot."""
        if url not in self.urls():
            return
        if settled:
            self.all_is_quiet()
        name = data.draw(st.sampled_from(NAMES[url]))
        world = self.talks[0].world
        self.becomes({CDS: {**world[CDS], cluster: "1"}, url: {**world[url], name: f"{LEADS}{cluster}"}})
        for side in self.sides:
            side.refused.clear()

    def becomes(self, world: dict[str, dict[str, str]]) -> None:
        marks = self.talks[0].becomes(world)
        self.talks[1].follows(self.talks[0], marks)

    @rule(side=st.integers(0, 1), url=st.sampled_from((CDS, LDS, VHDS)))
    def open_wildcard(self, side: int, url: str) -> None:
        if url in self.urls():
            self.sides[side].client.open_wildcard(url)

    @rule(side=st.integers(0, 1), data=st.data())
    def subscribe(self, side: int, data: st.DataObject) -> None:
        url = data.draw(st.sampled_from((CDS, EDS, RDS, VHDS) if self.delta else (CDS, EDS, RDS)))
        name = data.draw(st.sampled_from(NAMES[url]))
        self.sides[side].client.subscribe(url, name)
        # What was dropped and is asked for again comes again, though it was refused.
        self.sides[side].refused[url] = [one for one in self.sides[side].refused[url] if name not in one]

    @rule(side=st.integers(0, 1), data=st.data())
    def unsubscribe(self, side: int, data: st.DataObject) -> None:
        url = data.draw(st.sampled_from((CDS, EDS, RDS, VHDS) if self.delta else (CDS, EDS, RDS)))
        self.sides[side].client.unsubscribe(url, data.draw(st.sampled_from(NAMES[url])))

    @rule(side=st.integers(0, 1))
    def server_reads(self, side: int) -> None:
        self.sides[side].server_reads()

    @rule(side=st.integers(0, 1))
    def server_looks_ahead(self, side: int) -> None:
        self.talks[side].stream.prepare(self.talks[side].now)

    @rule(side=st.integers(0, 1))
    def server_sends(self, side: int) -> None:
        self.sides[side].server_sends()

    @rule(side=st.integers(0, 1))
    def client_reads(self, side: int) -> None:
        self.sides[side].client_reads()

    @rule(side=st.integers(0, 1))
    def client_refuses_whatever_comes(self, side: int) -> None:
        self.sides[side].client.moody = True

    @rule(seconds=st.sampled_from([1, 6, 40]))
    def time_passes(self, seconds: int) -> None:
        for side in self.sides:
            side.talk.passes(seconds=seconds)
            side.unsure = side.hurried = True

    @rule(data=st.data())
    def change_while_no_answer_comes(self, data: st.DataObject) -> None:
        for side in self.sides:
            side.server_sends()
        self.change(data)
        self.time_passes(6)

    @rule(side=st.integers(0, 1), to_another=st.booleans())
    def reconnect(self, side: int, to_another: bool) -> None:
        if self.sides[side].client.wants:
            self.sides[side].reconnect(to_another=to_another)

    @rule()
    def all_is_quiet(self) -> None:
        for side in self.sides:
            self.quiet(side)
        self.becomes({})
        for side in self.sides:
            side.hurried = False
            side.talk.stream.reassign(side.talk.asker)
            assert side.talk.stream.next(side.talk.now) is None, "a message without a change"

    def quiet(self, side: Side) -> None:
        side.client.moody = False
        self.rest(side)
        for one in self.sides:
            one.talk.passes(seconds=6)
            one.hurried = True
        if side.came_back:
            self.rest(side)  # what it has not spoken of was waited for
        assert not side.server_sends(), "something waited for time alone"
        self.compare(side)
        side.came_back = False

    def rest(self, side: Side) -> None:
        for _ in range(500):
            quiet = not side.client.outbox and not side.inbox
            while side.client.outbox:
                side.server_reads()
            sent = side.server_sends()
            side.client_reads()
            if quiet and not sent and not side.client.outbox:
                break
        else:
            raise AssertionError("they never come to rest")

    def compare(self, side: Side) -> None:
        rejected = {(url, resource.name) for url, resource in side.talk.stream.state().rejected}
        for url, want in side.client.wants.items():
            world = {name: one for name, one in side.talk.world.get(url, {}).items() if is_for(name, side.app)}
            if self.keeps_all(side, url, rejected):
                continue
            for name, content in world.items():
                if name not in want.names and not want.wildcard:
                    continue
                held = want.held.get(name, ("", ""))[1]
                if BAD in content:
                    assert BAD not in held
                    assert (url, name) in rejected
                elif content != BROKEN and (url, name) not in rejected:
                    assert held == content, (url, name)
            self.compare_absent(side, url, want, world)

    def keeps_all(self, side: Side, url: str, rejected: set[tuple[str, str]]) -> bool:
        """A client that came with a complete set of which nothing is known keeps it while one is refused or cannot be
        derived."""
        contents = side.talk.world[url].values()
        unhappy = url in {one for one, _ in rejected} or any(BAD in one or one == BROKEN for one in contents)
        return side.keeps_a_set_of(url) and unhappy

    def compare_absent(self, side: Side, url: str, want: Want, world: dict[str, str]) -> None:
        rejected = {(one, resource.name) for one, resource in side.talk.stream.state().rejected}
        routes_rejected = any(one in (LDS, RDS) or (one == VHDS and side.unsure) for one, _ in rejected)
        if url == EDS or (url in (CDS, RDS) and routes_rejected) or (url == RDS and not self.delta):
            return
        if not self.delta and url in side.client.refused_last:
            return  # what it refused is what is left: it is not sent the same again
        gone = {name for name in want.held if name not in world and (self.delta or (url, name) not in rejected)}
        if url == CDS:
            hosts = side.client.wants[VHDS].held if VHDS in side.client.wants else {}
            gone -= {content.removeprefix(LEADS) for name, (_, content) in hosts.items() if (VHDS, name) in rejected}
        assert not gone, (url, gone)

    def teardown(self) -> None:
        if hasattr(self, "sides"):
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
            max_examples=3000, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
