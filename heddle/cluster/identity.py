"""Identity in a cluster: its pods' own tokens, and an authority in a Secret that all replicas share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from heddle import clock
from heddle.cluster.authority_secret import AuthoritySecret
from heddle.cluster.budget import Budget
from heddle.cluster.issuer_keys import IssuerKeys
from heddle.cluster.pod_lookup import PodLookup
from heddle.cluster.pod_tokens import ClusterTokens
from heddle.cluster.root_config_maps import RootConfigMaps
from heddle.cluster.token_review import TokenReviewer, parse_account_review, parse_review
from sds.authority import Authority
from sds.tokens import ADMIN_AUDIENCE, ADMIN_TOKENS, AUDIENCE, POD_TOKENS
from sources.kubernetes.api import Api, Unreachable

REVIEWS_PER_SECOND = 50
REQUESTS_AT_ONCE = 10
_RETRY_SECONDS = 1.0


class ClusterIdentity:
    """`tokens` and `pods` are for the admission, `admin_tokens` for questions; `authority` None until `load`.

    `now` is the wall clock, aware.
    """

    def __init__(self, api: Api, *, namespace: str, now: Callable[[], datetime], jitter: Callable[[], float]) -> None:
        self.authority: Authority | None = None
        self._keys = IssuerKeys(api, jitter=jitter)
        pods = TokenReviewer(api, _budget(), now=now, audience=AUDIENCE, to_holder=parse_review)
        self.tokens = ClusterTokens(POD_TOKENS, self._keys, pods, now=now)
        accounts = TokenReviewer(api, _budget(), now=now, audience=ADMIN_AUDIENCE, to_holder=parse_account_review)
        self.admin_tokens = ClusterTokens(ADMIN_TOKENS, self._keys, accounts, now=now)
        self.pods = PodLookup(api, _budget())
        self._secret = AuthoritySecret(api, namespace=namespace, now=now, jitter=jitter)
        self.root_config_maps = RootConfigMaps(api, bundle=self._bundle, jitter=jitter)

    async def load(self, trust_domain: str) -> Authority:
        """Reads, or makes, all that is needed before the first stream; waits while the API server is away.

        Raises KeyFileError if the authority's Secret cannot be used.
        """
        self.authority = await self._secret.load_or_create(trust_domain)
        while True:
            try:
                await self._keys.look_again()
            except Unreachable:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return self.authority

    async def run(self) -> None:
        """After `load`, until cancelled: keeps the issuer's keys and the authority as they are in the cluster."""
        assert self.authority is not None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keys.run())
            tasks.create_task(self._secret.follow(self.authority, self._take))

    def _take(self, authority: Authority) -> None:
        self.authority = authority

    def _bundle(self) -> bytes:
        assert self.authority is not None
        return self.authority.trust_bundle


def _budget() -> Budget:
    return Budget(per_second=REVIEWS_PER_SECOND, at_once=REQUESTS_AT_ONCE, seconds=clock.monotonic)
