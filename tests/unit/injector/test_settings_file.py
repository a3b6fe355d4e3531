"""The file with an installation's settings."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from injector.settings import InjectionSettings, Resources
from injector.settings_file import BadSettings, Given, InstallationSettings, parse_settings
from injector.validation_settings import OnError

WHOLE = b"""\
namespace: mesh
revision: heddle-canary
injection:
  takeOverIstioInjection: true
  excludedNamespaces: [kube-system, build]
  proxyImage: registry.example/envoy:1
  initImage: registry.example/heddle:2
  imagePullPolicy: Always
  xdsAddress: "[fd00::1]:443"
  serverName: heddle.mesh.svc
  rootConfigMap: roots
  tokenLife: 2h
  resources: {cpu: 1, memory: 64Mi, cpuLimit: "2"}
  concurrency: 0
  logLevel: info
  drain: 30s
  ipFamily: IPv6
validation:
  onError: Warn
"""


def test_everything() -> None:
    found = parse_settings(WHOLE, file="settings.yaml")
    assert found.validation.on_error is OnError.WARN
    assert found.injection == InjectionSettings(
        revision="heddle-canary",
        is_default=False,
        take_over_istio_injection=True,
        system_namespace="mesh",
        excluded_namespaces=("kube-system", "build"),
        proxy_image="registry.example/envoy:1",
        init_image="registry.example/heddle:2",
        image_pull_policy="Always",
        xds_host="fd00::1",
        xds_port=443,
        server_name="heddle.mesh.svc",
        root_config_map="roots",
        token_life=timedelta(hours=2),
        resources=Resources(cpu="1", memory="64Mi", cpu_limit="2"),
        concurrency=0,
        log_level="info",
        drain=timedelta(seconds=30),
        ip_version=6,
    )


@pytest.mark.parametrize("text", [b"", b"# nothing\n", b"{}", b"injection: {}\nvalidation: {}\n"])
def test_what_is_left_out_is_as_ever(text: bytes) -> None:
    assert parse_settings(text, file="f") == InstallationSettings()


def test_what_is_given_wins_and_addresses_follow_the_namespace() -> None:
    found = parse_settings(WHOLE, file="f", given=Given(namespace="own", revision="heddle")).injection
    assert (found.system_namespace, found.revision, found.is_default) == ("own", "heddle", True)
    found = parse_settings(b"", file="f", given=Given(default_namespace="own")).injection
    assert (found.system_namespace, found.xds_host, found.server_name) == ("own", "heddle.own.svc", "heddle.own.svc")
    found = parse_settings(b"injection: {isDefault: true}", file="f", given=Given(revision="heddle-2")).injection
    assert (found.revision, found.is_default) == ("heddle-2", True)
    assert parse_settings(WHOLE, file="f", given=Given(default_namespace="own")).injection.system_namespace == "mesh"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("injektion: {}", "f:1: injektion: there is no field"),
        ("injection:\n  proxyimage: a", "f:2: injection.proxyimage: there is no field"),
        ("injection:\n  proxyimage: a", "Did you mean proxyImage?"),
        ("injection:\n\n  drain: 5", "f:3: injection.drain: drain is the number 5"),
        ("injection: {drain: 2h}", "injection.drain: drain is more than"),
        ("injection: {tokenLife: 1m}", "injection.tokenLife"),
        ("injection: {xdsAddress: here}", "Write HOST:PORT"),
        ("injection: {xdsAddress: 'here:0'}", "Write HOST:PORT"),
        ("injection: {logLevel: loud}", "Use one of"),
        ("injection: {imagePullPolicy: always}", "Did you mean Always?"),
        ("injection: {proxyImage: 'a b'}", "Write the name of an image"),
        ("injection: {excludedNamespaces: [a, B]}", "injection.excludedNamespaces[1]"),
        ("injection: {excludedNamespaces: a}", "a list is expected"),
        ("injection: {resources: {cpu: lots}}", "injection.resources.cpu: 'lots' is no quantity"),
        ("injection: {resources: {cpu: 2, cpuLimit: 1}}", "injection.resources.cpu: cpu is more than its limit"),
        ("injection: {resources: {gpu: 2}}", "there is no field"),
        ("injection: {ipFamily: IPv5}", "ipFamily"),
        ("injection: {concurrency: -1}", "concurrency"),
        ("injection: []", "a mapping is expected"),
        ("validation: {onError: ignore}", "Use one of Refuse, Warn"),
        ("validation: {on: true}", "there is no field"),
        ("namespace: Own", "namespace is 'Own'"),
        ("revision: a b", "revision is 'a b'"),
        ("a: b: c", "f:1:"),
        ("- a", "one mapping"),
        ("a: 1\n---\nb: 1", "one mapping"),
        ("namespace: a\nnamespace: b", "f:2: the key 'namespace'"),
    ],
)
def test_mistakes_are_told_with_their_line_and_fix(text: str, said: str) -> None:
    with pytest.raises(BadSettings) as raised:
        parse_settings(text.encode(), file="f")
    assert said in str(raised.value)
    assert "; fix: " in str(raised.value)


def test_all_mistakes_at_once() -> None:
    with pytest.raises(BadSettings) as raised:
        parse_settings(b"injection: {drain: 1, logLevel: x}\nvalidation: {onError: x}", file="f")
    assert len(str(raised.value).splitlines()) == 3
    assert len(raised.value.problems) == 3


def test_the_defaults_are_those_of_the_settings() -> None:
    assert parse_settings(b"injection: {drain: 1s}", file="f").injection == replace(
        InjectionSettings(), drain=timedelta(seconds=1)
    )
