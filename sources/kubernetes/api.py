"""Requests to an API server: raw bytes over the connections and credentials of the `kubernetes` client."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from weakref import WeakSet

import aiohttp
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException

from sources.kubernetes.access import ClusterAccess, LoadedConfiguration, NoCluster, load_configuration, no_cluster
from sources.kubernetes.events import Garbled, Json, Refusal, parse_refusal

FULL = "application/json"
FULL_PODS = "application/vnd.kubernetes.protobuf,application/json"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
"""What the body of a PATCH is: RFC 7386, or the fields that an applier (`fieldManager` in the query) wants."""

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
SILENCE_SECONDS = 150.0
"""How long a watch may be silent: bookmarks come about every minute, but for collections in which nothing happened."""

_UNAUTHORIZED = 401
_CLOSING_SECONDS = 2.0
_CLOSING_STEPS = 400

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
    """One API server. `name` is its address, as people are told it.

    Credentials that it does not accept any more, and authorities that its certificate is not from, are read again
    before the next request.
    """

    def __init__(self, access: ClusterAccess, client: ApiClient) -> None:
        self._access = access
        self._client = client
        self._files = _read_files(client.configuration)
        self._doubted = False
        self._renewing = asyncio.Lock()
        self._renewals = 0
        self._failure = ""
        self.name: str = client.configuration.host

    async def get(
        self,
        path: str,
        query: Mapping[str, str],
        accept: str = FULL,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> bytes:
        """The whole answer. Raises Unreachable, Refused."""
        async with self._answer("GET", path, query, {"Accept": accept, **headers}, _ANSWERED) as answer:
            return await _read(answer)

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
            return _parse_object(await _read(answer))

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], accept: str = FULL
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """An answer without an end, in the pieces in which it arrives. Raises Unreachable, Refused."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        async with self._answer("GET", path, query, {"Accept": accept}, timeout) as answer:
            yield _pieces(answer)

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
        if self._doubted:
            await self._renew()
        used = self._client.configuration
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
                    refusal = parse_refusal(answer.status, await _read(answer))
                    if answer.status == _UNAUTHORIZED:
                        self._doubt(used)
                    raise Refused(refusal, _seconds(answer.headers.get("Retry-After", "")))
                yield answer
        except (aiohttp.ClientError, ApiException, ConfigException, OSError, TimeoutError) as error:
            if isinstance(error, aiohttp.ClientConnectorCertificateError):
                self._doubt(used)
            raise Unreachable(str(error) or type(error).__name__) from error

    def _doubt(self, used: LoadedConfiguration) -> None:
        # Else they were replaced while the request was under way.
        if used is self._client.configuration:
            self._doubted = True

    async def _renew(self) -> None:
        """Once for all that wait for it: a kubeconfig may name a program. Raises Unreachable."""
        before = self._renewals
        async with self._renewing:
            if self._renewals == before:
                self._failure = ""
                try:
                    await self._replace(await load_configuration(self._access))
                except (NoCluster, OSError) as error:
                    self._failure = str(error)
                finally:
                    self._renewals += 1
            if self._failure:
                raise Unreachable(self._failure)

    async def _replace(self, fresh: LoadedConfiguration) -> None:
        files = _read_files(fresh)
        if files != self._files:
            # Connections stay who they were when they were opened.
            before, self._client.rest_client = self._client.rest_client, _Connections(fresh)
            self._files = files
            await before.close()
        self._client.configuration = fresh
        self._doubted = False


@asynccontextmanager
async def open_api(access: ClusterAccess) -> AsyncIterator[Api]:
    """The API server that `access` leads to. Raises NoCluster. Nothing is contacted yet."""
    configuration = await load_configuration(access)
    try:
        client = ApiClient(configuration)
        client.rest_client = _Connections(configuration)
    except OSError as error:
        raise no_cluster(access, f"its certificates cannot be used: {error}") from None
    client.user_agent = "heddle"
    try:
        async with client:
            yield Api(access, client)
    finally:
        await client.rest_client.ended()


class _Connections(RESTClientObject):
    """The client's own, with connections that notice a dead peer, as many as there are watches: each holds one."""

    def __init__(self, configuration: LoadedConfiguration) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()
        super().__init__(configuration)

    async def ended(self) -> None:
        """Returns once all are closed, or have had their time: over TLS they say goodbye first, also one that was
        closed, or being opened, before the client was."""
        for _ in range(_CLOSING_STEPS):
            if all(one.fileno() < 0 for one in self._sockets):
                return
            await asyncio.sleep(_CLOSING_SECONDS / _CLOSING_STEPS)

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=0, ssl=self.ssl_context, socket_factory=self._open)

    def _open(self, address: Any) -> socket.socket:
        made = _kept_alive(address)
        self._sockets.add(made)
        return made


def _kept_alive(address: Any) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    return b"".join([piece async for piece in _pieces(answer)])


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.content.iter_any():
            yield piece
    except RuntimeError as error:
        # So aiohttp says that we closed the connection ourselves, because who we are has changed.
        raise aiohttp.ClientConnectionError(str(error)) from error


def _read_files(configuration: LoadedConfiguration) -> tuple[bytes, ...]:
    """What connections are opened with."""
    names = (configuration.cert_file, configuration.key_file, configuration.ssl_ca_cert)
    return tuple(Path(name).read_bytes() if name else b"" for name in names)


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
