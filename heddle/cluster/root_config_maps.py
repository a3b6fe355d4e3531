"""The roots in every namespace: a ConfigMap that sidecars mount, since without them they trust no control plane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from sources.kubernetes.api import APPLY_PATCH, Api, Refused, Unreachable
from sources.kubernetes.events import Garbled, Json
from sources.kubernetes.reflector import Reflector
from sources.kubernetes.resources import Resource

NAME: Final = "heddle-root"
KEY: Final = "root.pem"
SYSTEM_NAMESPACES: Final = ("kube-system", "kube-public", "kube-node-lease")
"""Nothing is injected there."""

WRITES_PER_SECOND = 50.0
FIRST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 60.0

_NAMESPACES = Resource(kind="Namespace", plural="namespaces", metadata_only=True)
_CONFIG_MAPS = Resource(kind="ConfigMap", plural="configmaps", name=NAME)
_APPLIER = {"fieldManager": "heddle", "force": "true"}
_NOT_FOUND = 404
_log = structlog.get_logger()


class RootConfigMaps:
    """Keeps `heddle-root` in every namespace but the system's equal to `bundle`, whoever edits or deletes it.

    Two that do it at once write the same. Needs list and watch on Namespaces; list, watch and patch on ConfigMaps of
    that name; create on ConfigMaps. `jitter` answers numbers from -1 to 1.
    """

    def __init__(
        self,
        api: Api,
        *,
        bundle: Callable[[], bytes],
        jitter: Callable[[], float],
        excluded: tuple[str, ...] = SYSTEM_NAMESPACES,
    ) -> None:
        self._api = api
        self._bundle = bundle
        self._jitter = jitter
        self._excluded = frozenset(excluded)
        self._reflectors: tuple[Reflector, ...] = ()
        self._namespaces: set[str] = set()
        self._held: dict[str, str] = {}
        self._due: dict[str, None] = {}
        self._failures: dict[str, int] = {}
        self._retries: dict[str, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. It may be run again after that, and looks at everything anew."""
        self._namespaces, self._held, self._due, self._failures = set(), {}, {}, {}
        self._reflectors = tuple(
            Reflector(resource, self._api, self, jitter=self._jitter, is_defined=lambda: True)
            for resource in (_NAMESPACES, _CONFIG_MAPS)
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                for reflector in self._reflectors:
                    tasks.create_task(reflector.run())
                await self._write_for_ever()
        finally:
            for retry in self._retries.values():
                retry.cancel()
            self._retries.clear()

    def bundle_changed(self) -> None:
        """The roots are others now: every namespace gets them."""
        for namespace in self._namespaces:
            self._mark(namespace)

    # What the reflectors tell

    def to_value(self, resource: Resource, item: Json) -> object:
        """See `reflector.Receiver`: of a Namespace whether it stays, of a ConfigMap the roots in it."""
        if resource == _NAMESPACES:
            return "deletionTimestamp" not in item["metadata"]
        data = item.get("data")
        found = data.get(KEY) if isinstance(data, dict) else None
        return found if isinstance(found, str) else ""

    def receive(self, resource: Resource, values: Mapping[str, object | None]) -> None:
        """See `reflector.Receiver`."""
        for key, value in values.items():
            if resource == _NAMESPACES:
                self._namespaces.discard(key)
                if value and key not in self._excluded:
                    self._namespaces.add(key)
                    self._mark(key)
                continue
            namespace = key.partition("/")[0]
            self._held.pop(namespace, None)
            if isinstance(value, str):
                self._held[namespace] = value
            self._mark(namespace)

    def note(self, resource: Resource) -> None:
        """See `reflector.Receiver`."""
        for reflector in self._reflectors:
            if reflector.resource == resource and reflector.trouble is not None:
                _log.warning("identity.roots_trouble", resource=str(resource), reason=reflector.trouble.message)
        self._wake.set()

    # Writing

    def _mark(self, namespace: str) -> None:
        self._due[namespace] = None
        self._wake.set()

    async def _write_for_ever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not all(reflector.synced for reflector in self._reflectors):
                continue
            while self._due:
                # The newest first: in a namespace that has just been made, pods are about to start.
                namespace, _ = self._due.popitem()
                text = self._bundle().decode()
                if namespace in self._namespaces and self._held.get(namespace) != text:
                    await self._write(namespace, text)
                    await asyncio.sleep(1 / WRITES_PER_SECOND)

    async def _write(self, namespace: str, text: str) -> None:
        wanted = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": NAME,
                "namespace": namespace,
                "labels": {"app.kubernetes.io/managed-by": "heddle"},
            },
            "data": {KEY: text},
        }
        path = f"/api/v1/namespaces/{namespace}/configmaps/{NAME}"
        try:
            await self._api.write("PATCH", path, wanted, query=_APPLIER, content_type=APPLY_PATCH)
        except (Unreachable, Refused, Garbled) as error:
            if isinstance(error, Refused) and error.refusal.code == _NOT_FOUND:
                # The namespace is gone, which its watch is about to say.
                return
            self._put_off(namespace, error)
        else:
            self._failures.pop(namespace, None)

    def _put_off(self, namespace: str, error: Exception) -> None:
        failures = self._failures[namespace] = self._failures.get(namespace, 0) + 1
        wait = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 10))
        _log.warning("identity.roots_not_written", namespace=namespace, failures=failures, reason=str(error))

        def again() -> None:
            self._retries.pop(namespace, None)
            self._mark(namespace)

        self._retries[namespace] = asyncio.get_running_loop().call_later(wait * (1 + self._jitter() / 4), again)
