"""Our definitions in a real API server: what it takes, keeps and refuses, held against the parsers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from model.policies import AuthorizationPolicy
from model.problem_codes import ProblemCode
from model.problems import Severity
from sources.manifests import Parsed, parse_documents
from sources.schemas.definitions import DEFINITIONS
from tests.cluster.control_plane import ControlPlane
from tests.kubernetes.rest import Json, Rest

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
CRDS = ROOT / "deploy" / "chart" / "crds"
KINDS = {(definition.group, definition.kind): definition for definition in DEFINITIONS}

ONLY_THE_WEBHOOK = """
action-audit action-custom cidr-33 cidr-text condition-header-name delegate direct-response-base64 dry-run
from-outside-rules gateway-cipher gateway-credential-elsewhere gateway-credential-none gateway-host-namespace
gateway-port-name gateway-port-name-twice gateway-port-own gateway-protocol gateway-tls-missing gateway-versions
hash-maglev-not-prime header-authority header-carriage-return header-command-without-argument
header-content-length header-environment header-host header-line-feed header-lone-percent
header-lone-percent-inside header-nul header-secret-command header-three-percents header-twice
header-unknown-command host-label-too-long match-header-bad-name match-header-host match-header-null
match-header-pseudo match-label-invalid match-query-empty-name match-uri-nul path-nul principal-with-scheme
regex-backreference regex-lookahead regex-open-bracket regex-repetition regex-star regex-too-large
retries-unknown-condition rewrite-authority rewrite-escape rewrite-group rewrite-line-feed rewrite-no-group
rule-workload-selector selector-bare service-account-with-namespace sidecar-bind-text sidecar-catch-all-first
sidecar-catch-all-twice sidecar-egress-proxy-host sidecar-egress-proxy-port sidecar-egress-proxy-registry-only
sidecar-field sidecar-inbound-pool-empty sidecar-ingress-bind sidecar-ingress-endpoint-brackets
sidecar-ingress-endpoint-host sidecar-ingress-endpoint-port sidecar-ingress-endpoint-port-range
sidecar-ingress-endpoint-socket sidecar-ingress-pool sidecar-ingress-port-twice sidecar-ingress-port-zero
sidecar-ingress-tls-credential sidecar-ingress-tls-key sidecar-ingress-tls-mode sidecar-ingress-tls-names
sidecar-ingress-tls-on-http sidecar-ingress-tls-redirect sidecar-outbound-field sidecar-port-protocol
sidecar-port-twice sidecar-port-zero sidecar-selector-bare sidecar-selector-match-labels sidecar-selector-null
sidecar-selector-wildcard sidecar-socket-captured sidecar-socket-path sidecar-socket-twice source-outside-from
subset-twice target-refs template-after-any template-double-slash template-named template-part-of-segment
template-relative template-too-long template-trailing-slashes template-two-anys template-unclosed
template-with-query template-with-space template-with-star timeout-absurd timeout-too-fine tls-credential
tls-mutual-without-files tls-simple-with-key tls-sni tunnel weights-sum-too-large
"""
"""Cases of text that only RE2, Envoy's grammars or a look at several fields can judge, and of what is not built."""


def objects_in(file: Path) -> list[Json]:
    """Those of our kinds, as JSON has them (`8080:` is a text there)."""
    found = [json.loads(json.dumps(each)) for each in yaml.safe_load_all(file.read_text()) if isinstance(each, dict)]
    return [each for each in found if key_of(each) in KINDS]


def key_of(item: Json) -> tuple[str, str]:
    return str(item.get("apiVersion", "")).partition("/")[0], str(item.get("kind"))


def parse(item: Json) -> Parsed:
    return parse_documents("case.yaml", json.dumps(item).encode())


def without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def crds(cluster: ControlPlane) -> Iterator[ControlPlane]:
    cluster.kubectl("apply", "--server-side", "-f", str(CRDS))
    yield cluster
    cluster.kubectl("delete", *(f"crd/{definition.name}" for definition in DEFINITIONS))


@pytest.fixture(scope="module")
def rest(crds: ControlPlane) -> Iterator[Rest]:
    with closing(Rest(crds)) as found:
        until_served(found)
        yield found


def until_served(rest: Rest) -> None:
    """Accepted, established, and a moment later served."""
    for definition in DEFINITIONS:
        for version in definition.versions:
            path = f"/apis/{definition.group}/{version}/{definition.plural}"
            while rest.request("GET", path, limit="1")[0] != 200:
                pass


MANIFESTS = sorted(
    file
    for pattern in ("tests/golden/*/*.in.yaml", "tests/mesh/manifests/*.yaml", "examples/**/*.yaml")
    for file in ROOT.glob(pattern)
    if objects_in(file)
)
POISON = sorted(file for file in (ROOT / "tests/analyze/poison").glob("*.yaml") if objects_in(file))


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_manifest_is_taken_whole_in_every_version(rest: Rest, file: Path) -> None:
    for item in objects_in(file):
        if parse(item).rejected:
            continue
        definition = KINDS[key_of(item)]
        for version in definition.versions:
            written = {**item, "apiVersion": f"{definition.group}/{version}"}
            status, answer = rest.try_create(written, definition.plural, "default", strict=True)
            assert status == 201, answer["message"]
            assert answer["spec"] == item["spec"]


def refusals(rest: Rest, file: Path) -> tuple[bool, bool]:
    """Whether the parser, and whether the API server, refuses an object of the file."""
    parsed = parse_documents(file.name, file.read_bytes())
    answers = [rest.try_create(item, KINDS[key_of(item)].plural, "default", strict=True) for item in objects_in(file)]
    return bool(parsed.rejected), any(status != 201 for status, _ in answers)


def test_what_is_wrong_by_itself_is_refused_by_the_schema_or_else_by_the_webhook(rest: Rest) -> None:
    left, listed = set(), set(ONLY_THE_WEBHOOK.split())
    for file in POISON:
        by_parser, by_schema = refusals(rest, file)
        assert by_parser or not by_schema, f"{file.name}: the schema refuses what the parser takes"
        if by_parser and not by_schema:
            left.add(file.stem)
    assert sorted(left - listed) == [], "the schema would do, or the list wants them"
    assert sorted(listed - left) == [], "the schema refuses them: the list need not have them"


def test_every_field_of_istio_is_kept(rest: Rest) -> None:
    seen = set()
    for item in objects_in(Path(__file__).with_name("every_field.yaml")):
        definition = KINDS[key_of(item)]
        seen.add(definition.name)
        status, answer = rest.try_create(item, definition.plural, "default", strict=True)
        assert status == 201, answer["message"]
        assert answer["spec"] == item["spec"]
    assert len(seen) == len(DEFINITIONS)


CORPUS = [
    item for file in (*MANIFESTS, *sorted((ROOT / "tests/analyze").glob("*/*.yaml"))) for item in objects_in(file)
]


@cache
def corpus_names() -> list[str]:
    found: set[str] = set()

    def visit(value: object) -> None:
        if isinstance(value, dict):
            found.update(map(str, value))
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            visit(inner)

    visit(CORPUS)
    return sorted(name for name in found if len(name) < 40)


TEXTS = (
    "*",
    "a.b",
    "*.b",
    "1s",
    "0s",
    "1.5h",
    "-1s",
    ".5s",
    "10us",
    "1h2m3.5s",
    "0",
    "GET",
    "/a",
    "/{*}",
    "ALLOW",
    "STRICT",
    "mesh",
    ".",
    "~",
    "80",
    "v1",
    "x_y",
)
scalars = (
    st.booleans()
    | st.integers(-1, 70000)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(max_size=20)
    | st.sampled_from(
        [
            "*",
            "a.b",
            "*.b",
            "1s",
            "0s",
            "1.5h",
            "-1s",
            ".5s",
            "10us",
            "1h2m3.5s",
            "0",
            "GET",
            "/a",
            "/{*}",
            "ALLOW",
            "STRICT",
            "mesh",
            ".",
            "~",
            "80",
            "v1",
            "x_y",
        ]
    )
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.deferred(lambda: st.sampled_from(corpus_names())) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


def mutate(data: st.DataObject, item: Json) -> Json:
    """`item` with one part of its spec replaced, removed, or put into another place."""
    mutated: Json = json.loads(json.dumps(item))
    node = mutated.get("spec")
    while isinstance(node, dict | list) and node:
        key = data.draw(st.sampled_from(list(node) if isinstance(node, dict) else list(range(len(node)))))
        if not isinstance(node[key], dict | list) or data.draw(st.integers(0, 3)) == 0:
            if data.draw(st.booleans()):
                node[key] = data.draw(values)
            else:
                del node[key]
            break
        node = node[key]
    return mutated


def undone(value: object) -> bool:
    """Whether a policy needs what is not built; the parser has looked at nothing of that."""
    return isinstance(value, AuthorizationPolicy) and any(rule.undone for rule in value.rules)


@given(data=st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_the_parser_takes_the_schema_takes_and_keeps(rest: Rest, data: st.DataObject) -> None:
    """And so what the schema refuses the parser refuses: a user hears of no mistake that is none."""
    item = mutate(data, data.draw(st.sampled_from(CORPUS)))
    parsed = parse(item)
    errors = [problem for problem in parsed.problems if problem.severity is Severity.ERROR]
    # Of what is not built the parser reads nothing, and the schema as much as Istio says.
    unread = {ProblemCode.NOT_IMPLEMENTED, ProblemCode.HALF_APPLIED_POLICY}
    assume(not errors and not unread & {problem.code for problem in parsed.problems})
    definition = KINDS[key_of(item)]
    assume(parsed.objects and not undone(parsed.objects[0].value))
    status, answer = rest.try_create(item, definition.plural, "default")
    assert status == 201, answer["message"]
    assert without_nulls(answer.get("spec", {})) == without_nulls(item.get("spec", {}))
    # An API server answers with the keys of a mapping in their order.
    (kept,) = parse({**item, "spec": answer["spec"]} if "spec" in answer else item).objects
    assert kept.value == parse(json.loads(json.dumps(item, sort_keys=True))).objects[0].value


def test_a_null_that_would_widen_what_is_meant_reaches_the_parser(rest: Rest) -> None:
    match = {"headers": {"x-user": None}}
    route = {"match": [match], "route": [{"destination": {"host": "a"}}]}
    head = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a"}}
    item: Json = {**head, "spec": {"hosts": ["a"], "http": [route]}}
    status, answer = rest.try_create(item, "virtualservices", "default")
    assert (status, answer["spec"]) == (201, item["spec"])
    assert parse(item).rejected
    head = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "a"}}
    item = {**head, "spec": {"selector": {"matchLabels": {"app": None}}, "rules": [{}]}}
    status, answer = rest.try_create(item, "authorizationpolicies", "default")
    assert (status, answer["spec"]) == (201, item["spec"])
    assert parse(item).rejected


@pytest.mark.parametrize(
    "spec",
    [
        {"actoin": "DENY", "rules": [{}]},
        {"selector": {"app": "web"}, "rules": [{}]},
        {"rules": [{"form": [{"source": {"principals": ["a"]}}]}]},
        {"rules": [{"from": [{"source": {"principals": ["a"], "namespace": ["b"]}}]}]},
    ],
)
def test_what_would_change_whom_a_policy_is_for_is_not_pruned(rest: Rest, spec: Json) -> None:
    head = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "a"}}
    item: Json = {**head, "spec": spec}
    status, answer = rest.try_create(item, "authorizationpolicies", "default")
    assert (status, answer["spec"]) == (201, spec)
    assert parse(item).rejected


def test_columns_names_and_marks(crds: ControlPlane, rest: Rest) -> None:
    for definition in DEFINITIONS:
        _, found = rest.request("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition.name}")
        conditions = {each["type"]: each["status"] for each in found["status"]["conditions"]}
        assert (conditions["Established"], conditions["NamesAccepted"]) == ("True", "True")
        assert found["metadata"]["labels"]["app.kubernetes.io/name"] == "heddle"
    listed = crds.kubectl("get", "vs,dr,gw,pa,ap", "-A", "--ignore-not-found")
    assert listed == ""
    crds.kubectl("get", "istio-io", "-A")
