"""The chart: what it grants, whom its webhooks ask, and that its values are documented and checked."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from heddle.cluster import metrics
from heddle.cluster.chart import CHART, BadValues
from heddle.cluster.health import METRICS_PATH
from heddle.cluster.names import HEDDLE, INSTALLED, PART_OF, REVISION_OF, injector_name, labels_of, revision_name
from heddle.cluster.replicas import PORT, PORT_NAME, reader_of
from heddle.cluster.requests import path_of
from heddle.cluster.template_syntax import TemplateError
from heddle.main import VERSION
from injector.decide import decide
from injector.settings import InjectionSettings
from model.problems import ObjectRef
from sds.tokens import ADMIN_AUDIENCE, LONGEST_ADMIN_LIFE
from sources.kubernetes.resources import Scope, resources_in
from tests.unit.heddle.our_chart import our_chart, render_ours

Json = dict[str, Any]
NAMESPACE = "heddle-system"
NOT_READ_YET = {("networking.istio.io", "gateways")}


@pytest.fixture(scope="module")
def chart() -> Any:
    return our_chart()


def objects(chart: Any, **values: Any) -> dict[tuple[str, str], Json]:
    found = render_ours(values, namespace=NAMESPACE).objects
    return {
        (item["kind"], f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}"): item for item in found
    }


def rules(found: Mapping[tuple[str, str], Json], kind: str) -> list[Json]:
    return [rule for (one, _), item in found.items() if one == kind for rule in item["rules"]]


def test_the_versions_are_ours(chart: Any) -> None:
    assert chart.metadata["appVersion"] == chart.metadata["version"] == VERSION


def test_every_value_is_in_the_schema_and_the_other_way_round(chart: Any) -> None:
    assert _names(chart.defaults, chart.schema) == _schema_names(chart.schema)
    for path, schema in _mappings(chart.schema):
        if "properties" in schema:
            assert schema["additionalProperties"] is False, path
        assert schema.get("description") or path in ("", ".resources.requests", ".resources.limits"), path


def test_every_value_has_a_comment() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    told = False
    bare = []
    for line in lines:
        if line.strip().startswith("#"):
            told = True
        elif re.match(r" {0,2}[A-Za-z]+:", line):
            name = line.strip()
            # A group, and what is named by its neighbours.
            if not told and not name.endswith(":"):
                bare.append(name)
            told = False
    named_by_neighbours = {
        "pullPolicy: IfNotPresent",
        "imagePullPolicy: IfNotPresent",
        "name: istio",
        "logLevel: warning",
        "verbose: false",
        "minReplicas: 2",
        "maxReplicas: 5",
        "minAvailable: 1",
        "timeoutSeconds: 5",
        "nodeSelector: {}",
        "tolerations: []",
        "affinity: {}",
        "podAnnotations: {}",
    }
    assert set(bare) <= named_by_neighbours


def test_defaults_are_the_injectors_own(chart: Any) -> None:
    settings = yaml.safe_load(objects(chart)["ConfigMap", f"{NAMESPACE}/heddle"]["data"]["settings.yaml"])
    default, injection = InjectionSettings(), settings["injection"]
    assert settings["revision"] == default.revision
    assert settings["namespace"] == default.system_namespace
    assert injection["xdsAddress"] == f"{default.xds_host}:{default.xds_port}"
    assert injection["serverName"] == default.server_name
    assert injection["proxyImage"] == default.proxy_image
    assert injection["initImage"] == default.init_image
    assert tuple(injection["excludedNamespaces"]) == default.excluded_namespaces
    assert injection["rootConfigMap"] == default.root_config_map
    assert (injection["concurrency"], injection["logLevel"]) == (default.concurrency, default.log_level)
    resources = default.resources
    assert injection["resources"] == {
        "cpu": resources.cpu,
        "memory": resources.memory,
        "cpuLimit": resources.cpu_limit,
        "memoryLimit": resources.memory_limit,
    }


def test_the_cluster_role_is_what_is_watched_and_no_secret(chart: Any) -> None:
    found = objects(chart, gatewaySecretNamespaces=["edge"])
    cluster_rules = rules(found, "ClusterRole")
    granted = {
        (group, resource)
        for rule in cluster_rules
        if rule["verbs"] == ["get", "list", "watch"] and "resourceNames" not in rule
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    scope = Scope(
        mesh_config=ObjectRef(kind="ConfigMap", namespace=NAMESPACE, name="istio"), secret_namespaces=("edge",)
    )
    watched = {(one.group, one.plural) for one in resources_in(scope) if not one.namespace}
    assert granted - watched <= NOT_READ_YET
    assert watched <= granted
    assert not [rule for rule in cluster_rules if "secrets" in rule.get("resources", ())]
    assert not [rule for rule in (*cluster_rules, *rules(found, "Role")) if "*" in str(rule)]
    for rule in cluster_rules:
        writes = set(rule["verbs"]) - {"get", "list", "watch"}
        narrowed = rule.get("resourceNames") or all(one.endswith("/status") for one in rule.get("resources", ()))
        assert not writes or narrowed or writes == {"create"}, rule


def test_secrets_are_read_only_where_the_values_say(chart: Any) -> None:
    found = objects(chart, gatewaySecretNamespaces=["edge", "shop"])
    places = {
        item["metadata"]["namespace"]
        for (kind, _), item in found.items()
        if kind == "Role" and any("secrets" in rule["resources"] and "list" in rule["verbs"] for rule in item["rules"])
    }
    assert places == {"edge", "shop"}
    args = found["Deployment", f"{NAMESPACE}/heddle"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert [args[at + 1] for at, word in enumerate(args) if word == "--secrets-of"] == ["edge", "shop"]


@pytest.mark.parametrize("revision", ["", "heddle", "canary", "heddle-canary"])
def test_a_revision_names_everything(chart: Any, revision: str) -> None:
    found = objects(chart, revision=revision)
    name = revision_name(revision)
    assert chart.render({"revision": revision}, namespace=NAMESPACE).revision == name
    for (kind, place), item in found.items():
        assert name in item["metadata"]["name"], (kind, place)
        assert labels_of(item)[PART_OF] == HEDDLE
        assert labels_of(item)[REVISION_OF] == name
        assert path_of(item).startswith(("/api/", "/apis/"))
    default = [hook["name"] for hook in found["MutatingWebhookConfiguration", f"/{injector_name(name)}"]["webhooks"]]
    assert ("namespace.injector.heddle.io" in default) == (name == "heddle")


def test_people_ask_by_an_account_without_any_right(chart: Any) -> None:
    found = objects(chart, gatewaySecretNamespaces=["edge"])
    reader = found["ServiceAccount", f"{NAMESPACE}/{reader_of(HEDDLE)}"]
    assert reader["automountServiceAccountToken"] is False
    bound = {subject["name"] for item in found.values() for subject in item.get("subjects", ())}
    assert bound == {HEDDLE}
    spec = found["Deployment", f"{NAMESPACE}/heddle"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert {port["containerPort"] for port in container["ports"] if port["name"] == PORT_NAME} == {PORT}
    args = container["args"]
    assert args[args.index("--admin") + 1] == f"0.0.0.0:{PORT}"
    (source,) = next(one for one in spec["volumes"] if one["name"] == "admin-token")["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == ADMIN_AUDIENCE
    assert source["serviceAccountToken"]["expirationSeconds"] <= LONGEST_ADMIN_LIFE.total_seconds()
    (mount,) = (one["mountPath"] for one in container["volumeMounts"] if one["name"] == "admin-token")
    assert args[args.index("--admin-token") + 1] == f"{mount}/{source['serviceAccountToken']['path']}"


@pytest.mark.parametrize("revision", ["reader", "heddle-reader", "canary-reader"])
def test_no_control_plane_runs_by_an_account_of_readers(chart: Any, revision: str) -> None:
    with pytest.raises(TemplateError, match="ends in reader"):
        objects(chart, revision=revision)
    objects(chart, revision="readers")


def test_who_asks_replicas_is_limited_to_them_and_to_api_servers(chart: Any) -> None:
    found = objects(chart, networkPolicy={"apiServerCIDRs": ["10.0.0.0/28"]})
    policy = found["NetworkPolicy", f"{NAMESPACE}/heddle"]["spec"]
    (rule,) = (one for one in policy["ingress"] if PORT in {port["port"] for port in one["ports"]})
    replicas = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "heddle"}}}
    assert rule["from"] == [replicas, {"ipBlock": {"cidr": "10.0.0.0/28"}}]
    (rule,) = (one for one in policy["egress"] if PORT in {port["port"] for port in one["ports"]})
    assert rule["to"] == [replicas]


def test_two_revisions_share_no_object(chart: Any) -> None:
    assert not set(objects(chart)) & set(objects(chart, revision="canary"))


def test_replicas_are_kept_apart_and_whole(chart: Any) -> None:
    assert ("PodDisruptionBudget", f"{NAMESPACE}/heddle") in objects(chart)
    assert ("PodDisruptionBudget", f"{NAMESPACE}/heddle") not in objects(chart, replicas=1)
    scaled = objects(chart, replicas=1, autoscaling={"enabled": True, "sidecarsMetric": "heddle_connected_sidecars"})
    assert ("PodDisruptionBudget", f"{NAMESPACE}/heddle") in scaled
    assert "replicas" not in scaled["Deployment", f"{NAMESPACE}/heddle"]["spec"]
    metrics = scaled["HorizontalPodAutoscaler", f"{NAMESPACE}/heddle"]["spec"]["metrics"]
    assert [one["type"] for one in metrics] == ["Resource", "Pods"]


def test_settings_that_change_make_new_pods(chart: Any) -> None:
    def mark(**values: Any) -> str:
        template = objects(chart, **values)["Deployment", f"{NAMESPACE}/heddle"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["heddle.io/settings"])

    assert mark() == mark(replicas=5)
    assert mark() != mark(injection={"drain": "9s"})


def test_nobody_renders_a_ca_bundle() -> None:
    for file in (CHART / "templates").iterdir():
        assert "caBundle:" not in file.read_text(), file


def test_nonsense_is_refused_by_name(chart: Any) -> None:
    with pytest.raises(BadValues, match=r"replica is no value of this chart; replicas is"):
        chart.render({"replica": 3}, namespace=NAMESPACE)


# Whom the webhooks ask: what `decide` says yes to must be asked about, once.

SAYS = {
    "heddle.io/inject": (None, "enabled", "Enabled", "true", "disabled", "false", "maybe"),
    "istio-injection": (None, "enabled", "disabled"),
    "istio.io/rev": (None, "{mine}", "another"),
}
POD_SAYS = {
    "heddle.io/inject": (None, "enabled", "disabled", "maybe"),
    "sidecar.istio.io/inject": (None, "true", "false", "FALSE"),
    "istio.io/rev": (None, "{mine}", "another"),
}


def label_sets(says: Mapping[str, tuple[str | None, ...]], mine: str) -> Iterator[dict[str, str]]:
    for values in itertools.product(*says.values()):
        yield {name: value.format(mine=mine) for name, value in zip(says, values, strict=True) if value is not None}


def selects(selector: Json, labels: Mapping[str, str]) -> bool:
    def fits(one: Json) -> bool:
        value = labels.get(one["key"])
        match one["operator"]:
            case "In":
                return value in one["values"]
            case "NotIn":
                return value not in one["values"]
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
        raise AssertionError(one)

    return all(map(fits, selector["matchExpressions"]))


@pytest.mark.parametrize(
    ("revision", "default", "takes_over"),
    [("", True, False), ("", True, True), ("canary", False, False), ("canary", True, False), ("", False, True)],
)
def test_the_webhooks_ask_about_every_pod_that_gets_a_sidecar(
    chart: Any, revision: str, default: bool, takes_over: bool
) -> None:
    mine = revision_name(revision)
    values = {"revision": revision, "isDefault": default, "injection": {"takeOverIstioInjection": takes_over}}
    hooks = objects(chart, **values)["MutatingWebhookConfiguration", f"/{injector_name(mine)}"]["webhooks"]
    settings = InjectionSettings(revision=mine, is_default=default, take_over_istio_injection=takes_over)
    for namespace_labels in label_sets(SAYS, mine):
        named = {**namespace_labels, "kubernetes.io/metadata.name": "shop"}
        chosen = [hook for hook in hooks if selects(hook["namespaceSelector"], named)]
        for labels in label_sets(POD_SAYS, mine):
            pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app"}]}}
            decision = decide(pod, namespace="shop", namespace_labels=namespace_labels, settings=settings)
            asked = [hook["name"] for hook in chosen if selects(hook["objectSelector"], labels)]
            assert len(asked) <= 1, (namespace_labels, labels, asked)
            if decision.inject:
                assert asked, (namespace_labels, labels, decision)
            elif asked:
                # Whoever meant otherwise is warned. That FALSE declines as false does, a selector cannot say.
                known = decision.surprising or labels.get("sidecar.istio.io/inject") == "FALSE"
                assert known, (namespace_labels, labels, decision)


@pytest.mark.parametrize("name", ["kube-system", "kube-public", "kube-node-lease", NAMESPACE])
def test_system_namespaces_are_never_asked_about(chart: Any, name: str) -> None:
    hooks = objects(chart)["MutatingWebhookConfiguration", "/heddle-injector"]["webhooks"]
    labels = {"kubernetes.io/metadata.name": name, "heddle.io/inject": "enabled"}
    assert not [hook for hook in hooks if selects(hook["namespaceSelector"], labels)]
    for hook in hooks:
        assert (hook["timeoutSeconds"], hook["sideEffects"], hook["reinvocationPolicy"]) == (5, "None", "IfNeeded")
        assert hook["failurePolicy"] == "Fail"


def test_validation_waits_for_istios_kinds_alone(chart: Any) -> None:
    for hook in objects(chart)["ValidatingWebhookConfiguration", "/heddle-validator"]["webhooks"]:
        groups = {group for rule in hook["rules"] for group in rule["apiGroups"]}
        assert groups == {"networking.istio.io", "security.istio.io"}
        assert not [one for rule in hook["rules"] for one in rule["resources"] if "/" in one or "*" in one]
        assert hook["failurePolicy"] == "Ignore"


def test_every_kind_is_one_that_commands_know(chart: Any) -> None:
    made = {kind for kind, _ in objects(chart, namespace={"create": True}, autoscaling={"enabled": True})}
    assert made <= set(INSTALLED)


def _names(values: Mapping[str, Any], schema: Json, path: str = "") -> set[str]:
    found = set()
    for name, value in values.items():
        place = f"{path}.{name}"
        found.add(place)
        inner = schema["properties"].get(name, {})
        if isinstance(value, dict) and "properties" in inner:
            found |= _names(value, inner, place)
    return found


def _schema_names(schema: Json, path: str = "") -> set[str]:
    found = set()
    for name, inner in schema.get("properties", {}).items():
        found |= {f"{path}.{name}"} | _schema_names(inner, f"{path}.{name}")
    return found


def _mappings(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _mappings(inner, f"{path}.{name}")


def test_prometheus_is_told_where_the_metrics_are_and_let_in(chart: Any) -> None:
    def annotations(**values: Any) -> dict[str, str]:
        template = objects(chart, **values)["Deployment", f"{NAMESPACE}/heddle"]["spec"]["template"]
        found: dict[str, str] = template["metadata"]["annotations"]
        return {name: text for name, text in found.items() if name.startswith("prometheus.io/")}

    told = {"prometheus.io/scrape": "true", "prometheus.io/port": "15014", "prometheus.io/path": METRICS_PATH}
    assert annotations() == told
    assert annotations(metrics={"annotations": False}) == {}
    policy = objects(chart)["NetworkPolicy", f"{NAMESPACE}/heddle"]["spec"]
    (rule,) = (one for one in policy["ingress"] if 15014 in {port["port"] for port in one["ports"]})
    assert "from" not in rule


def test_the_metric_to_scale_by_is_one_that_there_is() -> None:
    text = (Path(__file__).resolve().parents[3] / "deploy" / "chart" / "values.yaml").read_text()
    (named,) = re.findall(r"`(heddle_\w+)`, where an adapter", text)
    assert named in Path(metrics.__file__).read_text()
