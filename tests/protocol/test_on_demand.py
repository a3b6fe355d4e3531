"""On demand: what is asked for is sent, followed and answered; clusters come before what names them, and go after."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from datetime import timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from model.names import is_address_cluster
from tests.protocol.conversation import BROKEN, CDS, EDS, MEMO_LIMITS, VHDS, to_mesh, version_of
from tests.protocol.model_client import BAD
from tests.protocol.on_demand import NOBODYS, ON_DEMAND, USES, OnDemandClient, OnDemandTalk, canonical
from xds.demand import ANEW, SPELLINGS, DemandLimits
from xds.history import History, workload_of
from xds.look_ahead import LOOKS_AT_ONCE
from xds.memo import Marks
from xds.wire import parse_delta_request

WORLD = {
    CDS: {"base": "1", "a": "1", "b": "1"},
    VHDS: {"base80": "1", "80/x": "uses a", "80/y": "uses b", "80/z": "1"},
}


def opened(talk: OnDemandTalk) -> OnDemandTalk:
    """A client that has begun and asked for nothing."""
    talk.delta_says(CDS)
    talk.hears(CDS, {"base": "1"})
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"base80": "1"})
    talk.silence()
    return talk


def test_a_client_that_asks_for_nothing_gets_what_everybody_gets() -> None:
    opened(OnDemandTalk(world=WORLD))


def test_r32_what_is_asked_for_comes_after_its_cluster_and_under_the_asked_name_too() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/x:80")
    talk.hears(CDS, {"a": "1"}, accept=False)
    talk.silence()
    talk.accepts(CDS)
    talk.hears(VHDS, {"80/x": "uses a"}, missing=("80/x:80",))
    talk.silence()


def test_asked_by_its_own_name_it_is_sent_once() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/z")
    talk.hears(VHDS, {"80/z": "1"})
    talk.silence()
    talk.delta_says(VHDS, "80/z:80")
    talk.hears(VHDS, missing=("80/z:80",))
    talk.silence()


def test_r62_an_unknown_host_is_answered_at_once_and_sent_once_it_is_there() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/late:80")
    talk.hears(VHDS, missing=("80/late:80",))
    talk.passes(minutes=10)
    talk.silence()
    talk.becomes({VHDS: {**WORLD[VHDS], "80/late": "uses b"}})
    talk.hears(CDS, {"b": "1"})
    talk.hears(VHDS, {"80/late": "uses b"})
    talk.silence()


def test_r62_an_unknown_host_is_sent_once_it_is_there_though_what_everybody_gets_stays_as_it_is() -> None:
    """That is so for every service on a port that another one has too."""
    talk = opened(OnDemandTalk(world=WORLD, everybodys=("base", "base80")))
    talk.delta_says(VHDS, "80/late:80")
    talk.hears(VHDS, missing=("80/late:80",))
    talk.silence()
    assert talk.stream.id not in talk.readers.concerned(Marks())
    assert not talk.becomes({VHDS: {**WORLD[VHDS], "80/late": "uses b"}}).scopes
    talk.hears(CDS, {"b": "1"})
    talk.hears(VHDS, {"80/late": "uses b"})
    talk.silence()


def test_r40_a_cluster_that_only_the_version_before_a_refused_one_uses_is_followed() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/z")
    talk.hears(VHDS, {"80/z": "1"})
    talk.becomes({VHDS: {**WORLD[VHDS], "80/z": "uses b"}})
    talk.hears(CDS, {"b": "1"})
    talk.hears(VHDS, {"80/z": "uses b"}, accept=False)
    talk.becomes({VHDS: {**WORLD[VHDS], "80/z": "3"}})
    talk.accepts(VHDS)
    talk.hears(VHDS, {"80/z": "3"}, accept=False)
    talk.refuses(VHDS)
    talk.silence()
    talk.passes(minutes=10)
    talk.silence()
    talk.becomes({CDS: {**WORLD[CDS], "b": "2"}})
    talk.hears(CDS, {"b": "2"})
    talk.silence()


def test_r30_a_name_given_back_is_answered() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/nobody", "80/z", "80/z:80")
    talk.hears(VHDS, {"80/z": "1"}, missing=("80/nobody", "80/z:80"))
    talk.delta_says(VHDS, drops=("80/nobody",))
    talk.hears(VHDS, removed=("80/nobody",))
    talk.delta_says(VHDS, drops=("80/z",))
    talk.hears(VHDS, {"80/z": "1"})
    talk.delta_says(VHDS, drops=("80/z:80",))
    talk.hears(VHDS, removed=("80/z", "80/z:80"))
    talk.silence()
    talk.delta_says(VHDS, "80/z:80", drops=("80/z:80",))
    talk.hears(VHDS, removed=("80/z:80",))
    talk.silence()


def answered_for_another_name() -> OnDemandTalk:
    """`80/new` was given back; by now it is there, and on its way because of `80/new:80`."""
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/new", "80/new:80")
    talk.hears(VHDS, missing=("80/new", "80/new:80"))
    talk.delta_says(VHDS, drops=("80/new",))
    talk.becomes({VHDS: {**WORLD[VHDS], "80/new": "2"}})
    talk.hears(VHDS, {"80/new": "2"}, accept=False)
    return talk


def test_r30_a_name_given_back_is_removed_where_what_answers_for_it_is_refused() -> None:
    talk = answered_for_another_name()
    talk.refuses(VHDS)
    talk.hears(VHDS, removed=("80/new",))
    talk.silence()


def given_back_while_another_version_comes() -> OnDemandTalk:
    """The client has `80/z` at 1 and gave the name back; 2 is on its way because of `80/z:80`."""
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/z", "80/z:80")
    talk.hears(VHDS, {"80/z": "1"}, missing=("80/z:80",))
    talk.delta_says(VHDS, drops=("80/z",))
    talk.becomes({VHDS: {**WORLD[VHDS], "80/z": "2"}})
    talk.hears(VHDS, {"80/z": "2"}, accept=False)
    return talk


def test_r30_a_name_given_back_is_answered_by_what_the_client_keeps_where_the_new_is_refused() -> None:
    talk = given_back_while_another_version_comes()
    talk.refuses(VHDS)
    talk.hears(VHDS, {"80/z": "1"})
    talk.silence()


def test_r12_who_refuses_what_it_had_too_is_not_sent_either_again() -> None:
    talk = given_back_while_another_version_comes()
    talk.refuses(VHDS)
    talk.hears(VHDS, {"80/z": "1"}, accept=False)
    talk.refuses(VHDS)
    talk.silence()
    talk.stream.reassign(talk.asker)
    talk.silence()


def test_r30_r51_the_answer_to_a_name_given_back_is_sent_again_where_it_was_not_answered_in_time() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/z", "80/z:80")
    talk.hears(VHDS, {"80/z": "1"}, missing=("80/z:80",))
    talk.delta_says(VHDS, drops=("80/z",))
    talk.hears(VHDS, {"80/z": "1"}, accept=False)
    talk.delta_says(VHDS, "80/nobody")
    talk.silence()
    talk.passes(seconds=31)
    talk.hears(VHDS, {"80/z": "1"}, missing=("80/nobody",))
    talk.silence()


def test_a_name_given_back_and_asked_for_again_while_it_is_answered_is_asked_for() -> None:
    talk = answered_for_another_name()
    talk.delta_says(VHDS, "80/new")
    talk.refuses(VHDS)
    talk.hears(VHDS, missing=("80/new",))
    talk.silence()


def test_a_name_given_back_twice_while_it_is_answered_is_given_back() -> None:
    talk = answered_for_another_name()
    talk.delta_says(VHDS, "80/new")
    talk.delta_says(VHDS, drops=("80/new",))
    talk.becomes({VHDS: WORLD[VHDS]})
    talk.accepts(VHDS)
    talk.hears(VHDS, removed=("80/new",))
    talk.silence()


def test_a_name_given_back_and_asked_for_before_the_answer_is_asked_for() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/nobody")
    talk.hears(VHDS, missing=("80/nobody",))
    talk.delta_says(VHDS, drops=("80/nobody",))
    talk.delta_says(VHDS, "80/nobody")
    talk.hears(VHDS, missing=("80/nobody",))
    talk.silence()


def test_a_name_that_is_asked_for_again_is_answered_anew() -> None:
    """Envoy forgets what it asked for with its route table; of the version it had, an answer without a body is none."""
    talk = opened(OnDemandTalk(world=WORLD))
    versions = set()
    for _ in range(3):
        talk.delta_says(VHDS, "80/nobody")
        versions.add(talk.hears(VHDS, missing=("80/nobody",)).versions["80/nobody"])
        talk.delta_says(VHDS, drops=("80/nobody",))
        talk.hears(VHDS, removed=("80/nobody",))
    assert len(versions) == 3


def test_what_is_gone_is_removed_and_comes_back_unasked() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/z:80")
    talk.hears(VHDS, {"80/z": "1"}, missing=("80/z:80",))
    without = {name: content for name, content in WORLD[VHDS].items() if name != "80/z"}
    talk.becomes({VHDS: without})
    talk.hears(VHDS, removed=("80/z",))
    talk.silence()
    talk.becomes({VHDS: WORLD[VHDS]})
    talk.hears(VHDS, {"80/z": "1"})
    talk.silence()


def test_nothing_is_said_of_what_was_not_asked_for() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.becomes({VHDS: {**WORLD[VHDS], "80/x": "uses b"}, CDS: {**WORLD[CDS], "a": "2"}})
    talk.silence()


def test_r40_a_route_to_another_cluster_waits_for_it_and_the_old_one_has_its_grace() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/x")
    talk.hears(CDS, {"a": "1"})
    talk.hears(VHDS, {"80/x": "uses a"})
    talk.becomes({VHDS: {**WORLD[VHDS], "80/x": "uses b"}})
    talk.passes(seconds=0)
    talk.hears(CDS, {"b": "1"}, accept=False)
    talk.silence()
    talk.accepts(CDS)
    talk.hears(VHDS, {"80/x": "uses b"})
    talk.passes(seconds=0)  # from now on, since the client has taken it
    talk.passes(seconds=59)
    talk.silence()
    assert talk.stream.wake_at() == talk.now + timedelta(seconds=1)
    talk.passes(seconds=1)
    talk.hears(CDS, removed=("a",))
    talk.silence()


def test_r40_a_clusters_grace_begins_anew_when_it_was_named_again() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/x", "80/z")
    talk.hears(CDS, {"a": "1"})
    talk.hears(VHDS, {"80/x": "uses a", "80/z": "1"})
    hosts = {**WORLD[VHDS], "80/x": "1"}
    talk.becomes({VHDS: hosts})
    talk.hears(VHDS, {"80/x": "1"})
    talk.passes(seconds=0)
    talk.passes(seconds=40)
    talk.becomes({VHDS: {**hosts, "80/z": "uses a"}})
    talk.hears(VHDS, {"80/z": "uses a"})
    talk.passes(seconds=18)
    talk.becomes({VHDS: hosts})
    talk.hears(VHDS, {"80/z": "1"})
    talk.passes(seconds=0)
    talk.passes(seconds=59)
    talk.silence()
    talk.passes(seconds=1)
    talk.hears(CDS, removed=("a",))
    talk.silence()


def test_r46_a_host_that_goes_while_the_culprit_is_looked_for_is_answered_too() -> None:
    talk = OnDemandTalk(world={**WORLD, VHDS: {**WORLD[VHDS], "80/bad": "bad"}})
    talk.delta_says(VHDS, "*")
    talk.delta_says(VHDS, "80/bad")
    talk.hears(VHDS, {"80/bad": "bad", "base80": "1"}, accept=False)
    talk.refuses(VHDS)
    talk.becomes({VHDS: WORLD[VHDS]})
    talk.hears(VHDS, {"base80": "1"})
    talk.hears(VHDS, removed=("80/bad",))  # of a refused response the client may have taken a part
    talk.hears(VHDS, missing=("80/bad",))
    talk.silence()


def test_r46_the_clusters_of_a_host_are_kept_up_to_date_while_a_newer_one_is_refused() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/x")
    talk.hears(CDS, {"a": "1"})
    talk.hears(VHDS, {"80/x": "uses a"})
    talk.becomes({VHDS: {**WORLD[VHDS], "80/x": "bad"}})
    talk.hears(VHDS, {"80/x": "bad"}, accept=False)
    talk.refuses(VHDS)
    talk.passes(minutes=5)
    talk.silence()
    talk.becomes({CDS: {**WORLD[CDS], "a": "2"}})
    talk.hears(CDS, {"a": "2"})
    talk.becomes({VHDS: {**WORLD[VHDS], "80/x": "1"}})
    talk.hears(VHDS, {"80/x": "1"})
    talk.passes(seconds=0)
    talk.passes(minutes=1)
    talk.hears(CDS, removed=("a",))
    talk.silence()


def test_r46_a_host_that_is_refused_answers_whoever_waits_for_it() -> None:
    talk = opened(OnDemandTalk(world={**WORLD, VHDS: {**WORLD[VHDS], "80/bad": "refused"}}))
    talk.delta_says(VHDS, "80/bad")
    talk.hears(VHDS, {"80/bad": "refused"}, accept=False)
    talk.refuses(VHDS)
    talk.hears(VHDS, missing=("80/bad",))
    talk.silence()
    talk.delta_says(VHDS, "80/bad")
    talk.hears(VHDS, missing=("80/bad",))
    talk.silence()


def test_a_host_that_cannot_be_derived_does_not_hang() -> None:
    talk = opened(OnDemandTalk(world={**WORLD, VHDS: {**WORLD[VHDS], "80/broken": BROKEN}}))
    talk.delta_says(VHDS, "80/broken")
    talk.hears(VHDS, missing=("80/broken",))
    talk.silence()


def test_an_answer_that_was_lost_is_given_again() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/nobody")
    talk.hears(VHDS, missing=("80/nobody",), accept=False)
    talk.delta_says(VHDS, "80/z")
    talk.passes(seconds=31)
    talk.hears(VHDS, {"80/z": "1"}, missing=("80/nobody",))


def test_r34_a_client_that_comes_back_keeps_what_it_has() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/x:80")
    clusters = talk.hears(CDS, {"a": "1"}).versions
    hosts = talk.hears(VHDS, {"80/x": "uses a"}, missing=("80/x:80",)).versions
    for history in (talk.history, None):
        if history is None:
            talk.history = type(talk.history)()  # another control plane
        talk.reconnect()
        talk.delta_says(CDS, initial={**clusters, "b": version_of("b", "1"), "base": version_of("base", "1")})
        talk.silence()  # of what it holds nothing is taken away before it has said what for
        talk.delta_says(VHDS, "*", "80/x:80", initial={"80/x": hosts["80/x"]})
        talk.hears(VHDS, {"base80": "1"}, missing=("80/x:80",))
        talk.silence()
        talk.passes(seconds=60)
        talk.hears(CDS, removed=("b",))
        talk.silence()


def test_r40_the_clusters_of_a_host_that_was_brought_along_stay_while_its_newer_version_is_refused() -> None:
    """What that names nobody knows."""
    talk = OnDemandTalk(world=WORLD)
    talk.delta_says(CDS, initial={name: version_of(name, "1") for name in ("base", "a", "b")})
    talk.silence()
    talk.delta_says(VHDS, "*", "80/x", initial={"80/x": "of another server"})
    talk.hears(VHDS, {"80/x": "uses a", "base80": "1"}, accept=False)
    talk.refuses(VHDS, "80/x is wrong")
    talk.hears(VHDS, {"base80": "1"})
    talk.hears(VHDS, {"80/x": "uses a"}, accept=False)
    talk.refuses(VHDS)
    talk.passes(seconds=61)
    talk.silence()
    talk.becomes({VHDS: {**WORLD[VHDS], "80/x": "1"}})
    talk.hears(VHDS, {"80/x": "1"})
    talk.hears(CDS, removed=("b",))  # its grace was over; that of the other begins now
    talk.passes(seconds=0)
    talk.passes(seconds=61)
    talk.hears(CDS, removed=("a",))


def test_a_sidecar_that_starts_anew_is_sent_ahead_what_its_workload_used() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/x:80", "80/out")
    talk.hears(CDS, {"a": "1"})
    talk.hears(VHDS, {"80/x": "uses a"}, missing=("80/out", "80/x:80"))
    talk.reconnect()
    talk.delta_says(CDS)
    talk.hears(CDS, {"base": "1", "a": "1"})
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"base80": "1", "80/x": "uses a"})
    talk.silence()
    # Taken back once, to see; what is asked for then stays.
    talk.passes(minutes=30)
    talk.hears(VHDS, removed=("80/x",))
    talk.passes(seconds=0)
    talk.silence()
    talk.delta_says(VHDS, "80/x:80")
    talk.hears(VHDS, {"80/x": "uses a"}, missing=("80/x:80",))
    talk.passes(hours=5)
    talk.silence()


def test_what_was_sent_ahead_is_known_to_the_next_control_plane_too_until_it_is_seen_whether_it_is_used() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/x")
    talk.hears(CDS, {"a": "1"})
    talk.hears(VHDS, {"80/x": "uses a"})

    def starts_anew() -> tuple[dict[str, str], dict[str, str]]:
        talk.reconnect()
        talk.delta_says(CDS)
        clusters = talk.hears(CDS, {"base": "1", "a": "1"}).versions
        talk.delta_says(VHDS)
        return clusters, talk.hears(VHDS, {"base80": "1", "80/x": "uses a"}).versions

    clusters, hosts = starts_anew()
    talk.passes(minutes=10)
    talk.reconnect(to_another=True)
    talk.delta_says(CDS, initial=clusters)
    talk.delta_says(VHDS, initial=hosts)
    talk.silence()
    talk.passes(minutes=10)
    starts_anew()
    # In none of an hour was it asked for: whoever starts then is not sent it.
    talk.passes(minutes=30)
    talk.hears(VHDS, removed=("80/x",))
    talk.passes(minutes=31)
    talk.hears(CDS, removed=("a",))
    assert talk.history.recent(workload_of(talk.asker), talk.now) == ()


def test_the_cluster_of_a_refused_host_that_is_taken_back_has_its_grace_and_goes() -> None:
    """Nothing is sent then, whose answer would wake the stream."""
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/x")
    talk.hears(CDS, {"a": "1"})
    talk.hears(VHDS, {"80/x": "uses a"})
    talk.reconnect()
    talk.delta_says(CDS)
    talk.hears(CDS, {"base": "1", "a": "1"})
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"base80": "1", "80/x": "uses a"}, accept=False)
    talk.refuses(VHDS, "80/x is wrong")
    talk.hears(VHDS, {"base80": "1"})
    talk.hears(VHDS, {"80/x": "uses a"}, accept=False)
    talk.refuses(VHDS, "80/x is wrong")
    talk.hears(VHDS, missing=("80/x",))
    talk.silence()
    talk.passes(minutes=30)
    talk.silence()
    assert talk.stream.wake_at() == talk.now + timedelta(minutes=1)
    talk.passes(minutes=1)
    talk.hears(CDS, removed=("a",))
    talk.silence()


def test_what_was_sent_ahead_and_never_asked_for_goes_with_its_cluster() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/x:80")
    talk.hears(CDS, {"a": "1"})
    talk.hears(VHDS, {"80/x": "uses a"}, missing=("80/x:80",))
    talk.reconnect()
    talk.delta_says(CDS)
    talk.hears(CDS, {"base": "1", "a": "1"})
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"base80": "1", "80/x": "uses a"})
    talk.passes(minutes=30)
    talk.hears(VHDS, removed=("80/x",))
    talk.passes(seconds=0)
    talk.silence()
    talk.passes(seconds=60)
    talk.hears(CDS, removed=("a",))
    talk.silence()


def test_a_new_stream_of_the_same_client_does_not_begin_the_time_anew() -> None:
    """Streams end after half an hour, as `unused_after` does."""
    talk = OnDemandTalk(world=WORLD)
    talk.history.note(workload_of(talk.asker), "80/z", talk.now)
    talk.reconnect()
    talk.delta_says(CDS)
    talk.hears(CDS, {"base": "1"})
    talk.delta_says(VHDS)
    held = talk.hears(VHDS, {"base80": "1", "80/z": "1"}).versions
    clusters = {"base": talk.last[CDS].versions["base"]}
    for _ in range(3):
        talk.passes(minutes=9)
        talk.silence()
        talk.reconnect()  # to which the history adds it anew, as what the workload uses
        talk.delta_says(CDS, initial=clusters)
        talk.delta_says(VHDS, initial=held)
        talk.silence()
    talk.passes(minutes=3)
    talk.hears(VHDS, removed=("80/z",))
    talk.silence()


@pytest.mark.parametrize("never", [False, True])
def test_what_nobody_will_see_in_use_counts_as_used(never: bool) -> None:
    talk = OnDemandTalk(world=WORLD, limits=DemandLimits(unused_after=None if never else timedelta(days=3)))
    talk.history.note(workload_of(talk.asker), "80/z", talk.now)
    for _ in range(3):
        talk.reconnect()
        talk.delta_says(CDS)
        talk.hears(CDS, {"base": "1"})
        talk.delta_says(VHDS)
        talk.hears(VHDS, {"base80": "1", "80/z": "1"})
        talk.passes(hours=10)
    talk.reconnect()
    talk.delta_says(CDS)
    talk.hears(CDS, {"base": "1"})
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"base80": "1", "80/z": "1"} if never else {"base80": "1"})


def test_what_is_asked_for_is_in_use_for_as_long_as_the_stream_lasts() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/z")
    talk.hears(VHDS, {"80/z": "1"})
    for _ in range(30):
        talk.passes(hours=1)
    assert talk.history.recent(workload_of(talk.asker), talk.now) == ("80/z",)


def test_never_is_never() -> None:
    talk = opened(OnDemandTalk(world=WORLD, limits=DemandLimits(unused_after=None)))
    talk.delta_says(VHDS, "80/z")
    talk.hears(VHDS, {"80/z": "1"})
    talk.reconnect()
    talk.delta_says(CDS)
    talk.hears(CDS, {"base": "1"})
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"base80": "1", "80/z": "1"})
    assert talk.stream.wake_at() is None
    talk.passes(days=400)
    talk.silence()


@pytest.mark.parametrize("names", [[f"80/nobody{number}" for number in range(4)], ["80/out1", "80/out2", "80/out3"]])
def test_whoever_invents_hosts_without_end_is_not_served_on_demand(names: list[str]) -> None:
    world = {**WORLD, VHDS: {**WORLD[VHDS], **dict.fromkeys(("80/out1", "80/out2", "80/out3"), "1")}}
    talk = opened(OnDemandTalk(world=world, limits=DemandLimits(nobodys=3, passing=2)))
    for name in names[:-1]:
        talk.delta_says(VHDS, name)
    assert not talk.stream.excessive
    talk.delta_says(VHDS, names[-1])
    assert talk.stream.excessive


def test_whoever_asks_for_too_many_names_is_not_served_on_demand_and_they_are_not_even_looked_up() -> None:
    talk = opened(OnDemandTalk(world=WORLD, limits=DemandLimits(names=3)))
    talk.delta_says(VHDS, "80/x", "80/y")
    talk.delta_says(VHDS, "80/y", "80/z")
    assert not talk.stream.excessive
    talk.looked_for.clear()
    talk.delta_says(VHDS, "80/z", "80/x:80")
    assert talk.stream.excessive
    assert talk.looked_for == []


def test_whoever_asks_for_ever_new_names_is_not_served_on_demand_though_it_gives_them_back() -> None:
    talk = opened(OnDemandTalk(world=WORLD, limits=DemandLimits(names=4)))
    for number in range(4 * ANEW):
        talk.delta_says(VHDS, f"80/nobody{number}")
        talk.hears(VHDS, missing=(f"80/nobody{number}",))
        talk.delta_says(VHDS, drops=(f"80/nobody{number}",))
        talk.hears(VHDS, removed=(f"80/nobody{number}",))
    assert not talk.stream.excessive
    talk.delta_says(VHDS, "80/z")
    assert talk.stream.excessive


def test_whoever_asks_for_one_host_in_words_without_end_is_not_served_on_demand() -> None:
    talk = opened(OnDemandTalk(world=WORLD, limits=DemandLimits(nobodys=2)))
    spellings = [f"80/z:{port}" for port in range(SPELLINGS + 3)]
    talk.delta_says(VHDS, *spellings[:-1])
    assert not talk.stream.excessive
    talk.delta_says(VHDS, "80/nobody", drops=tuple(spellings[:1]))
    assert not talk.stream.excessive
    talk.delta_says(VHDS, spellings[-1])
    assert talk.stream.excessive
    # They are nobody's as soon as the host is.
    talk.becomes({VHDS: {}})
    talk.delta_says(VHDS, drops=tuple(spellings[1:]))
    assert not talk.stream.excessive


def test_r34_what_a_client_invents_that_it_brings_along_is_not_looked_up_without_end() -> None:
    talk = OnDemandTalk(world=WORLD, limits=DemandLimits(nobodys=20))
    talk.delta_says(CDS)
    talk.hears(CDS, {"base": "1"})
    invented = {f"80/nobody{number}": "v" for number in range(1000)}
    talk.delta_says(VHDS, initial=invented)
    talk.hears(VHDS, {"base80": "1"}, removed=tuple(sorted(invented)))
    talk.silence()
    assert len(talk.looked_for) == 21
    assert not talk.stream.excessive


def test_r34_names_that_a_client_asked_for_and_brings_along_cost_it_nothing_that_was_sent_ahead() -> None:
    world = {**WORLD, VHDS: {**WORLD[VHDS], **{f"80/n{number}": "1" for number in range(30)}}}
    talk = opened(OnDemandTalk(world=world, limits=DemandLimits(nobodys=20)))
    asked = [f"80/n{number}:80" for number in range(30)]
    talk.delta_says(VHDS, *asked)
    hosts = {f"80/n{number}": "1" for number in range(30)}
    versions = talk.hears(VHDS, hosts, missing=tuple(sorted(asked))).versions
    talk.reconnect()
    talk.delta_says(CDS, initial={"base": version_of("base", "1")})
    ahead = {"80/z": version_of("80/z", "1"), "base80": version_of("base80", "1")}
    talk.delta_says(VHDS, "*", *asked, initial={**versions, **ahead})
    heard = talk.next()
    assert heard is not None
    assert "80/z" not in heard.removed


@pytest.mark.parametrize("on_demand", [True, False])
def test_r40_only_what_the_version_before_a_refused_one_uses_is_kept(on_demand: bool) -> None:
    world = {CDS: {"base": "1", "basea": "1", "baseb": "1"}, VHDS: {"base80": "uses basea"}}
    talk = OnDemandTalk(world=world, asker=replace(ON_DEMAND, on_demand=on_demand))
    talk.delta_says(CDS)
    talk.hears(CDS, world[CDS])
    talk.delta_says(VHDS)
    talk.hears(VHDS, world[VHDS])
    talk.becomes({CDS: {"base": "1"}, VHDS: {"base80": f"{BAD} by now"}})
    talk.hears(VHDS, {"base80": f"{BAD} by now"}, accept=False)
    talk.refuses(VHDS)
    talk.passes(seconds=0)
    if on_demand:  # it may be wanted again at once
        talk.passes(minutes=1)
    talk.hears(CDS, removed=("baseb",))
    talk.passes(hours=1)
    talk.silence()
    assert talk.stream.acknowledged(2), "it has all that it will take"
    talk.becomes({VHDS: {"base80": "1"}})
    talk.hears(VHDS, {"base80": "1"})
    talk.passes(minutes=1)
    talk.hears(CDS, removed=("basea",))
    talk.silence()


def test_r40_what_was_kept_for_a_refusal_waits_for_the_next_version_s_answer() -> None:
    world = {CDS: {"base": "1", "basea": "1"}, VHDS: {"base80": "uses basea"}}
    talk = OnDemandTalk(world=world, asker=replace(ON_DEMAND, on_demand=False))
    talk.delta_says(CDS)
    talk.hears(CDS, world[CDS])
    talk.delta_says(VHDS)
    talk.hears(VHDS, world[VHDS])
    talk.becomes({CDS: {"base": "1"}, VHDS: {"base80": f"{BAD} by now"}})
    talk.hears(VHDS, {"base80": f"{BAD} by now"}, accept=False)
    talk.silence()
    talk.refuses(VHDS)
    talk.silence()
    talk.passes(minutes=1)
    talk.becomes({VHDS: {"base80": f"{BAD} still"}})
    talk.hears(VHDS, {"base80": f"{BAD} still"}, accept=False)
    talk.silence()
    talk.refuses(VHDS)
    talk.silence()
    talk.becomes({VHDS: {"base80": "1"}})
    talk.hears(VHDS, {"base80": "1"})
    talk.hears(CDS, removed=("basea",))


def test_the_time_of_what_was_sent_ahead_ends_with_a_stream_that_is_not_on_demand_or_a_long_absence() -> None:
    talk = OnDemandTalk(world=WORLD)
    talk.history.leave(talk.asker, talk.now, talk.now)
    assert talk.history.ahead_since(talk.asker, talk.now + timedelta(minutes=30)) == talk.now
    assert talk.history.ahead_since(talk.asker, talk.now + timedelta(hours=3)) is None
    on_demand, talk.asker = talk.asker, replace(talk.asker, on_demand=False)
    talk.reconnect()
    talk.asker = on_demand
    talk.reconnect()
    assert talk.history.ahead_since(talk.asker, talk.now) is None


def test_what_was_asked_for_counts_more_than_what_was_only_sent_ahead() -> None:
    talk = OnDemandTalk(world=WORLD, limits=DemandLimits(unused_after=None), history=History(most_of_one=2))
    for name in ("80/x", "80/y"):
        talk.history.note(workload_of(talk.asker), name, talk.now)
    talk.reconnect()
    talk.delta_says(CDS)
    talk.hears(CDS, {"base": "1", "a": "1", "b": "1"})
    talk.delta_says(VHDS, "80/z")
    talk.reconnect()
    assert "80/z" in talk.history.recent(workload_of(talk.asker), talk.now)


def test_an_answer_that_there_is_none_is_not_sent_again_and_again_to_who_refuses_it() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/nobody")
    talk.hears(VHDS, missing=("80/nobody",), accept=False)
    talk.refuses(VHDS)
    talk.silence()


def test_r35_what_was_neither_asked_for_nor_sent_may_be_given_back_and_is_not_answered() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, drops=tuple(f"80/n{number}" for number in range(1000)))
    talk.silence()
    talk.delta_says(VHDS, "80/nobody", "80/z")
    talk.delta_says(VHDS, drops=("80/nobody", "80/z", "80/another"))
    talk.hears(VHDS, removed=("80/nobody", "80/z"))
    talk.silence()


def test_what_is_no_longer_asked_for_does_not_count() -> None:
    talk = opened(OnDemandTalk(world=WORLD, limits=DemandLimits(nobodys=1)))
    talk.delta_says(VHDS, "80/one")
    talk.delta_says(VHDS, drops=("80/one",))
    talk.delta_says(VHDS, "80/two")
    assert not talk.stream.excessive


MUCH = {f"80/h{number}": "1" for number in range(3 * LOOKS_AT_ONCE)}


def prepare(talk: OnDemandTalk) -> None:
    while talk.stream.prepare(talk.now):
        pass


def prepared(talk: OnDemandTalk) -> int:
    """How many turns it took; in none is more looked up than may be at once, but for what little is left of it."""
    turns = 0
    while True:
        assert len(talk.looked_for) + len(talk.derived) <= 2 * LOOKS_AT_ONCE
        talk.looked_for.clear()
        talk.derived.clear()
        if not talk.stream.prepare(talk.now):
            return turns
        turns += 1


def test_r55_who_answers_for_what_is_asked_is_looked_up_a_hundred_names_at_a_time() -> None:
    talk = opened(OnDemandTalk(world={**WORLD, VHDS: {**WORLD[VHDS], **MUCH}}))
    prepared(talk)
    talk.delta_says(VHDS, *(f"{name}:80" for name in MUCH), "80/nobody")
    assert prepared(talk) >= 3
    talk.hears(VHDS, MUCH, missing=(*sorted(f"{name}:80" for name in MUCH), "80/nobody"))
    talk.silence()
    talk.becomes({VHDS: dict.fromkeys(MUCH, "2")})
    assert prepared(talk) >= 3
    talk.hears(VHDS, dict.fromkeys(MUCH, "2"), removed=("base80",))


def test_r55_so_is_what_a_client_brings_along() -> None:
    talk = OnDemandTalk(world={**WORLD, VHDS: {**WORLD[VHDS], **MUCH}})
    talk.delta_says(CDS)
    talk.hears(CDS, {"base": "1"})
    talk.derived.clear()
    talk.delta_says(VHDS, initial={name: version_of(name, "1") for name in MUCH})
    assert prepared(talk) >= 3
    talk.hears(VHDS, {"base80": "1"})
    talk.silence()


def test_r55_without_time_in_between_it_is_looked_up_as_it_is_sent() -> None:
    talk = opened(OnDemandTalk(world={**WORLD, VHDS: {**WORLD[VHDS], **MUCH}}))
    talk.delta_says(VHDS, *MUCH)
    talk.hears(VHDS, MUCH)
    talk.silence()


def test_what_was_given_back_before_it_was_looked_up_is_not_asked_for() -> None:
    talk = opened(OnDemandTalk(world={**WORLD, VHDS: {**WORLD[VHDS], **MUCH}}))
    names = tuple(MUCH)
    talk.delta_says(VHDS, *names)
    talk.delta_says(VHDS, drops=names[-10:])
    prepare(talk)
    heard = talk.hears(VHDS, dict.fromkeys(names[:-10], "1"), removed=names[-10:])
    assert len(heard.resources) == len(names) - 10
    talk.silence()


@pytest.mark.parametrize("place", range(4))
def test_r26_a_cluster_that_a_host_names_by_now_comes_though_it_was_looked_up_late(place: int) -> None:
    """Of many hosts that change at once; there is nothing else to send, as the client has not asked for hosts yet."""
    hosts = [f"base{number}" for number in range(4)]
    world = {CDS: {"base": "1", "a": "1"}, VHDS: dict.fromkeys(hosts, "1")}
    talk = OnDemandTalk(world=world, looks_at_once=1)
    talk.delta_says(CDS)
    talk.hears(CDS, {"base": "1"})
    talk.silence()
    assert talk.stream.is_quiet()
    talk.world = {**world, VHDS: {**dict.fromkeys(hosts, "2"), hosts[place]: "uses a"}}
    assert talk.is_told(talk.memo.advance(to_mesh(talk.world)), talk.generation + 1)
    assert not talk.stream.is_quiet()
    talk.hears(CDS, {"a": "1"})
    talk.silence()


def test_what_changes_all_at_once_makes_nobody_excessive_on_the_way() -> None:
    """Some hosts go and as many others come, in one snapshot: never more are nobody's than were before."""
    some = {f"80/a{number}": "1" for number in range(40)}
    others = {f"80/b{number}": "1" for number in range(40)}
    talk = OnDemandTalk(
        world={**WORLD, VHDS: {**WORLD[VHDS], **some}}, limits=DemandLimits(nobodys=45), looks_at_once=7
    )
    opened(talk)
    talk.delta_says(VHDS, *some, *others)
    prepare(talk)
    talk.hears(VHDS, some, missing=tuple(sorted(others)))
    talk.becomes({VHDS: {**WORLD[VHDS], **others}})
    talk.delta_says(VHDS, "80/x")
    while talk.stream.prepare(talk.now):
        assert not talk.stream.excessive
    assert not talk.stream.excessive
    talk.hears(CDS, {"a": "1"})
    talk.hears(VHDS, {**others, "80/x": "uses a"}, removed=tuple(sorted(some)))


def test_r34_what_is_gone_of_one_type_costs_nothing_that_was_sent_ahead_of_another() -> None:
    hosts = {f"80/h{number}": "1" for number in range(5)}
    talk = OnDemandTalk(world={CDS: {"base": "1"}, VHDS: hosts}, limits=DemandLimits(nobodys=10), looks_at_once=3)
    addresses = {f"tcp|{number}": "v" for number in range(8)}
    talk.delta_says(CDS, initial=addresses)
    gone = {f"80/gone{number}": "v" for number in range(8)}
    talk.delta_says(VHDS, initial={**gone, **{name: version_of(name, "1") for name in hosts}})
    prepare(talk)
    heard = talk.next()
    while heard is not None and heard.type_url == CDS:
        talk.accepts(CDS)
        heard = talk.next()
    assert heard is not None
    assert (heard.resources, heard.removed) == ({}, tuple(gone))


def test_what_was_asked_for_and_is_brought_along_was_not_sent_ahead() -> None:
    """However late it is looked up: what is asked for first, then what is left."""
    talk = OnDemandTalk(world=WORLD, looks_at_once=1)
    talk.delta_says(CDS)
    talk.hears(CDS, {"base": "1"})
    talk.delta_says(VHDS, "80/z:80", "80/nobody", initial={"80/z": version_of("80/z", "1")})
    prepare(talk)
    talk.hears(VHDS, {"base80": "1"}, missing=("80/nobody", "80/z:80"))
    talk.passes(minutes=31)
    talk.silence()


def test_a_stream_that_ends_before_all_was_looked_up_tells_since_when_it_was_sent_ahead() -> None:
    talk = OnDemandTalk(world=WORLD, looks_at_once=1)
    brings_along = {"80/gone": "v", "80/z": version_of("80/z", "1")}
    talk.delta_says(CDS)
    talk.hears(CDS, {"base": "1"})
    talk.delta_says(VHDS, initial=brings_along)
    talk.passes(minutes=20)
    talk.reconnect()
    talk.delta_says(CDS)
    talk.hears(CDS, {"base": "1"})
    talk.delta_says(VHDS, initial=brings_along)
    talk.hears(VHDS, {"base80": "1"}, removed=("80/gone",))
    talk.passes(minutes=11)
    talk.hears(VHDS, removed=("80/z",))
    talk.silence()


def test_r40_clusters_come_first_however_little_is_looked_up_at_once() -> None:
    talk = opened(OnDemandTalk(world=WORLD, looks_at_once=1))
    talk.delta_says(VHDS, "80/x", "80/y", "80/z")
    talk.hears(CDS, {"a": "1", "b": "1"})
    talk.hears(VHDS, {"80/x": "uses a", "80/y": "uses b", "80/z": "1"})
    talk.silence()


def test_r30_what_was_sent_ahead_may_be_given_back_and_is_answered() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/z")
    talk.hears(VHDS, {"80/z": "1"})
    talk.reconnect()
    talk.delta_says(CDS)
    talk.hears(CDS, {"base": "1"})
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"base80": "1", "80/z": "1"})
    talk.delta_says(VHDS, drops=("80/z",))
    talk.hears(VHDS, {"80/z": "1"})
    talk.silence()


def test_r55_in_a_mesh_that_changes_all_the_time_answers_come_all_the_same() -> None:
    hosts = {f"80/h{number}": "1" for number in range(5)}
    nobodys = tuple(f"80/nobody{number}" for number in range(5))
    talk = OnDemandTalk(world={**WORLD, VHDS: {**WORLD[VHDS], **hosts}}, looks_at_once=2)
    opened(talk)
    talk.delta_says(VHDS, *hosts)
    talk.hears(VHDS, hosts)
    talk.delta_says(VHDS, *nobodys)
    for turn in range(20):
        hosts = dict.fromkeys(hosts, str(turn + 2))
        talk.becomes({VHDS: {**WORLD[VHDS], **hosts}})
        if not talk.stream.prepare(talk.now):
            break
    talk.hears(VHDS, hosts, missing=nobodys)
    talk.silence()


def test_names_asked_for_twice_are_not_new_ones() -> None:
    talk = opened(OnDemandTalk(world=WORLD, limits=DemandLimits(names=2)))
    for _ in range(10):
        talk.delta_says(VHDS, "80/z", "80/z")
        talk.hears(VHDS, {"80/z": "1"})
    assert not talk.stream.excessive


def test_whoever_asked_for_too_much_and_gives_back_at_once_is_not_served_on_demand_either() -> None:
    """For what was not looked up meanwhile never would be."""
    talk = opened(OnDemandTalk(world=WORLD, limits=DemandLimits(nobodys=1)))
    talk.delta_says(VHDS, "80/n1", "80/n2")
    talk.delta_says(VHDS, "80/z", drops=("80/n2",))
    assert talk.stream.excessive


@pytest.mark.parametrize("refused", [False, True])
def test_r37_a_host_whose_answer_was_lost_and_that_is_gone_before_it_is_sent_again_is_removed(refused: bool) -> None:
    """The client may have taken it, or not: then whoever waits for it hears that there is none."""
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/z")
    talk.hears(VHDS, {"80/z": "1"}, accept=False)
    talk.delta_says(VHDS, "80/nobody")
    talk.passes(seconds=28)
    talk.becomes({CDS: {**WORLD[CDS], "base2": "1"}})
    talk.hears(CDS, {"base2": "1"}, accept=False)
    talk.passes(seconds=3)
    talk.silence()
    told: list[str] = []

    def listens() -> None:
        while (heard := talk.next()) is not None:
            told.extend((*(f"no {name}" for name in heard.missing), *(f"gone {name}" for name in heard.removed)))
            if refused and "80/z" in heard.resources:
                talk.refuses(VHDS, "80/z is wrong")
            else:
                talk.accepts(heard.type_url)

    if refused:
        talk.accepts(CDS)
        listens()
        assert "no 80/z" in told
    talk.becomes({VHDS: {name: content for name, content in WORLD[VHDS].items() if name != "80/z"}})
    if not refused:
        talk.accepts(CDS)
    listens()
    assert told[-2:] == (["gone 80/z", "no 80/z"] if not refused else ["no 80/z", "gone 80/z"])
    assert "no 80/nobody" in told


def test_what_is_given_back_while_a_change_is_followed_stays_given_back() -> None:
    names = [f"80/n{number}" for number in range(4)]
    talk = opened(OnDemandTalk(world=WORLD, looks_at_once=1))
    talk.delta_says(VHDS, *names)
    talk.hears(VHDS, missing=tuple(names))
    talk.becomes({VHDS: {**WORLD[VHDS], **dict.fromkeys(names, "1")}})
    talk.delta_says(VHDS, drops=tuple(names))
    talk.hears(VHDS, removed=tuple(names))
    talk.silence()


def most_in_one_go(talk: OnDemandTalk) -> int:
    """How many names are looked up between two chances for others, at most, until all is quiet."""
    most = 0
    for _ in range(100_000):
        before = len(talk.derived) + len(talk.looked_for)
        more = not talk.stream.is_quiet() and talk.stream.prepare(talk.now)
        heard = None if more else talk.next()
        most = max(most, len(talk.derived) + len(talk.looked_for) - before)
        if heard is not None:
            talk.accepts(heard.type_url)
        elif not more:
            return most
    raise AssertionError("no end")


@pytest.mark.parametrize("meanwhile", [False, True])
def test_r55_a_change_while_many_questions_are_looked_up_has_not_all_the_rest_looked_up_in_one_go(
    meanwhile: bool,
) -> None:
    hosts = {f"80/h{number}": "1" for number in range(1000)}
    talk = OnDemandTalk(world={CDS: {"base": "1"}, VHDS: {"80/old": "1", **hosts}})
    talk.delta_says(CDS)
    talk.delta_says(VHDS, "80/old")
    most_in_one_go(talk)
    talk.delta_says(VHDS, *hosts)
    if meanwhile:
        talk.becomes({VHDS: {"80/old": "2", **hosts}})
    assert most_in_one_go(talk) <= 300


def test_r55_nor_where_who_comes_back_used_much() -> None:
    hosts = {f"80/h{number}": "1" for number in range(1000)}
    talk = OnDemandTalk(world={CDS: {"base": "1"}, VHDS: hosts})
    talk.delta_says(CDS)
    talk.delta_says(VHDS, *hosts)
    most_in_one_go(talk)
    talk.stream.close(talk.now)
    talk.memo = talk.new_memo()
    talk.reconnect()
    talk.delta_says(CDS)
    talk.delta_says(VHDS, *hosts)
    assert most_in_one_go(talk) <= 300


def test_r12_a_removal_that_is_refused_is_not_sent_again() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/z")
    talk.hears(VHDS, {"80/z": "1"})
    talk.becomes({VHDS: {name: content for name, content in WORLD[VHDS].items() if name != "80/z"}})
    talk.delta_says(VHDS, "80/z")
    talk.hears(VHDS, removed=("80/z",), accept=False)
    talk.refuses(VHDS)
    talk.hears(VHDS, missing=("80/z",))
    talk.silence()


def test_r12_a_refused_version_stays_refused_though_the_answer_without_a_body_is_refused_too() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/z")
    talk.hears(VHDS, {"80/z": "1"}, accept=False)
    talk.refuses(VHDS, "80/z is wrong")
    talk.hears(VHDS, missing=("80/z",), accept=False)
    talk.refuses(VHDS, "80/z is wrong")
    talk.silence()
    talk.stream.reassign(talk.asker)
    talk.silence()


def test_r30_a_host_of_an_earlier_stream_that_is_given_back_while_a_newer_one_is_refused_is_removed() -> None:
    """What the client has of it is not known, so that it cannot be sent again."""
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(VHDS, "80/z")
    versions = talk.hears(VHDS, {"80/z": "1"}).versions
    talk.reconnect()
    talk.delta_says(CDS, initial={"base": version_of("base", "1")})
    talk.delta_says(VHDS, "*", initial={**versions, "base80": version_of("base80", "1")})
    talk.delta_says(VHDS, drops=("80/z",))
    talk.becomes({VHDS: {**WORLD[VHDS], "80/z": "bad"}})
    talk.hears(VHDS, {"80/z": "bad"}, accept=False)
    talk.refuses(VHDS)
    talk.hears(VHDS, removed=("80/z",))
    talk.silence()


NAMES = ("80/x", "80/y", "80/x:80", "80/y:80", "80/z:80")
ADDRESSES = ("tcp|1", "tcp|2")
CONTENTS = ("1", "2", "uses a", "uses b", f"{BAD}1", BROKEN)


class Machine(RuleBasedStateMachine):
    """Any history: at rest the client has just what a fresh server would give it for what it asked."""

    @initialize(memo_limits=st.sampled_from(MEMO_LIMITS), at_once=st.sampled_from((1, 100)))
    def begin(self, memo_limits: dict[str, int], at_once: int) -> None:
        clusters = {"base": "1", "a": "1", "b": "1"}
        world = {CDS: clusters, EDS: {}, VHDS: {"base80": "1"}}
        everybodys = ("base", "base80")
        self.talk = OnDemandTalk(world=world, memo_limits=memo_limits, looks_at_once=at_once, everybodys=everybodys)
        self.client = OnDemandClient()
        self.came_back = False
        self.inbox: deque[bytes] = deque()
        self.client.open_wildcard(CDS)
        self.client.open_wildcard(VHDS)

    @rule(name=st.sampled_from(("80/x", "80/y", "80/z")), content=st.sampled_from(CONTENTS) | st.none())
    def change_host(self, name: str, content: str | None) -> None:
        hosts = {key: value for key, value in self.talk.world[VHDS].items() if key != name}
        self.talk.becomes({VHDS: hosts if content is None else {**hosts, name: content}})

    @rule(name=st.sampled_from(("a", "b")), content=st.sampled_from(("1", "2")))
    def change_cluster(self, name: str, content: str) -> None:
        self.talk.becomes({CDS: {**self.talk.world[CDS], name: content}})

    @rule(name=st.sampled_from(NAMES))
    def ask(self, name: str) -> None:
        self.client.ask(name)

    @rule(name=st.sampled_from(NAMES))
    def drop(self, name: str) -> None:
        self.client.drop(name)

    @rule(name=st.sampled_from(ADDRESSES), content=st.sampled_from(("1", "2", f"{BAD}1", BROKEN)) | st.none())
    def change_address(self, name: str, content: str | None) -> None:
        clusters = {key: value for key, value in self.talk.world[CDS].items() if key != name}
        self.talk.becomes({CDS: clusters if content is None else {**clusters, name: content}})

    @rule(name=st.sampled_from(ADDRESSES))
    def connect(self, name: str) -> None:
        self.client.connect(name)

    @rule()
    def server_reads(self) -> None:
        if self.client.outbox:
            self.talk.stream.receive(parse_delta_request(self.client.outbox.popleft()), self.talk.now)

    @rule()
    def server_looks_ahead(self) -> None:
        self.talk.stream.prepare(self.talk.now)

    @rule()
    def server_sends(self) -> None:
        self.talk.passes(seconds=0)
        raw = self.talk.stream.next(self.talk.now)
        if raw is not None:
            self.inbox.append(raw)

    @rule()
    def client_reads(self) -> None:
        if self.inbox:
            self.client.hear(self.inbox.popleft())

    @rule(seconds=st.sampled_from([1, 61, 1801]))
    def time_passes(self, seconds: int) -> None:
        self.quiet()  # what waits for an acknowledgement does so for 5 s at most
        self.talk.passes(seconds=seconds)

    @rule(seconds=st.sampled_from([6, 61]))
    def time_passes_meanwhile(self, seconds: int) -> None:
        """Whatever is on its way: nobody acknowledges anything in time."""
        self.client.late = True
        self.talk.passes(seconds=seconds)

    @rule(forgetful=st.booleans(), restarted=st.booleans())
    def reconnect(self, forgetful: bool, restarted: bool) -> None:
        self.inbox.clear()
        self.came_back = self.came_back or not restarted
        if forgetful:
            self.talk.history = type(self.talk.history)()
        self.talk.reconnect()
        if restarted:
            self.client = OnDemandClient()
            self.client.open_wildcard(CDS)
            self.client.open_wildcard(VHDS)
        else:
            self.client.reconnect()

    def quiet(self) -> None:
        for _ in range(500):
            before = (len(self.client.outbox), len(self.inbox))
            while self.client.outbox:
                self.server_reads()
            self.server_sends()
            self.client_reads()
            if before == (0, 0) and not self.client.outbox and not self.inbox:
                self.client.late = False
                return
        raise AssertionError("they never come to rest")

    @rule()
    def all_is_quiet(self) -> None:
        self.quiet()
        assert not self.client.waiting, "a request hangs"
        assert not self.client.left, "R30: what is given back is answered"
        for seconds in (1801, 61, 61):
            self.talk.passes(seconds=seconds)
            self.quiet()
        self.compare()

    def compare(self) -> None:
        asked = {canonical(name) for name in self.client.wants[VHDS].names}
        world = self.talk.world[VHDS]
        held = {name: content for name, (_, content) in self.client.wants[VHDS].held.items()}
        unsure = {name for name, content in world.items() if BAD in content or content == BROKEN}
        expected = {name: content for name, content in world.items() if name in asked or name == "base80"}
        assert {name: content for name, content in held.items() if name not in unsure} == {
            name: content for name, content in expected.items() if name not in unsure
        }
        assert not [content for content in held.values() if BAD in content]
        # What a host names that the client brought along, and whose newer version it does not get, nobody knows.
        told = {name: content for name, content in held.items() if not (self.came_back and name in unsure)}
        needed = {content.removeprefix(USES) for content in told.values() if content.startswith(USES)} | {"base"}
        held = {name: content for name, (_, content) in self.client.wants[CDS].held.items()}
        clusters = {name: content for name, content in held.items() if not is_address_cluster(name)}
        assert {name: clusters.get(name) for name in needed} == {name: self.talk.world[CDS][name] for name in needed}
        if not unsure:
            assert clusters.keys() == needed
        self.compare_addresses({name: content for name, content in held.items() if is_address_cluster(name)})

    def compare_addresses(self, held: dict[str, str]) -> None:
        world = self.talk.world[CDS]
        assert not [content for content in held.values() if BAD in content]
        unsure = {name for name in ADDRESSES if BAD in world.get(name, "") or world.get(name) == BROKEN}
        asked = {name: world.get(name, NOBODYS) for name in self.client.wants[CDS].names}
        assert {name: content for name, content in held.items() if name not in unsure} == {
            name: content for name, content in asked.items() if name not in unsure
        }

    def teardown(self) -> None:
        if hasattr(self, "talk"):
            self.all_is_quiet()


def test_at_rest_the_client_has_what_a_fresh_server_would_give_it() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(stateful_step_count=40, max_examples=100, suppress_health_check=[HealthCheck.too_slow]),
    )


@pytest.mark.soak
def test_soak() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(stateful_step_count=60, max_examples=20_000, suppress_health_check=list(HealthCheck)),
    )
