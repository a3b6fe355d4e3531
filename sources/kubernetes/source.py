"""A Kubernetes API server as a source: keeps a store equal to what it has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

import structlog

from model.problem_codes import ProblemCode
from model.problems import ObjectRef, Position, Problem, Severity
from model.services import Locality
from sources.kubernetes.api import Api, Refused, Unreachable
from sources.kubernetes.custom_objects import CustomObject, CustomObjects
from sources.kubernetes.events import Garbled, Json
from sources.kubernetes.object_status import ObjectStatuses, ObservedStatus
from sources.kubernetes.objects import file_name, to_parsed
from sources.kubernetes.observed_pods import ObservedPod, PlacedPods, to_locality, to_observed_pod
from sources.kubernetes.reflector import Reflector
from sources.kubernetes.resources import CUSTOM_RESOURCES, NODES, PODS, Resource, Scope, definition_of, resources_in
from sources.manifests import Parsed
from sources.store import Store

_log = structlog.get_logger()


class KubernetesSource:
    """Watches everything in `scope`. Nothing reaches the store before all of it was read once; then all at once.

    `jitter` answers numbers from -1 to 1. `statuses` are of the objects of custom kinds that the store has.
    """

    def __init__(self, api: Api, store: Store, scope: Scope, *, jitter: Callable[[], float]) -> None:
        self._api = api
        self._store = store
        self._scope = scope
        self._definitions: dict[str, str] = {}
        self._files: dict[str, Parsed | None] = {}
        self._custom = CustomObjects()
        self.statuses = ObjectStatuses()
        self._statuses: dict[ObjectRef, ObservedStatus | None] = {}
        self._pods = PlacedPods()
        self._pods_differ = False
        self._dirty = asyncio.Event()
        self._applied = asyncio.Event()
        self._synced = asyncio.Event()
        self._reflectors = {
            resource: Reflector(resource, api, self, jitter=jitter, is_defined=partial(self._is_defined, resource))
            for resource in resources_in(scope)
        }
        self._tasks: dict[Resource, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    @property
    def name(self) -> str:
        """The address of the API server."""
        return self._api.name

    @property
    def pending(self) -> tuple[str, ...]:
        """What was not read yet, and why; empty from the first time on that everything was."""
        if self._synced.is_set():
            return ()
        waiting = (each for each in self._reflectors.values() if not each.synced)
        return tuple(
            f"{each.resource} of {self.name}: " + (each.trouble.message if each.trouble else "not read yet")
            for each in waiting
        )

    async def synced(self) -> None:
        """Returns once the store has everything for the first time."""
        await self._synced.wait()

    async def catch_up(self) -> None:
        """Returns once the store has all that the API server has now. Raises OSError if that cannot be told."""
        await self.synced()
        try:
            async with asyncio.TaskGroup() as tasks:
                for reflector in self._reflectors.values():
                    tasks.create_task(reflector.caught_up())
        except* (Unreachable, Refused, Garbled) as group:
            raise OSError(f"{self.name}: {group.exceptions[0]}") from group
        await self._applied.wait()

    async def watch(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                for resource in self._reflectors:
                    self._start(resource)
                await self._apply_for_ever()
        finally:
            self._group = None

    # What reflectors tell

    def to_value(self, resource: Resource, item: Json) -> object:
        """See `reflector.Receiver`."""
        if resource == PODS:
            return to_observed_pod(item)
        if resource == NODES:
            return to_locality(item)
        if resource == CUSTOM_RESOURCES:
            return item["metadata"].get("uid") or ""
        metadata = item["metadata"]
        key = "/".join(part for part in (metadata.get("namespace"), metadata["name"]) if part)
        if resource.custom:
            return self._custom.read(resource, file_name(resource, key), key, item, self._scope.mesh_config)
        return to_parsed(resource, key, item, self._scope.mesh_config)

    def receive(self, resource: Resource, values: Mapping[str, object | None]) -> None:
        """See `reflector.Receiver`."""
        if resource == CUSTOM_RESOURCES:
            self._define(cast(Mapping[str, str | None], values))
            return
        if resource.custom:
            read = cast(Mapping[str, CustomObject | None], values)
            files, statuses = self._custom.receive({file_name(resource, key): value for key, value in read.items()})
            self._files.update(files)
            self._statuses.update(statuses)
            self._wake()
            return
        for key, value in values.items():
            if resource == PODS:
                self._pods_differ |= self._pods.put_pod(key, cast(ObservedPod | None, value))
            elif resource == NODES:
                self._pods_differ |= self._pods.put_node(key, cast(Locality | None, value))
            else:
                self._files[file_name(resource, key)] = cast(Parsed | None, value)
        self._wake()

    def note(self, resource: Resource) -> None:
        """See `reflector.Receiver`."""
        reflector = self._reflectors[resource]
        if reflector.trouble is not None:
            _log.warning("kubernetes.trouble", resource=str(resource), reason=reflector.trouble.message)
        elif reflector.synced:
            _log.info("kubernetes.followed", resource=str(resource))
        self._wake()
        troubles = dict.fromkeys(each.trouble for each in self._reflectors.values() if each.trouble is not None)
        self._store.report(
            Problem(
                severity=Severity.ERROR,
                code=ProblemCode.SOURCE_UNREACHABLE,
                message=f"{trouble.message}; what was read before stays in force",
                fix=trouble.fix,
                position=Position(file=self.name),
            )
            for trouble in troubles
        )

    # Within

    async def _apply_for_ever(self) -> None:
        """One step for all that arrived during the last one; the first change after a quiet time waits for nothing."""
        while True:
            self._applied.set()
            await self._dirty.wait()
            self._dirty.clear()
            if self._synced.is_set():
                self._apply()
            elif all(reflector.synced for reflector in self._reflectors.values()):
                self._apply()
                self._synced.set()
                _log.info("kubernetes.synced", server=self.name, objects=len(self._store.objects))

    def _wake(self) -> None:
        self._dirty.set()
        self._applied.clear()

    def _apply(self) -> None:
        # Pods first: endpoints wait for theirs.
        if self._pods_differ:
            self._pods_differ = False
            self._store.observe(self._pods.pods, {})
        if self._files:
            files, self._files = self._files, {}
            self._store.replace_parsed(files)
        if self._statuses:
            # After the store, so that what is known of an object is never newer than what is in force.
            statuses, self._statuses = self._statuses, {}
            self.statuses.update(statuses, self._store.generation)

    def _start(self, resource: Resource) -> None:
        assert self._group is not None
        self._tasks[resource] = self._group.create_task(self._reflectors[resource].run(), name=str(resource))

    def _is_defined(self, resource: Resource) -> bool | None:
        if not resource.custom:
            return True
        known = self._reflectors[CUSTOM_RESOURCES].synced
        return definition_of(resource) in self._definitions if known else None

    def _define(self, values: Mapping[str, str | None]) -> None:
        """Definitions came, changed or went: who waits for one, or watches the one before, begins again at once."""
        before = dict(self._definitions)
        self._definitions.update((name, uid) for name, uid in values.items() if uid is not None)
        for name in (name for name, uid in values.items() if uid is None):
            self._definitions.pop(name, None)
        for resource, reflector in self._reflectors.items():
            name = definition_of(resource)
            if not resource.custom or name not in values or self._group is None:
                continue
            if reflector.watching and before.get(name) != self._definitions.get(name):
                self._tasks[resource].cancel()
                self._start(resource)
            else:
                reflector.nudge()
