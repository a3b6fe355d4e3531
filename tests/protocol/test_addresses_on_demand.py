"""Clusters of addresses that are asked for by name, beside the wildcard: each is answered, followed, and remembered."""

from __future__ import annotations

from tests.protocol.conversation import BROKEN, CDS, EDS, VHDS, version_of
from tests.protocol.on_demand import NOBODYS, OnDemandTalk
from xds.demand import DemandLimits

CLUSTERS = {"base": "1", "a": "1", "tcp|db": "1", "tcp|store": "1"}
WORLD = {CDS: CLUSTERS, VHDS: {"base80": "1"}, EDS: {"e": "1"}}


def opened(talk: OnDemandTalk) -> OnDemandTalk:
    """A client that has begun and asked for nothing."""
    talk.delta_says(CDS)
    talk.hears(CDS, {"base": "1"})
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"base80": "1"})
    talk.silence()
    return talk


def test_r33_every_address_is_answered_and_what_answers_is_followed() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(CDS, "tcp|db", "tcp|late")
    talk.hears(CDS, {"tcp|db": "1", "tcp|late": NOBODYS})
    talk.silence()
    talk.becomes({CDS: {**CLUSTERS, "tcp|db": "2", "tcp|late": "1"}})
    talk.hears(CDS, {"tcp|db": "2", "tcp|late": "1"})
    talk.becomes({CDS: {"base": "1"}})
    talk.hears(CDS, {"tcp|db": NOBODYS, "tcp|late": NOBODYS})
    talk.passes(days=10)
    talk.silence()


def test_r29_the_wildcard_stays_when_a_name_is_added() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(CDS, "tcp|db")
    talk.hears(CDS, {"tcp|db": "1"})
    talk.becomes({CDS: {**CLUSTERS, "base2": "1"}})
    talk.hears(CDS, {"base2": "1"})


def test_nothing_is_said_of_addresses_that_nobody_asked_for() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.becomes({CDS: {**CLUSTERS, "tcp|store": "2"}})
    talk.silence()


def test_a_refused_cluster_is_told_with_the_assignment_that_it_has() -> None:
    """Its own name says nothing of the service."""
    talk = opened(OnDemandTalk(world={**WORLD, CDS: {**CLUSTERS, "tcp|db": "uses e"}}))
    talk.delta_says(CDS, "tcp|db")
    talk.hears(CDS, {"tcp|db": "uses e"}, accept=False)
    talk.refuses(CDS)
    ((_, rejected),) = talk.stream.progress().rejected
    assert (rejected.name, rejected.needs) == ("tcp|db", {"e"})


def test_r41_the_endpoints_that_a_cluster_shares_with_another_are_sent_again() -> None:
    talk = opened(OnDemandTalk(world={**WORLD, CDS: {**CLUSTERS, "tcp|db": "uses e", "tcp|store": "uses e"}}))
    talk.delta_says(CDS, "tcp|db")
    talk.hears(CDS, {"tcp|db": "uses e"}, accept=False)
    talk.delta_says(EDS, "e")
    talk.hears(EDS, {"e": "1"})
    talk.accepts(CDS)
    talk.silence()
    # Envoy does not ask for the assignment a second time.
    talk.delta_says(CDS, "tcp|store")
    talk.hears(CDS, {"tcp|store": "uses e"}, accept=False)
    talk.hears(EDS, {"e": "1"})
    talk.accepts(CDS)
    talk.silence()


def test_r41_endpoints_follow_a_cluster_though_they_are_subscribed_to_after_it_was_sent() -> None:
    """A client that comes back names what it holds, type by type; it asks nothing for a new cluster that shares it."""
    talk = OnDemandTalk(world={**WORLD, CDS: {**CLUSTERS, "tcp|db": "uses e", "tcp|store": "uses e"}})
    held = {"base": version_of("base", "1"), "tcp|db": version_of("tcp|db", "uses e")}
    talk.delta_says(CDS, "*", "tcp|db", "tcp|store", initial=held)
    talk.hears(CDS, {"tcp|store": "uses e"}, accept=False)
    talk.delta_says(EDS, "e", initial={"e": version_of("e", "1")})
    talk.hears(EDS, {"e": "1"})
    talk.accepts(CDS)
    talk.silence()


def test_r34_a_client_that_comes_back_keeps_what_it_asked_for() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(CDS, "tcp|db", "tcp|nobody")
    versions = talk.hears(CDS, {"tcp|db": "1", "tcp|nobody": NOBODYS}).versions
    talk.world = {**WORLD, CDS: {**CLUSTERS, "tcp|nobody": "1"}}
    talk.memo = talk.new_memo()  # another control plane, and a service that came meanwhile
    talk.history = type(talk.history)()
    talk.reconnect()
    held = {**versions, "base": version_of("base", "1")}
    talk.delta_says(CDS, "*", "tcp|db", "tcp|nobody", "tcp|new", initial=held)
    talk.hears(CDS, {"tcp|nobody": "1", "tcp|new": NOBODYS})
    talk.passes(hours=5)
    talk.silence()


def test_an_address_that_cannot_be_derived_comes_as_soon_as_it_can() -> None:
    talk = opened(OnDemandTalk(world={**WORLD, CDS: {**CLUSTERS, "tcp|db": BROKEN}}))
    talk.delta_says(CDS, "tcp|db")
    talk.silence()
    talk.becomes({CDS: CLUSTERS})
    talk.hears(CDS, {"tcp|db": "1"})
    talk.silence()


def test_a_pod_that_starts_anew_is_sent_ahead_what_its_workload_used() -> None:
    talk = opened(OnDemandTalk(world=WORLD))
    talk.delta_says(CDS, "tcp|db", "tcp|nobody")
    talk.hears(CDS, {"tcp|db": "1", "tcp|nobody": NOBODYS})
    talk.reconnect()
    talk.delta_says(CDS)
    talk.hears(CDS, {"base": "1", "tcp|db": "1"})
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"base80": "1"})
    # Taken back once, to see; what is asked for then stays.
    talk.passes(minutes=30)
    talk.hears(CDS, removed=("tcp|db",))
    talk.silence()
    talk.delta_says(CDS, "tcp|db")
    talk.hears(CDS, {"tcp|db": "1"})
    talk.passes(hours=5)
    talk.silence()


def test_what_an_earlier_stream_sent_ahead_is_still_ahead() -> None:
    talk = OnDemandTalk(world=WORLD)
    held = {name: version_of(name, "1") for name in ("base", "tcp|db")}
    talk.delta_says(CDS, initial=held)
    talk.silence()
    talk.delta_says(VHDS)
    talk.hears(VHDS, {"base80": "1"})
    talk.passes(minutes=29)
    talk.silence()
    talk.passes(minutes=1)
    talk.hears(CDS, removed=("tcp|db",))


def test_addresses_that_are_nobodys_have_a_bound_of_their_own() -> None:
    talk = opened(OnDemandTalk(world=WORLD, limits=DemandLimits(nobodys=0, passing=0, addresses=2)))
    talk.delta_says(CDS, "tcp|db", "tcp|store", "tcp|1", "tcp|2", "outbound|80||invented")
    talk.hears(
        CDS,
        {"tcp|db": "1", "tcp|store": "1", "tcp|1": NOBODYS, "tcp|2": NOBODYS},
        removed=("outbound|80||invented",),
    )
    assert not talk.stream.excessive
    talk.becomes({CDS: {**CLUSTERS, "tcp|1": "1"}})
    talk.hears(CDS, {"tcp|1": "1"})
    talk.delta_says(CDS, "tcp|3")
    talk.hears(CDS, {"tcp|3": NOBODYS})
    assert not talk.stream.excessive, "tcp|1 is somebody's now"
    talk.becomes({CDS: CLUSTERS})
    assert talk.stream.excessive
