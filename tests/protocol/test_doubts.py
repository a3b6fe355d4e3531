"""Where it is not known what a client has: it did not answer, or too late, or refused several resources at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.protocol.conversation import BROKEN, CDS, EDS, LDS, NO_SCOPE, RDS, VHDS, Talk, version_of
from tests.protocol.on_demand import ON_DEMAND, OnDemandTalk
from tests.protocol.test_on_demand import WORLD, opened

both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
OF_EACH = "Error adding/updating cluster(s) "


def refuse_all(talk: Talk, most: int) -> list[dict[str, str]]:
    """What is sent to a client that refuses whatever comes."""
    sent = []
    while len(sent) < most and (heard := talk.next()) is not None:
        sent.append(heard.resources)
        talk.refuses(heard.type_url)
    return sent


@pytest.mark.parametrize("lost", [False, True], ids=["of a refused response", "of one without an answer"])
def test_r12_on_demand_who_refuses_what_it_may_have_is_not_sent_it_without_end(lost: bool) -> None:
    hosts = {**WORLD[VHDS], "80/w": "1"}
    talk = opened(OnDemandTalk(world={**WORLD, VHDS: hosts}))
    talk.delta_says(VHDS, "80/z", "80/w")
    talk.hears(VHDS, {"80/w": "1", "80/z": "1"})
    talk.becomes({VHDS: {**hosts, "80/z": "2", "80/w": "2"}})
    talk.hears(VHDS, {"80/w": "2", "80/z": "2"}, accept=False)
    talk.becomes({VHDS: {**hosts, "80/z": "3", "80/w": "2"}})
    if lost:
        talk.passes(seconds=31)
    else:
        talk.refuses(VHDS)
    assert len(refuse_all(talk, 40)) < 8


@pytest.mark.parametrize("first", [False, True])
def test_r15_the_removal_of_what_was_refused_holds_nothing_up_if_it_is_not_answered(first: bool) -> None:
    talk = Talk(True, {CDS: {"a": "1", "b": "bad"} if first else {"a": "1"}})
    talk.delta_says(CDS)
    if not first:
        talk.hears(CDS, {"a": "1"})
        talk.becomes({CDS: {"a": "1", "b": "bad"}})
    assert talk.next() is not None
    talk.refuses(CDS, f"{OF_EACH}b: it is wrong")
    talk.hears(CDS, removed=("b",), accept=False)
    talk.becomes({CDS: {"a": "2", "b": "bad"}})
    talk.passes(seconds=31)
    talk.hears(CDS, {"a": "2"})
    talk.silence()


def test_r47_sotw_of_a_set_of_which_nothing_is_known_those_that_envoy_names_are_reported() -> None:
    talk = Talk(False, {CDS: {"a": "1", "b": "bad", "c": "1"}})
    talk.sotw_says(CDS, version="of another replica")
    talk.hears(CDS, {"a": "1", "b": "bad", "c": "1"}, accept=False)
    talk.refuses(CDS, f"{OF_EACH}b: it is wrong")
    assert [one.name for _, one in talk.stream.state().rejected] == ["b"]
    talk.silence()


def test_r47_sotw_good_clusters_of_a_refused_set_are_not_kept_as_refused() -> None:
    """The end of an older stream comes late, and with it the set that the client accepted on that."""
    talk = Talk(False, {CDS: {"a": "1"}})
    talk.sotw_says(CDS)
    version = talk.hears(CDS, {"a": "1"}).version
    older = talk.stream
    del talk.stream
    talk.reconnect()
    talk.becomes({CDS: {"a": "1", "b": "bad", "c": "1"}})
    talk.sotw_says(CDS, version=version)
    talk.hears(CDS, {"a": "1", "b": "bad", "c": "1"}, accept=False)
    talk.refuses(CDS, f"{OF_EACH}b: it is wrong")
    older.close(talk.now)
    talk.reconnect()
    talk.sotw_says(CDS, version=version)
    talk.hears(CDS, {"a": "1", "c": "1"})
    talk.silence()
    assert [one.name for _, one in talk.stream.state().rejected] == ["b"]


def test_r40_a_cluster_stays_that_the_client_may_have_a_host_for() -> None:
    clusters = {"base-a": "1", "base-b": "1", "base-c": "1"}
    world = {CDS: clusters, VHDS: {"base80": "uses base-a"}}
    talk = OnDemandTalk(world=world, asker=replace(ON_DEMAND, on_demand=False))
    talk.delta_says(CDS)
    talk.hears(CDS, clusters)
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"base80": "uses base-a"})
    talk.becomes({VHDS: {"base80": "uses base-b"}})
    talk.hears(VHDS, {"base80": "uses base-b"}, accept=False)
    talk.becomes({CDS: {"base-a": "1", "base-c": "1"}, VHDS: {"base80": "uses base-c"}})
    talk.passes(seconds=31)
    talk.hears(VHDS, {"base80": "uses base-c"}, accept=False)
    talk.refuses(VHDS)
    talk.passes(seconds=6)
    talk.silence()
    talk.becomes({VHDS: {"base80": "uses base-a"}})
    talk.hears(VHDS, {"base80": "uses base-a"})
    talk.hears(CDS, removed=("base-b",))


def test_r46_a_cluster_that_the_client_may_have_is_not_removed_for_a_refused_one() -> None:
    talk = Talk(True, {CDS: {"a": "1"}, VHDS: {"80/x": "1"}})
    talk.delta_says(CDS)
    talk.hears(CDS, {"a": "1"})
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"80/x": "1"})
    talk.becomes({CDS: {"a": "1", "b": "1"}, VHDS: {"80/x": "to b"}})
    talk.hears(CDS, {"b": "1"}, accept=False)
    talk.passes(seconds=6)
    talk.hears(VHDS, {"80/x": "to b"})
    talk.becomes({CDS: {"a": "1", "b": "bad"}})
    talk.passes(seconds=31)
    talk.hears(CDS, {"b": "bad"}, accept=False)
    talk.refuses(CDS, f"{OF_EACH}b: it is wrong")
    talk.silence()


def test_r46_a_host_that_changes_between_two_refusals_keeps_no_cluster() -> None:
    talk = Talk(True, {CDS: {"a": "1", "b": "1"}, VHDS: {"80/x": "1"}})
    talk.delta_says(CDS)
    talk.hears(CDS, {"a": "1", "b": "1"})
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"80/x": "1"})
    talk.becomes({VHDS: {"80/x": "2", "81/x": "bad1"}})
    talk.hears(VHDS, {"80/x": "2", "81/x": "bad1"}, accept=False)
    talk.becomes({VHDS: {"80/x": "2", "81/x": "bad2"}})
    talk.refuses(VHDS, "81/x is wrong")
    talk.hears(VHDS, {"80/x": "2"})
    talk.hears(VHDS, {"81/x": "bad2"}, accept=False)
    talk.refuses(VHDS, "81/x is wrong")
    talk.silence()
    talk.becomes({CDS: {"a": "1"}})
    talk.hears(CDS, removed=("b",))


def test_r32_who_comes_back_and_names_what_it_refused_is_answered() -> None:
    talk = Talk(True, {CDS: {"a": "1", "b": "bad"}})
    talk.delta_says(CDS, "a", "b")
    versions = talk.hears(CDS, {"a": "1", "b": "bad"}, accept=False).versions
    talk.refuses(CDS, f"{OF_EACH}b: it is wrong")
    talk.hears(CDS, removed=("b",))
    talk.hears(CDS, {"a": "1"})
    talk.reconnect()
    talk.delta_says(CDS, "a", "b", initial={"a": versions["a"]})
    talk.hears(CDS, removed=("b",))
    talk.silence()


def test_r32_on_demand_who_comes_back_and_connects_to_an_address_that_it_refused_is_answered() -> None:
    talk = opened(OnDemandTalk(world={CDS: {"base": "1", "tcp|1": "bad"}, VHDS: {"base80": "1"}}))
    talk.delta_says(CDS, "tcp|1")
    talk.hears(CDS, {"tcp|1": "bad"}, accept=False)
    talk.refuses(CDS, f"{OF_EACH}tcp|1: it is wrong")
    talk.hears(CDS, removed=("tcp|1",))
    talk.reconnect()
    talk.delta_says(CDS, "*", "tcp|1", initial={"base": version_of("base", "1")})
    talk.hears(CDS, removed=("tcp|1",))
    talk.silence()


def test_r62_that_there_is_no_such_host_is_said_by_its_alias_after_a_refusal_too() -> None:
    talk = Talk(True, {VHDS: {"80/a": "1", "80/bad": "BAD"}})
    talk.delta_says(VHDS, "80/a", "80/bad", "80/unknown")
    talk.hears(VHDS, {"80/a": "1", "80/bad": "BAD"}, missing=("80/unknown",), accept=False)
    talk.refuses(VHDS, "80/bad is wrong")
    talk.hears(VHDS, {"80/a": "1"}, missing=("80/unknown",))
    talk.hears(VHDS, {"80/bad": "BAD"}, accept=False)
    talk.refuses(VHDS, "80/bad is wrong")
    talk.silence()


def test_r30_a_host_that_is_given_back_while_it_cannot_be_derived_stays() -> None:
    """Another name that the client asked for leads to it."""
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/z", "80/z:80")
    versions = talk.hears(VHDS, {"80/z": "1"}, missing=("80/z:80",)).versions
    talk.becomes({VHDS: {**WORLD[VHDS], "80/z": BROKEN}})
    talk.silence()
    talk.stream.close(talk.now)
    talk.memo = talk.new_memo()
    talk.reconnect()
    talk.delta_says(CDS, initial={"base": version_of("base", "1")})
    initial = {"80/z": versions["80/z"], "base80": version_of("base80", "1")}
    talk.delta_says(VHDS, "*", "80/z", "80/z:80", initial=initial)
    while talk.next() is not None:
        talk.accepts(VHDS)
    talk.delta_says(VHDS, drops=("80/z",))
    talk.silence()


@pytest.mark.parametrize("lost", [False, True])
def test_r27_what_is_dropped_while_its_response_is_not_answered_is_not_spoken_of(lost: bool) -> None:
    talk = Talk(True, {RDS: {"80": "1", "81": "BAD"}})
    talk.delta_says(RDS, "80", "81")
    talk.hears(RDS, {"80": "1", "81": "BAD"}, accept=False)
    talk.delta_says(RDS, drops=("80",))
    if lost:
        talk.becomes({RDS: {"80": "1", "81": "2"}})
        talk.passes(seconds=31)
        talk.hears(RDS, {"81": "2"})
    else:
        talk.refuses(RDS, "81 is wrong")
        talk.hears(RDS, {"81": "BAD"}, accept=False)
        talk.refuses(RDS, "81 is wrong")
    talk.silence()


def test_r49_sotw_what_is_gone_of_a_refused_set_takes_one_set() -> None:
    talk = Talk(False, {CDS: {"a": "1"}})
    talk.sotw_says(CDS)
    talk.hears(CDS, {"a": "1"})
    talk.becomes({CDS: {"a": "1", "b": "1", "c": "1"}})
    talk.hears(CDS, {"a": "1", "b": "1", "c": "1"}, accept=False)
    talk.becomes({CDS: {"a": "1", "c": "1"}})
    talk.refuses(CDS, "it is wrong")
    talk.hears(CDS, {"a": "1", "c": "1"})
    talk.silence()


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
def test_r15_an_answer_that_comes_too_late_counts_until_something_else_is_sent(delta: bool, refused: bool) -> None:
    talk = Talk(delta, {CDS: {"a": "1"}, LDS: {"l": "1"}})
    talk.says(CDS)
    talk.hears(CDS, {"a": "1"})
    talk.says(LDS)
    talk.hears(LDS, {"l": "1"})
    talk.becomes({LDS: {"l": "2"}})
    talk.hears(LDS, {"l": "2"}, accept=False)
    talk.passes(seconds=28)
    talk.becomes({CDS: {"a": "1", "b": "1"}, LDS: {"l": "2", "m": "1"}})
    talk.hears(CDS, {"a": "1", "b": "1"} if not delta else {"b": "1"}, accept=False)
    talk.passes(seconds=3)
    talk.silence()  # listeners wait for the cluster
    if refused:
        talk.refuses(LDS)
    else:
        talk.accepts(LDS)
    talk.accepts(CDS)
    if refused:
        talk.hears(LDS, {"m": "1"} if delta else {"l": "1", "m": "1"})
    else:
        talk.hears(LDS, {"m": "1"} if delta else {"l": "2", "m": "1"})
    talk.silence()


def test_r40_a_host_of_which_only_a_refused_version_may_be_there_keeps_the_clusters_of_that_alone() -> None:
    world = {CDS: {"base-a": "1", "base-b": "1"}, VHDS: {}}
    talk = OnDemandTalk(world=world, asker=replace(ON_DEMAND, on_demand=False))
    talk.delta_says(CDS)
    talk.hears(CDS, {"base-a": "1", "base-b": "1"})
    talk.delta_says(VHDS)
    talk.hears(VHDS)
    talk.becomes({VHDS: {"base80": "uses base-a"}})
    talk.hears(VHDS, {"base80": "uses base-a"}, accept=False)
    talk.becomes({VHDS: {"base80": "bad"}})
    talk.passes(seconds=31)
    talk.hears(VHDS, {"base80": "bad"}, accept=False)
    talk.refuses(VHDS)
    talk.becomes({CDS: {}})
    talk.passes(seconds=6)
    talk.hears(CDS, removed=("base-b",))
    talk.silence()


def test_r32_on_demand_an_address_whose_answer_was_lost_and_that_is_then_refused_is_answered_when_asked_for() -> None:
    talk = opened(OnDemandTalk(world={CDS: {"base": "1", "tcp|1": "bad"}, VHDS: {"base80": "1"}}))
    talk.delta_says(CDS, "tcp|1")
    talk.hears(CDS, {"tcp|1": "bad"}, accept=False)
    talk.becomes({CDS: {"base": "2", "tcp|1": "bad"}})
    talk.passes(seconds=31)
    talk.hears(CDS, {"base": "2", "tcp|1": "bad"}, accept=False)
    talk.refuses(CDS, f"{OF_EACH}tcp|1: it is wrong")
    talk.hears(CDS, {"base": "2"})
    talk.silence()
    talk.delta_says(CDS, "tcp|1")
    talk.hears(CDS, removed=("tcp|1",))


def test_r33_a_table_of_a_refused_response_that_is_gone_meanwhile_is_answered() -> None:
    talk = Talk(True, {RDS: {"80": "1", "81": "bad"}})
    talk.delta_says(RDS, "80", "81")
    talk.hears(RDS, {"80": "1", "81": "bad"}, accept=False)
    talk.becomes({RDS: {"81": "bad"}})
    talk.refuses(RDS, "81 is wrong")
    told = []
    while (heard := talk.next()) is not None:
        told.extend(heard.removed)
        if "81" in heard.resources:
            talk.refuses(RDS, "81 is wrong")
        else:
            talk.accepts(RDS)
    assert told == ["80"]


def test_r46_what_is_sent_again_of_a_refused_response_is_of_now() -> None:
    talk = opened(OnDemandTalk(world={**WORLD, VHDS: {**WORLD[VHDS], "80/y": "1"}}))
    talk.delta_says(VHDS, "80/y", "80/z")
    talk.hears(VHDS, {"80/y": "1", "80/z": "1"})
    talk.becomes({VHDS: {**talk.world[VHDS], "80/z": "bad"}})
    talk.hears(VHDS, {"80/z": "bad"}, accept=False)
    talk.refuses(VHDS)
    talk.becomes({VHDS: {**talk.world[VHDS], "80/y": "2"}})
    talk.delta_says(VHDS, "80/z")
    talk.hears(VHDS, {"80/y": "2", "80/z": "1"}, accept=False)
    talk.becomes({VHDS: {**talk.world[VHDS], "80/z": "good"}})
    talk.refuses(VHDS)
    while (heard := talk.next()) is not None:
        assert heard.resources.get("80/z") != "1"
        talk.accepts(VHDS)


def test_r47_sotw_a_refused_removal_of_what_is_asked_for_no_longer_is_not_reported() -> None:
    talk = Talk(False, {CDS: {"a": "1", "b": "1"}})
    talk.sotw_says(CDS, "a", "b")
    talk.hears(CDS, {"a": "1", "b": "1"})
    talk.becomes({CDS: {"a": "1"}})
    talk.passes(seconds=6)
    talk.hears(CDS, {"a": "1"}, accept=False)
    talk.refuses(CDS)
    talk.silence()
    talk.sotw_says(CDS, "a")
    talk.silence()
    assert not talk.stream.state().rejected


def test_r47_the_late_end_of_an_older_stream_forgets_nothing_that_a_newer_one_kept() -> None:
    talk = Talk(True, {CDS: {"a": "1"}})
    talk.delta_says(CDS)
    versions = talk.hears(CDS, {"a": "1"}).versions
    older = talk.stream
    del talk.stream
    talk.now += timedelta(seconds=1)
    talk.reconnect()
    talk.delta_says(CDS, initial=versions)
    talk.becomes({CDS: {"a": "1", "b": "bad"}})
    talk.hears(CDS, {"b": "bad"}, accept=False)
    talk.refuses(CDS, f"{OF_EACH}b: it is wrong")
    talk.stream.close(talk.now)
    older.close(talk.now)
    del talk.stream
    talk.reconnect()
    talk.delta_says(CDS, initial=versions)
    talk.silence()


def test_r12_sotw_a_removal_that_is_refused_too_late_is_not_sent_again() -> None:
    talk = Talk(False, {CDS: {"a": "1", "b": "1"}, RDS: {"80": "1"}})
    talk.sotw_says(CDS)
    talk.hears(CDS, {"a": "1", "b": "1"})
    talk.sotw_says(RDS, "80")
    talk.hears(RDS, {"80": "1"})
    talk.becomes({CDS: {"b": "1"}})
    talk.hears(CDS, {"b": "1"}, accept=False)
    talk.becomes({CDS: {"b": "1", "c": "1"}})
    talk.becomes({CDS: {"b": "1"}, RDS: {"80": "2"}})
    talk.passes(seconds=31)
    talk.hears(RDS, {"80": "2"}, accept=False)
    talk.silence()  # the removal waits for the table
    talk.refuses(CDS)
    talk.sotw_says(CDS, "*", "b")
    talk.hears(CDS, {"a": "1", "b": "1"})
    talk.accepts(RDS)
    talk.silence()


@pytest.mark.parametrize("late", [False, True], ids=["in time", "too late"])
def test_r40_a_refusal_that_comes_too_late_leaves_no_doubt(late: bool) -> None:
    clusters = {"base-a": "1", "base-x": "1"}
    asker = replace(ON_DEMAND, on_demand=False)
    talk = OnDemandTalk(world={CDS: clusters, VHDS: {"base80": "uses base-a"}}, asker=asker)
    talk.delta_says(CDS)
    talk.hears(CDS, clusters)
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"base80": "uses base-a"})
    talk.becomes({VHDS: {"base80": "bad"}})
    talk.hears(VHDS, {"base80": "bad"}, accept=False)
    if late:
        talk.becomes({CDS: {**clusters, "base-n": "1"}, VHDS: {"base80": "bad", "base81": "1"}})
        talk.hears(CDS, {"base-n": "1"}, accept=False)
        talk.passes(seconds=31)
    talk.refuses(VHDS)
    if late:
        talk.accepts(CDS)
        talk.hears(VHDS, {"base81": "1"})
    talk.silence()
    talk.becomes({CDS: {name: content for name, content in talk.world[CDS].items() if name != "base-x"}})
    talk.hears(CDS, removed=("base-x",))
    talk.silence()


def test_r49_sotw_an_answer_that_comes_too_late_is_followed_by_nothing() -> None:
    talk = Talk(False, {CDS: {"a": "1"}, RDS: {"80": "1"}})
    talk.says(RDS, "80")
    talk.hears(RDS, {"80": "1"})
    talk.says(CDS)
    talk.hears(CDS, {"a": "1"}, accept=False)
    talk.becomes({CDS: {"a": "1", "b": BROKEN}})
    talk.passes(seconds=30)
    talk.accepts(CDS)
    talk.silence()


def test_r51_a_host_that_came_and_went_while_no_answer_came_is_removed_though_there_was_none_before() -> None:
    talk = Talk(True, {VHDS: {}})
    talk.delta_says(VHDS, "80/a")
    talk.hears(VHDS, missing=("80/a",))
    talk.becomes({VHDS: {"80/a": "1"}})
    talk.hears(VHDS, {"80/a": "1"}, accept=False)
    talk.becomes({VHDS: {}})
    talk.passes(seconds=30)
    talk.hears(VHDS, removed=("80/a",))
    talk.silence()


@both
@pytest.mark.parametrize("late", [False, True], ids=["in time", "too late"])
def test_r40_a_new_listener_that_is_refused_too_late_is_not_taken_for_one_that_it_has(late: bool, delta: bool) -> None:
    talk = Talk(delta, {CDS: {"a": "1", "x": "1"}, LDS: {"l": "1"}})
    for url in (CDS, LDS):
        talk.says(url)
        talk.hears(url, talk.world[url])
    talk.becomes({LDS: {"l": "1", "m": "bad"}})
    assert talk.next() is not None
    if late:
        talk.passes(seconds=30)
        talk.becomes({CDS: {"a": "1", "x": "1", "n": "1"}, LDS: {"l": "1", "m": "bad", "k": "1"}})
        talk.hears(CDS, {"n": "1"} if delta else {"a": "1", "x": "1", "n": "1"}, accept=False)
        talk.passes(seconds=1)
        talk.silence()
    talk.refuses(LDS)
    if late:
        talk.accepts(CDS)
        talk.hears(LDS, {"k": "1"} if delta else {"l": "1", "k": "1"})
    talk.silence()
    without = {name: content for name, content in talk.world[CDS].items() if name != "x"}
    talk.becomes({CDS: without})
    talk.hears(CDS, {} if delta else without, removed=("x",) if delta else ())


def test_r32_on_demand_who_asks_while_it_cannot_be_told_what_it_gets_unasked_is_answered() -> None:
    world = {CDS: {"base": "1", "u": "1"}, VHDS: {"base80": "1", "80/u": "uses u"}}
    talk = opened(OnDemandTalk(world=world))
    talk.becomes({VHDS: {**world[VHDS], NO_SCOPE: "1"}})
    talk.delta_says(VHDS, "80/u")
    talk.hears(CDS, {"u": "1"})
    talk.hears(VHDS, {"80/u": "uses u"})
    talk.becomes(world)
    talk.silence()


@pytest.mark.parametrize("url", [EDS, RDS], ids=["eds", "rds"])
def test_r33_what_was_asked_for_and_could_not_be_derived_is_answered_once_it_is_gone(url: str) -> None:
    talk = Talk(True, {url: {"x": BROKEN}})
    talk.delta_says(url, "x")
    talk.silence()
    talk.becomes({url: {}})
    talk.hears(url, removed=("x",))
    talk.silence()


def test_r30_a_name_taken_back_before_the_scope_was_known_is_answered_once_it_is() -> None:
    talk = Talk(True, {CDS: {"a": "1", NO_SCOPE: "1"}})
    talk.delta_says(CDS, "*", "z")
    talk.hears(CDS, removed=("z",))
    talk.delta_says(CDS, drops=("z",))
    talk.silence()
    talk.becomes({CDS: {"a": "1"}})
    talk.hears(CDS, {"a": "1"}, removed=("z",))
    talk.silence()
    (channel,) = talk.stream._channels.values()
    assert not channel.unanswered


@pytest.mark.parametrize("kept", [False, True])
def test_what_is_refused_late_and_gone_by_then_does_not_count_as_rejected(kept: bool) -> None:
    """`kept`: it refuses a listener too, for which it keeps its clusters."""
    talk = Talk(True, {CDS: {"a": "wrong"}, LDS: {"m": "wrong"} if kept else {}})
    talk.delta_says(LDS)
    talk.delta_says(CDS)
    cluster = talk.hears(CDS, {"a": "wrong"}, accept=False)
    talk.passes(seconds=6)
    if kept:
        talk.hears(LDS, {"m": "wrong"}, accept=False)
        talk.refuses(LDS)
    talk.becomes({CDS: {}})
    talk.passes(seconds=40)
    while talk.next() is not None:
        pass
    talk.delta_says(CDS, nonce=cluster.nonce, error="a is wrong")
    while talk.next() is not None:
        pass
    assert [one.name for url, one in talk.stream.state().rejected if url == CDS] == []


def test_r62_a_host_of_which_the_client_may_have_any_version_stays_when_its_table_is_sent_again() -> None:
    """It took the first, answered too late, and refuses the second: there is none that could follow the table."""
    talk = Talk(True, {RDS: {"80": "1"}, VHDS: {"80/b": "1"}})
    talk.delta_says(RDS, "80")
    talk.hears(RDS, {"80": "1"})
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"80/b": "1"}, accept=False)
    talk.becomes({VHDS: {"80/b": "wrong"}})
    talk.passes(seconds=31)
    talk.hears(VHDS, {"80/b": "wrong"}, accept=False)
    talk.refuses(VHDS)
    talk.silence()
    talk.becomes({RDS: {"80": "2"}})
    talk.hears(RDS, {"80": "2"})
    talk.silence()
    talk.becomes({VHDS: {"80/b": "right"}})
    talk.hears(VHDS, {"80/b": "right"})


def test_r47_sotw_an_answer_that_comes_too_late_ends_no_refusal_of_what_came_after() -> None:
    talk = Talk(False, {LDS: {"l": "1"}})
    talk.sotw_says(LDS)
    talk.hears(LDS, {"l": "1"})
    talk.becomes({LDS: {"l": "wrong"}})
    talk.hears(LDS, {"l": "wrong"}, accept=False)
    talk.refuses(LDS)
    talk.becomes({LDS: {"l": "2"}})
    late = talk.hears(LDS, {"l": "2"}, accept=False)
    talk.becomes({LDS: {"l": "wrong"}})
    talk.passes(seconds=40)
    talk.silence()
    talk.sotw_says(LDS, nonce=late.nonce, version=late.version)
    talk.silence()
    assert [one.name for _, one in talk.stream.state().rejected] == ["l"]
    talk.stream.reassign(talk.stream.asker)
    talk.silence()


def test_r62_a_host_that_is_refused_as_it_was_before_does_not_follow_its_table() -> None:
    """It is not known whether the client has it: its removal was not answered in time."""
    talk = Talk(True, {RDS: {"80": "1"}, VHDS: {"80/b": "1"}})
    talk.delta_says(RDS, "80")
    talk.hears(RDS, {"80": "1"})
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"80/b": "1"})
    talk.becomes({VHDS: {}})
    talk.hears(VHDS, removed=("80/b",), accept=False)
    talk.becomes({VHDS: {"80/b": "1"}})
    talk.passes(seconds=31)
    talk.hears(VHDS, {"80/b": "1"}, accept=False)
    talk.refuses(VHDS)
    talk.silence()
    talk.becomes({RDS: {"80": "2"}})
    talk.hears(RDS, {"80": "2"})
    talk.silence()
