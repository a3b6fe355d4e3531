"""Files of manifests: what comes of each document."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from model.problem_codes import ProblemCode
from model.problems import ObjectRef, Position, Severity
from sources.manifests import Parsed, parse_documents

SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {ports: [{port: 80}]}\n"
WEB = ObjectRef(kind="Service", namespace="shop", name="web")


def parse(text: str) -> Parsed:
    return parse_documents("f.yaml", text.encode())


def said(parsed: Parsed) -> list[tuple[Severity, str, int, str]]:
    return [(p.severity, p.code, p.position.line if p.position else 0, p.field) for p in parsed.problems]


def test_objects_keep_their_places() -> None:
    parsed = parse("# shop\n" + SERVICE + "---\n" + SERVICE.replace("web", "db"))
    assert parsed.problems == ()
    assert [(found.ref.name, found.position.line) for found in parsed.objects] == [("web", 2), ("db", 7)]
    web = parsed.objects[0]
    assert web.where("spec.ports[0].port") == Position(file="f.yaml", line=5)
    assert web.where("metadata.name.deeper") == Position(file="f.yaml", line=4)
    assert web.where("nothing") == Position(file="f.yaml", line=2)
    assert web.where() == web.position


def test_odd_paths_are_found() -> None:
    (found,) = parse(SERVICE.replace("shop}", "shop,\n  labels: {\n    a.b/c: x}}")).objects
    assert found.where("metadata.labels['a.b/c']").line == 5


def test_a_list_is_its_items() -> None:
    item = "- apiVersion: v1\n  kind: Namespace\n  metadata: {name: %s}\n"
    parsed = parse("apiVersion: v1\nkind: List\nmetadata: {}\nitems:\n" + item % "a" + item % "b")
    assert [(found.ref, found.position.line) for found in parsed.objects] == [
        (ObjectRef(kind="Namespace", name="a"), 5),
        (ObjectRef(kind="Namespace", name="b"), 8),
    ]


def test_a_fault_in_a_list_spoils_one_item() -> None:
    item = "- apiVersion: v1\n  kind: Namespace\n  metadata:\n    name: %s\n"
    parsed = parse("apiVersion: v1\nkind: List\nitems:\n" + item % "a" + item % "b" + "    name: c\n" + item % "d")
    assert [found.ref.name for found in parsed.objects] == ["a", "d"]
    assert parsed.rejected == {ObjectRef(kind="Namespace", name="b")}
    assert said(parsed) == [(Severity.ERROR, ProblemCode.DUPLICATE_KEY, 12, "")]
    assert parsed.problems[0].object == ObjectRef(kind="Namespace", name="b")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("items: {apiVersion: v1, kind: Namespace, metadata: {name: a}}", (ProblemCode.WRONG_TYPE, 3, "items")),
        ("items: text", (ProblemCode.WRONG_TYPE, 3, "items")),
        ("items: []\nkind: List", (ProblemCode.DUPLICATE_KEY, 4, "")),
    ],
)
def test_a_list_that_cannot_be_read_keeps_what_its_file_gave(text: str, told: tuple[ProblemCode, int, str]) -> None:
    parsed = parse(f"apiVersion: v1\nkind: List\n{text}\n")
    assert (said(parsed), parsed.nameless) == ([(Severity.ERROR, *told)], True)


@pytest.mark.parametrize("items", ["items: []", "items:"])
def test_an_empty_list_is_nothing_to_mend(items: str) -> None:
    parsed = parse(f"apiVersion: v1\nkind: List\n{items}\n")
    assert (parsed.objects, parsed.problems, parsed.nameless) == ((), (), False)


def test_an_empty_namespace_is_the_default_one() -> None:
    (found,) = parse(SERVICE.replace("shop", "''")).objects
    assert found.ref == ObjectRef(kind="Service", namespace="default", name="web")


def test_json_is_read() -> None:
    (found,) = parse('{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}').objects
    assert found.ref == ObjectRef(kind="Namespace", name="a")


def test_one_bad_object_hides_no_other() -> None:
    parsed = parse(SERVICE.replace("80", "'80'") + "---\n" + SERVICE.replace("web", "db"))
    assert [found.ref.name for found in parsed.objects] == ["db"]
    assert parsed.rejected == {WEB}
    assert said(parsed) == [(Severity.ERROR, ProblemCode.WRONG_TYPE, 4, "spec.ports[0].port")]
    assert parsed.problems[0].object == WEB


def test_text_that_is_no_yaml_hides_all() -> None:
    parsed = parse(SERVICE + "---\na: [\n")
    assert (parsed.objects, parsed.readable) == ((), False)
    assert said(parsed) == [(Severity.ERROR, ProblemCode.MALFORMED_YAML, 7, "")]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("- 1", ProblemCode.NOT_AN_OBJECT),
        ("just text", ProblemCode.NOT_AN_OBJECT),
        ("kind: Service", ProblemCode.NOT_AN_OBJECT),
        ("apiVersion: v1", ProblemCode.NOT_AN_OBJECT),
        ("apiVersion: 1\nkind: Service", ProblemCode.WRONG_TYPE),
        ("apiVersion: v1\nkind: Namespace", ProblemCode.MISSING_FIELD),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: ''}", ProblemCode.MISSING_FIELD),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {generateName: x}", ProblemCode.MISSING_FIELD),
        ("apiVersion: v2\nkind: Namespace\nmetadata: {name: x}", ProblemCode.UNKNOWN_VERSION),
        ("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: A_b}", ProblemCode.INVALID_NAME),
        ("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a, namespace: a.b}", ProblemCode.INVALID_NAME),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: a.b}", ProblemCode.INVALID_NAME),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + "a" * 64 + "}", ProblemCode.INVALID_NAME),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: x, labels: {'a b': c}}", ProblemCode.INVALID_NAME),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: x, labels: {a: '-'}}", ProblemCode.INVALID_NAME),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: x, labels: {a: on}}", ProblemCode.WRONG_TYPE),
        ("apiVersion: v1\nkind: Namespace\nmetadata: {name: x, creationTimestamp: soon}", ProblemCode.INVALID_VALUE),
    ],
)
def test_what_is_no_object(text: str, code: ProblemCode) -> None:
    parsed = parse(text)
    assert parsed.objects == ()
    assert (parsed.problems[0].severity, parsed.problems[0].code) == (Severity.ERROR, code)


@pytest.mark.parametrize(
    ("metadata", "mistakes"),
    [
        ("{name: 123}", {"metadata.name": '"123"'}),
        ("{name: n}", {"metadata.name": '"n"'}),
        ("{name: web, namespace: 12}", {"metadata.namespace": '"12"'}),
        ("{name: web, namespace: on}", {"metadata.namespace": '"on"'}),
        ("{name: 1e3, namespace: no}", {"metadata.name": '"1e3"', "metadata.namespace": '"no"'}),
    ],
)
def test_a_name_that_is_no_text_is_to_be_quoted(metadata: str, mistakes: dict[str, str]) -> None:
    parsed = parse(SERVICE.replace("{name: web, namespace: shop}", metadata))
    assert (parsed.objects, parsed.rejected, parsed.nameless) == ((), frozenset(), True)
    assert said(parsed) == [(Severity.ERROR, ProblemCode.WRONG_TYPE, 3, field) for field in mistakes]
    assert [problem.fix for problem in parsed.problems] == [f"Put it in quotes: {text}." for text in mistakes.values()]


def test_a_missing_name_and_a_wrong_namespace_are_both_said() -> None:
    parsed = parse(SERVICE.replace("{name: web, namespace: shop}", "{namespace: 12}"))
    assert [(problem.code, problem.field) for problem in parsed.problems] == [
        (ProblemCode.MISSING_FIELD, "metadata"),
        (ProblemCode.WRONG_TYPE, "metadata.namespace"),
    ]


@pytest.mark.parametrize(
    ("api_version", "kind", "severity", "code"),
    [
        ("networking.istio.io/v1", "ServiceEntry", Severity.WARNING, ProblemCode.NOT_IMPLEMENTED),
        ("gateway.networking.k8s.io/v1", "HTTPRoute", Severity.WARNING, ProblemCode.NOT_IMPLEMENTED),
        ("networking.istio.io/v1", "VirtualServce", Severity.ERROR, ProblemCode.UNKNOWN_KIND),
        ("v1", "Deployment", Severity.ERROR, ProblemCode.UNKNOWN_KIND),
        ("v1", "Sevice", Severity.ERROR, ProblemCode.UNKNOWN_KIND),
        ("batch/v1", "Job", Severity.WARNING, ProblemCode.NOT_RUN),
        ("apps/v1", "DaemonSet", Severity.WARNING, ProblemCode.NOT_RUN),
        ("networking.k8s.io/v1", "Ingress", Severity.INFO, ProblemCode.NOT_RUN),
        ("v1", "PersistentVolumeClaim", Severity.INFO, ProblemCode.NOT_RUN),
        ("apps.example.com/v1", "Thing", Severity.INFO, ProblemCode.UNKNOWN_KIND),
    ],
)
def test_kinds_that_nothing_reads(api_version: str, kind: str, severity: Severity, code: ProblemCode) -> None:
    parsed = parse(f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {{}}\n")
    assert parsed.objects == ()
    assert parsed.rejected == frozenset()
    assert said(parsed) == [(severity, code, 2, "kind")]


@pytest.mark.parametrize(
    ("api_version", "kind", "meant"),
    [
        ("v1", "Deployment", "Deployment (apps)"),
        ("v1", "Sevice", "Service"),
        ("networking.istio.io/v1", "VirtualServce", "VirtualService"),
        ("apps.example.com/v1", "VirtualService", "VirtualService (networking.istio.io)"),
    ],
)
def test_a_close_kind_is_proposed(api_version: str, kind: str, meant: str) -> None:
    (problem,) = parse(f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x}}\n").problems
    assert problem.fix == f"Did you mean {meant}?"


def test_unknown_fields_are_errors_in_istio_kinds_only() -> None:
    parsed = parse(SERVICE + "spek: {}\n")
    assert [found.ref for found in parsed.objects] == [WEB]
    assert said(parsed) == [(Severity.WARNING, ProblemCode.UNKNOWN_FIELD, 5, "spek")]
    rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: a, subset: []}"
    parsed = parse(rule)
    assert parsed.objects == ()
    assert said(parsed) == [(Severity.ERROR, ProblemCode.UNKNOWN_FIELD, 4, "spec.subset")]


def test_metadata() -> None:
    (found,) = parse(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a-abc-1\n  uid: u1\n  creationTimestamp: 2026-01-31T12:00:00Z\n"
        "  labels: {z/a: b, app: a}\n  annotations: {x: '{}'}\n  resourceVersion: '5'\n"
        "  ownerReferences:\n  - {kind: ReplicaSet, name: a-abc, controller: true, apiVersion: apps/v1, uid: x}\n"
        "spec: {containers: [{name: c}]}\n"
    ).objects
    metadata = found.metadata
    assert metadata.ref == ObjectRef(kind="Pod", namespace="default", name="a-abc-1")
    assert metadata.created == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert list(metadata.labels) == ["app", "z/a"]
    assert (metadata.annotations, metadata.uid, metadata.owner) == ({"x": "{}"}, "u1", "a-abc")


@pytest.mark.parametrize(
    "rest",
    [
        "spec: " + "[" * 100 + "]" * 100,
        "spec: " + "[" * 100 + "]" * 100 + f"\ndata: {{a: {'x' * (1 << 20)}}}",
        f"data: {{a: {'x' * (1 << 20)}}}",
    ],
    ids=["deep", "deep and long", "long"],
)
def test_a_document_that_is_too_large_is_told_of_once(rest: str) -> None:
    parsed = parse(f"{SERVICE}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\n{rest}\n")
    assert [found.ref for found in parsed.objects] == [WEB]
    assert [problem.code for problem in parsed.problems if problem.severity is Severity.ERROR] == [
        ProblemCode.TOO_LARGE
    ]
    assert parsed.nameless is not bool(parsed.rejected)


@pytest.mark.parametrize(
    ("match", "rewrite", "fix"),
    [
        ("/a", r"/\1", r"Put what you refer to in brackets in match, or use \0 for the whole match."),
        ("/(a)", r"/\2", r"Use \1, or \0 for the whole match."),
        ("/(a)(b)", r"/\3", r"Use \1 to \2, or \0 for the whole match."),
        ("/(a)", r"/\q", r"Write '\\' for a backslash, and '\' before a group's number alone."),
    ],
)
def test_the_fix_of_a_rewrite_names_the_groups_there_are(match: str, rewrite: str, fix: str) -> None:
    route = f"rewrite: {{uriRegexRewrite: {{match: '{match}', rewrite: '{rewrite}'}}}}"
    head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n"
    parsed = parse(f"{head}spec: {{hosts: [a], http: [{{route: [{{destination: {{host: a}}}}], {route}}}]}}\n")
    assert [problem.fix for problem in parsed.problems] == [fix]
