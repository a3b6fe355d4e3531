"""A small load generator: `python3 load.py URL (--requests N | --seconds S) [--workers W] [--rate R] [--each]`.

Connections are kept alive, one a worker. At the end it prints one JSON object: how many answers, by version and by
status, how many failed (no answer, or not 200), and milliseconds at the 50th and 99th percentile. With --each it also
prints a line an answer, while it runs: seconds on the machine's monotonic clock, status (0: none), version.
SIGTERM ends it early, with the summary.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import os
import signal
import threading
import time
import urllib.parse


class Tally:
    """What came back, from all workers."""

    def __init__(self, each: bool) -> None:
        self.each = each
        self.lock = threading.Lock()
        self.versions: collections.Counter[str] = collections.Counter()
        self.statuses: collections.Counter[int] = collections.Counter()
        self.errors: list[str] = []
        self.milliseconds: list[float] = []

    def add(self, status: int, version: str, started: float, error: str = "") -> None:
        now = time.monotonic()
        with self.lock:
            self.statuses[status] += 1
            self.milliseconds.append((now - started) * 1000)
            if version:
                self.versions[version] += 1
            if error and len(self.errors) < 10:
                self.errors.append(error)
            if self.each:
                print(f"{now:.6f} {status} {version or '-'}", flush=True)

    def summary(self) -> dict[str, object]:
        times = sorted(self.milliseconds) or [0.0]
        return {
            "answers": sum(self.statuses.values()),
            "failed": sum(count for status, count in self.statuses.items() if status != 200),
            "versions": dict(sorted(self.versions.items())),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "errors": self.errors,
            "p50_ms": round(times[len(times) // 2], 2),
            "p99_ms": round(times[min(len(times) - 1, len(times) * 99 // 100)], 2),
        }


def connect(proxy: str, host: str, port: int) -> http.client.HTTPConnection:
    if proxy:
        via = urllib.parse.urlsplit(proxy)
        return http.client.HTTPConnection(via.hostname or "", via.port or 80, timeout=15)
    return http.client.HTTPConnection(host, port, timeout=15)


def work(url: str, proxy: str, take: threading.Semaphore, stop: threading.Event, pause: float, tally: Tally) -> None:
    parts = urllib.parse.urlsplit(url)
    target = url if proxy else (parts.path or "/")
    connection = connect(proxy, parts.hostname or "", parts.port or 80)
    while not stop.is_set() and take.acquire(blocking=False):
        started = time.monotonic()
        try:
            connection.request("GET", target, headers={"host": parts.netloc})
            answer = connection.getresponse()
            body = answer.read()
            version = str(json.loads(body).get("version", "")) if answer.status == 200 else ""
            tally.add(
                answer.status, version, started, "" if answer.status == 200 else body[:200].decode("utf-8", "replace")
            )
        except (OSError, http.client.HTTPException, ValueError) as error:
            tally.add(0, "", started, repr(error))
            connection.close()
            connection = connect(proxy, parts.hostname or "", parts.port or 80)
        if pause:
            stop.wait(max(0.0, pause - (time.monotonic() - started)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--requests", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second over all workers; 0: as many as go")
    parser.add_argument("--each", action="store_true")
    args = parser.parse_args()

    tally, stop = Tally(args.each), threading.Event()
    take = threading.Semaphore(args.requests if args.requests else 10**9)
    proxy = os.environ.get("http_proxy", "")
    pause = args.workers / args.rate if args.rate else 0.0
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    workers = [
        threading.Thread(target=work, args=(args.url, proxy, take, stop, pause, tally), daemon=True)
        for _ in range(args.workers)
    ]
    for worker in workers:
        worker.start()
    if args.seconds:
        stop.wait(args.seconds)
        stop.set()
    for worker in workers:
        while worker.is_alive():
            worker.join(0.2)
    print(json.dumps(tally.summary()), flush=True)


if __name__ == "__main__":
    main()
