"""What the API server says of a token whose key we do not know: TokenReview, for our audience and nothing less."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic

from heddle.cluster.budget import Budget, Spent
from sds.tokens import AUDIENCE, Account, Caller, CannotTell, Claimed, HolderT, TokenRefused
from sources.kubernetes.api import Api, Refused, Unreachable
from sources.kubernetes.events import Garbled

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCEPTED_FOR = timedelta(seconds=60)
REFUSED_FOR = timedelta(seconds=5)
MOST_KEPT = 4096
GROUP = "system:serviceaccounts"
POD_NAME, POD_UID = "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer(Generic[HolderT]):
    caller: HolderT | None
    reason: str
    until: datetime

    def result(self) -> HolderT:
        """Raises TokenRefused."""
        if self.caller is None:
            raise TokenRefused(self.reason)
        return self.caller


class TokenReviewer(Generic[HolderT]):
    """Answers are kept by the token's hash: a good one for a minute and never past the token's end, others for 5 s.

    `to_holder` says whom a review's status proves, for `audience`, or raises TokenRefused. `now` is the wall clock,
    aware.
    """

    def __init__(
        self,
        api: Api,
        budget: Budget,
        *,
        now: Callable[[], datetime],
        audience: str,
        to_holder: Callable[[object, str], HolderT],
    ) -> None:
        self._api = api
        self._budget = budget
        self._now = now
        self._audience = audience
        self._to_holder = to_holder
        self._answers: OrderedDict[bytes, _Answer[HolderT]] = OrderedDict()

    def remembered(self, token: str) -> HolderT | None:
        """What was answered a moment ago, None for nothing. Raises TokenRefused."""
        answer = self._answers.get(_hash(token))
        return answer.result() if answer is not None and self._now() < answer.until else None

    async def review(self, token: str, claimed: Claimed[HolderT]) -> HolderT:
        """Who calls, which is who it says it is (`claimed`). Raises TokenRefused, CannotTell."""
        answer = await self._ask(token, claimed)
        name = _hash(token)
        self._answers[name] = answer
        self._answers.move_to_end(name)
        if len(self._answers) > MOST_KEPT:
            self._answers.popitem(last=False)
        return answer.result()

    async def _ask(self, token: str, claimed: Claimed[HolderT]) -> _Answer[HolderT]:
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self._audience]},
        }
        try:
            with self._budget.spend():
                review = await self._api.write("POST", PATH, asked)
        except Spent:
            raise CannotTell("too many reviews") from None
        except (Unreachable, Garbled):
            # Without the text: it may quote what was sent.
            raise CannotTell("the API server cannot be asked") from None
        except Refused as error:
            raise CannotTell(f"the API server refuses reviews: {error.refusal.code}") from None
        try:
            caller = self._to_holder(review.get("status"), self._audience)
            if caller != claimed.caller:
                raise TokenRefused("reviewed: it is another's")
        except TokenRefused as refused:
            return _Answer(caller=None, reason=refused.reason, until=self._now() + REFUSED_FOR)
        return _Answer(caller=caller, reason="", until=min(self._now() + ACCEPTED_FOR, claimed.ends))


def parse_review(status: object, audience: str = AUDIENCE) -> Caller:
    """The pod that a TokenReview's status proves. Raises TokenRefused.

    An authenticator that does not know of audiences answers without ours, and is not believed.
    Source: Kubernetes TokenReviewStatus.
    """
    pod = parse_account_review(status, audience).pod
    if pod is None:
        raise TokenRefused("reviewed: not bound to a pod")
    return pod


def parse_account_review(status: object, audience: str) -> Account:
    """The same of a token that may be bound to no pod."""
    if not isinstance(status, Mapping):
        raise TokenRefused("reviewed: there is no answer")
    if status.get("authenticated") is not True or status.get("error"):
        raise TokenRefused("reviewed: not authenticated")
    if audience not in _texts(status.get("audiences")):
        raise TokenRefused("reviewed: not for our audience")
    user = status.get("user")
    if not isinstance(user, Mapping) or GROUP not in _texts(user.get("groups")):
        raise TokenRefused("reviewed: no service account")
    parts = str(user.get("username")).split(":")
    if len(parts) != 4 or parts[:2] != ["system", "serviceaccount"]:
        raise TokenRefused("reviewed: no service account")
    extra = user.get("extra")
    pod_name, pod_uid = (_texts(extra.get(name)) if isinstance(extra, Mapping) else () for name in (POD_NAME, POD_UID))
    if (len(pod_name), len(pod_uid)) not in ((0, 0), (1, 1)):
        raise TokenRefused("reviewed: bound to something else than one pod")
    try:
        pod = (
            Caller(namespace=parts[2], service_account=parts[3], pod_name=pod_name[0], pod_uid=pod_uid[0])
            if pod_name
            else None
        )
        return Account(namespace=parts[2], name=parts[3], pod=pod)
    except ValueError as error:
        raise TokenRefused(f"reviewed: {error}") from None


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()
