"""Annotations."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from injector.quantities import parse_quantity
from injector.settings import InjectionSettings, Resources
from injector.sidecar_options import SidecarOptions, parse_options
from model.problems import Severity

CONFIG = "proxy.istio.io/config"
SIDECAR = "sidecar.istio.io/"
SETTINGS = InjectionSettings(drain=timedelta(seconds=7))


def options(**annotations: str) -> SidecarOptions:
    named = {f"{SIDECAR}{name}": value for name, value in annotations.items()}
    read, problems = parse_options(named, SETTINGS)
    assert problems == ()
    return read


def test_without_annotations_the_settings_hold() -> None:
    read = options()
    assert (read.image, read.resources, read.proxy.termination_drain) == (
        SETTINGS.proxy_image,
        SETTINGS.resources,
        timedelta(seconds=7),
    )


def test_what_can_be_said() -> None:
    assert options(proxyImage="me/envoy:1").image == "me/envoy:1"
    assert options(logLevel="debug", componentLogLevel="upstream:trace, http:off").component_log_level == (
        "upstream:trace,http:off"
    )
    assert not options(rewriteAppHTTPProbers="false").rewrite_probes
    read, problems = parse_options({f"readiness.status.{SIDECAR}periodSeconds": "3"}, SETTINGS)
    assert (read.ready_period, problems) == (3, ())


def test_whoever_gives_one_of_the_resources_gives_them_all() -> None:
    assert options(proxyCPU="250m", proxyMemoryLimit="1Gi").resources == Resources(cpu="250m", memory_limit="1Gi")


def test_the_configuration_of_the_proxy() -> None:
    text = "concurrency: 0\nholdApplicationUntilProxyStarts: false\nterminationDrainDuration: 20s\ndrainDuration: 3s\n"
    read, problems = parse_options({CONFIG: text}, SETTINGS)
    assert problems == ()
    assert (read.proxy.concurrency, read.proxy.hold_application) == (0, False)
    assert (read.proxy.termination_drain, read.proxy.drain) == (timedelta(seconds=20), timedelta(seconds=3))
    assert parse_options({CONFIG: '{"concurrency": 4}'}, SETTINGS)[0].proxy.concurrency == 4
    assert parse_options({CONFIG: ""}, SETTINGS)[0].proxy.concurrency == SETTINGS.concurrency


@pytest.mark.parametrize(
    ("name", "value", "mentioned"),
    [
        (f"{SIDECAR}proxyCPU", "a lot", "a lot"),
        (f"{SIDECAR}proxyCPU", "-1", "-1"),
        (f"{SIDECAR}proxyMemory", "64MiB", "64MiB"),
        (f"{SIDECAR}proxyImage", "an image", "an image"),
        (f"{SIDECAR}proxyImage", "", "''"),
        (f"{SIDECAR}logLevel", "loud", "loud"),
        (f"{SIDECAR}componentLogLevel", "http", "http"),
        (f"{SIDECAR}rewriteAppHTTPProbers", "maybe", "maybe"),
        (f"{SIDECAR}interceptionMode", "TPROXY", "TPROXY"),
        (f"{SIDECAR}interceptionMode", "NONE", "NONE"),
        (f"readiness.status.{SIDECAR}periodSeconds", "0", "0"),
        (f"readiness.status.{SIDECAR}failureThreshold", "three", "three"),
        ("inject.istio.io/templates", "grpc-agent", "grpc-agent"),
        ("traffic.sidecar.istio.io/excludeInboundPorts", "http", "http"),
        ("traffic.sidecar.istio.io/excludeOutboundPorts", "٣", "٣"),
        ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/33", "10.0.0.0/33"),
        (f"{SIDECAR}logLevel", "x" * 20_000, "20000 characters"),
        (CONFIG, "concurrency: many", "the text 'many'"),
        (CONFIG, "concurrency: -1", "-1"),
        (CONFIG, "concurency: 2", "concurency"),
        (CONFIG, "terminationDrainDuration: 5", "the number 5"),
        (CONFIG, "terminationDrainDuration: 25h", "longer than an hour"),
        (CONFIG, "[1, 2]", "no single mapping"),
        (CONFIG, "a: [", "line"),
        (CONFIG, "a: 1\na: 2\n", "a second time"),
    ],
)
def test_a_bad_value_is_refused_with_name_value_and_fix(name: str, value: str, mentioned: str) -> None:
    _, problems = parse_options({name: value}, SETTINGS)
    first = next(problem for problem in problems if problem.severity is Severity.ERROR)
    assert first.field == f"metadata.annotations['{name}']"
    assert mentioned in first.message
    assert first.fix


def test_a_request_above_its_limit_is_refused() -> None:
    _, (problem,) = parse_options({f"{SIDECAR}proxyCPU": "2", f"{SIDECAR}proxyCPULimit": "1500m"}, SETTINGS)
    assert "more than the limit of 1500m" in problem.message


@pytest.mark.parametrize(
    ("name", "code", "fix"),
    [
        (f"{SIDECAR}bootstrapOverride", "NotImplemented", "Remove it."),
        (f"{SIDECAR}proxyMemmory", "UnknownField", f"Did you mean {SIDECAR}proxyMemory?"),
        ("traffic.sidecar.istio.io/excludeInboundPort", "UnknownField", "excludeInboundPorts?"),
    ],
)
def test_what_has_no_effect_is_remarked_on(name: str, code: str, fix: str) -> None:
    _, (problem,) = parse_options({name: "x", "example.com/own": "y"}, SETTINGS)
    assert (problem.severity, problem.code) == (Severity.WARNING, code)
    assert fix in problem.fix


@pytest.mark.parametrize(
    ("text", "amount"),
    [("1", "1"), ("0.5", "0.5"), (".5", "0.5"), ("100m", "0.1"), ("64Mi", "67108864"), ("2k", "2000"), ("1e3", "1000")],
)
def test_quantities(text: str, amount: str) -> None:
    assert parse_quantity(text) == Decimal(amount)


@pytest.mark.parametrize("text", ["", "-1", "1 Gi", "1GiB", "e3", "1e", "1.2.3", "٣", "1" * 40])
def test_no_quantities(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        parse_quantity(text)
