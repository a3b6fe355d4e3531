"""`heddle certificates`: a pod's certificate as files, for an application that is its own sidecar."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import grpc
import structlog

from heddle import clock
from heddle.certificate_files import CHAIN, CURRENT, KEY, ROOTS, write_certificates
from heddle.log_output import configure_logging
from heddle.output import cannot_read, complain
from heddle.secret_stream import Certificates, SecretStream
from heddle.spans import wait_seconds
from sds.tokens import POD_TOKENS, TokenRefused
from translators.bootstrap import node_id

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
KEEPALIVE = (("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000))
"""A connection that is dead without a word is noticed; the control plane allows as much."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds, give or take half, before it asks again; doubled each time, from the first again once it was answered."""

_log = structlog.get_logger()


class Refused(Exception):
    """The control plane cannot be asked at present, or does not answer. `str()` says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "  heddle certificates --server heddle.heddle-system.svc:15012 --roots /etc/heddle/root.pem \\\n"
        "    --token /var/run/secrets/heddle/token --out /var/run/certificates\n"
        f"writes {KEY}, {CHAIN} and {ROOTS} into DIR/{CURRENT}, a link that leads to other files whenever there are\n"
        "new ones, and runs until it is ended. Only its own user may read them: run it as the application's.\n"
        "With --once, in an init container, they are there before the application starts.\n"
        "exit status: 0 ended, or written once, 2 could not do it."
    )
    parser.add_argument("--server", required=True, metavar="HOST:PORT", help="the control plane's discovery port")
    parser.add_argument("--roots", required=True, type=Path, metavar="FILE", help="whom to take for it: roots in PEM")
    parser.add_argument("--token", required=True, type=Path, metavar="FILE", help="the pod's token, read each time")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the files go")
    parser.add_argument("--once", action="store_true", help="end when they are written")
    parser.add_argument(
        "--timeout", type=wait_seconds, default=60.0, metavar="SPAN", help="with --once: how long at most (60s)"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log each renewal")


def run_command(args: argparse.Namespace) -> int:
    configure_logging(json_lines=False, verbose=args.verbose)
    try:
        _question(args.roots, args.token)
        asyncio.run(_run(args))
    except (OSError, Refused) as error:
        complain(cannot_read(error, "is it there, and has this user the right to it?"))
        return 2
    return 0


async def _run(args: argparse.Namespace) -> None:
    """Raises OSError if the files cannot be written, with --once Refused when the time is up."""
    task = asyncio.current_task()
    assert task is not None
    ended = False

    def end() -> None:
        nonlocal ended
        ended = True
        task.cancel()

    # As a container's first process it would else not hear of it.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    last: list[str] = []
    try:
        async with asyncio.timeout(args.timeout if args.once else None):
            await _keep(args, last)
    except TimeoutError:
        raise Refused(f"no certificate within {args.timeout:g} s: {last[-1] if last else 'no answer'}") from None
    except asyncio.CancelledError:
        if not ended:
            raise


async def _keep(args: argparse.Namespace, reasons: list[str]) -> None:
    """Writes what comes, and asks again whenever a stream ends; why it did is added to `reasons`."""
    pause = FIRST_PAUSE
    while True:
        try:
            async with aclosing(_given(args.server, args.roots, args.token)) as given:
                async for held in given:
                    await asyncio.to_thread(write_certificates, args.out, held)
                    _log.info("identity.written", directory=str(args.out))
                    pause = FIRST_PAUSE
                    if args.once:
                        return
            reason = "the stream ended"
        except Refused as refused:
            reason = str(refused)
            _log.warning("identity.not_given", server=args.server, reason=reason)
        reasons[:] = [reason]
        await asyncio.sleep(pause * (1 + clock.jitter() / 2))
        pause = min(pause * 2, LONGEST_PAUSE)


async def _given(server: str, roots: Path, token: Path) -> AsyncGenerator[Certificates, None]:
    """What one stream brings: the certificates, and again when they are others. Raises Refused."""
    try:
        trusted, shown, node = await asyncio.to_thread(_question, roots, token)
    except OSError as error:
        raise Refused(str(error)) from None
    credentials = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(trusted), grpc.access_token_call_credentials(shown)
    )
    stream, before = SecretStream(node), None
    async with grpc.aio.secure_channel(server, credentials, options=KEEPALIVE) as channel:
        call = channel.stream_stream(METHOD)()
        try:
            await call.write(stream.first())
            while (raw := await call.read()) is not grpc.aio.EOF:
                await call.write(stream.receive(raw))
                if (held := stream.certificates) is not None and held != before:
                    yield (before := held)
        except grpc.aio.AioRpcError as error:
            raise Refused(f"{error.code().name}: {error.details()}") from None
        except asyncio.InvalidStateError:  # it was over before everything was written
            raise Refused(f"{(await call.code()).name}: {await call.details()}") from None
        except ValueError as error:
            raise Refused(str(error)) from None


def _question(roots: Path, token: Path) -> tuple[bytes, str, str]:
    """The roots, the token, and the node that it makes of the pod. Raises OSError, or Refused for a bad token."""
    trusted, shown = roots.read_bytes(), token.read_text().strip()
    try:
        caller = POD_TOKENS.read(shown, now=clock.now()).caller
    except TokenRefused as refused:
        raise Refused(f"{token} holds no token of a pod for Heddle: {refused.reason}") from None
    return trusted, shown, node_id(namespace=caller.namespace, pod=caller.pod_name, address="0.0.0.0")
