"""The client of the mesh tests: reads a JSON list of calls from standard input, prints a JSON list of answers.

A call is {"url", "method", "headers", "body", "timeout", "repeat"} or {"tcp": "host:port", "send", "expect"}.
An answer is {"status", "seconds", "headers", "json" | "text"} or {"error"}; of TCP {"text"} or {"error"}.
"repeat" N sends the call N times over one connection and answers {"versions", "statuses", "pods"} as counts.
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import os
import socket
import sys
import time
import urllib.parse


def main() -> None:
    answers = [tcp(call) if "tcp" in call else repeated(call) for call in json.load(sys.stdin)]
    print(json.dumps(answers))


def connect(call: dict) -> tuple[http.client.HTTPConnection, str]:
    parts = urllib.parse.urlsplit(call["url"])
    proxy = urllib.parse.urlsplit(os.environ.get("http_proxy", ""))
    timeout = call.get("timeout", 15)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if proxy.hostname:
        return http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=timeout), call["url"]
    return http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout), path


def repeated(call: dict) -> dict:
    connection, target = connect(call)
    with contextlib.closing(connection):
        if "repeat" not in call:
            return one(connection, target, call)
        answers = [one(connection, target, call) for _ in range(call["repeat"])]
    return {
        "statuses": collections.Counter(str(answer.get("status", 0)) for answer in answers),
        "versions": collections.Counter(answer["json"]["version"] for answer in answers if "json" in answer),
        "pods": collections.Counter(answer["json"]["pod"] for answer in answers if "json" in answer),
    }


def one(connection: http.client.HTTPConnection, target: str, call: dict) -> dict:
    started = time.monotonic()
    try:
        connection.putrequest(call.get("method", "GET"), target, skip_host="host" in call.get("headers", {}))
        body = call.get("body", "").encode()
        for name, value in call.get("headers", {}).items():
            connection.putheader(name, value)
        if body:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body or None)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return {"error": repr(error), "seconds": time.monotonic() - started}
    found = {
        "status": answer.status,
        "seconds": time.monotonic() - started,
        "headers": {name.lower(): value for name, value in answer.getheaders()},
        "text": text,
    }
    with contextlib.suppress(ValueError):
        found["json"] = json.loads(text)
        if not isinstance(found["json"], dict) or "version" not in found["json"]:
            del found["json"]
    return found


def tcp(call: dict) -> dict:
    host, _, port = call["tcp"].rpartition(":")
    started = time.monotonic()
    try:
        with socket.create_connection((host, int(port)), timeout=call.get("timeout", 10)) as connection:
            if call.get("send"):
                connection.sendall(call["send"].encode())
            got = b""
            while call["expect"].encode() not in got:
                data = connection.recv(4096)
                if not data:
                    return {"error": "closed", "text": got.decode("latin-1"), "seconds": time.monotonic() - started}
                got += data
    except OSError as error:
        return {"error": repr(error), "seconds": time.monotonic() - started}
    return {"text": got.decode("latin-1"), "seconds": time.monotonic() - started}


if __name__ == "__main__":
    main()
