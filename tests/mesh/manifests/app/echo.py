"""The server the mesh tests call: `python3 echo.py http:8080 tcp:9000 banner:9001`, each a protocol and a port.

http    answers JSON that says what arrived. /status/N answers N; /flaky/KEY/N fails with 503 N times, then answers;
        /reset/KEY/N closes the connection without an answer N times; /failing/VERSION answers 500 if it is it;
        /sleep/SECONDS answers late; /seen/KEY tells
        how many requests had the header `x-key: KEY` or such a path. An upgrade is taken: all bytes are echoed then.
tcp     sends back what it gets, after the line `tcp VERSION POD`, once it got something.
banner  speaks first: the line `banner VERSION POD`, as a mail or database server would, then echoes.
"""

from __future__ import annotations

import collections
import json
import os
import socket
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WHO = {"version": os.environ.get("VERSION", ""), "pod": os.environ.get("POD_NAME", "")}
SEEN: collections.Counter[str] = collections.Counter()
LOCK = threading.Lock()


def seen(key: str) -> int:
    """Counts `key` once more; how often it was there before."""
    with LOCK:
        SEEN[key] += 1
        return SEEN[key] - 1


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self) -> None:
        if self.headers.get("upgrade"):
            self.echo()
            return
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("x-key"):
            seen(self.headers["x-key"])
        match self.path.partition("?")[0].split("/")[1:]:
            case ["status", status]:
                self.send_json({**WHO, "status": status}, int(status))
            case ["flaky", key, fails]:
                self.send_json(WHO, 503 if seen(key) < int(fails) else 200)
            case ["reset", key, fails] if seen(key) < int(fails):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                self.close_connection = True
                self.connection.close()
            case ["failing", version]:
                self.send_json(WHO, 500 if version == WHO["version"] else 200)
            case ["sleep", seconds]:
                time.sleep(float(seconds))
                self.send_json(WHO)
            case ["seen", key]:
                self.send_json({**WHO, "seen": SEEN[key]})
            case _:
                headers = [[name.lower(), value] for name, value in self.headers.items()]
                self.send_json(
                    {**WHO, "method": self.command, "path": self.path, "headers": headers, "body": body.decode(),
                     "peer": self.client_address[0]}
                )  # fmt: skip

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer  # noqa: N815 - http.server's names

    def echo(self) -> None:
        self.send_response(101)
        self.send_header("connection", "upgrade")
        self.send_header("upgrade", self.headers["upgrade"])
        self.end_headers()
        while data := self.rfile.read1(65536):
            self.wfile.write(data)
        self.close_connection = True

    def send_json(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("x-server-said", "hello")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        print(self.address_string(), format % args, flush=True)


class HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class Tcp(socketserver.BaseRequestHandler):
    speaks_first = False

    def handle(self) -> None:
        greeting = f"{'banner' if self.speaks_first else 'tcp'} {WHO['version']} {WHO['pod']}\n".encode()
        if self.speaks_first:
            self.request.sendall(greeting)
        while data := self.request.recv(65536):
            self.request.sendall(data if self.speaks_first else greeting + data)
            greeting = b""


class Banner(Tcp):
    speaks_first = True


class TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def main() -> None:
    threads = []
    for spec in sys.argv[1:]:
        protocol, _, port = spec.partition(":")
        server: socketserver.BaseServer
        if protocol == "http":
            server = HttpServer(("::", int(port)), Http)
        else:
            server = TcpServer(("", int(port)), Banner if protocol == "banner" else Tcp)
        threads.append(threading.Thread(target=server.serve_forever))
        threads[-1].start()
    print("listening", flush=True)


if __name__ == "__main__":
    main()
