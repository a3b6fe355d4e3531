"""Tokens of a cluster: checked here by the issuer's keys, and by the API server only where those do not do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Generic

from heddle.cluster.issuer_keys import IssuerKeys
from heddle.cluster.token_review import TokenReviewer
from sds.tokens import CannotTell, Claimed, HolderT, TokenKind, TokenRefused, UnknownSigner
from sources.kubernetes.api import Unreachable

ASK_SECONDS = 5.0
"""How long a stream waits for what the API server says. Then it is told to come again."""


class ClusterTokens(Generic[HolderT]):
    """Tokens of one kind; of pods' see `heddle.admission.PodTokens`. `now` is the wall clock, aware."""

    def __init__(
        self,
        kind: TokenKind[HolderT],
        keys: IssuerKeys,
        reviewer: TokenReviewer[HolderT],
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._kind = kind
        self._keys = keys
        self._reviewer = reviewer
        self._now = now

    async def verify(self, text: str) -> HolderT:
        """Who holds a token. Raises TokenRefused, CannotTell."""
        known = self._verify_here(text) or self._reviewer.remembered(text)
        if known is not None:
            return known
        claimed = self._kind.read(text, now=self._now())
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await self._ask(text, claimed)
        except TimeoutError:
            raise CannotTell("the API server does not answer") from None

    async def _ask(self, text: str, claimed: Claimed[HolderT]) -> HolderT:
        try:
            await self._keys.look_again()
        except Unreachable:
            raise CannotTell("its key is unknown, and the API server cannot be reached") from None
        known = self._verify_here(text)
        if known is not None:
            return known
        if self._keys.keys is not None and claimed.issuer != self._keys.keys.issuer:
            raise TokenRefused("issued by another issuer")
        return await self._reviewer.review(text, claimed)

    def _verify_here(self, text: str) -> HolderT | None:
        """None: by the keys we have nothing can be said. Raises TokenRefused."""
        if self._keys.keys is None:
            return None
        try:
            return self._kind.verify(text, keys=self._keys.keys, now=self._now())
        except UnknownSigner:
            return None
