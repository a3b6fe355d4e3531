"""Rules on what a response may hold, how often it comes, and what never leaves the server."""

from __future__ import annotations

import pytest
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryResponse, DiscoveryResponse

from model.asker import Asker
from protos import discovery_pb2 as pb
from tests.protocol.conversation import CDS, EDS, LDS, RDS, SDS, VHDS, Talk
from xds.channel import MANY
from xds.events import Rejected
from xds.look_ahead import LOOKS_AT_ONCE
from xds.memo import LONGEST_NAME
from xds.violation import MAX_NAME, Violation, first_node
from xds.wire import parse_delta_request, parse_sotw_request

both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
EVERYTHING = {
    CDS: {"a": "1", "b": "1"},
    EDS: {"a": "1", "b": "1"},
    LDS: {"l": "1"},
    RDS: {"80": "1", "81": "1"},
    VHDS: {"80/a:80": "1"},
}


def converse(delta: bool) -> Talk:
    """A client that has asked for everything and accepted it."""
    talk = Talk(delta, EVERYTHING)
    for url, names in ((CDS, ()), (EDS, ("a", "b")), (LDS, ()), (RDS, ("80",)), (SDS, ("default",))):
        talk.says(url, *names)
        talk.hears(url, {"default": "1"} if url == SDS else dict.fromkeys(names or EVERYTHING[url], "1"))
    return talk


def test_r15_sotw_an_acceptance_of_the_newest_alone_is_enough() -> None:
    talk = Talk(False, {EDS: {"a": "1"}})
    talk.sotw_says(EDS, "a")
    talk.hears(EDS, {"a": "1"})
    talk.becomes({EDS: {"a": "2"}})
    superseded = talk.hears(EDS, {"a": "2"}, accept=False)
    talk.becomes({EDS: {"a": "3"}})
    talk.passes(seconds=31)
    talk.hears(EDS, {"a": "3"})
    talk.silence()
    assert talk.stream.acknowledged(3)
    talk.sotw_says(EDS, "a", nonce=superseded.nonce, version=superseded.version)
    talk.silence()
    assert talk.stream.acknowledged(3)
    talk.becomes({EDS: {"a": "4"}})
    talk.hears(EDS, {"a": "4"})


def test_r15_delta_an_acceptance_that_never_comes_holds_nothing_up() -> None:
    talk = Talk(True, {EDS: {"a": "1", "b": "1"}})
    talk.delta_says(EDS, "a")
    lost = talk.hears(EDS, {"a": "1"}, accept=False)
    talk.delta_says(EDS, "b")
    talk.passes(seconds=31)
    talk.hears(EDS, {"a": "1", "b": "1"})
    talk.silence()
    talk.delta_says(EDS, nonce=lost.nonce)
    talk.silence()
    assert talk.stream.acknowledged(1)


@both
def test_r28_nothing_unasked_is_sent(delta: bool) -> None:
    talk = converse(delta)
    changed = {url: dict.fromkeys(names, "2") for url, names in EVERYTHING.items()}
    changed[EDS]["c"] = changed[RDS]["82"] = "2"
    talk.becomes(changed)
    talk.hears(CDS, {"a": "2", "b": "2"})
    talk.hears(EDS, {"a": "2", "b": "2"})
    talk.hears(LDS, {"l": "2"})
    talk.hears(RDS, {"80": "2"})
    talk.silence()


@both
def test_r36_no_name_comes_twice_in_a_response(delta: bool) -> None:
    """`Talk` holds this, and that every resource is of the response's type, for each response of every test."""
    talk = Talk(delta, {CDS: {"a": "1", "b": "1"}, EDS: {"a": "1"}})
    talk.says(CDS, "*", "a", "a", "gone", "gone")
    talk.says(EDS, "a", "a")
    talk.hears(CDS, {"a": "1", "b": "1"}, removed=("gone",) if delta else (), accept=False)
    # Wanted by name, by the wildcard, changed, reassigned, and called for by its cluster, all at once.
    talk.becomes({CDS: {"a": "2"}, EDS: {"a": "2"}})
    talk.stream.reassign(Asker(namespace="n", pod="p", service_account="s", labels={"app": "b"}))
    talk.says(CDS, "a")
    talk.accepts(CDS)
    talk.hears(CDS, {"a": "2"} if delta else {"a": "2", "b": "1"})
    talk.hears(EDS, {"a": "2"})
    talk.hears(CDS, {} if delta else {"a": "2"}, removed=("b",) if delta else ())
    talk.silence()


def test_r36_delta_what_is_gone_and_asked_for_is_removed_once() -> None:
    talk = Talk(True, {LDS: {"l": "1", "m": "1"}})
    talk.delta_says(LDS, "*", initial={"l": "old", "gone": "x"})
    talk.delta_says(LDS, "gone", "m")
    talk.hears(LDS, {"l": "1", "m": "1"}, removed=("gone",))
    talk.silence()


@both
def test_r42_endpoints_that_are_none_are_an_answer_and_not_silence(delta: bool) -> None:
    """An empty assignment is a resource like any other: see tests/unit/translators/test_endpoints.py."""
    talk = Talk(delta, {EDS: {"empty": ""}})
    talk.says(EDS, "empty")
    talk.hears(EDS, {"empty": ""})
    talk.silence()


@both
def test_r45_a_response_is_of_one_snapshot(delta: bool) -> None:
    names = [f"c{number}" for number in range(50)]
    talk = Talk(delta, {CDS: dict.fromkeys(names, "1"), EDS: dict.fromkeys(names, "1")})
    talk.says(CDS)
    talk.says(EDS, *names)
    for generation in range(2, 30):
        heard = talk.next()
        if generation % 3 == 0:
            talk.becomes({CDS: dict.fromkeys(names, str(generation))})
        else:
            talk.becomes({EDS: dict.fromkeys(names, str(generation))})
        if heard is not None:
            assert len(set(heard.resources.values())) == 1, "contents of two snapshots in one response"
            talk.accepts(heard.type_url)
        # While one is on its way the snapshot moves on twice.
        talk.becomes({CDS: dict.fromkeys(names, f"{generation}+")})


@both
def test_r47_a_rejection_is_told_in_the_clients_own_words(delta: bool) -> None:
    talk = Talk(delta, {EDS: {"a": "1"}})
    talk.says(EDS, "a")
    talk.hears(EDS, {"a": "1"}, accept=False)
    talk.refuses(EDS, "a: no such thing")
    (event,) = [event for event in talk.events if isinstance(event, Rejected)]
    assert (event.node, event.type_url, event.names, event.message, event.final) == (
        "node", EDS, ("a",), "a: no such thing", True,
    )  # fmt: skip
    (state,) = [one for one in talk.stream.state().types if one.type_url == EDS]
    assert [(one.name, one.message) for one in state.rejected] == [("a", "a: no such thing")]
    # It stays told for as long as it holds, since only a restarted client would show it.
    talk.passes(hours=24)
    assert [resource.name for _, resource in talk.stream.progress().rejected] == ["a"]


@both
def test_r58_nothing_is_given_a_time_to_live(delta: bool) -> None:
    """All that is served is routing and secrets, which have to outlast the server: none of it may end by itself."""
    message = pb.DeltaDiscoveryRequest(type_url=CDS) if delta else pb.DiscoveryRequest(type_url=CDS)
    message.node.id = "node"
    message.node.client_features.extend(("xds.config.supports-resource-ttl", "xds.config.supports-resource-in-sotw"))
    request = (parse_delta_request if delta else parse_sotw_request)(message.SerializeToString())
    assert first_node(request).id == "node"
    talk = Talk(delta, EVERYTHING)
    talk.stream.receive(request, talk.now)
    for url, names in ((CDS, ()), (EDS, ("a", "b")), (LDS, ()), (RDS, ("80",)), (SDS, ("default",))):
        if url != CDS:
            talk.says(url, *names)
        raw = talk.stream.next(talk.now)
        assert raw is not None
        if delta:
            response = DeltaDiscoveryResponse.parse(raw)
            assert response.resources
            assert [one.ttl for one in response.resources] == [None] * len(response.resources)
            talk.delta_says(url, nonce=response.nonce)
        else:
            whole = DiscoveryResponse.parse(raw)
            # There a time to live comes in a wrapper, which is a type of its own.
            assert {one.type_url for one in whole.resources} == {url}
            talk.sotw_says(url, *names, nonce=whole.nonce, version=whole.version_info)
    # No heartbeats either: nothing is sent until the certificate is due.
    talk.passes(minutes=29)
    talk.silence()


def test_r51_delta_a_removal_that_was_not_answered_in_time_is_sent_again() -> None:
    talk = Talk(True, {LDS: {"l": "1", "m": "1"}})
    talk.delta_says(LDS)
    talk.hears(LDS, {"l": "1", "m": "1"})
    talk.becomes({LDS: {"l": "1"}})
    talk.hears(LDS, removed=("m",), accept=False)
    talk.becomes({LDS: {"l": "2"}})
    talk.silence()
    talk.passes(seconds=31)
    talk.hears(LDS, {"l": "2"}, removed=("m",))
    talk.silence()


@pytest.mark.parametrize("delta", [True, False])
def test_r55_what_is_much_is_looked_up_before_it_is_sent_a_hundred_names_at_a_time(delta: bool) -> None:
    """Also what may be sent since a moment ago, and what is behind a little of another type."""
    clusters = {f"c{number}": "1" for number in range(3 * LOOKS_AT_ONCE)}
    endpoints = {f"e{number}": "1" for number in range(3 * LOOKS_AT_ONCE)}
    listeners = {f"l{number}": "1" for number in range(3 * LOOKS_AT_ONCE)}
    talk = Talk(delta, {CDS: clusters, EDS: endpoints, LDS: listeners})

    def prepared() -> int:
        turns = 1
        while talk.stream.prepare(talk.now):
            assert len(talk.derived) <= turns * LOOKS_AT_ONCE
            turns += 1
        talk.derived.clear()
        return turns

    talk.says(CDS)
    assert prepared() > 3
    talk.hears(CDS, clusters)
    talk.says(LDS)
    assert prepared() > 3
    talk.hears(LDS, listeners)
    talk.says(EDS, *endpoints)
    talk.becomes({CDS: {**clusters, "c0": "2"}})
    assert prepared() > 3
    talk.hears(CDS, {**clusters, "c0": "2"} if not delta else {"c0": "2"}, accept=False)
    talk.hears(EDS, endpoints)
    assert set(talk.derived) <= {"c0"}


@pytest.mark.parametrize("delta", [True, False])
def test_r55_what_changes_or_is_asked_for_meanwhile_is_looked_up_a_little_at_a_time_too(delta: bool) -> None:
    names = [f"e{number}" for number in range(3 * LOOKS_AT_ONCE)]
    more = [f"more{number}" for number in range(3 * LOOKS_AT_ONCE)]
    talk = Talk(delta, {EDS: dict.fromkeys([*names, *more], "1")})
    talk.says(EDS, *names)
    turns = 0
    while talk.stream.prepare(talk.now):
        assert len(talk.derived) <= LOOKS_AT_ONCE
        talk.derived.clear()
        turns += 1
        if turns == 2:
            talk.becomes({EDS: {**dict.fromkeys(names, "2"), **dict.fromkeys(more, "1")}})
        if turns == 7:
            talk.says(EDS, *more)
    talk.derived.clear()
    talk.hears(EDS, {**dict.fromkeys(names, "2"), **dict.fromkeys(more, "1")})
    assert talk.derived == []


@pytest.mark.parametrize("delta", [True, False])
def test_r55_what_is_known_and_changes_meanwhile_is_looked_up_before_it_is_sent_too(delta: bool) -> None:
    names = [f"e{number}" for number in range(3 * LOOKS_AT_ONCE)]
    talk = Talk(delta, {EDS: dict.fromkeys(names, "1")})
    talk.says(EDS, *names)
    talk.hears(EDS, dict.fromkeys(names, "1"))
    talk.becomes({EDS: dict.fromkeys(names, "2")})
    for _ in range(2):
        assert talk.stream.prepare(talk.now)
    talk.becomes({EDS: dict.fromkeys(names, "3")})
    while talk.stream.prepare(talk.now):
        pass
    talk.derived.clear()
    talk.hears(EDS, dict.fromkeys(names, "3"))
    assert talk.derived == []


@pytest.mark.parametrize("delta", [True, False])
def test_r55_in_a_mesh_that_changes_all_the_time_it_is_sent_all_the_same(delta: bool) -> None:
    names = [f"e{number}" for number in range(5 * LOOKS_AT_ONCE)]
    talk = Talk(delta, {EDS: dict.fromkeys(names, "1")})
    talk.says(EDS, *names)
    turns = 0
    while talk.stream.prepare(talk.now):
        turns += 1
        talk.becomes({CDS: {"another": str(turns)}})
        assert turns < 20
    talk.hears(EDS, dict.fromkeys(names, "1"))
    talk.becomes({EDS: dict.fromkeys(names, "2")})
    assert talk.stream.prepare(talk.now)


@pytest.mark.parametrize("delta", [True, False])
def test_r26_a_change_of_many_names_concerns_whoever_wants_one_of_them(delta: bool) -> None:
    """By name or by the wildcard, though it does not hold it: it was not there, or was refused."""
    clusters = {f"c{number}": "1" for number in range(2 * MANY)}
    endpoints = {f"e{number}": "1" for number in range(2 * MANY)}
    first = Talk(delta, {CDS: clusters, EDS: endpoints})
    first.says(CDS)
    first.hears(CDS, clusters)
    first.says(EDS, *endpoints, "later")
    first.hears(EDS, endpoints, removed=("later",) if delta else ())
    first.becomes({CDS: {**clusters, "c0": "bad"}})
    talk = Talk(delta, first.world, memo_of=first)
    talk.says(CDS)
    heard = talk.next()
    while heard is not None:
        if heard.resources.get("c0") == "bad":
            talk.refuses(CDS, "c0 is bad")
        else:
            talk.accepts(CDS)
        heard = talk.next()
    talk.says(EDS, "e5", "later")
    talk.hears(EDS, {"e5": "1"}, removed=("later",) if delta else ())
    changed = {CDS: dict.fromkeys(clusters, "2"), EDS: dict.fromkeys([*endpoints, "later"], "2")}
    talk.follows(first, first.becomes(changed))
    talk.hears(CDS, changed[CDS])
    talk.hears(EDS, {"e5": "2", "later": "2"})
    talk.silence()


def lose_an_answer(delta: bool) -> Talk:
    """The client was sent the second version of `a`, and that it has it is not known."""
    talk = Talk(delta, {EDS: {"a": "1"}})
    talk.says(EDS, "a")
    talk.hears(EDS, {"a": "1"})
    talk.becomes({EDS: {"a": "2"}})
    talk.hears(EDS, {"a": "2"}, accept=False)
    return talk


@both
def test_r15_what_is_again_as_it_was_before_a_lost_answer_is_sent_again(delta: bool) -> None:
    talk = lose_an_answer(delta)
    talk.becomes({EDS: {"a": "1"}})
    talk.passes(seconds=31)
    talk.hears(EDS, {"a": "1"})
    talk.silence()


@both
def test_r15_so_it_is_after_a_third_version_that_was_refused(delta: bool) -> None:
    talk = lose_an_answer(delta)
    talk.becomes({EDS: {"a": "3"}})
    talk.passes(seconds=31)
    talk.hears(EDS, {"a": "3"}, accept=False)
    talk.refuses(EDS)
    talk.silence()
    talk.becomes({EDS: {"a": "1"}})
    talk.hears(EDS, {"a": "1"})
    talk.becomes({EDS: {"a": "3"}})
    talk.hears(EDS, {"a": "3"})
    talk.silence()


@both
def test_r15_what_is_there_again_after_a_removal_whose_answer_was_lost_is_sent_again(delta: bool) -> None:
    talk = Talk(delta, {CDS: {"a": "1", "b": "1"}})
    talk.says(CDS)
    talk.hears(CDS, {"a": "1", "b": "1"})
    talk.becomes({CDS: {"b": "1"}})
    gone = talk.next()
    assert gone is not None
    assert (gone.removed, gone.resources) == ((("a",), {}) if delta else ((), {"b": "1"}))
    talk.becomes({CDS: {"a": "1", "b": "1"}})
    talk.passes(seconds=31)
    talk.hears(CDS, {"a": "1"} if delta else {"a": "1", "b": "1"})
    talk.silence()


def test_r15_a_resource_whose_answer_was_lost_and_that_is_gone_before_it_is_sent_again_is_removed() -> None:
    talk = Talk(True, {CDS: {"a": "1"}, VHDS: {}})
    talk.delta_says(CDS)
    talk.delta_says(VHDS)
    talk.hears(CDS, {"a": "1"})
    talk.hears(VHDS)
    talk.becomes({VHDS: {"80/x": "1"}})
    talk.hears(VHDS, {"80/x": "1"}, accept=False)
    talk.becomes({CDS: {"a": "1", "b": "1"}, VHDS: {"80/x": "1", "80/y": "1"}})
    talk.passes(seconds=28)
    talk.hears(CDS, {"b": "1"}, accept=False)
    talk.passes(seconds=3)
    talk.silence()  # hosts wait for the cluster
    talk.becomes({VHDS: {"80/y": "1"}})
    talk.accepts(CDS)
    talk.hears(VHDS, {"80/y": "1"}, removed=("80/x",))
    talk.silence()


@both
def test_r15_a_cluster_that_came_with_a_lost_answer_and_is_gone_again_is_removed(delta: bool) -> None:
    talk = Talk(delta, {CDS: {"a": "1"}})
    talk.says(CDS)
    talk.hears(CDS, {"a": "1"})
    talk.becomes({CDS: {"a": "1", "b": "1"}})
    assert talk.next() is not None
    talk.becomes({CDS: {"a": "1"}})
    talk.passes(seconds=31)
    talk.hears(CDS, {} if delta else {"a": "1"}, removed=("b",) if delta else ())
    talk.silence()


def test_r15_that_there_is_no_such_host_is_said_again_if_the_answer_was_lost() -> None:
    talk = Talk(True, {VHDS: {"80/x": "1"}})
    talk.delta_says(VHDS, "80/nobody")
    talk.hears(VHDS, missing=("80/nobody",), accept=False)
    talk.delta_says(VHDS, "80/x")
    talk.passes(seconds=31)
    talk.hears(VHDS, {"80/x": "1"}, missing=("80/nobody",))
    talk.silence()


def test_r49_sotw_a_set_that_was_lost_and_whose_cluster_is_gone_is_followed_by_one_set() -> None:
    talk = Talk(False, {CDS: {"l": "1"}})
    talk.sotw_says(CDS, version="of another")
    talk.hears(CDS, {"l": "1"}, accept=False)
    talk.becomes({CDS: {"a": "1"}})
    talk.passes(seconds=31)
    talk.hears(CDS, {"a": "1"})
    talk.silence()


def test_r53_the_words_of_a_rejection_are_cut_before_they_cost_anything() -> None:
    talk = Talk(True, {CDS: {f"c{number}": "1" for number in range(40)}})
    talk.delta_says(CDS)
    count = 0
    while talk.next() is not None:
        count += 1
        talk.refuses(CDS, f"{count} " + "o" * 2**20)
    told = [one.message for _, one in talk.stream.state().rejected]
    assert len(told) == 40
    assert sum(map(len, told)) < 2**19
    assert all(len(event.message) < 2**14 for event in talk.events if isinstance(event, Rejected))


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
def test_r53_a_long_name_is_answered_and_not_remembered_and_one_that_nobody_has_ends_the_stream(delta: bool) -> None:
    talk = Talk(delta, {EDS: {"a": "1"}})
    talk.says(EDS, "a")
    talk.hears(EDS, {"a": "1"})
    talk.derived.clear()
    for number in range(3):
        talk.says(EDS, f"{number}" + "x" * LONGEST_NAME)
        while talk.next() is not None:
            talk.accepts(EDS)
    assert not talk.derived, "nothing can have such a name"
    with pytest.raises(Violation, match="too long"):
        talk.says(EDS, "x" * (MAX_NAME + 1))
