"""A program whose gRPC library is its own sidecar: `python proxyless_client.py TARGET`. It prints one answer a line for
each line that it reads: who answered, or the status of the call."""

from __future__ import annotations

import sys

import grpc

WITHIN = 10.0


def main(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary("/echo.Echo/Who")
        for _ in sys.stdin:
            try:
                print(call(b"", timeout=WITHIN).decode(), flush=True)
            except grpc.RpcError as error:
                print(error.code().name, error.details(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
