"""Who calls, as RBAC principals: what the caller's certificate says, or where the connection comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, assert_never

from envoy_data_plane.envoy.config.rbac.v3 import Principal, PrincipalSet
from envoy_data_plane.envoy.extensions.rbac.principals.mtls_authenticated.v3 import Config as MtlsAuthenticated
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from model.identity import DEFAULT_TRUST_DOMAIN
from model.matching import Exact, Prefix, Present, Regex, StringMatch, Suffix
from model.policies import AddressSet, Either, Source
from translators.addresses import build_range
from translators.filters import extension
from translators.policy_matchers import prefix, quote, regex, suffix

T = TypeVar("T")

ANYONE = Principal(any=True)

_DOMAIN = "[^/]+"
_SEGMENT = "[^/]+"


def build_source(source: Source, trust_domains: Sequence[str]) -> Principal:
    """Everything the source sets must hold. `trust_domains`: the mesh's own first, then its aliases."""
    return all_of(
        [
            *of_either(source.principals, lambda match: by_principal(match, trust_domains)),
            *of_either(source.namespaces, lambda match: by_namespace(match, trust_domains)),
            *of_either(source.service_accounts, lambda match: by_service_account(match, trust_domains)),
            *of_addresses(source.ip_blocks, by_address),
        ]
    )


def by_principal(match: StringMatch, trust_domains: Sequence[str]) -> Principal:
    """The SPIFFE id without its scheme. A trust domain of the mesh's, or `cluster.local`, stands for all of them."""
    match match:
        case Exact(value=value):
            return any_of([_san(StringMatcher(exact=f"spiffe://{id_}")) for id_ in _in_all(value, trust_domains)])
        case Prefix(value=value):
            return any_of([_san(StringMatcher(prefix=f"spiffe://{id_}")) for id_ in _in_all(value, trust_domains)])
        case Suffix(value=value):
            return any_of([_san(suffix(id_)) for id_ in _in_all(value, trust_domains)])
        case Regex(value=value):
            return _san(regex(f"spiffe://(?:{value})"))
        case Present():
            return _san(StringMatcher(prefix="spiffe://"))
        case _:
            assert_never(match)


def by_namespace(match: StringMatch, trust_domains: Sequence[str]) -> Principal:
    """The namespace within the SPIFFE id."""
    match match:
        case Exact(value=value):
            return any_of([_san(prefix(f"spiffe://{domain}/ns/{value}/sa/")) for domain in trust_domains])
        case Prefix(value=value):
            return any_of([_san(prefix(f"spiffe://{domain}/ns/{value}")) for domain in trust_domains])
        case Suffix(value=value):
            return _san(regex(f"spiffe://{_DOMAIN}/ns/[^/]*{quote(value)}/sa/{_SEGMENT}"))
        case Regex(value=value):
            return _san(regex(f"spiffe://{_DOMAIN}/ns/(?:{value})/sa/{_SEGMENT}"))
        case Present():
            return any_of([_san(prefix(f"spiffe://{domain}/ns/")) for domain in trust_domains])
        case _:
            assert_never(match)


def by_service_account(match: StringMatch, trust_domains: Sequence[str]) -> Principal:
    """`NAMESPACE/NAME` within the SPIFFE id."""
    match match:
        case Exact(value=value):
            path = _service_account_path(value)
            return any_of([_san(StringMatcher(exact=f"spiffe://{domain}/{path}")) for domain in trust_domains])
        case Prefix(value=value):
            path = _service_account_path(value)
            return any_of([_san(prefix(f"spiffe://{domain}/{path}")) for domain in trust_domains])
        case Suffix(value=value):
            return _san(regex(f"spiffe://{_DOMAIN}/ns/{_SEGMENT}/sa/[^/]*{quote(value.rpartition('/')[2])}"))
        case Regex(value=value):
            return _san(regex(f"spiffe://{_DOMAIN}/ns/{_SEGMENT}/sa/(?:{value})"))
        case Present():
            return any_of([_san(prefix(f"spiffe://{domain}/ns/")) for domain in trust_domains])
        case _:
            assert_never(match)


def by_trust_domain(match: StringMatch) -> Principal:
    """The trust domain of the SPIFFE id."""
    match match:
        case Exact(value=value):
            return _san(prefix(f"spiffe://{value}/"))
        case Prefix(value=value):
            return _san(prefix(f"spiffe://{value}"))
        case Suffix(value=value):
            return _san(regex(f"spiffe://[^/]*{quote(value)}/.*"))
        case Regex(value=value):
            return _san(regex(f"spiffe://(?:{value})/.*"))
        case Present():
            return _san(StringMatcher(prefix="spiffe://"))
        case _:
            assert_never(match)


def by_address(block: str) -> Principal:
    """The connection's own remote address. Raises ValueError if `block` is no address and no CIDR block."""
    return Principal(direct_remote_ip=build_range(block))


def by_forwarded_address(block: str) -> Principal:
    """The client's address as `x-forwarded-for` tells it. Raises ValueError like `by_address`."""
    return Principal(remote_ip=build_range(block))


def of_either(either: Either, build: Callable[[StringMatch], Principal]) -> list[Principal]:
    """The principals that must all hold for `either`."""
    return _both(either.any_of, either.none_of, build)


def of_addresses(blocks: AddressSet, build: Callable[[str], Principal]) -> list[Principal]:
    """The principals that must all hold for `blocks`."""
    return _both(blocks.any_of, blocks.none_of, build)


def any_of(principals: Sequence[Principal]) -> Principal:
    """At least one must hold. `principals` must not be empty."""
    return principals[0] if len(principals) == 1 else Principal(or_ids=PrincipalSet(ids=list(principals)))


def all_of(principals: Sequence[Principal]) -> Principal:
    """All must hold; none at all is anyone."""
    if not principals:
        return ANYONE
    return principals[0] if len(principals) == 1 else Principal(and_ids=PrincipalSet(ids=list(principals)))


def none_of(principals: Sequence[Principal]) -> Principal:
    """None may hold. `principals` must not be empty."""
    return Principal(not_id=any_of(principals))


def _both(any_: Iterable[T], none: Iterable[T], build: Callable[[T], Principal]) -> list[Principal]:
    wanted = [build(value) for value in any_]
    unwanted = [build(value) for value in none]
    return [*([any_of(wanted)] if wanted else []), *([none_of(unwanted)] if unwanted else [])]


def _san(matcher: StringMatcher) -> Principal:
    """A peer whose certificate was verified and has such a URI: the one SAN that SPIFFE gives a meaning to."""
    matcher_of_uri = SubjectAltNameMatcher(san_type=SubjectAltNameMatcherSanType.URI, matcher=matcher)
    return Principal(
        custom=extension("envoy.rbac.principals.mtls_authenticated", MtlsAuthenticated(san_matcher=matcher_of_uri))
    )


def _in_all(identity: str, trust_domains: Sequence[str]) -> list[str]:
    """`identity` once for each trust domain that its own one stands for."""
    domain, slash, path = identity.partition("/")
    if slash and domain in (*trust_domains, DEFAULT_TRUST_DOMAIN):
        return [f"{name}/{path}" for name in trust_domains]
    return [identity]


def _service_account_path(value: str) -> str:
    namespace, _, name = value.partition("/")
    return f"ns/{namespace}/sa/{name}"
