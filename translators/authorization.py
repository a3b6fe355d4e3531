"""AuthorizationPolicies as RBAC filters: what is denied first, then what is allowed.

Without an ALLOW policy, what is not denied passes. An ALLOW policy without rules lets nothing pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.config.rbac.v3 import Policy, Rbac, RbacAction
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac as HttpRbac
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import RbacPerRoute
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.filters.network.rbac.v3 import Rbac as NetworkRbac
from envoy_data_plane.google.protobuf import Any

from model.asker import Capture
from model.policies import Action, AuthorizationPolicy, Rule
from model.view import View
from protos.encoder import to_any
from translators import conditions, permissions, principals
from translators.downstream_tls import trust_domains
from translators.early_refusal import build_early_refusal
from translators.filters import http_filter, network_filter

_HTTP = "envoy.filters.http.rbac"
DENY_FILTER, ALLOW_FILTER = f"{_HTTP}.deny", f"{_HTTP}.allow"


def policies_of(view: View) -> tuple[AuthorizationPolicy, ...]:
    """Those in force for the asker: of its namespace and of the root namespace, where the selector fits its labels."""
    found = [
        policy
        for namespace in dict.fromkeys((view.settings.root_namespace, view.namespace))
        for policy in view.authorization_policies(namespace)
    ]
    return tuple(policy for policy in found if not policy.selector or _selects(policy.selector, view.labels))


HTTP_FILTERS: tuple[HttpFilter, ...] = (http_filter(DENY_FILTER, HttpRbac()), http_filter(ALLOW_FILTER, HttpRbac()))
"""The HTTP filters, in order. They refuse nothing by themselves: what they refuse comes with the route, so that a
policy holds for the next request of connections that are open already, and none of those is cut (ADR 9)."""


def build_http_authorization(view: View) -> dict[str, Any]:
    """What the filters of `HTTP_FILTERS` enforce, by filter name; a refused request gets 403."""
    return {
        f"{_HTTP}.{name}": to_any(RbacPerRoute(rbac=HttpRbac(rules=rules)))
        for name, rules in _rules_in_order(view, http=True)
    }


def build_network_authorization(view: View, *, has_peer: bool) -> tuple[Filter, ...]:
    """The network filters that do the same for bare connections; a refused one is closed.

    `has_peer`: whether the connections are mutual TLS.
    """
    rules = _rules_in_order(view, http=False)
    early = view.capture is Capture.REDIRECT
    return (
        *(build_early_refusal([part for _, part in rules], has_peer=has_peer) if early else ()),
        *(
            network_filter(f"envoy.filters.network.rbac.{name}", NetworkRbac(rules=part, stat_prefix=f"tcp_{name}."))
            for name, part in rules
        ),
    )


def build_rule(rule: Rule, action: Action, domains: Sequence[str], *, http: bool) -> Policy | None:
    """One rule, or None if it can never match.

    Where something cannot be known (a request's fields on a bare connection, what is not implemented), an ALLOW rule
    that asks for it does not match, and a DENY rule matches as if it did not ask: in doubt nothing passes (ADR 11).
    """
    known = [condition for condition in rule.conditions if conditions.is_known(condition)]
    asks_for_request = any(map(permissions.needs_http, rule.operations)) or any(map(conditions.needs_http, known))
    in_doubt = bool(rule.undone) or len(known) < len(rule.conditions) or (asks_for_request and not http)
    if in_doubt and action is Action.ALLOW:
        return None
    usable = [condition for condition in known if http or not conditions.needs_http(condition)]
    of_caller = [part for condition in usable for part in conditions.of_caller(condition, domains)]
    of_destination = [part for condition in usable for part in conditions.of_destination(condition)]
    sources = [principals.build_source(source, domains) for source in rule.sources]
    operations = [permissions.build_operation(operation, http=http) for operation in rule.operations]
    return Policy(
        principals=[principals.all_of([*([principals.any_of(sources)] if sources else []), *of_caller])],
        permissions=[permissions.all_of([*([permissions.any_of(operations)] if operations else []), *of_destination])],
    )


def _rules_in_order(view: View, *, http: bool) -> list[tuple[str, Rbac]]:
    policies = policies_of(view)
    deny = [policy for policy in policies if policy.action is Action.DENY]
    allow = [policy for policy in policies if policy.action is Action.ALLOW]
    domains = trust_domains(view.settings)
    denied = _build_policies(deny, domains, http=http)
    filters = []
    if denied:
        filters.append(("deny", Rbac(action=RbacAction.DENY, policies=dict(denied))))
    if allow:
        filters.append(
            ("allow", Rbac(action=RbacAction.ALLOW, policies=dict(_build_policies(allow, domains, http=http))))
        )
    return filters


def _build_policies(
    policies: Sequence[AuthorizationPolicy], domains: Sequence[str], *, http: bool
) -> Mapping[str, Policy]:
    built = {
        f"ns[{policy.ref.namespace}]-policy[{policy.ref.name}]-rule[{index}]": build_rule(
            rule, policy.action, domains, http=http
        )
        for policy in policies
        for index, rule in enumerate(policy.rules)
    }
    return {name: rule for name, rule in sorted(built.items()) if rule is not None}


def _selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in selector.items())
