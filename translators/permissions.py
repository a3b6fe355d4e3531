"""What is called, as RBAC permissions: the request's host, method and path, and the connection's destination."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from envoy_data_plane.envoy.config.rbac.v3 import Permission, PermissionSet
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.path.match.uri_template.v3 import UriTemplateMatchConfig
from envoy_data_plane.envoy.type.matcher.v3 import PathMatcher

from model.matching import StringMatch
from model.policies import Operation
from translators.addresses import build_range
from translators.filters import extension
from translators.policy_matchers import build_header_matcher, build_host_matcher, build_string_matcher

T = TypeVar("T")

ANYTHING = Permission(any=True)


def build_operation(operation: Operation, *, http: bool) -> Permission:
    """Everything the operation sets must hold. Without `http`, what only a request has is left out."""
    return all_of(
        [
            *(_of_request(operation) if http else ()),
            *both(operation.ports.any_of, operation.ports.none_of, by_port),
        ]
    )


def needs_http(operation: Operation) -> bool:
    """Whether the operation sets a field that a bare connection does not have."""
    return bool(
        operation.hosts
        or operation.methods
        or operation.paths
        or operation.path_templates
        or operation.not_path_templates
    )


def by_port(port: int) -> Permission:
    """The workload's port that the connection was made to."""
    return Permission(destination_port=port)


def by_address(block: str) -> Permission:
    """The address that the connection was made to. Raises ValueError if `block` is no address and no CIDR block."""
    return Permission(destination_ip=build_range(block))


def by_server_name(match: StringMatch) -> Permission:
    """The name that the client's TLS asks for."""
    return Permission(requested_server_name=build_string_matcher(match))


def both(any_: Iterable[T], none: Iterable[T], build: Callable[[T], Permission]) -> list[Permission]:
    """The permissions that must all hold for one of `any_` (empty: no matter) and none of `none`."""
    return _both([build(value) for value in any_], [build(value) for value in none])


def any_of(permissions: Sequence[Permission]) -> Permission:
    """At least one must hold. `permissions` must not be empty."""
    return permissions[0] if len(permissions) == 1 else Permission(or_rules=PermissionSet(rules=list(permissions)))


def all_of(permissions: Sequence[Permission]) -> Permission:
    """All must hold; none at all is anything."""
    if not permissions:
        return ANYTHING
    return permissions[0] if len(permissions) == 1 else Permission(and_rules=PermissionSet(rules=list(permissions)))


def _of_request(operation: Operation) -> list[Permission]:
    paths = operation.paths
    return [
        *both(operation.hosts.any_of, operation.hosts.none_of, _by_host),
        *both(operation.methods.any_of, operation.methods.none_of, _by_method),
        *_both(
            [*map(_by_path, paths.any_of), *map(_by_template, operation.path_templates)],
            [*map(_by_path, paths.none_of), *map(_by_template, operation.not_path_templates)],
        ),
    ]


def _by_host(match: StringMatch) -> Permission:
    return Permission(header=HeaderMatcher(name=":authority", string_match=build_host_matcher(match)))


def _by_method(match: StringMatch) -> Permission:
    return Permission(header=build_header_matcher(":method", match))


def _by_path(match: StringMatch) -> Permission:
    """The path without its query, normalised as far as the settings say."""
    return Permission(url_path=PathMatcher(path=build_string_matcher(match)))


def _by_template(template: str) -> Permission:
    """A path template that the parser has checked: an invalid one ends the Envoy that receives it."""
    path = template.replace("{**}", "**").replace("{*}", "*")
    return Permission(
        uri_template=extension(
            "envoy.path.match.uri_template.uri_template_matcher", UriTemplateMatchConfig(path_template=path)
        )
    )


def _both(wanted: Sequence[Permission], unwanted: Sequence[Permission]) -> list[Permission]:
    return [
        *([any_of(wanted)] if wanted else []),
        *([Permission(not_rule=any_of(unwanted))] if unwanted else []),
    ]
