"""The control plane, put together: manifests in, xDS out, an admin socket beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, partial
from ipaddress import ip_address
from pathlib import Path

import grpc
import structlog

from heddle import clock
from heddle.admission import KnownKeys, PodAdmission
from heddle.cluster.identity import ClusterIdentity
from heddle.cluster.pod_tokens import ClusterTokens
from heddle.cluster.reading import ClusterReading
from heddle.cluster.replica_progress import list_rejections
from heddle.cluster.root_config_maps import RootConfigMaps
from heddle.culprits import Culprits
from heddle.rejections import to_problems
from heddle.sidecar_modes import SidecarModes
from heddle.stream_log import log_event
from model.asker import Capture
from model.names import CLUSTER_DOMAIN
from model.on_demand import SidecarConfig
from model.pods import Pod
from model.problems import Problem
from sds.authority import Authority
from sds.authority_store import load_or_create_authority
from sds.certificate_policy import CertificatePolicy
from sds.signing import IssuedCertificate, issue_server
from sds.token_signer import TokenSigner, load_or_create_token_signer
from sds.tokens import AUDIENCE, Account, Caller
from sources.directory import Directory
from sources.kubernetes.api import Api
from sources.kubernetes.object_status import ObjectStatuses
from sources.kubernetes.resources import Scope
from sources.kubernetes.source import KubernetesSource
from sources.source import Source
from sources.store import Store
from translators.mentions import names_needed
from translators.resources import answering, derive, names_in_scope
from xds.demand import DemandLimits
from xds.memo import Memo
from xds.server import AdsServer

NAMESPACE = "heddle-system"
SERVER_NAME = f"heddle.{NAMESPACE}.svc"
"""The name in the control plane's own certificate, which every sidecar insists on."""

STREAMS_OF_A_POD = 16
"""At a time: a sidecar has one, and for a moment those that it lost and that are not known to be dead yet."""

_SERVER_CERTIFICATE_LIFE = timedelta(days=1)
_TELL_SECONDS = 5.0
"""How often the log says what the control plane waits for before it serves."""
_log = structlog.get_logger()


class NotServing(Exception):
    """The source was not read whole yet; the text says what is missing."""


class NoTokens(Exception):
    """In a cluster pods have tokens of its own; the text says how one is had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """An API server, and what of it is read.

    `namespace` is Heddle's own: the authority's Secret is there. `server_name` is the DNS name by which sidecars know
    the control plane, that of its Service. `reading`: it is being read already.
    """

    api: Api
    scope: Scope = field(default_factory=Scope)
    reading: ClusterReading | None = None
    namespace: str = NAMESPACE
    server_name: str = SERVER_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneSettings:
    """What a control plane is started with.

    `directory` holds the manifests, or `cluster` has them: one of the two. `keys` is the directory of the certificate
    authority and the token key (made if they are missing), which a cluster has itself. `host`, an address, and `port`
    are where sidecars connect (port 0: any).
    `max_age` is how long a stream lasts, so that its sidecar shows a fresh token and replicas share the load; None for
    ever. `capture` says of a pod how its traffic reaches its sidecar, and where its application listens ('' for the
    pod's address). `sidecar_config` is how sidecars learn destinations. On demand, one that is sent ahead is taken
    back `unused_after` that (None: never), to see whether it is asked for. Raises ValueError for none or two sources.
    """

    directory: Path | None = None
    cluster: Cluster | None = None
    keys: Path
    host: str
    port: int = 0
    certificates: CertificatePolicy = field(default_factory=CertificatePolicy)
    max_age: timedelta | None = None
    capture: Callable[[Pod], tuple[Capture, str]] = lambda pod: (Capture.REDIRECT, "")
    sidecar_config: SidecarConfig = SidecarConfig.AUTO
    unused_after: timedelta | None = DemandLimits().unused_after

    def __post_init__(self) -> None:
        if (self.directory is None) == (self.cluster is None):
            raise ValueError("a control plane has one source: a directory or a cluster")


class ControlPlane:
    """One control plane. What `running` raises at its start (a port in use, unreadable keys) ends the process.

    A directory is read at once. A cluster is read by `running`: only once all of it was is there an authority, which
    needs the trust domain, and a port, so that no sidecar is ever told half of a mesh.
    """

    def __init__(self, settings: PlaneSettings) -> None:
        self._settings = settings
        self.store: Store
        self.source: Source
        self._watch: Callable[[], Coroutine[None, None, None]]
        self._loaded_authority: Authority | None = None
        self._signer: TokenSigner | None = None
        self._identity: ClusterIdentity | None = None
        admission = partial(
            PodAdmission,
            mesh=lambda: self.store.mesh,
            authority=lambda: self._authority,
            policy=settings.certificates,
            capture=settings.capture,
            jitter=clock.jitter,
            monotonic=clock.monotonic,
        )
        if settings.cluster is not None:
            cluster = settings.cluster
            reading = cluster.reading or ClusterReading(cluster.api, cluster.scope)
            self.store, self.source, self._watch = reading.store, reading.source, reading.run
            self._identity = ClusterIdentity(
                cluster.api,
                namespace=cluster.namespace,
                mesh_config=cluster.scope.mesh_config,
                now=clock.now,
                jitter=clock.jitter,
            )
            self.admission = admission(tokens=self._identity.tokens, exists=self._identity.pods.exists)
        else:
            assert settings.directory is not None
            self.store = Store(now=clock.now)
            directory = Directory(settings.directory, self.store)
            directory.scan()
            self.source, self._watch = directory, directory.watch
            settings.keys.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._load_authority()
            self._signer = load_or_create_token_signer(settings.keys, issuer=f"https://{SERVER_NAME}")
            self.admission = admission(tokens=KnownKeys(self._signer.keys, now=clock.now))
        self._memo = Memo(
            derive=derive,
            names=names_in_scope,
            report=log_event,
            answering=answering,
            mentions=names_needed,
        )
        modes = SidecarModes(settings.sidecar_config, mesh=lambda: self.store.mesh, memo=self._memo)
        self.streams = AdsServer(
            memo=self._memo,
            admission=self.admission,
            report=log_event,
            max_age=settings.max_age,
            most_of_one=STREAMS_OF_A_POD,
            jitter=clock.chance,
            on_demand=modes.on_demand,
            limits=DemandLimits(unused_after=settings.unused_after),
        )
        self.store.tell_refused(self._refused)
        self.shed = timedelta(0)
        """Over how long the streams are ended when the plane ends."""
        self.xds_address: tuple[str, int] = (settings.host, settings.port)
        self._pending: Callable[[], tuple[str, ...]] = tuple

    @property
    def server_name(self) -> str:
        """The DNS name that sidecars must find in the server's certificate."""
        cluster = self._settings.cluster
        return cluster.server_name if cluster is not None else SERVER_NAME

    @property
    def trust_bundle(self) -> bytes:
        """The roots in PEM: what a sidecar must have before it can ask for anything. Raises NotServing."""
        return self._authority.trust_bundle

    @property
    def authority(self) -> Authority:
        """What signs certificates at present. Raises NotServing."""
        return self._authority

    def mint_token(self, pod: Pod) -> str:
        """A token for one pod, good for an hour. Whoever runs the pod writes it to a file and renews it in time.

        Raises NoTokens in a cluster: there the kubelet does that.
        """
        if self._signer is None:
            command = (
                f"kubectl create token {pod.service_account} -n {pod.ref.namespace} --audience {AUDIENCE} "
                f"--bound-object-kind Pod --bound-object-name {pod.ref.name}"
            )
            raise NoTokens(f"pods of a cluster get their tokens from its kubelets; by hand: {command}")
        caller = Caller(
            namespace=pod.ref.namespace,
            service_account=pod.service_account,
            pod_name=pod.ref.name,
            pod_uid=pod.uid,
        )
        account_uid = f"{pod.ref.namespace}-{pod.service_account}"
        return self._signer.mint(caller, service_account_uid=account_uid, now=clock.now())

    @property
    def statuses(self) -> ObjectStatuses:
        """What a cluster's objects say of themselves. Raises AssertionError without one."""
        assert isinstance(self.source, KubernetesSource)
        return self.source.statuses

    @property
    def root_config_maps(self) -> RootConfigMaps:
        """The duty of handing out the roots in a cluster. Raises AssertionError without one."""
        assert self._identity is not None
        return self._identity.root_config_maps

    @property
    def admin_tokens(self) -> ClusterTokens[Account]:
        """Whose tokens are good that ask a control plane in a cluster. Raises AssertionError without one."""
        assert self._identity is not None
        return self._identity.admin_tokens

    @property
    def culprits(self) -> Callable[[], Culprits]:
        """What refused resources are made of at present: the objects are looked through once, when first asked for."""
        store = self.store
        return cache(lambda: Culprits(store.objects.values(), store.mesh.settings.root_namespace))

    def set_pending(self, pending: Callable[[], tuple[str, ...]]) -> None:
        """`pending` names what whoever runs the pods has not got to yet."""
        self._pending = pending

    def pending(self) -> tuple[str, ...]:
        """What is not applied yet outside the sidecars: pods that start or end."""
        return self._pending()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serves as long as the block lasts, which begins once the source was read whole.

        Raises OSError if the port cannot be bound, KeyFileError if the keys are of another trust domain; what comes up
        after the source was first watched comes in an ExceptionGroup.
        """
        if self._loaded_authority is not None:
            await self._open()
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(self._watch())]
            try:
                if self._identity is not None:
                    await self._sync()
                    self.store.pin_trust_domain()
                    await self._identity.load(self.store.mesh.settings.trust_domain)
                    await self._open()
                    background.append(tasks.create_task(self._identity.run()))
                yield
            finally:
                try:
                    # Until its turn to end comes, a sidecar is told of what changes.
                    await self.streams.stop(shed=self.shed)
                finally:
                    for task in background:
                        task.cancel()

    def _refused(self) -> tuple[Problem, ...]:
        return to_problems(list_rejections(self.streams.progress()), self.culprits)

    async def _sync(self) -> None:
        """Waits for the source, and says what for."""
        while True:
            try:
                async with asyncio.timeout(_TELL_SECONDS):
                    await self.source.synced()
            except TimeoutError:
                _log.warning("plane.waiting", source=self.source.name, pending=self.source.pending)
            else:
                return

    async def _open(self) -> None:
        port = self.streams.listen(f"{_bracketed(self._settings.host)}:{self._settings.port}", self._credentials())
        self.xds_address = (self._settings.host, port)
        self.store.on_change(self._publish)
        self._publish()
        await self.streams.start()
        _log.info("plane.serving", address=f"{self._settings.host}:{port}", source=self.source.name)

    @property
    def _authority(self) -> Authority:
        authority = self._identity.authority if self._identity is not None else self._loaded_authority
        if authority is None:
            raise NotServing("; ".join(self.source.pending) or "the control plane is starting")
        return authority

    def _load_authority(self) -> None:
        self.store.pin_trust_domain()
        self._loaded_authority = load_or_create_authority(
            self._settings.keys / "authority",
            trust_domain=self.store.mesh.settings.trust_domain,
            now=clock.now(),
        )

    def _publish(self) -> None:
        self.streams.publish(self.store.mesh, self.store.generation)
        self.admission.published()

    def _credentials(self) -> grpc.ServerCredentials:
        """TLS with a certificate of our own authority, a fresh one for every handshake that finds it half used."""
        held = self._issue_server()

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal held
            if clock.now() < held.issued_at + _SERVER_CERTIFICATE_LIFE / 2:
                return None
            held = self._issue_server()
            return _configuration(held)

        return grpc.dynamic_ssl_server_credentials(_configuration(held), renewed)

    def _issue_server(self) -> IssuedCertificate:
        address = ip_address(self._settings.host)
        names: tuple[str, ...] = (self.server_name,)
        if self._settings.cluster is not None:
            names += (f"{self.server_name}.{CLUSTER_DOMAIN}",)
        return issue_server(
            self._authority,
            dns_names=names,
            # Nobody connects to 0.0.0.0 or [::]: by which addresses they come is not known here.
            ip_addresses=() if address.is_unspecified else (address,),
            now=clock.now(),
            life=_SERVER_CERTIFICATE_LIFE,
        )


def _configuration(held: IssuedCertificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(((held.private_key, held.certificate_chain),))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
