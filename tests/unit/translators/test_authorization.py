"""AuthorizationPolicies as RBAC: what a policy admits, and nothing besides."""

from __future__ import annotations

import re2
from envoy_data_plane.envoy.config.rbac.v3 import Permission, Policy, Principal, RbacAction
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import RbacPerRoute
from envoy_data_plane.envoy.extensions.filters.network.rbac.v3 import Rbac as NetworkRbac
from envoy_data_plane.envoy.extensions.rbac.principals.mtls_authenticated.v3 import Config as MtlsAuthenticated
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from hypothesis import given
from hypothesis import strategies as st

from model.matching import policy_match
from model.policies import (
    Action,
    AddressSet,
    AuthorizationPolicy,
    Condition,
    Either,
    Operation,
    PortSet,
    Rule,
    Source,
)
from model.problems import ObjectRef
from model.services import Protocol
from tests.unit.translators.listener_meshes import inbound_view
from translators.authorization import (
    HTTP_FILTERS,
    build_http_authorization,
    build_network_authorization,
    build_rule,
    policies_of,
)
from translators.permissions import ANYTHING
from translators.policy_matchers import build_host_matcher, quote
from translators.principals import ANYONE, by_namespace, by_principal, by_service_account

DOMAINS = ("cluster.local",)
SEGMENT = st.text("ab.-_", min_size=1, max_size=5)


def either(*values: str) -> Either:
    return Either(any_of=tuple(policy_match(value) for value in values))


def policy(
    *rules: Rule, action: Action = Action.ALLOW, name: str = "p", namespace: str = "shop", **selector: str
) -> AuthorizationPolicy:
    return AuthorizationPolicy(
        ref=ObjectRef(kind="AuthorizationPolicy", namespace=namespace, name=name),
        selector=selector,
        action=action,
        rules=rules,
    )


def matches(matcher: StringMatcher, text: str) -> bool:
    """As Envoy's StringMatcher."""
    if matcher.safe_regex is not None:
        return re2.fullmatch(matcher.safe_regex.regex, text) is not None
    if matcher.exact is not None:
        return matcher.exact == text
    if matcher.prefix is not None:
        return text.startswith(matcher.prefix)
    assert matcher.suffix is not None
    return text.endswith(matcher.suffix)


def admits(principal: Principal, uri: str) -> bool:
    if principal.or_ids is not None:
        return any(admits(each, uri) for each in principal.or_ids.ids)
    assert principal.custom is not None
    assert principal.custom.typed_config is not None
    config = MtlsAuthenticated.parse(principal.custom.typed_config.value)
    assert config.san_matcher is not None
    assert config.san_matcher.matcher is not None
    return matches(config.san_matcher.matcher, uri)


def uri(namespace: str, account: str, domain: str = "cluster.local") -> str:
    return f"spiffe://{domain}/ns/{namespace}/sa/{account}"


@given(SEGMENT, SEGMENT, SEGMENT, SEGMENT)
def test_a_policy_admits_exactly_whom_it_names(namespace: str, account: str, other: str, another: str) -> None:
    called = uri(other, another)
    same = (namespace, account) == (other, another)
    assert admits(by_principal(policy_match(f"cluster.local/ns/{namespace}/sa/{account}"), DOMAINS), called) is same
    assert admits(by_service_account(policy_match(f"{namespace}/{account}"), DOMAINS), called) is same
    assert admits(by_namespace(policy_match(namespace), DOMAINS), called) is (namespace == other)
    assert admits(by_namespace(policy_match(f"*{namespace}"), DOMAINS), called) is other.endswith(namespace)
    assert admits(by_namespace(policy_match(f"{namespace}*"), DOMAINS), called) is other.startswith(namespace)


def test_aliases_stand_for_each_other() -> None:
    domains = ("new.example", "old.example")
    for written in ("cluster.local", "new.example", "old.example"):
        principal = by_principal(policy_match(f"{written}/ns/a/sa/b"), domains)
        assert [admits(principal, uri("a", "b", domain)) for domain in domains] == [True, True]
        assert not admits(principal, uri("a", "b", "cluster.local"))
    foreign = by_principal(policy_match("else.example/ns/a/sa/b"), domains)
    assert not admits(foreign, uri("a", "b", "new.example"))


@given(st.text(max_size=20).filter(lambda text: "\0" not in text))
def test_quoted_text_means_itself(text: str) -> None:
    assert re2.fullmatch(f"(?s){quote(text)}", text) is not None


def test_hosts_in_every_spelling() -> None:
    exact = build_host_matcher(policy_match("bad.com"))
    for spelling in ("bad.com", "BAD.com", "bad.com:80", "bad.com.", "Bad.com.:8081"):
        assert matches(exact, spelling), spelling
    for other in ("xbad.com", "badxcom", "bad.com.evil", "bad.com:80.evil"):
        assert not matches(exact, other), other
    assert not matches(build_host_matcher(policy_match("bad.com:80")), "bad.com:81")
    assert matches(build_host_matcher(policy_match("*.com")), "x.COM:80")
    assert matches(build_host_matcher(policy_match("[::1]")), "[::1]:80")


GET = Rule(operations=(Operation(methods=either("GET")),))
PORT = Rule(operations=(Operation(ports=PortSet(any_of=(8080,))),))


def test_a_bare_connection_never_meets_an_allow_rule_that_asks_for_a_request() -> None:
    assert build_rule(GET, Action.ALLOW, DOMAINS, http=False) is None
    header = Rule(conditions=(Condition(key="request.headers[a]", values=("b",)),))
    assert build_rule(header, Action.ALLOW, DOMAINS, http=False) is None
    assert build_rule(PORT, Action.ALLOW, DOMAINS, http=False) == build_rule(PORT, Action.ALLOW, DOMAINS, http=True)


def test_a_deny_rule_drops_what_a_bare_connection_lacks() -> None:
    wide = Policy(principals=[ANYONE], permissions=[ANYTHING])
    assert build_rule(GET, Action.DENY, DOMAINS, http=False) == wide
    both = Rule(operations=(Operation(methods=either("GET"), ports=PortSet(any_of=(8080,))),))
    only_port = Policy(principals=[ANYONE], permissions=[Permission(destination_port=8080)])
    assert build_rule(both, Action.DENY, DOMAINS, http=False) == only_port


def test_what_we_cannot_tell_fails_closed() -> None:
    unknown = Rule(conditions=(Condition(key="request.auth.principal", values=("x",)),))
    assert build_rule(unknown, Action.ALLOW, DOMAINS, http=True) is None
    assert build_rule(unknown, Action.DENY, DOMAINS, http=True) == Policy(principals=[ANYONE], permissions=[ANYTHING])


def test_what_is_not_implemented_fails_closed() -> None:
    undone = Rule(
        sources=(Source(), Source(ip_blocks=AddressSet(any_of=("10.0.0.0/8",)))), undone=("from[0].source.x",)
    )
    assert build_rule(undone, Action.ALLOW, DOMAINS, http=True) is None
    denied = build_rule(undone, Action.DENY, DOMAINS, http=True)
    assert denied is not None
    assert ANYONE in denied.principals[0].or_ids.ids  # type: ignore[union-attr]
    assert denied.permissions == [ANYTHING]


def http_rules(*policies: AuthorizationPolicy) -> list[tuple[RbacAction, list[str]]]:
    """What each HTTP filter enforces, in the order in which requests pass them."""
    enforced = build_http_authorization(inbound_view((8080, Protocol.HTTP), policies=policies))
    assert enforced.keys() <= {each.name for each in HTTP_FILTERS}
    found = []
    for each in HTTP_FILTERS:
        if each.name in enforced:
            rbac = RbacPerRoute.parse(enforced[each.name].value).rbac
            assert rbac is not None
            assert rbac.rules is not None
            found.append((rbac.rules.action, sorted(rbac.rules.policies)))
    return found


def test_deny_stands_before_allow() -> None:
    found = http_rules(policy(GET, PORT), policy(GET, action=Action.DENY, name="d"))
    assert found == [
        (RbacAction.DENY, ["ns[shop]-policy[d]-rule[0]"]),
        (RbacAction.ALLOW, ["ns[shop]-policy[p]-rule[0]", "ns[shop]-policy[p]-rule[1]"]),
    ]


def test_no_policy_no_filter_and_an_empty_one_denies_all() -> None:
    assert http_rules() == []
    assert http_rules(policy(action=Action.DENY)) == []
    assert http_rules(policy()) == [(RbacAction.ALLOW, [])]


def test_an_allow_policy_of_requests_closes_bare_connections() -> None:
    *_, only = build_network_authorization(inbound_view(policies=[policy(GET)]), has_peer=True)
    assert only.typed_config is not None
    rules = NetworkRbac.parse(only.typed_config.value).rules
    assert rules is not None
    assert (rules.action, rules.policies) == (RbacAction.ALLOW, {})


def test_whose_policies_count() -> None:
    mine = policy(name="mine", app="users")
    everyones = policy(name="root", namespace="istio-system")
    others = [policy(name="other", app="payments"), policy(name="foreign", namespace="bank")]
    assert policies_of(inbound_view(policies=[mine, everyones, *others])) == (everyones, mine)
