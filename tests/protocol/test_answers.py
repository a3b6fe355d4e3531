"""Rules on versions, nonces, acceptance and rejection."""

from __future__ import annotations

from datetime import timedelta

import pytest

from model.asker import Asker
from tests.protocol.conversation import BEGINNING, BROKEN, CDS, EDS, LDS, NO_SCOPE, RDS, VHDS, Talk, version_of
from xds.accepted_sets import AcceptedSets
from xds.events import Event, Rejected
from xds.push import Refusal
from xds.refused_clusters import RefusedClusters
from xds.resource import build_resource
from xds.sotw import version_of as version_of_set

both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


@both
def test_r9_nonces_are_unique_in_the_stream_whatever_the_version(delta: bool) -> None:
    talk = Talk(delta, {EDS: {"a": "1", "b": "1"}, CDS: {"c": "1"}})
    nonces = []
    talk.says(CDS)
    nonces.append(talk.hears(CDS, {"c": "1"}).nonce)
    for name in ("a", "b"):
        talk.says(EDS, name)
        nonces.append(talk.hears(EDS, {name: "1"}).nonce)
    assert len(set(nonces)) == 3


@both
def test_r9_nonces_are_unique_in_the_stream_where_a_response_is_sent_again(delta: bool) -> None:
    talk = Talk(delta, {CDS: {"a": "1"}})
    talk.says(CDS)
    nonces = [talk.hears(CDS, {"a": "1"}).nonce]
    for content in ("2", "1", "2", "1"):
        talk.becomes({CDS: {"a": content}})
        nonces.append(talk.hears(CDS, {"a": content}).nonce)
    assert len(set(nonces)) == 5


def test_r9_delta_a_response_that_is_shared_and_was_sent_before_has_another_nonce() -> None:
    talk = Talk(True, {EDS: {"a": "1"}})
    nonces = []
    for _ in range(3):
        talk.delta_says(EDS, "a")
        nonces.append(talk.hears(EDS, {"a": "1"}).nonce)
        talk.delta_says(EDS, drops=("a",))
        talk.silence()
    assert len(set(nonces)) == 3


@both
def test_r9_a_nonce_of_an_earlier_stream_makes_a_first_request(delta: bool) -> None:
    talk = Talk(delta, {EDS: {"a": "1"}})
    if delta:
        talk.delta_says(EDS, "a", nonce="77")
    else:
        talk.sotw_says(EDS, "a", nonce="77", version="x")
    talk.hears(EDS, {"a": "1"})


@both
def test_a_snapshot_is_acknowledged_once_the_last_answer_has_come(delta: bool) -> None:
    talk = Talk(delta, {CDS: {"a": "1"}, EDS: {"b": "1"}})
    talk.says(CDS)
    talk.hears(CDS, {"a": "1"})
    talk.says(EDS, "b")
    talk.hears(EDS, {"b": "1"})
    talk.silence()
    assert talk.stream.acknowledged(talk.generation)
    talk.becomes({CDS: {"a": "2"}, EDS: {"b": "2"}})
    talk.hears(CDS, {"a": "2"}, accept=False)
    talk.hears(EDS, {"b": "2"}, accept=False)
    talk.silence()
    assert not talk.stream.acknowledged(talk.generation)
    talk.accepts(EDS)
    talk.silence()
    assert not talk.stream.acknowledged(talk.generation)
    talk.accepts(CDS)
    talk.silence()
    assert talk.stream.acknowledged(talk.generation)


@both
def test_r10_versions_are_the_contents(delta: bool) -> None:
    talks = [Talk(delta, {CDS: {"a": "1"}}), Talk(delta, {CDS: {"a": "1"}})]
    heard = []
    for talk in talks:
        talk.says(CDS)
        heard.append(talk.hears(CDS, {"a": "1"}))
    assert heard[0].version == heard[1].version
    assert heard[0].versions == heard[1].versions == ({"a": version_of("a", "1")} if delta else {})


@both
def test_r11_r12_after_a_rejection_nothing_until_the_content_changes(delta: bool) -> None:
    talk = Talk(delta, {EDS: {"a": "1"}})
    talk.says(EDS, "a")
    talk.hears(EDS, {"a": "1"})
    talk.becomes({EDS: {"a": "2"}})
    talk.hears(EDS, {"a": "2"}, accept=False)
    talk.refuses(EDS, "a is wrong")
    talk.silence()
    assert talk.stream.acknowledged(2)
    rejected = talk.stream.state().rejected
    assert [(url, one.name, one.message) for url, one in rejected] == [(EDS, "a", "a is wrong")]
    talk.becomes({CDS: {"x": "1"}})
    talk.silence()
    talk.becomes({EDS: {"a": "3"}})
    talk.hears(EDS, {"a": "3"})
    assert not talk.stream.state().rejected


@both
def test_r12_going_back_to_what_the_client_has_ends_a_rejection_in_silence(delta: bool) -> None:
    talk = Talk(delta, {EDS: {"a": "1"}})
    talk.says(EDS, "a")
    talk.hears(EDS, {"a": "1"})
    talk.becomes({EDS: {"a": "2"}})
    talk.hears(EDS, {"a": "2"}, accept=False)
    talk.refuses(EDS)
    talk.becomes({EDS: {"a": "1"}})
    talk.silence()
    assert not talk.stream.state().rejected


@both
def test_r12_new_names_are_answered_after_a_rejection(delta: bool) -> None:
    talk = Talk(delta, {EDS: {"a": "1", "b": "1"}})
    talk.says(EDS, "a")
    talk.hears(EDS, {"a": "1"}, accept=False)
    talk.refuses(EDS)
    talk.silence()
    talk.says(EDS, "b")
    talk.hears(EDS, {"b": "1"})


@both
def test_r13_a_rejection_changes_the_subscription_too(delta: bool) -> None:
    talk = Talk(delta, {EDS: {"a": "1", "b": "1"}})
    talk.says(EDS, "a")
    talk.hears(EDS, {"a": "1"}, accept=False)
    if delta:
        talk.delta_says(EDS, "b", nonce=talk.last[EDS].nonce, error="wrong")
    else:
        talk.sotw_says(EDS, "a", "b", error="wrong")
    talk.hears(EDS, {"b": "1"})


def test_r14_sotw_a_late_rejection_text_on_an_accepted_version_is_an_acceptance() -> None:
    talk = Talk(False, {CDS: {"a": "1"}})
    talk.says(CDS)
    heard = talk.hears(CDS, {"a": "1"}, accept=False)
    talk.sotw_says(CDS, version=heard.version, error="of an older one")
    talk.silence()
    (state,) = talk.stream.state().types
    assert [one.name for one in state.acknowledged] == ["a"]
    assert (state.rejected, state.rejection) == ((), "of an older one")


def test_r16_sotw_a_request_that_crossed_a_response_adds_its_names() -> None:
    talk = Talk(False, {EDS: {"a": "1", "b": "1", "c": "1"}})
    talk.sotw_says(EDS, "a")
    first = talk.hears(EDS, {"a": "1"})
    talk.becomes({EDS: {"a": "2", "b": "1", "c": "1"}})
    talk.hears(EDS, {"a": "2"}, accept=False)
    talk.sotw_says(EDS, "b", nonce=first.nonce)
    talk.silence()
    talk.passes(seconds=31)  # nothing else is said, which would name it once more
    talk.hears(EDS, {"a": "2", "b": "1"})


def test_r16_sotw_names_are_served_though_every_request_crosses_a_push() -> None:
    """And none answers one, so that no nonce is ever the last."""
    talk = Talk(False, {EDS: {f"n{number}": "1" for number in range(10)}})
    talk.sotw_says(EDS, "n0")
    talk.hears(EDS, {"n0": "1"}, accept=False)
    for number in range(1, 10):
        old = talk.last[EDS].nonce
        talk.becomes({EDS: {f"n{n}": str(number + 1) for n in range(10)}})
        talk.passes(seconds=31)
        talk.hears(EDS, {f"n{n}": str(number + 1) for n in range(number)}, accept=False)
        talk.sotw_says(EDS, *(f"n{n}" for n in range(number + 1)), nonce=old)


def test_r17_delta_subscriptions_count_whatever_the_nonce() -> None:
    talk = Talk(True, {EDS: {"a": "1", "b": "1"}})
    talk.delta_says(EDS, "a")
    talk.hears(EDS, {"a": "1"})
    talk.delta_says(EDS, "b", nonce="never sent")
    talk.hears(EDS, {"b": "1"})


def test_r17_delta_a_stale_nonce_accepts_nothing() -> None:
    talk = Talk(True, {EDS: {"a": "1"}})
    talk.delta_says(EDS, "a")
    talk.hears(EDS, {"a": "1"}, accept=False)
    talk.delta_says(EDS, nonce="never sent")
    assert not talk.stream.acknowledged(1)
    talk.delta_says(EDS, nonce=talk.last[EDS].nonce)
    talk.silence()
    assert talk.stream.acknowledged(1)


def test_r18_delta_an_acceptance_may_change_the_subscription() -> None:
    talk = Talk(True, {EDS: {"a": "1", "b": "1"}})
    talk.delta_says(EDS, "a")
    nonce = talk.hears(EDS, {"a": "1"}, accept=False).nonce
    talk.delta_says(EDS, "b", drops=("a",), nonce=nonce)
    talk.hears(EDS, {"b": "1"})
    talk.becomes({EDS: {"a": "2", "b": "1"}})
    talk.silence()


@both
def test_r19_only_the_newest_of_several_requests_is_answered(delta: bool) -> None:
    talk = Talk(delta, {EDS: {"a": "1", "b": "1", "c": "1"}})
    for name in ("a", "b", "c"):
        talk.says(EDS, name)
    talk.hears(EDS, {"a": "1", "b": "1", "c": "1"})
    talk.silence()


def test_r20_sotw_a_repeated_request_is_not_answered() -> None:
    talk = Talk(False, {EDS: {"a": "1"}})
    talk.sotw_says(EDS, "a")
    talk.hears(EDS, {"a": "1"})
    for _ in range(3):
        talk.sotw_says(EDS, "a")
        talk.silence()


def test_r21_sotw_a_reconnect_at_the_same_version_gets_wildcards_not_again_but_named_types() -> None:
    world = {CDS: {"a": "1"}, LDS: {"l": "1"}, EDS: {"a": "1"}}
    talk = Talk(False, world)
    for url, names, content in ((CDS, (), {"a": "1"}), (LDS, (), {"l": "1"}), (EDS, ("a",), {"a": "1"})):
        talk.sotw_says(url, *names)
        talk.hears(url, content)
    talk.reconnect()
    talk.sotw_says(CDS)
    talk.silence()
    talk.sotw_says(EDS, "a")
    talk.hears(EDS, {"a": "1"})
    talk.becomes({LDS: {"l": "2"}, CDS: {"a": "2"}})
    talk.sotw_says(LDS)
    talk.hears(CDS, {"a": "2"})
    talk.hears(EDS, {"a": "1"})
    talk.hears(LDS, {"l": "2"})


@pytest.mark.parametrize("refused", [True, False], ids=["refused", "underivable"])
def test_r25_sotw_a_client_that_comes_with_a_set_is_never_sent_a_part_of_it(refused: bool) -> None:
    talk = Talk(False, {CDS: {"a": "1", "b": "1", "c": BROKEN if not refused else "bad"}})
    talk.sotw_says(CDS, version="of another server")
    if refused:
        talk.hears(CDS, {"a": "1", "b": "1", "c": "bad"}, accept=False)
        talk.refuses(CDS)
    talk.silence()
    talk.stream.reassign(talk.asker)
    talk.silence()
    talk.becomes({CDS: {"a": "2", "b": "1", "c": "1"}})
    talk.hears(CDS, {"a": "2", "b": "1", "c": "1"})
    talk.becomes({CDS: {"a": "2", "b": "2", "c": "1"}})
    talk.hears(CDS, {"a": "2", "b": "2", "c": "1"})
    assert not talk.stream.state().rejected


@pytest.mark.parametrize("lost", ["refused", "underivable"])
def test_r25_sotw_a_client_that_comes_back_with_a_known_set_gets_what_can_be_had(lost: str) -> None:
    talk = Talk(False, {CDS: {"a": "1", "b": "1", "gone": "1"}})
    talk.sotw_says(CDS)
    talk.hears(CDS, {"a": "1", "b": "1", "gone": "1"})
    talk.becomes({CDS: {"a": "2", "b": "bad" if lost == "refused" else BROKEN}})
    talk.reconnect()
    talk.sotw_says(CDS)
    if lost == "refused":
        talk.hears(CDS, {"a": "2", "b": "bad", "gone": "1"}, accept=False)
        talk.refuses(CDS, "b is wrong")
    talk.hears(CDS, {"a": "2", "b": "1", "gone": "1"})
    talk.silence()
    talk.passes(seconds=5)
    talk.hears(CDS, {"a": "2", "b": "1"})
    talk.silence()
    assert len(talk.stream.state().rejected) == (1 if lost == "refused" else 0)


def test_r25_sotw_a_made_up_version_or_anothers_leads_to_no_set() -> None:
    sets = AcceptedSets(limit=5)
    one, other = (Asker(namespace="n", pod=pod, service_account="s") for pod in ("one", "other"))
    held = tuple(build_resource(CDS, name, b"1") for name in ("a", "b"))
    for asker, url, version in ((other, CDS, version_of_set(held)), (one, LDS, version_of_set(held)), (one, CDS, "x")):
        sets.keep(one, CDS, held, BEGINNING)
        assert sets.take(asker, url, version) is None
    sets.keep(one, CDS, held, BEGINNING)
    assert sets.take(one, CDS, version_of_set(held)) == held
    assert sets.take(one, CDS, version_of_set(held)) is None
    sets.keep(one, CDS, held, BEGINNING)
    sets.keep(other, CDS, held, BEGINNING)
    assert sets.take(one, CDS, version_of_set(held)) is None
    assert sets.take(other, CDS, version_of_set(held)) == held


@pytest.mark.parametrize("late", [False, True], ids=["in time", "after the newer one"])
def test_r6_sotw_the_late_end_of_an_old_stream_leaves_what_the_newer_one_accepted(late: bool) -> None:
    talk = Talk(False, {LDS: {"a": "1"}})
    talk.sotw_says(LDS)
    talk.hears(LDS, {"a": "1"})
    old = talk.stream
    if late:
        del talk.stream
    talk.now += timedelta(seconds=1)
    talk.reconnect()
    talk.sotw_says(LDS)
    talk.silence()
    talk.becomes({LDS: {"a": "1", "b": "1"}})
    talk.hears(LDS, {"a": "1", "b": "1"})
    talk.becomes({LDS: {"a": "2", "b": "bad"}})
    talk.stream.close(talk.now)
    if late:
        old.close(talk.now)
    del talk.stream
    talk.reconnect()
    talk.sotw_says(LDS)
    talk.hears(LDS, {"a": "2", "b": "bad"}, accept=False)
    talk.refuses(LDS, "b is wrong")
    talk.hears(LDS, {"a": "2", "b": "1"})


def test_r52_sets_that_are_empty_count_too() -> None:
    sets = AcceptedSets(limit=5)
    askers = [Asker(namespace="n", pod=f"p{number}", service_account="s") for number in range(10)]
    for asker in askers:
        sets.keep(asker, CDS, (), BEGINNING)
    assert [sets.take(asker, CDS, version_of_set(())) for asker in askers] == [None] * 5 + [()] * 5


def test_r38_delta_endpoints_that_vanish_are_not_removed_from_a_live_cluster() -> None:
    talk = Talk(True, {EDS: {"a": "1"}})
    talk.delta_says(EDS, "a")
    talk.hears(EDS, {"a": "1"})
    talk.becomes({EDS: {}})
    talk.silence()


@pytest.mark.parametrize("words", ["c7: the seventh is wrong", "something is wrong"])
def test_r46_delta_the_culprit_is_found_and_the_others_arrive(words: str) -> None:
    talk = Talk(True, {CDS: {f"c{number}": "1" for number in range(10)}})
    talk.delta_says(CDS)
    talk.hears(CDS, {f"c{number}": "1" for number in range(10)})
    talk.becomes({CDS: {f"c{number}": "2" for number in range(10)}})
    accepted: set[str] = set()
    refused: list[frozenset[str]] = []
    while (heard := talk.next()) is not None:
        if "c7" in heard.resources:
            assert heard.resources.keys() not in refused, "the same set again"
            refused.append(frozenset(heard.resources))
            talk.refuses(CDS, words)
        else:
            accepted |= heard.resources.keys()
            talk.accepts(CDS)
    assert accepted == {f"c{number}" for number in range(10)} - {"c7"}
    assert len(refused) <= 5
    assert [one.name for _, one in talk.stream.state().rejected] == ["c7"]
    assert [event.final for event in talk.events if isinstance(event, Rejected)][-1]
    talk.becomes({CDS: {f"c{number}": "3" for number in range(10)}})
    talk.hears(CDS, {f"c{number}": "3" for number in range(10)})
    assert not talk.stream.state().rejected


def test_r46_sotw_the_culprit_keeps_its_last_accepted_content() -> None:
    talk = Talk(False, {CDS: {"a": "1", "b": "1", "c": "1"}})
    talk.sotw_says(CDS)
    talk.hears(CDS, {"a": "1", "b": "1", "c": "1"})
    talk.becomes({CDS: {"a": "2", "b": "2", "c": "2"}})
    talk.hears(CDS, {"a": "2", "b": "2", "c": "2"}, accept=False)
    talk.refuses(CDS)
    talk.hears(CDS, {"a": "2", "b": "1", "c": "1"})
    talk.hears(CDS, {"a": "2", "b": "2", "c": "1"})
    talk.silence()  # the third alone would make the refused set again
    assert [one.name for _, one in talk.stream.state().rejected] == ["c"]
    talk.becomes({CDS: {"a": "2", "b": "2", "c": "2", "d": "1"}})
    talk.hears(CDS, {"a": "2", "b": "2", "c": "1", "d": "1"})


def test_r46_delta_what_envoy_names_of_several_is_not_sent_again() -> None:
    """It would take the very same cluster for known, and say that it has it: a real one does."""
    talk = Talk(True, {CDS: {"c1": "1", "c2": "1", "c3": "1", "c4": "1"}})
    talk.delta_says(CDS)
    talk.hears(CDS, {"c1": "1", "c2": "1", "c3": "1", "c4": "1"}, accept=False)
    words = "Error adding/updating cluster(s) c2: it is wrong, c4: it is too"
    talk.refuses(CDS, words)
    talk.hears(CDS, removed=("c2", "c4"))  # else it would do so on its next stream
    talk.hears(CDS, {"c1": "1", "c3": "1"})
    talk.silence()
    assert talk.stream.acknowledged(1)
    assert [(one.name, one.message) for _, one in talk.stream.state().rejected] == [("c2", words), ("c4", words)]
    final = [event.names for event in talk.events if isinstance(event, Rejected) and event.final]
    assert final == [("c2", "c4")]
    talk.becomes({CDS: {"c1": "1", "c2": "2", "c3": "1", "c4": "1"}})
    talk.hears(CDS, {"c2": "2"})
    assert [one.name for _, one in talk.stream.state().rejected] == ["c4"]


def test_r46_delta_what_changes_meanwhile_is_sent_although_it_was_named() -> None:
    talk = Talk(True, {CDS: {"c1": "1", "c2": "1"}})
    talk.delta_says(CDS)
    talk.hears(CDS, {"c1": "1", "c2": "1"}, accept=False)
    talk.refuses(CDS, "Error adding/updating cluster(s) c2: it is wrong")
    talk.becomes({CDS: {"c1": "1", "c2": "2"}})
    talk.hears(CDS, removed=("c2",))
    talk.hears(CDS, {"c1": "1"})
    talk.hears(CDS, {"c2": "2"})
    assert not talk.stream.state().rejected


def test_r46_delta_what_envoy_refuses_one_by_one_and_has_no_room_to_name_is_removed_before_it_is_sent_again() -> None:
    talk = Talk(True, {CDS: {"c1": "1", "c2": "1", "c3": "1"}})
    talk.delta_says(CDS)
    talk.hears(CDS, {"c1": "1", "c2": "1", "c3": "1"}, accept=False)
    talk.refuses(CDS, "Error adding/updating cluster(s) c1: it is wrong, c2: it i...(truncated)")
    talk.hears(CDS, removed=("c1", "c2", "c3"))
    talk.hears(CDS, {"c3": "1"})
    talk.silence()
    assert [one.name for _, one in talk.stream.state().rejected] == ["c1", "c2"]


def test_r46_delta_a_cluster_that_it_had_before_is_not_removed_for_a_refused_one() -> None:
    talk = Talk(True, {CDS: {"c1": "1", "c2": "1"}})
    talk.delta_says(CDS)
    talk.hears(CDS, {"c1": "1", "c2": "1"})
    talk.becomes({CDS: {"c1": "2", "c2": "2"}})
    talk.hears(CDS, {"c1": "2", "c2": "2"}, accept=False)
    talk.refuses(CDS, "Error adding/updating cluster(s) c2: it is wrong")
    talk.hears(CDS, {"c1": "2"})
    talk.silence()


@both
def test_r12_a_refused_resource_that_is_looked_up_again_is_not_sent_again(delta: bool) -> None:
    talk = Talk(delta, {EDS: {"a": "1"}})
    talk.says(EDS, "a")
    talk.hears(EDS, {"a": "1"}, accept=False)
    talk.refuses(EDS)
    talk.stream.reassign(talk.stream.asker)
    talk.silence()


def test_r46_delta_a_removal_in_a_refused_response_is_sent_again() -> None:
    talk = Talk(True, {LDS: {"l": "1", "gone": "1"}})
    talk.delta_says(LDS)
    talk.hears(LDS, {"l": "1", "gone": "1"})
    talk.becomes({LDS: {"l": "2"}})
    talk.hears(LDS, {"l": "2"}, removed=("gone",), accept=False)
    talk.refuses(LDS)
    talk.hears(LDS, removed=("gone",))
    talk.silence()


def test_r18_delta_what_was_dropped_while_it_was_on_its_way_is_not_kept_track_of() -> None:
    talk = Talk(True, {EDS: {"a": "1"}})
    talk.delta_says(EDS, "a")
    nonce = talk.hears(EDS, {"a": "1"}, accept=False).nonce
    talk.delta_says(EDS, drops=("a",))
    talk.delta_says(EDS, nonce=nonce)
    assert talk.stream.state().types[0].acknowledged == ()
    talk.delta_says(EDS, "a")
    talk.hears(EDS, {"a": "1"})


def test_r46_a_new_snapshot_while_the_culprit_is_looked_for() -> None:
    talk = Talk(True, {EDS: dict.fromkeys("abcd", "1")})
    talk.delta_says(EDS, *"abcd")
    talk.hears(EDS, dict.fromkeys("abcd", "1"), accept=False)
    talk.refuses(EDS)
    talk.becomes({EDS: {"a": "1", "b": "2", "c": "1", "d": "1"}})
    talk.hears(EDS, {"a": "1"})
    talk.hears(EDS, {"c": "1", "d": "1"})
    talk.hears(EDS, {"b": "2"})
    talk.silence()
    assert talk.stream.acknowledged(2)


@both
def test_r48_changes_during_a_push_coalesce_into_the_newest(delta: bool) -> None:
    talk = Talk(delta, {LDS: {"l": "1"}})
    talk.says(LDS)
    talk.hears(LDS, {"l": "1"}, accept=False)
    for content in "2345":
        talk.becomes({LDS: {"l": content}})
        talk.silence()
    talk.accepts(LDS)
    talk.hears(LDS, {"l": "5"})
    talk.silence()


@both
def test_r37_what_leaves_the_scope_while_it_is_on_its_way_is_removed_after(delta: bool) -> None:
    talk = Talk(delta, {LDS: {"stays": "1"}})
    talk.says(LDS)
    talk.hears(LDS, {"stays": "1"})
    talk.becomes({LDS: {"stays": "1", "goes": "1"}})
    talk.hears(LDS, {"goes": "1"} if delta else {"stays": "1", "goes": "1"}, accept=False)
    talk.becomes({LDS: {"stays": "1"}})
    talk.silence()
    talk.accepts(LDS)
    if delta:
        talk.hears(LDS, removed=("goes",))
    else:
        talk.hears(LDS, {"stays": "1"})
    talk.silence()


@both
def test_r51_what_left_the_scope_unanswered_is_removed(delta: bool) -> None:
    talk = Talk(delta, {LDS: {"stays": "1"}})
    talk.says(LDS)
    talk.hears(LDS, {"stays": "1"})
    talk.becomes({LDS: {"stays": "1", "goes": "1"}})
    talk.hears(LDS, {"goes": "1"} if delta else {"stays": "1", "goes": "1"}, accept=False)
    talk.becomes({LDS: {"stays": "1"}})
    talk.passes(seconds=31)
    if delta:
        talk.hears(LDS, removed=("goes",))
    else:
        talk.hears(LDS, {"stays": "1"})
    talk.silence()


@both
def test_r49_nothing_is_sent_without_a_change(delta: bool) -> None:
    talk = Talk(delta, {CDS: {"a": "1"}})
    talk.says(CDS)
    talk.hears(CDS, {"a": "1"})
    talk.becomes({EDS: {"x": "1"}})
    talk.becomes({CDS: {"a": "1"}})
    talk.silence()
    assert talk.stream.acknowledged(3)


@both
def test_r51_what_was_not_answered_in_time_is_sent_again_with_what_is_new(delta: bool) -> None:
    talk = Talk(delta, {EDS: {"a": "1", "b": "1"}})
    talk.says(EDS, "a", "b")
    talk.hears(EDS, {"a": "1", "b": "1"}, accept=False)
    talk.becomes({EDS: {"a": "1", "b": "2"}})
    talk.silence()
    assert talk.stream.wake_at() is not None
    talk.passes(seconds=31)
    talk.hears(EDS, {"a": "1", "b": "2"})
    talk.silence()


@both
def test_last_good_wins_where_a_resource_cannot_be_derived(delta: bool) -> None:
    talk = Talk(delta, {CDS: {"a": "1", "b": "1"}})
    talk.says(CDS)
    talk.hears(CDS, {"a": "1", "b": "1"})
    talk.becomes({CDS: {"a": BROKEN, "b": "2"}})
    talk.hears(CDS, {"b": "2"} if delta else {"a": "1", "b": "2"})
    talk.silence()
    assert [(failure.type_url, failure.name) for failure in talk.failures] == [(CDS, "a")]
    talk.becomes({CDS: {"a": "2", "b": "2"}})
    talk.hears(CDS, {"a": "2"} if delta else {"a": "2", "b": "2"})


def test_what_a_fresh_process_cannot_derive_is_not_taken_from_the_client() -> None:
    talk = Talk(True, {CDS: {"a": BROKEN, "b": "1"}})
    talk.delta_says(CDS, initial={"a": "x", "b": version_of("b", "1"), "c": "x"})
    talk.silence()
    talk.passes(seconds=5)
    talk.hears(CDS, removed=("c",))
    talk.silence()


@both
@pytest.mark.parametrize("known", [True, False], ids=["a known set", "an unknown set"])
def test_r25_who_comes_back_keeps_all_while_it_cannot_be_told_what_is_in_its_scope(known: bool, delta: bool) -> None:
    talk = Talk(delta, {LDS: {"l": "1", "gone": "1"}})
    talk.says(LDS)
    heard = talk.hears(LDS, {"l": "1", "gone": "1"})
    talk.becomes({LDS: {"l": "1", "new": "1", NO_SCOPE: "1"}})
    talk.memo = talk.new_memo()
    talk.reconnect(to_another=not known)
    if delta:
        talk.delta_says(LDS, initial=heard.versions)
    else:
        talk.sotw_says(LDS)
    talk.silence()
    talk.becomes({LDS: {"l": "1", NO_SCOPE: "2"}})
    talk.silence()
    talk.becomes({LDS: {"l": "1", "new": "1"}})
    talk.hears(LDS, {"new": "1"} if delta else {"l": "1", "new": "1"}, removed=("gone",) if delta else ())
    talk.silence()


@both
def test_r25_who_waits_for_a_scope_is_answered_though_it_is_empty(delta: bool) -> None:
    talk = Talk(delta, {CDS: {NO_SCOPE: "1"}})
    talk.says(CDS)
    talk.silence()
    talk.becomes({CDS: {}})
    talk.hears(CDS)
    talk.silence()


@both
def test_a_relabelled_pod_gets_what_is_now_its_own(delta: bool) -> None:
    talk = Talk(delta, {CDS: {"all": "1", "own": "@"}})
    talk.says(CDS)
    talk.hears(CDS, {"all": "1", "own": "@ for a"})
    talk.stream.reassign(Asker(namespace="n", pod="p", service_account="s", labels={"app": "b"}))
    talk.hears(CDS, {"own": "@ for b"} if delta else {"all": "1", "own": "@ for b"})
    talk.silence()


def test_the_state_tells_what_is_held_pending_and_wanted() -> None:
    talk = Talk(True, {EDS: {"a": "1", "b": "1"}})
    talk.delta_says(EDS, "a", "b")
    nonce = talk.hears(EDS, {"a": "1", "b": "1"}, accept=False).nonce
    (state,) = talk.stream.state().types
    assert (state.names, state.wildcard, state.acknowledged) == (("a", "b"), False, ())
    assert dict(state.pending) == {"a": version_of("a", "1"), "b": version_of("b", "1")}
    assert state.pending_nonce == nonce
    talk.accepts(EDS)
    (state,) = talk.stream.state().types
    assert {one.name: one.version for one in state.acknowledged} == {
        "a": version_of("a", "1"),
        "b": version_of("b", "1"),
    }
    assert not talk.stream.acknowledged(2)


class Few(list[Event]):
    def append(self, event: Event) -> None:
        super().append(event)
        assert len(self) < 20, "it reports without end"


def test_r12_sotw_a_set_that_takes_something_away_and_is_refused_is_refused_once() -> None:
    """By a client of which is not known what it has. The server went round in circles, and nobody was served."""
    talk = Talk(False, {LDS: {"l": "1"}}, events=Few())
    talk.sotw_says(LDS, version="of another")
    talk.hears(LDS, {"l": "1"}, accept=False)
    talk.becomes({LDS: {"a": "1", "b": "1"}})
    talk.passes(seconds=31)
    talk.hears(LDS, {"a": "1", "b": "1"}, accept=False)
    talk.refuses(LDS, "a is wrong")
    talk.silence()
    talk.becomes({LDS: {"a": "2", "b": "1"}})
    talk.hears(LDS, {"a": "2", "b": "1"})
    assert [one.name for kind in talk.stream.state().types for one in kind.acknowledged] == ["a", "b"]
    talk.silence()


def test_r23_sotw_what_was_refused_and_dropped_is_sent_again_when_it_is_asked_for_again() -> None:
    talk = Talk(False, {EDS: {"x": "1", "y": "1"}})
    talk.sotw_says(EDS, "x")
    talk.hears(EDS, {"x": "1"}, accept=False)
    talk.refuses(EDS)
    talk.silence()
    talk.sotw_says(EDS)
    talk.silence()
    talk.sotw_says(EDS, "x")
    talk.hears(EDS, {"x": "1"})


def test_r32_delta_what_is_refused_after_it_was_dropped_is_sent_again_when_it_is_asked_for_again() -> None:
    talk = Talk(True, {RDS: {"x": "1"}})
    talk.delta_says(RDS, "x")
    talk.hears(RDS, {"x": "1"}, accept=False)
    talk.delta_says(RDS, drops=("x",))
    talk.refuses(RDS)
    talk.silence()
    assert not talk.stream.state().rejected
    talk.delta_says(RDS, "x")
    talk.hears(RDS, {"x": "1"})


@pytest.mark.parametrize("url", [CDS, EDS, LDS, RDS, VHDS], ids=["cds", "eds", "lds", "rds", "vhds"])
def test_r32_delta_who_asks_again_for_what_it_refused_is_answered(url: str) -> None:
    talk = Talk(True, {url: {"x": "1"}})
    talk.delta_says(url, "x")
    talk.hears(url, {"x": "1"}, accept=False)
    talk.refuses(url)
    talk.silence()
    for _ in range(2):
        talk.delta_says(url, "x")
        talk.hears(url, removed=("x",))
        talk.silence()
    assert [one.name for _, one in talk.stream.state().rejected] == ["x"]
    talk.becomes({url: {"x": "2"}})
    talk.hears(url, {"x": "2"})


@pytest.mark.parametrize("asked", ["its table changes", "it is asked for again"])
def test_r32_delta_a_host_that_is_gone_is_removed_though_it_is_asked_for(asked: str) -> None:
    talk = Talk(True, {RDS: {"80": "1"}, VHDS: {"80/a": "1"}})
    talk.delta_says(RDS, "80")
    talk.hears(RDS, {"80": "1"})
    talk.delta_says(VHDS, "80/a")
    talk.hears(VHDS, {"80/a": "1"})
    if asked == "its table changes":
        talk.becomes({RDS: {"80": "2"}, VHDS: {}})
        talk.hears(RDS, {"80": "2"})
    else:
        talk.becomes({VHDS: {}})
        talk.delta_says(VHDS, "80/a")
    talk.hears(VHDS, removed=("80/a",))
    talk.delta_says(VHDS, "80/a")
    talk.hears(VHDS, missing=("80/a",))
    talk.silence()


def test_r52_sotw_what_is_refused_again_and_again_is_not_kept() -> None:
    talk = Talk(False, {CDS: {"a": "1"}})
    talk.sotw_says(CDS)
    talk.hears(CDS, {"a": "1"})
    for number in range(20):
        talk.becomes({CDS: {"a": "1", "b": f"bad {number}"}})
        talk.hears(CDS, {"a": "1", "b": f"bad {number}"}, accept=False)
        talk.refuses(CDS)
        talk.silence()
    (channel,) = talk.stream._channels.values()
    assert len(channel.refused_versions) == 1


def test_r23_what_was_refused_by_name_and_dropped_is_sent_again_when_it_is_asked_for_again() -> None:
    talk = Talk(True, {CDS: {"c1": "1", "c2": "1"}})
    talk.delta_says(CDS, "c1", "c2")
    talk.hears(CDS, {"c1": "1", "c2": "1"}, accept=False)
    talk.refuses(CDS, "Error adding/updating cluster(s) c2: it is wrong")
    talk.delta_says(CDS, drops=("c2",))
    talk.hears(CDS, removed=("c2",))
    talk.hears(CDS, {"c1": "1"})
    talk.silence()
    talk.delta_says(CDS, "c2")
    talk.hears(CDS, {"c2": "1"})


@both
@pytest.mark.parametrize("back", [False, True], ids=["gone", "as it was"])
@pytest.mark.parametrize("url", [CDS, LDS], ids=["cds", "lds"])
def test_r46_what_was_taken_of_a_refused_response_is_taken_back(url: str, back: bool, delta: bool) -> None:
    """Of several clusters, or listeners, Envoy takes the good ones."""
    before = {"x": "1", "a": "1"} if back else {"x": "1"}
    talk = Talk(delta, {url: before})
    talk.says(url)
    client = dict(talk.hears(url, before).resources)
    talk.becomes({url: {"x": "1", "a": "2", "bad": "1"}})
    heard = talk.next()
    assert heard is not None
    client["a"] = heard.resources["a"]
    talk.becomes({url: before})
    talk.refuses(url, "Error adding/updating cluster(s) bad: it is wrong" if url == CDS else "bad is wrong")
    while (heard := talk.next()) is not None:
        client = {name: one for name, one in client.items() if delta or name in heard.resources}
        client |= heard.resources
        client = {name: one for name, one in client.items() if name not in heard.removed}
        talk.accepts(heard.type_url)
    assert client == before


def test_r47_clusters_that_a_client_refused_are_kept_for_it_alone_and_not_without_end() -> None:
    pods = [Asker(namespace="n", pod=f"p{number}", service_account="s") for number in range(3)]
    refused = {name: Refusal(version="1", message="no") for name in ("a", "b")}
    kept = RefusedClusters(limit=4)
    for pod in pods:
        kept.keep(pod, refused, BEGINNING)
    assert [dict(kept.take(pod)) for pod in pods] == [{}, refused, refused]
    assert not kept.take(pods[1])


@both
def test_r47_a_client_that_comes_back_is_not_sent_a_cluster_that_it_refused_one_by_one(delta: bool) -> None:
    """It would take the very same for known; one that began anew would not, and has none."""
    words = "Error adding/updating cluster(s) b: it is wrong"
    talk = Talk(delta, {CDS: {"a": "1", "b": "1"}})
    talk.says(CDS)
    versions = talk.hears(CDS, {"a": "1", "b": "1"}, accept=False).versions
    talk.refuses(CDS, words)
    while (heard := talk.next()) is not None:
        talk.accepts(CDS)
        set_version = heard.version
    for new in (False, True):
        talk.reconnect()
        if new:
            talk.accepted.clear()
            talk.says(CDS)
            talk.hears(CDS, {"a": "1", "b": "1"})
        elif delta:
            talk.delta_says(CDS, initial={"a": versions["a"]})
            talk.silence()
            assert talk.stream.acknowledged(1)
        else:
            talk.sotw_says(CDS, version=set_version)
            talk.silence()
        told = [(one.name, one.message) for _, one in talk.stream.state().rejected]
        assert told == ([] if new else [("b", words)])


def test_r47_what_a_client_refused_before_and_is_gone_when_it_comes_back_is_not_reported() -> None:
    talk = Talk(True, {CDS: {"a": "1", "b": "1"}})
    talk.says(CDS)
    versions = talk.hears(CDS, {"a": "1", "b": "1"}, accept=False).versions
    talk.refuses(CDS, "Error adding/updating cluster(s) b: it is wrong")
    talk.hears(CDS, removed=("b",))
    talk.hears(CDS, {"a": "1"})
    talk.stream.close(talk.now)
    talk.becomes({CDS: {"a": "1"}})
    talk.reconnect()
    talk.delta_says(CDS, initial={"a": versions["a"]})
    talk.silence()
    assert not talk.stream.state().rejected


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("url", [EDS, RDS, CDS])
def test_r33_r46_that_there_is_none_is_said_again_after_a_refused_response_and_after_none(
    url: str, answered: bool
) -> None:
    talk = Talk(True, {url: {"a": "wrong"}})
    talk.delta_says(url, "a", "b")
    talk.hears(url, {"a": "wrong"}, removed=("b",), accept=False)
    if answered:
        talk.refuses(url, "a is wrong")
        talk.hears(url, removed=("b",))
    else:
        talk.delta_says(url, "c")
        talk.passes(seconds=31)
        talk.hears(url, {"a": "wrong"}, removed=("b", "c"))
    talk.silence()


def test_r47_sotw_a_name_beside_the_wildcard_brings_no_refused_set_back() -> None:
    talk = Talk(False, {CDS: {"a": "wrong", "b": "1"}})
    talk.sotw_says(CDS, version="of another replica")
    talk.hears(CDS, {"a": "wrong", "b": "1"}, accept=False)
    talk.refuses(CDS)
    talk.sotw_says(CDS, "*", "a", version="of another replica")
    talk.silence()
    talk.becomes({CDS: {"a": "right", "b": "1"}})
    talk.hears(CDS, {"a": "right", "b": "1"})
