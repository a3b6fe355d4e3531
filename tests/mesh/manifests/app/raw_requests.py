"""Requests written by hand, one connection each: reads a JSON list from standard input a line at a time.

An item is {"to": "host:port", "pieces": [[seconds to wait, text], ...], "until": text, "whole": true, "reset": true}.
Its answer is {"status", "seconds", "heard"}; status 0: none came. It is heard until the first line has ended, or until
the text is there, or with "whole" all of its content-length. A text stands for the bytes that have its characters'
numbers. "reset" closes the connection after the last piece without waiting for an answer. A line is answered by a line.
"""

from __future__ import annotations

import functools
import json
import socket
import struct
import sys
import time


def main() -> None:
    for line in sys.stdin:
        print(json.dumps([answer(item) for item in json.loads(line)]), flush=True)


@functools.cache
def address_of(host: str) -> str:
    """Looked up once: names are the control plane's too, which may be away later."""
    return socket.gethostbyname(host)


def answer(item: dict) -> dict:
    host, _, port = item["to"].rpartition(":")
    until = item.get("until", "\r\n").encode("latin-1")
    started = time.monotonic()
    heard = b""
    try:
        with socket.create_connection((address_of(host), int(port)), timeout=30) as connection:
            for pause, text in item["pieces"]:
                time.sleep(pause)
                connection.sendall(text.encode("latin-1"))
            if item.get("reset"):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return {"status": 0, "seconds": time.monotonic() - started}
            while not (is_whole(heard) if item.get("whole") else until in heard) and (more := connection.recv(65536)):
                heard += more
    except OSError:
        pass
    status = int(heard.split()[1]) if heard.startswith(b"HTTP/") else 0
    return {"status": status, "seconds": time.monotonic() - started, "heard": heard.decode("latin-1")}


def is_whole(heard: bytes) -> bool:
    head, end, body = heard.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end) and len(body) >= (int(lengths[0]) if lengths else 0)


if __name__ == "__main__":
    main()
