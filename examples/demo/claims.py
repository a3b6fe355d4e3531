"""The six claims. Each measures, prints what it saw, and says whether it held."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from examples.demo.mesh import Shop

USERS = "http://users:8080/"
SPLIT_REQUESTS = 2000
FLIPS = 12
FLIP_TARGET_SECONDS = 0.2
DELAY_SECONDS = 5.0
ROTATIONS = 2

FETCH = """
import http.client, json, sys, time, urllib.error, urllib.request
method, url, *headers = sys.argv[1:]
request = urllib.request.Request(url, method=method, headers=dict(h.split('=', 1) for h in headers))
started = time.monotonic()
try:
    with urllib.request.urlopen(request, timeout=20) as answer:
        status, body = answer.status, answer.read().decode()
except urllib.error.HTTPError as error:
    status, body = error.code, error.read().decode()
except (OSError, http.client.HTTPException) as error:
    status, body = 0, repr(error)
print(json.dumps({'status': status, 'seconds': time.monotonic() - started, 'body': body}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`held` None: this machine's isolation cannot show it."""

    held: bool | None
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`status` 0: no answer at all; `body` then says why."""

    status: int
    seconds: float
    body: str

    def json(self, field: str) -> object:
        return json.loads(self.body)[field]


def fetch(shop: Shop, deployment: str, url: str, method: str = "GET", **headers: str) -> Answer:
    """One request from inside a pod."""
    named = [f"{name.replace('_', '-')}={value}" for name, value in headers.items()]
    done = shop.run_in(deployment, "python3", "-c", FETCH, method, url, *named)
    if done.returncode != 0:
        raise RuntimeError(f"cannot run in {deployment}: {done.stderr}")
    return Answer(**json.loads(done.stdout))


def split(shop: Shop) -> Outcome:
    """90 % of the traffic for `users` to v1, 10 % to v2."""
    summary = shop.load("visitor", USERS, "--requests", str(SPLIT_REQUESTS))
    versions = summary["versions"]
    assert isinstance(versions, dict)
    share = 100 * versions.get("v1", 0) / SPLIT_REQUESTS
    return Outcome(
        held=summary["failed"] == 0 and 87 <= share <= 93,
        lines=(
            f"{SPLIT_REQUESTS} requests: v1 {versions.get('v1', 0)}, v2 {versions.get('v2', 0)} ({share:.1f} % to v1), "
            f"{summary['failed']} failed",
            f"latency through two sidecars: p50 {summary['p50_ms']} ms, p99 {summary['p99_ms']} ms",
        ),
    )


def flips(shop: Shop) -> Outcome:
    """Weights flipped in the file while traffic flows."""
    original = (shop.directory / "users-routing.yaml").read_text()
    took: list[float] = []
    with shop.loading("visitor", USERS, "--each", "--seconds", "600", "--rate", "400") as load:
        assert load.stdout is not None
        lines = iter(load.stdout.readline, "")
        failed = 0
        shop.edit("users-routing.yaml", _weights(original, 100, 0))
        failed += _read_only(lines, "v1", answers=100)
        for flip in range(FLIPS):
            other = "v2" if flip % 2 == 0 else "v1"
            edited = shop.edit("users-routing.yaml", _weights(original, *((0, 100) if other == "v2" else (100, 0))))
            for line in lines:
                moment, status, version = line.split()
                failed += status != "200"
                if version == other and float(moment) > edited:
                    took.append(float(moment) - edited)
                    break
            failed += _read_only(lines, other, answers=100)
    shop.edit("users-routing.yaml", original)
    shop.settle()
    median = statistics.median(took)
    return Outcome(
        held=len(took) == FLIPS and failed == 0 and median < FLIP_TARGET_SECONDS,
        lines=(
            f"{FLIPS} flips, from the file's rename to the first answer of the other version: "
            f"median {median * 1000:.0f} ms (slowest {max(took) * 1000:.0f} ms; target under 200 ms), {failed} failed",
        ),
    )


def delay(shop: Shop) -> Outcome:
    """A 5 s delay for one header value, and only for it."""
    slow = fetch(shop, "visitor", "http://payments:8080/", x_slow="please")
    other = fetch(shop, "visitor", "http://payments:8080/", x_slow="no")
    plain = fetch(shop, "visitor", "http://payments:8080/")
    return Outcome(
        held=(
            all(answer.status == 200 for answer in (slow, other, plain))
            and DELAY_SECONDS <= slow.seconds < DELAY_SECONDS + 2
            and max(other.seconds, plain.seconds) < 2
        ),
        lines=(
            f"x-slow: please {slow.seconds:.2f} s; x-slow: no {other.seconds * 1000:.0f} ms; "
            f"without the header {plain.seconds * 1000:.0f} ms",
        ),
    )


def encryption(shop: Shop) -> Outcome:
    """Plaintext from outside does not reach a STRICT workload; the same request from inside is encrypted."""
    served = _served(shop)
    outside = fetch(shop, "outsider", "http://database:8080/")
    after_outside = _served(shop)
    before = _inbound(shop)
    inside = fetch(shop, "payments", "http://database:8080/")
    after = _inbound(shop)
    caller = str(inside.json("caller")) if inside.status == 200 else inside.body
    peer = re.search(r"URI=([^;,]+)", caller)
    return Outcome(
        held=(
            outside.status == 0 and after_outside == served and inside.status == 200 and _served(shop) == served + 1
            and peer is not None and after.requests == before.requests + 1 and after.encrypted == after.connections > 0
        ),
        lines=(
            f"from outside: {outside.body or outside.status}; the application had served {served} requests before, "
            f"{after_outside} after",
            f"from inside: {inside.status}, peer {peer.group(1) if peer else 'unknown'}; the database's sidecar "
            f"counted {before.requests} requests before and {after.requests} after; TLS on {after.encrypted} of "
            f"{after.connections} connections",
        ),
    )  # fmt: skip


def policy(shop: Shop) -> Outcome:
    """GET allowed, DELETE refused; the wrong service account refused."""
    get = fetch(shop, "payments", "http://database:8080/rows")
    delete = fetch(shop, "payments", "http://database:8080/rows", method="DELETE")
    wrong = fetch(shop, "visitor", "http://database:8080/rows")
    return Outcome(
        held=(get.status, delete.status, wrong.status) == (200, 403, 403),
        lines=(
            f"payments: GET {get.status}, DELETE {delete.status} ({delete.body.strip()}); "
            f"visitor (another service account): GET {wrong.status} ({wrong.body.strip()})",
        ),
    )


class Rotation:
    """Certificates of 60 s under load: begun first, judged last, so that the other claims run meanwhile."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._seen: dict[str, list[str]] = {"visitor": [], "users-v1": []}
        self._load = subprocess.Popen(
            shop.exec_argv("visitor", "python3", "app/load.py", USERS, "--seconds", "600", "--rate", "50"),
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def look(self) -> bool:
        """Notes the serial numbers in use; True once each has been replaced often enough."""
        for deployment, serials in self._seen.items():
            serial = _serial(self._shop, deployment)
            if serial not in serials:
                serials.append(serial)
        return all(len(serials) > ROTATIONS for serials in self._seen.values())

    def judge(self, tell: Callable[[str], None]) -> Outcome:
        started = time.monotonic()
        while not self.look() and time.monotonic() - started < 150:
            if int(time.monotonic() - started) % 10 == 0:
                counts = ", ".join(f"{name} {len(serials) - 1}" for name, serials in self._seen.items())
                tell(f"rotations so far: {counts}")
            time.sleep(1)
        summary = self._end_load()
        counts = {name: len(serials) - 1 for name, serials in self._seen.items()}
        return Outcome(
            held=min(counts.values()) >= ROTATIONS and summary["failed"] == 0 and self._load.returncode == 0,
            lines=(
                f"certificates living 60 s, rotated while {summary['answers']} requests ran: "
                + ", ".join(f"{name} {count} times" for name, count in counts.items())
                + f"; {summary['failed']} requests failed",
            ),
        )

    def _end_load(self) -> dict[str, object]:
        self._load.terminate()
        output, _ = self._load.communicate(timeout=30)
        summary: dict[str, object] = json.loads(output.strip().splitlines()[-1])
        return summary

    def close(self) -> None:
        if self._load.poll() is None:
            self._load.kill()
            self._load.wait()
        if self._load.stdout:
            self._load.stdout.close()


def _weights(manifest: str, v1: int, v2: int) -> str:
    weights = iter((v1, v2))
    return re.sub(r"weight: \d+", lambda _: f"weight: {next(weights)}", manifest)


def _read_only(lines: object, version: str, answers: int) -> int:
    """Reads until `answers` in a row came from `version`; how many of all read failed."""
    failed = run = 0
    for line in lines:  # type: ignore[attr-defined]
        _, status, found = line.split()
        failed += status != "200"
        run = run + 1 if found == version else 0
        if run == answers:
            return failed
    raise RuntimeError("the load generator ended early")


def _served(shop: Shop) -> int:
    """What the database's application itself counts, asked from inside its pod."""
    counted = shop.run_in(
        "database", "python3", "-c",
        "import os, urllib.request; opener = urllib.request.build_opener(urllib.request.ProxyHandler({})); "
        "print(opener.open(f\"http://{os.environ['POD_IP']}:8080/served\").read().decode())",
    )  # fmt: skip
    return int(json.loads(counted.stdout)["served"])


@dataclass(frozen=True, slots=True)
class Inbound:
    """What a sidecar counted of its application's callers."""

    requests: int
    connections: int
    encrypted: int


def _inbound(shop: Shop) -> Inbound:
    """The counters of the database's sidecar for port 8080."""
    stats = shop.run_in(
        "database", "python3", "-c",
        "import os, urllib.request; opener = urllib.request.build_opener(urllib.request.ProxyHandler({})); "
        "print(opener.open('http://%s:15090/stats/prometheus' % os.environ.get('SIDECAR_IP', '127.0.0.1'))"
        ".read().decode())",
    )  # fmt: skip

    def count(name: str) -> int:
        pattern = rf"^envoy_http_downstream_{name}\{{[^}}]*inbound\|8080[^}}]*\}} (\d+)"
        return sum(int(found) for found in re.findall(pattern, stats.stdout, re.MULTILINE))

    return Inbound(requests=count("rq_total"), connections=count("cx_total"), encrypted=count("cx_ssl_total"))


def _serial(shop: Shop, deployment: str) -> str:
    described = json.loads(
        shop.heddle("config", "secret", f"deploy/{deployment}", "-n", "shop", "-o", "json", "--mesh", shop.name)
    )
    return next(str(secret["serial"]) for secret in described["secret"] if secret["name"] == "default")
