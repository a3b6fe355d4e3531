"""The keys with which the cluster signs its pods' tokens, as its API server publishes them, kept and read again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from sds.key_set import NoKeySet, parse_issuer, parse_key_set
from sds.tokens import TokenKeys
from sources.kubernetes.api import Api, Refused, Unreachable

METADATA_PATH = "/.well-known/openid-configuration"
KEYS_PATH = "/openid/v1/jwks"
"""Where an API server has them, whatever address its metadata gives: that may be anywhere, and is for others."""

KEY_SET = "application/jwk-set+json"
"""As what an API server gives them: it refuses whoever asks for JSON."""

REFRESH_SECONDS = 300.0
"""How often they are read; up to a tenth more or less, so that replicas do not ask together."""
RETRY_SECONDS = 10.0
LEAST_SECONDS = 2.0
"""How long a reading counts as new: so often can tokens of unknown keys make us ask."""

_log = structlog.get_logger()


class IssuerKeys:
    """`keys` None: there were none yet. They are kept when the API server is away.

    `jitter` answers numbers from -1 to 1.
    """

    def __init__(self, api: Api, *, jitter: Callable[[], float]) -> None:
        self.keys: TokenKeys | None = None
        self._api = api
        self._jitter = jitter
        self._reading = asyncio.Lock()
        self._read_at: float | None = None
        self._unreachable: Unreachable | None = None

    async def look_again(self) -> None:
        """Reads them unless that was just done. Raises Unreachable; what else went wrong leaves them as they were."""
        async with self._reading:
            now = asyncio.get_running_loop().time()
            if self._read_at is None or now - self._read_at >= LEAST_SECONDS:
                await self._read()
        if self._unreachable is not None:
            raise self._unreachable

    async def run(self) -> None:
        """Keeps them as they are published, until cancelled."""
        while True:
            wait = RETRY_SECONDS if self._unreachable is not None else REFRESH_SECONDS
            await asyncio.sleep(wait * (1 + self._jitter() / 10))
            async with self._reading:
                await self._read()

    async def _read(self) -> None:
        self._unreachable = None
        try:
            issuer = parse_issuer(await self._api.get(METADATA_PATH, {}))
            published = await self._api.get(KEYS_PATH, {}, accept=KEY_SET)
            keys = TokenKeys(issuer=issuer, by_id=parse_key_set(published))
        except Unreachable as error:
            self._unreachable = error
            _log.warning("identity.issuer_unreachable", server=self._api.name, reason=str(error))
        except (Refused, NoKeySet) as error:
            # Some clusters publish none, or not to us. Then each token is reviewed by the API server.
            _log.warning("identity.issuer_unreadable", server=self._api.name, reason=str(error))
        else:
            if keys != self.keys:
                _log.info("identity.issuer_keys", issuer=issuer, keys=tuple(keys.by_id))
            self.keys = keys
        self._read_at = asyncio.get_running_loop().time()
