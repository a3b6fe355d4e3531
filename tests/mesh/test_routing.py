"""VirtualService and DestinationRule, seen by requests through two real sidecars."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.mesh.conftest import BOTH
from tests.mesh.running_mesh import MANIFESTS, RunningMesh

pytestmark = [pytest.mark.envoy, pytest.mark.network, pytest.mark.slow]
MODES = BOTH

ECHO = "http://echo/"


def virtual_service(http: str, hosts: str = "[echo]") -> str:
    """A VirtualService for echo with this `http` list (JSON is YAML)."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: echo, namespace: app}}
spec:
  hosts: {hosts}
  http: {http}
"""


def to(subset: str = "", weight: int | None = None, host: str = "echo") -> dict[str, object]:
    destination = {"host": host} | ({"subset": subset} if subset else {})
    return {"destination": destination} | ({"weight": weight} if weight is not None else {})


def http(*routes: dict[str, object]) -> str:
    return virtual_service(json.dumps(list(routes)))


@pytest.mark.parametrize("host", ["echo", "echo.app", "echo.app.svc", "echo.app.svc.cluster.local", "ECHO", "echo:80"])
def test_all_name_forms_reach_the_service(mesh: RunningMesh, host: str) -> None:
    answer = mesh.get("client", f"http://{host}/hello")
    assert answer["status"] == 200, answer
    assert answer["json"]["path"] == "/hello"


def test_weights(mesh: RunningMesh) -> None:
    mesh.apply(http({"route": [to("v1", 80), to("v2", 20)]}))
    versions = mesh.get("client", ECHO, repeat=500)["versions"]
    assert 340 <= versions["v1"] <= 460
    assert versions["v1"] + versions["v2"] == 500


def test_weights_of_any_sum(mesh: RunningMesh) -> None:
    mesh.apply(http({"route": [to("v1", 1), to("v2", 3)]}))
    versions = mesh.get("client", ECHO, repeat=400)["versions"]
    assert 50 <= versions["v1"] <= 150


def test_matches_in_the_order_of_the_file(mesh: RunningMesh) -> None:
    mesh.apply(
        http(
            {"match": [{"uri": {"exact": "/exact"}}], "route": [to("v2")]},
            {"match": [{"uri": {"prefix": "/pre"}, "method": {"exact": "POST"}}], "route": [to("v2")]},
            {"match": [{"uri": {"regex": "/r/[0-9]+"}}], "route": [to("v2")]},
            {"match": [{"headers": {"x-user": {"exact": "jason"}}}], "route": [to("v2")]},
            {"match": [{"headers": {"x-any": {}}}], "route": [to("v2")]},
            {"match": [{"queryParams": {"v": {"exact": "2"}}}], "route": [to("v2")]},
            {"match": [{"sourceLabels": {"app": "other"}}], "route": [to("v2")]},
            {"match": [{"withoutHeaders": {"x-known": {}}, "uri": {"prefix": "/without"}}], "route": [to("v2")]},
            {"route": [to("v1")]},
        )
    )
    expected = [
        ({"url": ECHO + "exact"}, "v2"),
        ({"url": ECHO + "exactly"}, "v1"),
        ({"url": ECHO + "prefix", "method": "POST"}, "v2"),
        ({"url": ECHO + "prefix"}, "v1"),
        ({"url": ECHO + "r/42"}, "v2"),
        ({"url": ECHO + "r/42x"}, "v1"),
        ({"url": ECHO, "headers": {"x-user": "jason"}}, "v2"),
        ({"url": ECHO, "headers": {"x-user": "jasonx"}}, "v1"),
        ({"url": ECHO, "headers": {"x-any": "thing"}}, "v2"),
        ({"url": ECHO + "?v=2"}, "v2"),
        ({"url": ECHO + "?v=3"}, "v1"),
        ({"url": ECHO + "without"}, "v2"),
        ({"url": ECHO + "without", "headers": {"x-known": "1"}}, "v1"),
        ({"url": ECHO}, "v1"),
    ]
    answers = mesh.call("client", *[call for call, _ in expected])
    assert [answer["json"]["version"] for answer in answers] == [version for _, version in expected]
    assert mesh.get("other", ECHO)["json"]["version"] == "v2"


def test_a_list_without_a_catch_all_ends_in_404(mesh: RunningMesh) -> None:
    mesh.apply(http({"match": [{"uri": {"prefix": "/only"}}], "route": [to("v1")]}))
    only, other = mesh.call("client", {"url": ECHO + "only"}, {"url": ECHO})
    assert (only["status"], other["status"]) == (200, 404)


@pytest.mark.parametrize("bad", [to("undeclared"), to("nobody"), to(host="nowhere")])
def test_a_destination_that_is_not_there_answers_503_for_its_route_alone(
    mesh: RunningMesh, bad: dict[str, object]
) -> None:
    mesh.write(http({"match": [{"uri": {"prefix": "/bad"}}], "route": [bad]}, {"route": [to("v1")]}))
    mesh.heddle("status", "--wait", "--timeout", "30", "--mesh", mesh.name)
    broken, fine = mesh.call("client", {"url": ECHO + "bad"}, {"url": ECHO})
    assert (broken["status"], fine["status"]) == (503, 200)


def test_rewrite(mesh: RunningMesh) -> None:
    mesh.apply(
        http(
            {
                "match": [{"uri": {"prefix": "/old"}}],
                "rewrite": {"uri": "/new", "authority": "else.example"},
                "route": [to()],
            },
            {
                "match": [{"uri": {"prefix": "/num/"}}],
                "rewrite": {"uriRegexRewrite": {"match": "/num/([0-9]+)/(.*)", "rewrite": "/\\2/\\1"}},
                "route": [to()],
            },
        )
    )
    prefix, regex = mesh.call("client", {"url": ECHO + "old/x?y=1"}, {"url": ECHO + "num/7/seven"})
    assert prefix["json"]["path"] == "/new/x?y=1"
    assert ["host", "else.example"] in prefix["json"]["headers"]
    assert regex["json"]["path"] == "/seven/7"


def test_redirect_and_direct_response(mesh: RunningMesh) -> None:
    mesh.apply(
        http(
            {
                "match": [{"uri": {"exact": "/moved"}}],
                "redirect": {"uri": "/here", "authority": "new.example", "redirectCode": 308},
            },
            {
                "match": [{"uri": {"exact": "/teapot"}}],
                "directResponse": {"status": 418, "body": {"string": "short, stout"}},
            },
            {
                "match": [{"uri": {"exact": "/big"}}],
                "directResponse": {"status": 200, "body": {"string": "x" * 10_000}},
            },
            {"route": [to()]},
        )
    )
    moved, teapot, big = mesh.call("client", *[{"url": ECHO + path} for path in ("moved", "teapot", "big")])
    assert (moved["status"], moved["headers"]["location"]) == (308, "http://new.example/here")
    assert (teapot["status"], teapot["text"]) == (418, "short, stout")
    assert len(big["text"]) == 10_000


def test_timeout(mesh: RunningMesh) -> None:
    mesh.apply(http({"match": [{"uri": {"prefix": "/sleep"}}], "timeout": "0.5s", "route": [to()]}, {"route": [to()]}))
    late, soon = mesh.call("client", {"url": ECHO + "sleep/3"}, {"url": ECHO + "sleep/0.1"})
    assert late["status"] == 504
    assert late["seconds"] < 2.5
    assert soon["status"] == 200


def test_no_timeout_unless_given(mesh: RunningMesh) -> None:
    answer = mesh.get("client", ECHO + "sleep/16", timeout=30)
    assert answer["status"] == 200


def test_retries(mesh: RunningMesh) -> None:
    mesh.apply(
        http(
            {
                "match": [{"uri": {"prefix": "/flaky"}}],
                "retries": {"attempts": 3, "retryOn": "5xx", "perTryTimeout": "2s"},
                "route": [to("v1")],
            },
            {"route": [to("v1")]},
        )
    )
    key = uuid.uuid4().hex
    within, beyond = mesh.call("client", {"url": f"{ECHO}flaky/{key}a/3"}, {"url": f"{ECHO}flaky/{key}b/5"})
    assert within["status"] == 200
    assert beyond["status"] == 503
    assert mesh.get("client", f"{ECHO}seen/{key}b")["text"].count('"seen": 4') == 1


def test_an_applications_503_is_not_retried_by_default(mesh: RunningMesh) -> None:
    mesh.apply(http({"route": [to("v1")]}))
    key = uuid.uuid4().hex
    assert mesh.get("client", f"{ECHO}flaky/{key}/1")["status"] == 503
    assert mesh.get("client", f"{ECHO}flaky/{key}/1")["status"] == 200


def test_fault_delay_and_abort(mesh: RunningMesh) -> None:
    mesh.apply(
        http(
            {
                "match": [{"headers": {"x-fault": {"exact": "delay"}}}],
                "fault": {"delay": {"fixedDelay": "1s", "percentage": {"value": 100}}},
                "route": [to()],
            },
            {
                "match": [{"headers": {"x-fault": {"exact": "abort"}}}],
                "fault": {"abort": {"httpStatus": 555, "percentage": {"value": 100}}},
                "route": [to()],
            },
            {
                "match": [{"headers": {"x-fault": {"exact": "half"}}}],
                "fault": {"abort": {"httpStatus": 555, "percent": 50}},
                "route": [to()],
            },
            {"route": [to()]},
        )
    )
    delayed, aborted, plain, half = mesh.call(
        "client",
        *[{"url": ECHO, "headers": {"x-fault": fault}} for fault in ("delay", "abort", "none")],
        {"url": ECHO, "headers": {"x-fault": "half"}, "repeat": 200},
    )
    assert delayed["status"] == 200
    assert delayed["seconds"] > 0.95  # Envoy's timers count from its last look at the clock, some ms before
    assert aborted["status"] == 555
    assert plain["status"] == 200
    assert plain["seconds"] < 1.0
    assert 60 <= half["statuses"]["555"] <= 140


def test_mirror(mesh: RunningMesh) -> None:
    mesh.apply(
        http({"route": [to("v1")], "mirror": {"host": "echo", "subset": "v2"}, "mirrorPercentage": {"value": 100}})
    )
    key = uuid.uuid4().hex
    answers = mesh.call("client", *[{"url": ECHO, "headers": {"x-key": key}}] * 20)
    assert {answer["json"]["version"] for answer in answers} == {"v1"}
    mesh.apply(http({"route": [to("v2")]}))
    assert '"seen": 20' in mesh.get("client", f"{ECHO}seen/{key}")["text"]


def test_headers(mesh: RunningMesh) -> None:
    mesh.apply(
        http(
            {
                "headers": {
                    "request": {"set": {"x-set": "100%% new"}, "add": {"x-more": "two"}, "remove": ["x-secret"]},
                    "response": {"set": {"x-server-said": "goodbye"}, "add": {"x-added": "yes"}},
                },
                "route": [{**to("v1"), "headers": {"request": {"set": {"x-by-destination": "v1"}}}}],
            }
        )
    )
    answer = mesh.get("client", ECHO, headers={"x-set": "old", "x-more": "one", "x-secret": "s"})
    sent = answer["json"]["headers"]
    assert ["x-set", "100% new"] in sent
    assert [value for name, value in sent if name == "x-more"] in (["one", "two"], ["one,two"])
    assert "x-secret" not in dict(sent)
    assert ["x-by-destination", "v1"] in sent
    assert answer["headers"]["x-server-said"] == "goodbye"
    assert answer["headers"]["x-added"] == "yes"


def test_a_host_of_its_own(mesh: RunningMesh) -> None:
    mesh.apply(virtual_service(json.dumps([{"route": [to("v2")]}]), hosts='["shop.example.com", "*.wild.example.com"]'))
    answers = mesh.call(
        "client", *[{"url": ECHO, "headers": {"host": host}} for host in ("shop.example.com", "a.b.wild.example.com")]
    )
    assert [answer["json"]["version"] for answer in answers] == ["v2", "v2"]


def test_consistent_hash_keeps_a_user_on_one_pod(mesh: RunningMesh) -> None:
    mesh.apply("""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: app}
spec:
  host: web
  trafficPolicy:
    loadBalancer: {consistentHash: {httpHeaderName: x-user}}
""")
    calls = [{"url": "http://web:8080/", "headers": {"x-user": str(user)}, "repeat": 5} for user in range(20)]
    answers = mesh.call("client", *calls)
    assert all(len(answer["pods"]) == 1 for answer in answers)
    assert len({pod for answer in answers for pod in answer["pods"]}) == 2


def test_circuit_breaking(mesh: RunningMesh) -> None:
    mesh.apply("""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: legacy, namespace: app}
spec:
  host: legacy
  trafficPolicy:
    connectionPool:
      tcp: {maxConnections: 1}
      http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: legacy, namespace: app}
spec:
  hosts: [legacy]
  http: [{retries: {attempts: 0}, route: [{destination: {host: legacy}}]}]
""")
    program = (
        "import concurrent.futures, json, subprocess, sys\n"
        "call = json.dumps([{'url': 'http://legacy/sleep/1'}])\n"
        "run = lambda _: json.loads(subprocess.run([sys.executable, 'app/call.py'], input=call, text=True,\n"
        "    capture_output=True).stdout)[0].get('status')\n"
        "print(json.dumps(list(concurrent.futures.ThreadPoolExecutor(8).map(run, range(8)))))\n"
    )
    statuses = json.loads(mesh.exec("deploy/client", "python3", "-c", program).stdout)
    assert 200 in statuses
    assert 503 in statuses


def test_outlier_detection_ejects_a_failing_pod(mesh: RunningMesh) -> None:
    mesh.apply("""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo, namespace: app}
spec:
  host: echo
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 60s, maxEjectionPercent: 100}
""", "destinations.yaml")  # fmt: skip
    try:
        mesh.get("client", f"{ECHO}failing/v2", repeat=30)
        assert mesh.get("client", ECHO, repeat=20)["versions"] == {"v1": 20}
    finally:
        mesh.apply((MANIFESTS / "destinations.yaml").read_text(), "destinations.yaml")
