"""The annotation `proxy.istio.io/config`: YAML within YAML. Source: Istio ProxyConfig (mesh/v1alpha1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from model.problem_codes import ProblemCode
from model.problems import Problem, Severity
from sources.fields import Fields, Report
from sources.yaml_documents import NotYaml, read_documents

PROXY_CONFIG: Final = "proxy.istio.io/config"
_LATER: Final = (
    "availabilityZone", "binaryPath", "caCertificatesPem", "configPath", "controlPlaneAuthPolicy", "customConfigFile",
    "discoveryAddress", "discoveryRefreshDelay", "envoyAccessLogService", "envoyMetricsService",
    "envoyMetricsServiceAddress", "extraStatTags", "fileFlushInterval", "fileFlushMinSizeKb", "gatewayTopology",
    "image", "interceptionMode", "meshId", "privateKeyProvider", "proxyAdminPort", "proxyBootstrapTemplatePath",
    "proxyHeaders", "proxyMetadata", "proxyStatsMatcher", "readinessProbe", "runtimeValues", "sds", "serviceCluster",
    "statNameLength", "statsdUdpAddress", "statusPort", "tracing", "tracingServiceName", "zipkinAddress",
)  # fmt: skip
_LONGEST_DRAIN: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyConfig:
    """`concurrency` 0: a worker for each core. `hold_application`: it starts once the sidecar is ready.

    `drain` is how long Envoy lets connections of a changed listener go on, `termination_drain` how long an application
    is kept from ending; both in whole seconds.
    """

    concurrency: int = 2
    hold_application: bool = True
    drain: timedelta = timedelta(seconds=5)
    termination_drain: timedelta = timedelta(seconds=5)


def parse_proxy_config(text: str, default: ProxyConfig) -> tuple[ProxyConfig, tuple[Problem, ...]]:
    """What the annotation says, beside what it leaves open; after an error, `default`."""
    report = Report(file="")
    try:
        documents = read_documents(text.encode("utf-8", errors="surrogatepass"))
    except NotYaml as error:
        report.add(Severity.ERROR, ProblemCode.MALFORMED_YAML, str(error), "Write it as YAML or JSON.", error.line)
        return default, _placed(report)
    if not documents:
        return default, ()
    root = documents[0].root
    for fault in documents[0].faults:
        report.add(Severity.ERROR, fault.code, fault.message, fault.fix, fault.line)
    if len(documents) > 1 or not isinstance(root.value, dict):
        report.add(Severity.ERROR, ProblemCode.WRONG_TYPE, "it is no single mapping", "Write it as one.", root.line)
        return default, _placed(report)
    fields = Fields(root.value, root.line, report)
    read = replace(
        default,
        concurrency=fields.integer("concurrency", default=default.concurrency, minimum=0, maximum=256),
        hold_application=fields.boolean("holdApplicationUntilProxyStarts", default.hold_application),
        drain=_span(fields, "drainDuration", default.drain),
        termination_drain=_span(fields, "terminationDrainDuration", default.termination_drain),
    )
    fields.later(*_LATER)
    fields.finish()
    return (default if report.failed else read), _placed(report)


def _span(fields: Fields, name: str, default: timedelta) -> timedelta:
    span = fields.duration(name, default=default)
    if span > _LONGEST_DRAIN:
        message = f"{name} is longer than an hour"
        fields.problem(ProblemCode.INVALID_VALUE, message, "Write a shorter span.", field=name)
        return default
    return timedelta(seconds=round(span.total_seconds()))


def _placed(report: Report) -> tuple[Problem, ...]:
    """The problems of the pod, not of the text within."""
    outer = f"metadata.annotations['{PROXY_CONFIG}']"
    return tuple(
        replace(problem, message=f"{problem.field}: {problem.message}" if problem.field else problem.message,
                position=None, field=outer)
        for problem in report.problems
    )  # fmt: skip
