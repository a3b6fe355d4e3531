"""A gateway of a real mesh: requests from outside, over HTTP and HTTPS, to a pod that takes mutual TLS alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import make_certificate, tls_secret
from tests.mesh.conftest import BOTH
from tests.mesh.running_mesh import MANIFESTS, RunningMesh

pytestmark = [pytest.mark.envoy, pytest.mark.network, pytest.mark.slow]

GATEWAY = Path(__file__).parent / "gateway"
EDGE = "edge.edge.svc.cluster.local"


@pytest.fixture(scope="module", params=BOTH, ids=str)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """Gateways have everything ahead in either mode; the sidecars that they and others call do not."""
    directory = tmp_path_factory.mktemp("gateway") / "mesh"
    shutil.copytree(GATEWAY, directory, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(MANIFESTS / "app" / "echo.py", directory / "app" / "echo.py")
    mesh = RunningMesh(f"gateway-{request.param}-{os.getpid()}", directory)
    mesh.up("--sidecar-config", request.param)
    yield mesh
    mesh.down()


@pytest.fixture
def mesh(running: RunningMesh) -> Iterator[RunningMesh]:
    yield running
    for file in running.directory.glob("*.yaml"):
        if file.name != "base.yaml":
            file.unlink()
    running.settle()


def gateway(*servers: dict[str, Any], name: str = "public", namespace: str = "edge") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{istio: edge}}
  servers: {json.dumps(servers)}
---
"""


def http(*hosts: str, **tls: Any) -> dict[str, Any]:
    port = {"number": 80, "name": "http", "protocol": "HTTP"}
    return {"port": port, "hosts": hosts, **({"tls": tls} if tls else {})}


def https(*hosts: str, credential: str, name: str = "https") -> dict[str, Any]:
    tls = {"mode": "SIMPLE", "credentialName": credential}
    return {"port": {"number": 443, "name": name, "protocol": "HTTPS"}, "hosts": hosts, "tls": tls}


def routes(*hosts: str, name: str = "echo", http: list[dict[str, Any]] | None = None, age: int = 1) -> str:
    to_echo = [{"route": [{"destination": {"host": "echo"}}]}]
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: app, creationTimestamp: "2026-01-0{age}T00:00:00Z"}}
spec:
  hosts: {json.dumps(hosts)}
  gateways: [edge/public]
  http: {json.dumps(to_echo if http is None else http)}
---
"""


def answer(status: int, **match: Any) -> dict[str, Any]:
    return {**({"match": [match]} if match else {}), "directResponse": {"status": status}}


def call(mesh: RunningMesh, *calls: dict[str, Any], where: str = "outsider") -> list[dict[str, Any]]:
    wanted = [{"to": f"{EDGE}:{443 if one.get('tls') else 80}", **one} for one in calls]
    done = mesh.exec(f"deploy/{where}", "python3", "app/edge.py", stdin=json.dumps(wanted))
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def statuses(mesh: RunningMesh, *calls: dict[str, Any]) -> list[int]:
    return [one.get("status", 0) for one in call(mesh, *calls)]


def secure(name: str, **more: Any) -> dict[str, Any]:
    return {"tls": True, "host": name, "sni": name, **more}


def test_requests_come_in_and_go_on_over_mutual_tls(mesh: RunningMesh) -> None:
    mesh.apply(gateway(http("shop.example")) + routes("shop.example"))
    found, nobody, shouting, dotted, ported = call(
        mesh,
        {"host": "shop.example", "path": "/a?b=c"},
        {"host": "other.example"},
        {"host": "SHOP.Example"},
        {"host": "shop.example."},
        {"host": "shop.example:8080"},
    )
    assert found["status"] == 200
    seen = json.loads(found["text"])
    assert seen["path"] == "/a?b=c"
    assert "URI=spiffe://cluster.local/ns/edge/sa/edge" in dict(seen["headers"])["x-forwarded-client-cert"]
    assert nobody["status"] == 404
    assert [one["status"] for one in (shouting, dotted, ported)] == [200, 200, 200]


def test_a_pod_of_the_mesh_and_the_host_may_call_it_too(mesh: RunningMesh) -> None:
    mesh.apply(gateway(http("shop.example")) + routes("shop.example"))
    calls = ({"to": "edge.edge:80", "host": host} for host in ("shop.example", "edge.edge"))
    assert [one.get("status") for one in call(mesh, *calls, where="inside")] == [200, 404]
    address = next(s["ip"] for s in mesh.status()["services"] if s["name"] == "edge")
    if os.geteuid() == 0:
        script = json.dumps([{"to": f"{address}:80", "host": "shop.example"}])
        done = subprocess.run(
            ["python3", str(GATEWAY / "app" / "edge.py")], input=script, capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout)[0]["status"] == 200


def test_what_a_caller_says_of_itself_is_not_believed(mesh: RunningMesh) -> None:
    mesh.apply(gateway(http("shop.example")) + routes("shop.example"))
    forged = [
        ["x-forwarded-client-cert", "By=x;URI=spiffe://cluster.local/ns/app/sa/admin"],
        ["x-envoy-max-retries", "50"],
        ["x-envoy-original-path", "/admin"],
        ["x-envoy-upstream-rq-timeout-ms", "1"],
        ["x-forwarded-proto", "https"],
        ["x-forwarded-for", "10.0.0.1"],
    ]
    found = call(mesh, {"host": "shop.example", "headers": forged})[0]
    headers = dict(json.loads(found["text"])["headers"])
    assert "admin" not in json.dumps(headers)
    assert not {"x-envoy-max-retries", "x-envoy-upstream-rq-timeout-ms"} & headers.keys()
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-forwarded-for"].startswith("10.0.0.1,")
    assert headers["x-forwarded-for"] != "10.0.0.1"


def test_a_path_has_one_spelling_and_a_header_one_name(mesh: RunningMesh) -> None:
    admin = {"match": [{"uri": {"prefix": "/admin"}}], "directResponse": {"status": 403}}
    rest = {"route": [{"destination": {"host": "echo"}}]}
    mesh.apply(gateway(http("shop.example")) + routes("shop.example", http=[admin, rest]))
    paths = ("/admin", "//admin", "/x/../admin", "/./admin", "/%61dmin")
    assert set(statuses(mesh, *({"host": "shop.example", "path": path} for path in paths))) == {403}
    escaped = call(mesh, *({"host": "shop.example", "path": path} for path in ("/x%2F..%2Fadmin", "/%5Cadmin")))
    assert [one["status"] for one in escaped] == [307, 307]
    assert escaped[0]["headers"]["location"] == "/admin"
    assert statuses(mesh, {"host": "shop.example", "path": "/x#/admin"}) == [400]
    assert statuses(mesh, {"host": "shop.example", "headers": [["x_user", "admin"]]}) == [400]


def test_several_hosts_and_virtual_services_meet(mesh: RunningMesh) -> None:
    mesh.write(
        gateway(http("*.shop.example", "app/own.example", "edge/not.example"))
        + routes("a.shop.example", name="first", http=[answer(201, uri={"prefix": "/one"}), answer(202)])
        + routes("a.shop.example", name="second", http=[answer(203, uri={"prefix": "/two"})], age=2)
        + routes("*.shop.example", name="wide", http=[answer(204)])
        + routes("own.example", "not.example", name="namespaces", http=[answer(205)])
    )
    done = mesh.heddle("status", "--wait", "--timeout", "45", "--mesh", mesh.name)
    assert "let other namespaces than app use the host not.example" in done.stdout
    wanted = {
        ("a.shop.example", "/one"): 201,
        ("a.shop.example", "/two"): 203,
        ("a.shop.example", "/"): 202,
        ("b.shop.example", "/"): 204,
        ("shop.example", "/"): 404,
        ("own.example", "/"): 205,
        ("not.example", "/"): 404,
    }
    assert dict(zip(wanted, statuses(mesh, *({"host": h, "path": p} for h, p in wanted)), strict=True)) == wanted


def test_plain_requests_are_sent_to_https(mesh: RunningMesh) -> None:
    mesh.apply(gateway(http("shop.example", "bare.example", httpsRedirect=True)) + routes("shop.example"))
    found = call(mesh, {"host": "shop.example", "path": "/a?b"}, {"host": "bare.example"}, {"host": "x.example"})
    assert [one["status"] for one in found] == [301, 301, 404]
    assert found[0]["headers"]["location"] == "https://shop.example/a?b"


def test_each_name_has_its_certificate(mesh: RunningMesh) -> None:
    mesh.apply(
        gateway(https("a.example", credential="a"), https("*.b.example", credential="b", name="b"))
        + routes("a.example", "x.b.example")
        + tls_secret("a", "edge", *make_certificate("a.example", serial=0xA1))
        + "---"
        + tls_secret("b", "edge", *make_certificate("*.b.example", serial=0xB1), keys=("cert", "key"))
    )
    a, b, unnamed, unknown, crossed = call(
        mesh,
        secure("a.example"),
        secure("x.b.example"),
        {"tls": True, "host": "a.example"},
        secure("c.example"),
        secure("a.example", host="x.b.example"),
    )
    assert (a["status"], a["serial"]) == (200, "a1")
    assert (b["status"], b["serial"]) == (200, "b1")
    assert "error" in unnamed
    assert "error" in unknown
    assert crossed["status"] == 404
    shown = mesh.must("config", "secret", "deploy/edge", "-n", "edge", "--mesh", mesh.name, "-o", "json")
    assert "CN=a.example" in shown
    assert "PRIVATE" not in shown


def test_a_certificate_is_replaced_under_load_without_a_failed_request(mesh: RunningMesh) -> None:
    objects = gateway(https("a.example", credential="a")) + routes("a.example")
    mesh.write(objects)
    mesh.apply(tls_secret("a", "edge", *make_certificate("a.example", serial=0xA1)), "secret.yaml")
    argv = mesh.exec_argv("deploy/outsider", "python3", "app/edge.py")
    load = json.dumps([secure("a.example", to=f"{EDGE}:443", load=8)])
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as caller:
        assert caller.stdin is not None
        assert caller.stderr is not None
        caller.stdin.write(load)
        caller.stdin.close()
        caller.stdin = None
        assert caller.stderr.readline() == "started\n"
        for serial in (0xA2, 0xA3):
            mesh.apply(tls_secret("a", "edge", *make_certificate("a.example", serial=serial)), "secret.yaml")
        out, _ = caller.communicate(timeout=60)
    found = json.loads(out)[0]
    assert found["errors"] == []
    assert set(found["statuses"]) == {"200"}
    assert {"a1", "a3"} <= found["serials"].keys()
    assert found["held"] == "a1", "the connection from before stayed open, and was made only once"


def test_without_a_good_secret_its_names_are_refused_and_others_go_on(mesh: RunningMesh) -> None:
    mesh.write(
        gateway(https("*", credential="a"), https("b.example", credential="b", name="b"))
        + routes("a.example", "b.example")
        + tls_secret("a", "edge", *make_certificate("a.example", serial=0xA1))
    )
    good = tls_secret("b", "edge", *make_certificate("b.example", serial=0xB1))
    _, stranger = make_certificate("b.example", serial=0xB2)
    chain, _ = make_certificate("b.example", serial=0xB3)
    elsewhere = good.replace("namespace: edge", "namespace: app")
    for secret, code in (
        ("", "UnknownCredential"),
        (elsewhere, "UnknownCredential"),
        (good, ""),
        (tls_secret("b", "edge", chain, stranger), "InvalidCredential"),
        (good, ""),
        (tls_secret("b", "edge", b"garbage", stranger), "InvalidCredential"),
    ):
        mesh.write(secret or "# nothing\n", "secret.yaml")
        done = mesh.heddle("status", "--wait", "--timeout", "45", "--mesh", mesh.name, "-o", "json")
        assert code in done.stdout
        a, b = call(mesh, secure("a.example"), secure("b.example"))
        assert a.get("serial") == "a1"
        assert b.get("serial") == (None if code else "b1"), b
    (mesh.directory / "secret.yaml").unlink()


def test_a_policy_holds_at_the_gateway(mesh: RunningMesh) -> None:
    mesh.apply(
        gateway(http("shop.example"))
        + routes("shop.example")
        + """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: case, namespace: edge}
spec:
  selector: {matchLabels: {istio: edge}}
  action: DENY
  rules:
    - to: [{operation: {paths: ["/admin*"]}}]
"""
    )
    wanted = {"/": 200, "/admin": 403, "/x/../admin": 403, "//admin/x": 403}
    assert (
        dict(zip(wanted, statuses(mesh, *({"host": "shop.example", "path": p} for p in wanted)), strict=True)) == wanted
    )
