"""The client of the gateway tests: reads a JSON list of calls from standard input, prints a JSON list of answers.

A call is {"to": "host:port", "host", "path", "method", "headers": [[name, value]], "tls": bool, "sni"}; an answer is
{"status", "headers", "text", "serial"} or {"error"}. {"load": SECONDS, ...} sends the call all that time, over a
connection that stays open and over new ones in turn, and answers {"statuses", "serials", "errors", "held"}.
"""

from __future__ import annotations

import collections
import http.client
import json
import socket
import ssl
import sys
import time


class Connection(http.client.HTTPConnection):
    """To any address, with any name in the TLS greeting, whatever the certificate."""

    def __init__(self, call: dict) -> None:
        host, _, port = call["to"].rpartition(":")
        super().__init__(host, int(port), timeout=call.get("timeout", 10))
        self.call = call
        self.serial = ""

    def connect(self) -> None:
        self.sock = socket.create_connection((self.host, self.port), self.timeout)
        if self.call.get("tls"):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.sock = context.wrap_socket(self.sock, server_hostname=self.call.get("sni"))
            self.serial = _serial(self.sock.getpeercert(binary_form=True))

    def answer(self) -> dict:
        call = self.call
        try:
            self.putrequest(call.get("method", "GET"), call.get("path", "/"), skip_host=True, skip_accept_encoding=True)
            for name, value in [["host", call["host"]], *call.get("headers", [])]:
                self.putheader(name, value)
            self.endheaders()
            got = self.getresponse()
            text = got.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return {"error": repr(error)}
        found = {"status": got.status, "text": text, "serial": self.serial}
        return {**found, "headers": {name.lower(): value for name, value in got.getheaders()}}


def _serial(der: bytes) -> str:
    """Of a certificate's DER: SEQUENCE { SEQUENCE { [0] version, INTEGER serial ..."""
    at = der.index(b"\xa0\x03\x02\x01\x02\x02") + 6
    return der[at + 1 : at + 1 + der[at]].hex().lstrip("0")


def load(call: dict) -> dict:
    statuses, serials, errors = collections.Counter(), collections.Counter(), []
    held = Connection(call)
    held.answer()
    print("started", file=sys.stderr, flush=True)
    end = time.monotonic() + call["load"]
    while time.monotonic() < end:
        fresh = Connection(call)
        for connection in (held, fresh):
            answer = connection.answer()
            statuses[answer.get("status", 0)] += 1
            serials[answer.get("serial", "")] += 1
            errors += [answer["error"]] if "error" in answer else []
        fresh.close()
    return {"statuses": statuses, "serials": serials, "errors": errors[:5], "held": held.serial}


def main() -> None:
    calls = json.load(sys.stdin)
    print(json.dumps([load(call) if "load" in call else Connection(call).answer() for call in calls]))


if __name__ == "__main__":
    main()
