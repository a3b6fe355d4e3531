"""VirtualService: field by field from the manifest to the model."""

from __future__ import annotations

from datetime import timedelta

import pytest

from model.matching import Exact, Prefix, Present, Regex
from model.problems import Severity
from model.routing import (
    Abort,
    Delay,
    Destination,
    DirectResponse,
    Fault,
    Forward,
    HeaderChanges,
    HeaderFormat,
    Headers,
    HttpMatch,
    HttpRoute,
    Mirror,
    Redirect,
    RetryPolicy,
    Rewrite,
    VirtualService,
    WeightedDestination,
)
from sources.manifests import parse_documents

USERS = Destination(host="users.shop.svc.cluster.local")


def parse(spec: str, *, version: str = "v1", severity: Severity = Severity.INFO) -> VirtualService:
    """The object whose `spec` is one line of JSON-like YAML. `severity` is the worst problem that is expected."""
    text = f"""
apiVersion: networking.istio.io/{version}
kind: VirtualService
metadata: {{name: case, namespace: shop}}
spec: {spec}
"""
    parsed = parse_documents("case.yaml", text.encode())
    allowed = (Severity.INFO, severity)
    assert [problem for problem in parsed.problems if problem.severity not in allowed] == []
    (entry,) = parsed.objects
    assert isinstance(entry.value, VirtualService)
    return entry.value


def route(fields: str, *, action: str = "route: [{destination: {host: users}}]") -> HttpRoute:
    (found,) = parse(f"{{hosts: [users], http: [{{{action}, {fields}}}]}}").http
    return found


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_all_versions_read_alike(version: str) -> None:
    assert parse("{hosts: [users], http: [{route: [{destination: {host: users}}]}]}", version=version).http == (
        HttpRoute(action=Forward(destinations=(WeightedDestination(destination=USERS),))),
    )


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("users", "users.shop.svc.cluster.local"),
        ("Users", "users.shop.svc.cluster.local"),
        ("users.other.svc.cluster.local", "users.other.svc.cluster.local"),
        ("users.other", "users.other"),
        ("API.Example.com", "api.example.com"),
        ("'*.example.com'", "*.example.com"),
        ("'*'", "*"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_hosts(written: str, host: str) -> None:
    assert parse(f"{{hosts: [{written}], http: [{{route: [{{destination: {{host: users}}}}]}}]}}").hosts == (host,)


def test_gateways_and_export_to() -> None:
    gateways = "[mesh, edge, other/edge, edge.old.svc.cluster.local]"
    spec = f"{{hosts: [u], gateways: {gateways}, exportTo: ['.', other], http: [{{redirect: {{uri: /a}}}}]}}"
    found = parse(spec)
    assert found.gateways == ("mesh", "shop/edge", "other/edge", "old/edge")
    assert found.export_to == (".", "other")
    assert parse("{hosts: [u], http: [{redirect: {uri: /a}}]}").gateways == ("mesh",)


@pytest.mark.parametrize(
    ("written", "match"),
    [
        ("{}", HttpMatch()),
        ("{name: a}", HttpMatch(name="a")),
        ("{uri: {exact: /a}}", HttpMatch(uri=Exact(value="/a"))),
        ("{uri: {prefix: /a}, ignoreUriCase: true}", HttpMatch(uri=Prefix(value="/a"), ignore_uri_case=True)),
        ("{uri: {regex: '/(a|b)+'}}", HttpMatch(uri=Regex(value="/(a|b)+"))),
        ("{scheme: {exact: https}}", HttpMatch(scheme=Exact(value="https"))),
        ("{method: {exact: GET}}", HttpMatch(method=Exact(value="GET"))),
        ("{authority: {prefix: a.}}", HttpMatch(authority=Prefix(value="a."))),
        ("{headers: {X-A: {exact: b}}}", HttpMatch(headers=(("x-a", Exact(value="b")),))),
        ("{headers: {x-a: {}}}", HttpMatch(headers=(("x-a", Present()),))),
        ("{headers: {x-a: {prefix: ''}}}", HttpMatch(headers=(("x-a", Present()),))),
        ("{withoutHeaders: {x-a: {regex: 'a.*'}}}", HttpMatch(without_headers=(("x-a", Regex(value="a.*")),))),
        ("{queryParams: {Q: {exact: b}}}", HttpMatch(query_params=(("Q", Exact(value="b")),))),
        ("{port: 80}", HttpMatch(port=80)),
        ("{sourceLabels: {app: web}}", HttpMatch(source_labels={"app": "web"})),
        ("{sourceNamespace: web}", HttpMatch(source_namespace="web")),
        ("{gateways: [mesh]}", HttpMatch(gateways=("mesh",))),
    ],
)
def test_match(written: str, match: HttpMatch) -> None:
    assert route(f"match: [{written}]").matches == (match,)


def test_order_of_matches_and_headers_is_the_files() -> None:
    found = route("match: [{headers: {b: {}, a: {}}}, {port: 1}]").matches
    assert [name for name, _ in found[0].headers] == ["b", "a"]
    assert found[1].port == 1


def test_weights_subsets_ports_and_headers_of_destinations() -> None:
    action = (
        "route: [{destination: {host: users, subset: v1, port: {number: 80}}, weight: 90},"
        "{destination: {host: users}, weight: 10, headers: {response: {add: {x-v: '2'}}}}]"
    )
    assert route("name: a", action=action).action == Forward(
        destinations=(
            WeightedDestination(destination=Destination(host=USERS.host, subset="v1", port=80), weight=90),
            WeightedDestination(
                destination=USERS, weight=10, headers=Headers(response=HeaderChanges(add=(("x-v", "2"),)))
            ),
        )
    )


@pytest.mark.parametrize(
    ("written", "rewrite"),
    [
        ("{uri: /a}", Rewrite(uri="/a")),
        ("{authority: 'a.com:80'}", Rewrite(authority="a.com:80")),
        (r"{uriRegexRewrite: {match: '/(a)(b)', rewrite: '/\2\1\0\\'}}", Rewrite(uri_regex=("/(a)(b)", r"/\2\1\0\\"))),
    ],
)
def test_rewrite(written: str, rewrite: Rewrite) -> None:
    assert route(f"rewrite: {written}").rewrite == rewrite


@pytest.mark.parametrize(
    ("written", "action"),
    [
        (
            "redirect: {uri: /a, authority: b.com, scheme: https, redirectCode: 308, port: 8443}",
            Redirect(uri="/a", authority="b.com", scheme="https", code=308, port=8443),
        ),
        ("redirect: {derivePort: FROM_REQUEST_PORT}", Redirect(derive_port="FROM_REQUEST_PORT")),
        ("redirect: {prefixRewrite: /b}", Redirect(prefix_rewrite="/b")),
        ("directResponse: {status: 503}", DirectResponse(status=503)),
        ("directResponse: {status: 200, body: {string: é}}", DirectResponse(status=200, body="é".encode())),
        ("directResponse: {status: 200, body: {bytes: aGk=}}", DirectResponse(status=200, body=b"hi")),
        ("directResponse: {status: 200, body: {string: ''}}", DirectResponse(status=200, body=b"")),
    ],
)
def test_actions_that_forward_nothing(written: str, action: Redirect | DirectResponse) -> None:
    assert route("name: a", action=written).action == action


@pytest.mark.parametrize(("letters", "fields"), [(1 << 19, []), ((1 << 19) + 1, ["spec.http[0].directResponse.body"])])
def test_a_body_over_one_mebibyte_is_refused(letters: int, fields: list[str]) -> None:
    spec = f"{{hosts: [u], http: [{{directResponse: {{status: 200, body: {{string: {'é' * letters}}}}}}}]}}"
    text = f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec: {spec}\n"
    assert [problem.field for problem in parse_documents("case.yaml", text.encode()).problems] == fields


@pytest.mark.parametrize(
    ("written", "retries"),
    [
        ("{attempts: 0}", RetryPolicy(attempts=0)),
        ("{attempts: 3, perTryTimeout: 2s}", RetryPolicy(attempts=3, per_try_timeout=timedelta(seconds=2))),
        ("{attempts: 1, retryOn: '5xx, reset'}", RetryPolicy(attempts=1, retry_on="5xx,reset")),
        (
            "{attempts: 1, retryOn: 'unavailable,503'}",
            RetryPolicy(attempts=1, retry_on="unavailable,503"),
        ),
        ("{attempts: 1, backoff: 25ms}", RetryPolicy(attempts=1, backoff=timedelta(milliseconds=25))),
        ("{attempts: 1, retryRemoteLocalities: true}", RetryPolicy(attempts=1, remote_localities=True)),
        ("{attempts: 1, retryIgnorePreviousHosts: false}", RetryPolicy(attempts=1, ignore_previous_hosts=False)),
    ],
)
def test_retries(written: str, retries: RetryPolicy) -> None:
    assert route(f"retries: {written}").retries == retries


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        (
            "{delay: {fixedDelay: 5s, percentage: {value: 0.1}}}",
            Fault(delay=Delay(fixed=timedelta(seconds=5), percentage=0.1)),
        ),
        ("{delay: {fixedDelay: 5s, percent: 50}}", Fault(delay=Delay(fixed=timedelta(seconds=5), percentage=50.0))),
        ("{abort: {httpStatus: 555, percentage: {value: 100}}}", Fault(abort=Abort(http_status=555, percentage=100.0))),
        (
            "{abort: {grpcStatus: UNAVAILABLE, percentage: {value: 1}}}",
            Fault(abort=Abort(grpc_status=14, percentage=1.0)),
        ),
        ("{abort: {grpcStatus: '7', percentage: {value: 1}}}", Fault(abort=Abort(grpc_status=7, percentage=1.0))),
    ],
)
def test_fault(written: str, fault: Fault) -> None:
    assert route(f"fault: {written}").fault == fault


@pytest.mark.parametrize(
    ("written", "mirrors"),
    [
        ("mirror: {host: users}", (Mirror(destination=USERS),)),
        ("mirror: {host: users}, mirrorPercentage: {value: 2.5}", (Mirror(destination=USERS, percentage=2.5),)),
        ("mirror: {host: users}, mirrorPercent: 7", (Mirror(destination=USERS, percentage=7.0),)),
        ("mirror: {host: users}, mirror_percent: 0", (Mirror(destination=USERS, percentage=0.0),)),
        (
            "mirrors: [{destination: {host: users}}, {destination: {host: db}, percentage: {value: 1}}]",
            (
                Mirror(destination=USERS),
                Mirror(destination=Destination(host="db.shop.svc.cluster.local"), percentage=1.0),
            ),
        ),
    ],
)
def test_mirrors(written: str, mirrors: tuple[Mirror, ...]) -> None:
    assert route(written).mirrors == mirrors


def test_headers() -> None:
    written = (
        "headers: {request: {set: {X-A: '50%%', x-b: '%REQ(x-c)%'}, add: {x-d: e}, remove: [X-F]},"
        "response: {remove: [server]}}"
    )
    assert route(written).headers == Headers(
        request=HeaderChanges(
            set=(("x-a", "50%"), ("x-b", HeaderFormat(format="%REQ(x-c)%"))), add=(("x-d", "e"),), remove=("x-f",)
        ),
        response=HeaderChanges(remove=("server",)),
    )


def test_timeout() -> None:
    assert route("timeout: 1.5s").timeout == timedelta(seconds=1.5)
    assert route("name: a").timeout is None


@pytest.mark.parametrize(("fields"), ["tls: [{}]", "tcp: [{}]"])
def test_what_is_not_done_yet_is_said_and_the_rest_stays(fields: str) -> None:
    spec = f"{{hosts: [users], {fields}, http: [{{redirect: {{uri: /a}}}}]}}"
    assert parse(spec, severity=Severity.WARNING).http == (HttpRoute(action=Redirect(uri="/a")),)
