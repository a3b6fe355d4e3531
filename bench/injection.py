"""The injection webhook: 50 pods a second, each created by an API server that waits for the answer.

It has the certificate and the namespaces that it has in a cluster. Server and client are processes of their own; a pod
is sent at its moment, whether earlier ones are answered or not.
"""

from __future__ import annotations

import asyncio
import io
import json
import multiprocessing
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from bench.figures_table import Figure, figures_parser, report
from heddle import clock
from heddle.cluster.webhook_certificate import WebhookCertificate
from heddle.cluster.webhook_namespaces import ClusterNamespaces
from injector.bootstrap_text import warm_up
from injector.reviewers import InjectionReviewer
from injector.server import running_webhook
from injector.settings import InjectionSettings
from sds.authority import create_authority
from sources.kubernetes.access import ClusterAccess
from sources.kubernetes.api import open_api
from sources.store import Store
from tests.kubernetes_api.server import FakeApiServer

NAME = "heddle.heddle-system.svc"
NAMESPACES = b"{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {heddle.io/inject: enabled}}}"
RATE = 50.0
SECONDS = 20.0
TEMPLATES = 50
"""How many different workloads the pods are of: the bootstrap of each is made when its first pod comes."""

P99_TARGET_MS = 20.0


def pod(number: int) -> dict[str, Any]:
    """A pod of an ordinary size: two containers, three probes, some environment."""
    template = number % TEMPLATES
    environment = [{"name": f"SETTING_{index}", "value": "x" * 40} for index in range(30)]
    app = {
        "name": "app",
        "image": f"app-{template}:1",
        "env": environment,
        "ports": [{"containerPort": 8000 + template, "name": "http"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
        "livenessProbe": {"tcpSocket": {"port": 8000 + template}},
    }
    helper = {
        "name": "helper",
        "image": "helper:1",
        "livenessProbe": {"httpGet": {"path": "/", "port": 9000 + template}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": f"app-{template}-5d9f-", "labels": {"app": f"app-{template}"}},
        "spec": {"serviceAccountName": "app", "containers": [app, helper]},
    }


def review(number: int) -> bytes:
    request = {
        "uid": f"uid-{number}",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": "shop",
        "operation": "CREATE",
        "object": pod(number),
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def serve(kubeconfig: Path, ready: Connection) -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    asyncio.run(_serve(kubeconfig, ready))


async def _serve(kubeconfig: Path, ready: Connection) -> None:
    store = Store()
    store.replace_file("namespaces", NAMESPACES)
    authority = create_authority(trust_domain="cluster.local", now=clock.now()).authority
    certificate = WebhookCertificate(lambda: authority, dns_names=(NAME,), host="127.0.0.1", now=clock.now)
    settings = InjectionSettings()
    warm_up(settings)
    # Nobody is asked of this API server, which is not there: all namespaces are known.
    async with open_api(ClusterAccess(kubeconfig=kubeconfig)) as api:
        namespaces = ClusterNamespaces(store, api, monotonic=clock.monotonic)
        reviewers = {"/inject": InjectionReviewer(lambda: settings, namespaces)}
        async with running_webhook(reviewers, tls=certificate.tls, host="127.0.0.1", port=0) as port:
            ready.send((port, authority.trust_bundle))
            await asyncio.to_thread(ready.recv)


async def load(port: int, roots: bytes, *, seconds: float) -> list[float]:
    """Milliseconds from the moment that a pod should be sent to its answer."""
    trust = ssl.create_default_context(cadata=roots.decode())
    bodies = [review(number) for number in range(round(RATE * seconds))]
    took = [0.0] * len(bodies)
    begun = time.perf_counter() + 0.1

    async def one(client: aiohttp.ClientSession, number: int) -> None:
        due = begun + number / RATE
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        url = f"https://127.0.0.1:{port}/inject"
        headers = {"Content-Type": "application/json"}
        async with client.post(url, data=io.BytesIO(bodies[number]), headers=headers, server_hostname=NAME) as answer:
            response = json.loads(await answer.read())["response"]
        if not response["allowed"] or "patch" not in response:
            raise AssertionError(f"pod {number} was not injected")
        took[number] = 1000 * (time.perf_counter() - due)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust, limit=32)) as client:
        async with asyncio.TaskGroup() as tasks:
            for number in range(len(bodies)):
                tasks.create_task(one(client, number))
    return took


def measure(seconds: float) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="heddle-bench-") as name:
        kubeconfig = FakeApiServer().write_kubeconfig(Path(name) / "config")
        ours, theirs = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(kubeconfig, theirs))
        server.start()
        try:
            took = asyncio.run(load(*ours.recv(), seconds=seconds))
            ours.send("end")
        finally:
            server.join(10)
            if server.is_alive():
                server.kill()
    percentiles = statistics.quantiles(took, n=100)
    p50, p99 = percentiles[49], percentiles[98]
    return [
        Figure(
            what=f"the webhook, {RATE:.0f} pods/s of {TEMPLATES} templates for {seconds:g} s from its start",
            measured=f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {max(took):.1f} ms",
            target=f"p99 under {P99_TARGET_MS:.0f} ms",
            met=p99 < P99_TARGET_MS,
            values={"p50_ms": p50, "p99_ms": p99, "max_ms": max(took)},
        )
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = figures_parser("injection", __doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    args = parser.parse_args(arguments)
    return report(measure(args.seconds), args.json)


if __name__ == "__main__":
    sys.exit(main())
