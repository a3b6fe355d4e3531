"""What runs beside a control plane on a cluster: the webhooks, the health endpoint, and the duties.

`running_beside` is entered once the control plane serves sidecars; `Health` is there before, so that a kubelet can ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from heddle import clock
from heddle.cluster.duties import Duty, LeaderOnly, Leadership, run_duties
from heddle.cluster.health import Health
from heddle.cluster.settings_reload import SettingsReload
from heddle.cluster.webhook_bundle import BundleKeeper, webhook_configurations
from heddle.cluster.webhook_certificate import WebhookCertificate, webhook_names
from heddle.cluster.webhook_namespaces import ClusterNamespaces
from heddle.control_plane import ControlPlane
from injector.bootstrap_text import warm_up
from injector.reviewers import INJECT_PATH, VALIDATE_PATH, InjectionReviewer, ValidationReviewer
from injector.server import Reviewer, running_webhook
from injector.settings import REVISION
from sources.kubernetes.api import Api

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What is to run. `webhook` is where the webhooks listen, None for nowhere.

    `leader_duties` run on the replica that leads, `duties` on every one; `leadership` is a duty of its own.
    """

    settings: SettingsReload
    webhook: tuple[str, int] | None = None
    leadership: Leadership
    duties: Sequence[Duty] = ()
    leader_duties: Sequence[Duty] = ()


@asynccontextmanager
async def running_beside(plane: ControlPlane, api: Api, beside: Beside, health: Health) -> AsyncIterator[None]:
    """As long as the block lasts, which begins when all ports are open. Raises OSError if one cannot be bound.

    What a duty raises comes in an ExceptionGroup.
    """
    duties: list[Duty] = [beside.settings, beside.leadership, *beside.duties]
    duties.append(LeaderOnly(beside.leader_duties, beside.leadership))
    async with AsyncExitStack() as opened:
        if beside.webhook is not None:
            duties += await _open_webhook(plane, api, beside, beside.webhook, opened)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(run_duties(duties))
            health.serving = True
            try:
                yield
            finally:
                health.serving = False
                running.cancel()


async def _open_webhook(
    plane: ControlPlane, api: Api, beside: Beside, address: tuple[str, int], opened: AsyncExitStack
) -> tuple[Duty, ...]:
    settings, (host, port) = beside.settings, address
    injection = settings.current.injection
    certificate = WebhookCertificate(
        lambda: plane.authority,
        dns_names=webhook_names(injection.system_namespace, injection.revision),
        host=host,
        now=clock.now,
    )
    await asyncio.to_thread(warm_up, injection)
    namespaces = ClusterNamespaces(plane.store, api, monotonic=clock.monotonic)
    reviewers: dict[str, Reviewer] = {
        INJECT_PATH: InjectionReviewer(lambda: settings.current.injection, namespaces),
        VALIDATE_PATH: ValidationReviewer(lambda: settings.current.validation),
    }
    bound = await opened.enter_async_context(running_webhook(reviewers, tls=certificate.tls, host=host, port=port))
    _log.info("webhook.serving", address=f"{host}:{bound}", revision=injection.revision)
    keeper = BundleKeeper(
        api,
        webhook_configurations(injection.revision, REVISION),
        lambda: plane.trust_bundle,
        jitter=clock.jitter,
        monotonic=clock.monotonic,
    )
    return certificate, keeper
