"""Refusing a connection before the application hears of it, so that who may not call is told nothing either.

Envoy's RBAC network filter decides at the client's first byte. Where the server speaks first that is too late: its
greeting has been read by then. So the filter `set_filter_state` decides before, when the client's TLS is established
(at once in plaintext): it overrides the address to which the cluster, one of type ORIGINAL_DST, connects. First by
one where nobody is, then by the right one for who is allowed. The RBAC filters stay, and remain what counts.
`tcp_proxy` would also take a cluster's name from the filter state, but looks for it before the handshake (Envoy 1.40).

What is decided are the rules as RBAC enforces them, in CEL, the only conditions that the filter has. CEL knows no CIDR
blocks: IPv4 ones are regular expressions here, IPv6 ones are left to the RBAC filter, so that who is refused for
an IPv6 address alone can read a greeting (docs/server-first.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, ip_network

from envoy_data_plane.envoy.config.core.v3 import CidrRange, DataSource, SubstitutionFormatString
from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.config.rbac.v3 import Permission, Policy, Principal, Rbac, RbacAction
from envoy_data_plane.envoy.extensions.filters.common.set_filter_state.v3 import FilterStateValue
from envoy_data_plane.envoy.extensions.filters.network.set_filter_state.v3 import Config as SetFilterState
from envoy_data_plane.envoy.extensions.formatter.cel.v3 import Cel
from envoy_data_plane.envoy.extensions.rbac.principals.mtls_authenticated.v3 import Config as MtlsAuthenticated
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from translators.filters import extension, network_filter

ADDRESS_KEY = "envoy.network.transport_socket.original_dst_address"
"""Under this name a cluster of type ORIGINAL_DST looks for the address of a connection before its own."""

NOBODY = "127.0.0.1:0"
"""A connection to port 0 is refused by the kernel at once."""

LONGEST_CONDITION = 50_000
"""Characters. Envoy's CEL takes no more than 100,000 code points; what is longer is left to the RBAC filter."""

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:|^[]+$*?-")
_TRUE, _FALSE = "true", "false"


def build_early_refusal(rules: Sequence[Rbac], *, has_peer: bool) -> tuple[Filter, ...]:
    """What goes before the RBAC filters that enforce `rules`; nothing where there are none.

    `has_peer`: the connections are mutual TLS, so that there is an identity.
    """
    if not rules:
        return ()
    denied = [policy for part in rules if part.action == RbacAction.DENY for policy in part.policies.values()]
    allowing = [part for part in rules if part.action == RbacAction.ALLOW]
    allowed = [policy for part in allowing for policy in part.policies.values()]
    admitting = [to_condition(policy, has_peer, in_doubt=True) for policy in allowed] if allowing else [_TRUE]
    refusing = [to_condition(policy, has_peer, in_doubt=False) for policy in denied]
    values = [
        _value(NOBODY),
        *(_when(condition, "destination.address") for condition in admitting if condition != _FALSE),
        *(_when(condition, _text(NOBODY)) for condition in refusing if condition != _FALSE),
    ]
    config = SetFilterState(on_downstream_tls_handshake=values)
    return (network_filter("envoy.filters.network.set_filter_state", config),)


def to_condition(policy: Policy, has_peer: bool, *, in_doubt: bool) -> str:
    """The policy in CEL. `in_doubt` is what is taken for the answer where CEL cannot tell."""
    condition = _both(
        _any(_principal(part, has_peer, in_doubt) for part in policy.principals),
        _any(_permission(part, in_doubt) for part in policy.permissions),
    )
    return condition if len(condition) <= LONGEST_CONDITION else _constant(in_doubt)


def _when(condition: str, address: str) -> FilterStateValue:
    chosen = address if condition == _TRUE else f"{condition} ? {address} : ''"
    return _value(f"%CEL({chosen})%")


def _value(text: str) -> FilterStateValue:
    """The last one that is not empty counts."""
    return FilterStateValue(
        object_key=ADDRESS_KEY,
        skip_if_empty=True,
        format_string=SubstitutionFormatString(
            text_format_source=DataSource(inline_string=text),
            formatters=[extension("envoy.formatter.cel", Cel())] if text.startswith("%") else [],
        ),
    )


def _principal(of: Principal, has_peer: bool, in_doubt: bool) -> str:
    if of.any:
        return _TRUE
    if of.and_ids is not None:
        return _all(_principal(part, has_peer, in_doubt) for part in of.and_ids.ids)
    if of.or_ids is not None:
        return _any(_principal(part, has_peer, in_doubt) for part in of.or_ids.ids)
    if of.not_id is not None:
        return _not(_principal(of.not_id, has_peer, not in_doubt))
    if of.custom is not None and of.custom.typed_config is not None:
        matcher = MtlsAuthenticated.parse(of.custom.typed_config.value).san_matcher
        if matcher is None or matcher.matcher is None:
            return _constant(in_doubt)
        return _string("connection.uri_san_peer_certificate", matcher.matcher, in_doubt) if has_peer else _FALSE
    # On a bare connection nobody has forwarded anything.
    block = of.direct_remote_ip if of.direct_remote_ip is not None else of.remote_ip
    return _constant(in_doubt) if block is None else _address("source.address", block, in_doubt)


def _permission(of: Permission, in_doubt: bool) -> str:
    if of.any:
        return _TRUE
    if of.and_rules is not None:
        return _all(_permission(part, in_doubt) for part in of.and_rules.rules)
    if of.or_rules is not None:
        return _any(_permission(part, in_doubt) for part in of.or_rules.rules)
    if of.not_rule is not None:
        return _not(_permission(of.not_rule, not in_doubt))
    if of.destination_port is not None:
        return f"destination.port == {of.destination_port}"
    if of.destination_ip is not None:
        return _address("destination.address", of.destination_ip, in_doubt)
    if of.requested_server_name is not None:
        return _string("connection.requested_server_name", of.requested_server_name, in_doubt)
    return _constant(in_doubt)


def _string(attribute: str, matcher: StringMatcher, in_doubt: bool) -> str:
    if matcher.exact is not None:
        return f"{attribute} == {_text(matcher.exact)}"
    if matcher.prefix is not None:
        return f"{attribute}.startsWith({_text(matcher.prefix)})"
    if matcher.suffix is not None:
        return f"{attribute}.endsWith({_text(matcher.suffix)})"
    if matcher.safe_regex is not None:
        return f"{attribute}.matches({_text(f'^(?:{matcher.safe_regex.regex})$')})"
    return _constant(in_doubt)


def _address(attribute: str, block: CidrRange, in_doubt: bool) -> str:
    """`attribute` is an address with its port."""
    length = block.prefix_len if block.prefix_len is not None else 0
    network = ip_network(f"{block.address_prefix}/{length}", strict=False)
    if not isinstance(network, IPv4Network):
        # It has many spellings, but none of an IPv4 address, which has no colon but the port's.
        return _both(f"{attribute}.startsWith('[')", _constant(in_doubt))
    pattern = r"\.".join(_octets(network))
    return f"{attribute}.matches({_text(f'^{pattern}:[0-9]+$')})"


def _octets(network: IPv4Network) -> Iterator[str]:
    for low, high in zip(network.network_address.packed, network.broadcast_address.packed, strict=True):
        if (low, high) == (0, 255):
            yield "[0-9]+"
        else:
            yield str(low) if low == high else f"(?:{'|'.join(map(str, range(low, high + 1)))})"


def _all(conditions: Iterator[str]) -> str:
    result = _TRUE
    for condition in conditions:
        result = _both(result, condition)
    return result


def _any(conditions: Iterator[str]) -> str:
    parts = list(dict.fromkeys(conditions))
    if _TRUE in parts:
        return _TRUE
    parts = [part for part in parts if part != _FALSE]
    if not parts:
        return _FALSE
    return parts[0] if len(parts) == 1 else f"({' || '.join(parts)})"


def _both(left: str, right: str) -> str:
    if _FALSE in (left, right):
        return _FALSE
    if _TRUE in (left, right):
        return right if left == _TRUE else left
    return f"({left} && {right})"


def _not(condition: str) -> str:
    if condition in (_TRUE, _FALSE):
        return _constant(condition == _FALSE)
    return f"!({condition})"


def _constant(value: bool) -> str:
    return _TRUE if value else _FALSE


def _text(value: str) -> str:
    """A literal of CEL. All that is not plain is escaped: a '%' or ')' could end the whole command."""
    return "'" + "".join(char if char in _PLAIN else f"\\U{ord(char):08x}" for char in value) + "'"
