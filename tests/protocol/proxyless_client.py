"""A program whose gRPC library is its own sidecar: `python proxyless_client.py TARGET [xds]`. It prints one answer a
line for each line that it reads: who answered, or the status of the call. With `xds` it speaks TLS where it is told to,
and plaintext elsewhere."""

from __future__ import annotations

import sys

import grpc
import grpc.experimental

WITHIN = 10.0


def main(target: str, credentials: str = "") -> None:
    plain = grpc.experimental.insecure_channel_credentials()
    with grpc.secure_channel(target, grpc.xds_channel_credentials(plain) if credentials == "xds" else plain) as channel:
        call = channel.unary_unary("/echo.Echo/Who")
        for _ in sys.stdin:
            try:
                print(call(b"", timeout=WITHIN).decode(), flush=True)
            except grpc.RpcError as error:
                print(error.code().name, error.details(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
