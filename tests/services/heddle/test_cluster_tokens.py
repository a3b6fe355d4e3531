"""Tokens in a cluster: what is decided here, what the API server is asked, how often, and what if it is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from heddle.cluster import issuer_keys
from heddle.cluster.budget import Budget, Spent
from heddle.cluster.issuer_keys import KEYS_PATH, METADATA_PATH, IssuerKeys
from heddle.cluster.pod_lookup import PodLookup
from heddle.cluster.pod_tokens import ClusterTokens
from heddle.cluster.token_review import TokenReviewer, parse_account_review, parse_review
from sds.keyfiles import new_key
from sds.tokens import ADMIN_AUDIENCE, ADMIN_TOKENS, AUDIENCE, POD_TOKENS, Account, Caller, CannotTell, TokenRefused
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import Api, open_api
from tests.kubernetes_api import objects
from tests.kubernetes_api.issuer import FakeIssuer, accepted, key_id, new_rsa_key
from tests.kubernetes_api.server import FakeApiServer, Refuse, running

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
CALLER = Caller(namespace="shop", service_account="web", pod_name="web-1", pod_uid="uid-web-1")
OLD, NEW, OTHER = FakeIssuer(new_rsa_key()), FakeIssuer(new_rsa_key()), FakeIssuer(new_key())


class Trial:
    """A cluster whose issuer has published OLD's key; `moment` is what the clock says."""

    def __init__(self, server: FakeApiServer, api: Api) -> None:
        self.server = server
        self.server_api = api
        self.moment = NOW
        self.keys = IssuerKeys(api, jitter=lambda: 0.0)
        self.budget = Budget(per_second=3, at_once=2, seconds=lambda: self.moment.timestamp())
        reviewer = TokenReviewer(api, self.budget, now=lambda: self.moment, audience=AUDIENCE, to_holder=parse_review)
        self.tokens = ClusterTokens(POD_TOKENS, self.keys, reviewer, now=lambda: self.moment)

    def read(self, path: str) -> int:
        return self.server.requests.count(path)


@asynccontextmanager
async def trial(folder: Path) -> AsyncIterator[Trial]:
    async with running(FakeApiServer()) as server:
        OLD.publish(server)
        async with open_api(ClusterAccess(kubeconfig=server.write_kubeconfig(folder / "config"))) as api:
            found = Trial(server, api)
            await found.keys.look_again()
            yield found


async def test_a_known_key_needs_nobody(tmp_path: Path) -> None:
    async with trial(tmp_path) as found:
        await found.server.stop()
        assert await found.tokens.verify(OLD.mint(CALLER, NOW)) == CALLER
        await found.server.start()
        assert (found.read(KEYS_PATH), found.read(METADATA_PATH), found.server.reviewed) == (1, 1, [])


async def test_a_new_key_is_fetched_when_it_is_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_keys, "LEAST_SECONDS", 0.0)
    async with trial(tmp_path) as found:
        OLD.publish(found.server, OLD.key, NEW.key)
        assert await found.tokens.verify(NEW.mint(CALLER, NOW)) == CALLER
        assert await found.tokens.verify(OLD.mint(CALLER, NOW)) == CALLER
        assert (found.read(KEYS_PATH), found.server.reviewed) == (2, [])


async def test_unknown_keys_do_not_make_us_ask_all_the_time(tmp_path: Path) -> None:
    async with trial(tmp_path) as found:
        for number in range(3):
            with pytest.raises(TokenRefused):
                await found.tokens.verify(NEW.mint(CALLER, NOW, jti=str(number)))
        assert (found.read(KEYS_PATH), len(found.server.reviewed)) == (1, 3)
        with pytest.raises(CannotTell) as unknown:
            await found.tokens.verify(NEW.mint(CALLER, NOW, jti="one too many"))
        assert unknown.value.reason == "too many reviews"


async def test_what_no_key_would_help_is_not_asked_about(tmp_path: Path) -> None:
    async with trial(tmp_path) as found:
        for token in (
            "",
            "garbage",
            NEW.mint(CALLER, NOW, aud=["https://kubernetes.default.svc"]),
            NEW.mint(CALLER, NOW - timedelta(hours=2)),
            NEW.mint(CALLER, NOW, iss="https://other"),
            OLD.mint(CALLER, NOW, iss="https://other"),
            NEW.mint(CALLER, NOW, **{"kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "web"}}}),
        ):
            with pytest.raises(TokenRefused):
                await found.tokens.verify(token)
        assert found.server.reviewed == []


async def test_a_review_asks_for_our_audience_and_is_kept_for_a_minute(tmp_path: Path) -> None:
    async with trial(tmp_path) as found:
        found.server.review = lambda spec: accepted(CALLER)
        token = NEW.mint(CALLER, NOW, exp=int(NOW.timestamp()) + 90)
        for seconds, reviews in ((0, 1), (59, 1), (60, 2), (89, 2)):
            found.moment = NOW + timedelta(seconds=seconds)
            assert await found.tokens.verify(token) == CALLER
            assert found.server.reviewed == [{"token": token, "audiences": ["heddle"]}] * reviews
        found.moment = NOW + timedelta(seconds=90)
        with pytest.raises(TokenRefused):
            await found.tokens.verify(token)


async def test_a_refusal_is_kept_for_five_seconds(tmp_path: Path) -> None:
    async with trial(tmp_path) as found:
        token = NEW.mint(CALLER, NOW)
        for seconds, reviews in ((0, 1), (4, 1), (5, 2)):
            found.moment = NOW + timedelta(seconds=seconds)
            with pytest.raises(TokenRefused):
                await found.tokens.verify(token)
            assert len(found.server.reviewed) == reviews


async def test_an_answer_that_is_another_s_is_not_believed(tmp_path: Path) -> None:
    async with trial(tmp_path) as found:
        other = Caller(namespace="shop", service_account="web", pod_name="web-2", pod_uid="uid-web-2")
        found.server.review = lambda spec: accepted(other)
        with pytest.raises(TokenRefused):
            await found.tokens.verify(NEW.mint(CALLER, NOW))


async def test_while_the_api_server_is_away_an_unknown_key_is_neither_good_nor_bad(tmp_path: Path) -> None:
    async with trial(tmp_path) as found:
        await found.server.stop()
        with pytest.raises(CannotTell):
            await found.tokens.verify(NEW.mint(CALLER, NOW))
        found.server.review = lambda spec: accepted(CALLER)
        await found.server.start()
        assert await found.tokens.verify(NEW.mint(CALLER, NOW)) == CALLER


async def test_a_review_holds_for_its_minute_without_the_api_server(tmp_path: Path) -> None:
    async with trial(tmp_path) as found:
        found.server.review = lambda spec: accepted(CALLER)
        token = NEW.mint(CALLER, NOW)
        assert await found.tokens.verify(token) == CALLER
        await found.server.stop()
        found.moment = NOW + timedelta(seconds=59)
        assert await found.tokens.verify(token) == CALLER
        found.moment = NOW + timedelta(seconds=60)
        with pytest.raises(CannotTell):
            await found.tokens.verify(token)
        await found.server.start()


async def test_where_no_keys_are_published_everything_is_reviewed(tmp_path: Path) -> None:
    async with running(FakeApiServer()) as server:
        async with open_api(ClusterAccess(kubeconfig=server.write_kubeconfig(tmp_path / "config"))) as api:
            found = Trial(server, api)
            server.review = lambda spec: accepted(CALLER)
            await found.keys.look_again()
            assert found.keys.keys is None
            assert await found.tokens.verify(OLD.mint(CALLER, NOW)) == CALLER


async def test_keys_are_kept_when_what_is_published_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_keys, "LEAST_SECONDS", 0.0)
    async with trial(tmp_path) as found:
        found.server.documents[KEYS_PATH] = {"keys": 7}
        await found.keys.look_again()
        found.server.refuse[METADATA_PATH] = Refuse(403)
        await found.keys.look_again()
        assert await found.tokens.verify(OLD.mint(CALLER, NOW)) == CALLER


async def test_they_are_read_again_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer_keys, "REFRESH_SECONDS", 0.001)
    async with trial(tmp_path) as found:
        OTHER.publish(found.server)
        reading = asyncio.create_task(found.keys.run())
        try:
            async with asyncio.timeout(20):
                while (held := found.keys.keys) is None or key_id(OTHER.key) not in held.by_id:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
        finally:
            reading.cancel()
        assert await found.tokens.verify(OTHER.mint(CALLER, NOW)) == CALLER


Change = Callable[[Any], object]
NOT_ENOUGH: dict[str, Change] = {
    "not authenticated": lambda status: status.update(authenticated=False),
    "authenticated as text": lambda status: status.update(authenticated="true"),
    "an error beside it": lambda status: status.update(error="x"),
    "no audiences, as from who knows of none": lambda status: status.pop("audiences"),
    "other audiences": lambda status: status.update(audiences=["https://kubernetes.default.svc"]),
    "audiences as text": lambda status: status.update(audiences="heddle"),
    "no user": lambda status: status.pop("user"),
    "no groups": lambda status: status["user"].pop("groups"),
    "other groups": lambda status: status["user"].update(groups=["system:authenticated"]),
    "a person": lambda status: status["user"].update(username="admin"),
    "five parts": lambda status: status["user"].update(username="system:serviceaccount:shop:web:x"),
    "three parts": lambda status: status["user"].update(username="system:serviceaccount:shop"),
    "a node": lambda status: status["user"].update(username="system:node:shop:web"),
    "no label": lambda status: status["user"].update(username="system:serviceaccount:Shop:web"),
    "unbound": lambda status: status["user"].pop("extra"),
    "no uid": lambda status: status["user"]["extra"].pop("authentication.kubernetes.io/pod-uid"),
    "two names": lambda status: status["user"]["extra"].update({"authentication.kubernetes.io/pod-name": ["a", "b"]}),
}


@pytest.mark.parametrize("change", NOT_ENOUGH.values(), ids=NOT_ENOUGH.keys())
def test_reviews_that_are_not_enough(change: Change) -> None:
    status = accepted(CALLER)
    assert parse_review(status) == CALLER
    change(status)
    with pytest.raises(TokenRefused):
        parse_review(status)


@pytest.mark.parametrize("status", [None, [], "x", {}])
def test_no_review(status: object) -> None:
    with pytest.raises(TokenRefused):
        parse_review(status)


def test_a_budget_fills_again_and_bounds_what_runs_at_once() -> None:
    moment = 0.0
    budget = Budget(per_second=4, at_once=2, seconds=lambda: moment)

    def spend() -> bool:
        try:
            with budget.spend():
                return True
        except Spent:
            return False

    assert [spend() for _ in range(5)] == [True] * 4 + [False]
    moment = 0.5
    assert [spend() for _ in range(3)] == [True, True, False]
    moment = 100.0
    with budget.spend(), budget.spend():
        assert not spend()
    assert spend()


async def test_a_pod_is_looked_up_once_it_is_gone_no_more(tmp_path: Path) -> None:
    async with running(FakeApiServer()) as server:
        server.put(objects.pod("web-1", "10.0.0.1"))
        async with open_api(ClusterAccess(kubeconfig=server.write_kubeconfig(tmp_path / "config"))) as api:
            lookup = PodLookup(api, Budget(per_second=9, at_once=9, seconds=lambda: 0.0))
            assert await lookup.exists(CALLER)
            for name, uid, account in (
                ("web-1", "other", "web"),
                ("web-1", CALLER.pod_uid, "admin"),
                ("w", "u", "web"),
            ):
                other = Caller(namespace="shop", service_account=account, pod_name=name, pod_uid=uid)
                assert not await lookup.exists(other)
                asked = len(server.requests)
                assert not await lookup.exists(other)
                assert len(server.requests) == asked
            await server.stop()
            with pytest.raises(CannotTell):
                await lookup.exists(CALLER)


async def test_a_pod_that_has_ended_is_gone(tmp_path: Path) -> None:
    async with running(FakeApiServer()) as server:
        ended = objects.pod("web-1", "10.0.0.1")
        ended["status"]["phase"] = "Succeeded"
        server.put(ended)
        async with open_api(ClusterAccess(kubeconfig=server.write_kubeconfig(tmp_path / "config"))) as api:
            lookup = PodLookup(api, Budget(per_second=9, at_once=9, seconds=lambda: 0.0))
            assert not await lookup.exists(CALLER)


ADMIN = {"aud": ["heddle-admin"]}
READER = Account(namespace="heddle-system", name="heddle-reader")
UNBOUND = {
    "kubernetes.io": {"namespace": "heddle-system", "serviceaccount": {"name": "heddle-reader", "uid": "u"}},
    "sub": "system:serviceaccount:heddle-system:heddle-reader",
}


def account_tokens(found: Trial) -> ClusterTokens[Account]:
    reviewer = TokenReviewer(
        found.server_api,
        found.budget,
        now=lambda: found.moment,
        audience=ADMIN_AUDIENCE,
        to_holder=parse_account_review,
    )
    return ClusterTokens(ADMIN_TOKENS, found.keys, reviewer, now=lambda: found.moment)


async def test_a_token_for_questions_may_be_bound_to_no_pod(tmp_path: Path) -> None:
    async with trial(tmp_path) as found:
        tokens = account_tokens(found)
        assert await tokens.verify(OLD.mint(CALLER, NOW, **ADMIN, **UNBOUND)) == READER
        bound = Account(namespace="shop", name="web", pod=CALLER)
        assert await tokens.verify(OLD.mint(CALLER, NOW, **ADMIN)) == bound
        hour = int(NOW.timestamp()) + 3600
        for claims, reason in (
            ({}, "InvalidAudience"),
            ({**ADMIN, "exp": hour + 1}, "longer than an hour"),
            ({**ADMIN, **UNBOUND, "sub": "system:serviceaccount:heddle-system:other"}, "the subject"),
            ({**ADMIN, "kubernetes.io": {"namespace": "shop"}}, "of no service account"),
            ({**ADMIN, "kubernetes.io": {**UNBOUND["kubernetes.io"], "pod": {}}, "sub": UNBOUND["sub"]}, "to a pod"),
        ):
            with pytest.raises(TokenRefused) as refused:
                await tokens.verify(OLD.mint(CALLER, NOW, **claims))
            assert reason in refused.value.reason
        with pytest.raises(TokenRefused, match="not accepted"):
            await found.tokens.verify(OLD.mint(CALLER, NOW, **ADMIN))


async def test_a_token_for_questions_is_reviewed_where_its_key_is_unknown(tmp_path: Path) -> None:
    async with trial(tmp_path) as found:
        tokens = account_tokens(found)
        status = accepted(CALLER)
        status["audiences"] = ["heddle-admin"]
        status["user"]["username"] = "system:serviceaccount:heddle-system:heddle-reader"
        del status["user"]["extra"]
        found.server.review = lambda _: status
        token = OTHER.mint(CALLER, NOW, **ADMIN, **UNBOUND)
        assert await tokens.verify(token) == READER
        assert found.server.reviewed == [{"token": token, "audiences": ["heddle-admin"]}]
        status["user"]["username"] = "system:serviceaccount:heddle-system:another"
        with pytest.raises(TokenRefused) as refused:
            await tokens.verify(OTHER.mint(CALLER, NOW, jti="2", **ADMIN, **UNBOUND))
        assert "another's" in refused.value.reason
