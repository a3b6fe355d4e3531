"""Rules on subscriptions: names, wildcards, what is answered and what is not. The rules are xDS's own."""

from __future__ import annotations

import pytest

from tests.protocol.conversation import CDS, EDS, LDS, RDS, SDS, VHDS, Talk, version_of
from xds.violation import MAX_NAMES, Fault, Violation, first_node
from xds.wire import DeltaRequest, Node, SotwRequest

CLUSTERS = {CDS: {"a": "1", "b": "1"}}
both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


@both
def test_r1_a_node_id_that_changes_ends_the_stream(delta: bool) -> None:
    talk = Talk(delta, CLUSTERS)
    request = DeltaRequest if delta else SotwRequest
    talk.stream.receive(request(type_url=CDS), talk.now)
    talk.stream.receive(request(type_url=CDS, node=Node(id="node")), talk.now)
    with pytest.raises(Violation) as violation:
        talk.stream.receive(request(type_url=CDS, node=Node(id="other")), talk.now)
    assert violation.value.fault is Fault.INVALID_ARGUMENT


@pytest.mark.parametrize("node", [None, Node(id="")])
def test_r2_a_stream_begins_with_a_node_id(node: Node | None) -> None:
    for request in (DeltaRequest(type_url=CDS, node=node), SotwRequest(type_url=CDS, node=node)):
        with pytest.raises(Violation):
            first_node(request)


@both
def test_r3_no_type_is_a_violation_and_an_unknown_one_is_not_answered(delta: bool) -> None:
    talk = Talk(delta, CLUSTERS)
    with pytest.raises(Violation):
        talk.says("")
    talk.says("type.googleapis.com/unheard.Of", "x")
    talk.silence()
    talk.says(CDS)
    talk.hears(CDS, {"a": "1", "b": "1"})


@both
def test_r7_types_do_not_touch_each_other(delta: bool) -> None:
    talk = Talk(delta, {**CLUSTERS, LDS: {"l": "1"}, EDS: {"a": "1"}})
    talk.says(EDS, "a")
    talk.hears(EDS, {"a": "1"}, accept=False)
    talk.refuses(EDS)
    talk.says(LDS)
    talk.hears(LDS, {"l": "1"})
    talk.becomes({LDS: {"l": "2"}})
    talk.hears(LDS, {"l": "2"})


@both
def test_r8_types_are_answered_in_whatever_order_they_come(delta: bool) -> None:
    talk = Talk(delta, {**CLUSTERS, LDS: {"l": "1"}, EDS: {"a": "1"}})
    talk.says(EDS, "a")
    talk.hears(EDS, {"a": "1"})
    talk.says(LDS)
    talk.hears(LDS, {"l": "1"})
    talk.becomes({LDS: {"l": "2"}})
    talk.hears(LDS, {"l": "2"})
    talk.says(CDS)
    talk.hears(CDS, {"a": "1", "b": "1"})


def test_r22_sotw_names_left_out_are_unsubscribed() -> None:
    talk = Talk(False, {EDS: {"a": "1", "b": "1"}})
    talk.sotw_says(EDS, "a", "b")
    talk.hears(EDS, {"a": "1", "b": "1"})
    talk.sotw_says(EDS, "a")
    talk.silence()
    talk.becomes({EDS: {"a": "2", "b": "2"}})
    talk.hears(EDS, {"a": "2"})


@both
def test_r23_names_asked_for_again_are_sent_again(delta: bool) -> None:
    talk = Talk(delta, {EDS: {"a": "1", "b": "1"}})
    talk.says(EDS, "a", "b")
    talk.hears(EDS, {"a": "1", "b": "1"})
    if delta:
        talk.delta_says(EDS, drops=("a",))
    else:
        talk.sotw_says(EDS, "b")
    talk.silence()
    talk.says(EDS, "a")
    talk.hears(EDS, {"a": "1"})


@both
def test_r24_a_name_that_appears_later_is_sent_then(delta: bool) -> None:
    talk = Talk(delta, {EDS: {}})
    talk.says(EDS, "a")
    if delta:
        talk.hears(EDS, removed=("a",))
    talk.silence()
    talk.passes(minutes=10)
    talk.becomes({EDS: {"a": "1", "b": "1"}})
    talk.hears(EDS, {"a": "1"})
    talk.silence()


def test_r25_sotw_clusters_and_listeners_are_sent_in_full() -> None:
    talk = Talk(False, {**CLUSTERS, LDS: {"l": "1", "m": "1"}})
    talk.says(CDS)
    talk.hears(CDS, {"a": "1", "b": "1"})
    talk.says(LDS)
    talk.hears(LDS, {"l": "1", "m": "1"})
    talk.becomes({CDS: {"a": "2", "b": "1"}, LDS: {"m": "1"}})
    talk.hears(CDS, {"a": "2", "b": "1"})
    talk.hears(LDS, {"m": "1"})
    talk.becomes({CDS: {}})
    talk.hears(CDS)
    talk.silence()


@both
def test_r25_an_empty_wildcard_is_answered_so_that_the_client_need_not_wait(delta: bool) -> None:
    talk = Talk(delta, {CDS: {}})
    talk.says(CDS)
    talk.hears(CDS)
    talk.silence()


def test_r26_sotw_named_types_hold_what_changed_alone() -> None:
    talk = Talk(False, {RDS: {"80": "1", "81": "1"}})
    talk.says(RDS, "80", "81")
    talk.hears(RDS, {"80": "1", "81": "1"})
    talk.becomes({RDS: {"80": "1", "81": "2"}})
    talk.hears(RDS, {"81": "2"})
    talk.becomes({RDS: {"80": "1"}})
    talk.silence()


def test_r27_sotw_no_names_left_is_the_end_of_a_named_subscription() -> None:
    talk = Talk(False, {EDS: {"a": "1"}})
    talk.says(EDS, "a")
    talk.hears(EDS, {"a": "1"})
    talk.sotw_says(EDS)
    talk.silence()
    talk.becomes({EDS: {"a": "2"}})
    talk.silence()
    assert not talk.stream.state().types[0].acknowledged


def test_r29_sotw_the_four_steps() -> None:
    talk = Talk(False, {CDS: {"A": "1", "B": "1"}})
    talk.sotw_says(CDS)
    talk.hears(CDS, {"A": "1", "B": "1"})
    talk.sotw_says(CDS, "*", "A")
    talk.hears(CDS, {"A": "1", "B": "1"})
    talk.sotw_says(CDS, "A")
    talk.becomes({CDS: {"A": "2", "B": "2"}})
    talk.hears(CDS, {"A": "2"})
    talk.sotw_says(CDS)
    talk.becomes({CDS: {"A": "3", "B": "3"}})
    talk.silence()


def test_r29_delta_the_four_steps() -> None:
    talk = Talk(True, {CDS: {"A": "1", "B": "1"}})
    talk.delta_says(CDS)
    talk.hears(CDS, {"A": "1", "B": "1"})
    talk.delta_says(CDS, "A")
    talk.hears(CDS, {"A": "1"})
    talk.delta_says(CDS, drops=("*",))
    talk.becomes({CDS: {"A": "2", "B": "2"}})
    talk.hears(CDS, {"A": "2"})
    talk.delta_says(CDS, drops=("A",))
    talk.becomes({CDS: {"A": "3", "B": "3"}})
    talk.silence()


@both
def test_r29_a_name_first_is_not_the_wildcard(delta: bool) -> None:
    talk = Talk(delta, {CDS: {"A": "1", "B": "1"}})
    talk.says(CDS, "A")
    talk.hears(CDS, {"A": "1"})
    talk.says(CDS, "*")
    heard = talk.next()
    assert heard is not None
    assert heard.resources["B"] == "1"


def test_r30_delta_a_name_taken_back_under_the_wildcard_is_answered() -> None:
    talk = Talk(True, {CDS: {"A": "1"}})
    talk.delta_says(CDS, "*", "A", "gone")
    talk.hears(CDS, {"A": "1"}, removed=("gone",))
    talk.delta_says(CDS, drops=("A",))
    talk.hears(CDS, {"A": "1"})
    talk.delta_says(CDS, drops=("gone",))
    talk.hears(CDS, removed=("gone",))


def test_r30_delta_taking_a_name_back_forgets_nothing_that_is_still_to_be_removed() -> None:
    talk = Talk(True, {CDS: {"a": "1"}})
    talk.delta_says(CDS, "*", "b")
    talk.hears(CDS, {"a": "1"}, removed=("b",))
    talk.becomes({CDS: {}})
    talk.delta_says(CDS, drops=("b",))
    talk.hears(CDS, removed=("b",))
    talk.hears(CDS, removed=("a",))
    talk.silence()


def test_r30_delta_what_is_added_and_dropped_at_once_is_dropped() -> None:
    talk = Talk(True, {EDS: {"a": "1"}})
    talk.delta_says(EDS, "a", drops=("a",))
    talk.silence()
    talk.becomes({EDS: {"a": "2"}})
    talk.silence()


@both
@pytest.mark.parametrize("type_url", [EDS, RDS, SDS])
def test_r31_named_types_have_no_wildcard(delta: bool, type_url: str) -> None:
    talk = Talk(delta, {type_url: {"a": "1"}})
    talk.says(type_url)
    talk.silence()
    talk.becomes({type_url: {"a": "2"}})
    talk.silence()


def test_r32_delta_a_subscribed_name_is_answered_though_the_client_should_have_it() -> None:
    talk = Talk(True, {EDS: {"a": "1"}})
    for _ in range(3):
        talk.delta_says(EDS, "a")
        talk.hears(EDS, {"a": "1"})


def test_r33_delta_a_name_that_does_not_exist_is_removed() -> None:
    talk = Talk(True, {EDS: {"a": "1"}})
    talk.delta_says(EDS, "a", "b")
    talk.hears(EDS, {"a": "1"}, removed=("b",))


def test_r34_delta_a_reconnect_gets_what_differs() -> None:
    talk = Talk(True, {CDS: {"same": "1", "other": "2", "new": "1"}, EDS: {"same": "1"}})
    initial = {"same": version_of("same", "1"), "other": version_of("other", "1"), "gone": "x", "odd": ""}
    talk.delta_says(EDS, "same", "gone", initial={"same": version_of("same", "1"), "gone": "x"})
    talk.hears(EDS, removed=("gone",))
    talk.delta_says(CDS, "*", initial=initial)
    talk.hears(CDS, {"new": "1", "other": "2"})
    talk.silence()  # it may have routes to them, of which it has not spoken yet
    talk.passes(seconds=5)
    talk.hears(CDS, removed=("gone", "odd"))
    talk.silence()
    assert talk.stream.acknowledged(1)


def test_r34_delta_a_reconnect_of_one_who_has_everything_gets_nothing() -> None:
    talk = Talk(True, {CDS: {"a": "1"}, VHDS: {"80/a:80": "1"}})
    talk.delta_says(CDS, initial={"a": version_of("a", "1")})
    talk.delta_says(VHDS, "*", initial={"80/a:80": version_of("80/a:80", "1")})
    talk.silence()
    assert talk.stream.acknowledged(1)


def test_r34_delta_versions_count_in_the_first_request_alone() -> None:
    talk = Talk(True, {EDS: {"a": "1", "b": "1"}})
    talk.delta_says(EDS, "a")
    talk.hears(EDS, {"a": "1"})
    talk.delta_says(EDS, "b", initial={"b": version_of("b", "1"), "c": "1"})
    talk.hears(EDS, {"b": "1"})
    talk.silence()


def test_r34_too_many_names_end_the_stream() -> None:
    talk = Talk(True, {})
    with pytest.raises(Violation) as violation:
        talk.delta_says(EDS, *(f"n{number}" for number in range(MAX_NAMES + 1)))
    assert violation.value.fault is Fault.RESOURCE_EXHAUSTED


def test_r34_delta_so_does_too_much_that_a_client_claims_to_hold() -> None:
    talk = Talk(True, {EDS: {"a": "1"}})
    with pytest.raises(Violation) as violation:
        talk.delta_says(EDS, "a", initial={f"n{number}": "1" for number in range(MAX_NAMES + 1)})
    assert violation.value.fault is Fault.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("delta", [True, False])
def test_r34_nor_may_they_be_too_many_in_all_types_together(delta: bool) -> None:
    talk = Talk(delta, {EDS: {"a": "1"}, RDS: {"80": "1"}})
    talk.says(EDS, "a", *(f"n{number}" for number in range(MAX_NAMES // 2)))
    talk.says(RDS, "80", *(f"n{number}" for number in range(MAX_NAMES // 2 - 2)))
    with pytest.raises(Violation) as violation:
        talk.says(RDS, "one too many")
    assert violation.value.fault is Fault.RESOURCE_EXHAUSTED


def test_r27_r37_delta_what_is_dropped_while_a_push_is_on_its_way_is_not_answered() -> None:
    talk = Talk(True, {EDS: {"a": "1", "b": "1"}})
    talk.delta_says(EDS, "a")
    talk.hears(EDS, {"a": "1"}, accept=False)
    talk.delta_says(EDS, "b", "ghost")
    talk.delta_says(EDS, drops=("b", "ghost"))
    talk.accepts(EDS)
    talk.silence()
    talk.delta_says(EDS, "b")
    talk.hears(EDS, {"b": "1"})


@pytest.mark.parametrize("wildcard", [False, True])
def test_r34_names_that_are_dropped_again_and_again_do_not_gather(wildcard: bool) -> None:
    """While nothing is acknowledged; where each would have to be answered the stream ends."""
    talk = Talk(True, {CDS: {"a": "1"}})
    talk.delta_says(CDS, *(("*",) if wildcard else ("a",)))
    talk.hears(CDS, {"a": "1"}, accept=False)

    def asks(number: int) -> None:
        names = tuple(f"n{number}-{place}" for place in range(9000))
        talk.delta_says(CDS, *names)
        talk.delta_says(CDS, drops=names)

    for number in range(MAX_NAMES // 9000):
        asks(number)
    if wildcard:
        with pytest.raises(Violation) as violation:
            asks(-1)
        assert violation.value.fault is Fault.RESOURCE_EXHAUSTED
    else:
        talk.accepts(CDS)
        talk.silence()


def test_r35_delta_what_was_never_wanted_may_be_dropped() -> None:
    talk = Talk(True, {EDS: {"a": "1"}})
    talk.delta_says(EDS, "a", drops=("phantom",))
    talk.hears(EDS, {"a": "1"})
    talk.delta_says(EDS, drops=("phantom",))
    talk.silence()


def test_r37_delta_what_was_never_sent_is_not_removed() -> None:
    talk = Talk(True, {CDS: {"a": "1"}, EDS: {"x": "1"}})
    talk.delta_says(CDS)
    talk.hears(CDS, {"a": "1"})
    talk.delta_says(CDS, nonce="")
    talk.becomes({EDS: {}})
    talk.silence()


@both
def test_r61_globs_are_names_that_do_not_exist(delta: bool) -> None:
    talk = Talk(delta, {EDS: {"a": "1", "xdstp://x/y/*": "1"}})
    talk.says(EDS, "xdstp://x/y/*", "a")
    talk.hears(EDS, {"a": "1"}, removed=("xdstp://x/y/*",) if delta else ())


def test_r62_delta_the_first_nameless_request_gets_all_virtual_hosts() -> None:
    hosts = {"80/a:80": "1", "80/b:80": "1"}
    talk = Talk(True, {VHDS: hosts, RDS: {"80": "1"}})
    talk.delta_says(RDS, "80")
    talk.hears(RDS, {"80": "1"})
    talk.delta_says(VHDS)
    talk.hears(VHDS, hosts)
    talk.becomes({VHDS: {"80/a:80": "2", "80/c:80": "1"}})
    talk.hears(VHDS, {"80/a:80": "2", "80/c:80": "1"}, removed=("80/b:80",))
    talk.silence()


def test_r62_delta_a_virtual_host_follows_each_route_configuration() -> None:
    talk = Talk(True, {VHDS: {"80/a:80": "1", "80/b:80": "1", "81/a:81": "1"}, RDS: {"80": "1", "81": "1"}})
    talk.delta_says(RDS, "80")
    talk.hears(RDS, {"80": "1"})
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"80/a:80": "1", "80/b:80": "1", "81/a:81": "1"})
    talk.delta_says(RDS, "81")
    talk.hears(RDS, {"81": "1"})
    talk.hears(VHDS, {"81/a:81": "1"})
    talk.becomes({RDS: {"80": "2", "81": "1"}})
    talk.hears(RDS, {"80": "2"})
    talk.hears(VHDS, {"80/a:80": "1"})
    talk.silence()


def test_r62_delta_a_refused_virtual_host_stays_refused_when_the_one_before_follows_its_route_configuration() -> None:
    talk = Talk(True, {VHDS: {"80/a:80": "1"}, RDS: {"80": "1"}})
    talk.delta_says(RDS, "80")
    talk.hears(RDS, {"80": "1"})
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"80/a:80": "1"})
    talk.becomes({VHDS: {"80/a:80": "bad"}})
    talk.hears(VHDS, {"80/a:80": "bad"}, accept=False)
    talk.refuses(VHDS)
    talk.becomes({RDS: {"80": "2"}})
    talk.hears(RDS, {"80": "2"})
    talk.hears(VHDS, {"80/a:80": "1"})
    assert [resource.name for _, resource in talk.stream.state().rejected] == ["80/a:80"]
    talk.silence()


def test_r62_delta_an_unknown_host_is_answered_by_its_name_as_alias() -> None:
    talk = Talk(True, {VHDS: {"80/a:80": "1"}})
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"80/a:80": "1"})
    talk.delta_says(VHDS, "80/unknown")
    talk.hears(VHDS, missing=("80/unknown",))
    talk.silence()
    talk.becomes({VHDS: {"80/a:80": "1", "80/unknown": "1"}})
    talk.hears(VHDS, {"80/unknown": "1"})


def test_r16_r23_sotw_a_name_that_is_left_out_and_asked_for_again_while_a_response_is_on_its_way_is_sent_again() -> (
    None
):
    talk = Talk(False, {EDS: {"a": "1", "b": "1"}})
    talk.sotw_says(EDS, "a", "b")
    first = talk.hears(EDS, {"a": "1", "b": "1"})
    talk.becomes({EDS: {"a": "1", "b": "2"}})
    second = talk.hears(EDS, {"b": "2"}, accept=False)
    talk.sotw_says(EDS, "b", nonce=first.nonce)  # it has forgotten `a`
    talk.sotw_says(EDS, "a", "b", nonce=first.nonce)
    talk.sotw_says(EDS, "a", "b", nonce=second.nonce)
    talk.hears(EDS, {"a": "1"})
    talk.silence()


@both
def test_what_a_client_asked_for_between_two_rests_is_followed(delta: bool) -> None:
    """Who rests is told of what it reads alone, and that is another now."""
    talk = Talk(delta, {EDS: {"a": "1", "b": "1"}})
    talk.says(EDS, "a")
    talk.hears(EDS, {"a": "1"})
    talk.silence()
    talk.says(EDS, "b")
    talk.hears(EDS, {"b": "1"})
    talk.silence()
    marks = talk.becomes({EDS: {"a": "1", "b": "2"}})
    assert (dict(marks.names), marks.scopes) == ({EDS: {"b"}}, set())
    talk.hears(EDS, {"b": "2"})
    talk.silence()
