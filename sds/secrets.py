"""The secrets of one stream: a key and certificate made for it, in memory, and the trust bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509

from model.identity import SpiffeId
from model.names import IDENTITY_SECRET, TRUST_BUNDLE_SECRET
from protos.encoder import encode
from sds.authority import Authority
from sds.certificate_policy import CertificatePolicy
from sds.envoy_secrets import build_certificate_secret, build_trust_bundle_secret
from sds.renewal import renew_at
from sds.signing import Svid, issue_workload, to_serial


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedSecret:
    """One secret as SDS sends it. `body` is the encoded Envoy `Secret`; that of `default` has a key in it.

    `renew_at` is when `WorkloadSecrets.renew` is due; None for what has no end of its own.
    """

    name: str
    version: str
    body: bytes = field(repr=False)
    renew_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretDescription:
    """What may be shown of a certificate: `heddle config secret` prints this. Never a key."""

    name: str
    serial: str
    spiffe_id: str
    issuer: str
    not_before: datetime
    not_after: datetime
    renew_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    svid: Svid
    secret: IssuedSecret


class WorkloadSecrets:
    """The secrets of one stream, for the identity its token proved. Nothing is stored.

    `authority` is asked each time, so that a replaced intermediate or root is used by the next certificate;
    `jitter` returns a number from -1 to 1 and spreads the renewals.
    """

    __slots__ = ("_authority", "_held", "_identity", "_jitter", "_policy")

    def __init__(
        self,
        *,
        authority: Callable[[], Authority],
        identity: SpiffeId,
        policy: CertificatePolicy,
        jitter: Callable[[], float],
    ) -> None:
        self._authority = authority
        self._identity = identity
        self._policy = policy
        self._jitter = jitter
        self._held: _Held | None = None

    def __repr__(self) -> str:
        return f"WorkloadSecrets(identity={str(self._identity)!r})"

    def secret(self, name: str, now: datetime) -> IssuedSecret | None:
        """The secret of that name; None if there is none such.

        The first time, and once the held certificate has ended, a certificate is issued; else the held one is
        given, due for renewal or not. Raises ValueError if the authority has ended or is of another trust
        domain.
        """
        if name == TRUST_BUNDLE_SECRET:
            return self._trust_bundle()
        if name != IDENTITY_SECRET:
            return None
        if self._held is None or not self.holds(now):
            return self.renew(now)
        return self._held.secret

    def holds(self, now: datetime) -> bool:
        """Whether there is a certificate that has not ended: none is issued for `secret` then."""
        return self._held is not None and now < self._held.svid.not_after

    def renew(self, now: datetime) -> IssuedSecret:
        """A new key and certificate, held from now on. The old one stays if this raises, as `secret` does."""
        svid = issue_workload(self._authority(), identity=self._identity, now=now, life=self._policy.life)
        secret = IssuedSecret(
            name=IDENTITY_SECRET,
            version=svid.serial,
            body=encode(build_certificate_secret(IDENTITY_SECRET, svid)),
            renew_at=renew_at(issued_at=svid.issued_at, not_after=svid.not_after, jitter=self._jitter()),
        )
        self._held = _Held(svid=svid, secret=secret)
        return secret

    @property
    def renew_at(self) -> datetime | None:
        """When the held certificate is to be renewed; None before one was asked for."""
        return self._held.secret.renew_at if self._held else None

    def describe(self) -> tuple[SecretDescription, ...]:
        """The certificate held, if any, then the roots."""
        authority = self._authority()
        described = tuple(
            _describe_root(root, authority.trust_domain)
            for root in x509.load_pem_x509_certificates(authority.trust_bundle)
        )
        if self._held is None:
            return described
        svid = self._held.svid
        identity = SecretDescription(
            name=IDENTITY_SECRET,
            serial=svid.serial,
            spiffe_id=str(svid.identity),
            issuer=svid.issuer,
            not_before=svid.not_before,
            not_after=svid.not_after,
            renew_at=self._held.secret.renew_at,
        )
        return (identity, *described)

    def _trust_bundle(self) -> IssuedSecret:
        body = encode(build_trust_bundle_secret(TRUST_BUNDLE_SECRET, self._authority().trust_bundle))
        return IssuedSecret(
            name=TRUST_BUNDLE_SECRET, version=hashlib.sha256(body).hexdigest()[:16], body=body, renew_at=None
        )


def _describe_root(root: x509.Certificate, trust_domain: str) -> SecretDescription:
    return SecretDescription(
        name=TRUST_BUNDLE_SECRET,
        serial=to_serial(root),
        spiffe_id=f"spiffe://{trust_domain}",
        issuer=root.issuer.rfc4514_string(),
        not_before=root.not_valid_before_utc,
        not_after=root.not_valid_after_utc,
        renew_at=None,
    )
