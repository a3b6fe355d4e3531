"""What runs beside a control plane on a cluster: the webhooks, what answers questions, and the duties.

`running_beside` is entered once the control plane serves sidecars; `Health` is there before, so that a kubelet can ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from heddle import clock
from heddle.admin import About, Questions
from heddle.cluster.admin_accounts import AdminAccounts
from heddle.cluster.admin_protocol import LONGEST_WAIT_SECONDS
from heddle.cluster.admin_server import running_admin
from heddle.cluster.admission_findings import AdmissionFindings
from heddle.cluster.duties import Duty, run_duties
from heddle.cluster.health import Health
from heddle.cluster.leadership import Leadership
from heddle.cluster.peers import Peers
from heddle.cluster.replica_progress import ReplicaProgress, to_progress
from heddle.cluster.settings_reload import SettingsReload
from heddle.cluster.status_writer import StatusWriter
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
_STATUS_SETTLES = 3.0
"""Seconds: about as long as the sidecars of a control plane that starts take to connect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What is to run.

    `webhook` is where the webhooks listen, `admin` where questions are answered, None for nowhere. `pod` is the name of
    this process's own, and `replica` names the process among all that there ever are. `admin_token` is the file with
    which it asks other replicas.
    """

    settings: SettingsReload
    webhook: tuple[str, int] | None = None
    admin: tuple[str, int] | None = None
    admin_token: Path | None = None
    pod: str
    replica: str


@asynccontextmanager
async def running_beside(plane: ControlPlane, api: Api, beside: Beside, health: Health) -> AsyncIterator[None]:
    """As long as the block lasts, which begins when all ports are open. Raises OSError if one cannot be bound.

    What a duty raises comes in an ExceptionGroup.
    """
    leadership = _leadership(plane, api, beside)
    duties: list[Duty] = [beside.settings, leadership]
    async with AsyncExitStack() as opened:
        if beside.webhook is not None or beside.admin is not None:
            certificate = _certificate(plane, beside)
            duties.append(certificate)
            if beside.webhook is not None:
                duties.append(await _open_webhook(plane, api, beside, beside.webhook, certificate, opened))
            if beside.admin is not None:
                await _open_admin(plane, beside, beside.admin, certificate, leadership, opened)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(run_duties(duties))
            health.serving = True
            try:
                yield
            finally:
                health.serving = False
                running.cancel()


def _leadership(plane: ControlPlane, api: Api, beside: Beside) -> Leadership:
    """What one replica alone writes: the roots for every namespace, and the objects' status."""
    namespace = beside.settings.current.injection.system_namespace
    peers = Peers(
        mesh=lambda: plane.store.mesh,
        namespace=namespace,
        own_pod=beside.pod,
        token=beside.admin_token,
        roots=lambda: plane.trust_bundle,
        # Every revision's certificate has this name too.
        server_name=webhook_names(namespace, REVISION)[0],
        objects=lambda: len(plane.statuses),
        jitter=clock.jitter,
    )
    writer = StatusWriter(
        api=api,
        store=plane.store,
        statuses=plane.statuses,
        progress=plane.streams.progress,
        now=clock.now,
        jitter=clock.jitter,
        peers=peers,
        settle_seconds=_STATUS_SETTLES,
    )
    return Leadership(
        api=api,
        namespace=namespace,
        identity=beside.replica,
        duties=(plane.root_config_maps, writer),
        now=clock.now,
        jitter=clock.jitter,
    )


def _certificate(plane: ControlPlane, beside: Beside) -> WebhookCertificate:
    """Of both servers here; of several addresses it has the first's, since in a cluster they are the same."""
    injection = beside.settings.current.injection
    host, _ = beside.webhook or beside.admin or ("", 0)
    return WebhookCertificate(
        lambda: plane.authority,
        dns_names=webhook_names(injection.system_namespace, injection.revision),
        host=host,
        now=clock.now,
    )


async def _open_admin(
    plane: ControlPlane,
    beside: Beside,
    address: tuple[str, int],
    certificate: WebhookCertificate,
    leadership: Leadership,
    opened: AsyncExitStack,
) -> None:
    host, port = address
    injection = beside.settings.current.injection
    about = About(
        mesh=injection.revision,
        replica=beside.pod,
        revision=injection.revision,
        leading=lambda: leadership.leading,
    )
    accounts = AdminAccounts(
        plane.admin_tokens,
        lambda: plane.store.mesh,
        namespace=injection.system_namespace,
        revision=injection.revision,
    )

    def progress(known_process: str, known_change: int) -> ReplicaProgress:
        streams = plane.streams.progress()
        return to_progress(
            beside.replica, streams, plane.statuses, known_process=known_process, known_change=known_change
        )

    questions = Questions(plane, about, longest_wait=LONGEST_WAIT_SECONDS)
    bound = await opened.enter_async_context(
        running_admin(questions, progress, accounts, tls=certificate.tls, host=host, port=port)
    )
    _log.info("admin.serving", address=f"{host}:{bound}")


async def _open_webhook(
    plane: ControlPlane,
    api: Api,
    beside: Beside,
    address: tuple[str, int],
    certificate: WebhookCertificate,
    opened: AsyncExitStack,
) -> Duty:
    settings, (host, port) = beside.settings, address
    injection = settings.current.injection
    await asyncio.to_thread(warm_up, injection)
    namespaces = ClusterNamespaces(plane.store, api, monotonic=clock.monotonic)
    findings = AdmissionFindings(plane.store, now=clock.now, monotonic=clock.monotonic)
    opened.callback(findings.close)
    reviewers: dict[str, Reviewer] = {
        INJECT_PATH: InjectionReviewer(lambda: settings.current.injection, namespaces),
        VALIDATE_PATH: ValidationReviewer(lambda: settings.current.validation, findings),
    }
    bound = await opened.enter_async_context(running_webhook(reviewers, tls=certificate.tls, host=host, port=port))
    _log.info("webhook.serving", address=f"{host}:{bound}", revision=injection.revision)
    return BundleKeeper(
        api,
        webhook_configurations(injection.revision, REVISION),
        lambda: plane.trust_bundle,
        jitter=clock.jitter,
        monotonic=clock.monotonic,
    )
