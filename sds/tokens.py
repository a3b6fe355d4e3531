"""Tokens of pods, shaped as Kubernetes' projected service account tokens: who calls, bound to one pod.

Source: kubernetes/enhancements KEP-1205 (bound service account tokens) and RFC 7519.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar, assert_never

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from model.identity import SpiffeId

if TYPE_CHECKING:
    from jwt.types import Options

AUDIENCE = "heddle"
"""Of the tokens of pods, with which their sidecars ask for configuration."""

ADMIN_AUDIENCE = "heddle-admin"
"""Of the tokens with which replicas and people ask a control plane about itself."""

LONGEST_ADMIN_LIFE = timedelta(hours=1)
"""Tokens that are bound to no pod are good until they end, whatever becomes of their account: so that is soon."""

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
"""P-256 or RSA. The key's type says with which algorithm it verifies; what a token says of that counts for nothing."""

MAX_TOKEN_BYTES = 8 * 1024
"""Several times what Kubernetes makes; checked before anything is parsed."""

CLOCK_SKEW = timedelta(minutes=1)
"""How far the issuer's clock may be ahead of ours. A token's end gets no such grace."""

_SUBJECT_PREFIX = "system:serviceaccount:"
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_UID = re.compile(r"[A-Za-z0-9-]{1,128}")


class TokenRefused(Exception):
    """The caller's token is not accepted. `str()` is one text for every cause, fit to be sent to the caller.

    `reason` is for logs alone: it says which check failed and quotes nothing of the token.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("the token was not accepted")
        self.reason = reason


class UnknownSigner(TokenRefused):
    """The token names a key or an issuer that is not among those we know. They may be out of date."""


class CannotTell(Exception):
    """Whether a token is good cannot be known at present: whoever knows it cannot be asked. `reason` is for logs."""

    def __init__(self, reason: str) -> None:
        super().__init__("the token cannot be checked at present")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The pod that a token was made for, and the service account it runs as.

    Whether a pod of that uid still exists is for whoever knows the pods to check.
    Raises ValueError if a part is not of the form Kubernetes gives it.
    """

    namespace: str
    service_account: str
    pod_name: str
    pod_uid: str

    def __post_init__(self) -> None:
        if not _LABEL.fullmatch(self.namespace):
            raise ValueError("the namespace is no DNS label")
        for name in (self.service_account, self.pod_name):
            if len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
                raise ValueError("the service account or the pod has no DNS name")
        if not _UID.fullmatch(self.pod_uid):
            raise ValueError("the pod has no uid")

    def identity(self, trust_domain: str) -> SpiffeId:
        """The SPIFFE id of the caller. It comes from the token alone."""
        return SpiffeId(trust_domain=trust_domain, namespace=self.namespace, service_account=self.service_account)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The service account that a token was made for, and the pod that it is bound to, None for none.

    Raises ValueError if a part is not of the form Kubernetes gives it.
    """

    namespace: str
    name: str
    pod: Caller | None = None

    def __post_init__(self) -> None:
        if not _LABEL.fullmatch(self.namespace):
            raise ValueError("the namespace is no DNS label")
        if len(self.name) > 253 or not _SUBDOMAIN.fullmatch(self.name):
            raise ValueError("the service account has no DNS name")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKeys:
    """The public keys of one issuer, by key id."""

    issuer: str
    by_id: Mapping[str, PublicKey]


HolderT = TypeVar("HolderT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(Generic[HolderT]):
    """What a token says whose signature was not looked at: nothing is proved by it. `ends` is aware."""

    caller: HolderT
    issuer: str
    ends: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKind(Generic[HolderT]):
    """Tokens for one audience. `to_holder` says of verified claims who holds the token, or raises TokenRefused."""

    audience: str
    to_holder: Callable[[Mapping[str, object]], HolderT]

    def verify(self, text: str, *, keys: TokenKeys, now: datetime) -> HolderT:
        """Who calls: the token is signed by one of `keys` and in force at `now`, which is aware.

        Raises UnknownSigner if it is of another key or issuer, TokenRefused for everything else.
        """
        claims = _decode(text, keys, self.audience)
        _check_times(claims, now)
        return self.to_holder(claims)

    def read(self, text: str, *, now: datetime) -> Claimed[HolderT]:
        """What a token of an unknown key says of itself, so that nobody is asked about one that cannot be good.

        Raises TokenRefused for what `verify` would refuse under any key. `now` is aware.
        """
        claims = _decode(text, None, self.audience)
        _check_times(claims, now)
        try:
            ends = datetime.fromtimestamp(_seconds(claims, "exp"), UTC)
        except (OverflowError, ValueError, OSError):
            raise TokenRefused("exp is no time") from None
        return Claimed(caller=self.to_holder(claims), issuer=str(claims["iss"]), ends=ends)


def verify_token(text: str, *, keys: TokenKeys, now: datetime, audience: str = AUDIENCE) -> Caller:
    """The pod that calls, as `TokenKind.verify` has it."""
    return TokenKind(audience=audience, to_holder=_caller).verify(text, keys=keys, now=now)


def algorithm_of(key: PublicKey) -> str:
    """The one algorithm that this key verifies."""
    match key:
        case ec.EllipticCurvePublicKey():
            return "ES256"
        case rsa.RSAPublicKey():
            return "RS256"
        case _:
            assert_never(key)


def _decode(text: str, keys: TokenKeys | None, audience: str) -> Mapping[str, object]:
    """The claims, for `audience`; signed by one of `keys`, None: by anybody."""
    if len(text) > MAX_TOKEN_BYTES:
        raise TokenRefused(f"longer than {MAX_TOKEN_BYTES} bytes")
    # The times are compared with the clock that was passed in, not with the library's.
    options: Options = {
        "require": ["iss", "sub", "aud", "exp", "iat", "nbf"],
        "verify_aud": True,
        "verify_exp": False,
        "verify_nbf": False,
        "verify_iat": False,
        "verify_iss": False,
        "verify_signature": keys is not None,
    }
    try:
        if keys is None:
            return jwt.decode(text, options=options, audience=audience)
        key_id = jwt.get_unverified_header(text).get("kid")
        key = keys.by_id.get(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise UnknownSigner("signed by no known key")
        claims = jwt.decode(text, key, algorithms=[algorithm_of(key)], audience=audience, options=options)
        if claims["iss"] != keys.issuer:
            raise UnknownSigner("issued by another issuer")
        return claims
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        # Only the kind of error: some texts of the library quote the token. The cause would carry them along.
        raise TokenRefused(f"not verified: {type(error).__name__}") from None


def _check_times(claims: Mapping[str, object], now: datetime) -> None:
    if now.tzinfo is None:
        raise ValueError("an instant without a time zone")
    seconds = now.timestamp()
    if seconds >= _seconds(claims, "exp"):
        raise TokenRefused("expired")
    if seconds + CLOCK_SKEW.total_seconds() < max(_seconds(claims, "nbf"), _seconds(claims, "iat")):
        raise TokenRefused("not yet in force")


def _seconds(claims: Mapping[str, object], name: str) -> int:
    match claims.get(name):
        case bool():
            raise TokenRefused(f"{name} is no number of seconds")
        case int(value):
            return value
        case _:
            raise TokenRefused(f"{name} is no number of seconds")


def _caller(claims: Mapping[str, object]) -> Caller:
    match claims.get("kubernetes.io"):
        case {
            "namespace": str(namespace),
            "serviceaccount": {"name": str(service_account)},
            "pod": {"name": str(pod_name), "uid": str(pod_uid)},
        }:
            pass
        case _:
            raise TokenRefused("not bound to a pod")
    if claims.get("sub") != f"{_SUBJECT_PREFIX}{namespace}:{service_account}":
        raise TokenRefused("the subject is not the service account")
    try:
        return Caller(namespace=namespace, service_account=service_account, pod_name=pod_name, pod_uid=pod_uid)
    except ValueError as error:
        raise TokenRefused(str(error)) from None


def _account(claims: Mapping[str, object]) -> Account:
    if _seconds(claims, "exp") - _seconds(claims, "iat") > LONGEST_ADMIN_LIFE.total_seconds():
        raise TokenRefused("it lives for longer than an hour")
    match claims.get("kubernetes.io"):
        case {"namespace": str(namespace), "serviceaccount": {"name": str(name)}, **more}:
            pass
        case _:
            raise TokenRefused("of no service account")
    if claims.get("sub") != f"{_SUBJECT_PREFIX}{namespace}:{name}":
        raise TokenRefused("the subject is not the service account")
    try:
        return Account(namespace=namespace, name=name, pod=_caller(claims) if "pod" in more else None)
    except ValueError as error:
        raise TokenRefused(str(error)) from None


POD_TOKENS = TokenKind(audience=AUDIENCE, to_holder=_caller)
"""What sidecars show."""

ADMIN_TOKENS = TokenKind(audience=ADMIN_AUDIENCE, to_holder=_account)
"""What replicas and people show."""


def to_subject(caller: Caller) -> str:
    """`system:serviceaccount:NAMESPACE:NAME`."""
    return f"{_SUBJECT_PREFIX}{caller.namespace}:{caller.service_account}"
