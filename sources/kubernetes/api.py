"""Requests to an API server: raw bytes over the connections and credentials of the `kubernetes` client."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException

from sources.kubernetes.access import ClusterAccess, LoadedConfiguration, NoCluster, load_configuration
from sources.kubernetes.events import Garbled, Json, Refusal, parse_refusal

FULL = "application/json"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
"""What the body of a PATCH is: RFC 7386, or the fields that an applier (`fieldManager` in the query) wants."""

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
SILENCE_SECONDS = 150.0
"""How long a watch may be silent: bookmarks come about every minute, but for collections in which nothing happened."""

_CLOSING_STEPS = 5

_ANSWERED = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)

# A peer that is gone without a word is noticed by the kernel after 15 + 3 * 5 seconds.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))


class Unreachable(Exception):
    """There was no whole answer: no connection, a broken one, a time-out."""


class Refused(Exception):
    """The server answered with something else than success. `retry_after` in seconds, 0 where it does not say."""

    def __init__(self, refusal: Refusal, retry_after: float = 0.0) -> None:
        super().__init__(refusal.message or refusal.reason or f"status {refusal.code}")
        self.refusal = refusal
        self.retry_after = retry_after


class Api:
    """One API server. `name` is its address, as people are told it."""

    def __init__(self, access: ClusterAccess, configuration: LoadedConfiguration, client: ApiClient) -> None:
        self._access = access
        self._configuration = configuration
        self._client = client
        self.name: str = configuration.host

    async def get(self, path: str, query: Mapping[str, str], accept: str = FULL) -> bytes:
        """The whole answer. Raises Unreachable, Refused."""
        async with self._answer("GET", path, query, {"Accept": accept}, _ANSWERED) as answer:
            body: bytes = await answer.read()
            return body

    async def write(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        query: Mapping[str, str] = MappingProxyType({}),
        content_type: str = FULL,
    ) -> Json:
        """POST, PUT, PATCH or DELETE; the object as it is then. Raises Unreachable, Refused, Garbled.

        After Unreachable it is not known whether it was done. `content_type` says what a PATCH's body is.
        """
        headers = {"Accept": FULL, "Content-Type": content_type}
        async with self._answer(method, path, query, headers, _ANSWERED, body) as answer:
            return _parse_object(await answer.read())

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], accept: str = FULL
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """An answer without an end, in the pieces in which it arrives. Raises Unreachable, Refused."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        async with self._answer("GET", path, query, {"Accept": accept}, timeout) as answer:
            yield answer.content.iter_any()

    async def renew(self) -> None:
        """Reads the credentials again: what a kubeconfig's program gave lasts for a while only. Raises Unreachable."""
        try:
            fresh = await load_configuration(self._access)
        except NoCluster as error:
            raise Unreachable(str(error)) from error
        self._configuration.api_key = fresh.api_key

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        body: Json | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            request = await self._client.param_serialize(
                method=method,
                resource_path=path,
                query_params=list(query.items()),
                header_params=dict(headers),
                body=body,
                auth_settings=["BearerToken"],
            )
            answer: aiohttp.ClientResponse = (await self._client.call_api(*request, _request_timeout=timeout)).response
            async with answer:
                if not 200 <= answer.status < 300:
                    refusal = parse_refusal(answer.status, await answer.read())
                    raise Refused(refusal, _seconds(answer.headers.get("Retry-After", "")))
                yield answer
        except (aiohttp.ClientError, ApiException, ConfigException, OSError, TimeoutError) as error:
            raise Unreachable(str(error) or type(error).__name__) from error


@asynccontextmanager
async def open_api(access: ClusterAccess) -> AsyncIterator[Api]:
    """The API server that `access` leads to. Raises NoCluster. Nothing is contacted yet."""
    configuration = await load_configuration(access)
    try:
        async with ApiClient(configuration) as client:
            client.user_agent = "heddle"
            client.rest_client = _Connections(configuration)
            yield Api(access, configuration, client)
    finally:
        # Connections over TLS close some steps later, also those that were being opened.
        for _ in range(_CLOSING_STEPS):
            await asyncio.sleep(0)


class _Connections(RESTClientObject):
    """The client's own, with connections that notice a dead peer."""

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=self.maxsize, ssl=self.ssl_context, socket_factory=_kept_alive)


def _kept_alive(address: Any) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


def _parse_object(body: bytes) -> Json:
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Garbled(f"the answer is no JSON: {error}") from None
    if not isinstance(decoded, dict):
        raise Garbled("the answer is no object")
    return decoded


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() and len(text) < 6 else 0.0
