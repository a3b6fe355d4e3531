"""The pump of one collection: lists, watches, waits; as long as it runs, what it tells is what the API server has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from sources.kubernetes.api import FULL, FULL_PODS, METADATA, METADATA_LIST, Api, Refused, Unreachable
from sources.kubernetes.collection import Collection, Lost, Next, WentBack
from sources.kubernetes.events import Garbled, Json, LineSplitter, Page, key_of, parse_event, parse_page, version_of
from sources.kubernetes.resources import PODS, Resource

PAGE = 500
FIRST_WAIT_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 60.0
"""As long as an API server may send us away; what stands before it may say a day."""
LONGEST_WAIT_SECONDS = 10.0
CONFIRM_SECONDS = 0.5
"""How long after a list without the objects there were a second one is asked for, without which it is not believed."""
WATCH_SECONDS = 300
"""How long a watch lasts before the server ends it; up to half as long again, so that not all end at once."""
_BRIEF_SECONDS = 1.0
"""A watch that ends sooner, and without an event, is no success."""
_AT_ONCE = 100
"""How many objects are parsed before others have their turn: about ten milliseconds."""
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _EXPIRED = 401, 403, 404, 410
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a collection cannot be followed, and what to do."""

    message: str
    fix: str = "Nothing, if it passes: it is tried again and again."


class Receiver(Protocol):
    """Takes what a reflector finds."""

    def to_value(self, resource: Resource, item: Json) -> object:
        """What is kept of an object. It must not refer to `item`. Pure."""

    def receive(self, resource: Resource, values: Mapping[str, object | None]) -> None:
        """Some objects are these now, by key; None: they are gone."""

    def note(self, resource: Resource) -> None:
        """`synced` or `trouble` differs."""


class Reflector:
    """One collection. `synced`: its first list was received whole. `trouble`: None while all is well.

    `is_defined` says whether the resource exists, None while that is not known. `jitter` answers numbers from -1 to 1.
    """

    def __init__(
        self,
        resource: Resource,
        api: Api,
        receiver: Receiver,
        *,
        jitter: Callable[[], float],
        is_defined: Callable[[], bool | None] = lambda: None,
    ) -> None:
        self.resource = resource
        self.synced = False
        self.trouble: Trouble | None = None
        self.watching = False
        self._api = api
        self._receiver = receiver
        self._jitter = jitter
        self._is_defined = is_defined
        self._collection = Collection()
        self._version = resource.versions[0]
        self._paged = True
        self._failures = 0
        self._moved = asyncio.Event()
        self._nudged = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. It may be run again after that, and goes on where it was."""
        while True:
            trouble, least = None, 0.0
            try:
                if self._collection.next is Next.LIST:
                    trouble = await self._list()
                if self._collection.next is Next.WATCH and await self._watch():
                    self._failures = 0
                    continue
            except Unreachable as error:
                self._collection.distrust()
                trouble = Trouble(message=f"the API server cannot be reached: {error}")
            except Refused as error:
                trouble, least = self._after(error), min(error.retry_after, LONGEST_RETRY_SECONDS)
            except (Lost, WentBack) as error:
                if isinstance(error, Lost) and not error.expired:
                    trouble = Trouble(message=f"{self.resource} cannot be watched: {error}")
                _log.info("kubernetes.list_again", resource=str(self.resource), reason=str(error))
            except Garbled as error:
                self._collection.distrust()
                trouble = Trouble(message=f"the API server sent what cannot be read: {error}")
            finally:
                self.watching = False
            self._note(trouble, synced=self.synced)
            await self._pause(max(least, self._wait()))

    def nudge(self) -> None:
        """Whatever it waits for may be there now."""
        self._failures = 0
        self._nudged.set()

    async def caught_up(self) -> None:
        """Returns once all that the API server has now was received. Raises Unreachable, Refused, Garbled."""
        wanted: dict[str, str] = {}
        version = ""
        try:
            async with aclosing(self._pages(METADATA_LIST)) as pages:
                async for page in pages:
                    version = version or page.version
                    wanted.update((key_of(item), version_of(item)) for item in page.items)
        except Refused as error:
            if error.refusal.code == _NOT_FOUND and self.resource.custom:
                return
            raise
        while not self._collection.has(wanted, version):
            self._moved.clear()
            await self._moved.wait()

    # List

    async def _list(self) -> Trouble | None:
        """Lists in the first version that is served; what is wrong if none is."""
        for version in self.resource.versions:
            self._version = version
            try:
                await self._list_version()
                return None
            except Refused as error:
                if error.refusal.code != _NOT_FOUND or not self.resource.custom:
                    raise
        return self._miss()

    async def _list_version(self) -> None:
        versions, values, version = await self._read_list()
        if not versions and (held := len(self._collection.versions)):
            # All of a kind gone at once, unseen, is more often a broken server than a wish: it is asked once more.
            _log.warning("kubernetes.emptied", resource=str(self.resource), objects=held)
            fix = "Nothing, if they were deleted: it is believed once a second list says so too."
            trouble = Trouble(message=f"{self.resource} has no objects any more, where there were {held}", fix=fix)
            self._note(trouble, synced=self.synced)
            await asyncio.sleep(CONFIRM_SECONDS)
            versions, values, version = await self._read_list(confirms=True)
        self._paged = True
        values.update(dict.fromkeys(self._collection.apply_list(versions, version)))
        self._receiver.receive(self.resource, values)
        self._moved.set()
        self._note(None, synced=True)

    async def _read_list(self, *, confirms: bool = False) -> tuple[dict[str, str], dict[str, object | None], str]:
        """Versions and values by key, and the version of the whole. `confirms`: a list of a version that is behind
        ours was believed just now."""
        versions: dict[str, str] = {}
        values: dict[str, object | None] = {}
        version = ""
        async with aclosing(self._pages(_list_form(self.resource))) as pages:
            async for page in pages:
                if not version:
                    version = page.version
                    if not confirms:
                        self._collection.begin_list(version)
                for number, item in enumerate(page.items):
                    key = key_of(item)
                    versions[key] = version_of(item)
                    values[key] = self._receiver.to_value(self.resource, item)
                    if number % _AT_ONCE == _AT_ONCE - 1:
                        await asyncio.sleep(0)
        return versions, values, version

    async def _pages(self, accept: str) -> AsyncGenerator[Page, None]:
        """Each is asked for while the one before is being read. Whoever stops half-way closes it."""
        query = {**self.resource.selector(), **({"limit": str(PAGE)} if self._paged else {})}
        path = self.resource.path(self._version)
        coming = asyncio.create_task(self._api.get(path, query, accept))
        try:
            while True:
                page = parse_page(await coming)
                if not page.token:
                    yield page
                    return
                coming = asyncio.create_task(self._api.get(path, {**query, "continue": page.token}, accept))
                yield page
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)

    async def _present_version(self) -> str:
        query = {**self.resource.selector(), "limit": "1"}
        return parse_page(await self._api.get(self.resource.path(self._version), query, METADATA_LIST)).version

    def _miss(self) -> Trouble | None:
        """No version of the resource is served: it is not defined, not any more, or not quite yet."""
        if self._is_defined() is False or not self._collection.versions:
            self._receiver.receive(self.resource, dict.fromkeys(self._collection.apply_absence()))
            self._note(None, synced=True)
            return None
        fix = f"Put the CustomResourceDefinition back as it was, with version {self.resource.versions[0]}."
        return Trouble(message=f"{self.resource} is not served any more", fix=fix)

    # Watch

    async def _watch(self) -> bool:
        """Until the watch ends; whether it was worth it."""
        clock = asyncio.get_running_loop().time
        started, heard = clock(), False
        lines = LineSplitter()
        try:
            async with self._api.stream(
                self.resource.path(self._version),
                self._watch_query(),
                METADATA if self.resource.metadata_only else FULL,
            ) as pieces:
                # Asked once the watch is open: a restore ends connections, so that there is none after this answer. A
                # server that is behind would say nothing until its versions have overtaken ours.
                self._collection.apply_probe(await self._present_version())
                if self._collection.next is Next.LIST:
                    return True
                self.watching = True
                self._note(None, synced=self.synced)
                async for piece in pieces:
                    heard = True
                    whole = lines.feed(piece)
                    for first in range(0, len(whole), _AT_ONCE):
                        self._take(whole[first : first + _AT_ONCE])
                        await asyncio.sleep(0)
        except Refused as error:
            self._collection.apply_refusal(error.refusal)
            raise
        except Unreachable:
            # An end without a word; whether the server is away shows in what comes next.
            if not self.watching:
                raise
        finally:
            if clock() - started >= _BRIEF_SECONDS:
                self._failures = 0
        return heard or clock() - started >= _BRIEF_SECONDS

    def _watch_query(self) -> dict[str, str]:
        return {
            **self.resource.selector(),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._collection.version,
            "timeoutSeconds": str(int(WATCH_SECONDS * (1.25 + self._jitter() / 4))),
        }

    def _take(self, lines: list[bytes]) -> None:
        values: dict[str, object | None] = {}
        try:
            for line in lines:
                change = self._collection.apply_event(parse_event(line))
                if change is not None:
                    item = change.item
                    values[change.key] = None if item is None else self._receiver.to_value(self.resource, item)
        finally:
            if values:
                self._receiver.receive(self.resource, values)
            self._moved.set()

    # Trouble

    def _after(self, error: Refused) -> Trouble | None:
        code, message = error.refusal.code, f"{self.resource} cannot be read: {error}"
        if code == _NOT_FOUND and self.resource.custom:
            self._collection.distrust()
            return None
        if code == _EXPIRED:
            # A list took so long that its later parts are gone: ask for it in one part.
            self._paged = False
            return None
        if code == _UNAUTHORIZED:
            message = f"the API server does not accept these credentials: {error}"
            return Trouble(message=message, fix="Give Heddle credentials that the API server knows.")
        if code == _FORBIDDEN:
            return Trouble(message=message, fix=f"Grant list and watch on {self.resource} to Heddle's account.")
        return Trouble(message=message)

    def _note(self, trouble: Trouble | None, *, synced: bool) -> None:
        if (trouble, synced) != (self.trouble, self.synced):
            self.trouble, self.synced = trouble, synced
            self._receiver.note(self.resource)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudged.wait()
        self._nudged.clear()

    def _wait(self) -> float:
        wait: float = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(self._failures, 16))
        self._failures += 1
        return wait * (1 + self._jitter() / 2)


def _list_form(resource: Resource) -> str:
    if resource.metadata_only:
        return METADATA_LIST
    return FULL_PODS if resource == PODS else FULL
