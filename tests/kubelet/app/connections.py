"""TCP connections all the time: `connections.py HOST:PORT RATE`, the greeting of each is read until its end.

A line for each: how many there were, and the greeting or what went wrong. After SIGTERM a line of JSON: `answers`,
`failed`, and `failures`, the first few in words.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading


def main() -> None:
    host, _, port = sys.argv[1].rpartition(":")
    pause = 1 / float(sys.argv[2])
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    answers, failures = 0, []
    while not ended.is_set():
        try:
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                greeting = b"".join(iter(lambda: connection.recv(1024), b"")).decode().strip()
        except OSError as error:
            greeting = f"failed: {error}"
        if greeting.startswith("tcp "):
            answers += 1
        else:
            failures.append(greeting or "closed without a word")
        print(answers + len(failures), greeting, flush=True)
        ended.wait(pause)
    print(json.dumps({"answers": answers, "failed": len(failures), "failures": failures[:10]}), flush=True)


if __name__ == "__main__":
    main()
