"""`hammer.py URL`: requests on 4 kept connections until standard input ends; prints what came back."""

from __future__ import annotations

import collections
import http.client
import json
import sys
import threading
import urllib.parse

STOP = threading.Event()


def hammer(host: str, port: int, outcomes: list[str], versions: list[str]) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=20)
    while not STOP.is_set():
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            body = answer.read()
            outcomes.append(str(answer.status) if answer.status == 200 else f"{answer.status} {body.decode()[:80]}")
            if answer.status == 200:
                versions.append(json.loads(body)["version"])
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            outcomes.append(repr(error))


def main() -> None:
    url = urllib.parse.urlsplit(sys.argv[1])
    outcomes: list[str] = []
    versions: list[str] = []
    threads = [
        threading.Thread(target=hammer, args=(url.hostname, url.port, outcomes, versions), daemon=True)
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    print("started", flush=True)
    sys.stdin.read()
    STOP.set()
    for thread in threads:
        thread.join()
    print(json.dumps({"outcomes": collections.Counter(outcomes), "versions": collections.Counter(versions)}))


main()
