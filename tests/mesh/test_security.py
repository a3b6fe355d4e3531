"""Mutual TLS and who may do what, seen by requests from inside and outside the mesh."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.mesh.conftest import BOTH
from tests.mesh.running_mesh import RunningMesh

pytestmark = [pytest.mark.envoy, pytest.mark.network, pytest.mark.slow]
MODES = BOTH


def peer_authentication(mode: str, ports: str = "", selector: str = "{matchLabels: {app: echo}}") -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: case, namespace: app}}
spec:
  {f"selector: {selector}" if selector else ""}
  mtls: {{mode: {mode}}}
  {ports}
"""


def authorization(rules: list[dict[str, Any]] | None, action: str = "ALLOW", name: str = "case") -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: app}}
spec:
  selector: {{matchLabels: {{app: echo}}}}
  action: {action}
  {f"rules: {json.dumps(rules)}" if rules is not None else ""}
"""


def of(account: str) -> dict[str, Any]:
    return {"from": [{"source": {"principals": [f"cluster.local/ns/app/sa/{account}"]}}]}


def operation(**fields: list[str]) -> dict[str, Any]:
    return {"to": [{"operation": fields}]}


def statuses(mesh: RunningMesh, caller: str, *calls: dict[str, Any]) -> list[int]:
    return [answer.get("status", 0) for answer in mesh.call(caller, *calls)]


def address_of(mesh: RunningMesh, workload: str) -> str:
    return str(mesh.pods(workload)[0]["ip"])


def test_mutual_tls_by_default_and_the_callers_identity_is_known(mesh: RunningMesh) -> None:
    answer = mesh.get("client", "http://echo/")
    caller = dict(answer["json"]["headers"])["x-forwarded-client-cert"]
    assert "URI=spiffe://cluster.local/ns/app/sa/client" in caller


def test_a_forged_identity_header_does_not_get_through(mesh: RunningMesh) -> None:
    forged = "By=x;URI=spiffe://cluster.local/ns/app/sa/admin"
    for caller in ("client", "outsider"):
        sent = dict(mesh.get(caller, "http://echo/", headers={"x-forwarded-client-cert": forged})["json"]["headers"])
        assert "admin" not in sent.get("x-forwarded-client-cert", "")


def test_permissive_takes_both(mesh: RunningMesh) -> None:
    mesh.apply(peer_authentication("PERMISSIVE"))
    assert statuses(mesh, "client", {"url": "http://echo/"}) == [200]
    assert statuses(mesh, "outsider", {"url": "http://echo/"}) == [200]


def test_strict_takes_mutual_tls_only(mesh: RunningMesh) -> None:
    mesh.apply(peer_authentication("STRICT"))
    address = address_of(mesh, "echo-v1")
    assert statuses(mesh, "client", {"url": "http://echo/"}, {"url": "http://echo:8081/"}) == [200, 200]
    outside = mesh.call(
        "outsider",
        {"url": "http://echo/"},
        {"url": f"http://{address}:8081/"},
        {"tcp": f"{address}:9000", "send": "ping", "expect": "ping", "timeout": 5},
        {"tcp": f"{address}:3306", "expect": "banner", "timeout": 5},
        {"url": f"http://{address}:9999/", "timeout": 5},
        {"tcp": f"{address}:9999", "send": "GET / HTTP/1.0\r\n\r\n", "expect": "HTTP/1", "timeout": 5},
    )
    assert all("error" in answer for answer in outside), outside


def test_strict_holds_for_ipv6_too(mesh: RunningMesh) -> None:
    show = "import json; print(json.dumps([l.split() for l in open('/proc/net/if_inet6')]))"
    links = json.loads(mesh.exec("deploy/echo-v1", "python3", "-c", show).stdout)
    raw = [link[0] for link in links if link[5] == "eth0"]
    addresses = [":".join(found[i : i + 4] for i in range(0, 32, 4)) for found in raw]
    targets = [f"{address}%eth0" if address.startswith("fe80") else address for address in addresses]
    calls = [{"tcp": f"{t}:{port}", "send": "GET / HTTP/1.0\r\n\r\n", "expect": "HTTP/1", "timeout": 4}
             for t in targets for port in (8080, 9999)]  # fmt: skip
    before = mesh.call("outsider", *calls)
    mesh.apply(peer_authentication("STRICT"))
    after = mesh.call("outsider", *calls)
    assert all("error" in answer for answer in after), after
    assert targets
    assert sum("text" in answer for answer in before) >= 2, f"nothing was tried: {before}"


def test_disable_speaks_plaintext(mesh: RunningMesh) -> None:
    mesh.apply(peer_authentication("DISABLE"))
    answer = mesh.get("client", "http://echo/")
    assert answer["status"] == 200
    assert "URI=" not in dict(answer["json"]["headers"]).get("x-forwarded-client-cert", "")
    mesh.remove()
    again = mesh.call("client", *[{"url": "http://echo/"}] * 4)
    assert all("URI=" in dict(answer["json"]["headers"]).get("x-forwarded-client-cert", "") for answer in again)


def test_a_port_may_differ_from_its_workload(mesh: RunningMesh) -> None:
    mesh.apply(peer_authentication("STRICT", "portLevelMtls: {8081: {mode: PERMISSIVE}}"))
    address = address_of(mesh, "echo-v1")
    answers = mesh.call(
        "outsider", {"url": f"http://{address}:8080/", "timeout": 5}, {"url": f"http://{address}:8081/"}
    )
    assert "error" in answers[0]
    assert answers[1]["status"] == 200


def test_the_namespaces_policy_holds_where_no_workloads_does(mesh: RunningMesh) -> None:
    mesh.apply(peer_authentication("STRICT", selector=""))
    assert "error" in mesh.get("outsider", "http://echo/", timeout=5)
    assert mesh.get("client", "http://echo/")["status"] == 200
    assert mesh.get("client", "http://legacy/")["status"] == 200


def test_a_destination_rule_may_turn_tls_off(mesh: RunningMesh) -> None:
    mesh.apply("""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: mixed, namespace: app}
spec:
  host: mixed
  trafficPolicy: {tls: {mode: DISABLE}}
""")
    calls = [{"url": "http://mixed/"} for _ in range(10)]
    answers = mesh.call("client", *calls)
    assert {answer["status"] for answer in answers} == {200}
    assert not any("URI=" in dict(a["json"]["headers"]).get("x-forwarded-client-cert", "") for a in answers)


def test_allow_by_principal_and_method(mesh: RunningMesh) -> None:
    mesh.apply(authorization([{**of("client"), **operation(methods=["GET"])}]))
    delete = {"url": "http://echo/", "method": "DELETE"}
    assert statuses(mesh, "client", {"url": "http://echo/"}, delete) == [200, 403]
    assert statuses(mesh, "other", {"url": "http://echo/"}, delete) == [403, 403]
    assert statuses(mesh, "outsider", {"url": "http://echo/"}) == [403]
    assert mesh.get("other", "http://echo/")["text"] == "RBAC: access denied"


def test_an_allow_policy_without_rules_denies_all(mesh: RunningMesh) -> None:
    mesh.apply(authorization(None))
    assert statuses(mesh, "client", {"url": "http://echo/"}) == [403]
    assert statuses(mesh, "client", {"url": "http://legacy/"}) == [200]


def test_deny_comes_before_allow(mesh: RunningMesh) -> None:
    mesh.apply(
        authorization([of("client"), of("other")])
        + "---"
        + authorization([{**of("other"), **operation(paths=["/admin*"])}], action="DENY", name="deny")
    )
    assert statuses(mesh, "client", {"url": "http://echo/admin"}) == [200]
    assert statuses(mesh, "other", {"url": "http://echo/"}, {"url": "http://echo/admin/x"}) == [200, 403]


@pytest.mark.parametrize("path", ["/admin", "/x/../admin", "/./admin", "/admin?x=/", "/%61dmin", "/admin#x"])
def test_a_denied_path_has_no_other_spelling(mesh: RunningMesh, path: str) -> None:
    mesh.apply(authorization([operation(paths=["/admin"])], action="DENY"))
    answer = mesh.get("client", f"http://echo{path}")
    assert answer["status"] in (403, 400)


def test_slashes_are_merged_where_the_mesh_says_so(mesh: RunningMesh) -> None:
    settings = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    pathNormalization: {normalization: MERGE_SLASHES}
---
"""
    mesh.apply(settings + authorization([operation(paths=["/admin"])], action="DENY"))
    # How paths are read belongs to the connection: one that is open already is closed after its next answer. There are
    # as many as pods times the threads of the caller's sidecar, and nobody says which is taken.
    for _ in range(10):
        found = statuses(mesh, "client", *[{"url": "http://echo//admin"}] * 4)
        if found == [403] * 4:
            break
    assert found == [403] * 4
    assert statuses(mesh, "client", {"url": "http://echo//admin"}, {"url": "http://echo/x"}) == [403, 200]


def test_a_policy_holds_for_the_next_request_of_an_open_connection(mesh: RunningMesh) -> None:
    for _ in range(3):
        mesh.apply(authorization([of("client")], action="DENY"))
        assert statuses(mesh, "client", *[{"url": "http://echo/"}] * 6) == [403] * 6
        mesh.remove()
        assert statuses(mesh, "client", *[{"url": "http://echo/"}] * 6) == [200] * 6


def test_paths_hosts_ports_and_namespaces(mesh: RunningMesh) -> None:
    mesh.apply(
        authorization(
            [
                operation(paths=["/exact", "/prefix*", "*.suffix", "/t/{*}/end"]),
                operation(hosts=["special.example"]),
                operation(ports=["8081"]),
                {"from": [{"source": {"namespaces": ["elsewhere"]}}]},
            ]
        )
    )
    calls = [
        {"url": f"http://echo/{path}"}
        for path in ("exact", "exact/", "prefixed", "a.suffix", "t/1/end", "t/1/2/end", "")
    ]
    assert statuses(mesh, "client", *calls) == [200, 403, 200, 200, 200, 403, 403]
    assert statuses(mesh, "client", {"url": "http://echo:8081/"}) == [200]


@pytest.mark.parametrize(("namespace", "status"), [("app", 200), ("ap", 403), ("app2", 403), ("ap*", 200)])
def test_namespaces_are_compared_whole(mesh: RunningMesh, namespace: str, status: int) -> None:
    mesh.apply(authorization([{"from": [{"source": {"namespaces": [namespace]}}]}]))
    assert statuses(mesh, "client", {"url": "http://echo/"}) == [status]


def test_policies_on_tcp(mesh: RunningMesh) -> None:
    call = {"tcp": "echo:9000", "send": "ping", "expect": "ping", "timeout": 5}
    mesh.apply(authorization([of("client")]))
    assert "text" in mesh.call("client", call)[0]
    assert "error" in mesh.call("other", call)[0]
    mesh.apply(authorization([operation(methods=["GET"])]))
    assert "error" in mesh.call("client", call)[0], "an ALLOW rule on a method never matches TCP"


@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE"])
def test_who_is_refused_does_not_hear_what_a_server_says_first(mesh: RunningMesh, mode: str) -> None:
    calls = [{"tcp": f"echo:{port}", "expect": "\n", "timeout": 5} for port in (3306, 9001)]
    for policy in (authorization([of("client")]), authorization([of("other")], action="DENY")):
        mesh.apply(peer_authentication(mode) + "---" + policy)
        assert all(answer["text"].startswith("banner v") for answer in mesh.call("client", *calls))
        assert all("error" in answer for answer in mesh.call("other", *calls))
    mesh.apply(peer_authentication(mode) + "---" + authorization([of("client")]))
    assert all("error" in answer for answer in mesh.call("outsider", *calls))


def test_the_service_account_is_the_identity_not_the_label(mesh: RunningMesh) -> None:
    mesh.apply(authorization([of("echo")]))
    assert statuses(mesh, "client", {"url": "http://echo/"}) == [403]
    assert statuses(mesh, "echo-v2", {"url": "http://echo.app:80/"}) == [200]


def test_keys_are_never_printed(mesh: RunningMesh) -> None:
    printed = "".join(
        mesh.must("config", kind, "deploy/client", "-n", "app", "--mesh", mesh.name, "-o", output)
        for kind in ("all", "secret")
        for output in ("json", "table")
    )
    assert not re.search(r"PRIVATE KEY|privateKey", printed)
    assert "spiffe://cluster.local/ns/app/sa/client" in printed
