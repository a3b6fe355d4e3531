"""Rules on secrets: made per stream, renewed on it, never removed, never shown."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.protocol.conversation import BEGINNING, CDS, SDS, Talk, version_of
from xds.events import SecretFailed
from xds.memo import Marks
from xds.violation import MAX_SECRETS, Violation

both = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


@both
def test_r10_a_new_stream_gets_a_new_secret_versioned_by_its_serial(delta: bool) -> None:
    talk = Talk(delta, {})
    talk.says(SDS, "default")
    heard = talk.hears(SDS, {"default": "1"})
    assert heard.versions == ({"default": "1"} if delta else {})
    talk.keys.renew(talk.now)
    talk.reconnect()
    if delta:
        talk.delta_says(SDS, "default", initial={"default": "1"})
    else:
        talk.sotw_says(SDS, "default")
    talk.hears(SDS, {"default": "2"})


@both
def test_r10_secrets_are_renewed_on_the_stream_when_they_are_due(delta: bool) -> None:
    talk = Talk(delta, {})
    talk.says(SDS, "default")
    talk.hears(SDS, {"default": "1"})
    assert talk.stream.wake_at() == BEGINNING + timedelta(minutes=30)
    talk.passes(minutes=29)
    talk.silence()
    talk.passes(minutes=1)
    talk.hears(SDS, {"default": "2"})
    assert talk.stream.wake_at() == BEGINNING + timedelta(minutes=60)


@both
def test_a_renewal_that_fails_is_tried_again_and_the_old_secret_stays(delta: bool) -> None:
    talk = Talk(delta, {})
    talk.says(SDS, "default")
    talk.hears(SDS, {"default": "1"})
    talk.keys.broken = True
    talk.passes(minutes=30)
    talk.silence()
    assert [type(event) for event in talk.events] == [SecretFailed]
    talk.keys.broken = False
    wake = talk.stream.wake_at()
    assert wake is not None
    talk.passes(seconds=(wake - talk.now).total_seconds())
    talk.hears(SDS, {"default": "2"})


@both
def test_a_secret_that_cannot_be_made_leaves_everything_else_alone(delta: bool) -> None:
    talk = Talk(delta, {CDS: {"a": "1"}})
    talk.keys.broken = True
    talk.says(SDS, "default")
    talk.says(CDS)
    talk.hears(CDS, {"a": "1"})
    assert [type(event) for event in talk.events] == [SecretFailed]


@both
def test_r39_an_unknown_secret_is_not_removed(delta: bool) -> None:
    talk = Talk(delta, {})
    talk.says(SDS, "unknown")
    talk.silence()


@both
def test_r44_secrets_do_not_wait_for_clusters(delta: bool) -> None:
    talk = Talk(delta, {CDS: {"a": "1"}})
    talk.says(CDS)
    talk.hears(CDS, {"a": "1"}, accept=False)
    talk.says(SDS, "default")
    talk.hears(SDS, {"default": "1"})


@both
def test_a_secret_replaced_before_it_was_due_is_sent_when_told(delta: bool) -> None:
    talk = Talk(delta, {})
    talk.says(SDS, "default")
    talk.hears(SDS, {"default": "1"})
    talk.keys.renew(talk.now)
    talk.silence()
    talk.stream.secrets_changed()
    talk.hears(SDS, {"default": "2"})


def test_secrets_are_not_in_what_is_shown() -> None:
    talk = Talk(True, {})
    talk.delta_says(SDS, "default")
    talk.hears(SDS, {"default": "1"})
    (state,) = talk.stream.state().types
    (shown,) = state.acknowledged
    assert (shown.name, shown.version, shown.packed, bytes(shown.body)) == ("default", "1", b"", b"")
    assert version_of("default", "1") not in repr(state)


def test_the_number_of_secrets_is_bounded() -> None:
    talk = Talk(True, {})
    with pytest.raises(Violation):
        talk.delta_says(SDS, *(f"s{number}" for number in range(MAX_SECRETS + 1)))


@both
def test_a_snapshot_that_marks_nothing_leaves_to_do_what_was_to_be_done_before(delta: bool) -> None:
    """The server marks a stream itself, of a gateway or a relabelled pod, and wakes it by what its snapshot says."""
    talk = Talk(delta, {CDS: {"a": "1"}})
    talk.says(SDS, "default")
    talk.hears(SDS, {"default": "1"})
    talk.says(CDS)
    talk.hears(CDS, {"a": "1"})
    talk.silence()
    assert not talk.is_told(Marks(), talk.generation + 1)
    talk.stream.secrets_changed()
    assert talk.is_told(Marks(), talk.generation + 1)
    assert not talk.stream.acknowledged(talk.generation)
    talk.silence()
    talk.stream.reassign(talk.stream.asker)
    assert talk.is_told(Marks(), talk.generation + 1)
    talk.silence()
    assert not talk.is_told(Marks(), talk.generation + 1)
    assert talk.stream.acknowledged(talk.generation)
