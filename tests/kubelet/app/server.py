"""The application of the pods in these tests: `server.py [http:PORT] [grpc:PORT] [tcp:PORT]`.

HTTP answers JSON: `pod`, `version`, `peer` (who asked), `headers`. Its health is what it was told last: GET /sick makes
it sick, /well makes it well, and /health says so, with 500 or 200; gRPC's health service says the same; the TCP port
closes and opens. On SIGTERM it ends at once, whatever is under way: many applications do.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WHO = {"pod": os.environ.get("HOSTNAME", ""), "version": os.environ.get("VERSION", "")}
WELL = threading.Event()
WELL.set()
CHANGED = threading.Condition()


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        status = 200
        match self.path.partition("?")[0]:
            case "/sick":
                change(False)
            case "/well":
                change(True)
            case "/health":
                status = 200 if WELL.is_set() else 500
            case _:
                pass
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({**WHO, "peer": self.client_address[0], "headers": headers}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
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


def change(well: bool) -> None:
    with CHANGED:
        (WELL.set if well else WELL.clear)()
        CHANGED.notify_all()


def serve_tcp(port: int) -> None:
    while True:
        with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
            listener.settimeout(0.05)
            while WELL.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.sendall(f"tcp {WHO['pod']}\n".encode())
        with CHANGED:
            CHANGED.wait_for(WELL.is_set)


def serve_grpc(port: int) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    def check(request: bytes, context: object) -> bytes:
        return b"\x08\x01" if WELL.is_set() else b"\x08\x02"

    server = grpc.server(ThreadPoolExecutor(4))
    handlers = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),))
    server.add_insecure_port(f"[::]:{port}")
    server.start()
    server.wait_for_termination()


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    for argument in sys.argv[1:]:
        protocol, _, port = argument.partition(":")
        if protocol == "http":
            threading.Thread(target=HttpServer(("::", int(port)), Http).serve_forever, daemon=True).start()
        else:
            serve = {"tcp": serve_tcp, "grpc": serve_grpc}[protocol]
            threading.Thread(target=serve, args=(int(port),), daemon=True).start()
    print("listening", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
