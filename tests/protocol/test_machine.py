"""The core joined with model clients over queues that delay, drop, and reorder across streams.

After any history, once all is quiet, each client holds what a fresh process would give it; rejected or underivable
content leaves it on what it had, and nothing is rejected but what the client refuses. At every step: one push of a type
is on its way; no refused set of versions comes again; nothing refers to what was not sent and answered, or is taken
away while something refers to it; nothing comes that is not the asker's; and without a change, nothing at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from typing import ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from model.asker import Asker
from tests.protocol.conversation import BROKEN, CDS, EDS, LDS, LEADS, MEMO_LIMITS, RDS, VHDS, Talk, is_for, version_of
from tests.protocol.fake_wire import NAMES, Side
from tests.protocol.model_client import BAD, COMPLETE, Want

CONTENTS = ("1", "2", "3", f"{BAD}1", f"{BAD}2", BROKEN)
ROUTES = ("to a", "to b", f"{BAD}1", BROKEN)
"""What routes say: the cluster that they lead to."""
LISTENERS = (*ROUTES, "1", f"{BAD}2")
CONTENTS_OF = {CDS: CONTENTS, EDS: CONTENTS, LDS: LISTENERS, RDS: ROUTES, VHDS: ROUTES}
GOOD = {url: [one for one in contents if BAD not in one and one != BROKEN] for url, contents in CONTENTS_OF.items()}
LEADING = (LDS, RDS, VHDS)
CONTENT_OF_VERSION = {
    version_of(name, content): content for url, names in NAMES.items() for name in names for content in CONTENTS_OF[url]
}
ONE = {url: st.sampled_from(contents) | st.none() for url, contents in CONTENTS_OF.items()}
"""What becomes of one resource of each type; None: it goes."""
SEVERAL = {
    url: st.dictionaries(st.sampled_from(names), ONE[url], min_size=2, max_size=4) for url, names in NAMES.items()
}
STEPS = 40


class Machine(RuleBasedStateMachine):
    delta = True
    looked: ClassVar[Counter[str]] = Counter()
    """How often there was something to look at, in all histories."""

    @initialize(memo_limits=st.sampled_from(MEMO_LIMITS), at_once=st.sampled_from((1, 100)))
    def begin(self, memo_limits: dict[str, int], at_once: int) -> None:
        first = Talk(self.delta, {url: {} for url in NAMES}, memo_limits=memo_limits, looks_at_once=at_once)
        other = Asker(namespace="n", pod="q", service_account="s", labels={"app": "b"})
        second = Talk(self.delta, first.world, asker=other, memo_of=first, looks_at_once=at_once)
        self.sides = [Side(self.delta, "a", first, self.looked), Side(self.delta, "b", second, self.looked)]
        self.talks = [first, second]
        client = self.sides[0].client
        client.open_wildcard(CDS)
        for url in (EDS, RDS):
            for name in NAMES[url]:
                client.subscribe(url, name)
        client.open_wildcard(LDS)
        if self.delta:
            client.open_wildcard(VHDS)

    def urls(self) -> list[str]:
        return [url for url in NAMES if self.delta or url != VHDS]

    # The world changes

    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        url = data.draw(st.sampled_from(self.urls()))
        name = data.draw(st.sampled_from(NAMES[url]))
        self.differs({url: {name: data.draw(ONE[url])}})

    @rule(data=st.data(), burst=st.booleans())
    def change_several(self, data: st.DataObject, burst: bool) -> None:
        """Several of a type in one snapshot, once the last ones were answered."""
        self.exchange(burst)
        url = data.draw(st.sampled_from(self.urls()))
        self.differs({url: data.draw(SEVERAL[url])})
        self.exchange(burst)

    @rule(data=st.data(), burst=st.booleans())
    def some_are_bad(self, data: st.DataObject, burst: bool) -> None:
        """Of a type of which all is well, good ones and bad ones come in one snapshot."""
        url = data.draw(st.sampled_from(self.urls()))
        self.differs({url: dict.fromkeys(NAMES[url], GOOD[url][0])})
        self.exchange(burst)
        bad = data.draw(st.sets(st.sampled_from(NAMES[url]), min_size=1, max_size=len(NAMES[url]) - 1))
        self.differs({url: {name: f"{BAD}1" if name in bad else GOOD[url][1] for name in NAMES[url]}})
        self.exchange(burst)

    @rule(data=st.data(), cluster=st.sampled_from("ab"), settled=st.booleans())
    def lead_to_a_new_cluster(self, data: st.DataObject, cluster: str, settled: bool) -> None:
        """A cluster comes, and a route to it, in one snapshot."""
        if settled:
            self.all_is_quiet()
        url = data.draw(st.sampled_from([url for url in self.urls() if url in LEADING]))
        name = data.draw(st.sampled_from(NAMES[url]))
        self.differs({CDS: {cluster: "1"}, url: {name: f"{LEADS}{cluster}"}})
        if settled:
            self.exchange(burst=True)

    @rule(data=st.data(), goes=st.booleans())
    def a_cluster_goes_with_what_led_to_it(self, data: st.DataObject, goes: bool) -> None:
        """A route leads elsewhere, or goes, as do all others that led to its cluster, and that goes in one snapshot."""
        url = data.draw(st.sampled_from([url for url in self.urls() if url in LEADING]))
        name = data.draw(st.sampled_from(NAMES[url]))
        self.differs({CDS: {"a": "1", "b": "1"}, url: {name: "to a"}})
        self.all_is_quiet()
        changes: dict[str, dict[str, str | None]] = {CDS: {"a": None}}
        for one in LEADING:
            leading = [name for name, content in self.talks[0].world[one].items() if content == "to a"]
            changes[one] = dict.fromkeys(leading, "to b")
        changes[url][name] = None if goes else "to b"
        self.differs(changes)
        self.exchange(burst=True)

    def differs(self, changes: Mapping[str, Mapping[str, str | None]]) -> None:
        """A new snapshot, in which these differ; None: it is gone."""
        world: dict[str, dict[str, str]] = {}
        for url, names in changes.items():
            contents = {**self.talks[0].world[url], **names}
            world[url] = {name: content for name, content in contents.items() if content is not None}
        self.becomes(world)
        for side in self.sides:  # what is refused once may come again if it was something else meanwhile
            for url, names in changes.items():
                whole = not self.delta and url in COMPLETE  # a set in which something is left out is another too
                side.refused[url] = [] if whole else [one for one in side.refused[url] if one.keys().isdisjoint(names)]

    def becomes(self, world: dict[str, dict[str, str]]) -> None:
        marks = self.talks[0].becomes(world)
        self.talks[1].follows(self.talks[0], marks)

    # What the clients want

    @rule(side=st.integers(0, 1), url=st.sampled_from((CDS, LDS, VHDS)))
    def open_wildcard(self, side: int, url: str) -> None:
        if url in self.urls():
            self.sides[side].client.open_wildcard(url)

    @rule(side=st.integers(0, 1), data=st.data())
    def subscribe(self, side: int, data: st.DataObject) -> None:
        url = data.draw(st.sampled_from((CDS, EDS, RDS, VHDS) if self.delta else (CDS, EDS, RDS)))
        name = data.draw(st.sampled_from(NAMES[url]))
        client = self.sides[side].client
        client.subscribe(url, name)
        if not client.wants[url].wildcard:
            # What was dropped and is asked for again comes again, though it was refused.
            self.sides[side].refused[url] = [one for one in self.sides[side].refused[url] if name not in one]

    @rule(side=st.integers(0, 1), data=st.data())
    def unsubscribe(self, side: int, data: st.DataObject) -> None:
        url = data.draw(st.sampled_from((CDS, EDS, RDS, VHDS) if self.delta else (CDS, EDS, RDS)))
        self.sides[side].client.unsubscribe(url, data.draw(st.sampled_from(NAMES[url])))

    # What passes between them

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

    @rule(burst=st.booleans())
    def exchange(self, burst: bool) -> None:
        for side in self.sides:
            side.rest(burst=burst)

    @rule(side=st.integers(0, 1))
    def client_refuses_whatever_comes(self, side: int) -> None:
        self.sides[side].client.moody = True

    @rule(seconds=st.sampled_from([1, 6, 40]))
    def time_passes(self, seconds: int) -> None:
        for side in self.sides:
            side.passes(seconds)

    @rule(data=st.data())
    def change_while_no_answer_comes(self, data: st.DataObject) -> None:
        for side in self.sides:
            side.server_sends()
        self.change(data)
        self.time_passes(6)

    @rule(data=st.data(), settled=st.booleans())
    def no_answer_comes_at_all(self, data: st.DataObject, settled: bool) -> None:
        """Two changes of a type, and the answer on the first is given up."""
        if settled:
            self.exchange(burst=True)
        url = data.draw(st.sampled_from(self.urls()))
        if any(url in side.client.wants and side.keeps_a_set_of(url) for side in self.sides):
            return  # not held to anything yet: answers too late of a client whose set is not known
        for _ in range(2):
            name = data.draw(st.sampled_from(NAMES[url]))
            self.differs({url: {name: data.draw(ONE[url])}})
            for side in self.sides:
                side.server_sends()
        self.time_passes(40)
        for side in self.sides:
            side.server_sends()

    @rule(side=st.integers(0, 1), to_another=st.booleans())
    def reconnect(self, side: int, to_another: bool) -> None:
        if self.sides[side].client.wants:
            self.sides[side].reconnect(to_another=to_another)

    # What is so once all is quiet

    @rule()
    def all_is_quiet(self) -> None:
        for side in self.sides:
            self.quiet(side)
        self.becomes({})
        for side in self.sides:
            side.calm_since = side.talk.now
            side.talk.stream.reassign(side.talk.asker)
            assert side.talk.stream.next(side.talk.now) is None, "a message without a change"

    def quiet(self, side: Side) -> None:
        side.client.moody = False
        side.rest(burst=False)
        for one in self.sides:
            one.passes(6)
        if side.came_back:
            side.rest(burst=False)  # what it has not spoken of was waited for
        assert not side.server_sends(), "something waited for time alone"
        self.compare(side)
        side.came_back = False

    def compare(self, side: Side) -> None:
        state = side.talk.stream.state()
        rejected = {(url, one.name): one.version for url, one in state.rejected}
        acknowledged = {
            of.type_url: {one.name: one.version for one in of.acknowledged if not one.missing} for of in state.types
        }
        for url, want in side.client.wants.items():
            world = {name: one for name, one in side.talk.world.get(url, {}).items() if is_for(name, side.app)}
            if self.keeps_all(side, url, rejected):
                continue
            for name, content in world.items():
                if name not in want.names and not want.wildcard:
                    continue
                if BAD in content:
                    assert (url, name) in rejected
                    self.looked["culprits that keep what they had"] += name in want.held
                elif content != BROKEN and (url, name) not in rejected:
                    assert want.held.get(name, ("", ""))[1] == content, (url, name)
            self.compare_rejected(side, url, {name: one for (of, name), one in rejected.items() if of == url})
            if not side.unsure and not side.keeps_a_set_of(url):
                self.compare_acknowledged(url, want, world, acknowledged.get(url, {}))
            self.compare_absent(side, url, want, world, rejected.keys())
        self.compare_warming(side, acknowledged.get(EDS, {}))
        if not rejected and BROKEN not in {content for names in side.talk.world.values() for content in names.values()}:
            side.unsure = False

    def keeps_all(self, side: Side, url: str, rejected: Mapping[tuple[str, str], str]) -> bool:
        """A client that came with a complete set of which nothing is known keeps it while one is refused or cannot be
        derived."""
        contents = side.talk.world[url].values()
        unhappy = url in {one for one, _ in rejected} or any(BAD in one or one == BROKEN for one in contents)
        return side.keeps_a_set_of(url) and unhappy

    def compare_rejected(self, side: Side, url: str, rejected: Mapping[str, str]) -> None:
        """What counts as rejected is what there is, and what the client refuses, for a reason or in a mood."""
        for name, version in rejected.items():
            content = CONTENT_OF_VERSION[version] if version else ""
            now = side.talk.world[url].get(name, "")
            assert now in (content, BROKEN), (
                f"{url} {name} counts as rejected in a version that is past: {content!r}, not {now!r}"
            )
            assert BAD in content or (name, content) in side.client.whims[url], f"{url} {name} is none of the culprits"
            self.looked["rejected"] += 1

    def compare_acknowledged(
        self, url: str, want: Want, world: Mapping[str, str], acknowledged: Mapping[str, str]
    ) -> None:
        """What counts as acknowledged of what there is, is what the client has."""
        held = {name: version_of(name, content) for name, (_, content) in want.held.items()}
        for name in world:
            if (url == EDS or (url == RDS and not self.delta)) and name not in acknowledged:
                continue  # it was gone for a time, which leaves the client with what it had
            assert acknowledged.get(name) == held.get(name), f"{url} {name} is not what the client has"
            self.looked["acknowledged"] += name in held

    def compare_warming(self, side: Side, acknowledged: Mapping[str, str]) -> None:
        """Every cluster that came was followed by its endpoints; by what the client had of them, where it refuses what
        there is."""
        if side.unsure:
            return
        for name in side.client.warming:
            now = side.talk.world[EDS].get(name)
            if now is None and not self.delta:
                continue  # there is no way to say so
            refused = now is not None and (BAD in now or (name, now) in side.client.whims[EDS])
            nothing_to_send = now == BROKEN or (refused and name not in acknowledged)
            assert nothing_to_send, f"{name} waits for endpoints"

    def compare_absent(
        self, side: Side, url: str, want: Want, world: Mapping[str, str], rejected: Set[tuple[str, str]]
    ) -> None:
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


AT_LEAST = {
    "refused responses of several": (20, 30),
    "sets beside a refused one": (50, 50),
    "rejected": (50, 50),
    "culprits that keep what they had": (20, 30),
    "acknowledged": (150, 150),
    "clusters that go": (20, 20),
    f"{LDS} that lead somewhere": (15, 15),
    f"{RDS} that lead somewhere": (15, 15),
    f"{VHDS} that lead somewhere": (15, 0),
    "responses beside what is another's": (10, 20),
    "resends": (8, 5),
    "reconnects": (8, 8),
}
"""How often there has to be something to look at in the histories of one run, incrementally and in the state of the
world: a third of what there is, or less, so that no assertion grows hollow unnoticed."""


@pytest.mark.parametrize("machine", [Machine, SotwMachine], ids=["delta", "sotw"])
def test_the_client_ends_with_what_a_fresh_process_would_serve(machine: type[Machine]) -> None:
    looked: Counter[str] = Counter()
    run_state_machine_as_test(
        type(machine.__name__, (machine,), {"looked": looked}),
        settings=settings(
            max_examples=100,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    at_least = {what: incremental if machine.delta else whole for what, (incremental, whole) in AT_LEAST.items()}
    assert {what: looked[what] for what, least in at_least.items() if looked[what] < least} == {}


@pytest.mark.soak
@pytest.mark.parametrize("machine", [Machine, SotwMachine], ids=["delta", "sotw"])
def test_the_client_ends_so_after_very_many_histories(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=3000, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
