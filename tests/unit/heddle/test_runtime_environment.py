from __future__ import annotations

from collections.abc import Mapping

import pytest

from heddle.local.environment import (
    CannotResolve,
    PodFacts,
    command_line,
    expand_references,
    field_value,
    inherited_environment,
    resolve_environment,
)
from model.pods import Container, EnvFrom, EnvVar, FieldPath, KeyOf, Literal

FACTS = PodFacts(
    namespace="shop",
    name="web-0",
    uid="u-1",
    labels={"app": "web"},
    annotations={"team/owner": "a b"},
    service_account="runner",
    node_name="laptop",
    host_address="10.1.0.1",
    addresses=("10.1.1.1", "fd00::1"),
)
CONFIG = {("shop", "settings"): {"COLOR": b"blue", "odd": b"\xff"}}
SECRETS = {("shop", "keys"): {"KEY": b"s3cret"}}


def resolve(container: Container, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
    return resolve_environment(
        container,
        FACTS,
        config_maps=CONFIG,
        secrets=SECRETS,
        inherited=inherited or {},
        given={"SIDECAR_IP": "127.0.0.1"},
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web-0"),
        ("metadata.namespace", "shop"),
        ("metadata.uid", "u-1"),
        ("metadata.labels['app']", "web"),
        ("metadata.labels['absent']", ""),
        ("metadata.annotations['team/owner']", "a b"),
        ("spec.nodeName", "laptop"),
        ("spec.serviceAccountName", "runner"),
        ("status.podIP", "10.1.1.1"),
        ("status.podIPs", "10.1.1.1,fd00::1"),
        ("status.hostIP", "10.1.0.1"),
    ],
)
def test_the_downward_api(path: str, value: str) -> None:
    assert field_value(path, FACTS) == value


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(CannotResolve, match="limits"):
        field_value("limits.cpu", FACTS)


def test_what_every_container_gets() -> None:
    found = resolve(Container(name="app"), {"PATH": "/bin"})
    assert found == {
        "PATH": "/bin",
        "HOSTNAME": "web-0",
        "POD_IP": "10.1.1.1",
        "POD_NAME": "web-0",
        "POD_NAMESPACE": "shop",
        "SIDECAR_IP": "127.0.0.1",
    }


def test_later_variables_win_and_see_earlier_ones() -> None:
    container = Container(
        name="app",
        env_from=(EnvFrom(kind="ConfigMap", name="settings", prefix="CFG_"), EnvFrom(kind="Secret", name="keys")),
        env=(
            EnvVar(name="URL", value=Literal(value="http://$(POD_IP)/$(CFG_COLOR)?$(LATER)&$$(KEY)")),
            EnvVar(name="LATER", value=Literal(value="x")),
            EnvVar(name="KEY", value=Literal(value="$(KEY)!")),
            EnvVar(name="COLOR", value=KeyOf(kind="ConfigMap", name="settings", key="COLOR")),
            EnvVar(name="NODE", value=FieldPath(path="spec.nodeName")),
        ),
    )
    found = resolve(container)
    assert found["URL"] == "http://10.1.1.1/blue?$(LATER)&$(KEY)"
    assert found["KEY"] == "s3cret!"
    assert found["COLOR"] == "blue"
    assert found["NODE"] == "laptop"
    assert found["CFG_odd"].encode(errors="surrogateescape") == b"\xff"


@pytest.mark.parametrize(
    ("container", "says"),
    [
        (Container(name="a", env_from=(EnvFrom(kind="Secret", name="no"),)), "Secret shop/no does not exist"),
        (
            Container(name="a", env=(EnvVar(name="X", value=KeyOf(kind="ConfigMap", name="settings", key="no")),)),
            "ConfigMap shop/settings has no key 'no'",
        ),
        (
            Container(name="a", env=(EnvVar(name="X", value=KeyOf(kind="ConfigMap", name="no", key="k")),)),
            "ConfigMap shop/no does not exist",
        ),
    ],
)
def test_what_is_missing_is_named(container: Container, says: str) -> None:
    with pytest.raises(CannotResolve, match=says):
        resolve(container)


def test_a_variable_without_a_value_is_not_set() -> None:
    container = Container(name="app", env=(EnvVar(name="X", value=None), EnvVar(name="Y", value=Literal(value="$(X)"))))
    found = resolve(container)
    assert "X" not in found
    assert found["Y"] == "$(X)"


def test_optional_sources_may_be_missing() -> None:
    container = Container(
        name="app",
        env_from=(EnvFrom(kind="ConfigMap", name="no", optional=True),),
        env=(EnvVar(name="X", value=KeyOf(kind="Secret", name="no", key="k", optional=True)),),
    )
    assert "X" not in resolve(container)


@pytest.mark.parametrize(
    ("text", "becomes"),
    [("$(A)$(B)", "1$(B)"), ("$$(A)", "$(A)"), ("$(date +%s)", "$(date +%s)"), ("$A", "$A"), ("$$", "$")],
)
def test_references(text: str, becomes: str) -> None:
    assert expand_references(text, {"A": "1"}) == becomes


def test_references_in_the_command_line() -> None:
    container = Container(name="a", command=("sh", "-c", "echo $(POD_NAME)"), args=("$(X)",))
    assert command_line(container, {"POD_NAME": "web-0"}) == ("sh", "-c", "echo web-0", "$(X)")


def test_the_hosts_proxies_and_secrets_stay_outside() -> None:
    host = {"PATH": "/bin", "LC_ALL": "C", "http_proxy": "http://x", "AWS_SECRET": "s", "HEDDLE_MESH_PROCESS": "{}"}
    assert inherited_environment(host) == {"PATH": "/bin", "LC_ALL": "C"}
