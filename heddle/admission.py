"""Who may open a stream: the pod whose token it shows, and nobody else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import structlog

from model.asker import Asker, Capture
from model.mesh import Mesh
from model.pods import Pod
from sds.authority import Authority
from sds.certificate_policy import CertificatePolicy
from sds.gateway_secrets import describe_server_secrets, find_server_secret
from sds.secrets import IssuedSecret, SecretDescription, WorkloadSecrets
from sds.tokens import Caller, TokenKeys, TokenRefused, verify_token
from translators.bootstrap import NODE_TYPES
from xds.admission import PermissionDenied, Unauthenticated
from xds.stream_secrets import StreamSecrets
from xds.wire import Node

_BEARER = "Bearer "
_HAS_IPV6 = Path("/proc/net/if_inet6").exists()
"""Whether this machine has IPv6: sidecars elsewhere are assumed to be like it."""

_log = structlog.get_logger()


class PodAdmission:
    """Lets in the pods of the present snapshot, each with its token only, and makes each stream its own secrets.

    Source of the rules: a token proves a pod (name and uid) and its service account; the pod must exist and be of
    that account, and the node must call itself that pod.
    """

    def __init__(
        self,
        *,
        mesh: Callable[[], Mesh],
        keys: TokenKeys,
        authority: Callable[[], Authority],
        policy: CertificatePolicy,
        capture: Callable[[Pod], tuple[Capture, str]],
        now: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        """`capture` says how a pod's traffic reaches its sidecar, and where its application listens ('': there)."""
        self._mesh = mesh
        self._keys = keys
        self._authority = authority
        self._policy = policy
        self._capture = capture
        self._now = now
        self._jitter = jitter
        self._secrets: dict[Caller, WorkloadSecrets] = {}

    async def authenticate(self, metadata: Mapping[str, str], peer: str) -> Caller:
        """The pod that the token proves. Raises Unauthenticated, always with the same text."""
        credential = metadata.get("authorization", "")
        try:
            if not credential.startswith(_BEARER):
                raise TokenRefused("no bearer token")
            return verify_token(credential.removeprefix(_BEARER), keys=self._keys, now=self._now())
        except TokenRefused as refused:
            _log.warning("xds.unauthenticated", peer=peer, reason=refused.reason)
            raise Unauthenticated(str(refused)) from refused

    def admit(self, caller: Caller, node: Node) -> Asker:
        """The asker that this pod is. Raises PermissionDenied if the pod is unknown or the node another's."""
        asker = self.asker_of(caller, node)
        if asker is None:
            _log.warning("xds.unknown_pod", namespace=caller.namespace, pod=caller.pod_name)
            raise PermissionDenied("there is no such pod")
        kind, _, rest = node.id.partition("~")
        parts = rest.split("~")
        if kind != NODE_TYPES[asker.kind] or len(parts) != 3 or parts[1] != f"{caller.pod_name}.{caller.namespace}":
            _log.warning("xds.wrong_node", namespace=caller.namespace, pod=caller.pod_name, node=node.id)
            raise PermissionDenied("the node is not the pod that the token was made for")
        return asker

    def asker_of(self, caller: Caller, node: Node) -> Asker | None:
        """The asker that this pod is at present, None if it is gone or another of the same name took its place."""
        pod = self._mesh().pods.get((caller.namespace, caller.pod_name))
        if pod is None or pod.uid != caller.pod_uid or pod.service_account != caller.service_account:
            return None
        capture, application_address = self._capture(pod)
        return Asker(
            namespace=pod.ref.namespace,
            pod=pod.ref.name,
            service_account=pod.service_account,
            kind=pod.proxy,
            labels=pod.labels,
            locality=pod.locality,
            address=pod.addresses[0] if pod.addresses else "",
            capture=capture,
            application_address=application_address,
            ipv6=capture is Capture.REDIRECT and _HAS_IPV6,
        )

    def secrets_for(self, caller: Caller) -> StreamSecrets:
        """Fresh secrets for a new stream of this pod."""
        secrets = WorkloadSecrets(
            authority=self._authority,
            identity=caller.identity(self._mesh().settings.trust_domain),
            policy=self._policy,
            jitter=self._jitter,
        )
        self._secrets[caller] = secrets
        return _GuardedSecrets(secrets, lambda: self.asker_of(caller, _NOBODY), self._mesh)

    def describe(self, namespace: str, pod: str) -> tuple[SecretDescription, ...]:
        """The certificates of the newest stream of a pod; empty if it never had one. Never a key."""
        for caller, secrets in reversed(self._secrets.items()):
            if (caller.namespace, caller.pod_name) == (namespace, pod):
                asker = self.asker_of(caller, _NOBODY)
                return (*secrets.describe(), *(describe_server_secrets(asker, self._mesh()) if asker else ()))
        return ()

    def forget_gone(self) -> None:
        """Drops the secrets of pods that are gone."""
        for caller in [caller for caller in self._secrets if self.asker_of(caller, _NOBODY) is None]:
            del self._secrets[caller]


_NOBODY = Node(id="")


class _GuardedSecrets:
    """Secrets that are renewed only as long as their pod is there; a gateway's servers' too."""

    __slots__ = ("_asker", "_mesh", "_secrets")

    def __init__(self, secrets: WorkloadSecrets, asker: Callable[[], Asker | None], mesh: Callable[[], Mesh]) -> None:
        self._asker = asker
        self._mesh = mesh
        self._secrets = secrets

    def secret(self, name: str, now: datetime) -> IssuedSecret | None:
        own = self._secrets.secret(name, now)
        asker = self._asker() if own is None else None
        return own if asker is None else find_server_secret(name, asker, self._mesh())

    def renew(self, now: datetime) -> IssuedSecret:
        if self._asker() is None:
            raise LookupError("the pod is gone: its certificate is not renewed")
        return self._secrets.renew(now)
