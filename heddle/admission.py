"""Who may open a stream: the pod whose token it shows, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog

from heddle.cluster.token_bucket import TokenBucket
from model.asker import Asker, Capture
from model.mesh import Mesh
from model.names import IDENTITY_SECRET
from model.pods import Pod, ProxyKind
from sds.authority import Authority
from sds.certificate_policy import CertificatePolicy
from sds.gateway_secrets import describe_server_secrets, find_server_secret
from sds.secrets import IssuedSecret, SecretDescription, WorkloadSecrets
from sds.tokens import Caller, CannotTell, TokenKeys, TokenRefused, verify_token
from translators.bootstrap import NODE_TYPES
from translators.proxyless_tls import CERTIFICATE_PROVIDER, METADATA_KEY
from xds.admission import Exhausted, PermissionDenied, Unauthenticated, Unavailable
from xds.stream_secrets import StreamSecrets
from xds.wire import Node

_BEARER = "Bearer "
_HAS_IPV6 = Path("/proc/net/if_inet6").exists()
"""Whether this machine has IPv6: sidecars elsewhere are assumed to be like it."""

ARRIVAL_SECONDS = 5.0
"""How long a stream waits for its pod, which exists, to get into the snapshot: a watch is behind by milliseconds."""

ISSUES_AT_ONCE = 20
SECONDS_PER_ISSUE = 10.0
"""How many streams, each with a certificate of its own, a pod may open: at once, and one more every so often. A sidecar
opens one at its start, after each restart of a control plane, and then one in half an hour."""

_log = structlog.get_logger()


def _is_grpc(node: Node) -> bool:
    """Whether it is the application itself that asks: gRPC libraries say so in their user agent."""
    return node.user_agent.startswith("gRPC")


def _has_certificates(node: Node) -> bool:
    return node.metadata.get(METADATA_KEY) == CERTIFICATE_PROVIDER


class PodTokens(Protocol):
    """Knows whose tokens are good."""

    async def verify(self, text: str) -> Caller:
        """The pod that a token proves. Raises TokenRefused, or CannotTell if that cannot be known at present."""


class KnownKeys:
    """Tokens of an issuer whose keys are all here."""

    def __init__(self, keys: TokenKeys, *, now: Callable[[], datetime]) -> None:
        self._keys = keys
        self._now = now

    async def verify(self, text: str) -> Caller:
        """See `PodTokens`."""
        return verify_token(text, keys=self._keys, now=self._now())


async def _nobody_else(caller: Caller) -> bool:
    return False


class PodAdmission:
    """Lets in the pods of the present snapshot, each with its token only, and makes each stream its own secrets.

    Source of the rules: a token proves a pod (name and uid) and its service account; the pod must exist and be of
    that account, and the node must call itself that pod.
    """

    def __init__(
        self,
        *,
        mesh: Callable[[], Mesh],
        tokens: PodTokens,
        authority: Callable[[], Authority],
        policy: CertificatePolicy,
        capture: Callable[[Pod], tuple[Capture, str]],
        jitter: Callable[[], float],
        monotonic: Callable[[], float],
        exists: Callable[[Caller], Awaitable[bool]] = _nobody_else,
    ) -> None:
        """`capture` says how a pod's traffic reaches its sidecar, and where its application listens ('': there).

        `exists` is asked for pods that the snapshot lacks: whether they are about to be in one. Raises CannotTell.
        """
        self._mesh = mesh
        self._tokens = tokens
        self._authority = authority
        self._policy = policy
        self._capture = capture
        self._jitter = jitter
        self._monotonic = monotonic
        self._exists = exists
        self._issues: dict[Caller, TokenBucket] = {}
        self._secrets: dict[Caller, WorkloadSecrets] = {}
        self._published = asyncio.Event()
        self.issued = 0
        """How many certificates this process has made for pods."""
        self._askers: dict[tuple[Caller, bool, bool], tuple[Pod, Asker]] = {}
        """Of each caller, whether it has no proxy, and then certificates, with the pod that it was made of."""
        self._pods: object = None
        """Of the snapshot that was published last."""

    async def authenticate(self, metadata: Mapping[str, str], peer: str) -> Caller:
        """The pod that the token proves, which is in the snapshot. Raises Unauthenticated, always with the same text,
        and Unavailable while it cannot be told."""
        credential = metadata.get("authorization", "")
        try:
            if not credential.startswith(_BEARER):
                raise TokenRefused("no bearer token")
            caller = await self._tokens.verify(credential.removeprefix(_BEARER))
            await self._await(caller)
        except TokenRefused as refused:
            _log.warning("xds.unauthenticated", peer=peer, reason=refused.reason)
            raise Unauthenticated(str(refused)) from refused
        except CannotTell as unknown:
            _log.warning("xds.cannot_tell", peer=peer, reason=unknown.reason)
            raise Unavailable(str(unknown)) from unknown
        _log.info("xds.authenticated", peer=peer, **_names(caller))
        return caller

    def admit(self, caller: Caller, node: Node) -> Asker:
        """The asker that this pod is. Raises PermissionDenied if the node is another's, Unauthenticated if the pod has
        just gone. The text is that of every refusal: the log says which it was."""
        asker = self.asker_of(caller, node)
        refused = TokenRefused("there is no such pod")
        if asker is None:
            _log.warning("xds.unauthenticated", reason=refused.reason, **_names(caller))
            raise Unauthenticated(str(refused))
        kind, _, rest = node.id.partition("~")
        parts = rest.split("~")
        if kind != NODE_TYPES[asker.kind] or len(parts) != 3 or parts[1] != f"{caller.pod_name}.{caller.namespace}":
            _log.warning("xds.wrong_node", node=node.id[:300], **_names(caller))
            raise PermissionDenied(str(refused))
        return asker

    def asker_of(self, caller: Caller, node: Node) -> Asker | None:
        """The asker that this pod is at present, None if it is gone or another of the same name took its place.

        The same object as long as the pod is.
        """
        pod = self._mesh().pods.get((caller.namespace, caller.pod_name))
        is_grpc = _is_grpc(node)
        key = (caller, is_grpc, is_grpc and _has_certificates(node))
        known = self._askers.get(key)
        if known is not None and known[0] is pod:
            return known[1]
        if pod is None or pod.uid != caller.pod_uid or pod.service_account != caller.service_account:
            self._askers.pop(key, None)
            return None
        proxyless = is_grpc and pod.proxy is ProxyKind.SIDECAR
        asker = self._to_asker(pod, ProxyKind.PROXYLESS if proxyless else pod.proxy)
        if proxyless and _has_certificates(node):
            asker = replace(asker, certificates=True)
        self._askers[key] = (pod, asker)
        return asker

    def _to_asker(self, pod: Pod, kind: ProxyKind) -> Asker:
        capture, application_address = self._capture(pod)
        return Asker(
            namespace=pod.ref.namespace,
            pod=pod.ref.name,
            service_account=pod.service_account,
            kind=kind,
            labels=pod.labels,
            locality=pod.locality,
            address=pod.addresses[0] if pod.addresses else "",
            capture=capture,
            application_address=application_address,
            ipv6=capture is Capture.REDIRECT and _HAS_IPV6,
        )

    def secrets_for(self, caller: Caller, peer: str) -> StreamSecrets:
        """Fresh secrets for a new stream of this pod. Raises Exhausted, before there is a key, if it opens too many."""
        bucket = self._issues.get(caller)
        if bucket is None:
            bucket = TokenBucket(per_second=1 / SECONDS_PER_ISSUE, burst=ISSUES_AT_ONCE)
            self._issues[caller] = bucket
        if not bucket.take_now(self._monotonic()):
            _log.warning("identity.too_many", peer=peer, **_names(caller))
            raise Exhausted(f"too many streams of a pod: one more every {SECONDS_PER_ISSUE:g} s")
        identity = caller.identity(self._mesh().settings.trust_domain)
        secrets = WorkloadSecrets(
            authority=self._authority, identity=identity, policy=self._policy, jitter=self._jitter
        )
        self._secrets[caller] = secrets
        issued_to = {"peer": peer, "identity": str(identity), **_names(caller)}
        return _GuardedSecrets(
            secrets, issued_to, lambda: self.asker_of(caller, _NOBODY), self._mesh, self._count_issue
        )

    def describe(self, namespace: str, pod: str) -> tuple[SecretDescription, ...]:
        """The certificates of the newest stream of a pod; empty if it never had one. Never a key."""
        for caller, secrets in reversed(self._secrets.items()):
            if (caller.namespace, caller.pod_name) == (namespace, pod):
                asker = self.asker_of(caller, _NOBODY)
                return (*secrets.describe(), *(describe_server_secrets(asker, self._mesh()) if asker else ()))
        return ()

    def published(self) -> None:
        """There is another snapshot: drops the secrets of pods that are gone, lets in those that were waited for."""
        self._published.set()
        self._published = asyncio.Event()
        if self._mesh().pods is self._pods:
            return
        self._pods = self._mesh().pods
        known = self._issues.keys() | {caller for caller, _, _ in self._askers}
        for caller in [caller for caller in known if self.asker_of(caller, _NOBODY) is None]:
            self._issues.pop(caller, None)
            self._secrets.pop(caller, None)
            for is_grpc, has_certificates in ((False, False), (True, False), (True, True)):
                self._askers.pop((caller, is_grpc, has_certificates), None)

    async def _await(self, caller: Caller) -> None:
        """Returns once the pod is in the snapshot. Raises TokenRefused if there is none, CannotTell if nobody knows."""
        if self._is_here(caller):
            return
        if not await self._exists(caller) and not self._is_here(caller):
            raise TokenRefused("there is no such pod")
        try:
            async with asyncio.timeout(ARRIVAL_SECONDS):
                while not self._is_here(caller):
                    await self._published.wait()
        except TimeoutError:
            raise CannotTell("the pod exists, and the watch has not shown it yet") from None

    def _count_issue(self) -> None:
        self.issued += 1

    def _is_here(self, caller: Caller) -> bool:
        return self.asker_of(caller, _NOBODY) is not None


_NOBODY = Node(id="")


def _names(caller: Caller) -> Mapping[str, str]:
    return {"namespace": caller.namespace, "pod": caller.pod_name, "uid": caller.pod_uid}


class _GuardedSecrets:
    """Secrets of which a certificate is made only as long as its pod is there; each is written to the log.

    A gateway's servers' certificates are among them.
    """

    __slots__ = ("_asker", "_count", "_issued_to", "_mesh", "_secrets")

    def __init__(
        self,
        secrets: WorkloadSecrets,
        issued_to: Mapping[str, str],
        asker: Callable[[], Asker | None],
        mesh: Callable[[], Mesh],
        count: Callable[[], None],
    ) -> None:
        """`count` is called for each certificate made."""
        self._secrets = secrets
        self._count = count
        self._issued_to = issued_to
        self._asker = asker
        self._mesh = mesh

    def secret(self, name: str, now: datetime) -> IssuedSecret | None:
        if name == IDENTITY_SECRET and not self._secrets.holds(now):
            return self.renew(now)
        own = self._secrets.secret(name, now)
        asker = self._asker() if own is None else None
        return own if asker is None else find_server_secret(name, asker, self._mesh())

    def renew(self, now: datetime) -> IssuedSecret:
        if self._asker() is None:
            raise LookupError("the pod is gone: it gets no certificate any more")
        issued = self._secrets.renew(now)
        self._count()
        _log.info("identity.issued", serial=issued.version, **self._issued_to)
        return issued
