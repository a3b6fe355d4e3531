"""Keeps the `caBundle` of the webhook configurations equal to the mesh's roots, whoever changes which of the two.

The configurations are the chart's; of them this writes one field of each webhook and nothing else. Two replicas may do
so at once: a write names the version that was read, and what is equal already is not written.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, cast

import structlog

from sources.kubernetes.api import Api, Refused, Unreachable
from sources.kubernetes.events import Garbled, Json
from sources.kubernetes.reflector import Reflector
from sources.kubernetes.resources import Resource

GROUP: Final = "admissionregistration.k8s.io"
_PLURALS: Final = {
    "MutatingWebhookConfiguration": "mutatingwebhookconfigurations",
    "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
}
_MANAGER: Final = "heddle-webhooks"
_STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
"""Webhooks are joined by their names, so that only the one field becomes ours."""

CHECK_SECONDS: Final = 5.0
"""How often the roots are compared; changes of the configurations are told at once."""

_LONGEST_PAUSE: Final = 30.0
_QUIET_SECONDS: Final = 300.0
"""How long nothing needs to be written until the next write is at once again."""

_CONFLICT: Final = 409
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundles:
    """A configuration as it was read: its version, and the `caBundle` of each of its webhooks by name."""

    version: str
    by_webhook: Mapping[str, str]


def webhook_configurations(revision: str, default_revision: str) -> tuple[Resource, ...]:
    """The two configurations of a revision of Heddle."""
    suffix = "" if revision == default_revision else f"-{revision}"
    names = {
        "MutatingWebhookConfiguration": f"heddle-injector{suffix}",
        "ValidatingWebhookConfiguration": f"heddle-validator{suffix}",
    }
    return tuple(
        Resource(kind=kind, plural=_PLURALS[kind], group=GROUP, name=name, versions=("v1",))
        for kind, name in names.items()
    )


class BundleKeeper:
    """`bundle` answers the roots in PEM. `jitter` from -1 to 1, `monotonic` in seconds."""

    def __init__(
        self,
        api: Api,
        configurations: Iterable[Resource],
        bundle: Callable[[], bytes],
        *,
        jitter: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._api = api
        self._bundle = bundle
        self._changed = asyncio.Event()
        self._read: dict[Resource, Bundles | None] = {}
        self._reflectors = [Reflector(each, api, self, jitter=jitter) for each in configurations]
        self._pace = {each.resource: Pace(monotonic) for each in self._reflectors}

    async def run(self) -> None:
        """See `duties.Duty`."""
        async with asyncio.TaskGroup() as tasks:
            for reflector in self._reflectors:
                tasks.create_task(reflector.run())
            while True:
                self._changed.clear()
                waits = [await self._keep(resource, read) for resource, read in tuple(self._read.items())]
                try:
                    async with asyncio.timeout(min((CHECK_SECONDS, *waits))):
                        await self._changed.wait()
                except TimeoutError:
                    pass

    # What reflectors tell

    def to_value(self, resource: Resource, item: Json) -> object:
        """See `reflector.Receiver`."""
        webhooks = item.get("webhooks") or ()
        found = {each["name"]: str(each.get("clientConfig", {}).get("caBundle") or "") for each in webhooks}
        return Bundles(version=item["metadata"]["resourceVersion"], by_webhook=found)

    def receive(self, resource: Resource, values: Mapping[str, object | None]) -> None:
        """See `reflector.Receiver`."""
        for value in values.values():
            self._read[resource] = cast(Bundles | None, value)
        self._changed.set()

    def note(self, resource: Resource) -> None:
        """See `reflector.Receiver`."""
        reflector = next(each for each in self._reflectors if each.resource == resource)
        if reflector.trouble is not None:
            _log.warning("webhook.configuration_unknown", resource=str(resource), reason=reflector.trouble.message)
        elif resource not in self._read:
            _log.warning("webhook.not_configured", resource=str(resource))

    # Within

    async def _keep(self, resource: Resource, read: Bundles | None) -> float:
        """Writes if it must and may; in how many seconds it is to be looked at again."""
        wanted = base64.b64encode(self._bundle()).decode()
        wrong = [name for name, held in read.by_webhook.items() if held != wanted] if read is not None else []
        pace = self._pace[resource]
        if read is None or not wrong:
            return CHECK_SECONDS
        if (wait := pace.wait) > 0:
            return wait
        pace.count()
        patch = {
            "metadata": {"resourceVersion": read.version},
            "webhooks": [{"name": name, "clientConfig": {"caBundle": wanted}} for name in wrong],
        }
        path = f"{resource.path('v1')}/{resource.name}"
        try:
            written = await self._api.write(
                "PATCH", path, patch, query={"fieldManager": _MANAGER}, content_type=_STRATEGIC_PATCH
            )
        except Refused as refused:
            # Somebody else was faster; what it is now is on its way to us.
            if refused.refusal.code != _CONFLICT:
                _log.warning("webhook.bundle_refused", resource=str(resource), reason=str(refused))
        except (Unreachable, Garbled) as error:
            _log.warning("webhook.bundle_unwritten", resource=str(resource), reason=str(error))
        else:
            # The watch says the same, a moment later.
            self.receive(resource, {resource.name: self.to_value(resource, written)})
            _log.info("webhook.bundle_written", resource=str(resource), webhooks=wrong)
            return CHECK_SECONDS
        return pace.wait


class Pace:
    """Writes that are not needed for a while are at once; against somebody who writes too, ever more seldom."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._last = float("-inf")
        self._pause = 0.0

    @property
    def wait(self) -> float:
        """Seconds until the next write may be."""
        return max(0.0, self._last + self._pause - self._monotonic())

    def count(self) -> None:
        """One is made now."""
        now = self._monotonic()
        quiet = now - self._last > _QUIET_SECONDS
        self._pause = 0.25 if quiet else min(_LONGEST_PAUSE, self._pause * 2)
        self._last = now
