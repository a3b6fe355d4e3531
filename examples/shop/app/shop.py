"""The shop's four services in one small program: `python3 shop.py frontend|users|payments|database`.

It knows nothing of the mesh: plain HTTP to plain service names. Every answer is JSON and says who answered.
PORT (8080) and BIND (all addresses) come from the environment, VERSION and POD_NAME go into the answers.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CALLS = {
    "frontend": ("http://users:8080/", "http://payments:8080/"),
    "users": (),
    "payments": ("http://database:8080/rows",),
    "database": (),
}
TIMEOUT_SECONDS = 10


def call(url: str) -> object:
    """The JSON answer of `url`, or {"error": ...}: one failing neighbour does not fail the whole page."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            return json.load(answer)
    except (OSError, ValueError) as error:
        return {"error": str(error)}


class Served:
    """How many requests this process has answered, health checks and questions about it left out."""

    def __init__(self) -> None:
        self.value = 0
        self.lock = threading.Lock()

    def add(self) -> None:
        with self.lock:
            self.value += 1


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    role = "users"
    served = Served()

    def answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        self.rfile.read(length)
        if self.path == "/healthz":
            self.send_json({"ok": True})
            return
        if self.path == "/served":
            self.send_json({"served": self.served.value})
            return
        self.served.add()
        self.send_json(
            {
                "service": self.role,
                "version": os.environ.get("VERSION", ""),
                "pod": os.environ.get("POD_NAME", ""),
                "method": self.command,
                "path": self.path,
                "caller": self.headers.get("x-forwarded-client-cert", ""),
                "calls": [call(url) for url in CALLS[self.role]],
            }
        )

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the names http.server looks for

    def send_json(self, value: object) -> None:
        body = json.dumps(value).encode() + b"\n"
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Quiet: the sidecar has the access log."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    Handler.role = sys.argv[1]
    server = Server((os.environ.get("BIND", ""), int(os.environ.get("PORT", "8080"))), Handler)
    print(f"{Handler.role} {os.environ.get('VERSION', '')} listens on {server.server_address}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
