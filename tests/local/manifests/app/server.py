"""Answers every request with who it is, after DELAY seconds; not ready before READY_AFTER seconds."""

from __future__ import annotations

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BORN = time.monotonic()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        early = time.monotonic() - BORN < float(os.environ.get("READY_AFTER", "0"))
        if self.path != "/ready":
            time.sleep(float(os.environ.get("DELAY", "0")))
        body = json.dumps({"pid": os.getpid(), "pod": os.environ["POD_NAME"], "version": os.environ.get("VERSION")})
        self.send_response(503 if early and self.path == "/ready" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Quiet."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    Server(("", 8080), Handler).serve_forever()
