"""The `when` of a policy: a key decides whether it asks for the caller or for the destination.

Source of the keys: Istio, "Authorization Policy Conditions".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from envoy_data_plane.envoy.config.rbac.v3 import Permission, Principal

from model.matching import Exact, StringMatch, policy_match
from model.policies import AddressSet, Condition, Either
from translators import permissions, principals
from translators.policy_matchers import build_header_matcher

_HEADER = "request.headers["

_OF_CALLER = frozenset(
    (
        "source.ip",
        "remote.ip",
        "source.namespace",
        "source.principal",
        "source.serviceAccount",
        "source.trustDomain",
    )
)
_OF_DESTINATION = frozenset(("destination.ip", "destination.port", "connection.sni"))


def is_known(condition: Condition) -> bool:
    """Whether we can tell if it holds."""
    return needs_http(condition) or condition.key in _OF_CALLER | _OF_DESTINATION


def needs_http(condition: Condition) -> bool:
    """Whether a bare connection lacks what it asks for."""
    return condition.key.startswith(_HEADER) and condition.key.endswith("]")


def of_caller(condition: Condition, trust_domains: Sequence[str]) -> list[Principal]:
    """The principals that must all hold; empty if the condition does not ask for the caller."""
    key = condition.key
    blocks = AddressSet(any_of=condition.values, none_of=condition.not_values)
    either = Either(any_of=_matches(condition.values), none_of=_matches(condition.not_values))
    if needs_http(condition):
        name = key[len(_HEADER) : -1].lower()
        return principals.of_either(either, lambda match: Principal(header=build_header_matcher(name, match)))
    match key:
        case "source.ip":
            return principals.of_addresses(blocks, principals.by_address)
        case "remote.ip":
            return principals.of_addresses(blocks, principals.by_forwarded_address)
        case "source.namespace":
            return principals.of_either(either, lambda match: principals.by_namespace(match, trust_domains))
        case "source.principal":
            return principals.of_either(either, lambda match: principals.by_principal(match, trust_domains))
        case "source.serviceAccount":
            accounts = Either(any_of=_exactly(condition.values), none_of=_exactly(condition.not_values))
            return principals.of_either(accounts, lambda match: principals.by_service_account(match, trust_domains))
        case "source.trustDomain":
            return principals.of_either(either, principals.by_trust_domain)
        case _:
            return []


def of_destination(condition: Condition) -> list[Permission]:
    """The permissions that must all hold; empty if the condition does not ask for the destination."""
    values, not_values = condition.values, condition.not_values
    match condition.key:
        case "destination.ip":
            return permissions.both(values, not_values, permissions.by_address)
        case "destination.port":
            return permissions.both(map(int, values), map(int, not_values), permissions.by_port)
        case "connection.sni":
            return permissions.both(_matches(values), _matches(not_values), permissions.by_server_name)
        case _:
            return []


def _matches(values: Iterable[str]) -> tuple[StringMatch, ...]:
    return tuple(policy_match(value) for value in values)


def _exactly(values: Iterable[str]) -> tuple[StringMatch, ...]:
    return tuple(Exact(value=value) for value in values)
