"""What a running control plane answers about itself: JSON over HTTP, here on a unix socket that only its user can open.

`heddle.cluster.admin_server` gives the same answers in a cluster, but for the bootstrap.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from heddle.analyze import to_json
from heddle.control_plane import ControlPlane, NoTokens, NotServing
from heddle.delivery import describe_rejections, describe_sidecar, describe_types, is_late
from heddle.main import VERSION
from model.problems import Severity
from translators.bootstrap import NODE_TYPES
from xds.state import StreamState

_LOOK_EVERY_SECONDS = 0.01
"""An acknowledgement is no event outside its stream; looking costs microseconds a stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Which control plane answers. `mesh` is its name here; `replica` (its pod) and `revision` '' outside a cluster.

    `leading` answers whether it is the one that writes; None where there is nothing to lead.
    """

    mesh: str
    replica: str = ""
    revision: str = ""
    leading: Callable[[], bool | None] = lambda: None


@asynccontextmanager
async def admin_api(plane: ControlPlane, about: About, socket: Path) -> AsyncIterator[None]:
    """Answers on `socket` as long as the block lasts."""
    questions = Questions(plane, about)
    app = web.Application(middlewares=[_errors])
    add_questions(app, questions)
    app.router.add_get("/bootstrap/{namespace}/{pod}", questions.bootstrap)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        with contextlib.suppress(FileNotFoundError):
            socket.unlink()
        await web.UnixSite(runner, str(socket)).start()
        socket.chmod(0o600)
        yield
    finally:
        await runner.cleanup()


def add_questions(app: web.Application, questions: Questions) -> None:
    """The paths of everything that may be asked from outside too: nothing secret is in the answers."""
    app.router.add_get("/status", questions.status)
    app.router.add_get("/wait", questions.wait)
    app.router.add_get("/pods", questions.pods)
    app.router.add_get("/config/{namespace}/{pod}/{kind}", questions.config)


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """A refusal is JSON as every answer is."""
    try:
        answer: web.StreamResponse = await handler(request)
    except web.HTTPException as error:
        return web.json_response({"error": error.text or error.reason}, status=error.status)
    except ValueError as error:
        return web.json_response({"error": str(error)}, status=400)
    return answer


class Questions:
    """The handlers. `longest_wait` in seconds: whoever wants to wait for longer asks again."""

    def __init__(self, plane: ControlPlane, about: About, *, longest_wait: float = math.inf) -> None:
        self._plane = plane
        self._about = about
        self._longest_wait = longest_wait

    async def status(self, request: web.Request) -> web.Response:
        return web.json_response(self._status())

    async def wait(self, request: web.Request) -> web.Response:
        """Applies what is in the directory now, then waits until it is everywhere, or the time is up."""
        loop = asyncio.get_running_loop()
        seconds = float(request.query.get("timeout", "60"))
        if not seconds >= 0:
            raise ValueError(f"timeout is {seconds}: a number of seconds, 0 or more")
        deadline = loop.time() + min(seconds, self._longest_wait)
        unknown = await self._catch_up(deadline)
        while (late := [*unknown, *self._late()]) and loop.time() < deadline:
            if unknown or self._plane.source.pending:
                unknown = await self._catch_up(deadline)
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
        status = self._status()
        failed = any(finding["severity"] == Severity.ERROR for finding in status["findings"])
        outcome = "late" if late else "rejected" if status["rejections"] or failed else "applied"
        return web.json_response({**status, "outcome": outcome, "late": late})

    async def _catch_up(self, deadline: float) -> list[str]:
        """Why it cannot be told whether everything was read that was there when this began; empty if it was."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._plane.source.catch_up()
        except TimeoutError:
            return [f"{self._plane.source.name} did not answer in time"]
        except OSError as error:
            return [str(error)]
        return []

    async def pods(self, request: web.Request) -> web.Response:
        pods = self._plane.store.mesh.pods.values()
        listed = [
            {"namespace": pod.ref.namespace, "name": pod.ref.name, "workload": pod.workload, "ready": pod.ready}
            for pod in pods
        ]
        return web.json_response({"pods": listed})

    async def config(self, request: web.Request) -> web.Response:
        namespace, pod, kind = (request.match_info[part] for part in ("namespace", "pod", "kind"))
        stream = self._stream_of(namespace, pod)
        secrets = self._plane.admission.describe(namespace, pod)
        # In a thread: that of a large mesh must not keep streams waiting.
        described = await asyncio.to_thread(describe_types, stream, kind, secrets)
        return web.json_response(
            {
                **described,
                "rejections": describe_rejections(stream, self._plane.culprits),
                "control_plane": self._about.replica,
                "connected": stream.opened_at.isoformat(),
            }
        )

    async def bootstrap(self, request: web.Request) -> web.Response:
        """What one workload's Envoy needs to begin: where to connect, whom to trust, a token."""
        name = (request.match_info["namespace"], request.match_info["pod"])
        pod = self._plane.store.mesh.pods.get(name)
        if pod is None:
            raise web.HTTPNotFound(text=f"there is no pod {name[1]} in namespace {name[0]}, or it has no address yet")
        host, port = self._plane.xds_address
        try:
            roots = self._plane.trust_bundle.decode()
            token = self._plane.mint_token(pod)
        except NotServing as error:
            raise web.HTTPServiceUnavailable(text=f"the control plane does not serve yet: {error}") from None
        except NoTokens as error:
            raise web.HTTPConflict(text=str(error)) from None
        return web.json_response(
            {
                "host": host,
                "port": port,
                "server_name": self._plane.server_name,
                "trust_bundle": roots,
                "token": token,
                "namespace": pod.ref.namespace,
                "pod": pod.ref.name,
                "address": pod.addresses[0] if pod.addresses else "",
                "service_account": pod.service_account,
                "workload": pod.workload or pod.ref.name,
                "labels": dict(pod.labels),
                "node_type": NODE_TYPES[pod.proxy],
                "locality": [pod.locality.region, pod.locality.zone, pod.locality.subzone],
            }
        )

    def _status(self) -> dict[str, Any]:
        plane = self._plane
        generation = plane.store.generation
        streams = plane.streams.state()
        culprits = plane.culprits
        return {
            "mesh": self._about.mesh,
            "directory": plane.source.name,
            "generation": generation,
            "control_planes": [
                {
                    "name": self._about.replica,
                    "version": VERSION,
                    "revision": self._about.revision,
                    "generation": generation,
                    "sidecars": len(streams),
                    "leading": self._about.leading(),
                }
            ],
            "sidecars": [describe_sidecar(stream, generation) for stream in streams],
            "rejections": [each for stream in streams for each in describe_rejections(stream, culprits)],
            "pending": [*plane.source.pending, *plane.pending()],
            "findings": [to_json(problem) for problem in plane.store.problems],
        }

    def _late(self) -> list[str]:
        generation = self._plane.store.generation
        late = [
            f"sidecar {stream.asker.pod}.{stream.asker.namespace}"
            for stream in self._plane.streams.state()
            if is_late(stream, generation)
        ]
        return [*self._plane.source.pending, *self._plane.pending(), *late]

    def _stream_of(self, namespace: str, pod: str) -> StreamState:
        found = [s for s in self._plane.streams.state() if (s.asker.namespace, s.asker.pod) == (namespace, pod)]
        if not found:
            known = self._plane.store.mesh.pods.get((namespace, pod))
            why = "has no sidecar" if known is not None and not known.meshed else "is not connected"
            raise web.HTTPNotFound(text=f"pod {pod} in namespace {namespace} {why}")
        return found[-1]
