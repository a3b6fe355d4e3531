"""The labels of namespaces for the injector: those that are watched, and of new ones what the API server says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from heddle.cluster.budget import Budget, Spent
from sources.kubernetes.api import METADATA, Api, Refused, Unreachable
from sources.kubernetes_names import is_dns_label
from sources.store import Store

READ_SECONDS: Final = 2.0
"""How long one read may take: an API server waits five seconds for a webhook."""

_FRESH_SECONDS: Final = 1.0
"""How long what was read is taken for the newest, so that a rollout of a thousand pods is one read."""

READS_PER_SECOND: Final = 50
READS_AT_ONCE: Final = 20
"""Anybody who reaches the webhook's port can name namespaces: what the API server is asked for them is bounded."""

_MOST: Final = 1000
_log = structlog.get_logger()


class ClusterNamespaces:
    """See `reviewers.Namespaces`. `monotonic` in seconds."""

    def __init__(self, store: Store, api: Api, *, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._api = api
        self._monotonic = monotonic
        self._budget = Budget(per_second=READS_PER_SECOND, at_once=READS_AT_ONCE, seconds=monotonic)
        self._read: dict[str, tuple[float, asyncio.Task[Mapping[str, str] | None]]] = {}

    async def labels_of(self, namespace: str, *, newest: bool = False) -> Mapping[str, str] | None:
        """See `reviewers.Namespaces`."""
        known = self._store.namespaces.get(("", namespace))
        if known is not None and not newest:
            return known.labels
        if not is_dns_label(namespace):
            return None
        found = await self._read_once(namespace)
        return found if found is not None or known is None else known.labels

    async def _read_once(self, namespace: str) -> Mapping[str, str] | None:
        """What the API server says, asked at most once a second for each namespace. None: it does not exist, or who
        knows."""
        now = self._monotonic()
        begun, task = self._read.get(namespace, (0.0, None))
        if task is None or now - begun > _FRESH_SECONDS:
            if len(self._read) >= _MOST:
                self._read = {name: each for name, each in self._read.items() if now - each[0] <= _FRESH_SECONDS}
            task = asyncio.create_task(self._read_labels(namespace))
            self._read[namespace] = (now, task)
        return await asyncio.shield(task)

    async def _read_labels(self, namespace: str) -> Mapping[str, str] | None:
        try:
            with self._budget.spend():
                async with asyncio.timeout(READ_SECONDS):
                    found = json.loads(await self._api.get(f"/api/v1/namespaces/{namespace}", {}, METADATA))
            labels = found["metadata"].get("labels") or {}
            return {str(name): str(value) for name, value in labels.items()}
        except Spent:
            # Without a line each: whoever asks for too many would fill the log.
            return None
        except (Refused, Unreachable, TimeoutError) as error:
            _log.warning("injector.namespace_unknown", namespace=namespace, reason=str(error) or "no answer in time")
        except (ValueError, KeyError, TypeError, AttributeError):
            _log.warning("injector.namespace_unknown", namespace=namespace, reason="the answer cannot be read")
        return None
