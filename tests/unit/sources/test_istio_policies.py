"""PeerAuthentication and AuthorizationPolicy: field by field from the manifest to the model."""

from __future__ import annotations

import pytest

from model.matching import Exact, Prefix, Present, Suffix
from model.policies import (
    Action,
    AddressSet,
    AuthorizationPolicy,
    Condition,
    Either,
    MtlsMode,
    Operation,
    PeerAuthentication,
    PortSet,
    Rule,
    Source,
)
from sources.manifests import Parsed, parse_documents


def parse_any(kind: str, spec: str, version: str = "v1") -> Parsed:
    text = f"""
apiVersion: security.istio.io/{version}
kind: {kind}
metadata: {{name: case, namespace: shop}}
spec: {spec}
"""
    return parse_documents("case.yaml", text.encode())


def parse_peer(spec: str, version: str = "v1") -> PeerAuthentication:
    parsed = parse_any("PeerAuthentication", spec, version)
    assert parsed.problems == ()
    (entry,) = parsed.objects
    assert isinstance(entry.value, PeerAuthentication)
    return entry.value


def parse_policy(spec: str, version: str = "v1") -> AuthorizationPolicy:
    parsed = parse_any("AuthorizationPolicy", spec, version)
    assert parsed.problems == ()
    (entry,) = parsed.objects
    assert isinstance(entry.value, AuthorizationPolicy)
    return entry.value


@pytest.mark.parametrize(
    ("written", "mode"),
    [
        ("{mtls: {mode: STRICT}}", MtlsMode.STRICT),
        ("{mtls: {mode: PERMISSIVE}}", MtlsMode.PERMISSIVE),
        ("{mtls: {mode: DISABLE}}", MtlsMode.DISABLE),
        ("{mtls: {mode: UNSET}}", None),
        ("{mtls: {}}", None),
        ("{}", None),
        ("", None),
    ],
)
def test_mtls_mode(written: str, mode: MtlsMode | None) -> None:
    assert parse_peer(written).mode is mode


def test_selector_and_port_modes() -> None:
    spec = "{selector: {matchLabels: {app: a}}, portLevelMtls: {9090: {mode: UNSET}, 80: {mode: DISABLE}}}"
    found = parse_peer(spec, version="v1beta1")
    assert found.selector == {"app": "a"}
    assert list(found.port_modes.items()) == [(80, MtlsMode.DISABLE), (9090, None)]


@pytest.mark.parametrize("spec", ["", "{}", "{action: ALLOW}", "{rules: []}"])
def test_an_empty_policy_allows_nothing(spec: str) -> None:
    found = parse_policy(spec)
    assert (found.action, found.rules) == (Action.ALLOW, ())


def test_an_empty_rule_matches_everything() -> None:
    assert parse_policy("{action: DENY, rules: [{}]}").rules == (Rule(),)


PRINCIPAL = "cluster.local/ns/shop/sa/web"


@pytest.mark.parametrize(
    ("written", "source"),
    [
        (f"{{principals: [{PRINCIPAL}]}}", Source(principals=Either(any_of=(Exact(value=PRINCIPAL),)))),
        ("{principals: ['*']}", Source(principals=Either(any_of=(Present(),)))),
        ("{principals: ['*/sa/web']}", Source(principals=Either(any_of=(Suffix(value="/sa/web"),)))),
        ("{notPrincipals: ['a/*']}", Source(principals=Either(none_of=(Prefix(value="a/"),)))),
        (
            "{namespaces: [a, b*], notNamespaces: [bad]}",
            Source(
                namespaces=Either(any_of=(Exact(value="a"), Prefix(value="b")), none_of=(Exact(value="bad"),)),
            ),
        ),
        (
            "{serviceAccounts: [web, other/web]}",
            Source(service_accounts=Either(any_of=(Exact(value="shop/web"), Exact(value="other/web")))),
        ),
        (
            "{notServiceAccounts: [web]}",
            Source(service_accounts=Either(none_of=(Exact(value="shop/web"),))),
        ),
        (
            "{ipBlocks: [10.1.2.3/8, 10.0.0.1], notIpBlocks: ['fd00::/8']}",
            Source(ip_blocks=AddressSet(any_of=("10.0.0.0/8", "10.0.0.1/32"), none_of=("fd00::/8",))),
        ),
    ],
)
def test_source(written: str, source: Source) -> None:
    assert parse_policy(f"{{rules: [{{from: [{{source: {written}}}]}}]}}").rules == (Rule(sources=(source,)),)


@pytest.mark.parametrize(
    ("written", "operation"),
    [
        (
            "{hosts: [a.com, '*.b.com'], notHosts: [c.com]}",
            Operation(
                hosts=Either(any_of=(Exact(value="a.com"), Suffix(value=".b.com")), none_of=(Exact(value="c.com"),))
            ),
        ),
        ("{methods: [GET]}", Operation(methods=Either(any_of=(Exact(value="GET"),)))),
        ("{notMethods: [DELETE]}", Operation(methods=Either(none_of=(Exact(value="DELETE"),)))),
        (
            "{paths: [/a, /b/*, '*.js', '*', '/x/{*}', '/{**}']}",
            Operation(
                paths=Either(any_of=(Exact(value="/a"), Prefix(value="/b/"), Suffix(value=".js"), Present())),
                path_templates=("/x/{*}", "/{**}"),
            ),
        ),
        (
            "{notPaths: [/a, '/{*}/b']}",
            Operation(paths=Either(none_of=(Exact(value="/a"),)), not_path_templates=("/{*}/b",)),
        ),
        ("{ports: ['80'], notPorts: ['443']}", Operation(ports=PortSet(any_of=(80,), none_of=(443,)))),
    ],
)
def test_operation(written: str, operation: Operation) -> None:
    assert parse_policy(f"{{rules: [{{to: [{{operation: {written}}}]}}]}}").rules == (Rule(operations=(operation,)),)


@pytest.mark.parametrize(
    ("written", "condition"),
    [
        ("{key: 'request.headers[X-A]', values: ['a*']}", Condition(key="request.headers[x-a]", values=("a*",))),
        ("{key: source.ip, notValues: [10.0.0.1/8]}", Condition(key="source.ip", not_values=("10.0.0.0/8",))),
        ("{key: destination.ip, values: ['::1']}", Condition(key="destination.ip", values=("::1/128",))),
        ("{key: source.namespace, values: [shop]}", Condition(key="source.namespace", values=("shop",))),
        (f"{{key: source.principal, values: [{PRINCIPAL}]}}", Condition(key="source.principal", values=(PRINCIPAL,))),
        ("{key: source.serviceAccount, values: [web]}", Condition(key="source.serviceAccount", values=("shop/web",))),
        ("{key: destination.port, values: ['80']}", Condition(key="destination.port", values=("80",))),
        ("{key: connection.sni, values: ['*.a.com']}", Condition(key="connection.sni", values=("*.a.com",))),
    ],
)
def test_condition(written: str, condition: Condition) -> None:
    assert parse_policy(f"{{rules: [{{when: [{written}]}}]}}").rules == (Rule(conditions=(condition,)),)


@pytest.mark.parametrize(
    "spec",
    [
        "{action: CUSTOM, rules: [{}]}",
        "{action: AUDIT, rules: [{}]}",
        "{provider: {name: a}}",
        "{targetRef: {kind: Gateway, name: a}}",
        "{targetRefs: [{kind: Gateway, name: a}]}",
    ],
)
def test_what_would_be_half_applied_is_not_applied(spec: str) -> None:
    parsed = parse_any("AuthorizationPolicy", spec)
    assert parsed.objects == ()
    (problem,) = parsed.problems
    assert problem.code == "HalfAppliedPolicy"
    assert "not implemented yet" in problem.message


@pytest.mark.parametrize(
    "name",
    [
        "requestPrincipals",
        "notRequestPrincipals",
        "remoteIpBlocks",
        "notRemoteIpBlocks",
        "trustDomains",
        "notTrustDomains",
    ],
)
def test_a_rule_names_the_source_that_it_leaves_out(name: str) -> None:
    spec = f"{{rules: [{{from: [{{source: {{namespaces: [a]}}}}, {{source: {{{name}: ['10.0.0.0/8']}}}}]}}]}}"
    (rule,) = parse_policy(spec).rules
    assert rule.undone == (f"from[1].source.{name}",)
    assert rule.sources == (Source(namespaces=Either(any_of=(Exact(value="a"),))), Source())


@pytest.mark.parametrize(
    "key",
    [
        "remote.ip",
        "source.trustDomain",
        "request.auth.principal",
        "request.auth.claims[a][b]",
        "experimental.envoy.filters.a[b]",
    ],
)
def test_a_rule_names_the_condition_that_it_leaves_out(key: str) -> None:
    spec = f"{{rules: [{{when: [{{key: source.ip, values: ['::1']}}, {{key: '{key}', values: ['10.0.0.0/8']}}]}}]}}"
    (rule,) = parse_policy(spec).rules
    assert rule == Rule(conditions=(Condition(key="source.ip", values=("::1/128",)),), undone=("when[1].key",))


@pytest.mark.parametrize("key", ["remote.ipBlock", "source.trustDomains", "request.authority"])
def test_a_key_that_only_resembles_one_is_none(key: str) -> None:
    parsed = parse_any("AuthorizationPolicy", f"{{rules: [{{when: [{{key: '{key}', values: [a]}}]}}]}}")
    assert parsed.objects == ()
    assert parsed.problems[0].code == "InvalidValue"


@pytest.mark.parametrize("kind", ["PeerAuthentication", "AuthorizationPolicy"])
def test_a_selector_whose_label_has_no_value_is_refused(kind: str) -> None:
    """Left out, the label would make the policy one for the whole namespace."""
    parsed = parse_any(kind, "{selector: {matchLabels: {app: null}}}")
    assert [(problem.code, problem.field) for problem in parsed.problems] == [
        ("MissingField", "spec.selector.matchLabels.app")
    ]


def test_a_condition_needs_a_key() -> None:
    parsed = parse_any("AuthorizationPolicy", "{rules: [{when: [{key: '', values: [a]}]}]}")
    assert [(problem.code, problem.field) for problem in parsed.problems] == [
        ("MissingField", "spec.rules[0].when[0].key")
    ]
